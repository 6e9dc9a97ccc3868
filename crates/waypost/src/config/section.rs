//! Reading a section of the file key by key. What is not read is not known, and a fault.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::finding::{Place, shown};
use super::forms::Wrong;
use super::loading::Loading;
use super::page::Page;

/// What reading a value came to.
#[derive(Debug, Default)]
pub(super) enum Read<T> {
    /// Nobody said anything.
    #[default]
    Absent,
    /// Something is said and wrong; the fault is reported.
    Faulty,
    /// It is said, there.
    Given(T, Place),
}

impl<T> Read<T> {
    /// This, unless nobody said anything; then what `lower` says.
    pub(super) fn over(self, lower: Self) -> Self {
        match self {
            Self::Absent => lower,
            said => said,
        }
    }

    /// The value, with a default where nobody said anything. `None` where it is wrong.
    pub(super) fn or(self, default: T) -> Option<T> {
        match self {
            Self::Absent => Some(default),
            Self::Faulty => None,
            Self::Given(value, _) => Some(value),
        }
    }

    /// `Some(None)` where nobody said anything, `None` where it is wrong.
    pub(super) fn optional(self) -> Option<Option<T>> {
        match self {
            Self::Absent => Some(None),
            Self::Faulty => None,
            Self::Given(value, _) => Some(Some(value)),
        }
    }

