//! Reading what is owed: page by page by turns, and what was parked once it is due.
//!
//! What waits for nobody and is due only much later is *parked*: it takes no place in the window, and is read
//! again when it is due.

use std::time::Duration;

use waypost_domain::{DeliveryId, Lanes, UnixMillis, limits};
use waypost_store::{DuePage, OwedDelivery, OwedPage, StoreError};

use super::desk::{Desk, Held, POLL, Standing};
use super::lanes::{Entrant, Moment};
use super::window::{Place, Reading};
use crate::gate::BreakerState;

/// How far off something must be due to be parked.
const PARK_BEYOND: Duration = Duration::from_secs(60);
/// Parked deliveries read at once.
const PARKED_PAGE: usize = 512;
/// How soon the store is asked again for what was parked and found no place.
const PARK_LOOK: Duration = Duration::from_secs(1);

/// What came of reading; the greatest of several decides how soon to read again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Read {
    /// There was nothing to be read.
    Nothing,
    /// Something was read: perhaps there is more.
    Some,
    /// The store could not be read.
    Failed,
}

/// What is known of parked deliveries.
#[derive(Default)]
pub(super) struct Parked {
    /// When the store must be asked for them, if there are any.
    until: Option<Moment>,
    /// Where to go on with those that are due.
    after: Option<(UnixMillis, DeliveryId)>,
}

impl Parked {
    /// When the first of them is due; `None` if there are none.
    pub(super) fn until(&self) -> Option<Moment> {
        self.until
    }

    /// Whether what is due at `due`, and waits for nobody, is not worth a place; then it is asked for in time.
    pub(super) fn park(&mut self, due: Moment, now: Moment) -> bool {
        let far = due > now.saturating_add(PARK_BEYOND);
        if far {
            self.until = Some(self.until.map_or(due, |until| until.min(due)));
        }
        far
    }
}

impl Desk {
    /// Reads more of what is owed into the window, if it wants more.
    pub(super) async fn refill(&mut self) -> Read {
        let now = self.environment.clock.monotonic();
        if now >= self.poll_at {
            self.poll_at = now + POLL;
            self.window.look_again();
        }
        self.window.resize(self.environment.places.limit().min(limits::LANE_WINDOW_MAX));
        let short = self.is_short(now);
        let Some(reading) = self.window.next_reading(short) else { return Read::Nothing };
        let accepted = self.handle.accepted();
        let Reading { after, limit, .. } = reading;
        let page = OwedPage { destination: self.destination.name.clone(), after, limit };
        match self.environment.store.owed(page).await {
            Ok(page) => {
                if reading.is_of_the_new() {
                    self.asked_at = accepted;
                }
                let (read, now) =
                    (page.len(), (self.environment.clock.wall(), self.environment.clock.monotonic()));
                let mut places = page.into_iter().map(|owed| self.place(&reading, owed, short, now));
                let full = places.any(|place| place == Place::Full);
                self.window.was_read(&reading, read, full);
                Read::Some
            }
            Err(error) => self.unreadable(&error),
        }
    }

    /// Whether more could be started than there is in the window.
    fn is_short(&mut self, now: Moment) -> bool {
        if self.gate.is_paused() {
            return false;
        }
        if self.gate.breaker() == BreakerState::Open {
            return self.window.lanes().is_empty();
        }
        let slots = self.slots();
        let lanes = self.window.lanes_mut();
        lanes.ready(now) + lanes.in_flight() < slots
    }

    /// Finds a place for a delivery that was read by its turn.
    fn place(
        &mut self,
        reading: &Reading,
        owed: OwedDelivery,
        short: bool,
        now: (UnixMillis, Moment),
    ) -> Place {
        let due = self.due(&owed, now);
        if is_free(&owed) && self.parked.park(due, now.1) {
            return self.window.pass(reading, owed.turn);
        }
        let barred = self.is_being_tried_in_another_turn(&owed);
        let (entrant, held) = parts(owed, due);
        let turn = entrant.turn;
        let place = self.window.offer(reading, entrant, short, barred);
        if place == Place::Held {
            self.held.insert(turn, held);
        }
        place
    }

