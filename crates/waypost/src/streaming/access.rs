//! Who may read: what a caller shows at which door, and what that admits to.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use super::Streaming;
use super::tokens::{Grant, IssueError, TokenError};
use crate::admin::Problem;

/// Where a caller came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// The data directory's socket: whoever can open it is the operator.
    Socket,
    /// The admin address.
    Admin,
    /// A public listener.
    Public,
}

/// Somebody who may read.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Everything.
    Operator,
    /// What a token admits to.
    Reader(Arc<Grant>),
}

impl Caller {
    /// What a token admits to, where there is one.
    pub(crate) fn grant(&self) -> Option<&Arc<Grant>> {
        match self {
            Self::Operator => None,
            Self::Reader(grant) => Some(grant),
        }
    }
}

impl Streaming {
    /// Who calls, by the token in the headers or else in the query. `None` where nothing is shown and something must be.
    ///
    /// # Errors
    ///
    /// When what is shown is not believed.
    pub(crate) fn caller(
        &self,
        door: Door,
        headers: &HeaderMap,
        in_query: Option<&str>,
    ) -> Result<Option<Caller>, TokenError> {
        let in_header = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        // Another scheme shows no token; `Bearer` in any case (RFC 9110, section 11.1).
        let in_header = in_header.and_then(|value| value.split_once(' '));
        let in_header = in_header.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match (in_header.map(|(_, token)| token.trim()).or(in_query), door) {
            (Some(token), _) => self.believed(door, token).map(Some),
            (None, Door::Socket) => Ok(Some(Caller::Operator)),
            (None, Door::Admin | Door::Public) => Ok(None),
        }
    }

    /// Whom a token shows.
    ///
    /// # Errors
    ///
    /// When it is not believed.
    pub(crate) fn believed(&self, door: Door, token: &str) -> Result<Caller, TokenError> {
        // The operators' token is none of the public's business: there it is as wrong as any other.
        if door != Door::Public && self.admin_token.admits(token.as_bytes()) {
            return Ok(Caller::Operator);
        }
        Ok(Caller::Reader(Arc::new(self.tokens.verify(token)?)))
    }

    /// The same, where somebody must be shown.
    ///
    /// # Errors
    ///
    /// When nobody is, or is not believed.
    pub(crate) fn must_be_somebody(
        &self,
        door: Door,
        headers: &HeaderMap,
        in_query: Option<&str>,
    ) -> Result<Caller, Problem> {
        self.caller(door, headers, in_query)?.ok_or_else(token_wanted)
    }
}

fn token_wanted() -> Problem {
    let detail = "the stream wants a token: `Authorization: Bearer TOKEN` or `?token=TOKEN`; `waypost token issue` makes one";
    Problem::new(StatusCode::UNAUTHORIZED, "token_wanted", detail)
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.code(), error.to_string())
    }
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        let (status, code) = match &error {
            IssueError::Wrong(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            IssueError::Token(token) => (StatusCode::BAD_REQUEST, token.code()),
            IssueError::TooMany => (StatusCode::CONFLICT, "tokens_too_many"),
            IssueError::Store(store) => (StatusCode::SERVICE_UNAVAILABLE, store.code()),
            IssueError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "token_failed"),
        };
        Self::new(status, code, error.to_string())
    }
}
