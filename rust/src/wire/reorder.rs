//! Puts packets that come by datagram back into order (RFC 3550 §A.1), without sockets and without a clock.
//!
//! What is in order passes at once. Behind a missing packet others wait for it, never longer or more than the bounds
//! below; then it counts as lost, and the hole in the sequence numbers tells the depacketiser so.

use std::collections::VecDeque;
use std::time::Duration;

use super::rtp::distance;

/// Packets that wait behind a missing one; at 4 Mbit/s about a second of them.
pub const MAX_PACKETS: usize = 512;
/// Their octets.
pub const MAX_OCTETS: usize = 1 << 20;
/// How long a missing packet is waited for that nobody asks for again.
pub const MAX_WAIT: Duration = Duration::from_millis(100);

/// A jump ahead of at least this is no loss but a new count (RFC 3550 §A.1).
const MAX_DROPOUT: i16 = 3000;
/// Numbers that lie back by more than this are no latecomers but a new count (RFC 3550 §A.1).
const MAX_MISORDER: i16 = 100;

/// A packet in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered<T> {
    /// Always ahead of the packet before it, by more than one where packets are lost. It is the sender's own number
    /// until the sender begins a new count; from there on it goes on from the old count, with a hole of one.
    pub sequence: u16,
    pub packet: T,
    /// When it came.
    pub at: Duration,
}

/// The reorder buffer of one RTP sender (one SSRC).
///
/// Times count from any fixed moment and do not run backwards. `release` is called for each packet in its turn.
#[derive(Debug)]
pub struct Reorder<T> {
    /// Number of the first slot, as the sender counts; none before the first packet.
    next: Option<u16>,
    /// From `next` on. Empty, or the first is missing and the last is there.
    slots: VecDeque<Option<Held<T>>>,
    octets: usize,
    /// When the first of those came that wait.
    waiting_since: Option<Duration>,
    /// Added to the sender's numbers since it began a new count.
    shift: u16,
    /// Where the numbers of an old count end, until a new one begins.
    ended: Option<u16>,
    /// A packet from far off: the next one behind it proves a new count.
    suspect: Option<(u16, Held<T>)>,
    lost: u64,
    refused: u64,
    /// How long a missing packet is waited for.
    wait: Duration,
}

#[derive(Debug)]
struct Held<T> {
    packet: T,
    octets: usize,
    at: Duration,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self::new(MAX_WAIT)
    }
}

impl<T> Reorder<T> {
    /// `wait`: how long a missing packet is waited for.
    pub fn new(wait: Duration) -> Self {
        Self {
            next: None,
            slots: VecDeque::new(),
            octets: 0,
            waiting_since: None,
            shift: 0,
            ended: None,
            suspect: None,
            lost: 0,
            refused: 0,
            wait,
        }
    }

    /// Packets that did not come in time.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Packets that were dropped: duplicates, latecomers, strays.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// When `expire` is to be called, unless a packet comes before.
    pub fn deadline(&self) -> Option<Duration> {
        self.waiting_since.map(|since| since + self.wait)
    }

    /// Takes a packet of `octets` that came `at`.
    pub fn push(&mut self, sequence: u16, packet: T, octets: usize, at: Duration, mut release: impl FnMut(Ordered<T>)) {
        let held = Held { packet, octets, at };
        let ahead = distance(self.next.unwrap_or_else(|| self.begin(sequence)), sequence);
        match ahead {
            0..MAX_DROPOUT => {
                self.refused += u64::from(self.suspect.take().is_some());
                self.place(ahead as usize, held, &mut release);
            }
            ..0 if ahead >= -MAX_MISORDER => self.refused += 1,
            _ => match self.suspect.take() {
                Some((first, suspect)) if first.wrapping_add(1) == sequence => {
                    self.flush(&mut release);
                    self.ended = self.next.map(|next| next.wrapping_add(self.shift));
                    self.begin(first);
                    self.place(0, suspect, &mut release);
                    self.place(0, held, &mut release);
                }
                other => {
                    self.refused += u64::from(other.is_some());
                    self.suspect = Some((sequence, held));
                }
            },
        }
        if let Some(deadline) = self.deadline()
            && deadline <= at
        {
            self.expire(at, release);
        }
    }

