//! Paragraphs to sentences, by rule: no model, no language setting.
//!
//! The rules are for English and for scripts with sentence ends of their own (Chinese, Japanese,
//! Hindi, Arabic, ...). A full stop ends a sentence when white space and something that can
//! start a sentence follow, unless the word before it is an abbreviation or an initial. Where an
//! abbreviation may as well end the sentence ("in the U.S. The ..."), the next word decides: a
//! common first word such as "The" starts a sentence, a name does not (after Kiss and Strunk
//! 2006, *Unsupervised Multilingual Sentence Boundary Detection*, with fixed lists).

/// Splits a paragraph into sentences, without the white space around them. Never yields an empty
/// sentence; a paragraph without sentence ends is one sentence.
#[must_use]
pub fn split_sentences(paragraph: &str) -> Sentences<'_> {
    // In a text without capitals ("i left. it rained.") a lower-case letter can start a sentence.
    let lower_case_starts = !paragraph.chars().any(char::is_uppercase);
    Sentences { rest: paragraph, lower_case_starts }
}

/// The sentences of a paragraph, see [`split_sentences`].
#[derive(Debug, Clone)]
pub struct Sentences<'a> {
    rest: &'a str,
    lower_case_starts: bool,
}

impl<'a> Iterator for Sentences<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        if text.is_empty() {
            return None;
        }
        let (sentence, rest) = text.split_at(first_sentence_end(text, self.lower_case_starts));
        self.rest = rest;
        Some(sentence.trim_end())
    }
}

/// The byte offset after the first sentence of `text`, at most its length.
fn first_sentence_end(text: &str, lower_case_starts: bool) -> usize {
    let mut seen_letter = false;
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        seen_letter |= character.is_alphabetic();
        if !is_terminator(character) && !is_unspaced_terminator(character) {
            at += character.len_utf8();
            continue;
        }
        let run = Run::at(text, at);
        if run.ends_sentence(seen_letter, lower_case_starts) {
            return run.end;
        }
        at = run.end;
    }
    text.len()
}

/// Sentence-ending punctuation with the closing quotes and brackets behind it.
struct Run<'a> {
    text: &'a str,
    start: usize,
    /// The punctuation alone, for example "?!".
    marks: &'a str,
    /// Byte offset behind the closing quotes and brackets.
    end: usize,
}

impl<'a> Run<'a> {
    fn at(text: &'a str, start: usize) -> Self {
        let after = text[start..]
            .trim_start_matches(|c: char| is_terminator(c) || is_unspaced_terminator(c));
        let marks = &text[start..text.len() - after.len()];
        let end = text.len() - after.trim_start_matches(is_closer).len();
        Self { text, start, marks, end }
    }

    fn ends_sentence(&self, seen_letter: bool, lower_case_starts: bool) -> bool {
        let after = &self.text[self.end..];
        let next = after.trim_start();
        if next.is_empty() || self.marks.contains(is_unspaced_terminator) {
            return true;
        }
        let first = next.trim_start_matches(is_opener).chars().next().unwrap_or('.');
        if after.len() == next.len() {
            return is_ideograph(first) && !self.marks.contains(['.', '…']);
        }
        if first.is_lowercase() && !lower_case_starts {
            return false;
        }
        // "1. The first": a number alone is not a sentence but a label of one.
        self.marks != "." || (seen_letter && !self.is_abbreviation(next))
    }

    /// Whether the full stop belongs to the word before it and the sentence goes on with `next`.
    fn is_abbreviation(&self, next: &str) -> bool {
        let before = &self.text[..self.start];
        let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
        let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
        let next = next.trim_start_matches(is_opener);
        // No word of the lists is longer; keeps the cost of a word of a megabyte bounded.
        if word.len() > LONGEST_ABBREVIATION {
            return false;
        }
        let lower = word.to_lowercase();
        if ALWAYS_GO_ON.contains(&lower.as_str()) {
            return true;
        }
        if next.starts_with(|c: char| c.is_numeric()) {
            return is_single_letter(word)
                || BEFORE_A_NUMBER.contains(&lower.as_str())
                || MONTHS.contains(&word);
        }
        let may_go_on = is_single_letter(word)
            || is_dotted(word)
            || MONTHS.contains(&word)
            || MAY_GO_ON.contains(&lower.as_str());
        may_go_on && !starts_with_a_common_first_word(next)
    }
}

