//! Frames: what readers get of an event.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;
use waypost_store::EventRecord;
use waypost_whatsapp::normal::{ContactChange, NormalEvent, Origin, Record, StatusState};
use waypost_whatsapp::split;

use super::compat;
use super::cursor::Cursor;
use super::filter::{Facts, Filter};
use super::making;
use super::view::{Dialect, VIEWS, View};

/// What an event is made into, for whoever wants to read it: where it stands in the stream, and what it says.
///
/// A frame is made from the event's record and its evidence, and is the same, byte for byte, whenever it is made
/// again, for as long as both are kept.
#[derive(Debug)]
pub struct Frame {
    cursor: Cursor,
    facts: Facts,
    subject: Arc<Subject>,
    is_replay: bool,
    written: [OnceLock<Option<Written>>; VIEWS],
}

/// What the frames of one event are made from.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) record: EventRecord,
    /// The body of this one event; `None` where it is kept no more.
    pub(super) body: Option<Bytes>,
    /// The event's own type, found out from the body.
    pub(super) event_type: &'static str,
    /// What it told of its person.
    pub(super) change: Option<ContactChange>,
    /// Of a status: what has become of its message.
    pub(super) status: Option<StatusFacts>,
}

/// What is known of a status besides what it says.
#[derive(Debug, Clone)]
pub(super) struct StatusFacts {
    pub(super) state: StatusState,
    /// In a group, at whom.
    pub(super) participant: Option<Box<str>>,
}

/// A frame in one view.
#[derive(Debug, Clone)]
struct Written {
    frame: Bytes,
    /// Where in it the payload begins.
    payload: usize,
}

/// What stands around a payload.
#[derive(Serialize)]
struct Around<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replay: bool,
}

impl Frame {
    /// The frames of an event, in their order.
    pub(super) fn of(subject: Subject, is_replay: bool) -> impl Iterator<Item = Arc<Self>> {
        let subject = Arc::new(subject);
        let (id, event) = (subject.record.id, &subject.record.event);
        let companion = subject.change.map(|change| (Cursor::companion_of(id), about(change)));
        let own = (Cursor::of(id), subject.event_type);
        let facts = Facts {
            r#type: own.1,
            source: subject.record.source.clone(),
            phone_number_id: event.phone_number_id.clone(),
            display_phone_number: event.display_phone_number.clone(),
            conversation: event.conversation.clone(),
        };
        let frame = move |(cursor, r#type)| {
            let facts = Facts { r#type, ..facts.clone() };
            let subject = subject.clone();
            Arc::new(Self { cursor, facts, subject, is_replay, written: Default::default() })
        };
        companion.into_iter().chain([own]).map(frame)
    }

    /// Its place in the stream: what a reader names to go on after it.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Its type, such as `message:new`.
    pub fn event_type(&self) -> &'static str {
        self.facts.r#type
    }

    /// The event it is of.
    pub fn record(&self) -> &EventRecord {
        &self.subject.record
    }

    /// Whether it was sent before and comes again since its deliveries were replayed.
    pub fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// The whole frame in a view: `{"type":…,"id":…,"payload":{…}}`, with `"replay":true` where it comes again.
    /// `None` where the dialect has no word for it. Written when it is first asked for.
    pub fn encoded(&self, view: View) -> Option<Bytes> {
        Some(self.written(view)?.frame.clone())
    }

    /// Its payload alone; the same bytes.
    pub fn payload(&self, view: View) -> Option<Bytes> {
        let written = self.written(view)?;
        Some(written.frame.slice(written.payload..written.frame.len() - 1))
    }

    pub(super) fn is_admitted_by(&self, filter: &Filter) -> bool {
        filter.admits(&self.facts)
    }

