//! How fast: the stream's own bitrate, and a budget of octets that fills at a given rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pieces leave this far apart; shorter ones would cost more calls for nothing.
const TICK: Duration = Duration::from_millis(5);
/// A busy machine wakes us late: where the pace is all that a link takes, what was not spent meanwhile is made up for, up to
/// so much time and so many octets, which make no queue that matters and fit the socket of any viewer. Else the pace would be
/// a datagram for each time of waking.
const LATE: Duration = Duration::from_millis(40);
const LATE_OCTETS: f64 = 16.0 * 1024.0;
/// The bitrate is that of the last two seconds of pictures, which is a group of pictures with most cameras.
const WINDOW_S: f64 = 2.0;
/// Less than this is not judged: a keyframe alone would make a stream look far too large.
const MIN_WINDOW_S: f64 = 0.5;
const MAX_UNITS: usize = 512;

/// The bitrate of the stream on its own timeline, whenever and however fast its units came.
#[derive(Default)]
pub(super) struct Bitrate {
    /// Time of presentation in seconds, and octets.
    units: VecDeque<(f64, usize)>,
    octets: usize,
}

impl Bitrate {
    pub fn see(&mut self, pts_s: f64, octets: usize) {
        // A timeline that jumps is another stream.
        if self.units.back().is_some_and(|(last, _)| pts_s < *last || pts_s > last + 10.0 * WINDOW_S) {
            self.clear();
        }
        self.units.push_back((pts_s, octets));
        self.octets += octets;
        while let Some(&(first, size)) = self.units.front() {
            if first >= pts_s - WINDOW_S && self.units.len() <= MAX_UNITS {
                break;
            }
            self.octets -= size;
            self.units.pop_front();
        }
    }

    pub fn clear(&mut self) {
        self.units.clear();
        self.octets = 0;
    }

    pub fn bps(&self) -> f64 {
        let (Some((first, _)), Some((last, _))) = (self.units.front(), self.units.back()) else { return 0.0 };
        // The last one lasts as long as the others.
        let span = (last - first) * self.units.len() as f64 / (self.units.len() as f64 - 1.0).max(1.0);
        self.octets as f64 * 8.0 / span.max(MIN_WINDOW_S)
    }
}

/// A budget of octets. What is sent at once is at most what the rate gives in one tick, or `at_once`, or what it gave while we
/// were woken late, where that is made up for; and one datagram.
pub(super) struct Budget {
    octets: f64,
    at_once: f64,
    filled: Instant,
}

impl Budget {
    pub fn new(now: Instant, at_once: f64) -> Self {
        Self { octets: at_once, at_once, filled: now }
    }

    /// Fills at so many bits a second since the last time; true when something may be sent. A machine that is busy with many
    /// viewers who begin owes them nothing: they would take each other's time, and that of those who have no picture yet.
    pub fn fill(&mut self, bps: f64, now: Instant) -> bool {
        self.gain(bps, self.at_once, now)
    }

    /// The same, where being woken late is made up for.
    pub fn make_up(&mut self, bps: f64, now: Instant) -> bool {
        self.gain(bps, self.at_once.max((bps / 8.0 * LATE.as_secs_f64()).min(LATE_OCTETS)), now)
    }

    fn gain(&mut self, bps: f64, at_once: f64, now: Instant) -> bool {
        let gained = bps / 8.0 * now.saturating_duration_since(self.filled).as_secs_f64();
        self.octets = (self.octets + gained).min(at_once.max(bps / 8.0 * TICK.as_secs_f64()));
        self.filled = self.filled.max(now);
        self.octets > 0.0
    }

    /// True while more may be sent.
    pub fn spend(&mut self, octets: usize) -> bool {
        self.octets -= octets as f64;
        self.octets > 0.0
    }

    /// When there is something to spend again.
    pub fn next(&self, bps: f64) -> Instant {
        let lacking = Duration::try_from_secs_f64((-self.octets).max(0.0) * 8.0 / bps.max(1.0)).unwrap_or(TICK);
        self.filled + lacking.clamp(TICK, Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitrate_is_known_from_the_timeline_alone() {
        let mut bitrate = Bitrate::default();
        assert_eq!(bitrate.bps(), 0.0);
        for number in 0..100 {
            bitrate.see(f64::from(number) * 0.04, 20_000);
        }
        assert!((bitrate.bps() / 4e6 - 1.0).abs() < 0.05, "{}", bitrate.bps());
        bitrate.see(0.0, 1000);
        assert!(bitrate.bps() < 20_000.0, "a timeline that begins anew is another stream");
    }

    #[test]
    fn a_budget_lets_through_what_its_rate_gives_and_no_burst() {
        let start = Instant::now();
        let mut budget = Budget::new(start, 0.0);
        let (mut now, mut sent) = (start, 0);
        let end = start + Duration::from_secs(10);
        while now < end {
            let mut burst = 0;
            if budget.fill(2e6, now) {
                loop {
                    burst += 1200;
                    if !budget.spend(1200) {
                        break;
                    }
                }
            }
            assert!(burst <= 2500);
            sent += burst;
            let next = budget.next(2e6);
            assert!(next > now);
            now = next;
        }
        let bps = f64::from(sent) * 8.0 / 10.0;
        assert!((bps / 2e6 - 1.0).abs() < 0.02, "{bps}");
        let (tick, late) = (1250, 10_000);
        // After a pause there is no more than a tick gives.
        now += Duration::from_secs(60);
        assert!(budget.fill(2e6, now) && budget.spend(tick - 1) && !budget.spend(2));
        // Or than a late waking does, where that is made up for.
        assert!(budget.make_up(2e6, now + Duration::from_secs(60)) && budget.spend(late - 1) && !budget.spend(2));
    }

    #[test]
    fn a_budget_that_is_looked_at_late_keeps_its_rate() {
        for (bps, late_ms, most) in [(2e6, 15, 6000), (2e6, 40, 11_200), (64e3, 40, 1200), (64e6, 5, 41_200)] {
            let start = Instant::now();
            let mut budget = Budget::new(start, 0.0);
            let mut sent = 0;
            for woken in 1..=400 {
                let mut burst = 0;
                let mut may_go = budget.make_up(bps, start + Duration::from_millis(late_ms) * woken);
                while may_go {
                    burst += 1200;
                    may_go = budget.spend(1200);
                }
                assert!(burst <= most, "{burst} octets at once at {bps} bit/s");
                sent += burst;
            }
            let given = f64::from(sent) * 8.0 / (0.4 * late_ms as f64);
            assert!((given / bps - 1.0).abs() < 0.03, "{given} instead of {bps} bit/s, woken every {late_ms} ms");
        }
    }

    #[test]
    fn a_budget_with_something_at_once_gives_that_first_and_after_a_pause_and_its_rate_in_between() {
        let start = Instant::now();
        let mut budget = Budget::new(start, 48_000.0);
        let mut spend = |now| {
            let mut sent = 0;
            let mut may_go = budget.fill(8e6, now);
            while may_go {
                sent += 1200;
                may_go = budget.spend(1200);
            }
            (sent, budget.next(8e6))
        };
        let (first, next) = spend(start);
        assert_eq!((first, next), (48_000, start + TICK));
        let (second, next) = spend(next);
        assert!(
            (4800..=6000).contains(&second) && next > start + TICK,
            "{second} in a tick at 1,000 octets in each ms"
        );
        assert_eq!(spend(next + Duration::from_secs(60)).0, 48_000);
    }
}
