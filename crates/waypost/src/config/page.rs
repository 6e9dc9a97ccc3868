//! The text of a configuration file: its TOML tree with positions, and its syntax faults.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::finding::{Place, Position};
use super::loading::Loading;

/// A configuration file's text and where its lines begin.
pub(super) struct Page {
    file: Option<PathBuf>,
    text: String,
    line_starts: Vec<usize>,
}

impl Page {
    /// A text that is in no file: its faults bear no position.
    pub(super) fn without_file(text: String) -> Self {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(line_ends.map(|(end, _)| end + 1)).collect();
        Self { file: None, text, line_starts }
    }

    /// A file's page, unless the bytes are no text.
    pub(super) fn of(file: &Path, bytes: Vec<u8>, loading: &mut Loading<'_>) -> Option<Self> {
        let (text, bad_byte) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let good_bytes = error.utf8_error().valid_up_to();
                let mut bytes = error.into_bytes();
                bytes.truncate(good_bytes);
                (String::from_utf8(bytes).unwrap_or_default(), Some(good_bytes))
            }
        };
        // A byte order mark is no column.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let page = Self { file: Some(file.to_path_buf()), ..Self::without_file(text) };
        if bad_byte.is_some() {
            let place = page.place("", page.text.len()..page.text.len());
            loading.fault(place, "the file is not UTF-8 text from here on", "Save it as UTF-8");
            return None;
        }
        Some(page)
    }

    /// The place of `key`, said at `span`.
    pub(super) fn place(&self, key: &str, span: Range<usize>) -> Place {
        let at = self.file.is_some().then(|| self.position(span.start));
        Place { file: self.file.clone(), at, key: key.to_owned() }
    }

    fn position(&self, byte: usize) -> Position {
        let byte = byte.min(self.text.len());
        let line = self.line_of(byte);
        let start = self.line_starts.get(line).copied().unwrap_or(0);
        let column = self.text.get(start..byte).map_or(byte - start, |before| before.chars().count());
        Position { line: line + 1, column: column + 1 }
    }

    /// The line of a byte, counted from 0.
    fn line_of(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte).saturating_sub(1)
    }

    /// Hands the tree to `judge`, after reporting every syntax fault.
    ///
    /// A line whose fault cannot reach beyond it is set aside and the rest is judged all the same, so
    /// that one mending mends all; the flag then says that the tree is not whole and what is missing
    /// from it means nothing. Where a fault may have swallowed what follows it, nothing is judged.
    pub(super) fn judge<T>(
        &self,
        loading: &mut Loading<'_>,
        judge: impl FnOnce(&Spanned<DeTable<'_>>, bool, &mut Loading<'_>) -> T,
    ) -> Option<T> {
        let mut rest = self.text.clone();
        for round in 0..SYNTAX_FAULTS_MAX {
            let error = match DeTable::parse(&rest) {
                Ok(tree) => return Some(judge(&tree, round == 0, loading)),
                Err(error) => error,
            };
            let byte = error.span().map_or(0, |span| span.start);
            loading.fault(self.place("", byte..byte), error.message(), remedy(error.message()));
            let line = self.line(byte);
            if !is_contained(error.message()) || self.text.get(line.clone())?.trim_start().starts_with('[') {
                return None;
            }
            rest.replace_range(line.clone(), &" ".repeat(line.len()));
        }
        None
    }

    /// The bytes of the line that `byte` is on, without its end.
    fn line(&self, byte: usize) -> Range<usize> {
        let byte = byte.min(self.text.len());
        let line = self.line_of(byte);
        let start = self.line_starts.get(line).copied().unwrap_or(0);
        let end = self.line_starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        start..end
    }
}

/// Syntax faults reported at most.
const SYNTAX_FAULTS_MAX: usize = 20;

/// Whether a syntax fault leaves the lines after its own as they are. Of a message not known here,
/// the contrary is assumed.
fn is_contained(message: &str) -> bool {
    const CONTAINED: [&str; 9] = [
        "string values must be quoted",
        "key with no value",
        "duplicate key",
        "invalid basic string",
        "invalid literal string",
        "invalid integer",
        "invalid float",
        "invalid boolean",
        "missing escaped value",
    ];
    CONTAINED.iter().any(|start| message.starts_with(start))
}

/// What to do about a syntax fault.
fn remedy(message: &str) -> &'static str {
    if message.contains("must be quoted") || message.contains("float") {
        "Put text in double quotes"
    } else if message.contains("duplicate key") {
        "Keep one of them; each upstream begins with its own [[upstream]]"
    } else {
        "Write it as TOML: key = \"text\", key = 1, key = [\"a\", \"b\"], sections as [name] or [[name]]"
    }
}
