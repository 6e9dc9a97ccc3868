//! Words that are known by heart: kinds and classes of events live in the program's text, and are read back
//! as such.

use std::sync::{Mutex, PoisonError};

/// The words of the surface.
const KNOWN: [&str; 19] = [
    "message",
    "status",
    "echo",
    "call",
    "call_status",
    "group",
    "handover",
    "history",
    "contact_sync",
    "preference",
    "identity",
    "automatic",
    "tracking",
    "action",
    "error",
    "account",
    "unknown",
    "operational",
    "test",
];

/// Words that are none of the known ones and are kept for as long as the process lives.
const LEARNT_MAX: usize = 256;
static LEARNT: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// The word as part of the program. One that the program does not know (an older file may hold one) is
/// learnt, up to a limit; beyond it, it is `unknown`.
pub(super) fn kept(word: &str) -> &'static str {
    if let Some(known) = KNOWN.into_iter().find(|known| *known == word) {
        return known;
    }
    let mut learnt = LEARNT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = learnt.iter().find(|known| **known == word) {
        return known;
    }
    if learnt.len() >= LEARNT_MAX {
        return "unknown";
    }
    let word: &'static str = Box::leak(Box::from(word));
    learnt.push(word);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_learnt_once() {
        assert_eq!(kept("status"), "status");
        let word = kept("a word nobody knew");
        assert_eq!(word, "a word nobody knew");
        assert!(std::ptr::eq(word, kept("a word nobody knew")));
    }
}
