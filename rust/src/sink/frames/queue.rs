//! What waits for one reader: bounded, and the newest wins.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use super::{Frame, Wanted};
use crate::bell::Bell;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::{Direction, DropReason, Protocol, Telemetry};

/// Units that may wait, whatever their size.
pub(super) const MAX_UNITS: usize = 4096;
/// What a unit costs beside its octets; the GOP cache counts the same, so that what it holds fits.
const OVERHEAD: usize = 512;

/// Units on their way from a shard to a reader. The shard never waits for the reader: where there is no room the oldest
/// groups of pictures go, whole, so that what is left begins at a keyframe.
pub struct FrameQueue {
    wanted: Wanted,
    max_octets: usize,
    state: Mutex<State>,
    bell: Bell,
    telemetry: Arc<Telemetry>,
}

#[derive(Default)]
struct State {
    units: VecDeque<Frame>,
    octets: usize,
    /// Dropped in front of the first that waits.
    dropped: u64,
    /// The group under way was too large: what comes is dropped up to the next keyframe.
    is_skipping: bool,
    end: Option<(ErrorKind, &'static str, String)>,
}

impl FrameQueue {
    /// max_octets: those of the units that wait, `OVERHEAD` each included; one unit fits whatever its size.
    pub fn new(wanted: Wanted, max_octets: usize, telemetry: Arc<Telemetry>) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { wanted, max_octets, state: Mutex::default(), bell: Bell::new()?, telemetry }))
    }

    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Readable while units wait, and from the end on.
    pub fn fd(&self) -> RawFd {
        self.bell.fd()
    }

    /// Up to `limit` units, oldest first; none when there is nothing yet. When the last has been taken and no more will
    /// come, the reason why.
    pub fn take(&self, limit: usize) -> Result<Vec<Frame>> {
        self.bell.silence();
        let mut state = self.state.lock();
        if state.units.is_empty()
            && let Some((kind, reason, message)) = &state.end
        {
            let error = Error::new(*kind, reason, message.clone());
            self.bell.ring();
            return Err(error);
        }
        let count = state.units.len().min(limit);
        let mut taken: Vec<Frame> = state.units.drain(..count).collect();
        let octets: usize = taken.iter().map(|frame| frame.unit.data.len()).sum();
        state.octets -= octets + OVERHEAD * count;
        if let Some(first) = taken.first_mut() {
            first.dropped_before += std::mem::take(&mut state.dropped);
        }
        if !state.units.is_empty() || state.end.is_some() {
            self.bell.ring();
        }
        drop(state);
        self.telemetry.moved(Direction::Out, Protocol::Frames, count as u64, octets as u64);
        Ok(taken)
    }

    /// No more will come. The first reason stands; what waits can still be taken.
    pub fn end(&self, error: &Error) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some((error.kind(), error.reason(), error.message().to_owned()));
            drop(state);
            self.bell.ring();
        }
    }

    /// Takes a unit in; false when it was dropped.
    pub(super) fn push(&self, frame: Frame) -> bool {
        let mut stale = Vec::new();
        let mut state = self.state.lock();
        let (is_kept, was_empty) = match self.wanted {
            Wanted::Everything => state.add(frame, self.max_octets, &mut stale),
            Wanted::Keyframes | Wanted::OneKeyframe => state.replace(frame, &mut stale),
        };
        let dropped = stale.len() + usize::from(!is_kept);
        drop(state);
        // Only the first has to wake the reader, who looks for more before sleeping.
        if is_kept && was_empty {
            self.bell.ring();
        }
        if dropped > 0 {
            self.telemetry.dropped(DropReason::SlowViewer).fetch_add(dropped as u64, Relaxed);
        }
        is_kept
    }
}

impl State {
    /// Whether the unit was kept, and whether it is alone. What it drives out goes to `stale`, to be freed outside the lock.
    fn add(&mut self, frame: Frame, max_octets: usize, stale: &mut Vec<Frame>) -> (bool, bool) {
        if self.end.is_some() || (self.is_skipping && !frame.starts_gop) {
            return (false, false);
        }
        let was_empty = self.units.is_empty();
        let size = frame.unit.data.len() + OVERHEAD;
        while !self.units.is_empty() && (self.units.len() >= MAX_UNITS || self.octets + size > max_octets) {
            self.drop_oldest_group(stale);
        }
        // Its own keyframe had to go, so it can't be decoded.
        self.is_skipping = self.units.is_empty() && !was_empty && !frame.starts_gop;
        if self.is_skipping {
            return (false, false);
        }
        self.octets += size;
        self.units.push_back(frame);
        (true, was_empty)
    }

    fn replace(&mut self, frame: Frame, stale: &mut Vec<Frame>) -> (bool, bool) {
        if self.end.is_some() {
            return (false, false);
        }
        let was_empty = self.units.is_empty();
        self.drop_oldest_group(stale);
        self.octets = frame.unit.data.len() + OVERHEAD;
        self.units.push_back(frame);
        (true, was_empty)
    }

