//! The tokens that readers of the stream show: JSON Web Tokens (RFC 7519), signed with HS256 or EdDSA.
//!
//! **The promises:** a token is believed only for as long as it says, by us or by those whose keys the configuration
//! names, for this audience, and for what its scope says; one that was revoked is refused from that moment on, and whoever
//! reads with it is cut off. What a scope says that is not understood is no reason to let more through: such a token
//! is refused. Our own keys change with an overlap: the former one is believed until its last token has run out.

mod claims;
mod issuing;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tokio::sync::{Mutex, watch};
use waypost_domain::{Clock, UnixMillis};
use waypost_store::{EntryKind, Store, StoreError};

use crate::config;
use claims::Claims;
use keys::Key;

pub(crate) use claims::Scope;
pub(crate) use issuing::{IssueError, KeyView, Record, Wanted};
pub(crate) use keys::Signing;

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far clocks of those who issue tokens may be ahead of ours.
const LEEWAY: Duration = Duration::from_secs(30);

/// Who may read, and what proves it.
pub(crate) struct Tokens {
    store: Store,
    clock: Clock,
    state: ArcSwap<State>,
    /// Held while something is changed, so that changes follow one another.
    changing: Mutex<()>,
    /// Counts changes after which a token that was good may be so no more.
    changed: watch::Sender<u64>,
}

/// What tokens are judged by.
#[derive(Clone, Default)]
struct State {
    audience: String,
    /// Others' keys.
    foreign: Vec<Foreign>,
    /// Our own.
    keys: Vec<Arc<Key>>,
    /// What was issued here or revoked, by id.
    tokens: HashMap<String, Arc<Record>>,
}

/// A key of others.
#[derive(Clone)]
struct Foreign {
    algorithm: Algorithm,
    key: DecodingKey,
    mark: Mark,
}

/// What a key is known by without being told: its hash.
type Mark = [u8; 32];

/// What a token admits to, and until when.
#[derive(Debug)]
pub(crate) struct Grant {
    /// What it is revoked by: its `jti`, or else its hash.
    pub(crate) id: String,
    /// When it ends.
    pub(crate) expires_at: UnixMillis,
    /// What may be read with it.
    pub(crate) scope: Scope,
    /// The key that signed it.
    pub(crate) signed_by: [u8; 32],
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// It is not signed by anybody we believe, or is no token at all.
    #[error("the token is not signed with a key that is believed here")]
    Forged,
    /// Its time is over.
    #[error("the token has run out; get a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not good yet; is a clock wrong?")]
    NotYet,
    /// It is meant for somebody else.
    #[error("the token is meant for another audience: its `aud` is not what [stream] audience says")]
    WrongAudience,
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// It is signed and makes no sense.
    #[error(
        "the token is signed, but its claims are not understood: it needs a numeric `exp`, and a `scope` with sources, numbers, types and content only"
    )]
    Malformed,
}

impl TokenError {
    /// The code for it, in answers.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Forged => "token_forged",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet",
            Self::WrongAudience => "token_wrong_audience",
            Self::Revoked => "token_revoked",
            Self::Malformed => "token_malformed",
        }
    }
}

