//! What is wrong or doubtful, where, and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// Longest text of one finding's parts, so that a wild value cannot flood a terminal.
const TEXT_CHARS_MAX: usize = 400;

/// A fault or a warning. Never holds a secret.
///
/// Shown as `waypost.toml:12:8: upstream[1].origin: what is wrong. Remedy.`
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    /// Where it is.
    pub(crate) place: Place,
    /// What is wrong: a sentence without its full stop.
    pub(crate) what: String,
    /// What to do: a sentence without its full stop, or a question.
    pub(crate) remedy: String,
}

/// Where something was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The configuration file; `None` for flags, variables and defaults.
    pub(crate) file: Option<PathBuf>,
    /// The position in the file, where there is one.
    pub(crate) at: Option<Position>,
    /// The key, such as `upstream[1].origin` (counted from 0), the flag or the variable; empty where
    /// the text is not TOML.
    pub(crate) key: String,
}

/// A position in a text, both counted from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Position {
    /// The line.
    pub(crate) line: usize,
    /// The column.
    pub(crate) column: usize,
}

impl Finding {
    /// A finding whose texts are fit for one line of a terminal.
    pub(crate) fn new(place: Place, what: impl AsRef<str>, remedy: impl AsRef<str>) -> Self {
        let place = Place { key: one_line(&place.key), ..place };
        Self { place, what: one_line(what.as_ref()), remedy: one_line(remedy.as_ref()) }
    }
}

impl Place {
    /// A flag, a variable, or a key that nobody wrote.
    pub(crate) fn outside(key: &str) -> Self {
        Self { file: None, at: None, key: key.to_owned() }
    }

    /// The same place, speaking of another key.
    pub(crate) fn about(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stop = if self.remedy.ends_with('?') { "" } else { "." };
        write!(f, "{}{}. {}{stop}", self.place, self.what, self.remedy)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(at) = self.at {
                write!(f, "{}:{}:", at.line, at.column)?;
            }
            f.write_str(" ")?;
        }
        if self.key.is_empty() { Ok(()) } else { write!(f, "{}: ", self.key) }
    }
}

/// A value as a fault shows it: in backticks and not too long. Never for secrets.
pub(super) fn shown(value: &str) -> String {
    let mut start: String = value.chars().take(60).collect();
    if start.len() < value.len() {
        start.push('…');
    }
    format!("`{start}`")
}

/// The text with control characters escaped, cut where it grows wild.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(TEXT_CHARS_MAX));
    for character in text.chars().take(TEXT_CHARS_MAX) {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}
