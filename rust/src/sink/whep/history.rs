//! What was sent a moment ago, to be sent again when the viewer misses it: by reference to the stream's units.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outgoing::Stamp;
use crate::stream::{RtpPacket, WireUnit};

/// How long packets are kept. A picture that comes later than that is of no use to somebody who watches live.
const MAX_AGE: Duration = Duration::from_secs(3);
/// Most packets and units kept: 3 s of 16 Mbit/s. The units are shared with the stream and its other viewers.
const MAX_PACKETS: usize = 6144;
const MAX_UNITS: usize = 1024;
/// A packet is sent again so often at most.
const MAX_REPEATS: u8 = 10;
/// A viewer that asks sooner than this after the last time has not waited for the answer.
const MIN_WAIT: Duration = Duration::from_millis(5);
/// Resends may be half of what is sent, and this many beside: a viewer whose link was gone misses a second or two at once.
const SHARE: f32 = 0.5;
const RESERVE: f32 = 2048.0;

/// Packets of one unit that went out one after the other.
struct Sent {
    unit: Arc<WireUnit>,
    /// Place of the first of them in the unit.
    skip: usize,
    count: usize,
    first: Stamp,
    at: Instant,
    /// Made when the first of them is asked for.
    repeats: Option<Box<[Repeat]>>,
}

impl Sent {
    fn again(&self, place: usize) -> Option<Again<'_>> {
        let packet = self.unit.packets().get(self.skip + place)?;
        let transport_sequence = self.first.transport_sequence.map(|first| first.wrapping_add(place as u16));
        let sequence = self.first.sequence + place as u64;
        Some(Again { packet, own: self.unit.timestamp(), stamp: Stamp { sequence, transport_sequence, ..self.first } })
    }
}

#[derive(Clone, Copy, Default)]
struct Repeat {
    last: Option<Instant>,
    times: u8,
    is_waiting: bool,
}

/// What becomes of a packet that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It will be sent. `sent`: when it was sent at first; `is_new`: nobody has asked for it before.
    Queued { sent: Instant, is_new: bool },
    /// It is on its way already, or has been sent often enough.
    Ignored,
    /// It is not kept any more.
    Gone,
}

pub(super) struct History {
    sent: VecDeque<Sent>,
    packets: usize,
    /// Sequence numbers to be sent again, in the order they were asked for. Each at most once, so no more than are kept.
    waiting: VecDeque<u64>,
    /// Packets that may be sent again by now.
    allowance: f32,
}

impl History {
    pub fn new() -> Self {
        Self { sent: VecDeque::new(), packets: 0, waiting: VecDeque::new(), allowance: RESERVE }
    }

    /// Keeps packets `skip..skip + count` of a unit, of which the first had this stamp.
    pub fn push(&mut self, unit: &Arc<WireUnit>, skip: usize, count: usize, first: Stamp, now: Instant) {
        self.allowance = (self.allowance + count as f32 * SHARE).min(RESERVE);
        self.packets += count;
        self.sent.push_back(Sent { unit: unit.clone(), skip, count, first, at: now, repeats: None });
        while let Some(oldest) = self.sent.front() {
            let is_old = now.saturating_duration_since(oldest.at) > MAX_AGE;
            if !is_old && self.packets <= MAX_PACKETS && self.sent.len() <= MAX_UNITS {
                break;
            }
            self.packets -= oldest.count;
            self.sent.pop_front();
        }
    }

    /// Forgets all: what comes next needs nothing of what was before.
    pub fn clear(&mut self) {
        self.sent.clear();
        self.waiting.clear();
        self.packets = 0;
    }

    /// Forgets all but keyframes: what comes next is keyframes alone, and one that is on its way is still wanted.
    pub fn keep_keyframes(&mut self) {
        self.sent.retain(|sent| sent.unit.unit.keyframe);
        self.packets = self.sent.iter().map(|sent| sent.count).sum();
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = waiting.into_iter().filter(|sequence| self.index(*sequence).is_some()).collect();
    }

