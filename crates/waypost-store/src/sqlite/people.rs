//! People: what they call themselves, what an event tells of them that is new, and reading them back.
//!
//! Nearly every event is of a person who is known and called what they were called before: for such a one memory
//! answers, and nothing is read or written.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use waypost_domain::EventId;

use super::contacts::{self, MERGED_READ_MAX, OF};
use super::names::Numbers;
use super::numbers::moment_of;
use super::reading::Reading;
use super::{SqliteStore, listing};
use crate::{
    ContactFilter, ContactList, ContactRecord, NewContact, PERSON_NAME_BYTES_MAX, Page, PersonFact,
    StoreError,
};

/// People that the writer remembers, a few dozen bytes each. Beyond it, it forgets them all and learns anew.
const PEOPLE_REMEMBERED_MAX: usize = 65_536;
/// People that one page looks at.
const PEOPLE_LOOKED_AT_MAX: usize = 10_000;
/// Numbers of ours at which an identity is looked for.
const NUMBERS_LOOKED_AT_MAX: i64 = 10_000;
/// Identities of one person that are read, for each of the conversations that were merged.
const IDENTITIES_READ_MAX: i64 = 64;

/// The writer's statements, and what it remembers.
pub(super) struct People<'c> {
    find: Statement<'c>,
    add: Statement<'c>,
    rename: Statement<'c>,
    take: Statement<'c>,
    adopt: Statement<'c>,
    /// By conversation.
    known: HashMap<i64, Said>,
    hashing: RandomState,
}

/// What is written of a person's names, as hashes; 0 stands for nothing.
#[derive(Clone, Copy, Default)]
struct Said {
    name: u64,
    username: u64,
}

impl Said {
    /// Whether what is told is all written already.
    fn holds(self, told: Self) -> bool {
        (told.name == 0 || told.name == self.name) && (told.username == 0 || told.username == self.username)
    }
}

impl<'c> People<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            find: conn.prepare("SELECT name, username FROM person WHERE conversation = ?1")?,
            add: conn.prepare(
                "INSERT INTO person (conversation, number, name, username) VALUES (?1, ?2, ?3, ?4)",
            )?,
            rename: conn.prepare(
                "UPDATE person SET name = coalesce(?2, name), username = coalesce(?3, username)
                 WHERE conversation = ?1",
            )?,
            take: conn
                .prepare("DELETE FROM person WHERE conversation = ?1 RETURNING number, name, username")?,
            adopt: conn.prepare(
                "INSERT INTO person (conversation, number, name, username) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (conversation) DO UPDATE
                 SET name = coalesce(name, excluded.name), username = coalesce(username, excluded.username)",
            )?,
            known: HashMap::new(),
            hashing: RandomState::new(),
        })
    }

    /// To be called after a rollback, and when conversations were pruned.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Writes down what is new of the person whom a conversation is with. `changed`: whether their identities did.
    pub(super) fn heard_of(
        &mut self,
        conversation: i64,
        source: &str,
        contact: &NewContact,
        changed: bool,
        names: &mut Numbers<'_>,
    ) -> rusqlite::Result<PersonFact> {
        let (name, username) = (as_kept(contact.name.as_deref()), as_kept(contact.username.as_deref()));
        let told = self.said(name, username);
        let fact = |changed| if changed { PersonFact::Changed } else { PersonFact::Nothing };
        if self.known.get(&conversation).is_some_and(|said| said.holds(told)) {
            return Ok(fact(changed));
        }
        let read = |row: &Row<'_>| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?));
        let Some((old_name, old_username)) = self.find.query_row([conversation], read).optional()? else {
            let number = names.of(&format!("{}{OF}{source}", contact.number))?;
            self.add.execute(params![conversation, number, name, username])?;
            self.remember(conversation, told);
            return Ok(PersonFact::New);
        };
        let differs = |told: Option<&str>, old: Option<&str>| told.is_some() && told != old;
        let renamed = differs(name, old_name.as_deref()) || differs(username, old_username.as_deref());
        if renamed {
            self.rename.execute(params![conversation, name, username])?;
        }
        let said = self.said(name.or(old_name.as_deref()), username.or(old_username.as_deref()));
        self.remember(conversation, said);
        Ok(fact(changed || renamed))
    }

    /// Two conversations turned out to be with one person: what was told in the later one fills the gaps.
    pub(super) fn merge(&mut self, later: i64, into: i64) -> rusqlite::Result<()> {
        let read = |row: &Row<'_>| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(2)?))
        };
        if let Some((number, name, username)) = self.take.query_row([later], read).optional()? {
            self.adopt.execute(params![into, number, name, username])?;
        }
        Ok(())
    }

    fn said(&self, name: Option<&str>, username: Option<&str>) -> Said {
        let hash = |text: Option<&str>| text.map_or(0, |text| self.hashing.hash_one(text).max(1));
        Said { name: hash(name), username: hash(username) }
    }

    fn remember(&mut self, conversation: i64, said: Said) {
        if self.known.len() >= PEOPLE_REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.insert(conversation, said);
    }
}

