//! What is sent on a link that is too narrow: the camera's lower stream where there is one, else keyframes at the pace the
//! link takes; until it has had time to get better. Then all again, with longer and longer pauses between such trials.

use std::time::{Duration, Instant};

/// The first pause before all is sent again; doubled each time that proves too much soon.
const FIRST_PAUSE: Duration = Duration::from_secs(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(160);
/// The longest where a probe has shown it: that costs no picture.
const LONGEST_ASKED: Duration = Duration::from_secs(40);
/// A trial that went well for so long counts as a link that has got better.
const PROVEN: Duration = Duration::from_secs(30);
/// Of what the link has been seen to take: the queue in front of it has to go.
const SHARE: f64 = 0.85;
const MIN_BPS: f64 = 64e3;
/// What is sent again leaves this much faster than the stream flows: two seconds are made up for in an eighth of one.
const CATCH_UP: f64 = 16.0;
const MIN_PACE_BPS: f64 = 4e6;
/// On a link that is being tried out, and for a lower stream on a link that is known.
const TRIAL: f64 = 2.0;
const LITTLE_MORE: f64 = 1.2;
/// A probe has this much more than the stream, as a queue has to show soon, and more than the link is known to take at most:
/// what is too much stands in front of it.
const PROBE: f64 = 1.25;
const PROBE_MORE: f64 = 2.5;
/// A keyframe that leaves no time behind it to ask leaves so much faster the next time.
const FASTER: f64 = 1.25;
/// What was sent before a change is told of for so long after it; a queue has gone, and a keyframe come, after so long.
const SETTLES: Duration = Duration::from_secs(1);
const SETTLES_NARROW: Duration = Duration::from_secs(3);
/// What is left of a pace that is too much still.
const SLOWER: f64 = 0.7;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Everything is sent as it comes.
    Open,
    /// Keyframes only. `until`: then all is tried again.
    Narrow { bps: f64, until: Instant },
}

/// What follows from a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Too much was sent: nothing more before the next keyframe.
    Narrowed,
    /// Still too much, with keyframes alone.
    Slowed,
    /// The link has had time to get better: it may be asked whether it takes all.
    MayOpen,
    /// All is sent again from the next keyframe on.
    Opened,
    /// The lower stream has gone well for long enough: the higher one may be tried.
    MayRise,
}

pub(super) struct Rate {
    state: State,
    pause: Duration,
    /// When the state changed, or the pace.
    changed: Instant,
    /// All is sent again since then, to see whether the link has got better.
    trial: Option<Instant>,
    /// The lower stream is sent; then the higher one is tried.
    low_until: Option<Instant>,
    /// What is known of a link that was too narrow.
    known_bps: Option<f64>,
}

impl Rate {
    pub fn new(now: Instant) -> Self {
        Self { state: State::Open, pause: FIRST_PAUSE, changed: now, trial: None, low_until: None, known_bps: None }
    }

    pub fn is_narrow(&self) -> bool {
        matches!(self.state, State::Narrow { .. })
    }

    /// Bits a second for what does not leave as it comes. `stream_bps`: what the stream has.
    pub fn pace_bps(&self, stream_bps: f64) -> f64 {
        match (self.state, self.known_bps) {
            (State::Narrow { bps, .. }, _) => bps,
            (State::Open, Some(known)) if self.low_until.is_some() => known.max(stream_bps * LITTLE_MORE),
            (State::Open, _) if self.trial.is_some() => (stream_bps * TRIAL).max(MIN_PACE_BPS),
            (State::Open, _) => (stream_bps * CATCH_UP).max(MIN_PACE_BPS),
        }
    }

