//! How many connections and handshakes may be open, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::limits::{HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX};

/// The seats of all public listeners.
pub(crate) struct Quota {
    seats_max: usize,
    seats_per_address_max: usize,
    handshakes: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    seats: usize,
    addresses: HashMap<IpAddr, Address>,
}

struct Address {
    seats: usize,
    handshakes: Arc<Semaphore>,
}

/// Why there is no seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    /// Too many connections.
    House,
    /// Too many from this address.
    Address,
}

impl Quota {
    pub(crate) fn new(seats_max: usize, seats_per_address_max: usize) -> Self {
        Self {
            seats_max,
            seats_per_address_max,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            taken: Mutex::default(),
        }
    }

    /// A seat for a connection, given back when dropped. It counts for nobody until [`Seat::count_for`].
    pub(crate) fn seat(self: &Arc<Self>) -> Result<Seat, Full> {
        let mut taken = self.taken();
        if taken.seats >= self.seats_max {
            return Err(Full::House);
        }
        taken.seats += 1;
        Ok(Seat { quota: self.clone(), neighbour: None })
    }

    /// A neighbourhood's part of a seat.
    fn neighbour(&self, peer: IpAddr) -> Result<Neighbour, Full> {
        let address = neighbourhood(peer);
        let mut taken = self.taken();
        let entry = taken.addresses.entry(address).or_insert_with(|| Address {
            seats: 0,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_PER_ADDRESS_MAX)),
        });
        if entry.seats >= self.seats_per_address_max {
            return Err(Full::Address);
        }
        entry.seats += 1;
        Ok(Neighbour { address, handshakes: entry.handshakes.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place.
pub(crate) struct Seat {
    quota: Arc<Quota>,
    neighbour: Option<Neighbour>,
}

struct Neighbour {
    address: IpAddr,
    handshakes: Arc<Semaphore>,
}

impl Seat {
    /// The connection is this address's.
    pub(crate) fn count_for(&mut self, peer: IpAddr) -> Result<(), Full> {
        let neighbour = self.quota.neighbour(peer)?;
        self.neighbour = Some(neighbour);
        Ok(())
    }

    /// Waits for the turn to shake hands: first among the connections of the same address, so that an address that
    /// stalls many handshakes stands in its own way only.
    pub(crate) async fn handshake(
        &self,
    ) -> Result<(Option<OwnedSemaphorePermit>, OwnedSemaphorePermit), AcquireError> {
        let among_neighbours = match &self.neighbour {
            Some(neighbour) => Some(neighbour.handshakes.clone().acquire_owned().await?),
            None => None,
        };
        let among_all = self.quota.handshakes.clone().acquire_owned().await?;
        Ok((among_neighbours, among_all))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.quota.taken();
        taken.seats -= 1;
        if let Some(Neighbour { address, .. }) = &self.neighbour
            && let Some(entry) = taken.addresses.get_mut(address)
        {
            entry.seats -= 1;
            if entry.seats == 0 {
                taken.addresses.remove(address);
            }
        }
    }
}

/// One customer's addresses: an IPv4 address, or an IPv6 network of 64 bits.
fn neighbourhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_by_neighbourhood_and_given_back() {
        let quota = Arc::new(Quota::new(3, 2));
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "203.0.113.1".parse().unwrap();
        let seat = |peer| {
            let mut seat = quota.seat()?;
            seat.count_for(peer).map(|()| seat)
        };
        let first = seat(one).ok().unwrap();
        let second = seat(neighbour).ok().unwrap();
        assert_eq!(seat(one).err(), Some(Full::Address));
        let third = seat(other).ok().unwrap();
        assert_eq!(seat(other).err(), Some(Full::House));
        drop(first);
        let fourth = seat("::ffff:203.0.113.1".parse().unwrap()).ok().unwrap();
        assert_eq!(quota.taken().addresses.len(), 2);
        drop((second, third, fourth));
        assert!(quota.taken().addresses.is_empty(), "an address nobody uses is remembered");
    }
}
