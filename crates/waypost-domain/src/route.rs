//! Routes: which events go where.
//!
//! **The promise:** an event goes to every route whose match holds, and to no other. A key that a match names
//! holds only if the event has one of its values: what an event does not say, it does not match. Only a match that names
//! no key at all takes everything.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Routes of all sources together.
pub const ROUTES_MAX: usize = 10_000;
/// Values that one key of a match may list.
pub const MATCH_VALUES_MAX: usize = 1_000;
/// Values that the matches of all routes together may list: what a table weighs is bounded by it.
pub const ROUTE_VALUES_MAX: usize = 100_000;
/// Longest value of a match.
pub const MATCH_VALUE_BYTES_MAX: usize = 256;

/// What a match asks about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MatchKey {
    /// The number's id at Meta.
    PhoneNumberId,
    /// The number as people write it; compared by its digits.
    DisplayPhoneNumber,
    /// The WhatsApp Business Account.
    WabaId,
    /// Meta's webhook field.
    Field,
    /// What the event is.
    Kind,
    /// Meta's own word within the kind.
    Type,
    /// `message` or `operational`.
    Class,
}

impl MatchKey {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 7] = [
        Self::PhoneNumberId,
        Self::DisplayPhoneNumber,
        Self::WabaId,
        Self::Field,
        Self::Kind,
        Self::Type,
        Self::Class,
    ];

    /// The word for it in the configuration, the API and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PhoneNumberId => "phone_number_id",
            Self::DisplayPhoneNumber => "display_phone_number",
            Self::WabaId => "waba_id",
            Self::Field => "field",
            Self::Kind => "kind",
            Self::Type => "type",
            Self::Class => "class",
        }
    }

    /// The key that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str() == word)
    }

    /// The value as it is compared: of a display number, its digits.
    fn normal(self, value: &str) -> Cow<'_, str> {
        if self != Self::DisplayPhoneNumber || value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Cow::Borrowed(value);
        }
        Cow::Owned(value.chars().filter(char::is_ascii_digit).collect())
    }
}

impl fmt::Display for MatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What routes may know of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts<'a> {
    /// The number's id at Meta.
    pub phone_number_id: Option<&'a str>,
    /// The number as people write it.
    pub display_phone_number: Option<&'a str>,
    /// The WhatsApp Business Account.
    pub waba_id: Option<&'a str>,
    /// Meta's webhook field.
    pub field: &'a str,
    /// What it is.
    pub kind: &'a str,
    /// Meta's own word within the kind.
    pub r#type: &'a str,
    /// `message` or `operational`.
    pub class: &'a str,
}

impl<'a> Facts<'a> {
    /// The event's value for a key, where it has one.
    pub fn value(&self, key: MatchKey) -> Option<&'a str> {
        match key {
            MatchKey::PhoneNumberId => self.phone_number_id,
            MatchKey::DisplayPhoneNumber => self.display_phone_number,
            MatchKey::WabaId => self.waba_id,
            MatchKey::Field => Some(self.field),
            MatchKey::Kind => Some(self.kind),
            MatchKey::Type => Some(self.r#type),
            MatchKey::Class => Some(self.class),
        }
    }
}

/// Which events a route takes: for each key that is named, a set of values of which the event must have one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Match(Box<[(MatchKey, Values)]>);

/// Sorted, each once, in the form in which they are compared; never empty.
type Values = Box<[Box<str>]>;

impl Match {
    /// Every event.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The events that hold one of the values for each of these keys.
    ///
    /// # Errors
    ///
    /// When a key is named twice or without a value, or a value is none.
    pub fn new<V: AsRef<str>>(
        keys: impl IntoIterator<Item = (MatchKey, impl IntoIterator<Item = V>)>,
    ) -> Result<Self, MatchError> {
        let mut named: Vec<(MatchKey, Values)> = Vec::new();
        for (key, values) in keys {
            if named.iter().any(|(other, _)| *other == key) {
                return Err(MatchError::Twice { key });
            }
            named.push((key, read_values(key, values)?));
        }
        named.sort_unstable_by_key(|(key, _)| *key);
        Ok(Self(named.into_boxed_slice()))
    }

