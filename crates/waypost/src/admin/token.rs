//! The admin token: who may use the API over TCP.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use http::header::AUTHORIZATION;

use super::Admin;
use super::problem::Problem;
use crate::chance;

const FILE: &str = "admin-token";

/// 256 random bits that the server keeps in its data directory.
pub(crate) struct AdminToken(String);

impl AdminToken {
    /// The token of a data directory; made if there is none yet, readable by its owner only.
    ///
    /// # Errors
    ///
    /// When it can be neither read nor made.
    pub(crate) fn of(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let context = || format!("cannot keep the admin token in {}", path.display());
        match std::fs::read_to_string(&path) {
            Ok(token) if token.trim().len() >= 32 => return Ok(Self(token.trim().to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(context),
        }
        let token = chance::hex::<32>()?;
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&path).with_context(context)?;
        writeln!(file, "{token}").with_context(context)?;
        Ok(Self(token))
    }

    /// Whether it is the one.
    pub(crate) fn admits(&self, given: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), given).is_ok()
    }
}

/// Lets only those through who show the token.
pub(super) async fn demand(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
    if given.is_some_and(|given| admin.token.admits(given)) {
        return Ok(next.run(request).await);
    }
    let detail = "the API wants `Authorization: Bearer TOKEN`; the server keeps the token in its data directory, in the file admin-token";
    Err(Problem::new(StatusCode::UNAUTHORIZED, "token_wanted", detail))
}
