//! Keeps one stream fed for as long as somebody wants it: dials, watches, and dials again for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::dials::Playing;
use super::intake::{Arrived, Brought, Intake};
use super::rtsp::{self, Camera, Media};
use super::{Failure, FailureKind, NO_KEYFRAME_REMEDY, Options, Target};
use crate::stream::{SourceState, Stream};
use crate::telemetry::{Direction, DropReason, SourceKind, Telemetry};
use crate::wire::depay::Packet;

/// A camera that played at least this long has earned a quick first retry.
const STEADY: Duration = Duration::from_secs(10);
/// After how many `keyframe_timeout`s without a keyframe the camera is dialled anew.
const KEYFRAME_PATIENCE: u32 = 3;
/// A camera that has no room for us, or cuts the connection while it is asked, may just have let somebody go, our own
/// prober above all, and not be done with it: it is asked again after each of these before it counts as failed.
const BUSY_PAUSES: [Duration; 3] = [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];

/// Only one that answers soon is asked again: whoever waits for a picture waits for all of it.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// Pulls `target` into `stream` until `cancel`; to be spawned as a task of its own. What another hub gives is pulled once:
/// its ticket is good for one connection, and the next comes with another.
///
/// Every attempt has a new connection, a new resolution and a new login. How it goes is told by `Stream::report`:
/// `Connecting` before each attempt, `Failed` after one, `Idle` at the end; `Live` comes with the first keyframe.
pub async fn supervise(
    target: Target,
    stream: Arc<Stream>,
    options: Arc<Options>,
    telemetry: Arc<Telemetry>,
    cancel: CancellationToken,
) {
    let mut pull = Pull {
        intake: Intake::new(stream.clone(), telemetry.clone()),
        camera: None,
        began: Instant::now(),
        live_since: None,
        target,
        stream,
        options,
        telemetry,
    };
    let is_once = pull.target.peer.is_some();
    let mut failures = 0u32;
    loop {
        pull.stream.report(SourceState::Connecting);
        let failure = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            failure = pull.once(failures == 0 && !is_once) => failure,
        };
        let failure = match &pull.target.peer {
            Some(peer) if matches!(failure.kind, FailureKind::Unreachable | FailureKind::Busy) => Failure::new(
                FailureKind::Hub("LINK_MEDIA_UNREACHABLE"),
                format!("the media connection to hub {} is cut", peer.id()),
            ),
            _ => failure,
        };
        if pull.live_since.take().is_some_and(|since| since.at.elapsed() >= STEADY) {
            failures = 0;
        }
        let pause = pause(&pull.options, failure.kind, failures);
        failures = failures.saturating_add(1);
        warn!(
            camera = %pull.target.camera, reason = failure.kind.reason(), message = %failure.message,
            again_in_ms = pause.as_millis() as u64, clock_rebased = pull.intake.rebased(), "the source has failed"
        );
        pull.stream.report(failure.into_state());
        pull.take_leave().await;
        if is_once {
            return;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            () = sleep(pause) => {}
        }
        pull.telemetry.source_reconnects.fetch_add(1, Relaxed);
    }
    pull.live_since = None;
    pull.take_leave().await;
    pull.stream.report(SourceState::Idle);
}

struct Pull {
    target: Target,
    stream: Arc<Stream>,
    options: Arc<Options>,
    telemetry: Arc<Telemetry>,
    intake: Intake,
    /// Kept here and not by the attempt, which may be cut off at any point: cheap cameras have few sessions, and none
    /// may be left behind.
    camera: Option<Camera>,
    began: Instant,
    live_since: Option<Live>,
}

/// Counts as a live stream while it exists.
struct Live {
    at: Instant,
    kind: SourceKind,
    telemetry: Arc<Telemetry>,
    _playing: Playing,
}

impl Live {
    fn new(kind: SourceKind, telemetry: Arc<Telemetry>, playing: Playing) -> Self {
        telemetry.streams(kind).fetch_add(1, Relaxed);
        Self { at: Instant::now(), kind, telemetry, _playing: playing }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.telemetry.streams(self.kind).fetch_sub(1, Relaxed);
    }
}

impl Pull {
    /// One connection from its beginning to its end. patient: with a camera that has no room at the moment.
    async fn once(&mut self, patient: bool) -> Failure {
        let (began, mut pauses) = (Instant::now(), BUSY_PAUSES.iter());
        while let Err(failure) = self.open().await {
            match pauses.next() {
                Some(&pause) if patient && failure.kind == FailureKind::Busy && began.elapsed() < BUSY_PATIENCE => {
                    self.take_leave().await;
                    sleep(pause).await;
                }
                _ => return failure,
            }
        }
        self.watch().await
    }

    async fn open(&mut self) -> Result<(), Failure> {
        let camera = self.camera.insert(rtsp::describe(&self.target, &self.options).await?);
        camera.play(self.began).await?;
        self.intake.restart(camera.offers().cloned(), camera.leaves_sound());
        Ok(())
    }

    async fn take_leave(&mut self) {
        if let Some(camera) = self.camera.take() {
            camera.end().await;
        }
    }