/// A name as it is kept: not empty, and not too long.
fn as_kept(name: Option<&str>) -> Option<&str> {
    let name = name.filter(|name| !name.is_empty())?;
    Some(&name[..name.floor_char_boundary(PERSON_NAME_BYTES_MAX)])
}

impl SqliteStore {
    pub(crate) async fn contacts(
        &self,
        filter: ContactFilter,
        page: Page,
    ) -> Result<ContactList, StoreError> {
        self.read_latest(move |reading| reading.contacts(&filter, page)).await
    }

    pub(crate) async fn contact(
        &self,
        source: Option<&str>,
        conversation: &str,
    ) -> Result<Option<ContactRecord>, StoreError> {
        let (source, conversation) = (source.map(str::to_owned), conversation.to_owned());
        self.read_latest(move |reading| reading.contact(source, conversation)).await
    }
}

impl Reading<'_> {
    pub(super) fn contact(
        &mut self,
        source: Option<String>,
        conversation: String,
    ) -> Result<Option<ContactRecord>, StoreError> {
        let filter =
            ContactFilter { source, conversation: Some(conversation.clone()), ..ContactFilter::default() };
        let page = Page { before: None, limit: listing::PAGE_MAX };
        let mut found = self.contacts(&filter, page)?.contacts;
        let named = found.iter().position(|contact| *contact.conversation == *conversation);
        let place = named.unwrap_or(0);
        Ok((place < found.len()).then(|| found.swap_remove(place)))
    }

    pub(super) fn contacts(&mut self, filter: &ContactFilter, page: Page) -> Result<ContactList, StoreError> {
        let limit = page.limit.clamp(1, listing::PAGE_MAX);
        let before = page.before.map_or(i64::MAX, |before| before.0);
        let (people, cut) = self.people(filter, before)?;
        let mut list = ContactList { contacts: Vec::new(), next: cut.map(EventId) };
        for conversation in people {
            if let Some(contact) = self.contact_of(conversation, filter)? {
                list.contacts.push(contact);
                if list.contacts.len() >= limit {
                    list.next = Some(EventId(conversation));
                    break;
                }
            }
        }
        Ok(list)
    }

    /// Conversations that may be admitted, the latest first; and up to where these are all.
    fn people(&mut self, filter: &ContactFilter, before: i64) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        let mut found = match (&filter.conversation, &filter.identity) {
            (Some(told), _) => {
                let found = contacts::conversations(self.conn, told);
                self.fault(found)?
            }
            (None, Some(identity)) => {
                let found = known_by(self.conn, identity);
                self.fault(found)?
            }
            (None, None) => {
                let people = self.column(
                    "SELECT conversation FROM person WHERE conversation < ?1 ORDER BY conversation DESC LIMIT ?2",
                    [before, PEOPLE_LOOKED_AT_MAX as i64],
                )?;
                let cut = (people.len() >= PEOPLE_LOOKED_AT_MAX).then(|| people.last().copied()).flatten();
                return Ok((people, cut));
            }
        };
        found.retain(|conversation| *conversation < before);
        found.sort_unstable_by_key(|conversation| std::cmp::Reverse(*conversation));
        found.dedup();
        Ok((found, None))
    }

    /// The person whom a conversation is with, if there is one whom the filter admits.
    fn contact_of(
        &mut self,
        conversation: i64,
        filter: &ContactFilter,
    ) -> Result<Option<ContactRecord>, StoreError> {
        let row = self.people.find.query_row([conversation], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, i64>(4)?))
        });
        let Some((at, name, username, told, seen)) = self.fault(row.optional())? else { return Ok(None) };
        let at = self.text_of(at)?;
        let (number, source) = at.split_once(OF).unwrap_or((&at, ""));
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        if !is(&filter.source, source) || !is(&filter.number, number) {
            return Ok(None);
        }
        let identities = self.people.identities(conversation);
        let identities = self.fault(identities)?;
        let known = |wanted: &String| identities.iter().any(|identity| **identity == **wanted);
        if !filter.identity.as_ref().is_none_or(known) {
            return Ok(None);
        }
        Ok(Some(ContactRecord {
            began: EventId(conversation),
            conversation: told,
            source: source.into(),
            number: number.into(),
            identities,
            name,
            username,
            first_seen_at: moment_of(conversation),
            last_seen_at: moment_of(seen),
        }))
    }
}

