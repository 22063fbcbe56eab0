//! The stream's timeline on the wall clock, for sender reports and RTP-Info.

use std::time::{Duration, Instant};

use super::TrackState;
use crate::stream::rtp_timestamp;
use crate::wire::rtcp::{self, SenderInfo};

const NANOS: i128 = 1_000_000_000;

/// Nanoseconds of the stream's timeline.
type Media = i128;

/// One straight line between the timeline and the wall clock, laid through the newest unit at the start and kept: were it
/// laid anew with each report, jitter would move sound against picture.
pub(super) struct Clock {
    wall: Duration,
    created: Instant,
    first: Option<Media>,
    newest: Option<Media>,
    anchor: Option<(Media, Instant)>,
}

impl Clock {
    pub fn new(wall: Duration, created: Instant) -> Self {
        Self { wall, created, first: None, newest: None, anchor: None }
    }

    /// A unit goes out.
    pub fn see(&mut self, pts: i64, rate_hz: u32) {
        if self.anchor.is_some() {
            return;
        }
        let at = i128::from(pts) * NANOS / i128::from(rate_hz.max(1));
        self.first.get_or_insert(at);
        self.newest = self.newest.max(Some(at));
    }

    pub fn is_started(&self) -> bool {
        self.first.is_some()
    }

    /// The first unit's instant on a track's RTP clock.
    pub fn start_timestamp(&self, rate_hz: u32) -> Option<u32> {
        Some(rtp_timestamp(ticks(self.first?, rate_hz), rate_hz))
    }

    /// What a report of this moment says of a track; None before the first unit.
    pub fn sender_info(&mut self, track: &TrackState, now: Instant) -> Option<SenderInfo> {
        let newest = self.newest?;
        let (media, at) = *self.anchor.get_or_insert((newest, now));
        let moment = media + i128::try_from(now.saturating_duration_since(at).as_nanos()).ok()?;
        Some(SenderInfo {
            ssrc: track.ssrc,
            ntp: rtcp::ntp(self.wall + now.saturating_duration_since(self.created)),
            rtp_timestamp: rtp_timestamp(ticks(moment, track.rate_hz), track.rate_hz),
            packets: track.packets,
            octets: track.octets,
        })
    }
}

/// To the nearest tick, so that what was ticks once becomes the same ticks again.
fn ticks(at: Media, rate_hz: u32) -> i64 {
    let scaled = at * i128::from(rate_hz);
    let rounded = (scaled + NANOS / 2).div_euclid(NANOS);
    i64::try_from(rounded).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(rate_hz: u32) -> TrackState {
        TrackState {
            is_set_up: true,
            rate_hz,
            ssrc: 1,
            first_sequence: None,
            next_large: 0,
            packets: 2,
            octets: 3,
            lost: 0,
            reported: 0,
        }
    }

    #[test]
    fn all_tracks_start_at_one_instant() {
        let mut clock = Clock::new(Duration::from_secs(1_000), Instant::now());
        assert_eq!(clock.start_timestamp(90_000), None);
        clock.see(90_001, 90_000);
        clock.see(8_400, 8_000);
        assert_eq!(clock.start_timestamp(90_000), Some(180_001));
        assert_eq!(clock.start_timestamp(8_000), Some(16_000));
    }

    #[test]
    fn reports_lie_on_one_line_whatever_the_jitter() {
        let start = Instant::now();
        let mut clock = Clock::new(Duration::from_secs(1_000), start);
        assert_eq!(clock.sender_info(&track(90_000), start), None);
        clock.see(180_000, 90_000);
        let first = clock.sender_info(&track(90_000), start).expect("started");
        clock.see(999_999, 90_000);
        let later = start + Duration::from_secs(5);
        let video = clock.sender_info(&track(90_000), later).expect("started");
        let sound = clock.sender_info(&track(8_000), later).expect("started");
        assert_eq!(first.rtp_timestamp, 270_000);
        assert_eq!(video.rtp_timestamp, 270_000 + 450_000);
        assert_eq!(sound.rtp_timestamp, 24_000 + 40_000);
        assert_eq!(video.ntp - first.ntp, 5 << 32);
        assert_eq!((video.packets, video.octets), (2, 3));
    }

    #[test]
    fn every_tick_is_found_again() {
        for rate in [8_000, 11_025, 44_100, 48_000, 90_000] {
            for pts in [0, 1, 7, 1_001, 123_456_789, 1 << 40, -5] {
                let mut clock = Clock::new(Duration::ZERO, Instant::now());
                clock.see(pts, rate);
                assert_eq!(clock.start_timestamp(rate), Some(rtp_timestamp(pts, rate)), "{rate} {pts}");
            }
        }
    }
}
