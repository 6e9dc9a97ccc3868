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

    /// A seat for a connection from this address, given back when dropped.
    pub(crate) fn seat(self: &Arc<Self>, peer: IpAddr) -> Result<Seat, Full> {
        let address = neighbourhood(peer);
        let mut taken = self.taken();
        if taken.seats >= self.seats_max {
            return Err(Full::House);
        }
        let entry = taken.addresses.entry(address).or_insert_with(|| Address {
            seats: 0,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_PER_ADDRESS_MAX)),
        });
        if entry.seats >= self.seats_per_address_max {
            return Err(Full::Address);
        }
        entry.seats += 1;
        let handshakes = entry.handshakes.clone();
        taken.seats += 1;
        Ok(Seat { quota: self.clone(), address, handshakes })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place.
pub(crate) struct Seat {
    quota: Arc<Quota>,
    address: IpAddr,
    handshakes: Arc<Semaphore>,
}

impl Seat {
    /// Waits for the turn to shake hands: first among the connections of the same address, so that an address that
    /// stalls many handshakes stands in its own way only.
    pub(crate) async fn handshake(
        &self,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), AcquireError> {
        let among_neighbours = self.handshakes.clone().acquire_owned().await?;
        let among_all = self.quota.handshakes.clone().acquire_owned().await?;
        Ok((among_neighbours, among_all))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.quota.taken();
        taken.seats -= 1;
        if let Some(entry) = taken.addresses.get_mut(&self.address) {
            entry.seats -= 1;
            if entry.seats == 0 {
                taken.addresses.remove(&self.address);
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
        let seat = quota.seat(one).ok().unwrap();
        let second = quota.seat(neighbour).ok().unwrap();
        assert_eq!(quota.seat(one).err(), Some(Full::Address));
        let third = quota.seat(other).ok().unwrap();
        assert_eq!(quota.seat(other).err(), Some(Full::House));
        drop(seat);
        let fourth = quota.seat("::ffff:203.0.113.1".parse().unwrap()).ok().unwrap();
        assert_eq!(quota.taken().addresses.len(), 2);
        drop((second, third, fourth));
        assert!(quota.taken().addresses.is_empty(), "an address nobody uses is remembered");
    }
}
