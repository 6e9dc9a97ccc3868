//! What commands say: results on standard output, complaints on standard error. A reader that went
//! away is no reason to fail.

use std::io::{IsTerminal, Write};

/// Prints a line of result.
pub(crate) fn say(line: &str) {
    let _ = is_heard(line);
}

/// Prints a line of result; whether anybody still reads, for what would otherwise go on for ever.
pub(crate) fn is_heard(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// Prints a line of result as it is, without ending it.
pub(crate) fn say_raw(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a complaint.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "waypost: {line}");
}

/// Whether a person is likely to be reading the results.
pub(crate) fn is_person() -> bool {
    std::io::stdout().is_terminal()
}
