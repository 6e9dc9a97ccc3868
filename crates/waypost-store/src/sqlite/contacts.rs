//! Which conversation an event belongs to: one for each person at each of our numbers, whatever the person is
//! called in the payload at hand, and never one for two.
//!
//! A person has a phone number and user ids (of the business and of its parent), and a payload gives any of
//! them. A user id is one person's for good. A phone number can be given to somebody else: one that was seen
//! with a user id is *bound*, and together with user ids none of which is known it is another person's now.
//! What a payload says was the same person before is the same person.
//!
//! Where two conversations turn out to be with one person, the later one is merged into the earlier, and the event
//! that told so waits for the lanes of both, so that order holds across it.
//!
//! What a source says binds that source alone: its callers have proved to be nobody else's, and could otherwise tell
//! lies about another tenant's people.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Statement, params};
use waypost_domain::{EventId, Lane, UnixMillis};

use super::names::Numbers;
use super::people::People;
use crate::{NewContact, NewEvent, PersonFact};

/// Contacts that the writer remembers. Beyond it, it forgets them all and learns anew.
const CONTACTS_REMEMBERED_MAX: usize = 16_384;
/// Longest contact that is remembered, all identities together.
const CONTACT_REMEMBERED_BYTES_MAX: usize = 256;
/// Former identities of one event that are looked at; a payload gives three at most.
const FORMER_MAX: usize = 8;

/// Stands between our number and the source in the name under which a source's contacts are kept.
pub(super) const OF: char = '\u{1f}';
/// The character after it.
const AFTER_OF: char = ' ';

/// Conversations that are looked for under each that they were merged into.
pub(super) const MERGED_READ_MAX: i64 = 256;

/// A day's worth of identifiers: how far a conversation's `seen` may be behind.
pub(super) fn day() -> i64 {
    const NOON: i64 = 1_700_000_000_000;
    EventId::floor(UnixMillis(NOON + 86_400_000)).0 - EventId::floor(UnixMillis(NOON)).0
}

/// A conversation as the writer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conversation {
    pub(super) id: i64,
    lane: Lane,
    seen: i64,
}

/// Where an event belongs.
#[derive(Debug, Default)]
pub(super) struct Belongs {
    pub(super) conversation: Option<i64>,
    /// The lanes its deliveries wait for: the conversation's, and those of what is merged into it just now.
    pub(super) lanes: Vec<Lane>,
    /// What it told of the person.
    pub(super) person: PersonFact,
}

/// The writer's statements, and what it remembers.
pub(super) struct Contacts<'c> {
    find: Statement<'c>,
    find_conversation: Statement<'c>,
    add_conversation: Statement<'c>,
    put: Statement<'c>,
    merge: Statement<'c>,
    see: Statement<'c>,
    day: i64,
    people: People<'c>,
    /// By all that a payload says of the contact.
    known: HashMap<Box<str>, Conversation>,
    asked: String,
}

/// A row of `contact`, and the conversation it leads to, if that is still there.
struct Row {
    conversation: i64,
    leads_to: Option<Conversation>,
    names: Option<i64>,
    bound: bool,
}

/// One identity of the person at hand.
struct Identity<'e> {
    text: &'e str,
    phone: bool,
    row: Option<Row>,
}

impl<'e> Identity<'e> {
    fn leads_to(&self) -> Option<Conversation> {
        self.row.as_ref().and_then(|row| row.leads_to)
    }

    /// Whether its person has it no more, and nobody was seen with it since.
    fn is_left(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.conversation == 0)
    }

    fn is_bound(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.bound)
    }
}

/// Our number; the person's identities, and which are phone numbers; former ones.
type Told<'e> = (&'e str, Vec<(&'e str, bool)>, &'e [Box<str>]);

/// All that an event says of the person.
struct Person<'e> {
    number: i64,
    number_text: &'e str,
    /// The strongest first.
    current: Vec<Identity<'e>>,
    former: Vec<Identity<'e>>,
}

