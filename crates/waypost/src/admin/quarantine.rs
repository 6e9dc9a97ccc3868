//! The part of the API for what no route took: shown, sent once a route takes it, or given up. Every act is recorded.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use waypost_domain::EventId;
use waypost_store::{DiscardQuarantined, EventFilter, Page, Release};

use super::Admin;
use super::api::{self, EventsQuery};
use super::names;
use super::problem::Problem;
use super::who::Who;
use crate::rendering::{digits, moment};

/// Events that one act changes at most: their identifiers are held in memory.
const EVENTS_MAX: usize = 1_000_000;
/// Events that are read and changed in one go.
const STEP: usize = 200;
/// Events that an answer names.
const NAMED_MAX: usize = 1_000;
/// Events read from the store at once.
const PAGE: usize = 1_000;

type Shown = State<Arc<Admin>>;
type Told = Result<Json<Asked>, axum::extract::rejection::JsonRejection>;

/// The addresses of this part.
pub(super) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/v1/quarantine", get(list))
        .route("/api/v1/quarantine/replay", post(replay))
        .route("/api/v1/quarantine/discard", post(discard))
        .method_not_allowed_fallback(api::method_not_allowed)
        .with_state(admin)
}

async fn list(
    State(admin): Shown,
    query: Result<Query<EventsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query.map_err(|error| Problem::wrong(error.body_text()))?;
    api::list(&admin, query.only_quarantined()).await
}

/// Which quarantined events are meant: one, or all of which everything given holds.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Asked {
    id: Option<String>,
    source: Option<String>,
    conversation: Option<String>,
    wamid: Option<String>,
    number: Option<String>,
    kind: Option<String>,
    since: Option<String>,
    until: Option<String>,
    /// Only count.
    #[serde(default)]
    plan: bool,
    note: Option<String>,
}

async fn replay(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    asked: Told,
) -> Result<Json<Value>, Problem> {
    let Json(asked) = asked.map_err(|error| Problem::wrong(error.body_text()))?;
    let events = chosen(&admin, &asked).await?;
    let note: Option<Arc<str>> = asked.note.as_deref().map(Into::into);
    let (mut count, mut without_route, mut too_many) = (0, 0_usize, 0);
    let (mut named, mut destinations) = (Vec::new(), BTreeSet::new());
    for step in events.chunks(STEP) {
        let table = admin.registry.table_full();
        let mut leads = Vec::with_capacity(step.len());
        for id in step {
            // One that is not quarantined any more is somebody else's act, or its time is over.
            let Some(event) = admin.store.event(*id).await?.filter(|event| event.quarantined) else {
                continue;
            };
            let to = table.routing(&event.source).map(|routing| routing.release(&event)).unwrap_or_default();
            if to.is_empty() {
                without_route += 1;
            } else {
                destinations.extend(to.iter().map(|to| to.destination.clone()));
                leads.push((*id, to));
            }
        }
        if asked.plan || leads.is_empty() {
            count += leads.len();
            continue;
        }
        let release =
            Release { by: who.0.clone(), at: admin.clock.wall(), note: note.clone(), events: leads };
        let released = admin.store.release(release).await?;
        count += released.events.len();
        admin.streaming.stream().replayed(released.events.iter().copied());
        too_many += released.too_many;
        named.extend(released.events.into_iter().take(NAMED_MAX.saturating_sub(named.len())));
        for name in &destinations {
            if let Some(handle) = admin.dispatcher.destination(name) {
                handle.reread();
            }
        }
    }
    if !asked.plan {
        tracing::info!(who = %who.0, count, without_route, "quarantined events released");
    }
    Ok(Json(json!({
        "what": "replay",
        "plan": asked.plan,
        "count": count,
        "without_route": without_route,
        "too_many": too_many,
        "destinations": destinations.iter().map(|name| &**name).collect::<Vec<_>>(),
        "events": named.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })))
}

async fn discard(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    asked: Told,
) -> Result<Json<Value>, Problem> {
    let Json(asked) = asked.map_err(|error| Problem::wrong(error.body_text()))?;
    let events = chosen(&admin, &asked).await?;
    let note: Option<Arc<str>> = asked.note.as_deref().map(Into::into);
    let (mut count, mut named) = (0, Vec::new());
    if asked.plan {
        count = events.len();
    } else {
        for step in events.chunks(STEP) {
            let (by, at, note) = (who.0.clone(), admin.clock.wall(), note.clone());
            let discard = DiscardQuarantined { by, at, note, events: step.to_vec() };
            let gone = admin.store.discard_quarantined(discard).await?;
            count += gone.len();
            named.extend(gone.into_iter().take(NAMED_MAX.saturating_sub(named.len())));
        }
        tracing::info!(who = %who.0, count, "quarantined events discarded");
    }
    Ok(Json(json!({
        "what": "discard",
        "plan": asked.plan,
        "count": count,
        "events": named.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })))
}

/// The events that are meant, the oldest first, so that each conversation keeps its order.
async fn chosen(admin: &Admin, asked: &Asked) -> Result<Vec<EventId>, Problem> {
    if let Some(id) = &asked.id {
        let event: EventId =
            id.parse().map_err(|error: waypost_domain::IdError| Problem::wrong(error.to_string()))?;
        let found = admin.store.event(event).await?;
        let found = found.ok_or_else(|| Problem::unknown(format!("there is no event `{id}`")))?;
        if !found.quarantined {
            let what = format!("event `{id}` is not quarantined");
            return Err(Problem::new(http::StatusCode::CONFLICT, "not_quarantined", what));
        }
        return Ok(vec![event]);
    }
    names::known(admin, asked.source.as_deref(), None).await?;
    let now = admin.clock.wall();
    let at = |text: &Option<String>| {
        text.as_deref().map(|text| moment(text, now)).transpose().map_err(Problem::wrong)
    };
    let filter = EventFilter {
        source: asked.source.clone(),
        conversation: asked.conversation.clone(),
        wamid: asked.wamid.clone(),
        number: asked.number.clone().map(digits),
        kind: asked.kind.clone(),
        quarantined: Some(true),
        since: at(&asked.since)?,
        until: at(&asked.until)?,
        ..EventFilter::default()
    };
    let (mut events, mut before) = (Vec::new(), None);
    loop {
        let list = admin.store.events(filter.clone(), Page { before, limit: PAGE }).await?;
        events.extend(list.events.iter().map(|event| event.id));
        if events.len() > EVENTS_MAX {
            let what =
                format!("more than {EVENTS_MAX} events are meant; do it in parts, with since and until");
            return Err(Problem::wrong(what));
        }
        before = list.next;
        if before.is_none() {
            break;
        }
    }
    events.reverse();
    Ok(events)
}