    /// Whether it takes every event.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys it names, and their values in the form in which they are compared.
    pub fn keys(&self) -> impl Iterator<Item = (MatchKey, impl Iterator<Item = &str>)> {
        self.0.iter().map(|(key, values)| (*key, values.iter().map(|value| &**value)))
    }

    /// How many values it lists.
    pub fn values(&self) -> usize {
        self.0.iter().map(|(_, values)| values.len()).sum()
    }

    /// The first key that does not hold for an event, by its word; `None` if the event is taken.
    pub fn refuses(&self, facts: &Facts<'_>) -> Option<&'static str> {
        let holds = |key: MatchKey, values: &[Box<str>]| {
            let Some(value) = facts.value(key).map(|value| key.normal(value)) else { return false };
            values.binary_search_by(|wanted| (**wanted).cmp(&*value)).is_ok()
        };
        self.0.iter().find(|(key, values)| !holds(*key, values)).map(|(key, _)| key.as_str())
    }
}

fn read_values<V: AsRef<str>>(
    key: MatchKey,
    values: impl IntoIterator<Item = V>,
) -> Result<Values, MatchError> {
    let mut read: Vec<Box<str>> = Vec::new();
    for value in values {
        let value = value.as_ref();
        let normal = key.normal(value);
        if normal.is_empty() || value.len() > MATCH_VALUE_BYTES_MAX {
            return Err(MatchError::Value { key });
        }
        if read.len() == MATCH_VALUES_MAX {
            return Err(MatchError::TooMany { key });
        }
        read.push(normal.into());
    }
    if read.is_empty() {
        return Err(MatchError::Empty { key });
    }
    read.sort_unstable();
    read.dedup();
    Ok(read.into_boxed_slice())
}

/// A match that cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MatchError {
    /// A key without values could never hold.
    #[error("`{key}` lists no value, so nothing could match it; leave the key out to match everything")]
    Empty {
        /// The key.
        key: MatchKey,
    },
    /// A key is there already.
    #[error("`{key}` is named twice; list its values together")]
    Twice {
        /// The key.
        key: MatchKey,
    },
    /// A value is empty, too long, or a display number without a digit.
    #[error(
        "a value of `{key}` is empty, longer than {MATCH_VALUE_BYTES_MAX} bytes, or a number without digits"
    )]
    Value {
        /// The key.
        key: MatchKey,
    },
    /// More values than a key may list.
    #[error("`{key}` lists more than {MATCH_VALUES_MAX} values; make several routes of it")]
    TooMany {
        /// The key.
        key: MatchKey,
    },
}

/// A table of routes, in which those that take an event are found without asking each one.
///
/// A route is filed under each value of the most telling key it names; an event then looks under its own values
/// alone. How long that takes depends on the routes that are found, not on the table.
#[derive(Clone, Debug)]
pub struct Routes<T> {
    rows: Box<[(Match, T)]>,
    /// For each key in the order of [`FILED_UNDER`], hashes of values and the rows filed there, sorted. Two
    /// values with one hash cost a look, since every row that is found is asked.
    filed: [Box<[(u64, u32)]>; 7],
    /// Rows that name no key.
    everything: Box<[u32]>,
}

/// The keys by how much they tell: the fewer events share a value, the sooner.
const FILED_UNDER: [MatchKey; 7] = [
    MatchKey::PhoneNumberId,
    MatchKey::DisplayPhoneNumber,
    MatchKey::WabaId,
    MatchKey::Type,
    MatchKey::Field,
    MatchKey::Kind,
    MatchKey::Class,
];

impl<T> Routes<T> {
    /// A table of these rows. Its order is the order in which routes are found.
    pub fn new(rows: impl IntoIterator<Item = (Match, T)>) -> Self {
        let rows: Box<[(Match, T)]> = rows.into_iter().collect();
        let mut filed: [Vec<(u64, u32)>; 7] = Default::default();
        let mut everything = Vec::new();
        for (row, (wanted, _)) in (0..).zip(&rows) {
            let telling = FILED_UNDER.iter().zip(&mut filed).find_map(|(key, drawer)| {
                let (_, values) = wanted.0.iter().find(|(named, _)| named == key)?;
                Some((drawer, values))
            });
            match telling {
                Some((drawer, values)) => drawer.extend(values.iter().map(|value| (hash(value), row))),
                None => everything.push(row),
            }
        }
        let filed = filed.map(|mut drawer| {
            drawer.sort_unstable();
            drawer.into_boxed_slice()
        });
        Self { rows, filed, everything: everything.into_boxed_slice() }
    }