fn is_terminator(character: char) -> bool {
    matches!(character, '.' | '!' | '?' | '…')
}

/// Ends a sentence without white space behind it: CJK, Devanagari, Arabic, Armenian, Ethiopic,
/// Burmese and Khmer.
fn is_unspaced_terminator(character: char) -> bool {
    matches!(character, '。' | '！' | '？' | '｡' | '।' | '॥' | '؟' | '۔' | '։' | '።' | '။' | '។')
}

fn is_closer(character: char) -> bool {
    matches!(character, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '」' | '』' | '）' | '】')
}

fn is_opener(character: char) -> bool {
    matches!(
        character,
        '"' | '\''
            | '('
            | '['
            | '{'
            | '“'
            | '‘'
            | '«'
            | '„'
            | '¿'
            | '¡'
            | '—'
            | '–'
            | '-'
            | '*'
    )
}

fn is_ideograph(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{323af}')
}

fn is_single_letter(word: &str) -> bool {
    let mut characters = word.chars();
    characters.next().is_some_and(char::is_alphabetic) && characters.next().is_none()
}

/// Letters with full stops between them: "U.S", "a.m", "Ph.D".
fn is_dotted(word: &str) -> bool {
    word.contains('.')
        && word.split('.').all(|part| {
            (1..=2).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphabetic())
        })
}

fn starts_with_a_common_first_word(text: &str) -> bool {
    let word_end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    // "J. A. Smith": an initial, not the article.
    if word_end > LONGEST_ABBREVIATION || text[word_end..].starts_with('.') {
        return false;
    }
    COMMON_FIRST_WORDS.contains(&text[..word_end].to_lowercase().as_str())
}

/// Bytes; an upper limit for the entries of the lists below.
const LONGEST_ABBREVIATION: usize = 16;

/// Never the last word of a sentence.
#[rustfmt::skip]
const ALWAYS_GO_ON: &[&str] = &[
    "mr", "mrs", "ms", "messrs", "dr", "prof", "rev", "hon", "gen", "col", "lt", "maj", "sgt",
    "capt", "cmdr", "adm", "brig", "gov", "sen", "rep", "pres", "msgr", "e.g", "eg", "i.e", "ie",
    "vs", "cf", "viz", "approx",
];

/// Abbreviations when a number follows ("No. 5"), words when not ("He said no. She ...").
#[rustfmt::skip]
const BEFORE_A_NUMBER: &[&str] = &[
    "no", "nos", "nr", "fig", "figs", "vol", "vols", "pp", "ch", "sec", "art", "eq", "eqs", "op",
    "ca", "est", "ed", "ver", "tel", "pt", "para", "st", "ft", "mt",
];

/// Only with a capital: "Mar." is a month, "mar." is a verb.
#[rustfmt::skip]
const MONTHS: &[&str] = &[
    "Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec",
];

/// Abbreviations that a name often follows and that may also end a sentence.
#[rustfmt::skip]
const MAY_GO_ON: &[&str] = &[
    "etc", "inc", "ltd", "co", "corp", "bros", "jr", "sr", "esq", "al", "st", "mt", "ft", "fr",
    "dept", "univ", "ave", "blvd", "rd", "hwy", "vol", "op", "ed", "eds", "trans", "phd", "est",
    "fl", "lit", "lat",
];

