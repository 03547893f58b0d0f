//! A tokenizer small enough to check by hand: `17+4.` is the pieces 17, 4 and the full stop.

use std::path::Path;

use crate::data::TextToIds;
use crate::error::Result;
use crate::tokenizer::SpecialTokens;

/// Numbers below this have pieces of their own; other words are hashed to them.
pub(super) const NUMBERS: u32 = 1000;

const FULL_STOP: u32 = 5;
const FIRST_START: u32 = 6;
const FIRST_CONTINUATION: u32 = FIRST_START + NUMBERS;

pub(super) const SPECIAL: SpecialTokens = SpecialTokens { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 };

pub(super) struct Toy {
    pub(super) vocab_size: usize,
    pub(super) fingerprint: String,
}

impl Default for Toy {
    fn default() -> Self {
        let vocab_size = (FIRST_CONTINUATION + NUMBERS) as usize;
        Self { vocab_size, fingerprint: "0123456789abcdef".repeat(4) }
    }
}

pub(super) fn starts_word(id: u32) -> bool {
    id < FIRST_CONTINUATION
}

impl TextToIds for Toy {
    fn encode_ids(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        for word in text.split_whitespace() {
            let stem = word.trim_end_matches('.');
            if stem == "?" {
                ids.push(SPECIAL.unk);
                continue;
            }
            for (index, piece) in stem.split('+').enumerate().filter(|(_, piece)| !piece.is_empty())
            {
                let first = if index == 0 { FIRST_START } else { FIRST_CONTINUATION };
                ids.push(first + number(piece));
            }
            ids.extend(std::iter::repeat_n(FULL_STOP, word.len() - stem.len()));
        }
        Ok(())
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn special_ids(&self) -> SpecialTokens {
        SPECIAL
    }

    fn word_starts(&self) -> Vec<bool> {
        (0..self.vocab_size as u32).map(starts_word).collect()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn save(&self, directory: &Path) -> Result<()> {
        crate::files::write_atomically(&directory.join("toy.txt"), |writer| {
            std::io::Write::write_all(writer, b"toy\n")
        })
    }
}

fn number(piece: &str) -> u32 {
    let digits = piece.trim_start_matches('X');
    digits.parse().unwrap_or_else(|_| {
        piece.bytes().fold(7, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)))
    }) % NUMBERS
}
