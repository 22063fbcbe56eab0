//! How many connections there may be: in all, and of one address before it has shown who it is.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections over the limit that are still given an answer; the rest is closed without one.
const MAX_REFUSALS: usize = 64;

pub(super) struct Places {
    max_connections: usize,
    max_strangers: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    connections: usize,
    refusals: usize,
    strangers: HashMap<IpAddr, usize>,
}

/// One connection's place, kept for as long as it plays.
pub(super) struct Place {
    places: Arc<Places>,
    stranger: Option<IpAddr>,
}

pub(super) struct Refusal(Arc<Places>);

impl Places {
    pub fn new(max_connections: usize, max_strangers: usize) -> Arc<Self> {
        Arc::new(Self { max_connections, max_strangers, taken: Mutex::default() })
    }

    /// A place, or the reason why there is none.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, &'static str> {
        let address = group(address);
        let mut taken = self.taken.lock();
        if taken.connections >= self.max_connections {
            return Err("LIMIT_CONNECTIONS");
        }
        let strangers = taken.strangers.get(&address).copied().unwrap_or(0);
        if strangers >= self.max_strangers {
            return Err("LIMIT_CONNECTIONS_PER_ADDRESS");
        }
        taken.strangers.insert(address, strangers + 1);
        taken.connections += 1;
        Ok(Place { places: self.clone(), stranger: Some(address) })
    }

    pub fn take_refusal(self: &Arc<Self>) -> Option<Refusal> {
        let mut taken = self.taken.lock();
        if taken.refusals >= MAX_REFUSALS {
            return None;
        }
        taken.refusals += 1;
        Some(Refusal(self.clone()))
    }
}

impl Place {
    /// The connection has shown who it is.
    pub fn known(&mut self) {
        if let Some(address) = self.stranger.take() {
            self.places.taken.lock().leave(address);
        }
    }
}

impl Taken {
    fn leave(&mut self, address: IpAddr) {
        if let Some(strangers) = self.strangers.get_mut(&address) {
            *strangers -= 1;
            if *strangers == 0 {
                self.strangers.remove(&address);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.connections -= 1;
        if let Some(address) = self.stranger {
            taken.leave(address);
        }
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        self.0.taken.lock().refusals -= 1;
    }
}

/// One host has a whole /64 of IPv6.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (!0 << 64))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_counted_by_address_until_they_are_known() {
        let places = Places::new(5, 2);
        let one: IpAddr = "192.0.2.1".parse().expect("address");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("address");
        let mut first = places.take(one).expect("room");
        let second = places.take(mapped).expect("room");
        assert_eq!(places.take(one).err(), Some("LIMIT_CONNECTIONS_PER_ADDRESS"));
        first.known();
        let third = places.take(one).expect("room again");
        drop((first, second, third));
        assert!(places.taken.lock().strangers.is_empty());
        assert_eq!(places.taken.lock().connections, 0);
    }

    #[test]
    fn all_together_have_a_bound_and_so_have_refusals() {
        let places = Places::new(2, 9);
        let kept: Vec<_> = (1..=2).map(|host| places.take(IpAddr::from([192, 0, 2, host])).expect("room")).collect();
        assert_eq!(places.take(IpAddr::from([192, 0, 2, 9])).err(), Some("LIMIT_CONNECTIONS"));
        drop(kept);
        let refusals: Vec<_> = std::iter::from_fn(|| places.take_refusal()).collect();
        assert_eq!(refusals.len(), MAX_REFUSALS);
    }

    #[test]
    fn neighbours_in_a_64_count_as_one() {
        let places = Places::new(9, 1);
        let _first = places.take("2001:db8::1".parse().expect("address"));
        assert!(places.take("2001:db8::2".parse().expect("address")).is_err());
        assert!(places.take("2001:db8:0:1::2".parse().expect("address")).is_ok());
    }
}
