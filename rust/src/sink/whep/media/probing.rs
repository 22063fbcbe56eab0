//! Asking a narrow link whether it takes more: when, with what, and what the viewer's answer means.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::super::outgoing::Outlet;
use super::super::probe::Probe;
use super::super::rate::Change;
use super::super::way::Carrier;
use super::{Line, Media, REPORT_EVERY};

/// Keyframes that come more often than this leave no time to ask a link anything behind them.
const DENSE: Duration = Duration::from_secs(1);

/// When keyframes come.
#[derive(Default)]
pub(super) struct Keyframes {
    last: Option<Instant>,
    interval: Option<Duration>,
    /// When the last one came that was taken.
    taken: Option<Instant>,
}

impl Keyframes {
    pub fn see(&mut self, now: Instant) {
        self.interval = self.last.map(|last| now.saturating_duration_since(last)).or(self.interval);
        self.last = Some(now);
    }

    pub fn took(&mut self, now: Instant) {
        self.taken = Some(now);
    }

    /// Whether there is never time to ask anything between two of them.
    fn are_dense(&self) -> bool {
        self.interval.is_some_and(|interval| interval < DENSE)
    }

    /// Whether something that lasts so long is over by the next.
    pub fn leave_room(&self, lasts: Duration, now: Instant) -> bool {
        self.interval.is_none() || self.left(now) >= lasts
    }

    /// Until the next, if it comes as the last one did.
    fn left(&self, now: Instant) -> Duration {
        let next = self.last.zip(self.interval).map(|(last, interval)| last + interval);
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }
}

impl Media {
    /// The link has had time to get better.
    pub(super) fn begin_probe(&mut self, now: Instant) {
        if self.probe.is_none() {
            self.probe = Some(Probe::new(now));
        }
    }

    /// Whether what the viewer tells is about a probe, and not about the stream.
    pub(super) fn is_probing(&self) -> bool {
        self.probe.as_ref().is_some_and(Probe::is_on)
    }

    /// All is sent again from the next keyframe on.
    fn open(&mut self, now: Instant) -> Change {
        self.probe = None;
        self.link.restart(now);
        self.is_skipping = true;
        self.rate.opened(now)
    }

    /// Sends what of a probe it is time for.
    pub(super) fn probe(&mut self, line: Line<'_>, now: Instant) {
        let is_idle = self.leaving.is_empty() && self.history.waiting() == 0;
        let Some(probe) = &mut self.probe else { return };
        if is_idle && self.keyframes.taken.is_some_and(|taken| probe.waits_for(taken)) {
            let stream_bps = self.bitrate.bps();
            let bps = self.rate.probe_bps(stream_bps);
            // TCP tells of no queue.
            let is_udp = line.connection.route().is_some_and(|route| route.to.carrier == Carrier::Udp);
            if !is_udp || !probe.begin(self.keyframes.left(now), bps, stream_bps, now) {
                // A keyframe that takes too long to leave room behind it goes faster the next time. Else by trying.
                if !is_udp || self.keyframes.are_dense() || self.rate.hurried(stream_bps) {
                    self.change = Some((self.open(now), now));
                } else {
                    self.probe = Some(Probe::new(now));
                }
                return;
            }
            self.link.restart(now);
        }
        let first_number = self.video.counts_transport().then_some(self.transport_sequence);
        let mut counter = first_number;
        let mut outlet = Outlet::new(line.batch, line.connection, &self.rtp);
        let (mut packets, mut octets, mut judged) = (0, 0, SmallVec::<[u16; 16]>::new());
        while let Some(place) = probe.next(now)
            && let Some(filler) = self.history.filler(place)
        {
            let number = counter.map(|number| number as u16);
            let sent = self.video.resend(&mut outlet, filler.packet, filler.own, filler.stamp, number);
            let Some((length, is_numbered)) = sent else { break };
            if is_numbered {
                judged.push(filler.packet.payload_len() as u16);
                counter = counter.map(|number| number + 1);
            }
            (packets, octets) = (packets + 1, octets + length);
            probe.sent(length);
        }
        if probe.ends(now) {
            // The report leaves behind it and meets the queue, if there is one; none is to come that has met none.
            self.next_report = now;
        }
        self.link.sent(&judged, first_number, now);
        self.transport_sequence = counter.unwrap_or(self.transport_sequence);
        line.count(packets, octets);
    }

    /// A report has gone out: the next one but one after a probe.
    pub(super) fn report_pause(&self, now: Instant) -> Duration {
        let is_asking = self.probe.as_ref().and_then(Probe::ended).is_some_and(|ended| now < ended + REPORT_EVERY);
        if is_asking { 2 * REPORT_EVERY } else { REPORT_EVERY }
    }

    /// What the viewer has told of a probe.
    pub(super) fn judge_probe(&mut self, now: Instant) -> Option<Change> {
        let probe = self.probe.as_mut().filter(|probe| probe.is_on())?;
        if self.link.is_filled() {
            self.probe = None;
            self.link.restart(now);
            self.rate.refused(now);
            return None;
        }
        let ended = probe.ended();
        let is_heard = ended.is_some_and(|ended| self.link.heard_after(ended));
        // The report behind the probe is the first to be lost where it has filled a queue to the brim.
        let has_answered = ended.is_some_and(|ended| self.link.has_answered(ended));
        let is_told = self.video.counts_transport() && ended.is_some_and(|ended| self.link.is_told(ended));
        if !is_told && !probe.is_over(is_heard, now) {
            return None;
        }
        // Silence is no yes.
        if !probe.has_asked() || !is_told && !has_answered {
            self.probe = None;
            self.link.restart(now);
            self.rate.refused(now);
            return None;
        }
        if self.rate.granted(probe.bps(), probe.stream_bps(), now) {
            return Some(self.open(now));
        }
        self.probe = Some(Probe::new(now));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_dense_when_they_come_more_often_than_once_a_second_and_leave_room_until_the_next() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut keyframes = Keyframes::default();
        keyframes.see(start);
        assert!(!keyframes.are_dense() && keyframes.left(start) == ms(0), "nobody knows yet");
        assert!(keyframes.leave_room(ms(500), start + ms(1900)), "it may be long");
        keyframes.see(start + ms(2000));
        assert!(!keyframes.are_dense());
        assert_eq!(keyframes.left(start + ms(3800)), ms(200));
        assert!(keyframes.leave_room(ms(200), start + ms(3800)) && !keyframes.leave_room(ms(201), start + ms(3800)));
        keyframes.see(start + ms(2500));
        assert!(keyframes.are_dense());
    }
}
