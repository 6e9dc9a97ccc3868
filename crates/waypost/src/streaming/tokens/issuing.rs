//! Issuing and revoking, and the change of keys. What is changed is durable before it is in force.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Header;
use serde::{Deserialize, Serialize};
use waypost_domain::UnixMillis;
use waypost_engine::stream::TypePattern;
use waypost_store::{EntryKind, EntryRecord, StoreError};

use super::claims::{Audience, Claims, Scope};
use super::keys::{Key, Signing};
use super::{State, TokenError, Tokens};
use crate::chance;

/// Longest that a token may be good: ten years.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);
/// Tokens that are on record at once: those issued here that have not run out, and those revoked.
const TOKENS_MAX: usize = 10_000;
/// Keys that are believed at once.
const KEYS_MAX: usize = 32;
/// Longest note on a token.
const NOTE_CHARS_MAX: usize = 200;

/// A token that somebody wants.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// What it is signed with.
    pub(crate) signing: Signing,
    /// For how long it is good.
    pub(crate) ttl: Duration,
    /// What it admits to.
    pub(crate) scope: Scope,
    /// A word for the list.
    pub(crate) note: Option<String>,
}

/// A token that was issued.
#[derive(Serialize, Debug)]
pub(crate) struct Issued {
    /// The token itself, which is kept nowhere.
    pub(crate) token: String,
    /// What it is revoked by.
    pub(crate) id: String,
    /// When it ends.
    #[serde(skip)]
    pub(crate) expires_at: UnixMillis,
}

/// What is on record of a token.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(crate) struct Record {
    /// When it was issued; `None` of one that others issued.
    #[serde(default)]
    pub(crate) issued_at: Option<UnixMillis>,
    /// When it ends; of others' tokens that were revoked by id, when the record of that does.
    pub(crate) expires_at: UnixMillis,
    #[serde(default)]
    pub(crate) scope: Option<Scope>,
    /// The key that signed it.
    #[serde(default)]
    pub(crate) key: Option<String>,
    #[serde(default)]
    pub(crate) note: Option<String>,
    /// Who had it issued.
    #[serde(default)]
    pub(crate) issued_by: Option<String>,
    #[serde(default)]
    pub(crate) revoked_at: Option<UnixMillis>,
    #[serde(default)]
    pub(crate) revoked_by: Option<String>,
}

/// What is told of a key.
#[derive(Debug)]
pub(crate) struct KeyView {
    pub(crate) id: String,
    pub(crate) signing: Signing,
    pub(crate) made_at: UnixMillis,
    pub(crate) signs: bool,
    pub(crate) until: UnixMillis,
}

/// Why nothing was issued, revoked or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    /// It asks for what cannot be.
    #[error("{0}")]
    Wrong(String),
    /// What is to be revoked is a token that is none of ours.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There are too many.
    #[error(
        "there are {TOKENS_MAX} tokens on record already; those that run out make room, and the backends of many users sign their own (token_secrets)"
    )]
    TooMany,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing could be signed.
    #[error("no token could be made: {0:#}")]
    Failed(anyhow::Error),
}

