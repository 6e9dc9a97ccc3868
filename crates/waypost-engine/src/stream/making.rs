//! Frames made from records and evidence.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use waypost_domain::RequestId;
use waypost_store::{EventRecord, PersonFact, Store, StoreError};
use waypost_whatsapp::normal::{ContactChange, NormalEvent, Origin, Record, StatusState};
use waypost_whatsapp::{Advance, Kind, MessageState, StatusUpdate, split};

use super::frame::{Frame, StatusFacts, Subject};
use super::view::View;
use crate::bodies::{Bodies, Content, LARGE_BODY_BYTES};

/// Messages whose states are remembered, each participant of a group counted as one more. Beyond it, all are
/// forgotten and read anew.
const STATES_REMEMBERED_MAX: usize = 16_384;

/// Makes the frames of events that follow one another. What it remembers spares reading the same again, and never
/// changes what is made.
pub(super) struct Maker {
    store: Store,
    bodies: Arc<Bodies>,
    /// Requests that have just come, for the one who makes frames of everything.
    fresh: Option<Arc<Bodies>>,
    /// The request that was looked at last: its events come one after another.
    last: Option<(RequestId, Option<Arc<Content>>)>,
    states: States,
}

/// The states of messages, as all events up to the one that was made last left them.
#[derive(Default)]
struct States {
    by_message: HashMap<(Arc<str>, Box<str>), MessageState>,
    weight: usize,
}

impl Maker {
    pub(super) fn new(store: Store, bodies: Arc<Bodies>) -> Self {
        Self { store, bodies, fresh: None, last: None, states: States::default() }
    }

    /// The same for the one who makes frames of everything that comes.
    pub(super) fn of_everything(store: Store, bodies: Arc<Bodies>, fresh: Arc<Bodies>) -> Self {
        Self { fresh: Some(fresh), ..Self::new(store, bodies) }
    }

    /// The frames of an event, written already in the views that are asked for. Events must come in their order,
    /// and none of a message may be left out.
    pub(super) async fn frames(
        &mut self,
        record: EventRecord,
        views: impl Iterator<Item = View> + Send + 'static,
        is_replay: bool,
    ) -> Result<Vec<Arc<Frame>>, StoreError> {
        let (body, status) = self.evidence(&record).await?;
        let is_large = body.as_ref().is_some_and(|body| body.len() >= LARGE_BODY_BYTES);
        let make = move || {
            let frames: Vec<_> = Frame::of(Subject::new(record, body, status), is_replay).collect();
            for view in views {
                frames.iter().for_each(|frame| drop(frame.encoded(view)));
            }
            frames
        };
        match is_large {
            true => blocking(make).await,
            false => Ok(make()),
        }
    }

    async fn evidence(
        &mut self,
        record: &EventRecord,
    ) -> Result<(Option<Bytes>, Option<StatusFacts>), StoreError> {
        let status = self.states.status(&self.store, record).await?;
        let Some(content) = self.content(record.request).await? else { return Ok((None, status)) };
        let (cuts, index) = (content.cuts().await, record.place());
        let body = &content.request().body;
        let body = match () {
            () if cuts.is_alone(index) => Some(body.clone()),
            () if index < cuts.len() => Some(cuts.one(body, index).into()),
            () => None,
        };
        Ok((body, status))
    }

    async fn content(&mut self, request: RequestId) -> Result<Option<Arc<Content>>, StoreError> {
        if let Some((last, content)) = &self.last
            && *last == request
        {
            return Ok(content.clone());
        }
        let fresh = self.fresh.as_ref().and_then(|fresh| fresh.take(request));
        let content = match fresh.or_else(|| self.bodies.peek(request)) {
            Some(content) => Some(content),
            None => match self.store.request_body(request).await {
                Ok(body) => body.map(|body| Arc::new(Content::new(body, true))),
                Err(error @ StoreError::Corrupt(_)) => {
                    tracing::error!(%request, %error, code = error.code(), "a request's body cannot be read, now or ever; its events go without it");
                    None
                }
                Err(error) => return Err(error),
            },
        };
        self.last = Some((request, content.clone()));
        Ok(content)
    }
}