    /// What it weighs in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        /// A frame without its body and writings.
        const BARE_BYTES: usize = 2 * 1024;
        /// Views that are in use at a time, more or less.
        const VIEWS_USUAL: usize = 2;
        let body = self.subject.body.as_ref().map_or(0, Bytes::len);
        BARE_BYTES + (1 + VIEWS_USUAL) * body
    }

    fn written(&self, view: View) -> Option<&Written> {
        self.written.get(view.slot())?.get_or_init(|| self.write(view)).as_ref()
    }

    fn write(&self, view: View) -> Option<Written> {
        let id = self.cursor.to_string();
        let is_companion = self.cursor.is_companion();
        let write = |view: View| {
            self.subject.with_normal(&id, is_companion, view, |normal| match view.dialect {
                Dialect::Waypost => Ok(Some(self.wrap(self.facts.r#type, &id, normal)?)),
                dialect => match compat::payload(dialect, normal, &self.subject.record.event.r#type) {
                    Some((r#type, payload)) => Ok(Some(self.wrap(r#type, &id, &payload)?)),
                    None => Ok(None),
                },
            })
        };
        let written: serde_json::Result<_> = write(view);
        written.unwrap_or_else(|error| {
            // What was read as JSON can be written as JSON. Were it not so, readers would still be told of the event.
            tracing::error!(event = %self.subject.record.id, %error, "an event cannot be written; its readers get its record");
            write(View { content: false, ..view }).ok()?
        })
    }

    fn wrap(&self, r#type: &str, id: &str, payload: &impl Serialize) -> serde_json::Result<Written> {
        let mut frame = Vec::with_capacity(1_024);
        serde_json::to_writer(&mut frame, &Around { r#type, id, replay: self.is_replay })?;
        frame.pop();
        frame.extend_from_slice(br#","payload":"#);
        let payload_at = frame.len();
        serde_json::to_writer(&mut frame, payload)?;
        frame.push(b'}');
        frame.shrink_to_fit();
        Ok(Written { frame: frame.into(), payload: payload_at })
    }
}

impl Subject {
    /// Lets something be made of the event's normalised form.
    pub(super) fn with_normal<T>(
        &self,
        id: &str,
        about_contact: bool,
        view: View,
        make: impl FnOnce(&NormalEvent<'_>) -> T,
    ) -> T {
        let record = &self.record;
        let evidence = format!("/api/v1/events/{}", record.id);
        let own = record.id.to_string();
        let conversation = record.event.conversation.as_deref();
        let received_at_ms = record.received_at.0;
        let origin =
            Origin { id: &own, source: &record.source, received_at_ms, conversation, evidence: &evidence };
        let make = |normal: NormalEvent<'_>| match self.change.filter(|_| about_contact) {
            Some(change) => make(&normal.about_contact(change, id)),
            None => make(&self.told(normal)),
        };
        let body = self.body.as_ref().filter(|_| view.content);
        // What stands for a whole body that holds more events than are looked for comes last.
        let read = body.and_then(|body| Some((body, split(body).events.pop()?)));
        match &read {
            Some((body, event)) if view.raw => make(NormalEvent::of(body, event, origin).with_raw(event)),
            Some((body, event)) => make(NormalEvent::of(body, event, origin)),
            None => make(NormalEvent::of_record(&self.as_record(), origin)),
        }
    }

    /// The event's normalised form as JSON in a view: what a receiver of events is sent.
    pub(super) fn json(&self, view: View) -> serde_json::Result<Bytes> {
        let id = self.record.id.to_string();
        let write = |normal: &NormalEvent<'_>| serde_json::to_vec(normal);
        self.with_normal(&id, false, view, write).map(Bytes::from)
    }

    /// The same with what the gateway knows besides.
    fn told<'n>(&self, normal: NormalEvent<'n>) -> NormalEvent<'n> {
        let normal = match &self.status {
            Some(status) => normal.with_state(status.state.clone()),
            None => normal,
        };
        match self.change {
            Some(change) => normal.with_contact_change(change),
            None => normal,
        }
    }

    fn as_record(&self) -> Record<'_> {
        let participant = self.status.as_ref().and_then(|status| status.participant.as_deref());
        let bare = making::bare(&self.record);
        Record { event_type: Some(self.event_type), participant, evidence_gone: self.body.is_none(), ..bare }
    }
}

/// The type of the frame about an event's person.
fn about(change: ContactChange) -> &'static str {
    match change {
        ContactChange::New => "contact:new",
        ContactChange::Updated => "contact:updated",
    }
}

#[cfg(test)]
pub(super) mod samples {
    //! Frames of events that never happened.

    use waypost_domain::{RequestId, UnixMillis};
    use waypost_store::{NewEvent, PersonFact};

    use super::*;

    /// The frames of an event whose evidence is gone.
    pub(in crate::stream) fn frame(id: waypost_domain::EventId, has_companion: bool) -> Vec<Arc<Frame>> {
        let event = NewEvent {
            kind: "message".into(),
            class: "message".into(),
            field: "messages".into(),
            r#type: "text".into(),
            phone_number_id: Some("11".into()),
            display_phone_number: None,
            waba_id: None,
            conversation: Some("11:491".into()),
            contact: None,
            wamid: Some("w".into()),
            key: "msg:11:w".into(),
            occurred_at: None,
            once: true,
            quarantined: false,
        };
        let record = EventRecord {
            id,
            request: RequestId(id.0 - 1),
            source: "acme".into(),
            received_at: UnixMillis(0),
            repeats: None,
            quarantined: false,
            person: if has_companion { PersonFact::New } else { PersonFact::Nothing },
            event,
            deliveries: Vec::new(),
        };
        Frame::of(Subject::new(record, None, None), false).collect()
    }
}
