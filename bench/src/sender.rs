//! The load generator: one thread, one epoll loop, as little CPU as a signed request can cost,
//! since it shares the machine with what it measures.
//!
//! Closed loop: every connection sends its next webhook as soon as its last is answered. Open loop:
//! webhooks fall due at a fixed rate whatever the server does, and latency counts from the moment a
//! webhook was due, not from when a free connection was found for it (so a stall is not omitted).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::connection::{self, Connection, Progress};
use crate::histogram::Histogram;
use crate::ids::IdSet;
use crate::stopwatch::{nanos, now_ns};
use crate::webhook::{self, Template};
use crate::{interrupt, stopwatch};

/// Where webhooks are sent.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The server's address.
    pub(crate) address: SocketAddr,
    /// Speak TLS.
    pub(crate) tls: bool,
    /// The server's name, for `Host` and SNI.
    pub(crate) host: String,
    /// The request target; where there are sources, what theirs have in common.
    pub(crate) path: String,
    /// Sources that take turns, numbered at the end of the path and of the secret.
    pub(crate) sources: Option<NonZeroU32>,
}

/// How webhooks follow one another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Pace {
    /// As fast as they are answered.
    Closed,
    /// So many a second.
    Open(f64),
}

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where to.
    pub(crate) target: Target,
    /// Requests outstanding at most, each on a connection of its own.
    pub(crate) connections: usize,
    /// How fast.
    pub(crate) pace: Pace,
    /// Time at the start that is not measured.
    pub(crate) warmup: Duration,
    /// Time that is measured.
    pub(crate) measure: Duration,
    /// Webhooks to send at most.
    pub(crate) count_max: Option<u64>,
    /// A new connection for each request.
    pub(crate) reconnect: bool,
    /// Offer to resume TLS sessions on new connections.
    pub(crate) resume: bool,
    /// Size of each body.
    pub(crate) body_bytes: usize,
    /// The app secret.
    pub(crate) secret: String,
    /// Contacts that write, in turn.
    pub(crate) contacts: u32,
}

/// A moment of a run, told to the caller while it happens so that it can take readings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// Measuring begins.
    Begin,
    /// Measuring ends; answers still outstanding are waited for after this.
    End,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// How long was measured.
    pub(crate) measured: Duration,
    /// Webhooks acknowledged (2xx) within the measured time.
    pub(crate) completed: u64,
    /// Their latency. In an open loop: of every webhook due in the measured time.
    pub(crate) latency: Histogram,
    /// Answers other than 2xx, by status, warm-up included.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Requests that broke without an answer, or were never answered, warm-up included.
    pub(crate) broken: u64,
    /// Every webhook sent, warm-up included.
    pub(crate) sent: u64,
    /// Ids of all webhooks acknowledged, warm-up included.
    pub(crate) acknowledged: IdSet,
}

impl Outcome {
    /// Acknowledgements a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.completed as f64 / self.measured.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Requests without a 2xx.
    pub(crate) fn failed(&self) -> u64 {
        self.broken + self.refused.values().sum::<u64>()
    }
}

/// How long answers are waited for after the last request.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
/// Requests that may break one after another before the run is given up.
const BROKEN_IN_A_ROW_MAX: u64 = 256;
/// Longest sleep, so that an interrupt is seen.
const WAIT_MAX_NS: u64 = 50_000_000;
const EVENTS_AT_ONCE: usize = 128;
const SCRATCH_BYTES: usize = 64 * 1024;

/// Ids for a run: a base no other run has used. Webhooks are numbered from it.
pub(crate) fn new_id_base() -> u64 {
    stopwatch::unix_ns()
}

/// Sends webhooks as planned, on the calling thread, until done.
pub(crate) fn run(plan: &Plan, id_base: u64, mut at: impl FnMut(Moment)) -> anyhow::Result<Outcome> {
    // Without this the kernel may round each sleep up by 50 µs; a request would be late by the
    // sender's fault.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut sender = Sender::new(plan, id_base)?;
    sender.run(&mut at)?;
    Ok(sender.outcome)
}

struct Sender<'a> {
    plan: &'a Plan,
    template: Template,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    idle: VecDeque<usize>,
    outstanding: usize,
    broken_in_a_row: u64,
    id_next: u64,
    begin_ns: u64,
    end_ns: u64,
    outcome: Outcome,
    scratch: Vec<u8>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    watches_write: bool,
    request: Option<Request>,
}

#[derive(Clone, Copy)]
struct Request {
    id: u64,
    /// When it was due: in a closed loop, when it was sent.
    due_ns: u64,
}