impl Tokens {
    /// The tokens of a store, and of those whose keys the configuration names.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn new(store: Store, clock: Clock, config: &config::Stream) -> Result<Self, StoreError> {
        let mut state = State::default();
        for record in store.entries(EntryKind::TokenKey).await? {
            match Key::read(&record) {
                Some(key) => state.keys.push(Arc::new(key)),
                None => {
                    tracing::error!(key = %record.name, "a key of the stream's tokens cannot be read; it is left out");
                }
            }
        }
        for record in store.entries(EntryKind::Token).await? {
            match serde_json::from_str(&record.settings) {
                Ok(token) => {
                    state.tokens.insert(record.name, Arc::new(token));
                }
                Err(error) => {
                    tracing::error!(token = %record.name, %error, "the record of a token cannot be read")
                }
            }
        }
        let this = Self {
            store,
            clock,
            state: ArcSwap::from_pointee(state),
            changing: Mutex::default(),
            changed: watch::Sender::new(0),
        };
        this.configure(config).await;
        Ok(this)
    }

    /// Takes over what the configuration now says.
    pub(crate) async fn configure(&self, config: &config::Stream) {
        let _changing = self.changing.lock().await;
        let mut state = State::clone(&self.state.load());
        state.audience.clone_from(&config.audience);
        let secrets = config.token_secrets.iter();
        let secrets =
            secrets.map(|secret| (Algorithm::HS256, DecodingKey::from_secret(secret.expose().as_bytes())));
        let public_keys = config.token_public_keys.iter();
        let public_keys = public_keys.map(|key| (Algorithm::EdDSA, DecodingKey::from_ed_der(&key.bytes)));
        let foreign = secrets.chain(public_keys);
        let foreign = foreign.map(|(algorithm, key)| Foreign { algorithm, mark: mark(&key), key });
        state.foreign = foreign.collect();
        self.show(state);
    }

    /// What a token admits to.
    ///
    /// # Errors
    ///
    /// When it is not believed.
    pub(crate) fn verify(&self, token: &str) -> Result<Grant, TokenError> {
        let state = self.state.load();
        let (claims, signed_by) = state.signed(token)?;
        if !claims.is_for(&state.audience) {
            return Err(TokenError::WrongAudience);
        }
        let now = self.clock.wall();
        let expires_at = claims.expires_at().ok_or(TokenError::Malformed)?;
        let begins_at = claims.begins_at().ok_or(TokenError::Malformed)?;
        if begins_at > now.plus(LEEWAY) {
            return Err(TokenError::NotYet);
        }
        let id = claims.id.clone().unwrap_or_else(|| hash(token));
        if state.is_revoked(&id) {
            return Err(TokenError::Revoked);
        }
        if expires_at <= now {
            return Err(TokenError::Expired);
        }
        let scope = claims.scope.unwrap_or_default();
        Ok(Grant { id, expires_at, scope, signed_by })
    }

    /// Whether what was granted has been taken back: the token was revoked, or its key is believed no more.
    pub(crate) fn is_revoked(&self, grant: &Grant) -> bool {
        let state = self.state.load();
        state.is_revoked(&grant.id) || !state.marks().any(|mark| *mark == grant.signed_by)
    }

    /// Changes whenever a token may have been revoked.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn show(&self, state: State) {
        self.state.store(Arc::new(state));
        self.changed.send_modify(|count| *count += 1);
    }
}

impl State {
    fn is_revoked(&self, id: &str) -> bool {
        self.tokens.get(id).is_some_and(|token| token.revoked_at.is_some())
    }

    /// What all keys are known by that are believed.
    fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.keys.iter().map(|key| key.mark()).chain(self.foreign.iter().map(|foreign| &foreign.mark))
    }

    /// The claims of a token that somebody signed whom we believe, and the key. When they hold, is not asked.
    fn signed(&self, token: &str) -> Result<(Claims, Mark), TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Forged);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Forged)?;
        // What is critical and not understood must be refused (RFC 7515, section 4.1.11).
        let is_known = matches!(header.alg, Algorithm::HS256 | Algorithm::EdDSA) && header.crit.is_none();
        if !is_known {
            return Err(TokenError::Forged);
        }
        let mut validation = Validation::new(header.alg);
        // By our own clock, and told apart: see `verify`.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let own = self.keys.iter().filter(|key| Some(&key.id) == header.kid.as_ref());
        let own = own.map(|key| (key.algorithm(), key.decoding(), key.mark()));
        let foreign = self.foreign.iter().map(|foreign| (foreign.algorithm, &foreign.key, &foreign.mark));
        for (_, key, mark) in own.chain(foreign).filter(|(algorithm, ..)| *algorithm == header.alg) {
            match jsonwebtoken::decode::<Claims>(token, key, &validation) {
                Ok(decoded) => return Ok((decoded.claims, *mark)),
                Err(error) => match error.kind() {
                    jsonwebtoken::errors::ErrorKind::Json(_) => return Err(TokenError::Malformed),
                    _ => continue,
                },
            }
        }
        Err(TokenError::Forged)
    }
}

/// What a key is known by.
fn mark(key: &DecodingKey) -> Mark {
    let hash = digest::digest(&digest::SHA256, key.try_get_as_bytes().unwrap_or_default());
    let mut mark = Mark::default();
    mark.copy_from_slice(hash.as_ref());
    mark
}

/// What a token without an id is known by.
fn hash(token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    hash.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