impl States {
    /// What has become of a message, where the event is a status of it.
    async fn status(
        &mut self,
        store: &Store,
        record: &EventRecord,
    ) -> Result<Option<StatusFacts>, StoreError> {
        let Some(update) = status_of(record) else { return Ok(None) };
        let message = (record.source.clone(), Box::from(update.wamid));
        if !self.by_message.contains_key(&message) {
            let known = store.message(Some(&record.source), update.wamid).await?;
            let mut state = MessageState::default();
            for before in known.events.iter().filter(|event| event.id < record.id) {
                status_of(before).map(|update| state.apply(&update));
            }
            self.learn(message.clone(), state);
        }
        let Some(state) = self.by_message.get_mut(&message) else { return Ok(None) };
        let advance = state.apply(&update);
        // A participant that moves may be one who was not there before.
        self.weight += usize::from(update.participant.is_some() && advance == Advance::Forward);
        let state = StatusState::of(state, &update, advance);
        let participant = update.participant.as_deref().map(Box::from);
        Ok(Some(StatusFacts { state, participant }))
    }

    /// Takes in a state, forgetting all others where there would be too many. Those remembered grow by a participant at
    /// a time, and are weighed again with the next one that is learnt.
    fn learn(&mut self, message: (Arc<str>, Box<str>), state: MessageState) {
        let weight = 1 + state.participants().count();
        if self.weight + weight > STATES_REMEMBERED_MAX {
            *self = Self::default();
        }
        self.weight += weight;
        self.by_message.insert(message, state);
    }
}

/// The normalised form of one event, as its receiver gets it.
pub(crate) struct Normal {
    /// As JSON.
    pub(crate) body: Bytes,
    /// Its type.
    pub(crate) event_type: &'static str,
}

impl Normal {
    /// Of an event whose own body this is. `None` where it cannot be written, which is a defect.
    pub(crate) async fn of(
        store: &Store,
        record: EventRecord,
        body: Bytes,
        view: View,
    ) -> Result<Option<Self>, StoreError> {
        let status = States::default().status(store, &record).await?;
        let is_large = body.len() >= LARGE_BODY_BYTES;
        let make = move || {
            let subject = Subject::new(record, Some(body), status);
            let body = subject.json(view).ok()?;
            Some(Self { body, event_type: subject.event_type })
        };
        match is_large {
            true => blocking(make).await,
            false => Ok(make()),
        }
    }
}

/// What an event says of its message's status, as its record has it.
pub(super) fn status_of(record: &EventRecord) -> Option<StatusUpdate<'_>> {
    let event = &record.event;
    let wamid = event.wamid.as_deref().filter(|_| event.kind == Kind::Status.as_str())?;
    let number = event.phone_number_id.as_deref().or(event.display_phone_number.as_deref());
    let at_ms = event.occurred_at.map(|at| at.0);
    StatusUpdate::of_key(&event.key, number.unwrap_or_default(), wamid, &event.r#type, at_ms)
}

impl Subject {
    pub(super) fn new(record: EventRecord, body: Option<Bytes>, status: Option<StatusFacts>) -> Self {
        let origin = Origin { id: "", source: "", received_at_ms: 0, conversation: None, evidence: "" };
        let read = body.as_ref().and_then(|body| Some((body, split(body).events.pop()?)));
        let event_type = match &read {
            Some((body, event)) => NormalEvent::of(body, event, origin).data.event_type(),
            None => NormalEvent::of_record(&bare(&record), origin).data.event_type(),
        };
        let change = match record.person {
            PersonFact::New => Some(ContactChange::New),
            // An event that says so itself needs no other to say it.
            PersonFact::Changed if event_type != "contact:updated" => Some(ContactChange::Updated),
            PersonFact::Changed | PersonFact::Nothing => None,
        };
        Self { record, body, event_type, change, status }
    }
}

/// An event as its record alone has it.
pub(super) fn bare(record: &EventRecord) -> Record<'_> {
    let event = &record.event;
    Record {
        event_type: None,
        kind: Kind::parse(&event.kind).unwrap_or(Kind::Unknown),
        word: &event.r#type,
        field: &event.field,
        phone_number_id: event.phone_number_id.as_deref(),
        display_phone_number: event.display_phone_number.as_deref(),
        waba_id: event.waba_id.as_deref(),
        wamid: event.wamid.as_deref(),
        participant: None,
        occurred_at_ms: event.occurred_at.map(|at| at.0),
        evidence_gone: true,
    }
}

/// Does what takes long on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|died| match died.try_into_panic() {
        // A defect, told where all others are.
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => StoreError::Closed,
    })
}