    /// Takes packets until the camera fails or falls silent.
    async fn watch(&mut self) -> Failure {
        let Self { camera: Some(camera), intake, telemetry, options, target, .. } = self else {
            return Failure::new(FailureKind::Unreachable, "the camera has gone");
        };
        let meter = target.peer.as_ref().map(|peer| telemetry.link(peer.id(), Direction::In));
        let kind = if meter.is_some() { SourceKind::Hub } else { SourceKind::RtspPull };
        let protocol = camera.protocol();
        let started = Instant::now();
        let stall_timeout = options.stall_timeout;
        // Moved on when it has run out, not with each picture.
        let mut last_picture = started;
        let stalled = sleep_until(started + stall_timeout);
        tokio::pin!(stalled);
        let no_keyframe = sleep_until(started + options.keyframe_timeout);
        tokio::pin!(no_keyframe);
        let mut keyframe_wait_told = false;
        let mut waits_for_keyframe = true;
        let mut overflow_told = false;
        loop {
            let mut brought = Brought::default();
            let mut payload_octets = 0;
            // The watchdogs are polled first: a flood of anything but pictures must not starve them.
            let arrivals = tokio::select! {
                biased;
                () = &mut stalled => {
                    if last_picture.elapsed() < stall_timeout {
                        stalled.as_mut().reset(last_picture + stall_timeout);
                        continue;
                    }
                    let why = camera.silence().map(|why| format!(": {why}")).unwrap_or_default();
                    return Failure::new(
                        FailureKind::Silent,
                        format!("the camera sent no complete picture for {:.1} s{why}", stall_timeout.as_secs_f64()),
                    );
                }
                () = &mut no_keyframe, if waits_for_keyframe => {
                    let failure = no_keyframe_failure(options.keyframe_timeout);
                    // After a loss, dialling anew is how most cameras are made to send one.
                    if keyframe_wait_told || self.live_since.is_some() {
                        return failure;
                    }
                    // Told at once, but not cut off: with a keyframe interval of a minute, dialling anew never helps.
                    keyframe_wait_told = true;
                    self.stream.report(failure.into_state());
                    no_keyframe.as_mut().reset(started + options.keyframe_timeout * KEYFRAME_PATIENCE);
                    continue;
                }
                arrivals = camera.advance(|media| match media {
                    Media::Packet { place, packet, at } => {
                        let header = packet.header;
                        payload_octets += packet.payload.len() as u64;
                        let one = intake.take(
                            place,
                            Arrived {
                                payload_type: header.payload_type,
                                packet: Packet {
                                    sequence: header.sequence,
                                    timestamp: header.timestamp,
                                    marker: header.marker,
                                    payload: packet.payload,
                                },
                                at,
                            },
                        );
                        brought.picture |= one.picture;
                        brought.keyframe |= one.keyframe;
                    }
                    Media::Report { place, info } => intake.sender_report(place, info.rtp_timestamp, info.ntp),
                }) => arrivals,
            };
            let arrivals = match arrivals {
                Ok(arrivals) => arrivals,
                Err(failure) => return failure,
            };
            telemetry.moved(Direction::In, protocol, arrivals.packets, arrivals.octets);
            if let Some(meter) = &meter {
                meter.add(payload_octets);
            }
            if arrivals.malformed > 0 {
                telemetry.dropped(DropReason::Malformed).fetch_add(arrivals.malformed, Relaxed);
            }
            if arrivals.overflown > 0 {
                telemetry.dropped(DropReason::SourceGap).fetch_add(arrivals.overflown, Relaxed);
                if !std::mem::replace(&mut overflow_told, true) {
                    warn!(
                        camera = %target.camera, datagrams = arrivals.overflown,
                        "the kernel has no room for what the camera sends by UDP: raise net.core.rmem_max"
                    );
                }
            }
            if intake.waits_for_keyframe() != waits_for_keyframe {
                waits_for_keyframe = !waits_for_keyframe;
                no_keyframe.as_mut().reset(Instant::now() + options.keyframe_timeout);
            }
            if brought.picture {
                last_picture = Instant::now();
            }
            if brought.keyframe && self.live_since.is_none() {
                let playing = options.dials.plays(target.camera.clone());
                self.live_since = Some(Live::new(kind, telemetry.clone(), playing));
                self.stream.report(SourceState::Live);
                info!(
                    camera = %target.camera, protocol = protocol.word(),
                    after_ms = started.elapsed().as_millis() as u64, "the source is live"
                );
            }
        }
    }
}

fn no_keyframe_failure(waited: Duration) -> Failure {
    Failure::new(
        FailureKind::NoKeyframe,
        format!(
            "the camera sends pictures, but no keyframe within {:.0} s: {NO_KEYFRAME_REMEDY}",
            waited.as_secs_f64()
        ),
    )
}

/// Doubles from the first to the longest pause, and spreads by a quarter either way, so that the cameras of one
/// recorder do not come back in one breath.
fn pause(options: &Options, kind: FailureKind, failures: u32) -> Duration {
    let (first, longest) = match kind {
        FailureKind::RefusedLogin => options.retry_refused,
        FailureKind::Unreachable
        | FailureKind::Busy
        | FailureKind::Denied
        | FailureKind::Certificate
        | FailureKind::Silent
        | FailureKind::NoKeyframe
        | FailureKind::NoPicture
        | FailureKind::Invalid
        | FailureKind::Hub(_) => options.retry,
    };
    let doubled = first.saturating_mul(1u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX)).min(longest);
    doubled.mul_f64(0.75 + rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_are_capped_and_spread() {
        let options = Options::default();
        for (failures, expected_ms) in [(0, 500u64), (1, 1_000), (4, 8_000), (5, 10_000), (4_000_000_000, 10_000)] {
            let pauses: Vec<u64> =
                (0..100).map(|_| pause(&options, FailureKind::Silent, failures).as_millis() as u64).collect();
            assert!(pauses.iter().all(|pause| (expected_ms * 3 / 4..=expected_ms * 5 / 4).contains(pause)));
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
        assert!(pause(&options, FailureKind::RefusedLogin, 0) > Duration::from_secs(3), "cameras lock accounts");
    }
}
