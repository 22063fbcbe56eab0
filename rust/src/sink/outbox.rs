//! What waits to be written to one viewer: bounded, in whole access units, by reference.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// Answers and reports that may wait; a client that asks for more without reading is cut off.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Buffers handed to the kernel in one call.
pub(super) const MAX_SLICES: usize = 16;

enum Kind {
    /// An answer or a report, never dropped.
    Message,
    Unit {
        track: usize,
        packets: usize,
        /// A complete picture, or any sound when there is no picture.
        starts_gop: bool,
        /// Part of the cache given at the start: not the viewer's fault that it is long.
        is_burst: bool,
    },
}

struct Piece {
    bytes: Bytes,
    kind: Kind,
}

/// What became of a unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Packets that the viewer will not get: of this unit, of units that waited before it.
    pub dropped_packets: usize,
}

/// A unit that went out completely.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub track: usize,
    pub packets: usize,
    /// With all framing.
    pub octets: usize,
    pub starts_gop: bool,
}

#[derive(Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Octets of the first piece that are out.
    offset: usize,
    /// Octets of units that count against the bound, the rest of a begun one included.
    unit_bytes: usize,
    message_bytes: usize,
    limit: usize,
    is_skipping: bool,
}

impl Outbox {
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// False when too many answers wait already.
    #[must_use]
    pub fn push_message(&mut self, bytes: Bytes) -> bool {
        if self.message_bytes + bytes.len() > MAX_MESSAGE_BYTES {
            return false;
        }
        self.message_bytes += bytes.len();
        self.pieces.push_back(Piece { bytes, kind: Kind::Message });
        true
    }

    /// Puts an answer in front of what waits; nothing of that may have begun.
    pub fn push_front_message(&mut self, bytes: Bytes) {
        debug_assert_eq!(self.offset, 0, "the first piece has begun");
        self.message_bytes += bytes.len();
        self.pieces.push_front(Piece { bytes, kind: Kind::Message });
    }

    /// The first part of the cache is shared with the stream and bounded there.
    pub fn push_burst(&mut self, bytes: Bytes, track: usize, packets: usize, starts_gop: bool) {
        self.pieces.push_back(Piece { bytes, kind: Kind::Unit { track, packets, starts_gop, is_burst: true } });
    }

    /// Takes a unit; over the bound, all units that have not begun are dropped, and what follows up to the next
    /// unit that `starts_gop`. A begun unit is always finished, for the client would lose step.
    pub fn push_unit(&mut self, bytes: Bytes, track: usize, packets: usize, starts_gop: bool) -> Taken {
        let mut dropped_packets = 0;
        if self.is_skipping && !starts_gop {
            return Taken { dropped_packets: packets };
        }
        if !self.fits(bytes.len()) {
            dropped_packets += self.drop_units();
            self.is_skipping = true;
            if !starts_gop || !self.fits(bytes.len()) {
                return Taken { dropped_packets: dropped_packets + packets };
            }
        }
        self.is_skipping = false;
        self.unit_bytes += bytes.len();
        self.pieces.push_back(Piece { bytes, kind: Kind::Unit { track, packets, starts_gop, is_burst: false } });
        Taken { dropped_packets }
    }

    /// One access unit has room always, however large it is.
    fn fits(&self, bytes: usize) -> bool {
        self.unit_bytes == 0 || self.unit_bytes + bytes <= self.limit
    }

    /// Drops every unit that has not begun and tells how many packets they had.
    pub fn drop_units(&mut self) -> usize {
        let mut dropped_packets = 0;
        let has_begun = self.offset > 0;
        let mut is_first = true;
        self.pieces.retain(|piece| {
            let is_begun = std::mem::take(&mut is_first) && has_begun;
            match piece.kind {
                Kind::Unit { packets, is_burst, .. } if !is_begun => {
                    dropped_packets += packets;
                    if !is_burst {
                        self.unit_bytes -= piece.bytes.len();
                    }
                    false
                }
                Kind::Unit { .. } | Kind::Message => true,
            }
        });
        dropped_packets
    }

