//! The stream's timeline on the wall clock, for sender reports.

use std::time::{Duration, Instant, SystemTime};

use super::outgoing::Outgoing;
use crate::wire::rtcp::{self, SenderInfo};

const NANOS: i128 = 1_000_000_000;

/// One straight line between the timeline and the wall clock, laid through the newest unit at the first report and kept:
/// were it laid anew with each, jitter would move sound against picture.
pub(super) struct Clock {
    wall: Duration,
    created: Instant,
    /// In nanoseconds of the timeline.
    newest: Option<(i128, Instant)>,
    anchor: Option<(i128, Instant)>,
}

impl Clock {
    pub fn new(now: Instant) -> Self {
        // A clock before 1970 is as good as none.
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { wall, created: now, newest: None, anchor: None }
    }

    /// A unit of the present goes out.
    pub fn see(&mut self, pts: i64, rate_hz: u32, now: Instant) {
        self.newest = Some((i128::from(pts) * NANOS / i128::from(rate_hz.max(1)), now));
    }

    /// The timeline is another one from now on.
    pub fn restart(&mut self) {
        self.newest = None;
        self.anchor = None;
    }

    pub fn ntp(&self, now: Instant) -> u64 {
        rtcp::ntp(self.wall + now.saturating_duration_since(self.created))
    }

    /// What a report of this moment says of a stream; None before the first unit.
    pub fn sender_info(&mut self, outgoing: &Outgoing, now: Instant) -> Option<SenderInfo> {
        let (media, at) = *self.anchor.get_or_insert(self.newest?);
        let moment = media + i128::try_from(now.saturating_duration_since(at).as_nanos()).ok()?;
        let ticks = (moment * i128::from(outgoing.rate_hz) + NANOS / 2).div_euclid(NANOS);
        Some(SenderInfo {
            ssrc: outgoing.ssrc,
            ntp: self.ntp(now),
            rtp_timestamp: (ticks as u32).wrapping_add(outgoing.offset),
            packets: outgoing.packets,
            octets: outgoing.octets,
        })
    }

    /// The round trip that a report block tells of (RFC 3550 §6.4.1), and when the report of ours was sent that it answers;
    /// None when the viewer has had none.
    pub fn round_trip(&self, last_sender_report: u32, delay_since: u32, now: Instant) -> Option<(Duration, Instant)> {
        if last_sender_report == 0 {
            return None;
        }
        let middle = (self.ntp(now) >> 16) as u32;
        let units = middle.wrapping_sub(last_sender_report).wrapping_sub(delay_since);
        // Clocks of two machines do not come into it, but what is forged may say anything.
        let duration = |units: u32| Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16);
        let round_trip = (units < 60 << 16).then(|| duration(units))?;
        Some((round_trip, now.checked_sub(round_trip)?.checked_sub(duration(delay_since))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_what_is_left_when_the_viewers_own_time_is_taken_off() {
        let start = Instant::now();
        let clock = Clock::new(start);
        let sent = (clock.ntp(start) >> 16) as u32;
        let later = start + Duration::from_millis(540);
        let (round_trip, answered) = clock.round_trip(sent, 1 << 15, later).unwrap();
        assert!(round_trip.abs_diff(Duration::from_millis(40)) < Duration::from_millis(1), "{round_trip:?}");
        assert!(answered.max(start) - answered.min(start) < Duration::from_millis(1), "it answers the report of then");
        assert_eq!(clock.round_trip(0, 0, later), None);
        assert_eq!(clock.round_trip(sent.wrapping_add(1 << 20), 0, later), None);
    }
}
