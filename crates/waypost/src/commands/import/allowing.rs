//! Allow-lists as nginx writes them: a `map`, and an `if` that refuses what it does not let through.

use std::cell::Cell;

use waypost_domain::UpstreamHost;

use super::syntax::Directive;

/// `map $host $allowed { default 0; chatwoot.example.com 1; }`
#[derive(Debug)]
pub(super) struct Map<'d> {
    pub(super) directive: &'d Directive,
    /// Whether an allow-list was read from it.
    pub(super) used: Cell<bool>,
}

/// One line of a map.
pub(super) struct Entry<'d> {
    pub(super) directive: &'d Directive,
    key: &'d str,
    pub(super) value: &'d str,
}

impl<'d> Map<'d> {
    pub(super) fn of(directive: &'d Directive) -> Self {
        Self { directive, used: Cell::new(false) }
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.get()
    }

    /// The variable that it sets.
    pub(super) fn output(&self) -> &'d str {
        self.directive.arguments().get(1).map_or("", String::as_str)
    }

    /// Its value for what it does not list.
    pub(super) fn default(&self) -> &'d str {
        let default = self.directive.inside().iter().find(|line| line.name() == "default");
        default.and_then(|line| line.arguments().first()).map_or("", String::as_str)
    }

    /// What it lists.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'d>> {
        let lines = self.directive.inside().iter();
        lines.filter_map(|directive| match directive.words.as_slice() {
            [key, _] if key == "default" || key == "include" => None,
            [key, value] => Some(Entry { directive, key, value }),
            _ => None,
        })
    }

    /// What in it is neither a line of the list nor its default.
    pub(super) fn others(&self) -> impl Iterator<Item = &'d Directive> {
        let lines = self.directive.inside().iter();
        lines.filter(|line| {
            line.name() == "include"
                || (line.words.len() != 2 && !matches!(line.name(), "hostnames" | "volatile"))
        })
    }
}

impl Entry<'_> {
    /// The host that it is about.
    pub(super) fn host(&self) -> Result<UpstreamHost, String> {
        // nginx takes a backslash before a key as part of writing it.
        let key = self.key.strip_prefix('\\').unwrap_or(self.key);
        if self.value.starts_with('$') {
            return Err("its value is known only while nginx runs".to_owned());
        }
        if key.starts_with('~') || key.starts_with('.') || key.contains('*') {
            return Err("a pattern; every host is named by itself".to_owned());
        }
        key.parse().map_err(|error| format!("not a host: {error}"))
    }
}

/// `if ($allowed = 0) { return 403; }`: what is refused.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) variable: String,
    refusal: Refusal,
}

#[derive(Debug)]
enum Refusal {
    /// This value is.
    Is(String),
    /// Every other value is.
    IsNot(String),
    /// What nginx takes for true is.
    True,
}

impl Guard {
    /// An `if` that does nothing but refuse, by one variable.
    pub(super) fn of(directive: &Directive) -> Option<Self> {
        let refuses = |inner: &Directive| {
            let status = inner.arguments().first().and_then(|status| status.parse::<u16>().ok());
            inner.name() == "return" && status.is_some_and(|status| (400..=499).contains(&status))
        };
        if directive.inside().is_empty() || !directive.inside().iter().all(refuses) {
            return None;
        }
        let condition = directive.arguments().join(" ");
        let condition = condition.trim().strip_prefix('(')?.strip_suffix(')')?.trim();
        let mut words = condition.split_ascii_whitespace();
        let variable = words.next().filter(|word| word.starts_with('$'))?.to_owned();
        let refusal = match (words.next(), words.next().unwrap_or_default()) {
            (None, _) => Refusal::True,
            (Some("="), value) => Refusal::Is(value.to_owned()),
            (Some("!="), value) => Refusal::IsNot(value.to_owned()),
            _ => return None,
        };
        words.next().is_none().then_some(Self { variable, refusal })
    }

    pub(super) fn refuses(&self, value: &str) -> bool {
        match &self.refusal {
            Refusal::Is(refused) => value == refused,
            Refusal::IsNot(let_through) => value != let_through,
            Refusal::True => !value.is_empty() && value != "0",
        }
    }
}
