//! The part of the API that looks at deliveries one by one, and acts on them. Every act is recorded.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use waypost_domain::{DeliveryId, UnixMillis};
use waypost_engine::metrics::ActLabel;
use waypost_store::{
    ActKind, ActOn, ActOutcome, ActPage, ActRecord, ActSubject, DeliveryDetail, DeliveryFilter, DeliveryPage,
    Pause, Selection, StoreError,
};

use super::Admin;
use super::problem::Problem;
use super::who::Who;
use super::{names, waiting};
use crate::config::Kind;
use crate::rendering::{AttemptView, DeliveryView, digits, moment, time};

/// Deliveries listed where nobody says how many.
const LIMIT: usize = 50;
/// Deliveries listed at most.
const LIMIT_MAX: usize = 1_000;
/// Deliveries that one transaction of a bulk act changes at most.
const ACT_STEP: u64 = 500;
/// Warnings that an answer holds at most.
const WARNINGS_MAX: usize = 10;

type Shown = State<Arc<Admin>>;

/// The addresses of this part.
pub(super) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/v1/deliveries", get(deliveries))
        .route("/api/v1/deliveries/{id}", get(delivery))
        .route("/api/v1/acts", get(acts).post(act))
        .route("/api/v1/destinations/{name}/pause", post(pause))
        .route("/api/v1/destinations/{name}/resume", post(resume))
        .method_not_allowed_fallback(super::api::method_not_allowed)
        .with_state(admin)
}

/// Which deliveries are meant, as it stands in a query or in an act.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wanted {
    id: Option<String>,
    state: Option<String>,
    destination: Option<String>,
    source: Option<String>,
    conversation: Option<String>,
    wamid: Option<String>,
    number: Option<String>,
    status: Option<u16>,
    code: Option<String>,
    overtaken: Option<bool>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

impl Wanted {
    fn filter(self, now: UnixMillis) -> Result<DeliveryFilter, Problem> {
        let at =
            |text: Option<String>| text.map(|text| moment(&text, now)).transpose().map_err(Problem::wrong);
        let ids = self.id.map(|id| id.parse().map(|id| vec![id])).transpose();
        // A code of three digits is an HTTP status.
        let code_status = self.code.as_deref().and_then(|code| code.parse::<u16>().ok());
        let state = self.state.as_deref().map(|state| if state == "sending" { "owed" } else { state });
        Ok(DeliveryFilter {
            ids: ids.map_err(|error: waypost_domain::IdError| Problem::wrong(error.to_string()))?,
            state: state.map(str::parse).transpose().map_err(Problem::wrong)?,
            destination: self.destination,
            source: self.source,
            conversation: self.conversation,
            wamid: self.wamid,
            number: self.number.map(digits),
            last_status: self.status.or(code_status),
            last_code: self.code.filter(|_| code_status.is_none()),
            overtaken: self.overtaken,
            since: at(self.since)?,
            until: at(self.until)?,
        })
    }
}

async fn deliveries(
    State(admin): Shown,
    query: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(wanted) = query.map_err(|error| Problem::wrong(error.body_text()))?;
    let limit = wanted.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let before = wanted.after.as_deref().map(parse).transpose()?;
    let only_sending = wanted.state.as_deref() == Some("sending");
    names::known(&admin, wanted.source.as_deref(), wanted.destination.as_deref()).await?;
    let filter = wanted.filter(admin.clock.wall())?;
    let list = admin.store.deliveries(filter, DeliveryPage { before, limit }).await?;
    let items = list.deliveries.iter().map(|detail| view(&admin, detail));
    let items: Vec<Value> = items.filter(|item| !only_sending || item["state"] == "sending").collect();
    Ok(Json(json!({ "items": items, "next": list.next.map(|id| id.to_string()) })))
}

async fn delivery(State(admin): Shown, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id = parse(&id)?;
    let detail = admin.store.delivery(id).await?;
    let detail = detail.ok_or_else(|| Problem::unknown(format!("there is no delivery `{id}`")))?;
    let mut shown = view(&admin, &detail);
    let waits_for = waiting::of(&admin, &detail.delivery, detail.first.conversation.as_deref()).await?;
    shown["waits_for"] = json!(waits_for);
    let attempts = admin.store.attempts(id).await?;
    shown["log"] = json!(attempts.iter().map(AttemptView::of).collect::<Vec<_>>());
    let acts =
        admin.store.acts(ActPage { delivery: Some(id), event: None, before: None, limit: LIMIT }).await?;
    shown["acts"] = acts.iter().map(act_view).collect();
    Ok(Json(shown))
}

