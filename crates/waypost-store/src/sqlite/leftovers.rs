//! Finding what nothing refers to any more once requests and events are gone: identity keys, conversations,
//! identities of people, operators' acts. Their tables lie in no order of time and are walked over as a whole, now
//! and then.
//!
//! Names stay: to know that no row has one would be to read all rows. There are few: what is made by an operator, and
//! the words, numbers and addresses that Meta and receivers go by.

use std::time::Duration;

use rusqlite::params;
use waypost_domain::EventId;

use super::contacts;
use super::passes::{Rest, Step};
use super::prune::{Look, dead, quarantined, records};

/// Conversations are known for so long at least: longer than the writer relies on its memory.
const CONVERSATIONS_KEPT_MIN: Duration = Duration::from_secs(2 * 24 * 60 * 60);

impl Look<'_> {
    /// Goes on with the walk at hand, or with the one after it, and says where it stands then.
    pub(super) fn rest(&mut self, rest: Rest, keys_kept: Duration) -> rusqlite::Result<Rest> {
        let retention = self.retention;
        match rest {
            Rest::Keys(subject, key) => {
                let kept = keys_kept.max(records(&retention).min(dead(&retention)));
                let next = self.keys((subject, key), EventId::floor(self.now.minus(kept)).0)?;
                Ok(next.map_or(Rest::Conversations(0), |(subject, key)| Rest::Keys(subject, key)))
            }
            Rest::Conversations(after) => {
                let next = self.conversations(after)?;
                Ok(next.map_or_else(|| Rest::Contacts(-1, Box::default()), Rest::Conversations))
            }
            Rest::Contacts(number, identity) => {
                let next = self.contacts(number, &identity)?;
                Ok(next.map_or(Rest::Acts(0), |(number, identity)| Rest::Contacts(number, identity)))
            }
            Rest::Acts(after) => Ok(self.acts(after)?.map_or(Rest::Ended, Rest::Acts)),
            Rest::Ended => Ok(Rest::Ended),
        }
    }

    /// Finds keys of events before `younger` that are gone, and says after which key to go on.
    fn keys(&mut self, after: (i64, i64), younger: i64) -> rusqlite::Result<Option<(i64, i64)>> {
        let mut rows = self.conn.prepare(
            "SELECT subject, key, event FROM identity WHERE (subject, key) > (?1, ?2)
             ORDER BY subject, key LIMIT ?3",
        )?;
        let mut is_kept = self.conn.prepare("SELECT 1 FROM event WHERE id = ?1")?;
        let mut rows = rows.query([after.0, after.1, self.looks_left as i64])?;
        let mut last = after;
        while !self.is_used_up() {
            let Some(row) = rows.next()? else { return Ok(None) };
            self.looks_left -= 1;
            let (subject, key, event) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if event < younger && !is_kept.exists([event])? {
                self.found(Step::Key { subject, key, event }, 1);
            }
            last = (subject, key);
        }
        Ok(Some(last))
    }

    /// Finds conversations all of whose events are gone: those that were last seen a day before the first event
    /// there is, or earlier.
    fn conversations(&mut self, after: i64) -> rusqlite::Result<Option<i64>> {
        let Self { retention, now, .. } = *self;
        let kept = records(&retention).max(dead(&retention)).max(quarantined(&retention));
        let first: Option<i64> = self.conn.query_row("SELECT min(id) FROM event", [], |row| row.get(0))?;
        let young = EventId::floor(now.minus(kept.max(CONVERSATIONS_KEPT_MIN))).0;
        let seen_before = first.unwrap_or(i64::MAX).min(young) - contacts::day();
        let mut rows =
            self.conn.prepare("SELECT id, seen FROM conversation WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let mut rows = rows.query([after, self.looks_left as i64])?;
        let mut last = after;
        while !self.is_used_up() {
            let Some(row) = rows.next()? else { return Ok(None) };
            self.looks_left -= 1;
            let (id, seen) = (row.get(0)?, row.get(1)?);
            if id >= seen_before {
                // Those that follow began later.
                return Ok(None);
            }
            if seen < seen_before {
                self.found(Step::Conversation { id, seen }, 1);
            }
            last = id;
        }
        Ok(Some(last))
    }

    /// Begins with the row that the last call ended with.
    fn contacts(&mut self, number: i64, identity: &str) -> rusqlite::Result<Option<(i64, Box<str>)>> {
        let mut rows = self.conn.prepare(
            "SELECT number, identity, EXISTS (SELECT 1 FROM conversation v WHERE v.id IN (c.conversation, c.names))
             FROM contact c WHERE (number, identity) >= (?1, ?2) ORDER BY number, identity LIMIT ?3",
        )?;
        let mut rows = rows.query(params![number, identity, self.looks_left as i64])?;
        let mut last = (number, Box::<str>::from(identity));
        while !self.is_used_up() {
            let Some(row) = rows.next()? else { return Ok(None) };
            self.looks_left -= 1;
            last = (row.get(0)?, row.get(1)?);
            if !row.get::<_, bool>(2)? {
                self.found(Step::Contact { number: last.0, identity: last.1.clone() }, 1);
            }
        }
        Ok(Some(last))
    }

    /// Finds acts as old as records may be whose delivery or event is gone, and those on destinations.
    fn acts(&mut self, after: i64) -> rusqlite::Result<Option<i64>> {
        let younger = EventId::floor(self.now.minus(records(&self.retention))).0;
        let mut rows = self.conn.prepare(
            "SELECT id, EXISTS (SELECT 1 FROM delivery d WHERE d.id = act.delivery)
                     OR EXISTS (SELECT 1 FROM event e WHERE e.id = act.event)
             FROM act WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3",
        )?;
        let mut rows = rows.query([after, younger, self.looks_left as i64])?;
        let mut last = after;
        while !self.is_used_up() {
            let Some(row) = rows.next()? else { return Ok(None) };
            self.looks_left -= 1;
            last = row.get(0)?;
            if !row.get::<_, bool>(1)? {
                self.found(Step::Act { id: last }, 1);
            }
        }
        Ok(Some(last))
    }
}