    /// The first unit with all that need it. Its keyframe may have been taken already: the rest goes all the same.
    fn drop_oldest_group(&mut self, stale: &mut Vec<Frame>) {
        while let Some(frame) = self.units.pop_front() {
            self.octets -= frame.unit.data.len() + OVERHEAD;
            self.dropped += frame.dropped_before + 1;
            stale.push(frame);
            if self.units.front().is_some_and(|next| next.starts_gop) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::AccessUnit;
    use crate::stream::Description;

    fn frame(number: i64, starts_gop: bool, size: usize) -> Frame {
        let data = Bytes::from(vec![0; size]);
        let unit =
            AccessUnit { track: 0, pts: number, dts: number, keyframe: starts_gop, data, nals: Default::default() };
        let description = Arc::new(Description {
            generation: 0,
            tracks: Vec::new(),
            ssrcs: Vec::new(),
            leaves_sound: false,
            keyframe_packets: Default::default(),
        });
        Frame { unit, description, starts_gop, dropped_before: 0 }
    }

    fn queue(wanted: Wanted, max_octets: usize) -> (Arc<FrameQueue>, Arc<Telemetry>) {
        let telemetry = Arc::new(Telemetry::default());
        (FrameQueue::new(wanted, max_octets, telemetry.clone()).unwrap(), telemetry)
    }

    /// Pictures from `first`, a keyframe every `gop`.
    fn fill(queue: &FrameQueue, first: i64, count: i64, gop: i64, size: usize) {
        (first..first + count).for_each(|number| {
            queue.push(frame(number, number % gop == 0, size));
        });
    }

    fn taken(queue: &FrameQueue, limit: usize) -> Vec<(i64, u64)> {
        queue.take(limit).unwrap().iter().map(|frame| (frame.unit.pts, frame.dropped_before)).collect()
    }

    fn is_readable(queue: &FrameQueue) -> bool {
        let mut poll = libc::pollfd { fd: queue.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    #[test]
    fn the_oldest_groups_go_whole_and_what_is_left_begins_at_a_keyframe() {
        let (queue, telemetry) = queue(Wanted::Everything, 10 * (1000 + OVERHEAD));
        fill(&queue, 0, 27, 4, 1000);
        let got = taken(&queue, 100);
        assert_eq!(got.first(), Some(&(20, 20)), "the newest two groups fit, and how many went is said");
        assert_eq!(got.last(), Some(&(26, 0)));
        assert_eq!(telemetry.dropped(DropReason::SlowViewer).load(Relaxed), 20);
        assert_eq!(telemetry.flow(Direction::Out, Protocol::Frames).bytes.load(Relaxed), 7_000);
        assert_eq!(queue.state.lock().octets, 0);
    }

    #[test]
    fn a_group_that_does_not_fit_is_dropped_up_to_the_next_keyframe() {
        let (queue, telemetry) = queue(Wanted::Everything, 5 * (1000 + OVERHEAD));
        fill(&queue, 0, 9, 12, 1000);
        assert!(taken(&queue, 100).is_empty());
        fill(&queue, 9, 3, 12, 1000);
        assert!(taken(&queue, 100).is_empty(), "nothing that can't be decoded");
        fill(&queue, 12, 2, 12, 1000);
        assert_eq!(taken(&queue, 100), [(12, 5), (13, 0)], "the sink adds what it sees missing by the index");
        assert_eq!(telemetry.dropped(DropReason::SlowViewer).load(Relaxed), 12);
    }

    #[test]
    fn the_rest_of_a_group_that_was_taken_in_part_goes_too() {
        let (queue, _) = queue(Wanted::Everything, 6 * (1000 + OVERHEAD));
        fill(&queue, 0, 4, 5, 1000);
        assert_eq!(taken(&queue, 2), [(0, 0), (1, 0)]);
        fill(&queue, 4, 7, 5, 1000);
        let got = taken(&queue, 100);
        assert_eq!(got.first(), Some(&(5, 3)));
        assert_eq!(got.len(), 6);
    }

    #[test]
    fn units_are_bounded_in_number_and_one_fits_whatever_its_size() {
        let (queue, _) = queue(Wanted::Everything, 64 << 20);
        fill(&queue, 0, 3 * MAX_UNITS as i64, 100, 1);
        let waiting = queue.state.lock().units.len();
        assert!(waiting <= MAX_UNITS && waiting > MAX_UNITS - 200, "{waiting}");
        let (queue, _) = self::queue(Wanted::Everything, 10);
        fill(&queue, 0, 1, 1, 100_000);
        assert_eq!(taken(&queue, 1), [(0, 0)]);
    }

    #[test]
    fn of_keyframes_the_newest_alone_waits() {
        let (queue, telemetry) = queue(Wanted::Keyframes, 1 << 20);
        (0..5).for_each(|number| assert!(queue.push(frame(number, true, 1000))));
        assert_eq!(taken(&queue, 10), [(4, 4)]);
        assert!(taken(&queue, 10).is_empty());
        assert_eq!(telemetry.dropped(DropReason::SlowViewer).load(Relaxed), 4);
    }

    #[test]
    fn the_descriptor_says_what_waits_and_the_end_comes_last() {
        let (queue, _) = queue(Wanted::Everything, 1 << 20);
        assert!(!is_readable(&queue));
        fill(&queue, 0, 3, 3, 10);
        assert!(is_readable(&queue));
        assert_eq!(taken(&queue, 2).len(), 2);
        assert!(is_readable(&queue), "one is left");
        queue.end(&Error::new(ErrorKind::FailedPrecondition, "GRANT_REVOKED", "over"));
        queue.end(&Error::new(ErrorKind::Unavailable, "HUB_DRAINING", "later"));
        fill(&queue, 3, 3, 3, 10);
        assert_eq!(taken(&queue, 10).len(), 1, "what waited can be taken, nothing comes after the end");
        for _ in 0..2 {
            assert!(is_readable(&queue));
            assert_eq!(queue.take(10).unwrap_err().reason(), "GRANT_REVOKED");
        }
    }
}
