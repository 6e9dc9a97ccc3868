//! From a receiver's name to the addresses it may be called at.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use waypost_domain::{Clock, Failure};

use crate::address::is_public;
use crate::failure::Fault;
use crate::limits::{
    ADDRESS_STALE_TIME_MAX, ADDRESSES_MAX, LOOKUP_FAILURE_TIME_MAX, LOOKUP_TIME_MAX, LOOKUPS_MAX,
};

/// Where addresses come from: the machine's resolver, or a table of names that a test or an operator
/// writes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolver(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System(Arc<Semaphore>),
    Names(Names),
}

impl Resolver {
    /// The machine's own resolver (`getaddrinfo`), at most [`LOOKUPS_MAX`] lookups at once.
    pub fn system() -> Self {
        Self(Kind::System(Arc::new(Semaphore::new(LOOKUPS_MAX))))
    }

    /// Only the names in this table resolve.
    pub fn names(names: Names) -> Self {
        Self(Kind::Names(names))
    }

    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match &self.0 {
            Kind::Names(names) => names.lookup(name),
            Kind::System(slots) => {
                let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
                let name = name.to_owned();
                // The slot goes along: a lookup that nobody waits for any more still holds its thread.
                let lookup = tokio::task::spawn_blocking(move || {
                    let _slot = slot;
                    let found = (name.as_str(), 0).to_socket_addrs()?;
                    Ok(found.map(|address| address.ip()).collect())
                });
                lookup.await.map_err(io::Error::other)?
            }
        }
    }
}

/// A table of names and their addresses that can be changed while calls are made.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<String, Vec<IpAddr>>,
    lookups: usize,
}

impl Names {
    /// An empty table: nothing resolves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `name` resolve to `addresses`, in this order; to none makes it fail.
    pub fn set(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        self.table().addresses.insert(name.to_ascii_lowercase(), addresses.into_iter().collect());
    }

    /// How many lookups there were.
    pub fn lookups(&self) -> usize {
        self.table().lookups
    }

    fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut table = self.table();
        table.lookups += 1;
        match table.addresses.get(name) {
            Some(addresses) if !addresses.is_empty() => Ok(addresses.clone()),
            _ => Err(io::Error::other("the name is not in the table")),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses one endpoint may be called at, remembered for a short time.
pub(crate) struct Addresses {
    host: Box<str>,
    source: Source,
    allow_private: bool,
    clock: Clock,
    time_max: Duration,
    remembered: Mutex<Remembered>,
    /// One lookup at a time; whoever waited finds what the one before found.
    turn: tokio::sync::Mutex<()>,
}

enum Source {
    Literal(IpAddr),
    Name(Resolver),
}

#[derive(Default, Clone)]
struct Remembered {
    found: Option<(Arc<[IpAddr]>, Duration)>,
    failed: Option<(Fault, Duration)>,
}

impl Addresses {
    pub(crate) fn new(
        host: &str,
        allow_private: bool,
        resolver: Resolver,
        clock: Clock,
        time_max: Duration,
    ) -> Self {
        let source = match host.parse() {
            Ok(address) => Source::Literal(address),
            Err(_) => Source::Name(resolver),
        };
        Self {
            host: host.into(),
            source,
            allow_private,
            clock,
            time_max,
            remembered: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// The permitted addresses, at least one, from memory while it is fresh.
    pub(crate) async fn current(&self) -> Result<Arc<[IpAddr]>, Fault> {
        if let Source::Literal(address) = self.source {
            return self.permitted(&[address]);
        }
        if let Some(remembered) = self.recall() {
            return remembered;
        }
        let _turn = self.turn.lock().await;
        if let Some(remembered) = self.recall() {
            return remembered;
        }
        match self.look_up().await {
            Err(fault) if fault.failure == Failure::NameNotResolved => {
                self.stale().ok_or(fault).inspect(|_| {
                    tracing::warn!(
                        host = &*self.host,
                        "the name does not resolve; its last known addresses are used"
                    );
                })
            }
            outcome => outcome,
        }
    }

    /// Looks the name up anew and says what is permitted now. `None` for a literal address, which cannot
    /// change.
    pub(crate) async fn renewed(&self) -> Option<Result<Arc<[IpAddr]>, Fault>> {
        if matches!(self.source, Source::Literal(_)) {
            return None;
        }
        let _turn = self.turn.lock().await;
        Some(self.look_up().await)
    }

    async fn look_up(&self) -> Result<Arc<[IpAddr]>, Fault> {
        let name = &*self.host;
        let Source::Name(resolver) = &self.source else {
            return Err(Fault::new(Failure::Ours, "an address needs no lookup"));
        };
        let outcome = match timeout(LOOKUP_TIME_MAX, resolver.lookup(name)).await {
            Ok(Ok(found)) if found.is_empty() => {
                Err(Fault::new(Failure::NameNotResolved, format!("{name} has no address")))
            }
            Ok(Ok(found)) => self.permitted(&found),
            Ok(Err(error)) => {
                Err(Fault::new(Failure::NameNotResolved, format!("{name} does not resolve: {error}")))
            }
            Err(_) => Err(Fault::new(
                Failure::NameNotResolved,
                format!("the resolver did not answer for {name} within {} s", LOOKUP_TIME_MAX.as_secs()),
            )),
        };
        let now = self.clock.monotonic();
        let mut remembered = self.remembered();
        match &outcome {
            Ok(found) => *remembered = Remembered { found: Some((found.clone(), now)), failed: None },
            Err(fault) => remembered.failed = Some((fault.clone(), now)),
        }
        outcome
    }

    fn recall(&self) -> Option<Result<Arc<[IpAddr]>, Fault>> {
        let now = self.clock.monotonic();
        let remembered = self.remembered();
        if let Some((found, at)) = &remembered.found
            && now.saturating_sub(*at) < self.time_max
        {
            return Some(Ok(found.clone()));
        }
        if let Some((fault, at)) = &remembered.failed
            && now.saturating_sub(*at) < LOOKUP_FAILURE_TIME_MAX
        {
            return Some(self.stale_of(&remembered, now).ok_or_else(|| fault.clone()));
        }
        None
    }

    fn stale(&self) -> Option<Arc<[IpAddr]>> {
        let now = self.clock.monotonic();
        let remembered = self.remembered();
        self.stale_of(&remembered, now)
    }

    fn stale_of(&self, remembered: &Remembered, now: Duration) -> Option<Arc<[IpAddr]>> {
        let usable = |failed: &(Fault, Duration)| failed.0.failure == Failure::NameNotResolved;
        remembered.failed.as_ref().filter(|failed| usable(failed))?;
        let (found, at) = remembered.found.as_ref()?;
        (now.saturating_sub(*at) < ADDRESS_STALE_TIME_MAX.max(self.time_max)).then(|| found.clone())
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permitted(&self, found: &[IpAddr]) -> Result<Arc<[IpAddr]>, Fault> {
        let permitted: Vec<IpAddr> = found
            .iter()
            .copied()
            .filter(|address| self.allow_private || is_public(*address))
            .take(ADDRESSES_MAX)
            .collect();
        if permitted.is_empty() {
            let host = &self.host;
            return Err(Fault::new(
                Failure::AddressForbidden,
                format!(
                    "{host} leads to an address that is private or set aside; allow_private would admit it"
                ),
            ));
        }
        Ok(interleaved(permitted).into())
    }
}

/// IPv6 and IPv4 in turns, beginning with the family the resolver prefers, so that one family being
/// broken costs one try (the idea of RFC 8305, section 4).
fn interleaved(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let six_first = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == six_first);
    first.reverse();
    second.reverse();
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    while !first.is_empty() || !second.is_empty() {
        mixed.extend(first.pop());
        mixed.extend(second.pop());
    }
    mixed.dedup();
    mixed
}
