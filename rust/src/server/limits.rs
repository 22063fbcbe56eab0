//! What one client, and all together, may take from the listening ports. The numbers are in docs/reference/limits.md.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// Header fields of one request.
pub const MAX_HEADERS: usize = 100;
/// Request line and header fields of one request, in bytes.
pub const MAX_HEADER_BYTES: usize = 16 << 10;
/// Time for the TLS handshake, and again for each request's header; an idle HTTP/1.1 connection is closed after it.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Body of a request that goes to the application.
pub const MAX_API_BODY: usize = 8 << 20;
/// Body of an SDP offer.
pub const MAX_SDP_BODY: usize = 64 << 10;
/// Time for an SDP body to arrive, and for the next piece of a body that goes to the application.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for all of a body that goes to the application: 8 MiB come in it at 224 kbit/s.
pub const MAX_BODY_TIME: Duration = Duration::from_secs(300);
/// Requests that one HTTP/2 connection has open.
pub const MAX_STREAMS: u32 = 100;
/// An HTTP/2 connection without a request is closed after this.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Counts what is taken, per address and in all.
pub struct Quota {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One place; dropping it gives it back.
pub struct Seat {
    quota: Arc<Quota>,
    /// None for peers that speak for many, such as a trusted proxy.
    address: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    All,
    Address,
}

impl Quota {
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, taken: Mutex::default() })
    }

    /// Takes a place. `address` is None where only the total counts.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Full> {
        let address = address.map(block);
        let mut taken = self.taken.lock();
        if taken.all >= self.max {
            return Err(Full::All);
        }
        if let Some(address) = address {
            let count = taken.by_address.entry(address).or_default();
            if *count >= self.max_per_address {
                return Err(Full::Address);
            }
            *count += 1;
        }
        taken.all += 1;
        Ok(Seat { quota: Arc::clone(self), address })
    }

    pub fn taken(&self) -> usize {
        self.taken.lock().all
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.quota.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        let Some(address) = self.address else { return };
        if let Some(count) = taken.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// What counts as one address: with IPv6 the /64 that one customer gets, or its holder would have 2^64 of them.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_place_comes_back_when_its_seat_is_dropped() {
        let quota = Quota::new(3, 2);
        let first = quota.take(address("192.0.2.1")).ok().unwrap();
        let _second = quota.take(address("::ffff:192.0.2.1")).ok().unwrap();
        assert_eq!(quota.take(address("192.0.2.1")).err(), Some(Full::Address));
        drop(first);
        let _third = quota.take(address("192.0.2.1")).ok().unwrap();
        let _proxy = quota.take(None).ok().unwrap();
        assert_eq!(quota.take(address("192.0.2.2")).err(), Some(Full::All));
        assert_eq!(quota.taken(), 3);
    }

    #[test]
    fn one_ipv6_customer_is_one_address() {
        let quota = Quota::new(9, 1);
        let _seat = quota.take(address("2001:db8::1")).ok().unwrap();
        assert_eq!(quota.take(address("2001:db8::2")).err(), Some(Full::Address));
        assert!(quota.take(address("2001:db8:0:1::1")).is_ok());
        drop(quota.take(address("2001:db8:0:1::1")));
        assert_eq!(quota.taken.lock().by_address.len(), 1);
    }
}