    pub(super) fn given(&self) -> Option<(&T, &Place)> {
        match self {
            Self::Given(value, place) => Some((value, place)),
            _ => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A table of the file, or the absence of one, whose keys are read one by one.
pub(super) struct Section<'t> {
    page: &'t Page,
    path: String,
    place: Place,
    table: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// The whole file.
    pub(super) fn whole(page: &'t Page, tree: &'t Spanned<DeTable<'t>>) -> Self {
        let place = page.place("", 0..0);
        Self { page, path: String::new(), place, table: Some(tree.get_ref()), known: Vec::new() }
    }

    /// Where the section begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The key's value, as `reader` reads it.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        loading: &mut Loading<'_>,
        reader: impl FnOnce(&Item<'t>, &mut Loading<'_>) -> Option<T>,
    ) -> Read<T> {
        let Some(item) = self.item(key) else { return Read::Absent };
        match reader(&item, loading) {
            Some(value) => Read::Given(value, item.place()),
            None => Read::Faulty,
        }
    }

    /// The table under `key`; an absent one reads as one without keys.
    pub(super) fn section(&mut self, key: &'static str, loading: &mut Loading<'_>) -> Self {
        let mut section = self.absent(key);
        if let Some(item) = self.item(key) {
            section.place = item.place();
            match item.value.get_ref() {
                DeValue::Table(table) => section.table = Some(table),
                other => {
                    let what = format!("{} where a section is expected", article(other));
                    loading.fault(item.place(), what, format!("Write [{key}] and its keys below it"));
                }
            }
        }
        section
    }

    /// The tables under `key`, written `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str, loading: &mut Loading<'_>) -> Vec<Self> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let remedy = format!("Write [[{key}]] before the keys of each");
        let DeValue::Array(array) = item.value.get_ref() else {
            let what = format!("{} where a list of sections is expected", article(item.value.get_ref()));
            loading.fault(item.place(), what, remedy);
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(array.len());
        for element in item.elements(array) {
            match element.value.get_ref() {
                DeValue::Table(table) => sections.push(Self {
                    page: self.page,
                    path: element.key.clone(),
                    place: element.place(),
                    table: Some(table),
                    known: Vec::new(),
                }),
                other => {
                    let what = format!("{} where a section is expected", article(other));
                    loading.fault(element.place(), what, &remedy);
                }
            }
        }
        sections
    }

    /// Every key was asked for: the others are faults. Whether there were any.
    pub(super) fn finish(self, loading: &mut Loading<'_>) -> bool {
        let mut strangers = false;
        for (name, _) in self.table.into_iter().flatten() {
            let key: &str = name.get_ref();
            if self.known.contains(&key) {
                continue;
            }
            strangers = true;
            let remedy = match nearest(key, &self.known) {
                Some(meant) => format!("Did you mean {meant}?"),
                None => format!("Known here: {}", self.known.join(", ")),
            };
            let place = self.page.place(&self.child(key), name.span());
            loading.fault(place, "there is no such key", remedy);
        }
        strangers
    }

    fn item(&mut self, key: &'static str) -> Option<Item<'t>> {
        self.known.push(key);
        let value = self.table?.get(key)?;
        Some(Item { page: self.page, key: self.child(key), value })
    }

    fn absent(&self, key: &'static str) -> Self {
        let (page, path) = (self.page, self.child(key));
        Self { page, place: self.place.about(&path), path, table: None, known: Vec::new() }
    }

    fn child(&self, key: &str) -> String {
        let key: String = key.chars().take(60).collect();
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

/// A value of the file and where it stands.
pub(super) struct Item<'t> {
    page: &'t Page,
    key: String,
    value: &'t Spanned<DeValue<'t>>,
}

impl<'t> Item<'t> {
    pub(super) fn place(&self) -> Place {
        self.page.place(&self.key, self.value.span())
    }

    /// The value as a section of its own, where it is one.
    pub(super) fn section(&self) -> Option<Section<'t>> {
        let DeValue::Table(table) = self.value.get_ref() else { return None };
        let (page, place) = (self.page, self.place());
        Some(Section { page, path: self.key.clone(), place, table: Some(table), known: Vec::new() })
    }

    fn elements(&self, array: &'t DeArray<'t>) -> impl Iterator<Item = Item<'t>> {
        let numbered = array.iter().enumerate();
        numbered.map(|(index, value)| Item { page: self.page, key: format!("{}[{index}]", self.key), value })
    }

    fn wrong<T>(&self, wrong: Wrong, loading: &mut Loading<'_>) -> Option<T> {
        loading.fault(self.place(), wrong.what, wrong.remedy);
        None
    }
}

/// Reads text.
pub(super) fn text<'t, T>(
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<T> {
    move |item, loading| {
        let wrong = match item.value.get_ref() {
            DeValue::String(text) => match parse(text) {
                Ok(value) => return Some(value),
                Err(wrong) => wrong,
            },
            // `timeout = 15` lacks more than its quotes.
            DeValue::Integer(number) => match parse(&number.to_string()) {
                Ok(_) => Wrong::new("a number where text is expected", "Put it in double quotes"),
                Err(wrong) => wrong,
            },
            other => Wrong::new(
                format!("{} where text is expected", article(other)),
                "Write one text in double quotes",
            ),
        };
        item.wrong(wrong, loading)
    }
}

/// Reads the text of a secret, which no fault repeats.
pub(super) fn private<'t, T>(
    resolve: impl Fn(&str, &str, &mut Loading<'_>) -> Result<T, Wrong>,
) -> impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<T> {
    move |item, loading| {
        let wrong = match item.value.get_ref() {
            DeValue::String(text) => match resolve(text, &item.key, loading) {
                Ok(value) => return Some(value),
                Err(wrong) => wrong,
            },
            other => Wrong::new(
                format!("{} where a secret is expected", article(other)),
                "Write the secret, env:NAME or file:PATH in double quotes",
            ),
        };
        item.wrong(wrong, loading)
    }
}

/// Reads a list, each element on its own, so that all faults of a list are found.
pub(super) fn list<'t, T>(
    each: impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<T>,
) -> impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<Vec<T>> {
    move |item, loading| match item.value.get_ref() {
        DeValue::Array(array) if array.len() > LIST_MAX => item
            .wrong(Wrong::new(format!("the list has more than {LIST_MAX} elements"), "Shorten it"), loading),
        DeValue::Array(array) => {
            let values: Vec<_> = item.elements(array).map(|element| each(&element, loading)).collect();
            values.into_iter().collect()
        }
        other => {
            let what = format!("{} where a list is expected", article(other));
            item.wrong(Wrong::new(what, "Write it in brackets: [\"a\", \"b\"]"), loading)
        }
    }
}