/// Words that begin a sentence when they have a capital and follow a full stop.
#[rustfmt::skip]
const COMMON_FIRST_WORDS: &[&str] = &[
    "a", "about", "after", "all", "also", "although", "among", "an", "and", "another", "any",
    "as", "at", "because", "before", "between", "both", "but", "by", "conversely", "despite",
    "during", "each", "earlier", "early", "even", "every", "few", "finally", "first", "following",
    "for", "from", "furthermore", "given", "he", "her", "here", "his", "how", "however", "i",
    "if", "in", "instead", "it", "its", "later", "like", "many", "meanwhile", "more", "moreover",
    "most", "my", "no", "nor", "not", "now", "of", "on", "once", "one", "only", "or", "other",
    "others", "our", "over", "several", "she", "since", "so", "some", "soon", "still", "such",
    "that", "the", "their", "then", "there", "therefore", "these", "they", "this", "those",
    "though", "through", "thus", "to", "today", "two", "under", "unlike", "until", "upon", "we",
    "what", "when", "where", "whether", "which", "while", "who", "why", "with", "within",
    "without", "yet", "you", "your",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that the sentences of the joined text are the given ones.
    fn holds(sentences: &[&str]) {
        let found: Vec<_> = split_sentences(&sentences.join(" ")).map(str::to_owned).collect();
        assert_eq!(found, sentences);
    }

    #[test]
    fn plain_sentences() {
        holds(&["It rained.", "We left!", "Did you see it?", "No?!", "Yes."]);
        holds(&["Etymology and terminology."]);
        holds(&["No sentence end here"]);
        holds(&["The first use was in 1539.", "Later ones follow."]);
        holds(&["It ended in 1990.", "2001 was better."]);
    }

    #[test]
    fn abbreviations() {
        holds(&["Mr. Smith met Dr. Jones and Prof. Brown.", "They talked."]);
        holds(&["Some fruits, e.g. Apples, i.e. Round ones, are cheap.", "Others are not."]);
        holds(&["The U.S. Army arrived.", "It left the U.S. The war was over."][..1]);
        holds(&["It left the U.S.", "The war was over."]);
        holds(&["He lives in Washington, D.C.", "He works there."]);
        holds(&["J. R. R. Tolkien and C. S. Lewis met.", "They wrote."]);
        holds(&["J. A. Smith came."]);
        holds(&["Apple Inc. Shares rose."]);
        holds(&["He works at Apple Inc.", "The shares rose."]);
        holds(&["See No. 5 and Fig. 3, pp. 12 to 15, c. 1500."]);
        holds(&["He said no.", "She said yes."]);
        holds(&["On Jan. 5 it began.", "We sat.", "John came."]);
        holds(&["She arrived at 5 p.m. Tuesday.", "Then she slept."]);
        holds(&["Cats, dogs, etc. are animals."]);
        holds(&["St. Louis is a city.", "Martin Luther King Jr. Day is in January."]);
    }

    #[test]
    fn numbers_and_labels() {
        holds(&["It weighs 3.5 kg and costs $2.50.", "Cheap."]);
        holds(&["1. The first point.", "2. The second point."]);
        holds(&["Version 1.2.3 is out.", "Get it at example.com today."]);
    }

    #[test]
    fn quotes_brackets_and_ellipses() {
        holds(&["He said \"Stop.\"", "She stopped."]);
        holds(&["(It was late.)", "They went home."]);
        holds(&["“Why?” he asked.", "“Because.”", "‘Fine.’"]);
        holds(&["Well... maybe not.", "Wait...", "What?"]);
        holds(&["Well… maybe.", "Hmm…", "Yes."]);
        holds(&["He left (in the end).", "[Applause.]", "She smiled."]);
        holds(&["He stayed.", "– She left."]);
    }

    #[test]
    fn other_scripts() {
        let found: Vec<_> = split_sentences("今天下雨。我们走吧！你来吗？“好的。”他说").collect();
        assert_eq!(found, ["今天下雨。", "我们走吧！", "你来吗？", "“好的。”", "他说"]);
        let found: Vec<_> = split_sentences("你来吗?我来!圆周率是3.14左右。").collect();
        assert_eq!(found, ["你来吗?", "我来!", "圆周率是3.14左右。"]);
        holds(&["यह पहला है।", "यह दूसरा है।"]);
        holds(&["Москва столица.", "Она велика."]);
    }

    #[test]
    fn text_without_capitals() {
        holds(&["i went home.", "it was late.", "mr. smith slept."]);
        holds(&["I said so. and left."]);
    }

    #[test]
    fn white_space_and_nothing() {
        assert_eq!(split_sentences("  \t ").count(), 0);
        assert_eq!(split_sentences("").count(), 0);
        let found: Vec<_> = split_sentences("  One.  \t Two. \r").collect();
        assert_eq!(found, ["One.", "Two."]);
        assert_eq!(split_sentences("... ... !!! ???").count(), 4);
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        let started = std::time::Instant::now();
        for pattern in ["1. ", "a.", "a. ", ". ", "\"", "(A.) ", "…", "x"] {
            let text = pattern.repeat(1_000_000 / pattern.len());
            assert!(split_sentences(&text).map(str::len).sum::<usize>() <= text.len());
        }
        assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
    }
}
