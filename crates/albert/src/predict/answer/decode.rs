//! From what a head says of the tokens of each window to answers. Knows no model.

use std::collections::HashMap;
use std::ops::Range;

use super::{Answer, AnswerOptions, Answers};
use crate::model::JointScores;
use crate::predict::encode::Windows;
use crate::predict::text::trim;
use crate::predict::windows::best_window as most_around;
use crate::tokenizer::Encoding;

/// A question and its context.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) context: &'a str,
    pub(super) windows: &'a Windows,
}

impl Asked<'_> {
    fn ranges(&self) -> Vec<Range<usize>> {
        self.windows.windows.iter().map(|window| window.tokens.clone()).collect()
    }
}

/// Tokens of a context that may be an answer, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    first: usize,
    last: usize,
    /// What spans are ranked by: the larger the likelier.
    logit: f64,
}

/// A candidate on its way: its bytes, its score, and the logits of its ends.
type Found = (Range<usize>, f64, (f64, f64));

impl AnswerOptions {
    /// `logits` of a window: start and end of each row.
    pub(super) fn decode_plain(&self, asked: &Asked<'_>, logits: &[&[f32]]) -> Answers {
        let (context, windows) = (&*asked.windows.context, asked.ranges());
        let of_token = |token: usize| {
            let window = best_window(&windows, token);
            let row = asked.windows.first_row + token - windows[window].start;
            (f64::from(logits[window][2 * row]), f64::from(logits[window][2 * row + 1]))
        };
        let (starts, ends): (Vec<f64>, Vec<f64>) = (0..context.len()).map(of_token).unzip();
        // The window that is least for there being no answer speaks for all.
        let nulls = logits.iter().map(|rows| (f64::from(rows[0]), f64::from(rows[1])));
        let least = |a: (f64, f64), b: (f64, f64)| if b.0 + b.1 < a.0 + a.1 { b } else { a };
        let null = nulls.reduce(least).expect("a window for each question");
        let (all_starts, all_ends) = (log_sum(&starts, null.0), log_sum(&ends, null.1));
        let score = |start: f64, end: f64| ((start - all_starts) + (end - all_ends)).exp();

        let spans = best_spans(
            &starts,
            &ends,
            self.max_answer_length.min(context.len()),
            self.spans_wanted(),
        );
        let best = spans.first().map_or(f64::NEG_INFINITY, |span| span.logit);
        let scored = spans.iter().map(|span| {
            let logits = (starts[span.first], ends[span.last]);
            (*span, score(logits.0, logits.1), logits)
        });
        let adds = self.align_to_words;
        let (candidates, logits) = self.candidates(asked.context, context, scored, adds);
        let no_answer_odds = null.0 + null.1 - best;
        let allows = |least: f32| no_answer_odds <= f64::from(least);
        Answers {
            best: candidates.first().filter(|_| self.no_answer.is_none_or(allows)).cloned(),
            no_answer_score: score(null.0, null.1) as f32,
            no_answer_odds,
            candidates,
            logits,
        }
    }

    pub(super) fn decode_joint(&self, asked: &Asked<'_>, scores: &[&JointScores]) -> Answers {
        let (context, windows) = (&*asked.windows.context, asked.ranges());
        let mut spans = vec![];
        for (number, (scores, window)) in scores.iter().zip(&windows).enumerate() {
            // Row 0 is `[CLS]`, the only one outside of the context.
            let first_row = asked.windows.first_row;
            let token = |row: usize| Some(row.checked_sub(first_row)? + window.start);
            for start in &scores.starts {
                let Some(first) = token(start.token) else { continue };
                if best_window(&windows, first) != number {
                    continue;
                }
                let ends = start.ends.iter().filter_map(|&(row, score)| {
                    let (start, end) = (f64::from(start.score), f64::from(score));
                    let span = Span { first, last: token(row)?, logit: start + end };
                    Some((span, span.logit.exp(), (start, end)))
                });
                let longest = first + self.max_answer_length.min(context.len());
                spans.extend(ends.filter(|(span, ..)| (first..longest).contains(&span.last)));
            }
        }
        spans.sort_by(|a, b| a.0.compare(&b.0));
        let scored = spans.into_iter();
        let (candidates, logits) = self.candidates(asked.context, context, scored, false);
        let no_answer = scores.iter().map(|scores| scores.no_answer).fold(f32::INFINITY, f32::min);
        let allows = |most: f32| no_answer <= most;
        Answers {
            best: candidates.first().filter(|_| self.no_answer.is_none_or(allows)).cloned(),
            no_answer_score: 1.0 / (1.0 + (-no_answer).exp()),
            no_answer_odds: f64::from(no_answer),
            candidates,
            logits,
        }
    }

