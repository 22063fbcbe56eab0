//! Streams of other hubs' cameras: asked for by an event while somebody watches, brought by a push or a pull that the control
//! plane arranges, and asked for again when that ends.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::events::Event;
use super::streams::{Key, Origin, Running, Streams, Supply};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::peer::Peer;
use crate::source::{Target, for_viewers};
use crate::stream::SourceState;

/// Pauses between two times that one stream is asked for: the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// What was brought for so long has earned that it is asked for again at once.
const STEADY: Duration = Duration::from_secs(10);
/// The word for who pushes a stream that nobody has watched for the linger time.
pub(super) const RELEASED: &str = "STREAM_RELEASED";

/// How often a stream was asked for.
pub(super) struct Asking {
    times: u32,
    last: Option<Instant>,
    /// Not before.
    next: Instant,
    /// When what brings it began.
    began: Option<Instant>,
    /// Why the last one has not brought it, or no more.
    failure: Option<(&'static str, String)>,
    /// The same for those who wait: kept while it is asked for again, until something brings it.
    told: Option<(&'static str, String)>,
}

impl Default for Asking {
    fn default() -> Self {
        Self { times: 0, last: None, next: Instant::now(), began: None, failure: None, told: None }
    }
}

impl Asking {
    /// Somebody new wants to watch, and does not have to sit out the pauses that grew while nothing came: what kept it
    /// away may be over.
    fn hasten(&mut self) {
        if let Some(last) = self.last {
            self.next = self.next.min(last + PAUSE.0);
        }
    }

    fn asked(&mut self, now: Instant) {
        self.last = Some(now);
        self.next = now + pause(self.times);
        self.times = self.times.saturating_add(1);
    }

    /// Something brings the stream from now on.
    pub fn answered(&mut self, now: Instant) {
        self.began = Some(now);
        self.told = None;
    }

    /// Why what was to bring the stream did not, if it has said so.
    pub fn told(&self) -> Option<&(&'static str, String)> {
        self.told.as_ref()
    }

    /// It brings it no more. The first time, and after a steady one, the stream is asked for at once.
    fn ended(&mut self, failure: Option<(&'static str, String)>, now: Instant) {
        if self.began.take().is_some_and(|began| now.duration_since(began) >= STEADY) {
            self.times = 0;
        }
        if self.times <= 1 {
            self.next = now;
        }
        self.told.clone_from(&failure);
        self.failure = failure;
    }
}

/// Doubles up to the longest, and spreads by a quarter either way: a link that comes back is not asked for all in one breath.
fn pause(times: u32) -> Duration {
    let doubled = PAUSE.0.saturating_mul(1u32.checked_shl(times.min(16)).unwrap_or(u32::MAX)).min(PAUSE.1);
    doubled.mul_f64(0.75 + rand::random::<f64>() / 2.0)
}

impl Supply {
    /// Another hub is to bring it, somebody watches, and nothing does.
    fn is_missing(&self) -> bool {
        self.origin == Origin::Hub && self.viewers > 0 && self.push.is_none() && self.lent.is_none()
    }
}

impl Streams {
    /// For a viewer who comes now.
    pub(super) fn ask_anew(&self, running: &Running) {
        running.supply.lock().asking.hasten();
        self.ask(running);
    }

    /// Asks for the stream if it is missing and its time has come.
    pub(super) fn ask(&self, running: &Running) {
        let mut supply = running.supply.lock();
        if supply.is_missing() && !running.stop.is_cancelled() && Instant::now() >= supply.asking.next {
            supply.asking.asked(Instant::now());
            let failure = supply.asking.failure.take();
            // Whoever waits, waits for this attempt.
            running.stream.report(SourceState::Connecting);
            self.tell_need(&running.key, true, failure);
        }
        drop(supply);
        running.news.notify_one();
    }

    /// What pushed or lent the stream has ended.
    pub(super) fn supply_ended(&self, running: &Running, failure: Option<(&'static str, String)>) {
        running.supply.lock().asking.ended(failure, Instant::now());
        self.ask(running);
    }

    /// It has left the map: whoever was asked for it need not bring it any more.
    pub(super) fn released(&self, running: &Running) {
        let supply = running.supply.lock();
        if supply.origin == Origin::Hub && supply.asking.times > 0 {
            self.tell_need(&running.key, false, None);
        }
    }

    fn tell_need(&self, (camera, profile): &Key, is_wanted: bool, failure: Option<(&'static str, String)>) {
        let (reason, message) = failure.unwrap_or_default();
        let profile = if *profile == Profile::Main { 1 } else { 2 };
        self.events.push(Event::StreamNeed { camera: camera.clone(), profile, is_wanted, reason, message });
    }

    /// Pulls a wanted stream from another hub. Errors: STREAM_NOT_WANTED (FailedPrecondition).
    pub(super) fn lend(self: &Arc<Self>, key: &Key, peer: Peer) -> Result<()> {
        let not_wanted = || {
            let message = "nobody waits for this stream, or it comes already: supply it when it is wanted";
            Error::new(ErrorKind::FailedPrecondition, "STREAM_NOT_WANTED", message)
        };
        let running = self.find(key).ok_or_else(not_wanted)?;
        {
            let mut supply = running.supply.lock();
            if supply.origin != Origin::Hub || supply.viewers == 0 || supply.push.is_some() {
                return Err(not_wanted());
            }
            info!(camera = %key.0, hub = peer.id(), "another hub gives a camera to pull");
            supply.lent = Some(Target::at(&key.0, peer));
            supply.asking.answered(Instant::now());
            if let Some(earlier) = supply.pull.take() {
                earlier.cancel();
            }
        }
        self.pull(&running);
        Ok(())
    }

    /// Pulls it no more; whoever waits is told why. False when it was not pulled.
    pub(super) fn take_back(&self, key: &Key, reason: &'static str) -> bool {
        let Some(running) = self.find(key) else { return false };
        let message = "the hub that shares this camera has taken it back".to_owned();
        {
            let mut supply = running.supply.lock();
            if supply.lent.take().is_none() {
                return false;
            }
            if let Some(pull) = supply.pull.take() {
                pull.cancel();
            }
            running.stream.report(failed(reason, message.clone()));
            supply.asking.times = supply.asking.times.max(2);
            supply.asking.ended(Some((reason, message)), Instant::now());
        }
        running.news.notify_one();
        true
    }

    /// A pull that was taken back has written its last: whoever waits is to hear why, and not that it is idle.
    pub(super) fn tell_taken_back(&self, running: &Running) {
        let supply = running.supply.lock();
        if let Some((reason, message)) = supply.asking.failure.clone().filter(|_| supply.is_missing()) {
            running.stream.report(failed(reason, message));
        }
    }

    /// Tells whoever waits why nothing comes. False when nobody does, or something comes.
    pub(super) fn refuse(&self, key: &Key, reason: &'static str, message: String) -> bool {
        let Some(running) = self.find(key) else { return false };
        let supply = running.supply.lock();
        let is_missing = supply.is_missing();
        if is_missing {
            running.stream.report(failed(reason, message));
        }
        is_missing
    }
}

/// What another hub says is the cause.
fn failed(cause: &'static str, message: String) -> SourceState {
    SourceState::Failed { reason: for_viewers(cause), cause, message }
}

/// Asks again for as long as the stream is missing.
pub(super) async fn keep_asking(streams: Weak<Streams>, running: Arc<Running>) {
    loop {
        let due = {
            let supply = running.supply.lock();
            supply.is_missing().then_some(supply.asking.next)
        };
        tokio::select! {
            () = running.stop.cancelled() => return,
            () = running.news.notified() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some(streams) = streams.upgrade() else { return };
                streams.ask(&running);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_are_capped_and_spread() {
        for (times, expected_ms) in [(0, 2_000u64), (1, 4_000), (3, 16_000), (4, 30_000), (u32::MAX, 30_000)] {
            let pauses: Vec<u64> = (0..100).map(|_| pause(times).as_millis() as u64).collect();
            assert!(pauses.iter().all(|pause| (expected_ms * 3 / 4..=expected_ms * 5 / 4).contains(pause)));
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }

    #[test]
    fn who_comes_anew_waits_for_the_shortest_pause_at_most() {
        let now = Instant::now();
        let mut asking = Asking::default();
        asking.hasten();
        assert!(asking.next <= Instant::now(), "the first is never late");
        asking.times = 10;
        asking.asked(now);
        assert!(asking.next >= now + PAUSE.1.mul_f64(0.75));
        asking.hasten();
        assert_eq!((asking.next, asking.times), (now + PAUSE.0, 11), "and the pauses stay as long for those who wait");
        asking.next = now;
        asking.hasten();
        assert_eq!(asking.next, now);
    }

    #[test]
    fn the_first_end_is_forgiven_and_a_steady_one_always() {
        let now = Instant::now();
        let mut asking = Asking { times: 1, next: now + PAUSE.0, ..Asking::default() };
        asking.answered(now);
        asking.ended(None, now);
        assert_eq!(asking.next, now, "the first time");
        (asking.times, asking.next) = (2, now + PAUSE.1);
        asking.answered(now);
        asking.ended(Some(("LINK_DOWN", String::new())), now);
        assert_eq!((asking.times, asking.next), (2, now + PAUSE.1));
        assert_eq!(asking.told().map(|told| told.0), Some("LINK_DOWN"));
        asking.answered(now);
        let later = now + STEADY;
        asking.ended(None, later);
        assert_eq!((asking.times, asking.next, asking.failure), (0, later, None));
    }
}
