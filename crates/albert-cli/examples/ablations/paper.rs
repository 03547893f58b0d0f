//! What the paper reports in the tables that are run again (Lan et al. 2020, arXiv 1909.11942v6).
//! Accuracies in percent; `average` is over SQuAD 1.1 and 2.0, MNLI, SST-2 and RACE.

/// A row of one of the paper's tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// What the paper varies, at this row's value.
    pub(crate) label: &'static str,
    /// In millions.
    pub(crate) parameters: u32,
    pub(crate) sst_2: Option<f64>,
    pub(crate) average: f64,
    /// Of Table 5: masked words, next sentences and sentence orders right.
    pub(crate) intrinsic: Option<[f64; 3]>,
}

const fn row(label: &'static str, parameters: u32, sst_2: f64, average: f64) -> Row {
    Row { label, parameters, sst_2: Some(sst_2), average, intrinsic: None }
}

const fn average(label: &'static str, parameters: u32, average: f64) -> Row {
    Row { label, parameters, sst_2: None, average, intrinsic: None }
}

const fn objective(label: &'static str, sst_2: f64, average: f64, intrinsic: [f64; 3]) -> Row {
    Row { label, parameters: 12, sst_2: Some(sst_2), average, intrinsic: Some(intrinsic) }
}

/// Table 3: embeddings of 64, 128 and 256, all layers shared; ALBERT-base.
pub(crate) const EMBEDDINGS_SHARED: [Row; 3] = [
    row("E = 64, all shared", 10, 89.4, 79.0),
    row("E = 128, all shared", 12, 90.3, 80.1),
    row("E = 256, all shared", 16, 90.3, 79.6),
];

/// The same, nothing shared.
pub(crate) const EMBEDDINGS_OWN: [Row; 3] = [
    row("E = 64, not shared", 87, 91.5, 81.3),
    row("E = 128, not shared", 89, 91.5, 81.7),
    row("E = 256, not shared", 93, 91.9, 81.8),
];

/// Table 4: what is shared, with E = 128; ALBERT-base.
pub(crate) const SHARING: [Row; 4] = [
    row("all", 12, 90.3, 80.1),
    row("attention", 64, 91.9, 81.7),
    row("feed-forward", 38, 91.7, 80.2),
    row("nothing", 89, 91.5, 81.6),
];

/// Table 5: the sentence objective; ALBERT-base.
pub(crate) const OBJECTIVES: [Row; 3] = [
    objective("none", 89.9, 79.0, [54.9, 52.4, 53.3]),
    objective("next sentence", 91.1, 79.2, [54.5, 90.5, 52.0]),
    objective("sentence order", 90.3, 80.1, [54.0, 78.9, 86.5]),
];

/// Table 11: layers, with a width of 1024; those at the places of the ones run here.
pub(crate) const DEPTHS: [Row; 4] = [
    average("1 layer", 18, 52.9),
    average("3 layers", 18, 71.2),
    average("6 layers", 18, 77.2),
    average("12 layers", 18, 81.5),
];

/// Table 12: widths, with 3 layers; each twice the one before it, as here. 18M and 60M are of the
/// paper's Table 1, since with shared layers depth costs no parameters; 225M is of Table 12.
pub(crate) const WIDTHS: [Row; 3] =
    [average("H = 1024", 18, 71.2), average("H = 2048", 60, 74.6), average("H = 4096", 225, 76.3)];
