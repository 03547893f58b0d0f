//! HTML as it is put together. Text from elsewhere can only come in escaped: what stands in it as it
//! is must be a literal of the program.

use std::fmt::{Display, Write as _};

/// A piece of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// What the program itself says.
    pub(super) fn raw(&mut self, html: &'static str) {
        self.0 += html;
    }

    /// What may come from anywhere.
    pub(super) fn text(&mut self, text: impl Display) {
        let text = text.to_string();
        for character in text.chars() {
            match character {
                '&' => self.0 += "&amp;",
                '<' => self.0 += "&lt;",
                '>' => self.0 += "&gt;",
                '"' => self.0 += "&quot;",
                '\'' => self.0 += "&#39;",
                '\n' | '\t' => self.0.push(character),
                // HTML has none of these.
                control if control.is_control() => self.0.push(char::REPLACEMENT_CHARACTER),
                other => self.0.push(other),
            }
        }
    }

    /// An element with what `fill` puts into it.
    pub(super) fn within(
        &mut self,
        name: &'static str,
        class: &'static str,
        fill: impl FnOnce(&mut Self),
    ) {
        match class {
            "" => self.with(name, &[], fill),
            class => self.with(name, &[("class", &class)], fill),
        }
    }

    /// The same with any attributes.
    pub(super) fn with(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &dyn Display)],
        fill: impl FnOnce(&mut Self),
    ) {
        let _ = write!(self.0, "<{name}");
        for (key, value) in attributes {
            let _ = write!(self.0, " {key}=\"");
            self.text(value);
            self.0.push('"');
        }
        self.0.push('>');
        fill(self);
        let _ = write!(self.0, "</{name}>");
    }

    /// An element with a text.
    pub(super) fn element(&mut self, name: &'static str, class: &'static str, text: impl Display) {
        self.within(name, class, |html| html.text(text));
    }

    /// A table whose columns after the first are numbers.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.wide_table(|html| {
            html.within("thead", "", |html| {
                html.within("tr", "", |html| {
                    head.iter().for_each(|name| html.element("th", "", name));
                });
            });
            html.within("tbody", "", |html| {
                for row in rows {
                    html.within("tr", "", |html| {
                        row.iter().for_each(|cell| html.element("td", "", cell));
                    });
                }
            });
        });
    }

    /// A table that can be moved sidewards where the page is narrower.
    pub(super) fn wide_table(&mut self, fill: impl FnOnce(&mut Self)) {
        self.within("div", "wide", |html| html.within("table", "", fill));
        self.raw("\n");
    }

    /// What is shown when it is asked for.
    pub(super) fn folded(&mut self, summary: &str, fill: impl FnOnce(&mut Self)) {
        self.within("details", "", |html| {
            html.element("summary", "", summary);
            fill(html);
        });
        self.raw("\n");
    }

    /// The whole page with this title, around this body.
    pub(super) fn page(title: &str, body: Self) -> String {
        let mut page = Self::default();
        // Whatever a text would do, a page with this policy runs nothing and asks nobody.
        page.raw(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
        );
        page.element("title", "", title);
        page.raw("\n<style>\n");
        page.raw(include_str!("style.css"));
        page.raw("</style>\n</head>\n<body>\n<main>\n");
        page.0 += &body.0;
        page.raw("</main>\n</body>\n</html>\n");
        page.0
    }

    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A score, or that there is none.
pub(super) fn score(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
}

/// A share of 1.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_wherever_they_stand() {
        let mut html = Html::default();
        let text = "<script>alert(\"a\" & 'b')</script>\u{0}\n";
        html.with("p", &[("title", &text)], |html| html.text(text));
        let safe = "&lt;script&gt;alert(&quot;a&quot; &amp; &#39;b&#39;)&lt;/script&gt;\u{fffd}\n";
        assert_eq!(html.as_str(), format!("<p title=\"{safe}\">{safe}</p>"));
        let mut html = Html::default();
        html.table(&[text], &[vec![text.to_owned()]]);
        html.folded(text, |html| html.element("b", "c", text));
        assert!(!html.as_str().contains("<script") && html.as_str().matches(safe).count() == 4);
        let page = Html::page(text, html);
        assert!(page.contains(&format!("<title>{safe}</title>")) && !page.contains("<script"));
    }
}