    /// So many spans are looked at, as by the pipeline: some may turn out to be the same words.
    fn spans_wanted(&self) -> usize {
        let n_best = self.n_best;
        if self.align_to_words { n_best.saturating_mul(2).saturating_add(10) } else { n_best }
    }

    /// The best texts of `spans`, which come best first, each with its score and the logits of its
    /// ends. A text that comes again adds to the score of the first, or is left out.
    fn candidates(
        &self,
        text: &str,
        context: &Encoding,
        spans: impl Iterator<Item = (Span, f64, (f64, f64))>,
        adds: bool,
    ) -> (Vec<Answer>, Vec<(f64, f64)>) {
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut found: Vec<Found> = vec![];
        for (span, score, logits) in spans {
            let range = trim(text, self.bytes(context, span));
            if range.is_empty() {
                continue;
            }
            match known.get(&text[range.clone()].to_lowercase()) {
                Some(&at) if adds => found[at].1 += score,
                Some(_) => {}
                None => {
                    known.insert(text[range.clone()].to_lowercase(), found.len());
                    found.push((range, score, logits));
                }
            }
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        let answer = |(range, score, logits): Found| {
            (Answer { start: range.start, end: range.end, score: score as f32 }, logits)
        };
        found.into_iter().take(self.n_best).map(answer).unzip()
    }

    /// The bytes of the context that a span stands for.
    fn bytes(&self, context: &Encoding, span: Span) -> Range<usize> {
        let Span { mut first, mut last, .. } = span;
        if self.align_to_words {
            let joined = |a: usize, b: usize| {
                context.words[a].is_some() && context.words[a] == context.words[b]
            };
            while first > 0 && joined(first - 1, first) {
                first -= 1;
            }
            while last + 1 < context.len() && joined(last, last + 1) {
                last += 1;
            }
        }
        context.offsets[first].0..context.offsets[last].1
    }
}

impl Span {
    /// The likelier first, of equals the earlier.
    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let place = |span: &Self| (span.first, span.last);
        other.logit.total_cmp(&self.logit).then(place(self).cmp(&place(other)))
    }
}

/// `ln(Σ exp x)` over `values` and `other`.
fn log_sum(values: &[f64], other: f64) -> f64 {
    let top = values.iter().copied().fold(other, f64::max);
    let sum: f64 = values.iter().map(|x| (x - top).exp()).sum();
    top + (sum + (other - top).exp()).ln()
}

/// The `count` best spans of at most `longest` tokens, best first.
fn best_spans(starts: &[f64], ends: &[f64], longest: usize, count: usize) -> Vec<Span> {
    let mut best: Vec<Span> = vec![];
    for (first, start) in starts.iter().enumerate() {
        let ends = ends.iter().enumerate().skip(first).take(longest);
        best.extend(ends.map(|(last, end)| Span { first, last, logit: start + end }));
        // Now and then, so that it costs little.
        if best.len() / 2 > count.saturating_add(longest) {
            best.select_nth_unstable_by(count - 1, Span::compare);
            best.truncate(count);
        }
    }
    best.sort_unstable_by(Span::compare);
    best.truncate(count);
    best
}