    /// Whether the packet is in its turn and none waits: its number in the order then, and it counts as let go. So a
    /// caller need not own what it can hand on at once; any other packet is to be pushed.
    pub fn passes(&mut self, sequence: u16) -> Option<u16> {
        if self.next != Some(sequence) || !self.slots.is_empty() {
            return None;
        }
        self.refused += u64::from(self.suspect.take().is_some());
        self.next = Some(sequence.wrapping_add(1));
        Some(sequence.wrapping_add(self.shift))
    }

    /// Lets go all that waits; the next packet begins a new count, behind a hole of one. For a sender that has changed.
    pub fn restart(&mut self, release: impl FnMut(Ordered<T>)) {
        self.flush(release);
        self.suspect = None;
        if let Some(next) = self.next.take() {
            self.ended = Some(next.wrapping_add(self.shift));
        }
    }

    /// Lets go what has waited long enough.
    pub fn expire(&mut self, now: Duration, mut release: impl FnMut(Ordered<T>)) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.give_up_first_hole(&mut release);
            self.settle(&mut release);
        }
    }

    /// Lets go all that waits: the sender has ended, or another takes its place.
    pub fn flush(&mut self, mut release: impl FnMut(Ordered<T>)) {
        while !self.slots.is_empty() {
            self.advance(&mut release);
        }
        self.waiting_since = None;
    }

    /// Begins a count, behind the one that has ended.
    fn begin(&mut self, first: u16) -> u16 {
        self.shift = self.ended.take().map_or(0, |ended| ended.wrapping_add(1).wrapping_sub(first));
        self.next = Some(first);
        first
    }

    /// Puts a packet at its place behind `next`, and lets go what has come into turn.
    fn place(&mut self, mut offset: usize, held: Held<T>, release: &mut impl FnMut(Ordered<T>)) {
        while offset >= MAX_PACKETS {
            self.advance(release);
            offset -= 1;
        }
        if self.slots.len() <= offset {
            self.slots.resize_with(offset + 1, || None);
        }
        match self.slots.get_mut(offset) {
            Some(slot @ None) => {
                self.octets += held.octets;
                *slot = Some(held);
            }
            // A duplicate of one that waits.
            _ => self.refused += 1,
        }
        while self.octets > MAX_OCTETS {
            self.give_up_first_hole(release);
        }
        self.settle(release);
    }

    fn give_up_first_hole(&mut self, release: &mut impl FnMut(Ordered<T>)) {
        while matches!(self.slots.front(), Some(None)) {
            self.advance(release);
        }
        while matches!(self.slots.front(), Some(Some(_))) {
            self.advance(release);
        }
    }

    /// Lets go up to the first hole and notes since when others wait behind it.
    fn settle(&mut self, release: &mut impl FnMut(Ordered<T>)) {
        while matches!(self.slots.front(), Some(Some(_))) {
            self.advance(release);
        }
        self.waiting_since = self.slots.iter().flatten().map(|held| held.at).min();
    }

    /// Goes on by one number.
    fn advance(&mut self, release: &mut impl FnMut(Ordered<T>)) {
        let Some(next) = &mut self.next else { return };
        let sequence = next.wrapping_add(self.shift);
        *next = next.wrapping_add(1);
        match self.slots.pop_front().flatten() {
            Some(Held { packet, octets, at }) => {
                self.octets -= octets;
                release(Ordered { sequence, packet, at });
            }
            None => self.lost += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A buffer whose packets are their own numbers, and what it let go.
    #[derive(Default)]
    struct Bench {
        reorder: Reorder<u16>,
        out: Vec<(u16, u16)>,
    }

    impl Bench {
        fn push(&mut self, sequence: u16, at: Duration) {
            self.push_sized(sequence, 1200, at);
        }

        fn push_sized(&mut self, sequence: u16, octets: usize, at: Duration) {
            self.reorder.push(sequence, sequence, octets, at, |one| self.out.push((one.sequence, one.packet)));
        }

        fn numbers(&mut self) -> Vec<u16> {
            std::mem::take(&mut self.out).into_iter().map(|(sequence, _)| sequence).collect()
        }
    }

    #[test]
    fn what_is_in_order_passes_at_once_over_the_wrap() {
        let mut bench = Bench::default();
        for number in 0..10u16 {
            bench.push(0xfffb_u16.wrapping_add(number), MS);
            assert_eq!(bench.numbers(), [0xfffb_u16.wrapping_add(number)]);
            assert_eq!(bench.reorder.deadline(), None);
        }
    }

    #[test]
    fn swapped_packets_change_places_and_duplicates_are_dropped() {
        let mut bench = Bench::default();
        for sequence in [5, 7, 7, 6, 6, 9, 8, 5] {
            bench.push(sequence, MS);
        }
        assert_eq!(bench.numbers(), [5, 6, 7, 8, 9]);
        assert_eq!((bench.reorder.lost(), bench.reorder.refused()), (0, 3));
    }

    #[test]
    fn a_missing_packet_is_waited_for_as_long_as_said_and_comes_too_late_after() {
        let mut bench = Bench::default();
        bench.push(1, Duration::ZERO);
        bench.push(3, 10 * MS);
        bench.push(4, 20 * MS);
        bench.push(6, 30 * MS);
        assert_eq!(bench.numbers(), [1]);
        assert_eq!(bench.reorder.deadline(), Some(10 * MS + MAX_WAIT));
        bench.reorder.expire(9 * MS + MAX_WAIT, |_| panic!("too early"));
        bench.reorder.expire(10 * MS + MAX_WAIT, |one| bench.out.push((one.sequence, one.packet)));
        assert_eq!(bench.numbers(), [3, 4], "6 has waited less");
        assert_eq!(bench.reorder.deadline(), Some(30 * MS + MAX_WAIT));
        bench.push(2, 11 * MS + MAX_WAIT);
        assert_eq!(bench.numbers(), [0; 0]);
        bench.push(5, 12 * MS + MAX_WAIT);
        assert_eq!(bench.numbers(), [5, 6]);
        assert_eq!((bench.reorder.lost(), bench.reorder.refused()), (1, 1));
    }

    #[test]
    fn a_packet_that_comes_after_the_wait_needs_no_timer_to_end_it() {
        let mut bench = Bench::default();
        bench.push(1, Duration::ZERO);
        bench.push(3, Duration::ZERO);
        bench.push(5, MAX_WAIT);
        assert_eq!(bench.numbers(), [1, 3]);
    }

    #[test]
    fn neither_packets_nor_octets_that_wait_grow_beyond_their_bounds() {
        let mut bench = Bench::default();
        bench.push(0, MS);
        for sequence in 2..=MAX_PACKETS as u16 {
            bench.push(sequence, MS);
        }
        assert_eq!(bench.numbers(), [0], "one place is left for number 1");
        bench.push(MAX_PACKETS as u16 + 1, MS);
        assert_eq!(bench.numbers().len(), MAX_PACKETS);
        assert_eq!((bench.reorder.lost(), bench.reorder.octets), (1, 0));

        let mut large = Bench::default();
        large.push(0, MS);
        for sequence in 2..40 {
            large.push_sized(sequence, 60_000, MS);
            assert!(large.reorder.octets <= MAX_OCTETS);
        }
        assert_eq!(large.numbers(), [&[0][..], &(2..40).collect::<Vec<_>>()].concat());
    }

    #[test]
    fn a_long_outage_is_one_gap() {
        let mut bench = Bench::default();
        bench.push(10, MS);
        bench.push(2000, MS);
        bench.push(2001, MS);
        assert_eq!(bench.numbers(), [10]);
        bench.reorder.flush(|one| bench.out.push((one.sequence, one.packet)));
        assert_eq!(bench.numbers(), [2000, 2001]);
        assert_eq!(bench.reorder.lost(), 1989);
    }

    #[test]
    fn a_new_count_is_believed_after_two_packets_and_goes_on_from_the_old_one() {
        let mut bench = Bench::default();
        bench.push(40_000, MS);
        bench.push(40_002, MS);
        // A stray is dropped, and does not disturb.
        bench.push(9, MS);
        bench.push(20_000, MS);
        bench.push(20_001, MS);
        bench.push(20_002, MS);
        let expected = [(40_000, 40_000), (40_002, 40_002), (40_004, 20_000), (40_005, 20_001), (40_006, 20_002)];
        assert_eq!(bench.out, expected, "the hole is seen by whoever follows the numbers");
        assert_eq!(bench.reorder.refused(), 1);
        bench.out.clear();
        bench.push(65_000, MS);
        bench.push(65_001, MS);
        assert_eq!(bench.out, [(40_008, 65_000), (40_009, 65_001)]);
    }

    #[test]
    fn another_sender_goes_on_behind_a_hole() {
        let mut bench = Bench::default();
        bench.push(40_000, MS);
        bench.push(40_002, MS);
        bench.reorder.restart(|one| bench.out.push((one.sequence, one.packet)));
        assert_eq!(bench.reorder.passes(7), None, "the first is to be pushed");
        bench.push(7, MS);
        assert_eq!(bench.reorder.passes(8), Some(40_005));
        assert_eq!(bench.reorder.passes(8), None);
        bench.push(10, MS);
        assert_eq!(bench.reorder.passes(9), None, "another waits for it");
        assert_eq!(bench.out, [(40_000, 40_000), (40_002, 40_002), (40_004, 7)]);
    }

    proptest! {
        #[test]
        fn numbers_rise_and_nothing_stays_longer_than_its_time(
            steps in prop::collection::vec((prop_oneof![5 => -20i32..40, 1 => any::<i32>()], 0u64..40), 1..400),
        ) {
            let mut bench = Bench::default();
            let (mut sequence, mut now) = (0u16, Duration::ZERO);
            let mut last: Option<u16> = None;
            let mut came = Vec::new();
            for (step, pause_ms) in steps {
                sequence = sequence.wrapping_add(step as u16);
                now += MS * pause_ms as u32;
                bench.push(sequence, now);
                came.push(sequence);
                for (number, packet) in bench.out.drain(..) {
                    prop_assert!(last.is_none_or(|last| distance(last, number) > 0));
                    prop_assert!(came.contains(&packet));
                    last = Some(number);
                }
                prop_assert!(bench.reorder.deadline().is_none_or(|deadline| deadline > now));
                prop_assert!(bench.reorder.slots.len() <= MAX_PACKETS);
            }
        }

        #[test]
        fn any_order_within_the_wait_comes_out_whole(seed in any::<u64>(), first in any::<u16>()) {
            // Blocks of eight are shuffled, as by a path with two lengths.
            let mut numbers: Vec<u16> = (1..=64).collect();
            let mut state = seed;
            for block in numbers.chunks_mut(8) {
                for at in (1..block.len()).rev() {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    block.swap(at, (state >> 33) as usize % (at + 1));
                }
            }
            let mut bench = Bench::default();
            bench.push(first, MS);
            numbers.iter().for_each(|number| bench.push(first.wrapping_add(*number), MS));
            let expected: Vec<u16> = (0..=64).map(|number| first.wrapping_add(number)).collect();
            prop_assert_eq!(bench.numbers(), expected);
            prop_assert_eq!(bench.reorder.lost() + bench.reorder.refused(), 0);
        }
    }
}
