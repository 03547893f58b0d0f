//! The list of pieces of work that a plan makes.

use albert::tasks::Task;
use albert::train::Objective;

use super::super::cost::Costs;
use super::super::experiment::{TASKS, is_untrained};
use super::super::plan::{BASE, Plan, Run, TableId};
use super::super::results::Results;
use super::super::score;
use super::floor;

/// What is done with a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum What {
    /// It is pre-trained.
    Pretrain,
    /// It is scored on held-out examples of an objective.
    Score(Objective),
    /// It is fine-tuned for a task with a seed.
    Finetune(Task, u64),
}

/// A piece of work: one line of the results.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub(crate) run: Run,
    /// Of pre-training.
    pub(crate) seed: u64,
    pub(crate) what: What,
    /// Operations, about.
    pub(crate) cost: f64,
}

impl Piece {
    pub(crate) fn title(&self) -> String {
        let model = format!("{}, seed {}", self.run.name, self.seed);
        match self.what {
            What::Pretrain if is_untrained(&self.run) => format!("{model}: initial weights"),
            What::Pretrain => format!("{model}: pre-training"),
            What::Score(objective) => {
                format!("{model}: held-out text, objective {}", score::name(objective))
            }
            What::Finetune(task, seed) => {
                format!("{model}: fine-tuning for {}, seed {seed}", task.name())
            }
        }
    }

    /// Whether it has its line. What diverged is done, and with it all that would follow.
    pub(crate) fn is_done(&self, results: &Results) -> bool {
        let mine = |run: &str, seed: u64| run == self.run.name && seed == self.seed;
        let diverged = results.diverged().any(|line| {
            let same = match (&line.finetuning, self.what) {
                (None, _) => true,
                (Some((task, number)), What::Finetune(of, seed)) => {
                    task == of.name() && *number == seed
                }
                (Some(_), _) => false,
            };
            mine(&line.run, line.seed) && same
        });
        let has_line = match self.what {
            What::Pretrain => results.pretrained().any(|line| mine(&line.run, line.seed)),
            What::Score(objective) => results
                .scored()
                .any(|line| mine(&line.run, line.seed) && line.objective == score::name(objective)),
            What::Finetune(task, seed) => results.finetuned().any(|line| {
                mine(&line.run, line.seed) && line.task == task.name() && line.finetune_seed == seed
            }),
        };
        diverged || has_line
    }
}

/// The pieces that fill some tables, with so many seeds of pre-training and of fine-tuning. The
/// base comes first, and its floor after it.
pub(crate) fn pieces(
    plan: &Plan,
    tables: &[TableId],
    (seeds, finetune_seeds): (u64, u64),
    costs: &Costs,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for seed in 1..=seeds {
        for run in plan.runs_for(tables) {
            of_run(plan, tables, run, (seed, finetune_seeds), costs, &mut pieces);
            if run.name == BASE && seed == 1 {
                of_run(plan, tables, &floor(run), (seed, finetune_seeds), costs, &mut pieces);
            }
        }
    }
    pieces
}

fn of_run(
    plan: &Plan,
    tables: &[TableId],
    run: &Run,
    (seed, finetune_seeds): (u64, u64),
    costs: &Costs,
    pieces: &mut Vec<Piece>,
) {
    let config = &run.config;
    let mut add = |what, cost| pieces.push(Piece { run: run.clone(), seed, what, cost });
    if is_untrained(run) {
        add(What::Pretrain, 0.0);
    } else {
        add(What::Pretrain, costs.pretraining(config));
        // Table 5 asks what a model knows of the objectives that it was not trained for.
        let is_of_table_5 = tables.contains(&TableId::Table5)
            && plan.tables_of(&run.name).contains(&TableId::Table5);
        let all = [Objective::Order, Objective::Next, Objective::None];
        let asked =
            all.into_iter().filter(|objective| is_of_table_5 || *objective == run.objective);
        asked.for_each(|objective| add(What::Score(objective), costs.scoring(config)));
    }
    for (task, _) in TASKS {
        for seed in 1..=finetune_seeds {
            add(What::Finetune(task, seed), costs.finetuning(config, task));
        }
    }
}