/// The conversations of whoever is known by an identity now, at whichever number.
fn known_by(conn: &Connection, identity: &str) -> rusqlite::Result<Vec<i64>> {
    let mut rows = conn.prepare(
        "WITH RECURSIVE ours (number) AS (
             SELECT min(number) FROM contact
             UNION ALL
             SELECT (SELECT min(c.number) FROM contact c WHERE c.number > ours.number) FROM ours
             WHERE ours.number IS NOT NULL LIMIT ?2
         )
         SELECT coalesce(v.merged, v.id)
         FROM ours CROSS JOIN contact c ON c.number = ours.number AND c.identity = ?1
         CROSS JOIN conversation v ON v.id = c.conversation",
    )?;
    rows.query_map(params![identity, NUMBERS_LOOKED_AT_MAX], |row| row.get(0))?.collect()
}

/// A reader's statements.
pub(super) struct PeopleRead<'c> {
    find: Statement<'c>,
    merged: Statement<'c>,
    identities: Statement<'c>,
}

impl<'c> PeopleRead<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            find: conn.prepare(
                "SELECT p.number, p.name, p.username, v.name, v.seen
                 FROM person p JOIN conversation v ON v.id = p.conversation WHERE p.conversation = ?1",
            )?,
            merged: conn.prepare(
                "SELECT id FROM conversation INDEXED BY conversation_merged WHERE merged = ?1 LIMIT ?2",
            )?,
            identities: conn.prepare(
                "SELECT identity FROM contact INDEXED BY contact_conversation WHERE conversation = ?1 LIMIT ?2",
            )?,
        })
    }

    /// Every identity that leads to a conversation, or to one that was merged into it.
    fn identities(&mut self, conversation: i64) -> rusqlite::Result<Vec<Box<str>>> {
        let mut all = vec![conversation];
        for merged in self.merged.query_map([conversation, MERGED_READ_MAX], |row| row.get(0))? {
            all.push(merged?);
        }
        let mut identities: Vec<Box<str>> = Vec::new();
        for conversation in all {
            for identity in
                self.identities.query_map([conversation, IDENTITIES_READ_MAX], |row| row.get(0))?
            {
                identities.push(identity?);
            }
        }
        identities.sort_unstable();
        identities.dedup();
        Ok(identities)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contacts::Contacts;
    use super::super::migrate::MIGRATIONS;
    use super::*;
    use crate::conformance::samples::{message, person};

    #[test]
    fn what_was_undone_is_told_again() {
        let conn = Connection::open_in_memory().unwrap();
        MIGRATIONS.iter().for_each(|sql| conn.execute_batch(sql).unwrap());
        let mut contacts = Contacts::new(&conn).unwrap();
        let mut names = Numbers::new(&conn).unwrap();
        let mut number = 0;
        let mut tells = |contacts: &mut Contacts<'_>, name: &str| {
            number += 1;
            let contact = NewContact {
                number: "204".into(),
                phone: Some("1".into()),
                name: Some(name.into()),
                ..NewContact::default()
            };
            let event = person(message("a"), contact);
            contacts.belongs("acme", &event, EventId(number), false, &mut names).unwrap().person
        };
        assert_eq!(tells(&mut contacts, "Ada"), PersonFact::New);
        conn.execute_batch("BEGIN").unwrap();
        assert_eq!(tells(&mut contacts, "Eve"), PersonFact::Changed);
        conn.execute_batch("ROLLBACK").unwrap();
        contacts.forget();
        assert_eq!(tells(&mut contacts, "Eve"), PersonFact::Changed);
        assert_eq!(tells(&mut contacts, "Eve"), PersonFact::Nothing);
        let kept = conn.query_row("SELECT name FROM person", [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(kept, "Eve");
    }
}
