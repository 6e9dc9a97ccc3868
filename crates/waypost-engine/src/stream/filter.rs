//! What a reader wants of the stream.

use std::sync::Arc;

use waypost_store::EventRecord;
use waypost_whatsapp::normal;

/// Which frames a reader gets: of each list that is not empty, one entry must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Types, such as `message:new`, or all of a sort, such as `message:*`.
    pub types: Vec<TypePattern>,
    /// Business numbers: Meta's id of one, or the number in digits.
    pub numbers: Vec<Box<str>>,
    /// Conversations, by the name that frames bear.
    pub conversations: Vec<Box<str>>,
    /// Sources, by name.
    pub sources: Vec<Box<str>>,
}

/// A type of frames, or all those whose types begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypePattern(Box<str>);

/// A text that no type of frames fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no event has the type `{0}`; there are {types}, and `message:*` stands for all that begin alike", types = normal::TYPES.join(", "))]
pub struct UnknownType(Box<str>);

/// What a filter looks at.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) r#type: &'static str,
    pub(super) source: Arc<str>,
    pub(super) phone_number_id: Option<Box<str>>,
    pub(super) display_phone_number: Option<Box<str>>,
    pub(super) conversation: Option<Box<str>>,
}

impl Filter {
    /// Whether everything fits.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn admits(&self, facts: &Facts) -> bool {
        (self.types.is_empty() || self.types.iter().any(|pattern| pattern.fits(facts.r#type)))
            && self.fits(
                &facts.source,
                [&facts.phone_number_id, &facts.display_phone_number],
                &facts.conversation,
            )
    }

    /// Whether a frame of this event may be wanted, whatever its type.
    pub(super) fn may_admit(&self, record: &EventRecord) -> bool {
        let event = &record.event;
        let numbers = [&event.phone_number_id, &event.display_phone_number];
        self.fits(&record.source, numbers, &event.conversation)
    }

    fn fits(&self, source: &str, numbers: [&Option<Box<str>>; 2], conversation: &Option<Box<str>>) -> bool {
        let among = |wanted: &[Box<str>], fact: &Option<Box<str>>| {
            fact.as_ref().is_some_and(|fact| wanted.contains(fact))
        };
        (self.sources.is_empty() || self.sources.iter().any(|wanted| **wanted == *source))
            && (self.numbers.is_empty() || numbers.iter().any(|number| among(&self.numbers, number)))
            && (self.conversations.is_empty() || among(&self.conversations, conversation))
    }
}

impl TypePattern {
    /// Reads a type, or the beginning of some with a `*` behind it; `*` alone stands for all.
    ///
    /// # Errors
    ///
    /// When no type fits it.
    pub fn parse(text: &str) -> Result<Self, UnknownType> {
        let pattern = Self(text.into());
        match normal::TYPES.iter().any(|known| pattern.fits(known)) {
            true => Ok(pattern),
            false => Err(UnknownType(pattern.0)),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a type is one of these.
    pub fn fits(&self, r#type: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => r#type.starts_with(beginning),
            None => *self.0 == *r#type,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            r#type: "message:status",
            source: "acme".into(),
            phone_number_id: Some("11".into()),
            display_phone_number: Some("15550001".into()),
            conversation: Some("11:491".into()),
        }
    }

    fn types(patterns: &[&str]) -> Filter {
        let types = patterns.iter().map(|pattern| TypePattern::parse(pattern).unwrap()).collect();
        Filter { types, ..Filter::default() }
    }

    #[test]
    fn each_list_that_is_not_empty_must_fit() {
        assert!(Filter::default().is_open() && Filter::default().admits(&facts()));
        assert!(types(&["message:*"]).admits(&facts()) && types(&["*"]).admits(&facts()));
        assert!(types(&["call:*", "message:status"]).admits(&facts()));
        assert!(!types(&["message:new", "account:*"]).admits(&facts()));
        let numbers = |number: &str| Filter { numbers: vec![number.into()], ..Filter::default() };
        assert!(numbers("11").admits(&facts()) && numbers("15550001").admits(&facts()));
        assert!(!numbers("12").admits(&facts()));
        let of = |source: &str, conversation: &str| Filter {
            sources: vec![source.into()],
            conversations: vec![conversation.into()],
            ..types(&["*"])
        };
        assert!(of("acme", "11:491").admits(&facts()));
        assert!(!of("other", "11:491").admits(&facts()) && !of("acme", "11:492").admits(&facts()));
        let about_nobody = Facts { conversation: None, phone_number_id: None, ..facts() };
        assert!(!of("acme", "11:491").admits(&about_nobody) && !numbers("11").admits(&about_nobody));
    }

    #[test]
    fn a_type_that_there_is_not_is_refused() {
        for text in ["", "message:old", "messages:*", "message", "note:*"] {
            assert!(TypePattern::parse(text).is_err(), "{text}");
        }
    }
}
