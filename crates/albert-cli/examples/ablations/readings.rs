//! What people write into the document. It stands between marks, one pair for each section, and
//! stays as it is when the document is written again.

use std::collections::BTreeMap;
use std::path::Path;

use albert::files;
use anyhow::{Result, bail};

const BEGIN: &str = "<!-- reading: ";
const END: &str = "<!-- end of reading -->";

/// The sections of a document that people write, by name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Readings(BTreeMap<String, String>);

impl Readings {
    /// Those of a document; none if it does not exist yet.
    ///
    /// # Errors
    /// Marks that do not pair, or a section that none of `names` is: writing the document again
    /// would lose it.
    pub(crate) fn read(path: &Path, names: &[&str]) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let (mut sections, mut open) = (BTreeMap::new(), None::<(String, String)>);
        for (number, line) in (1..).zip(files::read_text(path)?.lines()) {
            let place = format!("{}: line {number}", path.display());
            let begins = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->"));
            match (begins, &mut open) {
                (Some(_), Some((name, _))) => {
                    bail!("{place}: the reading of {name} has not ended: add {END}")
                }
                (Some(name), None) if !names.contains(&name) || sections.contains_key(name) => {
                    bail!(
                        "{place}: a reading of {name:?} has no place of its own in the document: \
                         move its text to another one ({})",
                        names.join(", ")
                    )
                }
                (Some(name), None) => open = Some((name.to_owned(), String::new())),
                (None, Some(_)) if line == END => sections.extend(open.take()),
                (None, None) if line == END => bail!("{place}: no reading ends here: remove it"),
                (None, Some((_, text))) => {
                    text.push_str(line);
                    text.push('\n');
                }
                (None, None) => {}
            }
        }
        match open {
            Some((name, _)) => {
                bail!("{}: the reading of {name} does not end: add {END}", path.display())
            }
            None => Ok(Self(sections)),
        }
    }

    /// A section with its marks; empty until someone writes it.
    pub(crate) fn section(&self, name: &str) -> String {
        let text = self.0.get(name).map_or("\n", String::as_str);
        format!("{BEGIN}{name} -->\n{text}{END}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Readings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        std::fs::write(&path, text).unwrap();
        Readings::read(&path, &["one", "two"])
    }

    #[test]
    fn what_is_written_stays_as_it_is() {
        let text = "Wide is better,\n\n| a | b |\nbut slower.\n";
        let readings =
            read(&format!("# T\n{BEGIN}one -->\n{text}{END}\nmore\n{BEGIN}two -->\n{END}\n"))
                .unwrap();
        assert_eq!(readings.section("one"), format!("{BEGIN}one -->\n{text}{END}\n"));
        assert_eq!(readings.section("two"), format!("{BEGIN}two -->\n{END}\n"));
        let new = Readings::read(Path::new("no such file"), &[]).unwrap();
        assert_eq!(new.section("one"), format!("{BEGIN}one -->\n\n{END}\n"));
        // What is written by the program is read by it.
        assert_eq!(read(&new.section("one")).unwrap().section("one"), new.section("one"));
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        for (text, part) in [
            (format!("{BEGIN}three -->\nx\n{END}\n"), "\"three\""),
            (format!("{BEGIN}one -->\nx\n"), "does not end"),
            (format!("{BEGIN}one -->\nx\n{BEGIN}two -->\n{END}\n"), "line 3"),
            (format!("{END}\n"), "line 1"),
            (format!("{BEGIN}one -->\n{END}\n{BEGIN}one -->\n{END}\n"), "line 3"),
        ] {
            let message = read(&text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