/// Reads a list where there is one, else one value on its own.
pub(super) fn one_or_list<'t, T>(
    one: impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<Vec<T>>,
    each: impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<T>,
) -> impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<Vec<T>> {
    let many = list(each);
    move |item, loading| match item.value.get_ref() {
        DeValue::Array(_) => many(item, loading),
        _ => one(item, loading),
    }
}

/// Reads one value as a list of one.
pub(super) fn just<'t, T>(
    one: impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<T>,
) -> impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<Vec<T>> {
    move |item, loading| one(item, loading).map(|value| vec![value])
}

/// Reads a whole number between two bounds.
pub(super) fn count<'t>(least: usize, most: usize) -> impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<usize> {
    number(least, most, |_| {
        Err(Wrong::new("a text where a number is expected", "Write a whole number without quotes"))
    })
}

/// Reads what `read` reads and makes something else of it. What `make` refuses, `read` must have.
pub(super) fn mapped<'t, T, U>(
    read: impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<T>,
    make: impl Fn(T) -> Option<U>,
) -> impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<U> {
    move |item, loading| read(item, loading).and_then(&make)
}

/// Reads a whole number, or text that `parse` makes one of, between two bounds.
pub(super) fn number<'t>(
    least: usize,
    most: usize,
    parse: impl Fn(&str) -> Result<usize, Wrong>,
) -> impl Fn(&Item<'t>, &mut Loading<'_>) -> Option<usize> {
    move |item, loading| {
        let wrong = match item.value.get_ref() {
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => match usize::try_from(number) {
                    Ok(number) if (least..=most).contains(&number) => return Some(number),
                    _ => outside(number, least, most),
                },
                Err(_) => outside(number, least, most),
            },
            DeValue::String(text) => match parse(text) {
                Ok(number) if (least..=most).contains(&number) => return Some(number),
                Ok(_) => outside(shown(text), least, most),
                Err(wrong) => wrong,
            },
            other => Wrong::new(
                format!("{} where a number is expected", article(other)),
                "Write a whole number without quotes",
            ),
        };
        item.wrong(wrong, loading)
    }
}

fn outside(number: impl std::fmt::Display, least: usize, most: usize) -> Wrong {
    Wrong::new(format!("{number} is out of range"), format!("Give a number from {least} to {most}"))
}

/// Reads `true` or `false`.
pub(super) fn boolean(item: &Item<'_>, loading: &mut Loading<'_>) -> Option<bool> {
    match item.value.get_ref() {
        DeValue::Boolean(value) => Some(*value),
        other => {
            let what = format!("{} where true or false is expected", article(other));
            item.wrong(Wrong::new(what, "Write true or false, without quotes"), loading)
        }
    }
}

/// Elements that a list of the configuration may have.
const LIST_MAX: usize = 1_000;

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// The known key that was probably meant.
pub(super) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    if key.len() > 40 {
        return None;
    }
    let lower = key.to_ascii_lowercase().replace('-', "_");
    let near = known.iter().map(|name| (distance(&lower, name), *name)).min();
    near.filter(|(distance, name)| *distance <= (name.len() / 3).max(1)).map(|(_, name)| name)
}

/// Edits (insert, remove, replace, swap neighbours) between two short texts.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested_and_no_far_one() {
        let known = ["host", "mode", "origin", "app_secrets", "verify_token"];
        for (key, meant) in [
            ("hots", "host"),
            ("app_secret", "app_secrets"),
            ("app-secrets", "app_secrets"),
            ("verify_tokens", "verify_token"),
            ("Origin", "origin"),
        ] {
            assert_eq!(nearest(key, &known), Some(meant), "{key}");
        }
        for key in ["", "url", "colour", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(nearest(key, &known), None, "{key}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("host", "host"), 0);
        assert_eq!(distance("hsot", "host"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