fn view(admin: &Admin, detail: &DeliveryDetail) -> Value {
    let record = &detail.delivery;
    let handle = admin.dispatcher.destination(&record.owed.destination);
    let sending = handle.is_some_and(|handle| handle.is_sending(record.owed.id));
    let mut shown = json!(DeliveryView::of(record, sending));
    shown["source"] = json!(&*detail.source);
    shown["received_at"] = json!(time(detail.received_at));
    shown["body_kept"] = json!(detail.body_kept);
    shown["events"] = detail.events.iter().map(|id| Value::String(id.to_string())).collect();
    shown["kind"] = json!(&*detail.first.kind);
    shown["type"] = json!(&*detail.first.r#type);
    shown["wamid"] = json!(detail.first.wamid);
    shown["conversation"] = json!(detail.first.conversation);
    shown["key"] = json!(detail.first.key);
    shown
}

/// What an operator asks to be done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// `replay`, `retry` or `discard`.
    what: String,
    /// To which deliveries.
    #[serde(default)]
    to: Wanted,
    /// Only count.
    #[serde(default)]
    plan: bool,
    note: Option<String>,
}

/// Acts on one delivery, or on all that a filter admits, in small steps.
async fn act(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    asked: Result<Json<Asked>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(asked) = asked.map_err(|error| Problem::wrong(error.body_text()))?;
    let kind = ActKind::ALL.into_iter().find(|kind| kind.as_str() == asked.what);
    let kind = kind.filter(|kind| matches!(kind, ActKind::Replay | ActKind::Retry | ActKind::Discard));
    let kind = kind.ok_or_else(|| Problem::wrong("`what` is replay, retry or discard"))?;
    let now = admin.clock.wall();
    let one = asked.to.id.as_deref().map(parse).transpose()?;
    if let Some(id) = one {
        let found = admin.store.delivery(id).await?;
        let found = found.ok_or_else(|| Problem::unknown(format!("there is no delivery `{id}`")))?;
        let state = found.delivery.state.as_str();
        if let Some(wanted) = asked.to.state.as_deref().filter(|wanted| *wanted != state) {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "wrong_state",
                format!("`{id}` is {state}, not {wanted}; nothing was changed"),
            ));
        }
    }
    names::known(&admin, asked.to.source.as_deref(), asked.to.destination.as_deref()).await?;
    let to = asked.to.destination.clone();
    let filter = asked.to.filter(now)?;
    let note: Option<Arc<str>> = asked.note.map(Into::into);
    let (mut total, mut after) = (ActOutcome::default(), None);
    loop {
        let selection = match one {
            Some(id) => Selection::One(id),
            None => Selection::Matching { filter: filter.clone(), after, at_most: ACT_STEP },
        };
        let on = ActOn { selection, who: who.0.clone(), at: now, note: note.clone(), plan: asked.plan };
        let done = run(&admin, kind, on).await?;
        total.count += done.count;
        total.without_body += done.without_body;
        total.changed.extend(done.changed.into_iter().take(LIMIT_MAX.saturating_sub(total.changed.len())));
        after = done.next;
        if one.is_some() || after.is_none() {
            break;
        }
    }
    if !asked.plan {
        let concerned = admin.dispatcher.destinations().into_iter();
        let concerned = concerned.filter(|handle| to.as_deref().is_none_or(|name| **handle.name() == *name));
        concerned.for_each(|destination| destination.reread());
        admin.engine.acts.get_or_create(&ActLabel { act: kind.as_str() }).inc_by(total.count);
        tracing::info!(who = %who.0, what = kind.as_str(), count = total.count, "an operator acted");
        if kind == ActKind::Replay {
            show_again(&admin, total.changed.clone());
        }
    }
    Ok(Json(json!({
        "what": kind.as_str(),
        "plan": asked.plan,
        "count": total.count,
        "without_body": total.without_body,
        "deliveries": total.changed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "warnings": if kind == ActKind::Replay { replay_warnings(&admin, to.as_deref()) } else { Vec::new() },
    })))
}

