//! What the doctor finds: what it is, why it matters, what to do.

use serde_json::json;

use crate::exit::Exit;
use crate::terminal;

/// Longest text of one part: what a stranger's server says must not flood a terminal.
const TEXT_CHARS_MAX: usize = 600;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing, or not found out.
    Note,
    /// Works, and probably not for long or not for everybody.
    Warning,
    /// Does not work.
    Fault,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// One thing found out. Never holds a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// What was looked at: a stable word.
    pub(super) check: &'static str,
    /// Of what: a host, an address, a file; empty where there is only one.
    pub(super) subject: String,
    /// What was found: a sentence without its full stop.
    pub(super) what: String,
    /// Why that matters; empty where it does not.
    pub(super) why: String,
    /// What to do; empty where there is nothing.
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, subject: impl AsRef<str>, what: impl AsRef<str>) -> Self {
        Self::new(Severity::Ok, check, subject, what)
    }

    pub(super) fn note(check: &'static str, subject: impl AsRef<str>, what: impl AsRef<str>) -> Self {
        Self::new(Severity::Note, check, subject, what)
    }

    pub(super) fn warning(check: &'static str, subject: impl AsRef<str>, what: impl AsRef<str>) -> Self {
        Self::new(Severity::Warning, check, subject, what)
    }

    pub(super) fn fault(check: &'static str, subject: impl AsRef<str>, what: impl AsRef<str>) -> Self {
        Self::new(Severity::Fault, check, subject, what)
    }

    pub(super) fn new(
        severity: Severity,
        check: &'static str,
        subject: impl AsRef<str>,
        what: impl AsRef<str>,
    ) -> Self {
        let (subject, what) = (one_line(subject.as_ref()), one_line(what.as_ref()));
        Self { severity, check, subject, what, why: String::new(), remedy: String::new() }
    }

    /// The same, with why it matters.
    pub(super) fn why(self, why: impl AsRef<str>) -> Self {
        Self { why: one_line(why.as_ref()), ..self }
    }

    /// The same, with what to do.
    pub(super) fn remedy(self, remedy: impl AsRef<str>) -> Self {
        Self { remedy: one_line(remedy.as_ref()), ..self }
    }

    fn as_object(&self) -> serde_json::Value {
        let Self { severity, check, subject, what, why, remedy } = self;
        json!({
            "severity": severity.word(),
            "check": check,
            "subject": subject,
            "what": what,
            "why": why,
            "remedy": remedy,
        })
    }

    fn as_text(&self) -> String {
        let subject = if self.subject.is_empty() { String::new() } else { format!("{}: ", self.subject) };
        let mut text = format!("{:<8} {:<12} {subject}{}", self.severity.word(), self.check, self.what);
        for (word, sentence) in [("why", &self.why), ("do", &self.remedy)] {
            if !sentence.is_empty() {
                text.push_str(&format!("\n         {word:<4} {sentence}"));
            }
        }
        text
    }
}

/// Says findings as they come, and remembers the worst.
pub(super) struct Report {
    as_json: bool,
    strict: bool,
    counts: [usize; 4],
}

impl Report {
    pub(super) fn new(as_json: bool, strict: bool) -> Self {
        Self { as_json, strict, counts: [0; 4] }
    }

    pub(super) fn say(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.counts[finding.severity as usize] += 1;
            let text = if self.as_json { finding.as_object().to_string() } else { finding.as_text() };
            terminal::say(&text);
        }
    }

    /// The last word, and the exit code: 1 where there is a fault, or, if asked to be strict, a warning.
    pub(super) fn conclude(self) -> Exit {
        let [_, notes, warnings, faults] = self.counts;
        if !self.as_json {
            let counted = |number: usize, word: &str| match number {
                1 => format!("1 {word}"),
                number => format!("{number} {word}s"),
            };
            let last =
                [counted(faults, "fault"), counted(warnings, "warning"), counted(notes, "note")].join(", ");
            terminal::say(&last);
        }
        if faults > 0 || (self.strict && warnings > 0) { Exit::Failed } else { Exit::Done }
    }
}

/// The text on one line of a terminal: control characters escaped, cut where it grows wild.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(TEXT_CHARS_MAX));
    for (index, character) in text.chars().enumerate() {
        if index == TEXT_CHARS_MAX {
            line.push('…');
            break;
        }
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_says_cannot_write_on_the_terminal() {
        let finding = Finding::note("redirect", "a\nb", "\u{1b}[2J and\u{9b}more").why("x".repeat(5_000));
        let text = finding.as_text();
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(text.len() < 1_500, "{}", text.len());
    }

    #[test]
    fn the_exit_code_says_the_worst() {
        for (severity, lenient, strict) in [
            (Severity::Ok, Exit::Done, Exit::Done),
            (Severity::Note, Exit::Done, Exit::Done),
            (Severity::Warning, Exit::Done, Exit::Failed),
            (Severity::Fault, Exit::Failed, Exit::Failed),
        ] {
            for (is_strict, exit) in [(false, lenient), (true, strict)] {
                let mut report = Report::new(true, is_strict);
                report.say([Finding::ok("a", "", "fine"), Finding::new(severity, "a", "", "this")]);
                assert_eq!(report.conclude(), exit, "{severity:?}");
            }
        }
    }
}
