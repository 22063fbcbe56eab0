//! Whether a link that was too narrow takes more by now: asked with packets that the viewer has already, right behind a
//! keyframe and well before the next one, so that a link that still does not costs the viewer no picture.

use std::time::{Duration, Instant};

use super::pace::Budget;

/// What is sent beyond the link's rate stands in front of it afterwards: as much time as this is left for it to go.
const LONGEST: Duration = Duration::from_millis(500);
/// What is shorter shows no queue.
const SHORTEST: Duration = Duration::from_millis(150);
/// By then the viewer has told of its end, if only in a report; what has been told by then is all.
const TOLD_WITHIN: Duration = Duration::from_millis(2500);
/// One that reports as seldom as RTCP allows (RFC 3550 §6.2: 5 s, half as long again by chance) has told by then, or is not there.
const TOLD_AT_LAST: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For a keyframe to begin behind.
    Waits,
    Sends {
        until: Instant,
    },
    /// For the viewer to tell, no longer than `until`.
    Asks {
        ended: Instant,
        until: Instant,
    },
}

pub(super) struct Probe {
    stage: Stage,
    since: Instant,
    bps: f64,
    /// What the stream had when it began.
    stream_bps: f64,
    budget: Budget,
    sent: usize,
}

impl Probe {
    pub fn new(now: Instant) -> Self {
        Self { stage: Stage::Waits, since: now, bps: 0.0, stream_bps: 0.0, budget: Budget::new(now, 0.0), sent: 0 }
    }

    /// Whether it waits for a keyframe, and one taken then is it.
    pub fn waits_for(&self, taken: Instant) -> bool {
        self.stage == Stage::Waits && taken >= self.since
    }

    /// The keyframe has left. `left`: until the next. False when that is too short.
    pub fn begin(&mut self, left: Duration, bps: f64, stream_bps: f64, now: Instant) -> bool {
        let lasts = (left / 2).min(LONGEST);
        if lasts < SHORTEST {
            return false;
        }
        self.stage = Stage::Sends { until: now + lasts };
        (self.bps, self.stream_bps) = (bps, stream_bps);
        // Nothing is saved up.
        self.budget = Budget::new(now, 0.0);
        true
    }

    pub fn bps(&self) -> f64 {
        self.bps
    }

    pub fn stream_bps(&self) -> f64 {
        self.stream_bps
    }

    /// Whether anything was sent to tell of.
    pub fn has_asked(&self) -> bool {
        self.sent > 0
    }

    /// Whether what the viewer tells is about it.
    pub fn is_on(&self) -> bool {
        self.stage != Stage::Waits
    }

    /// The place of the next packet, if it is time for one.
    pub fn next(&mut self, now: Instant) -> Option<usize> {
        let Stage::Sends { until } = self.stage else { return None };
        (now < until && self.budget.make_up(self.bps, now)).then_some(self.sent)
    }

    pub fn sent(&mut self, octets: usize) {
        self.sent += 1;
        self.budget.spend(octets);
    }

    /// True once: all of it has been sent.
    pub fn ends(&mut self, now: Instant) -> bool {
        let is_end = matches!(self.stage, Stage::Sends { until } if now >= until);
        if is_end {
            self.stage = Stage::Asks { ended: now, until: now + TOLD_WITHIN };
        }
        is_end
    }

    /// When it ended.
    pub fn ended(&self) -> Option<Instant> {
        match self.stage {
            Stage::Asks { ended, .. } => Some(ended),
            Stage::Waits | Stage::Sends { .. } => None,
        }
    }

    /// The viewer has had time to tell: more where nothing `is_heard` from it since the end.
    pub fn is_over(&mut self, is_heard: bool, now: Instant) -> bool {
        let Stage::Asks { ended, until } = &mut self.stage else { return false };
        if !is_heard && now >= *until {
            *until = *ended + TOLD_AT_LAST;
        }
        now >= if is_heard { *ended + TOLD_WITHIN } else { *until }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waits => None,
            Stage::Sends { until } => Some(until.min(self.budget.next(self.bps))),
            Stage::Asks { until, .. } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_probe_begins_behind_a_keyframe_lasts_half_of_what_is_left_and_keeps_its_rate() {
        let start = Instant::now();
        let mut probe = Probe::new(start);
        assert!(!probe.waits_for(start - MS) && probe.waits_for(start + MS) && !probe.is_on());
        assert!(!probe.begin(280 * MS, 5e6, 4e6, start), "too short to show a queue");
        assert!(probe.begin(600 * MS, 5e6, 4e6, start) && probe.is_on());
        let (mut now, mut octets) = (start, 0);
        while !probe.ends(now) {
            while probe.next(now).is_some() {
                probe.sent(1200);
                octets += 1200;
            }
            let next = probe.deadline().unwrap();
            assert!(next > now);
            now = next;
        }
        assert_eq!(now, start + 300 * MS);
        let expected = 5e6 / 8.0 * 0.3;
        assert!((f64::from(octets) / expected - 1.0).abs() < 0.05, "{octets} of {expected}");
        assert_eq!((probe.next(now), probe.ended()), (None, Some(now)));
        assert!(!probe.ends(now) && !probe.is_over(true, now) && probe.is_over(true, now + TOLD_WITHIN));
        assert_eq!(probe.deadline(), Some(now + TOLD_WITHIN));
        assert!(!probe.is_over(false, now + TOLD_WITHIN));
        assert_eq!(probe.deadline(), Some(now + TOLD_AT_LAST), "who has said nothing yet may report seldom");
        assert!(probe.is_over(true, now + 2 * TOLD_WITHIN) && probe.is_over(false, now + TOLD_AT_LAST));
    }
}