/// Shows the events of deliveries that are replayed again to those of the stream's readers who want that, in the
/// background and at best.
fn show_again(admin: &Admin, deliveries: Vec<DeliveryId>) {
    let (stream, store) = (admin.streaming.stream().clone(), admin.store.clone());
    if stream.readers() == 0 {
        return;
    }
    tokio::spawn(async move {
        // Deliveries to several destinations are of the same events.
        let mut events = BTreeSet::new();
        for id in deliveries {
            match store.delivery(id).await {
                Ok(detail) => events.extend(detail.into_iter().flat_map(|detail| detail.events)),
                Err(error) => {
                    tracing::warn!(%error, code = error.code(), "not every replay is shown in the stream");
                    break;
                }
            }
        }
        stream.replayed(events);
    });
}

/// What a replay to these destinations, or to all, may not bring about.
fn replay_warnings(admin: &Admin, to: Option<&str>) -> Vec<String> {
    let table = admin.registry.table_full();
    let upstreams = table.upstreams().map(|upstream| (&upstream.name, upstream.settings.delivery.kind));
    let destinations = table.destinations().map(|other| (&other.name, other.settings.delivery.kind));
    let chatwoots = upstreams
        .chain(destinations)
        .filter(|(name, kind)| *kind == Kind::Chatwoot && to.is_none_or(|to| to == &***name));
    let told = chatwoots.map(|(name, _)| {
        format!("{name} is a Chatwoot: what it took within the last 24 hours it takes again without showing it, and its 200 means queued, not shown")
    });
    told.take(WARNINGS_MAX).collect()
}

async fn run(admin: &Admin, kind: ActKind, on: ActOn) -> Result<ActOutcome, StoreError> {
    match kind {
        ActKind::Discard => admin.store.discard(on).await,
        ActKind::Retry => admin.store.retry(on).await,
        _ => admin.store.replay(on).await,
    }
}

async fn acts(State(admin): Shown) -> Result<Json<Value>, Problem> {
    let acts =
        admin.store.acts(ActPage { delivery: None, event: None, before: None, limit: LIMIT_MAX }).await?;
    Ok(Json(json!({ "items": acts.iter().map(act_view).collect::<Value>() })))
}

fn act_view(act: &ActRecord) -> Value {
    let subject = match &act.subject {
        ActSubject::Delivery(id) => id.to_string(),
        ActSubject::Event(id) => id.to_string(),
        ActSubject::Destination(name) => name.to_string(),
    };
    json!({ "at": time(act.at), "who": &*act.who, "what": act.what.as_str(), "subject": subject, "note": act.note })
}

async fn pause(admin: Shown, who: Extension<Who>, name: Path<String>) -> Result<Json<Value>, Problem> {
    hold(admin, who, name, true).await
}

async fn resume(admin: Shown, who: Extension<Who>, name: Path<String>) -> Result<Json<Value>, Problem> {
    hold(admin, who, name, false).await
}

async fn hold(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
    paused: bool,
) -> Result<Json<Value>, Problem> {
    let known = |name: &str| admin.dispatcher.destination(name).map(|handle| handle.name().clone());
    // An upstream's name is its host, which people write in any case.
    let found = known(&name).or_else(|| known(&name.to_ascii_lowercase()));
    let name = found.ok_or_else(|| Problem::unknown(format!("there is no destination `{name}`")))?;
    let pause = Pause { destination: name.clone(), who: who.0.clone(), at: admin.clock.wall(), note: None };
    let changed = if paused { admin.store.pause(pause).await? } else { admin.store.resume(pause).await? };
    admin.dispatcher.pause(&name, paused);
    tracing::info!(destination = %name, who = %who.0, paused, "an operator acted");
    Ok(Json(json!({ "destination": &*name, "paused": paused, "changed": changed })))
}

fn parse(id: &str) -> Result<DeliveryId, Problem> {
    id.parse().map_err(|error: waypost_domain::IdError| Problem::wrong(error.to_string()))
}
