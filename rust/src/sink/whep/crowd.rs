//! Viewers of a port that begin with what is cached share what leaves for them beside the live pictures: fifty that come at
//! once would else fill any network, and keep the last of them from their first picture.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// For all of them together: less than half of what a port of 1 Gbit/s carries.
const SHARED_BPS: f64 = 400e6;
/// But no viewer gets less than so many times its stream, or it would never be in the present.
const LEAST: f64 = 2.0;

/// How many there are.
#[derive(Default)]
pub struct Crowd {
    viewers: AtomicUsize,
}

/// One of them, until it is dropped.
pub(super) struct CatchingUp(Arc<Crowd>);

impl CatchingUp {
    pub fn new(crowd: &Arc<Crowd>) -> Self {
        crowd.viewers.fetch_add(1, Relaxed);
        Self(crowd.clone())
    }

    /// Its pace in bits a second, for a stream of so many, where it would have `alone`.
    pub fn pace_bps(&self, stream_bps: f64, alone: f64) -> f64 {
        let share = SHARED_BPS / self.0.viewers.load(Relaxed).max(1) as f64;
        share.max(stream_bps * LEAST).min(alone)
    }
}

impl Drop for CatchingUp {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_share_what_a_few_have_each_and_none_is_left_behind() {
        let crowd = Arc::new(Crowd::default());
        let first = CatchingUp::new(&crowd);
        assert_eq!(first.pace_bps(4e6, 64e6), 64e6);
        let others: Vec<CatchingUp> = (1..20).map(|_| CatchingUp::new(&crowd)).collect();
        assert_eq!(first.pace_bps(4e6, 64e6), SHARED_BPS / 20.0);
        let many: Vec<CatchingUp> = (20..1000).map(|_| CatchingUp::new(&crowd)).collect();
        assert_eq!(first.pace_bps(4e6, 64e6), 8e6);
        drop((others, many));
        assert_eq!(first.pace_bps(4e6, 64e6), 64e6, "who has caught up leaves the others more");
    }
}