impl<'c> Contacts<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            find: conn.prepare(
                "SELECT conversation, names, bound FROM contact WHERE number = ?1 AND identity = ?2",
            )?,
            find_conversation: conn.prepare("SELECT name, merged, seen FROM conversation WHERE id = ?1")?,
            add_conversation: conn
                .prepare("INSERT INTO conversation (id, name, merged, seen) VALUES (?1, ?2, NULL, ?3)")?,
            put: conn.prepare(
                "INSERT INTO contact (number, identity, conversation, names, bound) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (number, identity) DO UPDATE
                 SET conversation = excluded.conversation, names = excluded.names, bound = excluded.bound",
            )?,
            // What was merged before follows, so that one step always leads to the end.
            merge: conn.prepare("UPDATE conversation SET merged = ?2 WHERE id = ?1 OR merged = ?1")?,
            see: conn.prepare("UPDATE conversation SET seen = ?2 WHERE id = ?1")?,
            day: day(),
            people: People::new(conn)?,
            known: HashMap::new(),
            asked: String::new(),
        })
    }

    /// To be called after a rollback, and when conversations were pruned.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.people.forget();
    }

    /// Finds the event's conversation, or begins one. A repeat tells nothing new: what it says may be outdated.
    pub(super) fn belongs(
        &mut self,
        source: &str,
        event: &NewEvent,
        id: EventId,
        repeats: bool,
        names: &mut Numbers<'_>,
    ) -> rusqlite::Result<Belongs> {
        let rememberable = self.ask(source, event);
        if rememberable
            && let Some(known) = self.known.get(self.asked.as_str()).copied()
            && id.0 - known.seen < self.day
        {
            let person = self.told(known.id, source, event, repeats, false, names)?;
            return Ok(Belongs { conversation: Some(known.id), lanes: vec![known.lane], person });
        }
        let Some(mut person) = self.person(source, event, names)? else { return Ok(Belongs::default()) };
        let found = person.conversations();
        let (conversation, merged, changed) = match (found.first(), repeats) {
            (Some(first), true) => (*first, Vec::new(), false),
            (Some(first), false) => {
                let oldest =
                    found.iter().fold(*first, |oldest, one| if one.id < oldest.id { *one } else { oldest });
                let merged: Vec<_> = found.into_iter().filter(|one| one.id != oldest.id).collect();
                for later in &merged {
                    self.merge.execute([later.id, oldest.id])?;
                    self.people.merge(later.id, oldest.id)?;
                }
                let learnt = self.learn(&mut person, oldest, !merged.is_empty())?;
                let changed = learnt || !merged.is_empty();
                (oldest, merged, changed)
            }
            (None, _) => {
                let new = self.begin(&mut person, event.conversation.as_deref(), id)?;
                let learnt = self.learn(&mut person, new, false)?;
                (new, Vec::new(), learnt)
            }
        };
        let mut conversation = conversation;
        if id.0 - conversation.seen >= self.day {
            self.see.execute([conversation.id, id.0])?;
            conversation.seen = id.0;
        }
        if rememberable && !repeats {
            self.remember(conversation);
        }
        let person = self.told(conversation.id, source, event, repeats, changed, names)?;
        let lanes = std::iter::once(conversation).chain(merged).map(|one| one.lane).collect();
        Ok(Belongs { conversation: Some(conversation.id), lanes, person })
    }

    /// What the event tells of the person that is new.
    fn told(
        &mut self,
        conversation: i64,
        source: &str,
        event: &NewEvent,
        repeats: bool,
        changed: bool,
        names: &mut Numbers<'_>,
    ) -> rusqlite::Result<PersonFact> {
        match &event.contact {
            Some(contact) if contact.is_known_somehow() && !repeats => {
                self.people.heard_of(conversation, source, contact, changed, names)
            }
            _ => Ok(PersonFact::Nothing),
        }
    }

    /// Writes down what the event says of the person, as one text. False if that should not be remembered.
    fn ask(&mut self, source: &str, event: &NewEvent) -> bool {
        self.asked.clear();
        let mut add = |kind: char, text: &str| {
            self.asked.push(kind);
            self.asked.push_str(text);
            self.asked.push('\0');
        };
        add('s', source);
        match (&event.contact, &event.conversation) {
            (Some(contact), _) => {
                add('n', &contact.number);
                let given = [('p', &contact.parent), ('u', &contact.user), ('w', &contact.phone)];
                for (kind, text) in given {
                    if let Some(text) = text {
                        add(kind, text);
                    }
                }
                contact.former.is_empty() && self.asked.len() <= CONTACT_REMEMBERED_BYTES_MAX
            }
            (None, Some(conversation)) => {
                add('c', conversation);
                self.asked.len() <= CONTACT_REMEMBERED_BYTES_MAX
            }
            (None, None) => false,
        }
    }

    fn remember(&mut self, conversation: Conversation) {
        if self.known.len() >= CONTACTS_REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.insert(self.asked.as_str().into(), conversation);
    }

    /// What the event says of the person, each identity with what is known of it.
    fn person<'e>(
        &mut self,
        source: &str,
        event: &'e NewEvent,
        names: &mut Numbers<'_>,
    ) -> rusqlite::Result<Option<Person<'e>>> {
        let told: Told<'_> = match &event.contact {
            Some(contact) if contact.is_known_somehow() => {
                let stable = [&contact.parent, &contact.user].into_iter().flatten().map(|id| (&**id, false));
                let phone = contact.phone.iter().map(|phone| (&**phone, true));
                (&contact.number, stable.chain(phone).collect(), &contact.former)
            }
            _ => match &event.conversation {
                Some(conversation) => {
                    let (number, identity) = parts(conversation);
                    (number, vec![(identity, true)], &[])
                }
                None => return Ok(None),
            },
        };
        let (number_text, current, former) = told;
        let number = names.of(&format!("{number_text}{OF}{source}"))?;
        let mut person = Person { number, number_text, current: Vec::new(), former: Vec::new() };
        for (text, phone) in current {
            let row = self.row(number, text)?;
            person.current.push(Identity { text, phone, row });
        }
        for text in former.iter().take(FORMER_MAX) {
            if person.current.iter().all(|identity| identity.text != &**text) {
                let row = self.row(number, text)?;
                person.former.push(Identity { text, phone: is_phone(text), row });
            }
        }
        Ok(Some(person))
    }

    fn row(&mut self, number: i64, identity: &str) -> rusqlite::Result<Option<Row>> {
        let found = self.find.query_row(params![number, identity], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, row.get(2)?))
        });
        let Some((conversation, names, bound)) = found.optional()? else { return Ok(None) };
        let leads_to = self.conversation(conversation)?;
        let names = match names {
            Some(named) if self.exists(named)? => Some(named),
            _ => None,
        };
        Ok(Some(Row { conversation, leads_to, names, bound }))
    }

    /// The conversation of that number, or the one it was merged into; `None` if it is pruned.
    fn conversation(&mut self, id: i64) -> rusqlite::Result<Option<Conversation>> {
        let mut id = id;
        loop {
            let found = self.find_conversation.query_row([id], |row| {
                let lane = Lane::of(row.get_ref(0)?.as_str()?);
                Ok((Conversation { id, lane, seen: row.get(2)? }, row.get::<_, Option<i64>>(1)?))
            });
            match found.optional()? {
                // Always an earlier one, so that this ends.
                Some((_, Some(into))) if into < id => id = into,
                found => return Ok(found.map(|(conversation, _)| conversation)),
            }
        }
    }

    fn exists(&mut self, id: i64) -> rusqlite::Result<bool> {
        self.find_conversation.exists([id])
    }

    /// Begins a conversation, named by the person's strongest identity. Where another still bears that name, since
    /// the identity was somebody else's, its number is added.
    fn begin(
        &mut self,
        person: &mut Person<'_>,
        told: Option<&str>,
        id: EventId,
    ) -> rusqlite::Result<Conversation> {
        let Person { number_text, current, .. } = person;
        let Some(strongest) = current.first_mut() else { return Err(rusqlite::Error::QueryReturnedNoRows) };
        let mut name = told.map_or_else(|| format!("{number_text}:{}", strongest.text), str::to_owned);
        let taken = strongest.row.as_ref().is_some_and(|row| row.names.is_some());
        if taken {
            name.push('~');
            name.push_str(&id.0.to_string());
        }
        // The event's own number: no other conversation ever has it, not even one that was pruned.
        let new = Conversation { id: id.0, lane: Lane::of(&name), seen: id.0 };
        self.add_conversation.execute(params![new.id, name, new.seen])?;
        let unknown = Row { conversation: 0, leads_to: None, names: None, bound: false };
        let row = strongest.row.get_or_insert(unknown);
        if !taken {
            row.names = Some(new.id);
        }
        Ok(new)
    }

    /// Makes every identity of the person lead to the conversation. True if one did not before, or does no more.
    fn learn(
        &mut self,
        person: &mut Person<'_>,
        conversation: Conversation,
        merged: bool,
    ) -> rusqlite::Result<bool> {
        let number = person.number;
        let has_user_id = person.current.iter().chain(&person.former).any(|identity| !identity.phone);
        let mut changed_hands = merged;
        let mut learnt = false;
        for identity in &person.current {
            let (known, names, was_bound) = identity.state();
            let stays = identity.leads_to().is_some_and(|former| former.id == conversation.id);
            let bound = identity.phone && (has_user_id || (was_bound && stays));
            changed_hands |= identity.leads_to().is_some() && !stays;
            learnt |= !stays;
            if known != Some(conversation.id) || bound != was_bound {
                self.put.execute(params![number, identity.text, conversation.id, names, bound])?;
            }
        }
        for identity in &person.former {
            let (known, names, was_bound) = identity.state();
            let stays = identity.leads_to().is_some_and(|former| former.id == conversation.id);
            learnt |= if identity.phone { stays } else { !stays };
            if !identity.phone {
                if known != Some(conversation.id) {
                    self.put.execute(params![number, identity.text, conversation.id, names, false])?;
                }
            } else if identity.leads_to().is_none_or(|former| former.id == conversation.id) {
                // Whoever comes with it next is somebody else.
                changed_hands = true;
                if known != Some(0) || was_bound {
                    self.put.execute(params![number, identity.text, 0, names, false])?;
                }
            }
        }
        if changed_hands {
            self.known.clear();
        }
        Ok(learnt)
    }
}