/// The window with the most context of `token`, as in the original (`_check_is_max_context`), where
/// a hundredth of the window's length counts too.
fn best_window(windows: &[Range<usize>], token: usize) -> usize {
    most_around(windows, token, Range::len)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::JointStart;
    use crate::predict::encode::{Window, windows_of};

    const CONTEXT: &str = "It is the city of Rome.";

    /// A token for each word and one for the full stop, which is a part of the last word.
    fn encoding() -> Encoding {
        let offsets = vec![(0, 2), (2, 5), (5, 9), (9, 14), (14, 17), (17, 22), (22, 23)];
        let words = [0, 1, 2, 3, 4, 5, 5].map(Some).to_vec();
        Encoding { ids: vec![9; 7], offsets, words, ..Encoding::default() }
    }

    fn asked(ranges: Vec<Range<usize>>) -> Windows {
        let window = |tokens: Range<usize>| Window { tokens, encoding: Encoding::default() };
        let windows = ranges.into_iter().map(window).collect();
        Windows { context: Arc::new(encoding()), first_row: 3, windows }
    }

    fn plain(options: &AnswerOptions, windows: &Windows, logits: &[Vec<f32>]) -> Answers {
        let logits: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
        options.decode_plain(&Asked { context: CONTEXT, windows }, &logits)
    }

    fn whole() -> Windows {
        asked(windows_of(7, 7, 1))
    }

    /// Logits of `[CLS]`, two rows of no matter, and the tokens of a window.
    fn rows(cls: (f32, f32), tokens: &[(f32, f32)]) -> Vec<f32> {
        let all = [cls, (50.0, 50.0), (50.0, 50.0)].into_iter().chain(tokens.iter().copied());
        all.chain([(50.0, 50.0)]).flat_map(|(start, end)| [start, end]).collect()
    }

    fn ranges(answers: &Answers) -> Vec<&str> {
        answers.candidates.iter().map(|answer| answer.text(CONTEXT)).collect()
    }

    const TOKENS: [(f32, f32); 7] =
        [(0.0, 0.0), (0.0, 0.0), (1.0, 0.0), (0.0, 2.0), (0.0, 0.0), (3.0, 4.0), (0.0, 1.0)];

    #[test]
    fn one_window_is_scored_as_in_the_pipeline() {
        let logits = [rows((1.0, 2.0), &TOKENS)];
        let e = |x: f64| x.exp();
        let sums = (5.0 + 2.0 * e(1.0) + e(3.0), 4.0 + e(1.0) + 2.0 * e(2.0) + e(4.0));
        let options = AnswerOptions { align_to_words: false, n_best: 2, ..Default::default() };
        let found = plain(&options, &whole(), &logits);
        assert_eq!(ranges(&found), ["Rome", "the city of Rome"]);
        let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-6, "{a} {b}");
        close(found.candidates[0].score, e(7.0) / sums.0 / sums.1);
        close(found.candidates[1].score, e(5.0) / sums.0 / sums.1);
        close(found.no_answer_score, e(3.0) / sums.0 / sums.1);

        // "Rome" and "." are one word, so their scores add up.
        let options = AnswerOptions { n_best: 50, ..AnswerOptions::default() };
        let found = plain(&options, &whole(), &logits);
        assert_eq!(ranges(&found)[..2], ["Rome.", "the city of Rome."]);
        close(found.candidates[0].score, (e(7.0) + e(4.0) + e(1.0)) / sums.0 / sums.1);
        close(found.candidates[1].score, (e(5.0) + e(2.0)) / sums.0 / sums.1);
        assert_eq!(found.candidates.len(), 21);
    }

    #[test]
    fn an_answer_is_at_most_so_long() {
        let tokens: Vec<(f32, f32)> =
            (0..7).map(|at| (if at == 0 { 9.0 } else { 0.0 }, at as f32)).collect();
        for (longest, expected) in
            [(7, CONTEXT), (6, "It is the city of Rome"), (2, "It is"), (1, "It")]
        {
            let options = AnswerOptions {
                max_answer_length: longest,
                align_to_words: false,
                ..AnswerOptions::default()
            };
            let logits = [rows((0.0, 0.0), &tokens)];
            let found = plain(&options, &whole(), &logits);
            assert_eq!(ranges(&found), [expected]);
        }
    }

    #[test]
    fn no_answer_where_it_is_better_by_more_than_the_threshold() {
        // The best span has 7 logits, no answer 9.
        let logits = [rows((4.0, 5.0), &TOKENS)];
        let has_answer = |no_answer: Option<f32>| {
            let options = AnswerOptions { no_answer, ..AnswerOptions::default() };
            let found = plain(&options, &whole(), &logits);
            assert_eq!(ranges(&found), ["Rome."]);
            found.best.is_some()
        };
        let expected = [
            (None, true),
            (Some(0.0), false),
            (Some(1.9), false),
            (Some(2.0), true),
            (Some(3.0), true),
        ];
        for (threshold, expected) in expected {
            assert_eq!(has_answer(threshold), expected, "{threshold:?}");
        }
    }

    #[test]
    fn each_token_has_the_scores_of_its_best_window() {
        // Token 2 is best seen in the first window, token 4 in the second; the other window of
        // each says something else, loudly.
        let windows = vec![0..5, 2..7];
        let quiet = (0.0, 0.0);
        let logits = [
            rows((3.0, 3.0), &[quiet, quiet, (5.0, 5.0), quiet, (40.0, 40.0)]),
            rows((1.0, 1.0), &[(40.0, 40.0), quiet, (6.0, 7.0), quiet, quiet]),
        ];
        let options = AnswerOptions { align_to_words: false, n_best: 3, ..Default::default() };
        let found = plain(&options, &asked(windows), &logits);
        assert_eq!(ranges(&found), ["of", "the city of", "the"]);
        let e = |x: f64| x.exp();
        let sums = (e(1.0) + 5.0 + e(5.0) + e(6.0), e(1.0) + 5.0 + e(5.0) + e(7.0));
        let no_answer = f64::from(found.no_answer_score);
        assert!((no_answer * sums.0 * sums.1 / e(2.0) - 1.0).abs() < 1e-6, "{no_answer}");
    }

    fn start(token: usize, score: f32, ends: &[(usize, f32)]) -> JointStart {
        JointStart { token, score, ends: ends.to_vec() }
    }

    #[test]
    fn the_joint_head_answers_by_its_best_starts_and_ends() {
        let scores = [
            JointScores {
                // Row 0 is [CLS]; the second start belongs to the other window.
                starts: vec![
                    start(0, -0.1, &[(3, -0.1)]),
                    start(7, -0.2, &[(7, -0.1)]),
                    start(5, -0.5, &[(6, -0.3), (4, -0.1), (0, -0.1)]),
                ],
                no_answer: 1.5,
            },
            JointScores { starts: vec![start(5, -1.0, &[(5, -0.2)])], no_answer: 0.5 },
        ];
        let decode = |no_answer: Option<f32>| {
            let options = AnswerOptions { n_best: 5, no_answer, ..AnswerOptions::default() };
            let windows = &asked(vec![0..5, 2..7]);
            let scores: Vec<&JointScores> = scores.iter().collect();
            options.decode_joint(&Asked { context: CONTEXT, windows }, &scores)
        };
        let found = decode(None);
        assert_eq!(ranges(&found), ["the city", "of"]);
        let scores: Vec<f32> = found.candidates.iter().map(|answer| answer.score).collect();
        assert!((scores[0] - (-0.8f32).exp()).abs() < 1e-6, "{scores:?}");
        assert!((scores[1] - (-1.2f32).exp()).abs() < 1e-6, "{scores:?}");
        assert!((found.no_answer_score - 1.0 / (1.0 + (-0.5f32).exp())).abs() < 1e-6);
        assert_eq!(found.best.as_ref(), found.candidates.first());
        assert!(decode(Some(0.4)).best.is_none());
        assert!(decode(Some(0.5)).best.is_some());
    }

    #[test]
    fn the_best_spans_are_found_among_all() {
        let number = |at: usize| ((at * 7919 + 13) % 1009) as f64 / 100.0;
        let (starts, ends): (Vec<f64>, Vec<f64>) =
            (0..400).map(|at| (number(at), number(at + 500))).unzip();
        let mut all = vec![];
        for first in 0..400 {
            for last in first..400.min(first + 5) {
                all.push(Span { first, last, logit: starts[first] + ends[last] });
            }
        }
        all.sort_by(Span::compare);
        for count in [1, 3, 50, 10_000] {
            let expected = &all[..count.min(all.len())];
            assert_eq!(best_spans(&starts, &ends, 5, count), expected);
        }
    }

    #[test]
    fn windows_are_those_of_the_original() {
        assert_eq!(windows_of(10, 10, 4).len(), 1);
        assert_eq!(windows_of(11, 10, 4), [0..10, 4..11]);
        assert_eq!(windows_of(30, 10, 128), [0..10, 10..20, 20..30]);
        assert_eq!(windows_of(3, 1, 1), [0..1, 1..2, 2..3]);
        for (length, room, stride) in [(1000, 300, 128), (999, 7, 3), (385, 384, 1)] {
            let windows = windows_of(length, room, stride);
            for token in 0..length {
                let window = &windows[best_window(&windows, token)];
                assert!(window.contains(&token) && window.len() <= room);
            }
        }
    }

    #[test]
    fn context_counts_on_the_poorer_side_and_a_little_the_length() {
        // Token 5 has 4 on its poorer side in each; the longer window wins.
        assert_eq!(best_window(&[0..10, 1..12], 5), 1);
        assert_eq!(best_window(&[0..10, 1..11], 5), 0);
        assert_eq!(best_window(&[0..10, 4..14], 7), 1);
    }
}
