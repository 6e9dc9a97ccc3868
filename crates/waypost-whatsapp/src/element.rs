//! The elements of a value's arrays: what each shape calls its id, its type and its people.
//!
//! Every identity key is made by [`join`]: a prefix, a scope and parts, between colons. A part that
//! the element does not have is replaced by the hash of the element, so that two elements are never
//! taken for one only because both are incomplete.

use std::borrow::Cow;

use crate::canonical;
use crate::change::Change;
use crate::contact::{Person, Profile, Renaming, renaming};
use crate::event::Kind;
use crate::json::{Members, Value};
use crate::status;

/// What is read from an element or a whole value.
pub(crate) struct Reading<'a> {
    pub(crate) kind: Kind,
    pub(crate) r#type: Option<Cow<'a, str>>,
    pub(crate) key: String,
    /// The contact part of its conversation.
    pub(crate) contact: Option<Cow<'a, str>>,
    /// Who that is; nobody, in groups.
    pub(crate) person: Person<'a>,
    /// Whom the event says the person was before.
    pub(crate) former: Vec<Cow<'a, str>>,
    pub(crate) wamid: Option<Cow<'a, str>>,
    /// When, in seconds, as it was written.
    pub(crate) timestamp: Option<Cow<'a, str>>,
    /// Whether the key holds the hash of the whole value and so might fit a neighbour too.
    pub(crate) is_shared: bool,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(kind: Kind, key: String) -> Self {
        Self {
            kind,
            r#type: None,
            key,
            contact: None,
            person: Person::default(),
            former: Vec::new(),
            wamid: None,
            timestamp: None,
            is_shared: false,
        }
    }

    /// Of the conversation with this person.
    pub(crate) fn with(self, person: Person<'a>) -> Self {
        Self { contact: person.name().cloned(), person, ..self }
    }

    /// Of the conversation in a group, else with the person who is looked for.
    fn within(self, group: Option<Cow<'a, str>>, person: impl FnOnce() -> Person<'a>) -> Self {
        match group {
            Some(group) => Self { contact: Some(group), ..self },
            None => self.with(person()),
        }
    }

    fn about(self, wamid: Option<Cow<'a, str>>) -> Self {
        Self { wamid, ..self }
    }
}

/// How the elements of an array are read.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Message,
    Status,
    Error,
    Action,
    Echo,
    ContactSync,
    HistoryChunk,
    HistoryMessage,
    Call,
    CallStatus,
    Group,
    Preference,
    Identity,
    Automatic,
    Tracking,
}

impl Shape {
    /// Reads an element whose members are given (none, if it is no object).
    pub(crate) fn read<'a>(
        self,
        change: &Change<'a>,
        members: &Members<'a>,
        value: Value<'a>,
    ) -> Reading<'a> {
        let element = Element { change, members, value };
        match self {
            Self::Message => element.message(),
            Self::Status => element.status(Kind::Status, "st"),
            Self::Error => element.error(),
            Self::Action => element.action(),
            Self::Echo => element.echo(),
            Self::ContactSync => element.contact_sync(),
            Self::HistoryChunk => element.history_chunk(),
            Self::HistoryMessage => element.history_message(),
            Self::Call => element.call(),
            Self::CallStatus => element.status(Kind::CallStatus, "callst"),
            Self::Group => element.group(),
            Self::Preference => element.preference(),
            Self::Identity => element.identity(),
            Self::Automatic => element.automatic(),
            Self::Tracking => element.tracking(),
        }
    }
}

/// An identity key. The first part that is missing is replaced by the element's hash, further ones
/// are left empty; a part that may be missing by right is passed as `Some("")`.
pub(crate) fn join(
    change: &Change<'_>,
    prefix: &str,
    scope: &str,
    parts: &[Option<&str>],
    element: Value<'_>,
) -> String {
    let length = parts.iter().map(|part| 1 + part.map_or(64, str::len)).sum::<usize>();
    let mut key = String::with_capacity(change.prefix.len() + prefix.len() + 1 + scope.len() + length);
    key.push_str(change.prefix);
    key.push_str(prefix);
    key.push(':');
    key.push_str(scope);
    let mut is_complete = true;
    for part in parts {
        key.push(':');
        match part {
            Some(part) => key.push_str(part),
            None if is_complete => {
                key.push_str(&canonical::hash(element));
                is_complete = false;
            }
            None => {}
        }
    }
    key
}

struct Element<'e, 'a> {
    change: &'e Change<'a>,
    members: &'e Members<'a>,
    value: Value<'a>,
}

