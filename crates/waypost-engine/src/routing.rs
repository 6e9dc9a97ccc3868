//! Routing: who gets which events of a request, and in what form.
//!
//! **The promises:** an event goes to every destination that a route leads it to, once to each; a request goes
//! whole only to a destination that is to have every event of it, so no destination sees another's; and what
//! nobody takes is quarantined, never dropped and never sent to some default.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use waypost_domain::{Facts, Match, Priority, Routes};
use waypost_store::{Covers, DELIVERIES_PER_REQUEST_MAX, EventRecord, ReleaseTo};
use waypost_whatsapp::{Event, Kind};

use crate::dispatch::DestinationHandle;

/// In what form a destination is to have a request of several events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Batches {
    /// As it came, where all of its events are for this destination; else one by one.
    Whole,
    /// One by one.
    Split,
}

/// A destination in a routing table.
#[derive(Clone, Debug)]
pub struct Recipient<D = DestinationHandle> {
    /// Its name: two recipients of one name are the same.
    pub name: Arc<str>,
    /// How its deliveries are reached.
    pub destination: D,
    /// In what form it is to have batches.
    pub batches: Batches,
}

impl Recipient {
    /// The destination behind `handle`.
    pub fn new(destination: DestinationHandle, batches: Batches) -> Self {
        Self { name: destination.name().clone(), destination, batches }
    }
}

/// Recipients of one event that are looked through one by one.
const FEW: usize = 32;

/// A source's routes. Cheap to clone; a change makes a new one, and what was owed before stays as it is.
pub struct Routing<D = DestinationHandle>(Arc<Table<D>>);

struct Table<D> {
    /// Where each route leads, as places in `recipients`.
    routes: Routes<Box<[u32]>>,
    recipients: Vec<Arc<Recipient<D>>>,
    /// Whether everything goes to one destination as it came: then no event needs to be looked at.
    is_direct: bool,
}

impl<D> Clone for Routing<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D> fmt::Debug for Routing<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.recipients.iter().map(|recipient| &*recipient.name);
        f.debug_struct("Routing")
            .field("routes", &self.0.routes.len())
            .field("to", &names.collect::<Vec<_>>())
            .finish()
    }
}

impl<D> Routing<D> {
    /// Routes that lead to recipients, in order. Recipients of one name count as one, the first of them.
    pub fn new<R>(routes: impl IntoIterator<Item = (Match, R)>) -> Self
    where
        R: IntoIterator<Item = Arc<Recipient<D>>>,
    {
        let mut recipients: Vec<Arc<Recipient<D>>> = Vec::new();
        let mut places: HashMap<Arc<str>, u32> = HashMap::new();
        let mut place = |recipient: Arc<Recipient<D>>| {
            *places.entry(recipient.name.clone()).or_insert_with(|| {
                recipients.push(recipient);
                // At most one a route and destination, of which a configuration holds thousands.
                recipients.len() as u32 - 1
            })
        };
        let rows: Vec<(Match, Box<[u32]>)> = routes
            .into_iter()
            .map(|(wanted, to)| (wanted, to.into_iter().map(&mut place).collect()))
            .collect();
        let is_direct = match (&*rows, &*recipients) {
            ([(wanted, _)], [only]) => wanted.is_everything() && only.batches == Batches::Whole,
            _ => false,
        };
        Self(Arc::new(Table { routes: Routes::new(rows), recipients, is_direct }))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.0.routes.len()
    }

    /// Whether there is no route: then everything is quarantined.
    pub fn is_empty(&self) -> bool {
        self.0.routes.is_empty()
    }

    /// Everyone that a route leads to.
    pub fn recipients(&self) -> impl Iterator<Item = &Arc<Recipient<D>>> {
        self.0.recipients.iter()
    }

    /// Who takes an event: in the order of the table, each once.
    pub fn of(&self, facts: &Facts<'_>) -> Vec<&Arc<Recipient<D>>> {
        let mut found = Vec::new();
        self.places(facts, &mut found);
        found.into_iter().filter_map(|place| self.0.recipients.get(place as usize)).collect()
    }

    fn places(&self, facts: &Facts<'_>, found: &mut Vec<u32>) {
        found.clear();
        let mut many: HashSet<u32> = HashSet::new();
        for place in self.0.routes.of(facts).into_iter().flatten() {
            let is_new = if found.len() < FEW {
                !found.contains(place)
            } else {
                if many.is_empty() {
                    many.extend(&*found);
                }
                many.insert(*place)
            };
            if is_new {
                found.push(*place);
            }
        }
    }

