//! What is trained: the models around a base model that differ from it in one thing, and the
//! tables of the paper that they fill. A model that several tables ask for is trained once.

use albert::config::{Family, ModelConfig, Sharing};
use albert::train::Objective;
use anyhow::{Result, bail};

use super::paper;

/// A table of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum TableId {
    /// The width of the embeddings.
    Table3,
    /// What is shared.
    Table4,
    /// The sentence objective.
    Table5,
    /// Depth.
    Table11,
    /// Width.
    Table12,
}

impl TableId {
    /// In the order of the paper.
    pub(crate) const ALL: [Self; 5] =
        [Self::Table3, Self::Table4, Self::Table5, Self::Table11, Self::Table12];

    /// As a user writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table3 => "table3",
            Self::Table4 => "table4",
            Self::Table5 => "table5",
            Self::Table11 => "table11",
            Self::Table12 => "table12",
        }
    }

    /// As a heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Table3 => "Table 3: the width of the embeddings",
            Self::Table4 => "Table 4: what is shared",
            Self::Table5 => "Table 5: the sentence objective",
            Self::Table11 => "Table 11: depth",
            Self::Table12 => "Table 12: width",
        }
    }
}

/// The base model as it is initialised: the floor of what fine-tuning alone can do.
pub(crate) const RANDOM: &str = "random";
/// The name of the model that all others differ from.
pub(crate) const BASE: &str = "base";

/// A model that is trained.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// What differs from the base.
    pub(crate) name: String,
    pub(crate) config: ModelConfig,
    pub(crate) objective: Objective,
}

/// A row of a table: the run that fills it, and the paper's row that it stands beside.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) run: String,
    pub(crate) paper: paper::Row,
}

/// A table, and which of its rows is the base model.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) id: TableId,
    pub(crate) rows: Vec<Row>,
}

/// All runs, each once, the base first; and the tables.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) runs: Vec<Run>,
    pub(crate) tables: Vec<Table>,
}

/// A variant of the base model: its label, config and objective, and the paper's row.
type Variant = (String, ModelConfig, Objective, paper::Row);

impl Plan {
    /// The plan around `base`.
    ///
    /// # Errors
    /// A base that is no ALBERT with one group, or whose sizes cannot be halved.
    pub(crate) fn new(base: &ModelConfig) -> Result<Self> {
        if base.family != Family::Albert
            || base.sharing != Sharing::All
            || base.num_hidden_groups != 1
        {
            bail!("the base model must be an ALBERT that shares everything, with one group");
        }
        if !base.embedding_size.is_multiple_of(2) || !base.num_attention_heads.is_multiple_of(2) {
            bail!(
                "the base model has embedding_size {} and num_attention_heads {}: both must be \
                 even, as models of half of each are trained",
                base.embedding_size,
                base.num_attention_heads
            );
        }
        let mut plan = Self { runs: Vec::new(), tables: Vec::new() };
        plan.add(base, base.clone(), Objective::Order)?;
        for id in TableId::ALL {
            let mut rows = Vec::new();
            for (label, config, objective, paper) in variants(id, base)? {
                rows.push(Row { label, run: plan.add(base, config, objective)?, paper });
            }
            plan.tables.push(Table { id, rows });
        }
        Ok(plan)
    }

    /// Notes a run, unless there is one of that name. Gives the name.
    fn add(
        &mut self,
        base: &ModelConfig,
        config: ModelConfig,
        objective: Objective,
    ) -> Result<String> {
        config.validate()?;
        let name = name(base, &config, objective);
        if self.run(&name).is_none() {
            self.runs.push(Run { name: name.clone(), config, objective });
        }
        Ok(name)
    }