    /// What every route that takes the event leads to, in the order of the table.
    pub fn of(&self, facts: &Facts<'_>) -> Vec<&T> {
        let mut found: Vec<u32> = self.everything.to_vec();
        for (key, drawer) in FILED_UNDER.into_iter().zip(&self.filed) {
            if drawer.is_empty() {
                continue;
            }
            let Some(value) = facts.value(key) else { continue };
            let wanted = hash(&key.normal(value));
            let from = drawer.partition_point(|(filed, _)| *filed < wanted);
            let same = drawer.iter().skip(from).take_while(|(filed, _)| *filed == wanted);
            found.extend(same.map(|(_, row)| *row));
        }
        found.sort_unstable();
        found.dedup();
        let rows = found.into_iter().filter_map(|row| self.rows.get(row as usize));
        rows.filter(|(wanted, _)| wanted.refuses(facts).is_none()).map(|(_, to)| to).collect()
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Match, &T)> {
        self.rows.iter().map(|(wanted, to)| (wanted, to))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row: then nothing is taken.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self::new([])
    }
}

/// Only ever compared within one process.
fn hash(value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FACTS: Facts<'static> = Facts {
        phone_number_id: Some("106540352242922"),
        display_phone_number: Some("15550783881"),
        waba_id: Some("102290129340398"),
        field: "messages",
        kind: "message",
        r#type: "text",
        class: "message",
    };

    fn one(key: MatchKey, values: &[&str]) -> Match {
        Match::new([(key, values.iter().copied())]).unwrap()
    }

    #[test]
    fn all_keys_must_hold_and_any_value_of_a_key_will_do() {
        let wanted = Match::new([
            (MatchKey::Field, vec!["calls", "messages"]),
            (MatchKey::PhoneNumberId, vec!["1", "106540352242922"]),
        ])
        .unwrap();
        assert_eq!(wanted.refuses(&FACTS), None);
        assert_eq!(wanted.refuses(&Facts { field: "history", ..FACTS }), Some("field"));
        let both_wrong = Facts { field: "history", phone_number_id: Some("2"), ..FACTS };
        assert_eq!(wanted.refuses(&both_wrong), Some("phone_number_id"), "the first key is named");
        assert_eq!(Match::everything().refuses(&both_wrong), None);
    }

    #[test]
    fn what_an_event_does_not_say_it_does_not_match() {
        let silent = Facts { phone_number_id: None, display_phone_number: None, waba_id: None, ..FACTS };
        for key in [MatchKey::PhoneNumberId, MatchKey::DisplayPhoneNumber, MatchKey::WabaId] {
            let wanted = one(key, &[FACTS.value(key).unwrap()]);
            assert_eq!(wanted.refuses(&FACTS), None);
            assert_eq!(wanted.refuses(&silent), Some(key.as_str()));
        }
        assert_eq!(one(MatchKey::Type, &["text"]).refuses(&Facts { r#type: "", ..FACTS }), Some("type"));
        let no_digits = Facts { display_phone_number: Some("+"), ..FACTS };
        assert!(one(MatchKey::DisplayPhoneNumber, &["1"]).refuses(&no_digits).is_some());
    }

    #[test]
    fn display_numbers_are_compared_by_their_digits() {
        for written in ["15550783881", "+15550783881", "+1 555-078-3881", "(1) 555 078 38 81"] {
            let wanted = one(MatchKey::DisplayPhoneNumber, &[written]);
            let routes = Routes::new([(wanted.clone(), ())]);
            for shown in ["15550783881", "+1 555 0783881"] {
                let facts = Facts { display_phone_number: Some(shown), ..FACTS };
                assert_eq!(wanted.refuses(&facts), None, "{written} and {shown}");
                assert_eq!(routes.of(&facts).len(), 1, "{written} and {shown}");
            }
            let other = Facts { display_phone_number: Some("5550783881"), ..FACTS };
            assert!(wanted.refuses(&other).is_some());
        }
    }

    #[test]
    fn a_match_that_could_never_hold_cannot_be_made() {
        let none: [&str; 0] = [];
        let key = MatchKey::Field;
        assert_eq!(Match::new([(key, none)]), Err(MatchError::Empty { key }));
        assert_eq!(Match::new([(key, [""])]), Err(MatchError::Value { key }));
        assert_eq!(Match::new([(key, ["a"]), (key, ["b"])]), Err(MatchError::Twice { key }));
        let long = "x".repeat(MATCH_VALUE_BYTES_MAX + 1);
        assert_eq!(Match::new([(key, [long])]), Err(MatchError::Value { key }));
        let many = (0..=MATCH_VALUES_MAX).map(|n| n.to_string());
        assert_eq!(Match::new([(key, many)]), Err(MatchError::TooMany { key }));
        let key = MatchKey::DisplayPhoneNumber;
        assert_eq!(Match::new([(key, ["any"])]), Err(MatchError::Value { key }));
    }

    #[test]
    fn keys_read_back_by_their_words() {
        for key in MatchKey::ALL {
            assert_eq!(MatchKey::parse(key.as_str()), Some(key));
        }
        assert_eq!(MatchKey::parse("number"), None);
    }

    #[test]
    fn an_empty_table_takes_nothing_and_an_explicit_catch_all_takes_everything() {
        assert!(Routes::<()>::default().of(&FACTS).is_empty());
        assert_eq!(Routes::new([(Match::everything(), 7)]).of(&FACTS), [&7]);
    }

    #[test]
    fn an_event_asks_only_the_routes_that_are_filed_under_its_values() {
        let number = |n: usize| format!("{}", 100_000_000_000_000 + n);
        let routes = Routes::new((0..ROUTES_MAX).map(|n| {
            let id = number(n);
            (Match::new([(MatchKey::PhoneNumberId, [&*id]), (MatchKey::Field, ["messages"])]).unwrap(), n)
        }));
        for n in (0..ROUTES_MAX).step_by(97) {
            let id = number(n);
            assert_eq!(routes.of(&Facts { phone_number_id: Some(&id), ..FACTS }), [&n]);
        }
        assert!(routes.filed[0].len() == ROUTES_MAX && routes.everything.is_empty());
        let largest = routes.filed[0].chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).max();
        assert!(largest <= Some(2), "so many are asked at most: {largest:?}");
    }

    fn word() -> impl Strategy<Value = String> {
        prop_oneof!["[1-4]", "[+ ]?[1-3]"]
    }

    fn any_match() -> impl Strategy<Value = Match> {
        let values = prop::collection::vec(word(), 1..3);
        let key = prop::sample::select(MatchKey::ALL.to_vec());
        prop::collection::btree_map(key, values, 0..4).prop_map(|keys| Match::new(keys).unwrap())
    }

    type Written = (Option<String>, Option<String>, Option<String>, [String; 4]);

    fn any_facts() -> impl Strategy<Value = Written> {
        let maybe = || prop::option::of(word());
        (maybe(), maybe(), maybe(), [word(), word(), word(), word()])
    }

    /// What the words of this module's promise say, asked one by one.
    fn holds(wanted: &Match, facts: &Facts<'_>) -> bool {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        wanted.keys().all(|(key, mut values)| {
            let shape =
                |text: &str| if key.as_str().starts_with("display") { digits(text) } else { text.to_owned() };
            facts.value(key).is_some_and(|value| values.any(|wanted| shape(wanted) == shape(value)))
        })
    }

    proptest! {
        #[test]
        fn the_table_finds_what_asking_every_route_finds(wanted in prop::collection::vec(any_match(), 0..40), asked in prop::collection::vec(any_facts(), 1..20)) {
            let routes = Routes::new(wanted.iter().cloned().zip(0..));
            for (id, display, waba, [field, kind, r#type, class]) in &asked {
                let facts = Facts {
                    phone_number_id: id.as_deref(), display_phone_number: display.as_deref(), waba_id: waba.as_deref(),
                    field, kind, r#type, class,
                };
                let naive: Vec<usize> = (0..wanted.len()).filter(|row| holds(&wanted[*row], &facts)).collect();
                prop_assert_eq!(routes.of(&facts).into_iter().copied().collect::<Vec<_>>(), naive);
                for wanted in &wanted {
                    prop_assert_eq!(wanted.refuses(&facts).is_none(), holds(wanted, &facts));
                }
            }
        }
    }
}
