//! What a token says.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use waypost_domain::UnixMillis;

/// The claims of a token that mean something here; others are passed over.
#[derive(Deserialize, Serialize, Debug, Default)]
pub(super) struct Claims {
    #[serde(rename = "iss", skip_serializing_if = "Option::is_none", default)]
    pub(super) issuer: Option<String>,
    #[serde(rename = "aud", default)]
    pub(super) audience: Audience,
    #[serde(rename = "jti", skip_serializing_if = "Option::is_none", default)]
    pub(super) id: Option<String>,
    /// Seconds since 1970, as all of these.
    #[serde(rename = "iat", skip_serializing_if = "Option::is_none", serialize_with = "whole", default)]
    pub(super) issued_at: Option<f64>,
    #[serde(rename = "nbf", skip_serializing_if = "Option::is_none", serialize_with = "whole", default)]
    pub(super) not_before: Option<f64>,
    #[serde(rename = "exp", skip_serializing_if = "Option::is_none", serialize_with = "whole", default)]
    pub(super) expires_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "members")]
    pub(super) scope: Option<Scope>,
}

/// Whom a token is meant for (RFC 7519, section 4.1.3).
#[derive(Deserialize, Serialize, Debug, Default)]
#[serde(untagged)]
pub(super) enum Audience {
    #[default]
    Nobody,
    One(String),
    Several(Vec<String>),
}

/// What may be read with a token. A list that is absent admits everything; an empty one nothing.
#[derive(Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scope {
    /// Events of these sources alone.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "one_or_several")]
    pub(crate) sources: Option<Vec<String>>,
    /// Events of these numbers alone: their ids at Meta, or as people write them.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "one_or_several")]
    pub(crate) numbers: Option<Vec<String>>,
    /// Frames of these types alone, such as `message:new` or `message:*`.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "one_or_several")]
    pub(crate) types: Option<Vec<String>>,
    /// Whether what people write, and what they are called, may be read.
    #[serde(default = "yes")]
    pub(crate) content: bool,
}

impl Default for Scope {
    fn default() -> Self {
        Self { sources: None, numbers: None, types: None, content: true }
    }
}

impl Claims {
    /// Whether it is meant for them.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match &self.audience {
            Audience::Nobody => false,
            Audience::One(one) => one == audience,
            Audience::Several(several) => several.iter().any(|one| one == audience),
        }
    }

    /// When it ends.
    pub(super) fn expires_at(&self) -> Option<UnixMillis> {
        self.expires_at.and_then(moment)
    }

    /// When it begins: the later of what it says. `None` where that makes no sense.
    pub(super) fn begins_at(&self) -> Option<UnixMillis> {
        let times = [self.issued_at, self.not_before].into_iter().flatten();
        times.map(moment).try_fold(UnixMillis(0), |latest, time| Some(latest.max(time?)))
    }
}

/// A numeric date (RFC 7519, section 2).
fn moment(seconds: f64) -> Option<UnixMillis> {
    let is_sane = (0.0..=1e12).contains(&seconds);
    #[expect(clippy::cast_possible_truncation, reason = "its range was just looked at")]
    is_sane.then_some(UnixMillis((seconds * 1e3) as i64))
}

/// As a whole number, which every library takes.
fn whole<S: Serializer>(seconds: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    #[expect(clippy::cast_possible_truncation, reason = "what is written here was whole before")]
    serializer.serialize_i64(seconds.unwrap_or_default() as i64)
}

fn yes() -> bool {
    true
}

/// A scope by its members alone: `null` or a list was meant to say something, and must not admit everything.
fn members<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Scope>, D::Error> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Scope;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scope, A::Error> {
            Scope::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Members).map(Some)
}

/// A list, or the one value of it.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(String),
        Several(Vec<String>),
    }
    // A list that is `null` was meant to say something.
    Ok(Some(match Given::deserialize(deserializer)? {
        Given::One(one) => vec![one],
        Given::Several(several) => several,
    }))
}