    /// What the events of one request, in order, give rise to. An event whose deliveries would go beyond
    /// [`DELIVERIES_PER_REQUEST_MAX`] is quarantined, whole: kept, told, and sent by a release.
    pub fn plan<'f>(&self, events: impl ExactSizeIterator<Item = Facts<'f>>) -> Plan<'_, D> {
        let recipients = &self.0.recipients;
        let count = events.len();
        if let ([only], true) = (&recipients[..], self.0.is_direct) {
            return Plan { owed: vec![(only, Covers::Request)], quarantined: vec![false; count] };
        }
        let mut taken: Vec<(u32, u32)> = Vec::new();
        let mut quarantined = Vec::with_capacity(count);
        // How many of the events each has; of a thousand recipients a request concerns few.
        let mut shares: HashMap<u32, usize> = HashMap::new();
        let mut found = Vec::new();
        for (event, facts) in (0..).zip(events) {
            self.places(&facts, &mut found);
            let has_room = taken.len() + found.len() <= DELIVERIES_PER_REQUEST_MAX;
            quarantined.push(found.is_empty() || !has_room);
            for place in found.iter().filter(|_| has_room) {
                taken.push((event, *place));
                *shares.entry(*place).or_default() += 1;
            }
        }
        let is_whole = |place: u32| {
            shares.get(&place) == Some(&count)
                && recipients.get(place as usize).is_some_and(|to| to.batches == Batches::Whole)
        };
        let owed = taken.into_iter().filter_map(|(event, place)| {
            let covers = match is_whole(place) {
                true if event > 0 => return None,
                true => Covers::Request,
                false => Covers::Event(event),
            };
            Some((recipients.get(place as usize)?, covers))
        });
        let owed = owed.collect();
        Plan { owed, quarantined }
    }
}

impl Routing {
    /// To whom an event that is kept, such as a quarantined one, would go now, and how urgently: what
    /// [`waypost_store::Store::release`] is to owe it to. Empty while no route takes it.
    pub fn release(&self, event: &EventRecord) -> Vec<ReleaseTo> {
        let priority = Kind::parse(&event.event.kind).map_or(Priority::Message, priority);
        let to = self.of(&facts_of_record(event)).into_iter();
        to.map(|recipient| ReleaseTo { destination: recipient.name.clone(), priority }).collect()
    }
}

/// What a request gives rise to.
#[derive(Debug)]
pub struct Plan<'r, D> {
    /// Who is owed what: in the order of the events, and of the table for each.
    pub owed: Vec<(&'r Arc<Recipient<D>>, Covers)>,
    /// For each event, whether it goes nowhere.
    pub quarantined: Vec<bool>,
}

/// What routes may know of an event.
pub fn facts<'e>(event: &'e Event<'_>) -> Facts<'e> {
    Facts {
        phone_number_id: event.phone_number_id.as_deref(),
        display_phone_number: event.display_phone_number.as_deref(),
        waba_id: event.waba_id.as_deref(),
        field: &event.field,
        kind: event.kind.as_str(),
        r#type: &event.r#type,
        class: event.class.as_str(),
    }
}

/// The same of an event that is kept.
pub fn facts_of_record(record: &EventRecord) -> Facts<'_> {
    let event = &record.event;
    Facts {
        phone_number_id: event.phone_number_id.as_deref(),
        display_phone_number: event.display_phone_number.as_deref(),
        waba_id: event.waba_id.as_deref(),
        field: &event.field,
        kind: &event.kind,
        r#type: &event.r#type,
        class: &event.class,
    }
}

