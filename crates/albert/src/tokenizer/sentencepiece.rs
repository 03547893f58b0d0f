//! SentencePiece's unigram model as it is in `spiece.model`: its own normalisation and its own
//! search, to the last bit. Nothing of ALBERT is here.
//!
//! Written after SentencePiece 0.2.3, `normalizer.cc` and `unigram_model.cc`. The search adds
//! scores in `f32` along the whole text, so that what is chosen between nearly equal cuts depends
//! on all that stands before; a search word by word, or in `f64`, gives other ids now and then.

use std::collections::HashMap;

use prost::Message;

use super::spanned::{Spanned, join};
use super::trie::Trie;

/// An unknown character scores this much less than the worst piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// Sums beyond this are set back to zero while searching.
const SCORE_RESET: f32 = 100_000.0;

/// Bytes that a rule may put in the place of a few characters; SentencePiece's own have at most 33.
/// A longer one could make gigabytes of a line.
const REPLACEMENT_BYTES_MAX: usize = 64;

/// The character that stands for a space.
pub(super) const SPACE: char = '▁';

/// The messages of `sentencepiece_model.proto`, as far as they are used.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Model {
        #[prost(message, repeated, tag = "1")]
        pub(super) pieces: Vec<Piece>,
        #[prost(message, optional, tag = "2")]
        pub(super) trainer: Option<Trainer>,
        #[prost(message, optional, tag = "3")]
        pub(super) normalizer: Option<Normalizer>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Piece {
        #[prost(string, optional, tag = "1")]
        pub(super) piece: Option<String>,
        #[prost(float, optional, tag = "2")]
        pub(super) score: Option<f32>,
        #[prost(enumeration = "Kind", optional, tag = "3")]
        pub(super) kind: Option<i32>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Trainer {
        #[prost(int32, optional, tag = "3")]
        pub(super) model_type: Option<i32>,
        #[prost(bool, optional, tag = "24")]
        pub(super) treat_whitespace_as_suffix: Option<bool>,
        #[prost(bool, optional, tag = "35")]
        pub(super) byte_fallback: Option<bool>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Normalizer {
        #[prost(bytes = "vec", optional, tag = "2")]
        pub(super) precompiled_charsmap: Option<Vec<u8>>,
        #[prost(bool, optional, tag = "3")]
        pub(super) add_dummy_prefix: Option<bool>,
        #[prost(bool, optional, tag = "4")]
        pub(super) remove_extra_whitespaces: Option<bool>,
        #[prost(bool, optional, tag = "5")]
        pub(super) escape_whitespaces: Option<bool>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum Kind {
        Normal = 1,
        Unknown = 2,
        Control = 3,
        UserDefined = 4,
        Unused = 5,
        Byte = 6,
    }
}

use proto::Kind;

/// A SentencePiece unigram model.
#[derive(Debug)]
pub(super) struct SentencePiece {
    pieces: Vec<String>,
    kinds: Vec<Kind>,
    /// What each piece adds to the score of a cut; unknown characters for the unknown piece.
    scores: Vec<f32>,
    ids: HashMap<String, u32>,
    unknown: u32,
    trie: Trie,
    rules: Rules,
    charsmap: Vec<u8>,
    /// Pieces that are taken from the text as they are, unnormalised.
    user_defined: Trie,
    remove_extra_spaces: bool,
    add_prefix: bool,
}

/// Replacements of the longest matching prefix.
#[derive(Debug)]
struct Rules {
    trie: Trie,
    /// Replacements, each ended by a NUL byte; the trie has their places.
    replacements: Vec<u8>,
}

/// The best cut that ends at one byte.
#[derive(Debug, Clone, Copy)]
struct Node {
    score: f32,
    /// The score of the best other cut that ends here.
    second: f32,
    start: u32,
    piece: u32,
}

const UNREACHED: u32 = u32::MAX;

/// One piece of the best cut: its id and the byte where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) piece: u32,
    pub(super) end: u32,
}

/// The best cut of a text, with the buffers of the search.
#[derive(Debug, Default)]
pub(super) struct Search {
    nodes: Vec<Node>,
    /// The pieces, in order; unknown characters one by one.
    pub(super) cuts: Vec<Cut>,
    /// The score at the end.
    pub(super) score: f32,
    /// How much worse the nearest other choice was, over all places where the best cut chose.
    pub(super) margin: f32,
}

impl SentencePiece {
    /// Reads the content of a `spiece.model`; the error is a sentence without the file's name.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, String> {
        let model = proto::Model::decode(bytes)
            .map_err(|error| format!("not a SentencePiece model: {error}"))?;
        let trainer = model.trainer.unwrap_or_default();
        let normalizer = model.normalizer.unwrap_or_default();
        if trainer.model_type.unwrap_or(1) != 1 {
            return Err("only unigram models are supported, and this is another kind".into());
        }
        if trainer.byte_fallback == Some(true) {
            return Err("models with byte fallback are not supported".into());
        }
        if trainer.treat_whitespace_as_suffix == Some(true)
            || normalizer.escape_whitespaces == Some(false)
        {
            return Err("only models that mark spaces by a leading ▁ are supported".into());
        }
        let charsmap = normalizer.precompiled_charsmap.unwrap_or_default();
        let mut result = Self {
            pieces: Vec::new(),
            kinds: Vec::new(),
            scores: Vec::new(),
            ids: HashMap::new(),
            unknown: 0,
            trie: Trie::build(Vec::new())?,
            rules: Rules::new(&charsmap)?,
            charsmap,
            user_defined: Trie::build(Vec::new())?,
            remove_extra_spaces: normalizer.remove_extra_whitespaces.unwrap_or(true),
            add_prefix: normalizer.add_dummy_prefix.unwrap_or(true),
        };
        result.read_pieces(model.pieces)?;
        result.build_tries()?;
        Ok(result)
    }

    fn read_pieces(&mut self, pieces: Vec<proto::Piece>) -> Result<(), String> {
        let mut unknown = None;
        let mut lowest = f32::MAX;
        for (piece, id) in pieces.into_iter().zip(0..) {
            let kind = piece.kind();
            let score = piece.score.unwrap_or(0.0);
            let text = piece.piece.unwrap_or_default();
            if text.is_empty() || text.contains('\0') || !score.is_finite() {
                return Err(format!("piece {id} is empty, holds a NUL or has no finite score"));
            }
            match kind {
                Kind::Normal => lowest = lowest.min(score),
                Kind::Unknown if unknown.is_some() => return Err("two pieces are unknown".into()),
                Kind::Unknown => unknown = Some(id),
                Kind::Byte => return Err("models with byte pieces are not supported".into()),
                Kind::Control | Kind::UserDefined | Kind::Unused => {}
            }
            if self.ids.insert(text.clone(), id).is_some() {
                return Err(format!("the piece {text} is there twice"));
            }
            // A longer user-defined piece must win over the shorter ones it is made of.
            let user_defined = (0.1 * (text.len() as f64 - 1.0)) as f32;
            self.scores.push(if kind == Kind::UserDefined { user_defined } else { score });
            self.kinds.push(kind);
            self.pieces.push(text);
        }
        self.unknown = unknown.ok_or("there is no unknown piece")?;
        self.scores[self.unknown as usize] = lowest - UNKNOWN_PENALTY;
        Ok(())
    }

    fn build_tries(&mut self) -> Result<(), String> {
        let of = |kinds: &[Kind]| {
            let pieces = self.pieces.iter().zip(&self.kinds).zip(0..);
            let wanted = pieces.filter(|((_, kind), _)| kinds.contains(kind));
            Trie::build(wanted.map(|((piece, _), id)| (piece.as_bytes(), id)).collect())
        };
        let tries = (of(&[Kind::Normal, Kind::UserDefined])?, of(&[Kind::UserDefined])?);
        (self.trie, self.user_defined) = tries;
        Ok(())
    }

    pub(super) fn pieces(&self) -> &[String] {
        &self.pieces
    }

    pub(super) fn id(&self, piece: &str) -> Option<u32> {
        self.ids.get(piece).copied()
    }

    pub(super) fn unknown(&self) -> u32 {
        self.unknown
    }

    /// What the piece adds to the score of a cut.
    pub(super) fn score(&self, piece: u32) -> f32 {
        self.scores[piece as usize]
    }

    pub(super) fn is_user_defined(&self, piece: u32) -> bool {
        self.kinds[piece as usize] == Kind::UserDefined
    }

    /// The normalisation rules as they are in the file.
    pub(super) fn charsmap(&self) -> &[u8] {
        &self.charsmap
    }

    /// Whether cutting a text at its spaces and encoding the words gives the same pieces.
    pub(super) fn words_are_independent(&self) -> bool {
        let inner_space = |piece: &String| piece.chars().skip(1).any(|c| c == SPACE || c == ' ');
        // Unknown characters in a row are one token, so a known `▁` must stand between words.
        let has_mark = self.pieces.iter().zip(&self.kinds).any(|(piece, &kind)| {
            piece.chars().eq([SPACE]) && matches!(kind, Kind::Normal | Kind::UserDefined)
        });
        has_mark
            && self.add_prefix
            && self.remove_extra_spaces
            && !self.pieces.iter().any(inner_space)
            && !self.rules.trie.has_key_with_inner(b' ')
    }

    /// SentencePiece's own normalisation of `text` into `out`: rules, single spaces as `▁`, and
    /// one in front.
    pub(super) fn normalize(&self, text: &Spanned, out: &mut Spanned) {
        out.clear();
        let mut before_space = self.remove_extra_spaces;
        let (mut byte, mut character) = (0, 0);
        let mut started = false;
        while byte < text.text.len() {
            let rest = &text.text[byte..];
            let (replacement, length) = self.normalized_prefix(rest);
            let count = rest[..length].chars().count();
            let span = join(text.spans[character], text.spans[character + count - 1]);
            (byte, character) = (byte + length, character + count);
            if !started {
                if self.remove_extra_spaces && replacement == " " {
                    continue;
                }
                started = true;
                if self.add_prefix {
                    out.push(SPACE, (span.0, span.0));
                }
            }
            let replacement =
                if before_space { replacement.trim_start_matches(' ') } else { replacement };
            for c in replacement.chars() {
                out.push(if c == ' ' { SPACE } else { c }, span);
            }
            if !replacement.is_empty() {
                before_space = self.remove_extra_spaces && replacement.ends_with(' ');
            }
        }
        while self.remove_extra_spaces && out.text.ends_with(SPACE) {
            out.text.pop();
            out.spans.pop();
        }
    }

    /// What the longest rule at the start of `text` makes of it, and how many bytes it takes.
    fn normalized_prefix<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        let mut longest = 0;
        self.user_defined.prefixes(text.as_bytes(), |length, _| longest = length);
        if longest > 0 {
            return (&text[..longest], longest);
        }
        if let Some(replaced) = self.rules.longest(text) {
            return replaced;
        }
        let length = text.chars().next().map_or(0, char::len_utf8);
        (&text[..length], length)
    }

    /// Finds the best cut of a normalised text whose score so far is `score`.
    pub(super) fn search(&self, text: &str, score: f32, search: &mut Search) {
        let unreached = Node { score: 0.0, second: f32::MIN, start: UNREACHED, piece: 0 };
        search.nodes.clear();
        search.nodes.resize(text.len() + 1, unreached);
        search.nodes[0].score = score;
        let unknown_score = self.scores[self.unknown as usize];
        let mut frontier = 0;
        for (start, character) in text.char_indices() {
            if search.nodes[start].score.abs() > SCORE_RESET {
                reset(&mut search.nodes[start..=frontier.max(start)]);
            }
            let so_far = search.nodes[start].score;
            let mut covered = false;
            self.trie.prefixes(&text.as_bytes()[start..], |length, piece| {
                covered |= length == character.len_utf8();
                frontier = frontier.max(start + length);
                let score = self.scores[piece as usize] + so_far;
                search.nodes[start + length].offer(score, start, piece);
            });
            if !covered {
                let end = start + character.len_utf8();
                frontier = frontier.max(end);
                search.nodes[end].offer(unknown_score + so_far, start, self.unknown);
            }
        }
        search.trace(text.len());
    }
}

