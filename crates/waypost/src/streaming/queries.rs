//! What has become of messages, and who the people are: found from what is kept of events, by those who may read these.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use waypost_domain::EventId;
use waypost_engine::stream::{MessageView, Reached, TypePattern};
use waypost_store::{
    ContactFilter, ContactRecord, EventFilter, MessageCursor, MessageFilter, MessagePage, MessageRecord, Page,
};

use super::Streaming;
use super::access::Caller;
use super::pages::Served;
use super::tokens::Scope;
use crate::admin::Problem;
use crate::rendering::{digits, moment, time};

/// Rows of a page where nobody says how many.
const LIMIT: usize = 50;
/// Rows of a page at most.
const LIMIT_MAX: usize = 200;
/// Pages of the store that one answer looks through for a row that the token admits to.
const PAGES_MAX: usize = 8;

/// What messages are made of here: whoever may read only some of these types may read no messages.
const OF_MESSAGES: [&str; 3] = ["message:new", "message:echo", "message:status"];
/// Likewise contacts.
const OF_CONTACTS: [&str; 2] = ["contact:new", "contact:updated"];
/// The latest events of a number that are asked what else it is called.
const NAMING_MAX: usize = 20;

type Shown = State<Served>;
type Asked = Result<Query<Wanted>, QueryRejection>;

/// The addresses of this part.
pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/api/v1/messages", get(messages))
        .route("/api/v1/messages/{wamid}", get(message))
        .route("/api/v1/contacts", get(contacts))
        .route("/api/v1/contacts/{conversation}", get(contact))
}

