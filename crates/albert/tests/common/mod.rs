//! What the integration tests share.
#![allow(dead_code, reason = "each test uses its part")]

/// `|a - b| / |b|` over whole tensors. Two tensors of which the expected one is zero agree only
/// if the other is zero too; NaN never agrees.
pub(crate) fn relative_error(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "tensors of different lengths");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(expected).map(|(a, e)| a - e));
    let scale = norm(&mut expected.iter().copied());
    if difference == 0.0 {
        0.0
    } else if difference.is_nan() || scale == 0.0 {
        f64::INFINITY
    } else {
        difference / scale
    }
}

/// Fails, naming the tensor, unless the relative error is at most `limit`.
#[track_caller]
pub(crate) fn assert_close(name: &str, actual: &[f64], expected: &[f64], limit: f64) {
    let error = relative_error(actual, expected);
    assert!(error <= limit, "{name}: relative error {error:.2e} is above {limit:.0e}");
}

/// As `f64`.
pub(crate) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// A file or directory of the shared data, or `None`, with a message, where it is absent.
pub(crate) fn shared_data(name: &str) -> Option<std::path::PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let path = std::path::Path::new(root).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}