    /// When `pass` has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Open => self.low_until,
            State::Narrow { until, .. } => Some(until),
        }
    }

    /// Whether what the viewer tells concerns what is sent now.
    pub fn is_settled(&self, now: Instant) -> bool {
        now >= self.changed + if self.is_narrow() { SETTLES_NARROW } else { SETTLES }
    }

    /// The link takes so many bits a second, less than it is given.
    pub fn too_much(&mut self, takes_bps: f64, now: Instant) -> Change {
        let takes_bps = (takes_bps * SHARE).max(MIN_BPS);
        self.known_bps = Some(takes_bps);
        let change = match self.state {
            State::Open => {
                self.pause = match self.trial.take() {
                    Some(since) if now < since + PROVEN => (self.pause * 2).min(LONGEST_PAUSE),
                    Some(_) | None => FIRST_PAUSE,
                };
                self.state = State::Narrow { bps: takes_bps, until: now + self.pause };
                Change::Narrowed
            }
            State::Narrow { bps, until } => {
                let slower = (bps * SLOWER).min(takes_bps).max(MIN_BPS);
                self.state = State::Narrow { bps: slower, until: until.max(now + FIRST_PAUSE) };
                Change::Slowed
            }
        };
        self.changed = now;
        change
    }

    /// The lower stream is sent from now on.
    pub fn lowered(&mut self, now: Instant) {
        self.state = State::Open;
        self.changed = now;
        self.low_until = Some(now + self.pause);
    }

    /// The higher stream is sent from now on.
    pub fn raised(&mut self, now: Instant) {
        self.state = State::Open;
        self.changed = now;
        self.low_until = None;
        self.trial = Some(now);
    }

    /// All is sent from now on.
    pub fn opened(&mut self, now: Instant) -> Change {
        self.state = State::Open;
        self.changed = now;
        self.trial = Some(now);
        Change::Opened
    }

    /// Bits a second to ask the link with.
    pub fn probe_bps(&self, stream_bps: f64) -> f64 {
        let enough = stream_bps * PROBE;
        match self.state {
            State::Narrow { bps, .. } => enough.min(bps * PROBE_MORE),
            State::Open => enough,
        }
    }

    /// A keyframe at this pace leaves no time to ask the link: the next one leaves faster. True when that is more than the
    /// stream has, and the link seems to take it.
    pub fn hurried(&mut self, stream_bps: f64) -> bool {
        // Not changed: the pace before and this one are judged by the same queue.
        if let State::Narrow { bps, .. } = &mut self.state {
            *bps *= FASTER;
            return *bps >= stream_bps * PROBE;
        }
        true
    }

    /// The link takes no more than before.
    pub fn refused(&mut self, now: Instant) {
        if let State::Narrow { bps, .. } = self.state {
            // What it is known to take, if keyframes were hurried.
            let bps = self.known_bps.map_or(bps, |known| known.min(bps));
            self.pause = (self.pause * 2).min(LONGEST_ASKED.max(self.pause));
            self.state = State::Narrow { bps, until: now + self.pause };
            self.changed = now;
        }
    }

    /// The link takes so many bits a second. True when the stream has no more; else it may be asked for more.
    pub fn granted(&mut self, takes_bps: f64, stream_bps: f64, now: Instant) -> bool {
        let is_enough = takes_bps >= stream_bps * PROBE;
        if !is_enough && let State::Narrow { until, .. } = self.state {
            let bps = (takes_bps * SHARE).max(MIN_BPS);
            self.known_bps = Some(bps);
            self.state = State::Narrow { bps, until };
            self.changed = now;
        }
        is_enough
    }

    /// Time passes.
    pub fn pass(&mut self, now: Instant) -> Option<Change> {
        match (self.state, self.low_until) {
            (State::Narrow { bps, until }, _) if now >= until => {
                // Asked again, should nothing come of it.
                self.state = State::Narrow { bps, until: now + self.pause };
                Some(Change::MayOpen)
            }
            (State::Open, Some(until)) if now >= until => {
                // Asked again, should nothing come of it.
                self.low_until = Some(now + self.pause);
                Some(Change::MayRise)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn trials_that_fail_are_further_and_further_apart_and_one_that_holds_is_the_end_of_it() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            now += seconds(2);
            assert_eq!(rate.too_much(2e6, now), Change::Narrowed);
            let start = now;
            while rate.pass(now).is_none() {
                now += seconds(1);
            }
            assert_eq!(rate.opened(now), Change::Opened);
            pauses.push((now - start).as_secs());
        }
        assert_eq!(pauses, [20, 40, 80, 160, 160, 160]);
        now += PROVEN + seconds(1);
        rate.too_much(2e6, now);
        assert_eq!(rate.deadline(), Some(now + FIRST_PAUSE));
    }

    #[test]
    fn the_pace_is_below_what_the_link_takes_and_is_slower_when_that_is_too_much_still() {
        let now = Instant::now();
        let mut rate = Rate::new(now);
        assert_eq!((rate.pace_bps(4e6), rate.is_narrow()), (64e6, false));
        rate.too_much(2e6, now);
        assert_eq!((rate.pace_bps(4e6), rate.is_narrow()), (1.7e6, true));
        assert!(!rate.is_settled(now + SETTLES) && rate.is_settled(now + SETTLES_NARROW));
        assert_eq!(rate.too_much(5e6, now + seconds(3)), Change::Slowed);
        assert!((rate.pace_bps(4e6) / 1.19e6 - 1.0).abs() < 0.01);
        for second in 0..20 {
            rate.too_much(0.0, now + seconds(second));
        }
        assert_eq!(rate.pace_bps(4e6), MIN_BPS);
    }

    #[test]
    fn a_link_is_asked_step_by_step_and_in_40_seconds_at_the_latest() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        rate.too_much(0.4e6, now);
        let mut pauses = Vec::new();
        for _ in 0..3 {
            let start = now;
            while rate.pass(now).is_none() {
                now += seconds(1);
            }
            pauses.push((now - start).as_secs());
            rate.refused(now);
            assert!(rate.is_narrow());
        }
        assert_eq!(pauses, [20, 40, 40]);
        let mut asked = Vec::new();
        loop {
            asked.push((rate.probe_bps(4e6) / 1e5).round());
            if rate.granted(rate.probe_bps(4e6), 4e6, now) {
                break;
            }
            assert!(rate.is_narrow());
        }
        assert_eq!(asked, [9.0, 18.0, 38.0, 50.0]);
        assert_eq!((rate.opened(now), rate.is_narrow()), (Change::Opened, false));
    }

    #[test]
    fn keyframes_that_leave_no_time_to_ask_are_hurried_until_they_do_and_at_their_old_pace_when_the_link_refuses() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        rate.too_much(1e6, now);
        now += FIRST_PAUSE;
        assert_eq!(rate.pass(now), Some(Change::MayOpen));
        assert!(!rate.hurried(4e6) && !rate.hurried(4e6) && rate.is_narrow());
        assert!((rate.pace_bps(4e6) / (0.85e6 * 1.25 * 1.25) - 1.0).abs() < 0.01, "and not all at once");
        assert!(rate.is_settled(now), "a queue in front of them counts");
        rate.refused(now);
        assert_eq!(rate.pace_bps(4e6), 0.85e6);
        let steps = (0..).take_while(|_| !rate.hurried(4e6)).count();
        assert_eq!(steps, 7, "one that is as long as the stream is no longer asked for");
        assert!(rate.is_narrow() && rate.pace_bps(4e6) >= 4e6 * PROBE);
    }

    #[test]
    fn the_lower_stream_is_left_for_the_higher_after_a_pause_and_taken_again() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        rate.too_much(2.4e6, now);
        now += seconds(1);
        rate.lowered(now);
        assert_eq!((rate.is_narrow(), rate.pace_bps(0.5e6)), (false, 2.04e6));
        assert_eq!(rate.pass(now + seconds(19)), None);
        assert_eq!((rate.pass(now + seconds(20)), rate.pass(now + seconds(21))), (Some(Change::MayRise), None));
        now += seconds(22);
        rate.raised(now);
        assert_eq!((rate.pace_bps(4e6), rate.deadline()), (8e6, None));
        now += seconds(1);
        assert_eq!(rate.too_much(2.4e6, now), Change::Narrowed);
        rate.lowered(now);
        assert_eq!(rate.deadline(), Some(now + seconds(40)), "the pause is longer now");
        // Even the lower one is too much.
        assert_eq!(rate.too_much(0.2e6, now + seconds(2)), Change::Narrowed);
        assert!(rate.is_narrow());
        assert_eq!(rate.pass(now + seconds(22)), Some(Change::MayOpen));
    }
}
