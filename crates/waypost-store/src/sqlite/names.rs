//! The dictionary of names, as the two sides use it: texts to numbers, numbers to texts.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Statement};

/// Names that one connection remembers. Beyond it, it forgets them all and learns anew.
const NAMES_REMEMBERED_MAX: usize = 4_096;
/// Longest name that is remembered: longer ones are rare and looked up each time.
const NAME_REMEMBERED_BYTES_MAX: usize = 256;

/// Texts to numbers, for the writer. A text not seen before gets the next number.
pub(super) struct Numbers<'c> {
    find: Statement<'c>,
    add: Statement<'c>,
    known: HashMap<Arc<str>, i64>,
    /// Added in the transaction at hand, and to be forgotten if it fails.
    fresh: Vec<Arc<str>>,
}

impl<'c> Numbers<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            find: conn.prepare("SELECT id FROM name WHERE text = ?1")?,
            add: conn.prepare("INSERT INTO name (text) VALUES (?1)")?,
            known: HashMap::new(),
            fresh: Vec::new(),
        })
    }

    pub(super) fn of(&mut self, text: &str) -> rusqlite::Result<i64> {
        if let Some(&number) = self.known.get(text) {
            return Ok(number);
        }
        let found = self.find.query_row([text], |row| row.get(0)).optional()?;
        let number = match found {
            Some(number) => number,
            None => self.add.insert([text])?,
        };
        if text.len() <= NAME_REMEMBERED_BYTES_MAX {
            if self.known.len() >= NAMES_REMEMBERED_MAX {
                self.known.clear();
            }
            let text: Arc<str> = text.into();
            if found.is_none() {
                self.fresh.push(Arc::clone(&text));
            }
            self.known.insert(text, number);
        }
        Ok(number)
    }

    pub(super) fn of_some(&mut self, text: Option<&str>) -> rusqlite::Result<Option<i64>> {
        text.map(|text| self.of(text)).transpose()
    }

    pub(super) fn committed(&mut self) {
        self.fresh.clear();
    }

    pub(super) fn undone(&mut self) {
        for text in self.fresh.drain(..) {
            self.known.remove(&text);
        }
    }
}

/// Numbers to texts, for a reader.
pub(super) struct Texts<'c> {
    find: Statement<'c>,
    known: HashMap<i64, Arc<str>>,
}

impl<'c> Texts<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self { find: conn.prepare("SELECT text FROM name WHERE id = ?1")?, known: HashMap::new() })
    }

    pub(super) fn of(&mut self, number: i64) -> rusqlite::Result<Arc<str>> {
        if let Some(text) = self.known.get(&number) {
            return Ok(Arc::clone(text));
        }
        let text: Arc<str> = self.find.query_row([number], |row| row.get(0))?;
        if text.len() <= NAME_REMEMBERED_BYTES_MAX {
            if self.known.len() >= NAMES_REMEMBERED_MAX {
                self.known.clear();
            }
            self.known.insert(number, Arc::clone(&text));
        }
        Ok(text)
    }

    pub(super) fn of_some(&mut self, number: Option<i64>) -> rusqlite::Result<Option<Arc<str>>> {
        number.map(|number| self.of(number)).transpose()
    }
}

/// The number of a name, if it is in use.
pub(super) fn number_of(conn: &Connection, text: &str) -> rusqlite::Result<Option<i64>> {
    conn.query_row("SELECT id FROM name WHERE text = ?1", [text], |row| row.get(0)).optional()
}
