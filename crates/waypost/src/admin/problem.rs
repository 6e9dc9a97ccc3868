//! Errors over HTTP: problem documents (RFC 9457), one mapping.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;
use waypost_store::{EntryKind, StoreError};

use crate::registry::ChangeError;
use crate::upgrade::UpgradeError;

/// A problem as shown: a stable code and one plain sentence.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    /// A further member.
    more: Option<(&'static str, String)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), more: None }
    }

    /// The same with a further member.
    pub(crate) fn with(self, member: &'static str, value: String) -> Self {
        Self { more: Some((member, value)), ..self }
    }

    /// The sentence.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Something asked for does not exist.
    pub(crate) fn unknown(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// The question makes no sense.
    pub(crate) fn wrong(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut document = json!({
            "type": format!("urn:waypost:error:{}", self.code),
            "title": title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some((member, value)) = self.more {
            document[member] = value.into();
        }
        (self.status, [(CONTENT_TYPE, "application/problem+json")], document.to_string()).into_response()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), error.to_string())
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        use EntryKind::Upstream;
        let (status, code) = match &error {
            ChangeError::Wrong(Upstream, _) => (StatusCode::UNPROCESSABLE_ENTITY, "upstream_wrong"),
            ChangeError::Wrong(..) => (StatusCode::UNPROCESSABLE_ENTITY, "entry_wrong"),
            ChangeError::Exists(Upstream, _) => (StatusCode::CONFLICT, "upstream_exists"),
            ChangeError::Exists(..) => (StatusCode::CONFLICT, "entry_exists"),
            ChangeError::Unknown(Upstream, _) => (StatusCode::NOT_FOUND, "upstream_unknown"),
            ChangeError::Unknown(..) => (StatusCode::NOT_FOUND, "entry_unknown"),
            ChangeError::Configured(Upstream, _) => (StatusCode::CONFLICT, "upstream_configured"),
            ChangeError::Configured(..) => (StatusCode::CONFLICT, "entry_configured"),
            ChangeError::InUse(..) => (StatusCode::CONFLICT, "entry_in_use"),
            ChangeError::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "change_failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<UpgradeError> for Problem {
    fn from(error: UpgradeError) -> Self {
        let (status, code) = match &error {
            UpgradeError::NotPossible(_) => (StatusCode::CONFLICT, "upgrade_impossible"),
            UpgradeError::UnderWay => (StatusCode::CONFLICT, "upgrade_under_way"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "upgrade_failed"),
        };
        Self::new(status, code, format!("{error}; this process goes on as before"))
    }
}

/// The answer to an address that means nothing.
pub(crate) async fn not_found() -> Problem {
    Problem::unknown(
        "nothing is at this address; health is at /healthz and /readyz, metrics at /metrics, the API under /api/v1/",
    )
}