impl<'a> Sender<'a> {
    fn new(plan: &'a Plan, id_base: u64) -> anyhow::Result<Self> {
        let target = &plan.target;
        let template = Template::new(&webhook::Spec {
            path: target.path.clone(),
            host: target.host.clone(),
            body_bytes: plan.body_bytes,
            secret: plan.secret.clone(),
            close: plan.reconnect,
            contacts: plan.contacts,
            sources: target.sources,
        })?;
        let tls = match target.tls {
            true => Some((
                connection::tls_client(plan.resume)?,
                ServerName::try_from(target.host.clone()).context("the server's name")?,
            )),
            false => None,
        };
        Ok(Self {
            plan,
            template,
            tls,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: (0..plan.connections).map(|_| Slot::default()).collect(),
            idle: (0..plan.connections).collect(),
            outstanding: 0,
            broken_in_a_row: 0,
            id_next: id_base,
            begin_ns: 0,
            end_ns: 0,
            outcome: Outcome {
                measured: Duration::ZERO,
                completed: 0,
                latency: Histogram::default(),
                refused: BTreeMap::new(),
                broken: 0,
                sent: 0,
                acknowledged: IdSet::from_base(id_base),
            },
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    fn run(&mut self, at: &mut impl FnMut(Moment)) -> anyhow::Result<()> {
        self.connect_ahead();
        let start_ns = now_ns();
        self.begin_ns = start_ns + nanos(self.plan.warmup);
        self.end_ns = self.begin_ns + nanos(self.plan.measure);
        let drained_by_ns = self.end_ns + nanos(DRAIN_TIME_MAX);
        let mut moment = None;
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            interrupt::check()?;
            let now = now_ns();
            if moment.is_none() && now >= self.begin_ns {
                at(Moment::Begin);
                moment = Some(Moment::Begin);
                continue;
            }
            let due_ns = self.start_due(start_ns, now)?;
            let over = due_ns.is_none();
            if moment == Some(Moment::Begin) && (now >= self.end_ns || (over && self.outstanding == 0)) {
                self.outcome.measured = Duration::from_nanos(now.min(self.end_ns) - self.begin_ns);
                at(Moment::End);
                moment = Some(Moment::End);
            }
            if over && moment == Some(Moment::End) && (self.outstanding == 0 || now >= drained_by_ns) {
                break;
            }
            self.wait(&mut events, self.wake_ns(due_ns, now, moment).saturating_sub(now_ns()))?;
            for event in events.drain(..) {
                self.ready(event.data.u64() as usize, event.flags)?;
            }
        }
        self.outcome.broken += self.outstanding as u64;
        Ok(())
    }

    /// Opens connections that will be kept before the clock starts, so that no webhook waits for another's connection.
    /// One that fails is opened again, and its failure told, when it is needed.
    fn connect_ahead(&mut self) {
        if self.plan.reconnect {
            return;
        }
        for index in 0..self.slots.len() {
            let _ = self.connect(index);
        }
    }

    /// Opens the connection of a slot, if it has none.
    fn connect(&mut self, index: usize) -> io::Result<()> {
        let slot = &mut self.slots[index];
        if slot.connection.is_some() {
            return Ok(());
        }
        let tls = self.tls.as_ref().map(|(config, name)| (config, name));
        let opened = Connection::open(self.plan.target.address, tls)?;
        epoll::add(&self.epoll, &opened, EventData::new_u64(index as u64), EventFlags::IN)?;
        slot.connection = Some(opened);
        slot.watches_write = false;
        Ok(())
    }

    /// Sends what is due on idle connections. Returns when the next is due; `None` once there is
    /// nothing left to send.
    fn start_due(&mut self, start_ns: u64, now: u64) -> anyhow::Result<Option<u64>> {
        loop {
            if self.plan.count_max.is_some_and(|most| self.outcome.sent >= most) {
                return Ok(None);
            }
            let due_ns = match self.plan.pace {
                Pace::Closed => now,
                Pace::Open(rate) => start_ns + (self.outcome.sent as f64 / rate * 1e9) as u64,
            };
            if due_ns >= self.end_ns {
                return Ok(None);
            }
            if due_ns > now {
                return Ok(Some(due_ns));
            }
            let Some(slot) = self.idle.pop_front() else { return Ok(Some(u64::MAX)) };
            self.start(slot, due_ns)?;
        }
    }

    /// When the loop must look at the clock again.
    fn wake_ns(&self, due_ns: Option<u64>, now: u64, moment: Option<Moment>) -> u64 {
        let boundary_ns = match moment {
            None => self.begin_ns,
            Some(Moment::Begin) => self.end_ns,
            Some(Moment::End) => u64::MAX,
        };
        due_ns.unwrap_or(u64::MAX).min(boundary_ns).min(now + WAIT_MAX_NS)
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, wait_ns: u64) -> anyhow::Result<()> {
        let timeout = Timespec {
            tv_sec: (wait_ns / 1_000_000_000).try_into().unwrap_or(0),
            tv_nsec: (wait_ns % 1_000_000_000).try_into().unwrap_or(0),
        };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("waiting for sockets"),
        }
    }

    /// Sends the next webhook on an idle connection, opening it if need be.
    fn start(&mut self, index: usize, due_ns: u64) -> anyhow::Result<()> {
        let request = Request { id: self.id_next, due_ns };
        self.id_next += 1;
        self.outcome.sent += 1;
        self.outstanding += 1;
        self.slots[index].request = Some(request);
        let sent = self.connect(index).and_then(|()| self.send(index, request));
        match sent {
            Ok(()) => self.watch(index),
            Err(error) => self.broke(index, &error),
        }
    }

    fn send(&mut self, index: usize, request: Request) -> io::Result<()> {
        let Some(connection) = &mut self.slots[index].connection else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        // In an open loop a webhook carries when it was due, so that arrival, too, is measured
        // from there.
        connection.send(self.template.fill(request.id, request.due_ns))
    }

    /// A socket is ready.
    fn ready(&mut self, index: usize, flags: EventFlags) -> anyhow::Result<()> {
        let slot = &mut self.slots[index];
        let Some(connection) = &mut slot.connection else { return Ok(()) };
        let mut progress = Ok(Progress::Pending);
        if flags.contains(EventFlags::OUT) {
            progress = connection.flush().map(|()| Progress::Pending);
        }
        if progress.is_ok() && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            progress = connection.receive(&mut self.scratch);
        }
        match progress {
            Ok(Progress::Pending) => self.watch(index),
            Ok(Progress::Answered(answer)) => {
                if answer.close || self.plan.reconnect {
                    slot.connection = None;
                }
                let Some(request) = slot.request.take() else { return Ok(()) };
                self.answered(request, answer.status);
                self.free(index)
            }
            Ok(Progress::Closed) if slot.request.is_none() => {
                slot.connection = None;
                Ok(())
            }
            Ok(Progress::Closed) => self.broke(index, &io::ErrorKind::UnexpectedEof.into()),
            Err(error) => self.broke(index, &error),
        }
    }

