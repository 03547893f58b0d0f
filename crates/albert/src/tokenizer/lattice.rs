//! The segmentation lattice of the unigram model (Kudo 2018): every way to cut a chunk of text
//! into pieces, with the expected use of each piece and the best cut, in `f64`.
//!
//! It has no part in SentencePiece's search, which is in `f32`.

use super::trie::Trie;

/// The score of a character that no piece covers, below the worst piece.
const UNKNOWN_PENALTY: f64 = 10.0;

/// One piece at one place in a chunk; `piece` is `None` for a character that no piece covers.
#[derive(Debug, Clone, Copy)]
struct Edge {
    start: u32,
    end: u32,
    piece: Option<u32>,
    score: f64,
}

/// The best way to one place in a chunk.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    start: u32,
    piece: Option<u32>,
}

/// Pieces with their scores.
#[derive(Debug)]
pub(super) struct Model {
    scores: Vec<f64>,
    trie: Trie,
    unknown_score: f64,
}

/// Buffers of one chunk, reused for the next.
#[derive(Debug, Default)]
pub(super) struct Lattice {
    edges: Vec<Edge>,
    forward: Vec<f64>,
    backward: Vec<f64>,
    best: Vec<Best>,
}

impl Model {
    /// The error says why the pieces cannot be found in a text: two are the same, or one is empty.
    pub(super) fn new(pieces: &[(String, f64)]) -> Result<Self, String> {
        let entries =
            pieces.iter().zip(0..).map(|((piece, _), id)| (piece.as_bytes(), id)).collect();
        let trie = Trie::build(entries)?;
        let scores: Vec<f64> = pieces.iter().map(|&(_, score)| score).collect();
        let lowest = scores.iter().copied().fold(0.0, f64::min);
        Ok(Self { scores, trie, unknown_score: lowest - UNKNOWN_PENALTY })
    }

    /// Calls `found` with the pieces that begin with `character` at `start`, shortest first.
    #[inline]
    fn edges_from(&self, text: &str, start: usize, character: char, mut found: impl FnMut(Edge)) {
        let mut covered = false;
        let edge = |length: usize, piece: Option<u32>, score| Edge {
            start: start as u32,
            end: (start + length) as u32,
            piece,
            score,
        };
        self.trie.prefixes(&text.as_bytes()[start..], |length, piece| {
            covered |= length == character.len_utf8();
            found(edge(length, Some(piece), self.scores[piece as usize]));
        });
        if !covered {
            found(edge(character.len_utf8(), None, self.unknown_score));
        }
    }
}

impl Lattice {
    /// Adds to `expected` how often each piece is used in `text`, over all cuts weighted by their
    /// probability, times `count`.
    pub(super) fn add_expected(
        &mut self,
        model: &Model,
        text: &str,
        count: f64,
        expected: &mut [f64],
    ) {
        self.edges.clear();
        for (start, character) in text.char_indices() {
            model.edges_from(text, start, character, |edge| self.edges.push(edge));
        }
        let size = text.len();
        self.forward.clear();
        self.forward.resize(size + 1, f64::NEG_INFINITY);
        self.backward.clone_from(&self.forward);
        self.forward[0] = 0.0;
        for edge in &self.edges {
            let reached = self.forward[edge.start as usize] + edge.score;
            log_add(&mut self.forward[edge.end as usize], reached);
        }
        self.backward[size] = 0.0;
        for edge in self.edges.iter().rev() {
            let reached = self.backward[edge.end as usize] + edge.score;
            log_add(&mut self.backward[edge.start as usize], reached);
        }
        let total = self.forward[size];
        for edge in &self.edges {
            if let Some(piece) = edge.piece {
                let log_probability = self.forward[edge.start as usize]
                    + edge.score
                    + self.backward[edge.end as usize]
                    - total;
                expected[piece as usize] += count * log_probability.exp();
            }
        }
    }

    /// Calls `visit` with the pieces of the best cut of `text`, last first; `None` stands for a
    /// character that no piece covers. With `without_whole` the piece that is the whole text is
    /// not allowed. Returns the score of that cut, or `None` if there is no other cut.
    pub(super) fn best(
        &mut self,
        model: &Model,
        text: &str,
        without_whole: bool,
        mut visit: impl FnMut(Option<u32>),
    ) -> Option<f64> {
        let size = text.len();
        self.best.clear();
        self.best.resize(size + 1, Best { score: f64::NEG_INFINITY, start: u32::MAX, piece: None });
        self.best[0].score = 0.0;
        for (start, character) in text.char_indices() {
            let so_far = self.best[start].score;
            model.edges_from(text, start, character, |edge| {
                let is_whole = edge.start == 0 && edge.end as usize == size;
                let end = &mut self.best[edge.end as usize];
                let score = so_far + edge.score;
                if score > end.score && !(without_whole && is_whole) {
                    *end = Best { score, start: edge.start, piece: edge.piece };
                }
            });
        }
        let mut position = size;
        while position > 0 {
            let best = self.best[position];
            if best.start == u32::MAX {
                return None;
            }
            visit(best.piece);
            position = best.start as usize;
        }
        Some(self.best[size].score)
    }
}

/// `sum = ln(exp(sum) + exp(value))`.
fn log_add(sum: &mut f64, value: f64) {
    let (high, low) = if *sum > value { (*sum, value) } else { (value, *sum) };
    *sum = if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(list: &[(&str, f64)]) -> Vec<(String, f64)> {
        list.iter().map(|&(piece, probability)| (piece.to_string(), probability.ln())).collect()
    }

    /// "ab" is either a|b (0.3 * 0.2) or ab (0.5): probabilities 0.06/0.56 and 0.5/0.56.
    #[test]
    fn expected_use_is_the_posterior() {
        let pieces = pieces(&[("a", 0.3), ("b", 0.2), ("ab", 0.5)]);
        let model = Model::new(&pieces).unwrap();
        let mut expected = [0.0; 3];
        Lattice::default().add_expected(&model, "ab", 2.0, &mut expected);
        let want = [2.0 * 0.06 / 0.56, 2.0 * 0.06 / 0.56, 2.0 * 0.5 / 0.56];
        for (value, want) in expected.iter().zip(want) {
            assert!((value - want).abs() < 1e-12, "{expected:?}");
        }
    }

    #[test]
    fn best_cut_with_and_without_the_whole() {
        let pieces = pieces(&[("a", 0.3), ("b", 0.2), ("ab", 0.5)]);
        let model = Model::new(&pieces).unwrap();
        let mut lattice = Lattice::default();
        let mut cut = Vec::new();
        lattice.best(&model, "ab", false, |piece| cut.extend(piece)).unwrap();
        assert_eq!(cut, [2]);
        cut.clear();
        let score = lattice.best(&model, "ab", true, |piece| cut.extend(piece)).unwrap();
        assert_eq!(cut, [1, 0]);
        assert!((score - 0.06_f64.ln()).abs() < 1e-12);
        assert!(lattice.best(&model, "a", true, |_| ()).is_none());
    }
}
