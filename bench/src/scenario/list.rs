//! Which scenarios there are: under which load which servers stand, and whom they are compared with.

use std::num::NonZeroU32;

use super::{Budget, Kind, Load, Scenario};
use crate::peers::{
    BULLMQ, Bare, CADDY, Caddy, FLOOR, HAPROXY, HaProxy, Mode, NO_STORE, NginxRecipe, NginxTuned, Node,
    ONE_SOURCE, Peer, Queue, RECIPE, STREAM, TUNED, Waypost,
};
use crate::sender::Pace;

/// Sources of the scenario that has many.
const SOURCES: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

/// All scenarios of a run, the most telling first.
pub(crate) fn all(budget: &Budget) -> Vec<Scenario> {
    let mut scenarios = vec![
        relays("relay", "relay, 64 kept connections", Load::USUAL, budget.rounds, every_relay()),
        Scenario {
            rounds: budget.rounds,
            ..accept("accept", "acknowledge, 64 connections".into(), Load::USUAL)
        },
        deliver(budget),
        side(budget, accept("accept-256", "acknowledge, 256 connections".into(), connections(256))),
        relay(budget, "close", "relay, a connection per request", reconnect(false)),
        relay(budget, "resume", "relay, a resumed connection per request", reconnect(true)),
        side(budget, relay(budget, "relay-calm", "relay, 512/s", fixed(32, 512.0))),
    ];
    for (rate, title) in [(200.0, "200/s"), (1_000.0, "1,000/s"), (5_000.0, "5,000/s")] {
        let load = fixed(64, rate);
        scenarios.push(beside_floor(budget, "accept-calm", format!("acknowledge, {title}"), load));
    }
    scenarios.extend([backlog(), idle(budget), sources(budget), stream(budget)]);
    for count in [1, 16] {
        let title = format!("acknowledge, connections: {count}");
        scenarios.push(beside_floor(budget, "connections", title, connections(count)));
    }
    let title = "acknowledge, a connection per request".to_owned();
    scenarios.push(beside_floor(budget, "connections", title, reconnect(false)));
    for body_bytes in [4 * 1024, 64 * 1024, 3_000_000] {
        let title = format!("acknowledge, bodies of {body_bytes} bytes");
        let load = Load { connections: 16, body_bytes, ..Load::USUAL };
        scenarios.push(beside_floor(budget, "bodies", title, load));
    }
    scenarios
}

fn connections(connections: usize) -> Load {
    Load { connections, ..Load::USUAL }
}

fn fixed(connections: usize, rate: f64) -> Load {
    Load { connections, pace: Pace::Open(rate), ..Load::USUAL }
}

fn reconnect(resume: bool) -> Load {
    Load { reconnect: true, resume, ..Load::USUAL }
}

fn side(budget: &Budget, scenario: Scenario) -> Scenario {
    Scenario { rounds: budget.rounds_few, ..scenario }
}

/// The gateway beside the tuned nginx; in a full run beside every relay.
fn relay(budget: &Budget, id: &'static str, title: &str, load: Load) -> Scenario {
    let peers = match budget.extras {
        true => every_relay(),
        false => vec![Box::new(NginxTuned) as Box<dyn Peer>, Box::new(Waypost(Mode::Relay))],
    };
    relays(id, title, load, budget.rounds, peers)
}

fn relays(id: &'static str, title: &str, load: Load, rounds: usize, peers: Vec<Box<dyn Peer>>) -> Scenario {
    let against = vec![RECIPE, TUNED, HAPROXY, CADDY];
    Scenario { id, title: title.into(), kind: Kind::Answer(load), peers, against, rounds }
}

fn every_relay() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(NginxRecipe),
        Box::new(NginxTuned),
        Box::new(HaProxy),
        Box::new(Caddy),
        Box::new(Waypost(Mode::Relay)),
    ]
}

/// Everything that acknowledges webhooks.
fn accept(id: &'static str, title: String, load: Load) -> Scenario {
    Scenario {
        id,
        title,
        kind: Kind::Answer(load),
        peers: vec![
            Box::new(Bare::NoStore),
            Box::new(Bare::Log),
            Box::new(Node { queue: Queue::BullMq, delivers: false }),
            Box::new(Node { queue: Queue::Stream, delivers: false }),
            Box::new(Waypost(Mode::StoreReceiverDown)),
            Box::new(Waypost(Mode::Store)),
        ],
        against: vec![NO_STORE, FLOOR, BULLMQ, STREAM],
        rounds: 1,
    }
}

/// The gateway beside the floor; in a full run beside what teams write themselves, too, where a rate is fixed.
fn beside_floor(budget: &Budget, id: &'static str, title: String, load: Load) -> Scenario {
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Bare::Log)];
    if budget.extras && load.pace != Pace::Closed {
        peers.push(Box::new(Node { queue: Queue::BullMq, delivers: false }));
        peers.push(Box::new(Node { queue: Queue::Stream, delivers: false }));
    }
    peers.push(Box::new(Waypost(Mode::Store)));
    side(budget, Scenario { peers, against: vec![FLOOR, BULLMQ, STREAM], ..accept(id, title, load) })
}

fn deliver(budget: &Budget) -> Scenario {
    Scenario {
        id: "deliver",
        title: "end to end".into(),
        kind: Kind::Deliver,
        peers: vec![
            Box::new(Node { queue: Queue::BullMq, delivers: true }),
            Box::new(Node { queue: Queue::Stream, delivers: true }),
            Box::new(Waypost(Mode::Store)),
        ],
        against: vec![BULLMQ, STREAM],
        rounds: budget.rounds_few,
    }
}

fn backlog() -> Scenario {
    Scenario {
        id: "backlog",
        title: "backlog".into(),
        kind: Kind::Backlog,
        peers: vec![Box::new(Waypost(Mode::StoreReceiverDown))],
        against: Vec::new(),
        rounds: 1,
    }
}

fn idle(budget: &Budget) -> Scenario {
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Waypost(Mode::Relay)), Box::new(Waypost(Mode::Store))];
    if budget.extras {
        peers.extend([Box::new(NginxTuned) as Box<dyn Peer>, Box::new(HaProxy), Box::new(Caddy)]);
        for queue in [Queue::BullMq, Queue::Stream] {
            peers.push(Box::new(Node { queue, delivers: true }));
        }
    }
    Scenario { id: "idle", title: "idle".into(), kind: Kind::Idle, peers, against: Vec::new(), rounds: 1 }
}

fn sources(budget: &Budget) -> Scenario {
    Scenario {
        id: "sources",
        title: "acknowledge, by sources".into(),
        kind: Kind::Answer(Load::USUAL),
        peers: vec![
            Box::new(Waypost(Mode::Sources(NonZeroU32::MIN))),
            Box::new(Waypost(Mode::Sources(SOURCES))),
        ],
        against: vec![ONE_SOURCE],
        rounds: budget.rounds_few,
    }
}

fn stream(budget: &Budget) -> Scenario {
    let readers = budget.readers;
    Scenario {
        id: "stream",
        title: format!("the stream, 200/s, {readers} readers"),
        kind: Kind::Stream(readers),
        peers: vec![Box::new(Waypost(Mode::Store))],
        against: Vec::new(),
        rounds: budget.rounds_few,
    }
}