impl Identity<'_> {
    /// What is written of it: conversation, what it names, whether it is bound.
    fn state(&self) -> (Option<i64>, Option<i64>, bool) {
        match &self.row {
            Some(row) => (Some(row.conversation), row.names, row.bound),
            None => (None, None, false),
        }
    }
}

impl Person<'_> {
    /// The conversations known to be with the person, the most certain first, each once.
    fn conversations(&self) -> Vec<Conversation> {
        let mut found: Vec<Conversation> = Vec::new();
        let add = |found: &mut Vec<Conversation>, identity: &Identity<'_>| {
            let leads_to = identity.leads_to();
            found.extend(leads_to.filter(|one| found.iter().all(|other| other.id != one.id)));
        };
        let user_ids = || self.current.iter().chain(&self.former).filter(|identity| !identity.phone);
        user_ids().for_each(|identity| add(&mut found, identity));
        let was_at = self.former.iter().filter(|identity| identity.phone);
        for identity in was_at {
            // A bound one may be another's by now; it counts only where nothing else tells.
            if found.is_empty() || !identity.is_bound() {
                add(&mut found, identity);
            }
        }
        // Whoever had the number that the person has now may be anybody, unless the move was told before.
        let moves = |identity: &Identity<'_>| identity.phone && !identity.is_left();
        let moved = self.former.iter().any(moves);
        let has_user_id = user_ids().next().is_some();
        for identity in self.current.iter().filter(|identity| identity.phone) {
            let is_others = identity.is_bound() && has_user_id;
            if !moved && !is_others {
                add(&mut found, identity);
            }
        }
        found
    }
}

