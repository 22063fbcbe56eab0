//! What one peer may send us: datagrams a second, for whatever comes in its name. What is more is dropped on the port's
//! thread, before it costs its shard anything.

use std::time::Instant;

use parking_lot::Mutex;

/// A viewer reports and checks: some 50 datagrams a second, and a few hundred where much is lost.
const VIEWER_PER_S: f64 = 1000.0;
/// A publisher sends pictures: 96 Mbit/s.
const PUBLISHER_PER_S: f64 = 10_000.0;
/// Checks from addresses that have not passed one. Whoever has seen one on its way can send more of them from anywhere, and
/// shall not use up what the peer itself has.
const STRANGERS_PER_S: f64 = 50.0;

/// What is left of a second's worth, or of two for strangers: many ways are checked at once in the beginning.
struct Allowance {
    per_s: f64,
    most: f64,
    left: f64,
    filled: Instant,
}

impl Allowance {
    fn new(per_s: f64, most: f64, now: Instant) -> Self {
        Self { per_s, most, left: most, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let gained = self.per_s * now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + gained).min(self.most);
        self.filled = self.filled.max(now);
        let has_some = self.left >= 1.0;
        self.left -= f64::from(u8::from(has_some));
        has_some
    }
}

/// One peer's allowances.
pub struct Inbound(Mutex<Allowances>);

struct Allowances {
    own: Allowance,
    strangers: Allowance,
}

impl Inbound {
    pub fn of_viewer(now: Instant) -> Self {
        Self::new(VIEWER_PER_S, now)
    }

    pub fn of_publisher(now: Instant) -> Self {
        Self::new(PUBLISHER_PER_S, now)
    }

    fn new(per_s: f64, now: Instant) -> Self {
        let own = Allowance::new(per_s, per_s, now);
        let strangers = Allowance::new(STRANGERS_PER_S, 2.0 * STRANGERS_PER_S, now);
        Self(Mutex::new(Allowances { own, strangers }))
    }

    /// Whether one more datagram is taken; `is_proven`: it comes from where a check of the peer's has passed.
    pub fn takes(&self, is_proven: bool, now: Instant) -> bool {
        let mut allowances = self.0.lock();
        if is_proven { allowances.own.take(now) } else { allowances.strangers.take(now) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_rate_and_one_of_strangers_leaves_the_peers_own_alone() {
        let start = Instant::now();
        let inbound = Inbound::of_viewer(start);
        let taken = |is_proven| {
            let at = |number: u32| start + Duration::from_micros(20) * number;
            // 50,000 a second for ten seconds.
            (0..500_000).filter(|number| inbound.takes(is_proven, at(*number))).count()
        };
        assert!((598..=601).contains(&taken(false)));
        assert!((10_998..=11_001).contains(&taken(true)));
    }

    #[test]
    fn what_peers_send_in_earnest_is_taken() {
        let start = Instant::now();
        let inbound = Inbound::of_publisher(start);
        // A keyframe of 1 MB at once, and 50 Mbit/s for a minute.
        assert!((0..900).all(|_| inbound.takes(true, start)));
        assert!((0..312_000).all(|number| inbound.takes(true, start + Duration::from_micros(192) * number)));
    }
}
