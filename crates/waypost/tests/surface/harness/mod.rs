//! What every test needs: the binary as a child, Meta as a raw client, receivers that follow a script.
//!
//! Nothing here waits for ever: each wait is bounded and fails with what it waited for.

mod certificates;
mod command;
mod gateway;
mod meta;
mod receiver;
mod stream;
pub(crate) mod strict;
mod tenants;
mod wire;

use std::future::Future;
use std::time::Duration;

pub(crate) use certificates::{Authority, client_of};
pub(crate) use command::{Ended, waypost};
pub(crate) use gateway::{Gateway, Home, Setup};
pub(crate) use meta::{SECRET, get, post, signature, signed, text, text_to, wamids};
pub(crate) use receiver::{Heard, Receiver, Reply};
pub(crate) use stream::{Reader, ids, types};
pub(crate) use strict::Load;
pub(crate) use tenants::{TOKEN, W, batch, destination, message, name_change, route, signed_with, source};
pub(crate) use wire::{Answer, Wire, ask};

/// The host that most tests allow.
pub(crate) const HOST: &str = "chatwoot.example.com";
/// A callback path as Chatwoot has it.
pub(crate) const CALLBACK: &str = "/chatwoot.example.com/webhooks/whatsapp/%2B5511999999999";

/// The future's value, which must be there within so many seconds.
pub(crate) async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {seconds} s: {what}"),
    }
}

/// Asks again and again, a few times a second, until there is a value.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    seconds: u64,
    what: &str,
    mut question: impl FnMut() -> F,
) -> T {
    within(seconds, what, async {
        loop {
            if let Some(value) = question().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}
