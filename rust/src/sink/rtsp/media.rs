//! What a viewer is told of its tracks while they play: whether they still are what was described, reports, farewells.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{REPORT_INTERVAL, RtspSink, TrackState};
use crate::media::MediaKind;
use crate::wire::{rtcp, rtp};

/// A viewer by UDP that neither asks nor reports anything for so long has gone: half as long again as it is told.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(90);
/// Datagrams that are refused for so long have nobody to go to.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(10);

impl TrackState {
    /// RTP packets, and their octets in all, are out.
    pub(super) fn sent(&mut self, packets: usize, octets: usize) {
        self.packets = self.packets.wrapping_add(packets as u32);
        // Reports count payload, without RTP's own header.
        let payload = octets.saturating_sub(rtp::HEADER_LEN * packets);
        self.octets = self.octets.wrapping_add(payload as u32);
    }
}

impl RtspSink {
    /// Whether the tracks that the client set up are still what it was told.
    pub(super) fn follows(&mut self, generation: u32) -> bool {
        if generation == self.generation {
            return true;
        }
        let Some(description) = self.stream.description() else { return false };
        let (old, new) = (&self.description, &description);
        let is_same = self.tracks.iter().enumerate().filter(|(_, state)| state.is_set_up).all(|(index, _)| {
            old.payload_type(index) == new.payload_type(index)
                && old.ssrcs.get(index) == new.ssrcs.get(index)
                && match (old.tracks.get(index), new.tracks.get(index)) {
                    // Parameter sets travel in the keyframes; those of sound stand in the SDP alone.
                    (Some(old), Some(new)) if old.kind() == MediaKind::Video => {
                        old.codec == new.codec && old.clock_rate_hz == new.clock_rate_hz
                    }
                    (old, new) => old == new,
                }
        });
        if is_same {
            self.generation = generation;
            self.description = description;
        }
        is_same
    }

    /// Sends what the pace of UDP allows.
    pub(super) fn send_datagrams(&mut self, now: Instant) {
        let Self { paced, tracks, sent_packets, sent_octets, first_picture, .. } = self;
        let Some(paced) = paced.as_mut().filter(|paced| !paced.is_empty()) else { return };
        let dropped = paced.flush(now, |left| {
            *sent_packets += left.packets as u64;
            *sent_octets += left.octets as u64;
            if let Some(track) = tracks.get_mut(left.track) {
                track.sent(left.packets, left.octets);
            }
            if left.finished == Some(true)
                && let Some(first_picture) = first_picture.take()
            {
                first_picture();
            }
        });
        self.count_dropped(dropped);
        self.count();
    }

    /// Sender reports of all tracks (RFC 3550 §6.4.1): on channels 2n+1, or from the RTCP port.
    pub(super) fn report(&mut self, now: Instant) {
        self.next_report = now + REPORT_INTERVAL;
        self.inbound = 0;
        let mut framed = Vec::new();
        for (index, track) in self.tracks.iter().enumerate().filter(|(_, track)| track.is_set_up) {
            let Some(info) = self.clock.sender_info(track, now) else { continue };
            self.tell(index, &rtcp::sender_report(info, &self.session), &mut framed);
        }
        if !framed.is_empty() {
            self.say(framed.into(), now);
        }
    }

    /// BYE on each track.
    pub(super) fn farewell(&mut self, reason: &str, now: Instant) {
        let mut framed = Vec::new();
        for (index, track) in self.tracks.iter().enumerate().filter(|(_, track)| track.is_set_up) {
            // A compound packet begins with a report (RFC 3550 §6.1).
            let mut packet = match self.clock.sender_info(track, now) {
                Some(info) => rtcp::sender_report(info, &self.session),
                None => Vec::new(),
            };
            packet.extend_from_slice(&rtcp::bye(track.ssrc, reason));
            self.tell(index, &packet, &mut framed);
        }
        if !framed.is_empty() {
            self.say(framed.into(), now);
        }
    }

    /// Sends RTCP of a track by UDP, or frames it for the track's channel.
    fn tell(&self, track: usize, packet: &[u8], framed: &mut Vec<u8>) {
        if let Some(paced) = &self.paced {
            // One that gets lost is as if the network had lost it.
            let _ = paced.ports().send_rtcp(track, packet);
            return;
        }
        let (Ok(track), Ok(length)) = (u8::try_from(track), u16::try_from(packet.len())) else { return };
        let [high, low] = length.to_be_bytes();
        framed.extend_from_slice(&[b'$', (track << 1) | 1, high, low]);
        framed.extend_from_slice(packet);
    }

    /// Why a viewer by UDP is taken for gone; counts what it reports as lost.
    pub(super) fn gone(&mut self, now: Instant) -> Option<&'static str> {
        let feedback = self.paced.as_ref()?.ports().feedback();
        let mut lost = 0;
        for (index, track) in self.tracks.iter_mut().enumerate() {
            let said = feedback.lost_of(index);
            let more = u32::try_from(i64::from(said) - i64::from(track.lost)).unwrap_or(0);
            // The figure is the viewer's word: never more than there was.
            lost += more.min(track.packets.wrapping_sub(track.reported));
            (track.lost, track.reported) = (said.max(track.lost), track.packets);
        }
        self.telemetry.lost(self.protocol).fetch_add(u64::from(lost), Relaxed);
        let silence = feedback.silence(now).min(now.saturating_duration_since(self.heard));
        let refused = feedback.refused_for(now);
        match () {
            () if refused >= REFUSED_TIMEOUT => Some("VIEWER_UNREACHABLE"),
            () if silence >= SILENCE_TIMEOUT => Some("VIEWER_SILENT"),
            () => None,
        }
    }

    /// Tells the client that and why it ends: BYE on each track, then a TEARDOWN of ours with the reason.
    pub(super) fn notify(&mut self, reason: &'static str, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        if self.play.is_some() {
            self.refuse_play(reason, now);
        } else {
            self.farewell(reason, now);
            self.say_teardown(reason, now);
        }
        self.close(reason, now);
    }
}