/// Sets the score of the first node to zero and the others, as far as reached, by as much.
fn reset(nodes: &mut [Node]) {
    let offset = nodes[0].score;
    nodes[0].score = 0.0;
    for node in nodes[1..].iter_mut().filter(|node| node.start != UNREACHED) {
        node.score -= offset;
        node.second -= offset;
    }
}

impl Node {
    #[inline]
    fn offer(&mut self, score: f32, start: usize, piece: u32) {
        if self.start == UNREACHED || score > self.score {
            self.second = if self.start == UNREACHED { f32::MIN } else { self.score };
            (self.score, self.start, self.piece) = (score, start as u32, piece);
        } else {
            self.second = self.second.max(score);
        }
    }
}

impl Search {
    fn trace(&mut self, size: usize) {
        self.cuts.clear();
        self.score = self.nodes[size].score;
        self.margin = f32::MAX;
        let mut end = size;
        while end > 0 {
            let node = self.nodes[end];
            self.cuts.push(Cut { piece: node.piece, end: end as u32 });
            self.margin = self.margin.min(node.score - node.second);
            end = node.start as usize;
        }
        self.cuts.reverse();
    }
}

impl Rules {
    /// `charsmap` is: the size of the trie in bytes (u32), the trie, the replacements.
    fn new(charsmap: &[u8]) -> Result<Self, String> {
        if charsmap.is_empty() {
            return Ok(Self { trie: Trie::build(Vec::new())?, replacements: Vec::new() });
        }
        let parts = charsmap
            .split_first_chunk()
            .and_then(|(size, rest)| rest.split_at_checked(u32::from_le_bytes(*size) as usize));
        let (trie, replacements) = parts.ok_or("the normalisation rules are cut off")?;
        let longest = replacements.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0);
        if longest > REPLACEMENT_BYTES_MAX {
            return Err(format!(
                "a normalisation rule puts in {longest} bytes, and may put in \
                 {REPLACEMENT_BYTES_MAX} at most"
            ));
        }
        Ok(Self { trie: Trie::from_bytes(trie), replacements: replacements.to_vec() })
    }

    fn longest<'a>(&'a self, text: &str) -> Option<(&'a str, usize)> {
        let mut longest = None;
        self.trie.prefixes(text.as_bytes(), |length, place| longest = Some((length, place)));
        let (length, place) = longest?;
        let replacement = self.replacements.get(place as usize..)?;
        let end = replacement.iter().position(|&byte| byte == 0)?;
        // A damaged file could end a match inside a character.
        let whole = text.is_char_boundary(length);
        std::str::from_utf8(&replacement[..end]).ok().filter(|_| whole).map(|text| (text, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(model: &SentencePiece, text: &str) -> Vec<u32> {
        let (mut normalized, mut search) = (Spanned::default(), Search::default());
        model.normalize(&Spanned::new(text, 0), &mut normalized);
        model.search(&normalized.text, 0.0, &mut search);
        let mut ids: Vec<u32> = search.cuts.iter().map(|cut| cut.piece).collect();
        ids.dedup_by(|b, a| a == b && *a == model.unknown());
        ids
    }

    /// Sentences with the ids of SentencePiece itself, as they are and lower-cased.
    #[test]
    fn gives_the_ids_of_sentencepiece() {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/albert");
        let Ok(bytes) = std::fs::read(format!("{data}/spiece.model")) else {
            println!("skipped: {data} is not there");
            return;
        };
        let model = SentencePiece::new(&bytes).unwrap();
        assert!(model.words_are_independent());
        let fixtures =
            std::fs::read_to_string(format!("{data}/sentencepiece_fixtures.jsonl")).unwrap();
        let mut count = 0;
        for line in fixtures.lines() {
            let fixture: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = fixture["text"].as_str().unwrap();
            assert_eq!(serde_json::json!(ids(&model, text)), fixture["ids"], "{text}");
            let lower = text.to_lowercase();
            assert_eq!(serde_json::json!(ids(&model, &lower)), fixture["ids_lower"], "{lower}");
            count += 1;
        }
        assert_eq!(count, 607);
    }

    #[test]
    fn a_damaged_model_is_an_error_or_harmless() {
        let piece = |piece: &str, score, kind| proto::Piece {
            piece: Some(piece.into()),
            score: Some(score),
            kind: Some(kind as i32),
        };
        let model = |charsmap: &[u8]| proto::Model {
            pieces: vec![
                piece("<unk>", 0.0, Kind::Unknown),
                piece("▁", -1.0, Kind::Normal),
                piece("a", -2.0, Kind::Normal),
            ],
            trainer: None,
            normalizer: Some(proto::Normalizer {
                precompiled_charsmap: Some(charsmap.to_vec()),
                ..Default::default()
            }),
        };
        let good = model(&[]).encode_to_vec();
        assert_eq!(ids(&SentencePiece::new(&good).unwrap(), " a  ab\t"), [1, 2, 1, 2, 0]);
        for end in 0..good.len() {
            let _ = SentencePiece::new(&good[..end]);
        }
        assert!(SentencePiece::new(&model(&[200, 0, 0, 0, 1]).encode_to_vec()).is_err());
        let mut charsmap = vec![64, 0, 0, 0];
        charsmap.extend((0..90_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8));
        ids(&SentencePiece::new(&model(&charsmap).encode_to_vec()).unwrap(), "aéb c");
    }
}