    /// The run of a name.
    pub(crate) fn run(&self, name: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// The tables that a run is in.
    pub(crate) fn tables_of(&self, run: &str) -> Vec<TableId> {
        let has = |table: &&Table| table.rows.iter().any(|row| row.run == run);
        self.tables.iter().filter(has).map(|table| table.id).collect()
    }

    /// The runs that some tables need, the base always among them.
    pub(crate) fn runs_for(&self, tables: &[TableId]) -> Vec<&Run> {
        let needed = |run: &&Run| {
            run.name == BASE || self.tables_of(&run.name).iter().any(|id| tables.contains(id))
        };
        self.runs.iter().filter(needed).collect()
    }
}

/// What tells a run from the base.
fn name(base: &ModelConfig, config: &ModelConfig, objective: Objective) -> String {
    let mut parts = Vec::new();
    let sizes = [
        ("e", base.embedding_size, config.embedding_size),
        ("l", base.num_hidden_layers, config.num_hidden_layers),
        ("h", base.hidden_size, config.hidden_size),
    ];
    for (letter, of_base, size) in sizes {
        if size != of_base {
            parts.push(format!("{letter}{size}"));
        }
    }
    if config.sharing != Sharing::All {
        parts.push(format!("share-{}", config.sharing.name()));
    }
    match objective {
        Objective::Order => {}
        Objective::Next => parts.push("objective-next".to_owned()),
        Objective::None => parts.push("objective-none".to_owned()),
    }
    if parts.is_empty() { BASE.to_owned() } else { parts.join("-") }
}

fn variants(id: TableId, base: &ModelConfig) -> Result<Vec<Variant>> {
    match id {
        TableId::Table3 => embeddings(base),
        TableId::Table4 => sharings(base),
        TableId::Table5 => Ok(objectives(base)),
        TableId::Table11 => Ok(depths(base)),
        TableId::Table12 => Ok(widths(base)),
    }
}

fn embeddings(base: &ModelConfig) -> Result<Vec<Variant>> {
    let mut variants = Vec::new();
    let kinds = [
        (Sharing::All, "all shared", paper::EMBEDDINGS_SHARED),
        (Sharing::Nothing, "not shared", paper::EMBEDDINGS_OWN),
    ];
    for (sharing, kind, papers) in kinds {
        let sizes = [base.embedding_size / 2, base.embedding_size, 2 * base.embedding_size];
        for (embedding_size, paper) in sizes.into_iter().zip(papers) {
            let config = ModelConfig { embedding_size, ..base.clone() }.with_sharing(sharing)?;
            let label = format!("E = {embedding_size}, {kind}");
            variants.push((label, config, Objective::Order, paper));
        }
    }
    Ok(variants)
}

fn sharings(base: &ModelConfig) -> Result<Vec<Variant>> {
    let kinds = [Sharing::All, Sharing::Attention, Sharing::FeedForward, Sharing::Nothing];
    let variant = |(sharing, paper): (Sharing, paper::Row)| {
        let config = base.clone().with_sharing(sharing)?;
        Ok((paper.label.to_owned(), config, Objective::Order, paper))
    };
    kinds.into_iter().zip(paper::SHARING).map(variant).collect()
}

fn objectives(base: &ModelConfig) -> Vec<Variant> {
    let kinds = [Objective::None, Objective::Next, Objective::Order];
    let variant = |(objective, paper): (Objective, paper::Row)| {
        (paper.label.to_owned(), base.clone(), objective, paper)
    };
    kinds.into_iter().zip(paper::OBJECTIVES).map(variant).collect()
}

fn depths(base: &ModelConfig) -> Vec<Variant> {
    let layers = base.num_hidden_layers;
    let mut variants: Vec<Variant> = Vec::new();
    for (depth, paper) in
        [layers / 6, layers / 2, layers, 2 * layers].into_iter().zip(paper::DEPTHS)
    {
        let num_hidden_layers = depth.max(1);
        let config = ModelConfig { num_hidden_layers, ..base.clone() };
        // Of a shallow base, two of them are the same.
        if variants.iter().all(|(_, other, ..)| *other != config) {
            let label = format!("L = {num_hidden_layers}");
            variants.push((label, config, Objective::Order, paper));
        }
    }
    variants
}

fn widths(base: &ModelConfig) -> Vec<Variant> {
    let of = |size: usize| [size / 2, size, 2 * size];
    let heads = of(base.num_attention_heads);
    let intermediate = of(base.intermediate_size);
    let variant = |(at, (hidden_size, paper)): (usize, (usize, paper::Row))| {
        let config = ModelConfig {
            hidden_size,
            num_attention_heads: heads[at],
            intermediate_size: intermediate[at],
            ..base.clone()
        };
        (format!("H = {hidden_size}"), config, Objective::Order, paper)
    };
    of(base.hidden_size).into_iter().zip(paper::WIDTHS).enumerate().map(variant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new(&ModelConfig::preset("nano").unwrap()).unwrap()
    }

    fn rows(plan: &Plan, id: TableId) -> &[Row] {
        &plan.tables.iter().find(|table| table.id == id).unwrap().rows
    }

    #[test]
    fn the_sizes_around_nano_are_those_of_the_paper_s_tables() {
        let plan = plan();
        let labels = |id: TableId| -> Vec<String> {
            rows(&plan, id).iter().map(|row| row.label.clone()).collect()
        };
        assert_eq!(labels(TableId::Table3)[..2], ["E = 64, all shared", "E = 128, all shared"]);
        assert_eq!(labels(TableId::Table3).len(), 6);
        assert_eq!(labels(TableId::Table11), ["L = 1", "L = 3", "L = 6", "L = 12"]);
        assert_eq!(labels(TableId::Table12), ["H = 128", "H = 256", "H = 512"]);
        let wide = &plan.run("h512").unwrap().config;
        assert_eq!((wide.num_attention_heads, wide.intermediate_size), (8, 2048));
        // What is printed beside them is the paper's row of the same place.
        for table in &plan.tables {
            let base = table.rows.iter().find(|row| row.run == BASE).unwrap();
            let average = match table.id {
                TableId::Table11 => 77.2,
                TableId::Table12 => 74.6,
                _ => 80.1,
            };
            assert_eq!(base.paper.average, average, "{:?}", table.id);
        }
    }

    #[test]
    fn what_tables_share_is_trained_once() {
        let plan = plan();
        let names: Vec<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "base",
                "e64",
                "e256",
                "e64-share-none",
                "share-none",
                "e256-share-none",
                "share-attention",
                "share-ffn",
                "objective-none",
                "objective-next",
                "l1",
                "l3",
                "l12",
                "h128",
                "h512"
            ]
        );
        assert_eq!(plan.tables_of("base"), TableId::ALL);
        assert_eq!(plan.tables_of("share-none"), [TableId::Table3, TableId::Table4]);
        let only: Vec<&str> =
            plan.runs_for(&[TableId::Table5]).iter().map(|run| run.name.as_str()).collect();
        assert_eq!(only, ["base", "objective-none", "objective-next"]);
    }

    #[test]
    fn a_base_that_cannot_be_varied_is_refused() {
        let nano = ModelConfig::preset("nano").unwrap();
        let own = nano.clone().with_sharing(Sharing::Nothing).unwrap();
        assert!(Plan::new(&own).unwrap_err().to_string().contains("shares everything"));
        let odd = ModelConfig { num_attention_heads: 1, ..nano };
        assert!(Plan::new(&odd).unwrap_err().to_string().contains("num_attention_heads 1"));
        assert!(Plan::new(&ModelConfig::preset("bert-base").unwrap()).is_err());
    }

    #[test]
    fn a_shallow_base_has_fewer_depths() {
        let shallow = ModelConfig { num_hidden_layers: 2, ..ModelConfig::preset("nano").unwrap() };
        let plan = Plan::new(&shallow).unwrap();
        let rows = rows(&plan, TableId::Table11);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1].run, BASE);
    }
}
