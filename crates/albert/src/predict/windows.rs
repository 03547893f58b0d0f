//! Windows that overlap, through which a text is read that a model cannot read at once.

use std::ops::Range;

/// The window in which `token` has most tokens around it, on the side where it has fewer; between
/// equals decides what `besides` says of them, below 100 times a token, and then the first.
///
/// # Panics
/// When no window holds the token.
pub(super) fn best_window(
    windows: &[Range<usize>],
    token: usize,
    besides: impl Fn(&Range<usize>) -> usize,
) -> usize {
    // Windows begin and end in their order, so those with the token lie side by side.
    let first = windows.partition_point(|window| window.end <= token);
    let holding = windows[first..].iter().take_while(|window| window.start <= token);
    let context = |window: &Range<usize>| {
        let poorer = (token - window.start).min(window.end - 1 - token);
        100 * poorer + besides(window)
    };
    let contexts = holding.map(context).enumerate();
    let better =
        |best: (usize, usize), next: (usize, usize)| if next.1 > best.1 { next } else { best };
    first + contexts.reduce(better).expect("a window holds every token").0
}
