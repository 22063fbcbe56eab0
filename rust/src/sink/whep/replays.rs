//! When a viewer that lost its picture gets the GOP cache again.

use std::time::{Duration, Instant};

/// Not more often than this.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Replays {
    last: Option<Instant>,
    is_wanted: bool,
}

impl Replays {
    /// The viewer wants one: whether it gets it now. If not, it is remembered.
    pub fn wanted(&mut self, now: Instant) -> bool {
        self.is_wanted = true;
        self.is_due(now)
    }

    /// Whether one is wanted that had to wait, and need wait no longer.
    pub fn is_due(&self, now: Instant) -> bool {
        self.is_wanted && self.last.is_none_or(|last| now >= last + EVERY)
    }

    /// The cache is handed over.
    pub fn given(&mut self, now: Instant) {
        self.last = Some(now);
        self.is_wanted = false;
    }

    /// A keyframe has come by itself.
    pub fn spared(&mut self) {
        self.is_wanted = false;
    }

    /// When one is due; never in the past while it is not.
    pub fn deadline(&self) -> Option<Instant> {
        self.last.filter(|_| self.is_wanted).map(|last| last + EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_wanted_too_soon_waits_for_its_time_or_a_keyframe() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut replays = Replays::default();
        assert!(!replays.is_due(start) && replays.wanted(start));
        replays.given(start);
        assert_eq!((replays.is_due(at(5000)), replays.deadline()), (false, None));
        assert!(!replays.wanted(at(10)) && !replays.is_due(at(999)));
        assert_eq!(replays.deadline(), Some(at(1000)));
        assert!(replays.is_due(at(1000)));
        replays.spared();
        assert!(!replays.is_due(at(1000)));
    }
}