impl<'a> Element<'_, 'a> {
    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.members.text(name)
    }

    fn key(&self, prefix: &str, parts: &[Option<&str>]) -> String {
        join(self.change, prefix, self.change.number(), parts, self.value)
    }

    /// The person whose ids are these members.
    fn person(&self, parent: &str, user: &str, phone: &str) -> Person<'a> {
        self.change.contacts.complete(Person::of(self.members, parent, user, phone))
    }

    fn sender(&self) -> Person<'a> {
        self.person("from_parent_user_id", "from_user_id", "from")
    }

    fn addressee(&self) -> Person<'a> {
        self.person("to_parent_user_id", "to_user_id", "to")
    }

    fn message(self) -> Reading<'a> {
        let wamid = self.text("id");
        let reading = Reading {
            r#type: self.text("type"),
            timestamp: self.text("timestamp"),
            ..Reading::new(Kind::Message, self.key("msg", &[wamid.as_deref()]))
        }
        .within(self.text("group_id"), || self.sender())
        .about(wamid);
        if reading.r#type.as_deref() == Some("system") { self.renamed(reading) } else { reading }
    }

    /// A system message that says who its sender is from now on: a new phone number brings a new BSUID.
    /// It belongs to the conversation with whom they were until now.
    fn renamed(&self, reading: Reading<'a>) -> Reading<'a> {
        let system = |name: &str| self.members.text_in("system", name);
        let Some(renaming) = renaming(system("type").as_deref().unwrap_or_default()) else { return reading };
        let before = reading.person;
        // Until version 11 the new number was called `new_wa_id`, and `customer` was the old one.
        let phone = system("wa_id").or_else(|| system("new_wa_id"));
        let phone = phone.or_else(|| before.phone.clone().filter(|_| renaming == Renaming::UserId));
        let profile = before.profile.clone();
        let now = Person { parent: system("parent_user_id"), user: system("user_id"), phone, profile };
        if now.name().is_none() || before.name().is_none() {
            return Reading { person: before, ..reading };
        }
        let mut former: Vec<_> = before.names().cloned().collect();
        former.extend(system("customer").filter(|old| !former.contains(old)));
        former.retain(|old| now.names().all(|name| name != old));
        Reading { person: now, former, ..reading }
    }

    fn echo(self) -> Reading<'a> {
        let wamid = self.text("id");
        Reading {
            r#type: self.text("type"),
            timestamp: self.text("timestamp"),
            ..Reading::new(Kind::Echo, self.key("echo", &[wamid.as_deref()]))
        }
        .within(self.text("group_id"), || self.addressee())
        .about(wamid)
    }

    /// A message status or a call status. A message sent to a group has one for every participant.
    fn status(self, kind: Kind, prefix: &str) -> Reading<'a> {
        let (id, word) = (self.text("id"), self.text("status"));
        let participant = status::participant(self.members).unwrap_or_default();
        let is_group = self.text("recipient_type").is_some_and(|kind| kind == "group");
        let key = if kind == Kind::Status {
            self.key(prefix, &[id.as_deref(), word.as_deref(), Some(&participant)])
        } else {
            self.key(prefix, &[id.as_deref(), word.as_deref()])
        };
        let wamid = id.filter(|_| kind == Kind::Status);
        let reading = Reading { r#type: word, timestamp: self.text("timestamp"), ..Reading::new(kind, key) };
        let reading = if is_group {
            Reading { contact: self.text("recipient_id").or_else(|| self.text("group_id")), ..reading }
        } else {
            reading.with(self.person("recipient_parent_user_id", "recipient_user_id", "recipient_id"))
        };
        reading.about(wamid)
    }

    fn error(self) -> Reading<'a> {
        let key = self.key("err", &[Some(self.change.hash())]);
        Reading { r#type: self.text("code"), is_shared: true, ..Reading::new(Kind::Error, key) }
    }

    fn action(self) -> Reading<'a> {
        let action = self.text("action_type");
        // The ids stand in a member named after the action, `…_data`.
        let id = |name: &str| {
            self.text(name).or_else(|| self.members.values().find_map(|value| value.text_at(name)))
        };
        let id = id("click_id").or_else(|| id("tracking_token"));
        let timestamp = self.text("timestamp");
        let key = self.key("act", &[action.as_deref(), id.as_deref(), timestamp.as_deref()]);
        Reading { r#type: action, timestamp, ..Reading::new(Kind::Action, key) }
    }

    fn contact_sync(self) -> Reading<'a> {
        let text = |name: &str| self.members.text_in("contact", name);
        let person = (text("parent_user_id"), text("user_id"), text("phone_number"));
        let person =
            Person { parent: person.0, user: person.1, phone: person.2, profile: Profile::default() };
        let action = self.text("action");
        let timestamp = self.members.text_in("metadata", "timestamp");
        let id = person.phone.as_deref().or(person.user.as_deref());
        let key = self.key("sync", &[id, action.as_deref(), timestamp.as_deref()]);
        Reading { r#type: action, timestamp, ..Reading::new(Kind::ContactSync, key) }
            .with(self.change.contacts.complete(person))
    }

    /// A chunk tells of many conversations, so it belongs to none.
    fn history_chunk(self) -> Reading<'a> {
        let text = |name: &str| self.members.text_in("metadata", name).unwrap_or_default();
        let parts = [Some(&*text("phase")), Some(&*text("chunk_order")), Some(self.change.hash())];
        let key = self.key("hist", &parts);
        let is_refusal = self.members.get("errors").is_some() && self.members.get("threads").is_none();
        let r#type = Some(Cow::Borrowed(if is_refusal { "errors" } else { "threads" }));
        Reading { r#type, is_shared: true, ..Reading::new(Kind::History, key) }
    }

    /// Media and echoes that follow a chunk. Either side may have written them.
    fn history_message(self) -> Reading<'a> {
        let wamid = self.text("id");
        let by_business =
            self.text("from").is_some() && self.text("from") == self.change.display_phone_number;
        let other = || {
            let addressee = self.addressee();
            if by_business || addressee.name().is_some() { addressee } else { self.sender() }
        };
        Reading {
            r#type: self.text("type"),
            timestamp: self.text("timestamp"),
            ..Reading::new(Kind::History, self.key("hist", &[wamid.as_deref()]))
        }
        .within(self.text("group_id"), other)
        .about(wamid)
    }

    fn call(self) -> Reading<'a> {
        let (id, event) = (self.text("id"), self.text("event"));
        let from_business = match self.text("direction").as_deref() {
            Some("BUSINESS_INITIATED") => true,
            Some("USER_INITIATED") => false,
            _ => self.text("from").is_some() && self.text("from") == self.change.display_phone_number,
        };
        let person = if from_business { self.addressee() } else { self.sender() };
        let key = self.key("call", &[id.as_deref(), event.as_deref()]);
        Reading { r#type: event, timestamp: self.text("timestamp"), ..Reading::new(Kind::Call, key) }
            .with(person)
    }

    fn group(self) -> Reading<'a> {
        let (group, r#type, timestamp) = (self.text("group_id"), self.text("type"), self.text("timestamp"));
        let is_status = self.change.field == "group_status_update";
        let key = if is_status {
            self.key("grp", &[group.as_deref(), r#type.as_deref(), timestamp.as_deref()])
        } else {
            let request = self.text("request_id").unwrap_or_default();
            let parts = [
                Some(group.as_deref().unwrap_or_default()),
                Some(r#type.as_deref().unwrap_or_default()),
                Some(&*request),
                Some(self.change.hash()),
            ];
            self.key("grp", &parts)
        };
        Reading { r#type, contact: group, timestamp, is_shared: !is_status, ..Reading::new(Kind::Group, key) }
    }

    fn preference(self) -> Reading<'a> {
        let (category, value, timestamp) =
            (self.text("category"), self.text("value"), self.text("timestamp"));
        let id = self.text("wa_id").or_else(|| self.text("user_id"));
        let parts = [id.as_deref(), category.as_deref(), value.as_deref(), timestamp.as_deref()];
        let key = self.key("pref", &parts);
        Reading { r#type: value, timestamp, ..Reading::new(Kind::Preference, key) }.with(self.person(
            "parent_user_id",
            "user_id",
            "wa_id",
        ))
    }

    /// Belongs to the conversation under the new ids, so that it precedes what arrives under them.
    fn identity(self) -> Reading<'a> {
        let id = |of: &str, when: &str| self.members.text_in(of, when);
        let (previous, current) = (id("user_id", "previous"), id("user_id", "current"));
        let key = self.key("uid", &[previous.as_deref(), current.as_deref()]);
        let said = Person {
            parent: id("parent_user_id", "current").or_else(|| self.text("parent_user_id")),
            user: current.or_else(|| self.text("user_id")),
            phone: self.text("wa_id"),
            profile: Profile::default(),
        };
        let mut former: Vec<_> = [id("parent_user_id", "previous"), previous].into_iter().flatten().collect();
        former.retain(|old| said.names().all(|name| name != old));
        let mut person = self.change.contacts.complete(said);
        // A contact may still have the ids that are no longer valid.
        person.parent = person.parent.filter(|name| !former.contains(name));
        person.user = person.user.filter(|name| !former.contains(name));
        let former = if person.name().is_some() { former } else { Vec::new() };
        Reading { timestamp: self.text("timestamp"), former, ..Reading::new(Kind::Identity, key) }
            .with(person)
    }

    fn automatic(self) -> Reading<'a> {
        let (wamid, event) = (self.text("id"), self.text("event_name"));
        let key = self.key("auto", &[wamid.as_deref(), event.as_deref()]);
        Reading { r#type: event, timestamp: self.text("timestamp"), ..Reading::new(Kind::Automatic, key) }
            .about(wamid)
    }

    fn tracking(self) -> Reading<'a> {
        let (event, timestamp) = (self.text("event_name"), self.text("timestamp"));
        let parts = [
            Some(event.as_deref().unwrap_or_default()),
            Some(timestamp.as_deref().unwrap_or_default()),
            Some(self.change.hash()),
        ];
        let key = self.key("trk", &parts);
        Reading { r#type: event, timestamp, is_shared: true, ..Reading::new(Kind::Tracking, key) }
    }
}
