//! The admin side: health, metrics and the API, on an address of its own and on the data directory's
//! socket; never on the public listeners.
//!
//! Health and metrics are open to whoever reaches the admin address. The API there wants the token that
//! the server keeps in `DIR/admin-token`; through the socket, which only its owner can open, it wants none.

mod api;
mod certificates;
mod entries;
mod health;
mod metrics;
mod names;
mod operate;
mod problem;
mod quarantine;
mod token;
mod tokens;
mod trying;
mod upgrading;
mod waiting;
mod who;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use waypost_acme::Acme;
use waypost_domain::Clock;
use waypost_edge::{EdgeCounters, ServerTls};
use waypost_engine::dispatch::Dispatcher;
use waypost_engine::metrics::Metrics;
use waypost_store::Store;

use crate::public::Public;
use crate::registry::Registry;
use crate::streaming::{self, Door, Served, Streaming};
use crate::upgrade::Upgrades;

pub(crate) use api::method_not_allowed;
pub(crate) use health::LastProbe;
pub(crate) use metrics::MetricsPage;
pub(crate) use problem::Problem;
pub(crate) use token::AdminToken;

/// What the admin side shows and changes.
pub(crate) struct Admin {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) registry: Arc<Registry>,
    /// The public address that callback addresses begin with.
    pub(crate) base: String,
    pub(crate) dispatcher: Dispatcher,
    /// The engine's counters.
    pub(crate) engine: Metrics,
    pub(crate) public: Arc<Public>,
    pub(crate) edge: Arc<EdgeCounters>,
    /// What HTTPS shows.
    pub(crate) tls: Option<ServerTls>,
    /// What gets it, where it comes by itself.
    pub(crate) acme: Option<Acme>,
    pub(crate) metrics: MetricsPage,
    pub(crate) token: Arc<AdminToken>,
    /// The real-time stream.
    pub(crate) streaming: Arc<Streaming>,
    /// Cancelled once the server drains.
    pub(crate) draining: CancellationToken,
    /// What asks for another process to go on in our place.
    pub(crate) upgrades: Upgrades,
    /// What the last look at the store said, and when.
    pub(crate) last_probe: LastProbe,
}

/// The pages for the admin address.
pub(crate) fn guarded(admin: Arc<Admin>) -> Router {
    let api = api(&admin);
    let api = api.layer(axum::middleware::from_fn_with_state(admin.clone(), token::demand));
    let stream = stream(&admin, Door::Admin);
    open(admin).merge(api).merge(stream).layer(axum::Extension(who::Who::by_token()))
}

/// The pages for the socket.
pub(crate) fn trusted(admin: Arc<Admin>) -> Router {
    let api = api(&admin);
    let stream = stream(&admin, Door::Socket);
    open(admin).merge(api).merge(stream).layer(axum::middleware::from_fn(who::by_socket))
}

/// The API, wherever it is served.
fn api(admin: &Arc<Admin>) -> Router {
    api::routes(admin.clone())
        .merge(operate::routes(admin.clone()))
        .merge(entries::routes(admin.clone()))
        .merge(quarantine::routes(admin.clone()))
        .merge(trying::routes(admin.clone()))
        .merge(tokens::routes(admin.clone()))
        .merge(certificates::routes(admin.clone()))
        .merge(upgrading::routes(admin.clone()))
}

/// The stream, and the list of events, which has an address in common with it: they find out by themselves who asks.
fn stream(admin: &Arc<Admin>, door: Door) -> Router {
    let served = Served { streaming: admin.streaming.clone(), door };
    streaming::pages(served.clone()).merge(api::listing(admin.clone(), served))
}

fn open(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::page))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(admin)
}

/// Serves the admin address until told to end.
pub(crate) async fn serve_address(listener: TcpListener, pages: Router, end: CancellationToken) {
    let served = axum::serve(listener, pages).with_graceful_shutdown(end.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin address died");
    }
}

/// Serves the socket until told to end.
pub(crate) async fn serve_socket(listener: UnixListener, pages: Router, end: CancellationToken) {
    let pages = pages.into_make_service_with_connect_info::<who::Peer>();
    let served = axum::serve(listener, pages).with_graceful_shutdown(end.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin socket died");
    }
}
