//! Viewers of a port that begin with what is cached share what leaves for them beside the live pictures: fifty that come at
//! once would else fill any network, and keep the last of them from their first picture.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// For the first pictures of all of them together, and for the rest of what they begin with: less than half of what a port of
/// 1 Gbit/s carries, each.
const SHARED_BPS: f64 = 400e6;
/// But no viewer gets less than so many times its stream, or it would never be in the present.
const LEAST: f64 = 2.0;
/// Except while it makes way: it has a picture, and others are on their way to theirs. So long at most, or viewers who come all
/// the time would keep it in the past; and it gets so many times its stream, by which it also finds out that nobody comes any more.
const MAKES_WAY: Duration = Duration::from_millis(200);
const MEANWHILE: f64 = 0.25;

/// How far a viewer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has an answer, and no path or keys yet.
    Comes,
    /// Its first picture leaves.
    Begins,
    /// The rest of what it begins with leaves.
    CatchesUp,
}

/// How many are how far.
#[derive(Default)]
pub struct Crowd {
    viewers: [AtomicUsize; 3],
}

impl Crowd {
    fn at(&self, stage: Stage) -> &AtomicUsize {
        &self.viewers[stage as usize]
    }

    /// For their first picture: also those who are about to begin are left something.
    fn waiting(&self) -> usize {
        self.at(Stage::Comes).load(Relaxed) + self.at(Stage::Begins).load(Relaxed)
    }
}

/// One of them, until it is dropped.
pub(super) struct Newcomer {
    crowd: Arc<Crowd>,
    stage: Stage,
    makes_way_until: Option<Instant>,
}

impl Newcomer {
    pub fn new(crowd: &Arc<Crowd>) -> Self {
        crowd.at(Stage::Comes).fetch_add(1, Relaxed);
        Self { crowd: crowd.clone(), stage: Stage::Comes, makes_way_until: None }
    }

    /// Its first picture leaves.
    pub fn begins(&mut self) {
        if self.stage == Stage::Comes {
            self.go_to(Stage::Begins);
        }
    }

    /// Its first picture has left.
    pub fn has_picture(&mut self, now: Instant) {
        if self.stage != Stage::CatchesUp {
            self.go_to(Stage::CatchesUp);
            self.makes_way_until = Some(now + MAKES_WAY);
        }
    }

    /// Time passes.
    pub fn pass(&mut self, now: Instant) {
        self.makes_way_until = self.makes_way_until.filter(|until| now < *until && self.crowd.waiting() > 0);
    }

    /// Its pace in bits a second, for a stream of so many, where it would have `alone`.
    pub fn pace_bps(&self, stream_bps: f64, alone: f64) -> f64 {
        if self.makes_way_until.is_some() {
            return (stream_bps * MEANWHILE).min(alone);
        }
        let sharing = match self.stage {
            Stage::Comes | Stage::Begins => self.crowd.waiting(),
            Stage::CatchesUp => self.crowd.at(Stage::CatchesUp).load(Relaxed),
        };
        let share = SHARED_BPS / sharing.max(1) as f64;
        share.max(stream_bps * LEAST).min(alone)
    }

    fn go_to(&mut self, stage: Stage) {
        self.crowd.at(stage).fetch_add(1, Relaxed);
        self.crowd.at(self.stage).fetch_sub(1, Relaxed);
        self.stage = stage;
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.crowd.at(self.stage).fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(crowd: &Arc<Crowd>) -> Newcomer {
        let mut newcomer = Newcomer::new(crowd);
        newcomer.begins();
        newcomer
    }

    #[test]
    fn many_share_what_a_few_have_each_and_none_is_left_behind() {
        let crowd = Arc::new(Crowd::default());
        let first = beginning(&crowd);
        assert_eq!(first.pace_bps(4e6, 64e6), 64e6);
        let others: Vec<Newcomer> = (1..20).map(|_| beginning(&crowd)).collect();
        assert_eq!(first.pace_bps(4e6, 64e6), SHARED_BPS / 20.0);
        let many: Vec<Newcomer> = (20..1000).map(|_| beginning(&crowd)).collect();
        assert_eq!(first.pace_bps(4e6, 64e6), 8e6);
        drop((others, many));
        assert_eq!(first.pace_bps(4e6, 64e6), 64e6, "who has caught up leaves the others more");
    }

    #[test]
    fn who_has_a_picture_makes_way_for_those_who_come_and_not_for_ever() {
        let crowd = Arc::new(Crowd::default());
        let start = Instant::now();
        let mut others: Vec<Newcomer> = (0..40).map(|_| beginning(&crowd)).collect();
        let mut last = Newcomer::new(&crowd);
        for other in &mut others {
            other.has_picture(start);
            other.pass(start + MAKES_WAY / 2);
        }
        assert_eq!(others[0].pace_bps(4e6, 64e6), 1e6, "for one that has no keys yet");
        last.begins();
        others[0].pass(start + MAKES_WAY / 2);
        assert_eq!(others[0].pace_bps(4e6, 64e6), 1e6);
        assert_eq!(last.pace_bps(4e6, 64e6), 64e6, "it shares only with those who have no picture either");
        others[0].pass(start + MAKES_WAY);
        assert_eq!(others[0].pace_bps(4e6, 64e6), SHARED_BPS / 40.0);
        last.has_picture(start);
        others[1].pass(start + MAKES_WAY / 2);
        assert_eq!(others[1].pace_bps(4e6, 64e6), SHARED_BPS / 41.0, "nobody waits");
        drop((others, last));
        assert!(crowd.viewers.iter().all(|count| count.load(Relaxed) == 0));
    }
}
