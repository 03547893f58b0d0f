//! Long texts: their beginning, or the parts around what matters, and the whole where it is asked
//! for.

use std::ops::Range;

use albert::tasks::Answer;

use super::html::Html;

/// Bytes of a text that are shown of a longer one.
const BEGINNING: usize = 320;
/// Texts longer than this are shortened: there is no sense in hiding a few words.
const LONG: usize = 480;
/// Bytes before and after what is marked.
const AROUND: usize = 140;

/// Writes a text, or its beginning with the whole behind it.
pub(super) fn write_long(html: &mut Html, text: &str) {
    if text.len() <= LONG {
        html.element("div", "words", text);
        return;
    }
    html.within("details", "", |html| {
        html.within("summary", "", |html| {
            let beginning = &text[..word_before(text, 0, BEGINNING)];
            html.element("span", "words", format!("{beginning}…"));
            html.text(format_args!(" (whole text, {} characters)", text.chars().count()));
        });
        html.element("div", "words", text);
    });
}

/// The last boundary of a character that is not after `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Where the last word before `at` ends that is not before `limit`, else `at`.
fn word_before(text: &str, limit: usize, at: usize) -> usize {
    let at = floor(text, at);
    let is_within = at < text.len() && !text[at..].starts_with(' ');
    let space = text[limit..at].rfind(' ').filter(|_| is_within);
    space.map_or(at, |space| limit + space)
}

/// A context in pieces: each is part of a right answer, of the predicted one, of both or of none.
pub(super) struct Passage<'a> {
    context: &'a str,
    pieces: Vec<(Range<usize>, &'static str)>,
    /// How often the predicted answer stands in it.
    pub(super) occurrences: usize,
}

