//! Datagrams of equal size on one route, gathered for one call with UDP segmentation offload.

use std::net::SocketAddr;

use super::way::Remote;

/// Limit of one UDP send with segmentation: what an IPv4 packet can hold, less the headers.
const MAX_BYTES: usize = 65_000;

/// Where a viewer's datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub to: Remote,
    /// Which of our candidates they come from.
    pub candidate: SocketAddr,
}

#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    route: Option<Route>,
    segment: usize,
    count: usize,
    /// A shorter piece has ended it.
    full: bool,
}

/// What one call sends.
pub(super) struct Contents<'a> {
    pub route: Route,
    pub bytes: &'a [u8],
    pub segment: usize,
    pub count: usize,
}

impl Batch {
    /// Whether what is gathered goes the same way.
    pub fn goes(&self, route: Route) -> bool {
        self.route.is_none_or(|own| own == route)
    }

    /// Whether a datagram of this length that goes the same way can go out with what is gathered.
    pub fn has_room(&self, length: usize, max_segments: usize) -> bool {
        self.count == 0
            || (!self.full
                && length <= self.segment
                && self.count < max_segments
                && self.bytes.len() + length <= MAX_BYTES)
    }

    /// Adds a datagram of this length, which `write` appends in place; one that it fails at is left out.
    pub fn add<E>(
        &mut self,
        route: Route,
        length: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        if written.is_err() {
            self.bytes.truncate(start);
            return written;
        }
        debug_assert_eq!(self.bytes.len(), start + length);
        if self.route.is_none() {
            self.route = Some(route);
            self.segment = length;
        }
        self.full = length < self.segment;
        self.count += 1;
        written
    }

    pub fn contents(&self) -> Option<Contents<'_>> {
        Some(Contents { route: self.route?, bytes: &self.bytes, segment: self.segment, count: self.count })
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.route = None;
        self.count = 0;
        self.full = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::way::Carrier;
    use super::*;

    fn add(batch: &mut Batch, route: Route, length: usize) {
        batch
            .add(route, length, |bytes| {
                bytes.resize(bytes.len() + length, 0);
                Ok::<_, ()>(())
            })
            .unwrap();
    }

    fn route(to: &str) -> Route {
        let to = Remote { carrier: Carrier::Udp, address: to.parse().unwrap() };
        Route { to, candidate: "192.0.2.7:2".parse().unwrap() }
    }

    #[test]
    fn a_batch_holds_equal_pieces_for_one_place_and_a_shorter_last_one() {
        let (here, there) = (route("192.0.2.1:1"), route("192.0.2.9:1"));
        let mut batch = Batch::default();
        assert!(batch.goes(here) && batch.has_room(1200, 64));
        add(&mut batch, here, 1200);
        assert!(batch.goes(here) && batch.has_room(1200, 64) && batch.has_room(300, 64));
        let by_tcp = Route { to: Remote { carrier: Carrier::Tcp, ..here.to }, ..here };
        assert!(!batch.goes(by_tcp) && !batch.goes(there));
        assert!(!batch.has_room(1201, 64) && !batch.has_room(1200, 1));
        add(&mut batch, here, 300);
        assert!(!batch.has_room(300, 64), "the shorter piece is the last");
        let contents = batch.contents().unwrap();
        assert_eq!((contents.bytes.len(), contents.segment, contents.count), (1500, 1200, 2));
        batch.clear();
        for _ in 0..54 {
            add(&mut batch, here, 1200);
        }
        assert!(!batch.has_room(1200, 64), "a datagram holds no more");
    }

    #[test]
    fn what_could_not_be_written_is_not_sent() {
        let here = route("192.0.2.1:1");
        let mut batch = Batch::default();
        let fails = |bytes: &mut Vec<u8>| {
            bytes.push(1);
            Err(())
        };
        assert!(batch.add(here, 1, fails).is_err() && batch.contents().is_none());
        add(&mut batch, here, 10);
        assert!(batch.add(here, 1, fails).is_err());
        assert_eq!(batch.contents().unwrap().bytes.len(), 10);
    }
}