    /// Packets of the newest keyframe, one after the other and round again: what the viewer has already.
    pub fn filler(&self, place: usize) -> Option<Again<'_>> {
        let newest = self.sent.iter().rev().find(|sent| sent.unit.unit.keyframe)?;
        let of_it = || self.sent.iter().filter(|sent| Arc::ptr_eq(&sent.unit, &newest.unit));
        let mut place = place % of_it().map(|sent| sent.count).sum::<usize>().max(1);
        let sent = of_it().find(|sent| {
            let is_here = place < sent.count;
            if !is_here {
                place -= sent.count;
            }
            is_here
        })?;
        sent.again(place)
    }

    /// The viewer misses a packet. `round_trip`: it is not asked for again sooner than an answer takes.
    pub fn ask(&mut self, sequence: u64, round_trip: Duration, now: Instant) -> Asked {
        let allowance = self.allowance - self.waiting.len() as f32;
        let Some((sent, place)) = self.find(sequence) else { return Asked::Gone };
        let (at, count) = (sent.at, sent.count);
        let repeats = sent.repeats.get_or_insert_with(|| vec![Repeat::default(); count].into());
        let Some(repeat) = repeats.get_mut(place) else { return Asked::Gone };
        // Nine tenths: the estimate is no better than that.
        let wait = (round_trip * 9 / 10).max(MIN_WAIT);
        let is_soon = repeat.last.is_some_and(|last| now < last + wait);
        if repeat.is_waiting || is_soon || repeat.times == MAX_REPEATS || allowance < 1.0 {
            return Asked::Ignored;
        }
        let is_new = repeat.times == 0;
        repeat.is_waiting = true;
        self.waiting.push_back(sequence);
        Asked::Queued { sent: at, is_new }
    }

    /// Packets that wait to be sent again.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next packet to be sent again.
    pub fn next(&mut self, now: Instant) -> Option<Again<'_>> {
        let (sequence, index) = loop {
            let sequence = self.waiting.pop_front()?;
            // It may have grown too old meanwhile.
            if let Some(index) = self.index(sequence) {
                break (sequence, index);
            }
        };
        self.allowance -= 1.0;
        let sent = self.sent.get_mut(index)?;
        let place = usize::try_from(sequence - sent.first.sequence).ok()?;
        if let Some(repeat) = sent.repeats.as_mut().and_then(|repeats| repeats.get_mut(place)) {
            *repeat = Repeat { last: Some(now), times: repeat.times + 1, is_waiting: false };
        }
        sent.again(place)
    }

    fn find(&mut self, sequence: u64) -> Option<(&mut Sent, usize)> {
        let index = self.index(sequence)?;
        let sent = self.sent.get_mut(index)?;
        let place = usize::try_from(sequence - sent.first.sequence).ok()?;
        Some((sent, place))
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        let index = self.sent.partition_point(|sent| sent.first.sequence <= sequence).checked_sub(1)?;
        let sent = self.sent.get(index)?;
        (sequence - sent.first.sequence < sent.count as u64).then_some(index)
    }
}

