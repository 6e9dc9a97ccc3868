//! Our own keys: one for each algorithm signs, and those before it are believed until their last token has run out.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use waypost_domain::UnixMillis;
use waypost_store::{EntryKind, EntryRecord};

use super::Mark;
use crate::chance;

/// What tokens are signed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Signing {
    /// A secret that who signs and who checks share.
    #[serde(rename = "HS256")]
    Hs256,
    /// A key pair.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A key of ours.
pub(super) struct Key {
    /// Its name, the `kid` of its tokens.
    pub(super) id: String,
    pub(super) made_at: UnixMillis,
    settings: Settings,
    encoding: EncodingKey,
    decoding: DecodingKey,
    mark: Mark,
}

/// What the store keeps of it.
#[derive(Serialize, Deserialize, Clone)]
struct Settings {
    algorithm: Signing,
    /// 32 random bytes in hexadecimal digits: the secret, or the seed of the pair.
    seed: String,
    /// Whether new tokens are signed with it.
    signs: bool,
    /// When the last token that it signed ends.
    until: UnixMillis,
}

impl Key {
    /// A new one.
    pub(super) fn make(algorithm: Signing, now: UnixMillis) -> anyhow::Result<Self> {
        let settings = Settings { algorithm, seed: chance::hex::<32>()?, signs: true, until: now };
        let id = format!("key_{}", chance::token::<16>()?);
        Self::of(id, now, settings).ok_or_else(|| anyhow::anyhow!("no key could be made"))
    }

    /// One of the store's.
    pub(super) fn read(record: &EntryRecord) -> Option<Self> {
        let settings = serde_json::from_str(&record.settings).ok()?;
        Self::of(record.name.clone(), record.created_at, settings)
    }

    /// The same, as it now is.
    pub(super) fn with(&self, signs: bool, until: UnixMillis) -> Option<Self> {
        let settings = Settings { signs, until, ..self.settings.clone() };
        Self::of(self.id.clone(), self.made_at, settings)
    }

    fn of(id: String, made_at: UnixMillis, settings: Settings) -> Option<Self> {
        let seed = unhex(&settings.seed)?;
        let (encoding, decoding) = match settings.algorithm {
            Signing::Hs256 => (EncodingKey::from_secret(&seed), DecodingKey::from_secret(&seed)),
            Signing::EdDsa => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
                let document = pair.to_pkcs8v1().ok()?;
                let public = pair.public_key().as_ref();
                (EncodingKey::from_ed_der(document.as_ref()), DecodingKey::from_ed_der(public))
            }
        };
        let mark = super::mark(&decoding);
        Some(Self { id, made_at, settings, encoding, decoding, mark })
    }

    /// How it goes into the store.
    pub(super) fn record(&self) -> EntryRecord {
        EntryRecord {
            kind: EntryKind::TokenKey,
            name: self.id.clone(),
            settings: serde_json::to_string(&self.settings).unwrap_or_default(),
            created_at: self.made_at,
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self.settings.algorithm {
            Signing::Hs256 => Algorithm::HS256,
            Signing::EdDsa => Algorithm::EdDSA,
        }
    }

    pub(super) fn signing(&self) -> Signing {
        self.settings.algorithm
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Whether new tokens are signed with it.
    pub(super) fn signs(&self) -> bool {
        self.settings.signs
    }

    /// When the last token that it signed ends.
    pub(super) fn until(&self) -> UnixMillis {
        self.settings.until
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}
