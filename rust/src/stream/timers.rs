//! When which sink wants to be called next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// A heap of deadlines. A sink whose deadline moves leaves its old entry behind, which is void when it comes up; the
/// owner keeps the valid one and rebuilds the heap when void entries outnumber the valid ones.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Timers {
    pub(super) fn arm(&mut self, deadline: Instant, sink: u64) {
        self.heap.push(Reverse((deadline, sink)));
    }

    /// The next deadline, void or not.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes the next entry that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Instant, u64)> {
        self.next().filter(|deadline| *deadline <= now)?;
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// True when the heap holds far more than `sinks` entries.
    pub(super) fn is_crowded(&self, sinks: usize) -> bool {
        self.heap.len() > 2 * sinks + 64
    }

    pub(super) fn rebuild(&mut self, valid: impl Iterator<Item = (Instant, u64)>) {
        self.heap = valid.map(Reverse).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_come_up_in_order_and_not_before_their_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.arm(at(20), 1);
        timers.arm(at(10), 2);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.due(at(9)), None);
        assert_eq!(timers.due(at(15)), Some((at(10), 2)));
        assert_eq!(timers.due(at(15)), None);
    }

    #[test]
    fn void_entries_do_not_pile_up() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for ms in 0..67 {
            timers.arm(start + Duration::from_millis(ms), 1);
        }
        assert!(timers.is_crowded(1));
        timers.rebuild(std::iter::once((start, 1)));
        assert_eq!((timers.due(start), timers.next()), (Some((start, 1)), None));
    }
}