impl NewContact {
    fn is_known_somehow(&self) -> bool {
        self.parent.is_some() || self.user.is_some() || self.phone.is_some()
    }
}

/// The conversations that go by a name, or that a person is or was in who is known by that identity.
pub(super) fn conversations(conn: &Connection, told: &str) -> rusqlite::Result<Vec<i64>> {
    let mut found = Vec::new();
    if let Some((name, id)) = told.rsplit_once('~').and_then(|(_, id)| Some((told, id.parse::<i64>().ok()?)))
    {
        let named = "SELECT coalesce(merged, id) FROM conversation WHERE id = ?1 AND name = ?2";
        found.extend(conn.query_row(named, params![id, name], |row| row.get::<_, i64>(0)).optional()?);
    }
    let (number, identity) = parts(told);
    let mut known = conn.prepare(
        "SELECT coalesce(v.merged, v.id)
         FROM name n JOIN contact c ON c.number = n.id JOIN conversation v ON v.id IN (c.conversation, c.names)
         WHERE n.text >= ?1 AND n.text < ?2 AND c.identity = ?3",
    )?;
    let bounds = (format!("{number}{OF}"), format!("{number}{AFTER_OF}"));
    for conversation in known.query_map(params![bounds.0, bounds.1, identity], |row| row.get(0))? {
        found.push(conversation?);
    }
    found.sort_unstable();
    found.dedup();
    let mut merged = conn
        .prepare("SELECT id FROM conversation INDEXED BY conversation_merged WHERE merged = ?1 LIMIT ?2")?;
    for into in found.clone() {
        for conversation in merged.query_map([into, MERGED_READ_MAX], |row| row.get(0))? {
            found.push(conversation?);
        }
    }
    Ok(found)
}

/// Number and identity of a conversation that is told as one text; no number where there is no colon.
pub(super) fn parts(conversation: &str) -> (&str, &str) {
    conversation.split_once(':').unwrap_or(("", conversation))
}

/// Whether a former identity is a phone number: user ids have letters (`US.1234`).
fn is_phone(identity: &str) -> bool {
    !identity.is_empty() && identity.bytes().all(|byte| byte.is_ascii_digit())
}