/// Whether a path is one of these.
pub(super) fn is_page(path: &str) -> bool {
    ["/api/v1/messages", "/api/v1/contacts"].iter().any(|address| {
        path.strip_prefix(address).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wanted {
    token: Option<String>,
    source: Option<String>,
    number: Option<String>,
    conversation: Option<String>,
    wamid: Option<String>,
    identity: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

impl Wanted {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)
    }
}

async fn messages(
    State(Served { streaming, door }): Shown,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let wanted = asked.map_err(|error| Problem::wrong(error.body_text()))?.0;
    let caller = streaming.must_be_somebody(door, &headers, wanted.token.as_deref())?;
    let admitted = Admitted::of(&caller, &OF_MESSAGES)?;
    if wanted.identity.is_some() {
        return Err(Problem::wrong("identity is for contacts; a conversation bears it too"));
    }
    let now = streaming.clock().wall();
    let at = |text: &Option<String>| {
        text.as_deref().map(|text| moment(text, now)).transpose().map_err(Problem::wrong)
    };
    let filter = MessageFilter {
        source: wanted.source.clone(),
        number: wanted.number.clone().map(digits),
        conversation: wanted.conversation.clone(),
        wamid: wanted.wamid.clone(),
        since: at(&wanted.since)?,
        until: at(&wanted.until)?,
    };
    let mut from = wanted.after.as_deref().map(cursor).transpose()?;
    let (mut items, limit) = (Vec::new(), wanted.limit());
    for _ in 0..PAGES_MAX {
        let page = MessagePage { from, limit: limit - items.len() };
        let list = streaming.store.messages(filter.clone(), page).await?;
        let admitted = list.messages.iter().filter(|message| admitted.message(message));
        items.extend(admitted.map(message_view));
        from = list.next;
        if from.is_none() || items.len() >= limit {
            break;
        }
    }
    let next = from.map(|from| format!("{}:{}", from.before, from.as_of));
    Ok(Json(json!({ "items": items, "next": next })))
}

async fn message(
    State(Served { streaming, door }): Shown,
    headers: HeaderMap,
    Path(wamid): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let wanted = asked.map_err(|error| Problem::wrong(error.body_text()))?.0;
    let caller = streaming.must_be_somebody(door, &headers, wanted.token.as_deref())?;
    let admitted = Admitted::of(&caller, &OF_MESSAGES)?;
    let filter =
        MessageFilter { source: wanted.source, wamid: Some(wamid.clone()), ..MessageFilter::default() };
    let mut from = None;
    for _ in 0..PAGES_MAX {
        let page = MessagePage { from, limit: LIMIT };
        let list = streaming.store.messages(filter.clone(), page).await?;
        if let Some(message) = list.messages.iter().find(|message| admitted.message(message)) {
            return Ok(Json(message_view(message)));
        }
        from = list.next;
        if from.is_none() {
            break;
        }
    }
    Err(Problem::unknown(format!("nothing is known of a message `{}`", shown(&wamid))))
}

async fn contacts(
    State(Served { streaming, door }): Shown,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let wanted = asked.map_err(|error| Problem::wrong(error.body_text()))?.0;
    let caller = streaming.must_be_somebody(door, &headers, wanted.token.as_deref())?;
    let mut admitted = Admitted::of(&caller, &OF_CONTACTS)?;
    if wanted.wamid.is_some() || wanted.since.is_some() || wanted.until.is_some() {
        return Err(Problem::wrong("contacts are found by source, number, conversation and identity"));
    }
    let filter = ContactFilter {
        source: wanted.source.clone(),
        number: match wanted.number.clone().map(digits) {
            Some(number) => Some(id_of(&streaming, wanted.source.clone(), number).await?),
            None => None,
        },
        conversation: wanted.conversation.clone(),
        identity: wanted.identity.clone().map(digits),
    };
    let before = wanted.after.as_deref().map(str::parse::<EventId>).transpose();
    let mut before = before.map_err(|error| Problem::wrong(error.to_string()))?;
    let (mut items, limit) = (Vec::new(), wanted.limit());
    for _ in 0..PAGES_MAX {
        let page = Page { before, limit: limit - items.len() };
        let list = streaming.store.contacts(filter.clone(), page).await?;
        for contact in &list.contacts {
            if admitted.contact(&streaming, contact).await? {
                items.push(contact_view(contact, admitted.content));
            }
        }
        before = list.next;
        if before.is_none() || items.len() >= limit {
            break;
        }
    }
    Ok(Json(json!({ "items": items, "next": before.map(|before| before.to_string()) })))
}

async fn contact(
    State(Served { streaming, door }): Shown,
    headers: HeaderMap,
    Path(conversation): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let wanted = asked.map_err(|error| Problem::wrong(error.body_text()))?.0;
    let caller = streaming.must_be_somebody(door, &headers, wanted.token.as_deref())?;
    let mut admitted = Admitted::of(&caller, &OF_CONTACTS)?;
    let found = find(&streaming, wanted.source.as_deref(), &conversation, &mut admitted).await?;
    let found = found.ok_or_else(|| {
        Problem::unknown(format!("nobody is known by the conversation `{}`", shown(&conversation)))
    })?;
    Ok(Json(contact_view(&found, admitted.content)))
}

/// Whom a conversation is with, of those that the token admits to.
async fn find(
    streaming: &Arc<Streaming>,
    source: Option<&str>,
    conversation: &str,
    admitted: &mut Admitted<'_>,
) -> Result<Option<ContactRecord>, Problem> {
    let sources: Vec<Option<String>> = match (source, &admitted.scope.sources) {
        (None, Some(sources)) => sources.iter().cloned().map(Some).collect(),
        (source, _) => vec![source.map(str::to_owned)],
    };
    for source in sources {
        if let Some(found) = streaming.store.contact(source.as_deref(), conversation).await?
            && admitted.contact(streaming, &found).await?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// What a caller may see of all this.
struct Admitted<'c> {
    scope: std::borrow::Cow<'c, Scope>,
    numbers: Option<Vec<String>>,
    content: bool,
    /// Which numbers of which sources turned out to be among `numbers`.
    named: HashMap<(Arc<str>, Box<str>), bool>,
}

impl<'c> Admitted<'c> {
    /// What a token admits to, if that is all of these types.
    fn of(caller: &'c Caller, types: &[&str]) -> Result<Self, Problem> {
        let scope = match caller.grant() {
            Some(grant) => std::borrow::Cow::Borrowed(&grant.scope),
            None => std::borrow::Cow::Owned(Scope::default()),
        };
        let admits = |r#type: &str, texts: &[String]| {
            texts.iter().filter_map(|text| TypePattern::parse(text).ok()).any(|pattern| pattern.fits(r#type))
        };
        if scope.types.as_ref().is_some_and(|texts| !types.iter().all(|r#type| admits(r#type, texts))) {
            let detail = format!(
                "this wants a token that admits to all of {}; what yours admits to is in its `scope`",
                types.join(", ")
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, "token_scope", detail));
        }
        let numbers = scope.numbers.as_ref();
        let numbers = numbers.map(|numbers| numbers.iter().cloned().map(digits).collect());
        let content = scope.content;
        Ok(Self { scope, numbers, content, named: HashMap::new() })
    }

    fn source(&self, source: &str) -> bool {
        self.scope.sources.as_ref().is_none_or(|sources| sources.iter().any(|admitted| admitted == source))
    }

    fn message(&self, message: &MessageRecord) -> bool {
        let is_of = |number: &String| {
            message.events.events.iter().any(|event| {
                let event = &event.event;
                let ours = [event.phone_number_id.as_deref(), event.display_phone_number.as_deref()];
                ours.contains(&Some(number.as_str()))
            })
        };
        self.source(&message.source) && self.numbers.as_ref().is_none_or(|numbers| numbers.iter().any(is_of))
    }

    async fn contact(
        &mut self,
        streaming: &Streaming,
        contact: &ContactRecord,
    ) -> Result<bool, waypost_store::StoreError> {
        if !self.source(&contact.source) {
            return Ok(false);
        }
        let Some(numbers) = &self.numbers else { return Ok(true) };
        if numbers.iter().any(|number| **number == *contact.number) {
            return Ok(true);
        }
        // Contacts have the number's id at Meta; the token may have it as people write it. Who says so must be of the
        // same source, so that none can say it of another's number.
        let at = (Arc::clone(&contact.source), contact.number.clone());
        if let Some(known) = self.named.get(&at) {
            return Ok(*known);
        }
        let written = as_written(streaming, &contact.source, &contact.number).await?;
        let is_ours = written.is_some_and(|written| numbers.iter().any(|number| **number == *written));
        self.named.insert(at, is_ours);
        Ok(is_ours)
    }
}

/// Meta's id of a number that may be written as people do; contacts are found by it.
async fn id_of(
    streaming: &Streaming,
    source: Option<String>,
    number: String,
) -> Result<String, waypost_store::StoreError> {
    let filter = EventFilter { source, number: Some(number.clone()), ..EventFilter::default() };
    let list = streaming.store.events(filter, Page { before: None, limit: NAMING_MAX }).await?;
    let id = list.events.into_iter().find_map(|record| record.event.phone_number_id);
    Ok(id.map_or(number, String::from))
}

/// How people write a number of a source, by its latest events.
async fn as_written(
    streaming: &Streaming,
    source: &str,
    number: &str,
) -> Result<Option<Box<str>>, waypost_store::StoreError> {
    let filter = EventFilter {
        source: Some(source.to_owned()),
        number: Some(number.to_owned()),
        ..EventFilter::default()
    };
    let list = streaming.store.events(filter, Page { before: None, limit: NAMING_MAX }).await?;
    Ok(list.events.into_iter().find_map(|record| record.event.display_phone_number))
}

fn message_view(message: &MessageRecord) -> Value {
    let view = MessageView::of(message);
    let reached = |reached: &[Reached]| -> Vec<Value> {
        reached.iter().map(|one| json!({ "status": one.status, "at": one.at.map(time) })).collect()
    };
    let participants: Vec<Value> = view
        .participants
        .iter()
        .map(|one| json!({ "id": one.id, "status": one.status, "reached": reached(&one.reached) }))
        .collect();
    json!({
        "wamid": view.message_id,
        "source": view.source,
        "number": view.number,
        "conversation": view.conversation,
        "direction": view.direction,
        "type": view.word,
        "status": view.status,
        "status_at": view.since.map(time),
        "reached": reached(&view.reached),
        "participants": participants,
        "events": view.events.iter().map(EventId::to_string).collect::<Vec<_>>(),
        "whole": view.whole,
    })
}

fn contact_view(contact: &ContactRecord, with_content: bool) -> Value {
    let mut view = json!({
        "conversation": contact.conversation,
        "source": &*contact.source,
        "number": contact.number,
        "identities": contact.identities,
        "first_seen_at": time(contact.first_seen_at),
        "last_seen_at": time(contact.last_seen_at),
    });
    if with_content {
        view["name"] = json!(contact.name);
        view["username"] = json!(contact.username);
    }
    view
}

/// Where a list of messages goes on, as the answer before wrote it.
fn cursor(text: &str) -> Result<MessageCursor, Problem> {
    let parts = text.split_once(':').and_then(|(before, as_of)| {
        Some(MessageCursor { before: before.parse().ok()?, as_of: as_of.parse().ok()? })
    });
    parts.ok_or_else(|| Problem::wrong("after: write the `next` of the answer before"))
}

/// What a caller wrote, short enough for a sentence.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}