    /// Whether an attempt is under way at what it was before it was replayed. One at a time: it is read again when
    /// that attempt has ended.
    fn is_being_tried_in_another_turn(&mut self, owed: &OwedDelivery) -> bool {
        if self.window.lanes().holds(owed.turn) || !self.handle.is_sending(owed.id) {
            return false;
        }
        let tried = self.held.values_mut().find(|held| held.delivery == owed.id);
        if let Some(held) = tried {
            held.standing = Standing::Replayed;
        }
        true
    }

    /// When it is due. From here on the wall clock may step as it likes; and what was never tried is due now,
    /// whatever the wall clock was when it was accepted.
    fn due(&self, owed: &OwedDelivery, (wall, now): (UnixMillis, Moment)) -> Moment {
        if owed.attempts == 0 {
            return now;
        }
        now.saturating_add(owed.due_at.since(wall).min(self.schedule.wait_max(owed.attempts)))
    }

    /// Reads what was parked and has become due.
    pub(super) async fn fetch_parked(&mut self) -> Read {
        let now = (self.environment.clock.wall(), self.environment.clock.monotonic());
        if self.parked.until.is_none_or(|at| now.1 < at) {
            return Read::Nothing;
        }
        let soon = now.1 + PARK_LOOK;
        if !self.window.is_half_empty() {
            self.parked.until = Some(soon);
            return Read::Nothing;
        }
        let destination = self.destination.name.clone();
        let after = self.parked.after;
        let page = DuePage { destination: destination.clone(), until: now.0, after, limit: PARKED_PAGE };
        let due = match self.environment.store.due(page).await {
            Ok(due) => due,
            Err(error) => return self.unreadable(&error),
        };
        let is_last = due.len() < PARKED_PAGE;
        self.parked.after = due.last().filter(|_| !is_last).map(|owed| (owed.due_at, owed.id));
        // What waits for others enters by its turn alone, lest it go before them.
        for owed in due.into_iter().filter(is_free) {
            self.take_back(owed, now.1);
        }
        if !is_last {
            return Read::Some;
        }
        match self.environment.store.next_due(&destination, now.0).await {
            Ok(next) => {
                self.parked.until = next.map(|at| now.1.saturating_add(at.since(now.0)).max(soon));
                Read::Nothing
            }
            Err(error) => self.unreadable(&error),
        }
    }

    /// Gives what was parked its place again.
    fn take_back(&mut self, owed: OwedDelivery, now: Moment) {
        if self.handle.is_sending(owed.id) {
            return;
        }
        let (entrant, held) = parts(owed, now);
        if !self.window.lanes().holds(entrant.turn) {
            self.held.insert(entrant.turn, held);
            self.window.lanes_mut().add(entrant);
        }
    }

    pub(super) fn unreadable(&self, error: &StoreError) -> Read {
        if matches!(error, StoreError::Closed) {
            return Read::Nothing;
        }
        tracing::error!(destination = %self.destination.name, %error, code = error.code(), "cannot read what is owed; trying again");
        Read::Failed
    }
}

/// Whether a delivery waits for no other, and no other for it.
fn is_free(owed: &OwedDelivery) -> bool {
    owed.overtaken || owed.lanes.as_slice().is_empty()
}

/// What the window must know of a delivery, and what the desk.
fn parts(owed: OwedDelivery, due: Moment) -> (Entrant, Held) {
    let free = is_free(&owed);
    let OwedDelivery { id, turn, request, event, lanes, priority, attempts, accepted_at, overtaken, .. } =
        owed;
    let lanes = if overtaken { Lanes::NONE } else { lanes };
    let entrant = Entrant { turn, lanes, priority, due, tried: attempts > 0 };
    let standing = Standing::Sure;
    (entrant, Held { delivery: id, request, event, accepted_at, attempts, overtaken, free, standing })
}
