//! Keeps one stream fed for as long as somebody wants it: dials, watches, and dials again for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use retina::client::{PacketItem, SessionGroup};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::dials::Playing;
use super::intake::{Arrived, Intake};
use super::rtsp::{self, Play};
use super::{Failure, FailureKind, Options, Target};
use crate::stream::{SourceState, Stream};
use crate::telemetry::{Direction, Protocol, SourceKind, Telemetry};
use crate::wire::depay::Packet;

/// A camera that played at least this long has earned a quick first retry.
const STEADY: Duration = Duration::from_secs(10);
/// How long an old session may hold up a new one.
const STALE_SESSIONS: Duration = Duration::from_secs(2);
/// After how many `keyframe_timeout`s without a keyframe the camera is dialled anew.
const KEYFRAME_PATIENCE: u32 = 3;

/// Pulls `target` into `stream` until `cancel`; to be spawned as a task of its own.
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
    if target.transport == UDP {
        // retina has no reorder buffer, and would send to whatever address the camera names.
        info!(camera = %target.camera, "the camera is registered for UDP; it is pulled over TCP");
    }
    let mut pull = Pull {
        intake: Intake::new(stream.clone(), telemetry.clone()),
        // One group a camera: cheap ones have few sessions, and none may be left behind.
        group: Arc::new(SessionGroup::default()),
        began: Instant::now(),
        live_since: None,
        target,
        stream,
        options,
        telemetry,
    };
    let mut failures = 0u32;
    loop {
        pull.stream.report(SourceState::Connecting);
        let failure = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            failure = pull.once() => failure,
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
        pull.stream.report(SourceState::Failed { reason: failure.kind.reason(), message: failure.message });
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            () = sleep(pause) => {}
        }
        pull.telemetry.source_reconnects.fetch_add(1, Relaxed);
        let stale = pull.group.stale_sessions();
        let waited = timeout(STALE_SESSIONS, pull.group.await_stale_sessions(&stale));
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            _ = waited => {}
        }
    }
    pull.live_since = None;
    pull.stream.report(SourceState::Idle);
}

const UDP: u8 = 2;

struct Pull {
    target: Target,
    stream: Arc<Stream>,
    options: Arc<Options>,
    telemetry: Arc<Telemetry>,
    intake: Intake,
    group: Arc<SessionGroup>,
    began: Instant,
    live_since: Option<Live>,
}

/// Counts as a live stream while it exists.
struct Live {
    at: Instant,
    telemetry: Arc<Telemetry>,
    _playing: Playing,
}

impl Live {
    fn new(telemetry: Arc<Telemetry>, playing: Playing) -> Self {
        telemetry.streams(SourceKind::RtspPull).fetch_add(1, Relaxed);
        Self { at: Instant::now(), telemetry, _playing: playing }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.telemetry.streams(SourceKind::RtspPull).fetch_sub(1, Relaxed);
    }
}

impl Pull {
    /// One connection from its beginning to its end.
    async fn once(&mut self) -> Failure {
        let camera = match rtsp::describe(&self.target, &self.options, Some(self.group.clone())).await {
            Ok(camera) => camera,
            Err(failure) => return failure,
        };
        let places: Vec<usize> = camera.offers.iter().map(|(place, _)| *place).collect();
        self.intake.restart(camera.offers.iter().map(|(_, offer)| offer.clone()));
        match camera.play(&self.target).await {
            Ok(mut play) => self.watch(&mut play, &places).await,
            Err(failure) => failure,
        }
    }

    /// Takes packets until the camera fails or falls silent.
    async fn watch(&mut self, play: &mut Play, places: &[usize]) -> Failure {
        let started = Instant::now();
        let stall_timeout = self.options.stall_timeout;
        let stalled = sleep_until(started + stall_timeout);
        tokio::pin!(stalled);
        let no_keyframe = sleep_until(started + self.options.keyframe_timeout);
        tokio::pin!(no_keyframe);
        let mut keyframe_wait_told = false;
        let mut waits_for_keyframe = true;
        loop {
            // The watchdogs are polled first: a flood of anything but pictures must not starve them.
            let item = tokio::select! {
                biased;
                () = &mut stalled => return Failure::new(
                    FailureKind::Silent,
                    format!("the camera sent no complete picture for {:.1} s", stall_timeout.as_secs_f64()),
                ),
                () = &mut no_keyframe, if waits_for_keyframe => {
                    let failure = no_keyframe_failure(self.options.keyframe_timeout);
                    // After a loss, dialling anew is how most cameras are made to send one.
                    if keyframe_wait_told || self.live_since.is_some() {
                        return failure;
                    }
                    // Told at once, but not cut off: with a keyframe interval of a minute, dialling anew never helps.
                    keyframe_wait_told = true;
                    self.stream.report(SourceState::Failed { reason: failure.kind.reason(), message: failure.message });
                    no_keyframe.as_mut().reset(started + self.options.keyframe_timeout * KEYFRAME_PATIENCE);
                    continue;
                }
                item = play.next(&self.target) => match item {
                    Ok(item) => item,
                    Err(failure) => return failure,
                },
            };
            let brought = match item {
                PacketItem::Rtp(packet) => {
                    let Some(place) = places.iter().position(|place| *place == packet.stream_id()) else { continue };
                    let header = packet.header();
                    self.telemetry.moved(Direction::In, Protocol::RtspTcp, 1, packet.raw().len() as u64);
                    self.intake.take(
                        place,
                        Arrived {
                            payload_type: header.payload_type(),
                            packet: Packet {
                                sequence: header.sequence_number(),
                                timestamp: header.timestamp(),
                                marker: header.mark(),
                                payload: packet.payload(),
                            },
                            at: packet.ctx().received().saturating_duration_since(self.began.into_std()),
                        },
                    )
                }
                PacketItem::Rtcp(compound) => {
                    if let Some(place) = places.iter().position(|place| *place == compound.stream_id()) {
                        for report in compound.pkts().filter_map(|packet| packet.as_sender_report().ok().flatten()) {
                            self.intake.sender_report(place, report.rtp_timestamp(), report.ntp_timestamp().0);
                        }
                    }
                    continue;
                }
                _ => continue,
            };
            if self.intake.waits_for_keyframe() != waits_for_keyframe {
                waits_for_keyframe = !waits_for_keyframe;
                no_keyframe.as_mut().reset(Instant::now() + self.options.keyframe_timeout);
            }
            if brought.picture {
                stalled.as_mut().reset(Instant::now() + stall_timeout);
            }
            if brought.keyframe && self.live_since.is_none() {
                let playing = self.options.dials.plays(self.target.camera.clone());
                self.live_since = Some(Live::new(self.telemetry.clone(), playing));
                self.stream.report(SourceState::Live);
                info!(camera = %self.target.camera, after_ms = started.elapsed().as_millis() as u64, "the source is live");
            }
        }
    }
}

fn no_keyframe_failure(waited: Duration) -> Failure {
    Failure::new(
        FailureKind::NoKeyframe,
        format!(
            "the camera sends pictures, but no keyframe within {:.0} s: shorten its keyframe interval",
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
        | FailureKind::Denied
        | FailureKind::Silent
        | FailureKind::NoKeyframe
        | FailureKind::NoPicture
        | FailureKind::Invalid => options.retry,
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