/// A packet to be sent again.
pub(super) struct Again<'a> {
    pub packet: &'a RtpPacket,
    /// Its unit's time on the stream's clock.
    pub own: u32,
    pub stamp: Stamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::samples::unit;

    const ROUND_TRIP: Duration = Duration::from_millis(40);

    fn stamp(sequence: u64) -> Stamp {
        Stamp { sequence, timestamp: 7, transport_sequence: Some(sequence as u16), with_mid: false }
    }

    /// 10 units of 10 packets from sequence number 100, 40 ms apart.
    fn history(start: Instant) -> History {
        let mut history = History::new();
        for number in 0..10u64 {
            let at = start + Duration::from_millis(40) * number as u32;
            history.push(&unit(number, 10), 0, 10, stamp(100 + number * 10), at);
        }
        history
    }

    #[test]
    fn what_is_asked_for_is_found_with_its_stamp() {
        let start = Instant::now();
        let mut history = history(start);
        assert_eq!(history.ask(137, ROUND_TRIP, start), Asked::Queued { sent: start + 3 * ROUND_TRIP, is_new: true });
        let again = history.next(start).unwrap();
        assert_eq!((again.stamp.sequence, again.stamp.transport_sequence), (137, Some(137)));
        assert_eq!(again.packet.sequence % 10, 7);
        assert_eq!(
            (history.ask(99, ROUND_TRIP, start), history.ask(200, ROUND_TRIP, start)),
            (Asked::Gone, Asked::Gone)
        );
        assert!(history.next(start).is_none());
    }

    #[test]
    fn a_packet_is_not_sent_again_while_the_last_answer_is_on_its_way_and_not_for_ever() {
        let start = Instant::now();
        let mut history = history(start);
        assert!(matches!(history.ask(100, ROUND_TRIP, start), Asked::Queued { is_new: true, .. }));
        assert_eq!(history.ask(100, ROUND_TRIP, start), Asked::Ignored, "it waits already");
        history.next(start).unwrap();
        assert_eq!(history.ask(100, ROUND_TRIP, start + Duration::from_millis(20)), Asked::Ignored);
        let mut times = 1;
        for number in 1..100 {
            let now = start + Duration::from_millis(50) * number;
            times += usize::from(matches!(history.ask(100, ROUND_TRIP, now), Asked::Queued { is_new: false, .. }));
            history.next(now);
        }
        assert_eq!(times, usize::from(MAX_REPEATS));
    }

    #[test]
    fn a_flood_of_requests_gets_half_of_what_is_sent_and_the_reserve() {
        let start = Instant::now();
        let mut history = History::new();
        let (mut sent, mut again) = (0, 0);
        for number in 0..250u64 {
            let now = start + Duration::from_millis(40) * number as u32;
            history.push(&unit(number, 20), 0, 20, stamp(number * 20), now);
            sent += 20;
            for sequence in 0..sent {
                history.ask(sequence, Duration::ZERO, now);
            }
            assert!(history.waiting() <= MAX_PACKETS);
            while history.next(now).is_some() {
                again += 1;
            }
        }
        assert!(again as f32 <= sent as f32 * SHARE + RESERVE, "{again} of {sent}");
        assert!(again as f32 > sent as f32 * SHARE);
    }

    #[test]
    fn keyframes_alone_are_kept_and_fill_a_link_packet_by_packet() {
        let start = Instant::now();
        let mut history = History::new();
        assert!(history.filler(0).is_none());
        // The keyframe left in two goes.
        let keyframe = unit(50, 10);
        history.push(&unit(49, 10), 0, 10, stamp(90), start);
        history.push(&keyframe, 0, 4, stamp(100), start);
        history.push(&keyframe, 4, 6, stamp(104), start);
        history.push(&unit(51, 10), 0, 10, stamp(110), start);
        for sequence in [95, 103, 107, 112] {
            assert!(matches!(history.ask(sequence, ROUND_TRIP, start), Asked::Queued { .. }));
        }
        history.keep_keyframes();
        assert_eq!((history.packets, history.waiting()), (10, 2));
        let again: Vec<u64> = std::iter::from_fn(|| history.next(start).map(|again| again.stamp.sequence)).collect();
        assert_eq!(again, [103, 107]);
        let filled: Vec<u64> = (0..12).map(|place| history.filler(place).unwrap().stamp.sequence).collect();
        assert_eq!(filled, [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 100, 101]);
        assert_eq!(history.filler(5).unwrap().packet.sequence % 10, 5);
    }

    #[test]
    fn only_so_much_is_kept() {
        let start = Instant::now();
        let mut history = History::new();
        for number in 0..2000u64 {
            history.push(&unit(number, 10), 0, 10, stamp(number * 10), start);
        }
        assert!(history.packets <= MAX_PACKETS && history.sent.len() <= MAX_UNITS);
        let later = start + MAX_AGE + Duration::from_millis(1);
        history.push(&unit(2000, 10), 0, 10, stamp(20_000), later);
        assert_eq!((history.sent.len(), history.packets), (1, 10));
        assert_eq!(history.ask(19_999, ROUND_TRIP, later), Asked::Gone);
    }
}