impl<'a> Passage<'a> {
    pub(super) fn new(context: &'a str, gold: &[Answer], predicted: &str) -> Self {
        let right: Vec<Range<usize>> = gold.iter().map(|answer| answer.bytes.clone()).collect();
        let said: Vec<Range<usize>> = if predicted.is_empty() {
            Vec::new()
        } else {
            let found = context.match_indices(predicted);
            found.map(|(at, part)| at..at + part.len()).collect()
        };
        let mut bounds: Vec<usize> =
            right.iter().chain(&said).flat_map(|range| [range.start, range.end]).collect();
        bounds.extend([0, context.len()]);
        bounds.sort_unstable();
        bounds.dedup();
        let inside =
            |ranges: &[Range<usize>], at: usize| ranges.iter().any(|range| range.contains(&at));
        let class = |at: usize| match (inside(&right, at), inside(&said, at)) {
            (true, true) => "both",
            (true, false) => "right",
            (false, true) => "wrong",
            (false, false) => "",
        };
        let mut pieces: Vec<(Range<usize>, &'static str)> = Vec::new();
        for bounds in bounds.windows(2) {
            let class = class(bounds[0]);
            match pieces.last_mut() {
                Some((piece, same)) if *same == class => piece.end = bounds[1],
                _ => pieces.push((bounds[0]..bounds[1], class)),
            }
        }
        Self { context, pieces, occurrences: said.len() }
    }

    /// Writes it, shortened to what is around its marks if it is long.
    pub(super) fn write(&self, html: &mut Html) {
        let whole = 0..self.context.len();
        let kept = self.kept();
        if whole.len() <= LONG
            || kept.iter().map(Range::len).sum::<usize>() + BEGINNING > whole.len()
        {
            html.within("div", "words", |html| self.write_part(html, &whole));
            return;
        }
        html.within("details", "", |html| {
            html.within("summary", "", |html| {
                html.within("span", "words", |html| {
                    for part in &kept {
                        html.raw(if part.start > 0 { "… " } else { "" });
                        self.write_part(html, part);
                        html.raw(if part.end < whole.end { " …" } else { "" });
                    }
                });
                html.raw(" (whole text)");
            });
            html.within("div", "words", |html| self.write_part(html, &whole));
        });
    }

    /// The parts around what is marked, or the beginning if nothing is.
    fn kept(&self) -> Vec<Range<usize>> {
        let mut kept: Vec<Range<usize>> = Vec::new();
        for (piece, _) in self.pieces.iter().filter(|(_, class)| !class.is_empty()) {
            let start = self.word_after(piece.start.saturating_sub(AROUND), piece.start);
            let end = word_before(self.context, piece.end, piece.end + AROUND);
            match kept.last_mut() {
                Some(last) if last.end >= start => last.end = end.max(last.end),
                _ => kept.push(start..end),
            }
        }
        if kept.is_empty() {
            kept.push(0..floor(self.context, BEGINNING));
        }
        kept
    }

    /// Where the first word after `at` begins that is not after `limit`, else `at`.
    fn word_after(&self, at: usize, limit: usize) -> usize {
        let at = floor(self.context, at);
        let (before, after) = self.context[..limit].split_at(at);
        let space = after.find(' ').filter(|_| at > 0 && !before.ends_with(' '));
        space.map_or(at, |space| at + space + 1)
    }

    fn write_part(&self, html: &mut Html, part: &Range<usize>) {
        for (piece, class) in &self.pieces {
            let (start, end) = (piece.start.max(part.start), piece.end.min(part.end));
            if start >= end {
                continue;
            }
            let text = &self.context[start..end];
            if class.is_empty() {
                html.text(text);
            } else {
                html.element("mark", class, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(context: &str, text: &str) -> Answer {
        let at = context.find(text).unwrap();
        Answer { text: text.to_owned(), bytes: at..at + text.len() }
    }

    fn written(context: &str, gold: &[Answer], predicted: &str) -> String {
        let mut html = Html::default();
        Passage::new(context, gold, predicted).write(&mut html);
        html.as_str().to_owned()
    }

    #[test]
    fn answers_are_marked_also_where_they_overlap() {
        let context = "the <old> red house of Ann";
        let gold = [answer(context, "red house"), answer(context, "house")];
        assert_eq!(
            written(context, &gold, "house of Ann"),
            "<div class=\"words\">the &lt;old&gt; <mark class=\"right\">red </mark>\
             <mark class=\"both\">house</mark><mark class=\"wrong\"> of Ann</mark></div>"
        );
        // Of answers that overlap there is one mark.
        let gold = [answer(context, "red"), answer(context, "red house")];
        assert!(written(context, &gold, "").contains("<mark class=\"right\">red house</mark> of"));
        assert_eq!(written("a < b", &[], ""), "<div class=\"words\">a &lt; b</div>");
        assert_eq!(Passage::new("a b a", &[], "a").occurrences, 2);
    }

    #[test]
    fn long_contexts_are_cut_around_their_marks() {
        let context =
            format!("{}RIGHT{}WRONG{}", "é".repeat(600), "ü".repeat(600), "ö".repeat(600));
        let html = written(&context, &[answer(&context, "RIGHT")], "WRONG");
        let (summary, rest) = html.split_once("</summary>").unwrap();
        assert!(summary.contains("<mark class=\"right\">RIGHT</mark>"));
        assert!(summary.contains("<mark class=\"wrong\">WRONG</mark>"));
        assert_eq!(summary.matches('é').count(), AROUND / 2);
        assert_eq!(summary.matches('ü').count(), AROUND);
        assert_eq!(rest.matches(['é', 'ü', 'ö']).count(), 1800);
    }

    #[test]
    fn words_are_not_cut() {
        let context = format!("{}RIGHT {}", "eleven ".repeat(100), "twelve ".repeat(100));
        let html = written(&context, &[answer(&context, "RIGHT")], "");
        let (summary, _) = html.split_once("</summary>").unwrap();
        let (before, after) = summary.split_once("<mark class=\"right\">RIGHT</mark>").unwrap();
        assert!(before.ends_with(&format!("… {}", "eleven ".repeat(20))), "{before}");
        // 140 bytes are so many words with their spaces.
        assert!(after.starts_with(&format!("{} …", " twelve".repeat(20))), "{after}");
        assert_eq!(word_before("one two", 0, 99), 7);
        assert_eq!(word_before("one two", 0, 6), 3);
        assert_eq!(word_before("one two", 0, 3), 3);
    }

    #[test]
    fn long_texts_have_their_whole_behind_them() {
        let mut html = Html::default();
        let text = format!("<i>{}", "ñ".repeat(400));
        write_long(&mut html, &text);
        let html = html.as_str();
        assert!(html.starts_with("<details><summary>") && html.contains("403 characters"));
        let (summary, rest) = html.split_once("</summary>").unwrap();
        assert!(summary.matches('ñ').count() < 200 && rest.matches('ñ').count() == 400);
        let mut html = Html::default();
        write_long(&mut html, "short");
        assert_eq!(html.as_str(), "<div class=\"words\">short</div>");
    }
}