    fn answered(&mut self, request: Request, status: u16) {
        let now = now_ns();
        self.broken_in_a_row = 0;
        if !(200..300).contains(&status) {
            *self.outcome.refused.entry(status).or_default() += 1;
            return;
        }
        self.outcome.acknowledged.insert(request.id);
        let within = (self.begin_ns..=self.end_ns).contains(&now);
        self.outcome.completed += u64::from(within);
        let measured = match self.plan.pace {
            Pace::Closed => within,
            Pace::Open(_) => request.due_ns >= self.begin_ns,
        };
        if measured {
            self.outcome.latency.record(now.saturating_sub(request.due_ns));
        }
    }

    fn broke(&mut self, index: usize, error: &io::Error) -> anyhow::Result<()> {
        let slot = &mut self.slots[index];
        slot.connection = None;
        if slot.request.take().is_none() {
            return Ok(());
        }
        self.outcome.broken += 1;
        self.broken_in_a_row += 1;
        if self.broken_in_a_row > BROKEN_IN_A_ROW_MAX {
            bail!("{BROKEN_IN_A_ROW_MAX} requests in a row broke; the last: {error}");
        }
        self.free(index)
    }

    /// A connection has no request any more: in a closed loop it gets the next at once.
    fn free(&mut self, index: usize) -> anyhow::Result<()> {
        self.outstanding -= 1;
        let now = now_ns();
        let more = self.plan.count_max.is_none_or(|most| self.outcome.sent < most);
        if self.plan.pace == Pace::Closed && self.broken_in_a_row == 0 && more && now < self.end_ns {
            return self.start(index, now);
        }
        self.idle.push_back(index);
        Ok(())
    }

    /// Asks to be told of writability exactly while something waits to be written.
    fn watch(&mut self, index: usize) -> anyhow::Result<()> {
        let slot = &mut self.slots[index];
        let Some(connection) = &slot.connection else { return Ok(()) };
        let wants = connection.wants_write();
        if wants != slot.watches_write {
            slot.watches_write = wants;
            let flags = if wants { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.epoll, connection, EventData::new_u64(index as u64), flags)
                .context("watching a socket")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