impl Tokens {
    /// Issues a token.
    ///
    /// # Errors
    ///
    /// When it cannot be made or put on record.
    pub(crate) async fn issue(&self, wanted: Wanted, who: &str) -> Result<Issued, IssueError> {
        let _changing = self.changing.lock().await;
        let mut state = self.swept().await?;
        if wanted.ttl.is_zero() || wanted.ttl > TTL_MAX {
            return Err(IssueError::Wrong(
                "a token is good for some time, and for ten years at most".to_owned(),
            ));
        }
        // It would admit to nothing, and nobody would know why.
        for text in wanted.scope.types.iter().flatten() {
            TypePattern::parse(text).map_err(|error| IssueError::Wrong(error.to_string()))?;
        }
        if wanted.note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
            return Err(IssueError::Wrong(format!("a note has at most {NOTE_CHARS_MAX} characters")));
        }
        if state.tokens.len() >= TOKENS_MAX {
            return Err(IssueError::TooMany);
        }
        let now = self.clock.wall();
        // Tokens say whole seconds.
        let expires_at = UnixMillis(now.plus(wanted.ttl).0 / 1_000 * 1_000);
        let former = state.keys.iter().position(|key| key.signs() && key.signing() == wanted.signing);
        let key = match former {
            Some(place) => state.keys.remove(place),
            None => Arc::new(Key::make(wanted.signing, now).map_err(IssueError::Failed)?),
        };
        // The key is on record, and for how long it is needed, before anything is signed with it.
        let key = if former.is_none() || key.until() < expires_at {
            let until = key.until().max(expires_at);
            let key = key.with(true, until).ok_or_else(unreadable)?;
            self.store.entry_put(key.record()).await?;
            Arc::new(key)
        } else {
            key
        };
        let id = format!("tok_{}", chance::token::<20>().map_err(IssueError::Failed)?);
        let claims = Claims {
            issuer: Some("waypost".to_owned()),
            audience: Audience::One(state.audience.clone()),
            id: Some(id.clone()),
            issued_at: Some(seconds(now)),
            not_before: None,
            expires_at: Some(seconds(expires_at)),
            scope: Some(wanted.scope.clone()),
        };
        let header = Header { kid: Some(key.id.clone()), ..Header::new(key.algorithm()) };
        let token = jsonwebtoken::encode(&header, &claims, key.encoding())
            .map_err(|error| IssueError::Failed(error.into()))?;
        let record = Record {
            issued_at: Some(now),
            expires_at,
            scope: Some(wanted.scope),
            key: Some(key.id.clone()),
            note: wanted.note,
            issued_by: Some(who.to_owned()),
            revoked_at: None,
            revoked_by: None,
        };
        state.keys.push(key);
        self.put(&mut state, &id, record).await?;
        self.show(state);
        Ok(Issued { token, id, expires_at })
    }

    /// Revokes a token, named by its id or by itself. Answers its id, and whether it is one that was issued here.
    ///
    /// # Errors
    ///
    /// When it is a token that nobody signed whom we believe, or the store does not take it.
    pub(crate) async fn revoke(&self, what: &str, who: &str) -> Result<(String, bool), IssueError> {
        let _changing = self.changing.lock().await;
        let mut state = self.swept().await?;
        let now = self.clock.wall();
        let is_token = what.matches('.').count() == 2;
        let (id, expires_at) = if is_token {
            let (claims, _) = state.signed(what)?;
            let expires_at = claims.expires_at().unwrap_or(now.plus(TTL_MAX));
            (claims.id.unwrap_or_else(|| super::hash(what)), expires_at)
        } else {
            (what.to_owned(), now.plus(TTL_MAX))
        };
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(IssueError::Wrong(format!("a token's id has 1 to {ID_BYTES_MAX} bytes")));
        }
        let known = state.tokens.get(&id).cloned();
        let is_ours = known.as_ref().is_some_and(|record| record.issued_at.is_some());
        if known.is_none() && state.tokens.len() >= TOKENS_MAX {
            return Err(IssueError::TooMany);
        }
        let record = match known {
            Some(record) => Record::clone(&record),
            None => Record {
                issued_at: None,
                expires_at,
                scope: None,
                key: None,
                note: None,
                issued_by: None,
                revoked_at: None,
                revoked_by: None,
            },
        };
        if record.revoked_at.is_none() {
            let record = Record { revoked_at: Some(now), revoked_by: Some(who.to_owned()), ..record };
            self.put(&mut state, &id, record).await?;
        }
        self.show(state);
        Ok((id, is_ours))
    }

    /// Makes new keys for what is signed from now on. Tokens signed with the former ones stay good. Answers the new
    /// keys.
    ///
    /// # Errors
    ///
    /// When they cannot be made or put on record.
    pub(crate) async fn rotate(&self) -> Result<Vec<KeyView>, IssueError> {
        let _changing = self.changing.lock().await;
        let mut state = self.swept().await?;
        if state.keys.len() >= KEYS_MAX {
            let what = format!("{KEYS_MAX} keys are believed already; those whose tokens run out make room");
            return Err(IssueError::Wrong(what));
        }
        let now = self.clock.wall();
        let mut made = Vec::new();
        for place in 0..state.keys.len() {
            let key = state.keys[place].clone();
            if !key.signs() {
                continue;
            }
            let new = Key::make(key.signing(), now).map_err(IssueError::Failed)?;
            // The new one first: there is always one that signs.
            self.store.entry_put(new.record()).await?;
            let former = key.with(false, key.until()).ok_or_else(unreadable)?;
            self.store.entry_put(former.record()).await?;
            state.keys[place] = Arc::new(former);
            made.push(view(&new));
            state.keys.push(Arc::new(new));
        }
        self.show(state);
        Ok(made)
    }

    /// The tokens on record, those first that were issued or revoked last, and our keys.
    pub(crate) fn list(&self) -> (Vec<(String, Arc<Record>)>, Vec<KeyView>) {
        let state = self.state.load();
        let now = self.clock.wall();
        let tokens = state.tokens.iter().filter(|(_, record)| record.expires_at > now);
        let mut tokens: Vec<_> = tokens.map(|(id, record)| (id.clone(), record.clone())).collect();
        tokens.sort_by_key(|(_, record)| std::cmp::Reverse(record.issued_at.max(record.revoked_at)));
        (tokens, state.keys.iter().map(|key| view(key)).collect())
    }

    async fn put(&self, state: &mut State, id: &str, record: Record) -> Result<(), IssueError> {
        let settings = serde_json::to_string(&record).map_err(|error| IssueError::Failed(error.into()))?;
        let created_at = record.issued_at.or(record.revoked_at).unwrap_or_default();
        let entry = EntryRecord { kind: EntryKind::Token, name: id.to_owned(), settings, created_at };
        self.store.entry_put(entry).await?;
        state.tokens.insert(id.to_owned(), Arc::new(record));
        Ok(())
    }

    /// The state without what has run out, in the store too.
    async fn swept(&self) -> Result<State, StoreError> {
        let mut state = State::clone(&self.state.load());
        let now = self.clock.wall();
        let over: Vec<String> = state
            .tokens
            .iter()
            .filter(|(_, record)| record.expires_at < now)
            .map(|(id, _)| id.clone())
            .take(SWEPT_MAX)
            .collect();
        for id in over {
            self.store.entry_delete(EntryKind::Token, &id).await?;
            state.tokens.remove(&id);
        }
        let over: Vec<String> = state
            .keys
            .iter()
            .filter(|key| !key.signs() && key.until() < now)
            .map(|key| key.id.clone())
            .collect();
        for id in over {
            self.store.entry_delete(EntryKind::TokenKey, &id).await?;
            state.keys.retain(|key| key.id != id);
        }
        Ok(state)
    }
}

/// Longest id of a token.
const ID_BYTES_MAX: usize = 200;
/// Records that one change clears away.
const SWEPT_MAX: usize = 100;

fn view(key: &Key) -> KeyView {
    KeyView {
        id: key.id.clone(),
        signing: key.signing(),
        made_at: key.made_at,
        signs: key.signs(),
        until: key.until(),
    }
}

fn unreadable() -> IssueError {
    IssueError::Failed(anyhow::anyhow!("the key is not usable"))
}

/// A numeric date (RFC 7519, section 2), in whole seconds.
fn seconds(at: UnixMillis) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds of any year that has a date are exact")]
    let seconds = (at.0 / 1_000) as f64;
    seconds
}