    /// Fills `slices` with what is to be written next and tells how many it filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut filled = 0;
        let mut offset = self.offset;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.bytes.get(offset..).unwrap_or_default());
            offset = 0;
            filled += 1;
        }
        filled
    }

    /// `written` octets are out; `on_sent` hears of each unit that is complete with them.
    pub fn advance(&mut self, written: usize, mut on_sent: impl FnMut(Sent)) {
        let mut left = written;
        while let Some(piece) = self.pieces.front() {
            let rest = piece.bytes.len() - self.offset;
            let step = rest.min(left);
            match piece.kind {
                Kind::Message => self.message_bytes -= step,
                Kind::Unit { is_burst: false, .. } => self.unit_bytes -= step,
                Kind::Unit { is_burst: true, .. } => {}
            }
            if left < rest {
                self.offset += left;
                return;
            }
            left -= rest;
            self.offset = 0;
            if let Kind::Unit { track, packets, starts_gop, .. } = piece.kind {
                let octets = piece.bytes.len();
                on_sent(Sent { track, packets, octets, starts_gop });
            }
            self.pieces.pop_front();
        }
        // The burst needed far more than what live units do.
        if self.pieces.is_empty() && self.pieces.capacity() > MAX_SLICES {
            self.pieces = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(length: usize, mark: u8) -> Bytes {
        vec![mark; length].into()
    }

    /// Writes up to `room` octets; returns them and the units that are complete.
    fn write(outbox: &mut Outbox, room: usize) -> (Vec<u8>, Vec<Sent>) {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let filled = outbox.slices(&mut slices);
        let mut out: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
        out.truncate(room);
        let mut sent = Vec::new();
        outbox.advance(out.len(), |unit| sent.push(unit));
        (out, sent)
    }

    #[test]
    fn a_slow_viewer_resumes_at_the_next_keyframe_and_a_begun_unit_is_finished() {
        let mut outbox = Outbox::new(100);
        assert_eq!(outbox.push_unit(unit(60, 1), 0, 6, true).dropped_packets, 0);
        assert_eq!(write(&mut outbox, 10).0, [1; 10]);
        assert_eq!(outbox.push_unit(unit(40, 2), 0, 4, false).dropped_packets, 0);
        assert_eq!(outbox.push_unit(unit(40, 3), 0, 4, false).dropped_packets, 8);
        assert_eq!(outbox.push_unit(unit(1, 4), 0, 1, false).dropped_packets, 1);
        assert!(outbox.push_message(unit(3, 9)));
        assert_eq!(outbox.push_unit(unit(50, 5), 0, 5, true).dropped_packets, 0);
        assert_eq!(outbox.push_unit(unit(5, 6), 0, 1, false).dropped_packets, 6, "over the bound again");
        let (out, sent) = write(&mut outbox, 1000);
        assert_eq!(out, [vec![1; 50], vec![9; 3]].concat());
        assert_eq!(sent, [Sent { track: 0, packets: 6, octets: 60, starts_gop: true }]);
        assert!(outbox.is_empty());
        assert_eq!(outbox.push_unit(unit(5, 7), 0, 1, false).dropped_packets, 1, "still waiting for a keyframe");
        assert_eq!(outbox.push_unit(unit(5, 8), 0, 1, true).dropped_packets, 0);
    }

    #[test]
    fn one_unit_has_room_however_large() {
        let mut outbox = Outbox::new(10);
        assert_eq!(outbox.push_unit(unit(1000, 1), 0, 1, true).dropped_packets, 0);
        assert_eq!(outbox.push_unit(unit(1, 2), 0, 1, false).dropped_packets, 2);
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_burst_does_not_count_but_goes_with_the_rest() {
        let mut outbox = Outbox::new(10);
        outbox.push_burst(unit(1000, 1), 0, 10, true);
        outbox.push_burst(unit(1000, 2), 0, 10, false);
        assert_eq!(outbox.push_unit(unit(10, 3), 0, 1, false).dropped_packets, 0);
        assert_eq!(outbox.push_unit(unit(1, 4), 0, 1, false).dropped_packets, 22);
    }

    #[test]
    fn answers_that_nobody_reads_have_a_bound() {
        let mut outbox = Outbox::new(10);
        assert!(outbox.push_message(unit(MAX_MESSAGE_BYTES, 1)));
        assert!(!outbox.push_message(unit(1, 1)));
        write(&mut outbox, 1);
        assert!(outbox.push_message(unit(1, 1)));
    }

    proptest! {
        /// Whatever is pushed and written in whatever pieces: what arrives is whole units, every decodable run starts at
        /// a keyframe, the bound holds, and packets are either sent or counted as dropped.
        #[test]
        fn units_arrive_whole_and_memory_stays_bounded(
            steps in proptest::collection::vec((1_usize..80, any::<bool>(), 0_usize..120), 1..80)
        ) {
            const LIMIT: usize = 150;
            let mut outbox = Outbox::new(LIMIT);
            let mut received = Vec::new();
            let (mut pushed, mut dropped, mut sent) = (0, 0, 0);
            let mut units = Vec::new();
            for (number, (length, starts_gop, room)) in steps.into_iter().enumerate() {
                let starts_gop = starts_gop || number == 0;
                // Two octets of number and two of length make each unit known again.
                let mut bytes = vec![number as u8, length as u8];
                bytes.resize(2 + length, 0);
                units.push(starts_gop);
                pushed += 1;
                dropped += outbox.push_unit(bytes.into(), 0, 1, starts_gop).dropped_packets;
                prop_assert!(outbox.unit_bytes <= LIMIT);
                let (out, done) = write(&mut outbox, room);
                received.extend(out);
                sent += done.len();
            }
            while !outbox.is_empty() {
                let (out, done) = write(&mut outbox, 33);
                received.extend(out);
                sent += done.len();
            }
            prop_assert_eq!(pushed, dropped + sent);
            let mut rest = &received[..];
            let mut expected = 0;
            while let [number, length, ..] = rest {
                let number = usize::from(*number);
                prop_assert!(number == expected || units[number], "a gap ends at a keyframe");
                expected = number + 1;
                rest = &rest[2 + usize::from(*length)..];
            }
            prop_assert!(rest.is_empty());
        }
    }
}
