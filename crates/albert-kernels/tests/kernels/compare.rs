//! Comparison with the truth, by relative error of a whole tensor, and numbers to compute with.

use albert_kernels::Isa;

/// Why `got` is not `truth` to the relative error `limit`: the Euclidean norm of the difference
/// over that of the truth. A truth of zeros must be met exactly.
pub(crate) fn difference(got: &[f32], truth: &[f64], limit: f64) -> Option<String> {
    if got.len() != truth.len() {
        return Some(format!("{} numbers instead of {}", got.len(), truth.len()));
    }
    let error = relative_error(got, truth);
    let small = error <= limit;
    (!small).then(|| format!("relative error {error:e} is over {limit:e}"))
}

/// The relative error of a tensor; NaN where there is one.
pub(crate) fn relative_error(got: &[f32], truth: &[f64]) -> f64 {
    let norm = |x: f64, y: f64| x + y * y;
    let errors = got.iter().zip(truth).map(|(&g, &t)| f64::from(g) - t);
    let (error, size) =
        (errors.fold(0.0, norm).sqrt(), truth.iter().copied().fold(0.0, norm).sqrt());
    if error == 0.0 { 0.0 } else { error / size }
}

/// Panics unless `got` is `truth` to the relative error `limit`.
#[track_caller]
pub(crate) fn assert_close(isa: Isa, what: &str, got: &[f32], truth: &[f64], limit: f64) {
    if std::env::var_os("SHOW_ERRORS").is_some() {
        println!("{} {what}: {:.2e}", isa.name(), relative_error(got, truth));
    }
    if let Some(why) = difference(got, truth, limit) {
        panic!("{} {what}: {why}", isa.name());
    }
}

/// `len` numbers in -1..1, the same for the same seed.
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..16).for_each(|_| {
        next();
    });
    (0..len).map(|_| next()).collect()
}

pub(crate) fn exact(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Lengths around the number of lanes, where the code for tails begins and ends.
pub(crate) fn awkward_lengths(isa: Isa) -> Vec<usize> {
    let lanes = isa.lanes();
    vec![0, 1, lanes - 1, lanes, lanes + 1, 4 * lanes - 1, 4 * lanes + 3, 1000]
}

/// Runs `f` in pools of 1, 2 and 3 threads and checks that the results have the same bits.
#[track_caller]
pub(crate) fn assert_same_on_any_threads(f: impl Fn() -> Vec<f32> + Sync) {
    let bits = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| f().into_iter().map(f32::to_bits).collect::<Vec<_>>())
    };
    let one = bits(1);
    assert!(!one.is_empty());
    assert!(one == bits(2), "two threads give other bits than one");
    assert!(one == bits(3), "three threads give other bits than one");
}

#[test]
fn a_zero_where_a_small_number_is_right_fails() {
    assert!(difference(&[0.0], &[1e-3], 1e-2).is_some());
    assert!(difference(&[0.0, 0.0], &[1e-30, 0.0], 1e-2).is_some());
}

#[test]
fn a_small_number_where_zero_is_right_fails() {
    assert!(difference(&[1e-9], &[0.0], 1e-2).is_some());
}

#[test]
fn nan_and_infinity_fail() {
    assert!(difference(&[f32::NAN, 1.0], &[1.0, 1.0], 1e-2).is_some());
    assert!(difference(&[f32::INFINITY], &[1.0], 1e-2).is_some());
}

#[test]
fn a_short_vector_fails() {
    assert!(difference(&[1.0], &[1.0, 0.0], 1e-2).is_some());
}

#[test]
fn close_numbers_pass_and_others_do_not() {
    assert_eq!(difference(&[1.0, 2.0], &[1.0, 2.0], 0.0), None);
    assert_eq!(difference(&[1.0001, 2.0], &[1.0, 2.0], 1e-3), None);
    assert!(difference(&[1.01, 2.0], &[1.0, 2.0], 1e-3).is_some());
    assert_eq!(difference(&[], &[], 0.0), None);
}