/// How urgent an event is when its destination is behind.
pub fn priority(kind: Kind) -> Priority {
    match kind {
        Kind::Call | Kind::CallStatus => Priority::Call,
        Kind::Message | Kind::Echo | Kind::Handover | Kind::Group | Kind::Unknown => Priority::Message,
        Kind::History | Kind::ContactSync | Kind::Tracking => Priority::History,
        _ => Priority::Status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use waypost_domain::MatchKey;

    fn recipient(name: &str, batches: Batches) -> Arc<Recipient<()>> {
        Arc::new(Recipient { name: name.into(), destination: (), batches })
    }

    fn number(ids: &[&str]) -> Match {
        Match::new([(MatchKey::PhoneNumberId, ids.iter().copied())]).unwrap()
    }

    fn text(id: &str) -> Facts<'_> {
        Facts {
            phone_number_id: Some(id),
            display_phone_number: None,
            waba_id: None,
            field: "messages",
            kind: "message",
            r#type: "text",
            class: "message",
        }
    }

    fn planned(routing: &Routing<()>, ids: &[&str]) -> (Vec<(String, Covers)>, Vec<bool>) {
        let plan = routing.plan(ids.iter().map(|id| text(id)));
        (plan.owed.iter().map(|(to, covers)| (to.name.to_string(), *covers)).collect(), plan.quarantined)
    }

    #[test]
    fn a_destination_gets_an_event_once_though_several_routes_name_it() {
        let shop = recipient("shop", Batches::Split);
        let again = recipient("shop", Batches::Split);
        let log = recipient("log", Batches::Split);
        let routing = Routing::new([
            (Match::everything(), vec![shop, log]),
            (number(&["1"]), vec![again.clone(), again]),
        ]);
        let (owed, quarantined) = planned(&routing, &["1"]);
        assert_eq!(owed, [("shop".to_owned(), Covers::Event(0)), ("log".to_owned(), Covers::Event(0))]);
        assert_eq!(quarantined, [false]);
    }

    #[test]
    fn a_request_goes_whole_only_to_who_is_to_have_all_of_it() {
        let (shop, bank) = (recipient("shop", Batches::Whole), recipient("bank", Batches::Whole));
        let routing = Routing::new([(number(&["1"]), [shop]), (number(&["2", "1"]), [bank])]);
        let owed = |ids: &[&str]| planned(&routing, ids).0;
        let named = |name: &str, covers| (name.to_owned(), covers);
        assert_eq!(owed(&["1", "1"]), [named("shop", Covers::Request), named("bank", Covers::Request)]);
        assert_eq!(
            owed(&["2", "1"]),
            [named("bank", Covers::Request), named("shop", Covers::Event(1))],
            "a mixed batch is split for the one, and stays whole for the other"
        );
        assert_eq!(
            owed(&["1", "3"]),
            [named("shop", Covers::Event(0)), named("bank", Covers::Event(0))],
            "nobody sees what nobody was to have"
        );
        assert_eq!(planned(&routing, &["1", "3"]).1, [false, true]);
    }

    #[test]
    fn what_would_go_beyond_the_fan_out_is_quarantined_and_each_event_as_a_whole() {
        let everyone: Vec<_> = (0..1_000).map(|n| recipient(&format!("d{n}"), Batches::Split)).collect();
        let routing = Routing::new([(Match::everything(), everyone)]);
        let plan = routing.plan((0..100).map(|_| text("1")));
        assert_eq!(plan.owed.len(), 65_000);
        assert_eq!(plan.quarantined.iter().filter(|quarantined| **quarantined).count(), 35);
        assert!(plan.quarantined[..65].iter().all(|quarantined| !quarantined));
    }

    #[test]
    fn a_payload_that_names_thousands_of_numbers_finds_each_of_them_among_ten_thousand_routes() {
        let ids: Vec<String> = (0..10_000).map(|n| (100_000_000_000_000_u64 + n).to_string()).collect();
        let shop = recipient("shop", Batches::Split);
        let routing = Routing::new(ids.iter().map(|id| (number(&[id]), [shop.clone()])));
        let plan = routing.plan(ids.iter().map(|id| text(id)));
        assert_eq!(plan.owed.len(), ids.len());
        assert!(!plan.quarantined.contains(&true));
        assert_eq!(routing.recipients().count(), 1, "however many routes lead there");
    }

    proptest! {
        #[test]
        fn everybody_gets_what_their_routes_take_and_nothing_else(rows in prop::collection::vec((prop::option::of(prop::collection::vec(0..4_u8, 1..3)), prop::collection::vec(0..3_usize, 1..3)), 0..5), wholes in prop::array::uniform3(any::<bool>()), events in prop::collection::vec(0..4_u8, 1..8)) {
            let recipients: Vec<_> = wholes.iter().enumerate().map(|(n, whole)| recipient(&n.to_string(), if *whole { Batches::Whole } else { Batches::Split })).collect();
            let routing = Routing::new(rows.iter().map(|(ids, to)| {
                let wanted = ids.as_ref().map_or_else(Match::everything, |ids| Match::new([(MatchKey::PhoneNumberId, ids.iter().map(u8::to_string))]).unwrap());
                (wanted, to.iter().map(|n| recipients[*n].clone()).collect::<Vec<_>>())
            }));
            let ids: Vec<String> = events.iter().map(u8::to_string).collect();
            let plan = routing.plan(ids.iter().map(|id| text(id)));
            let takes = |n: usize, event: u8| rows.iter().any(|(ids, to)| to.contains(&n) && ids.as_ref().is_none_or(|ids| ids.contains(&event)));
            for (n, is_whole) in wholes.into_iter().enumerate() {
                let name = n.to_string();
                let got: Vec<Covers> = plan.owed.iter().filter(|(to, _)| *to.name == *name).map(|(_, covers)| *covers).collect();
                let due: Vec<u32> = (0..events.len()).filter(|at| takes(n, events[*at])).map(|at| at as u32).collect();
                if is_whole && due.len() == events.len() {
                    prop_assert_eq!(got, [Covers::Request]);
                } else {
                    prop_assert_eq!(got, due.into_iter().map(Covers::Event).collect::<Vec<_>>());
                }
            }
            for (at, quarantined) in plan.quarantined.iter().enumerate() {
                prop_assert_eq!(*quarantined, !(0..3).any(|n| takes(n, events[at])));
            }
        }
    }
}
