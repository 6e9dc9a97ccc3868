//! Who acts: what is recorded of an operator.

use std::sync::Arc;

use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// Somebody who acts, in one word for the record.
#[derive(Clone)]
pub(super) struct Who(pub(super) Arc<str>);

impl Who {
    /// Somebody who showed the admin token.
    pub(super) fn by_token() -> Self {
        Self("admin-token".into())
    }
}

/// The user at the other end of the socket.
#[derive(Clone)]
pub(super) struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// Notes who is at the other end of the socket.
pub(super) async fn by_socket(
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let who = peer.uid.map_or_else(|| "socket".to_owned(), |uid| format!("uid {uid}"));
    request.extensions_mut().insert(Who(who.into()));
    next.run(request).await
}
