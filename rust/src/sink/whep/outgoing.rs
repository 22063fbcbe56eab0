//! One RTP stream towards a viewer: its numbers, its clock, and packets sealed into the batch.

use std::time::Instant;

use str0m::Rtc;
use str0m::format::Codec as RtcCodec;
use str0m::media::Mid;
use str0m::rtp::Extension;

use super::answer::Chosen;
use super::batch::{Batch, Route};
use super::connection::Connection;
use crate::stream::RtpPacket;
use crate::wire::rtp::Header;
use crate::wire::rtp_extensions::Extensions;
use crate::wire::srtp::RtpSealer;

/// A stream of packets sent again (RFC 4588).
struct Resent {
    ssrc: u32,
    payload_type: u8,
    next_sequence: u64,
}

pub(super) struct Outgoing {
    /// Which of the stream's tracks it carries; None while there is none for it.
    pub track: Option<usize>,
    pub codec: RtcCodec,
    pub ssrc: u32,
    pub rate_hz: u32,
    payload_type: u8,
    mid: Mid,
    mid_id: Option<u8>,
    transport_id: Option<u8>,
    resent: Option<Resent>,
    /// Low 16 bits go on the wire, the rest is SRTP's rollover counter. Starts in the lower half, so that the viewer
    /// does not take the start for an end, should it get the first packets late (RFC 3711 §3.3.1).
    next_sequence: u64,
    pub offset: u32,
    /// Of the last unit, and when it was taken.
    last: Option<(u32, Instant)>,
    /// The timeline is another one: its first unit of the present goes on where the last one's time would be.
    is_adrift: bool,
    /// The viewer has not reported on this source yet: each packet says where it belongs (RFC 8843 §15.2).
    introduces_itself: bool,
    /// For sender reports; what is sent again counts too.
    pub packets: u32,
    pub octets: u32,
}

/// A packet as it was sent: what it takes to send the same again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub sequence: u64,
    pub timestamp: u32,
    /// Number among all packets to this viewer, where those are counted.
    pub transport_sequence: Option<u16>,
    pub with_mid: bool,
}

/// Where sealed packets go, as long as nothing is received meanwhile.
pub(super) struct Outlet<'a> {
    batch: &'a mut Batch,
    connection: &'a Connection,
    sealer: &'a RtpSealer,
    route: Option<Route>,
    max_segments: usize,
}

impl<'a> Outlet<'a> {
    /// Sends first what is gathered for another way.
    pub fn new(batch: &'a mut Batch, connection: &'a Connection, sealer: &'a RtpSealer) -> Self {
        let route = connection.route();
        if route.is_some_and(|route| !batch.goes(route)) {
            connection.send(batch);
        }
        Self { batch, connection, sealer, route, max_segments: connection.place.max_segments() }
    }

    /// Gives the packet's octets, the tag apart; None where there is no way to the viewer, or no key.
    fn put(&mut self, header: Header, extensions: Extensions<'_>, parts: [&[u8]; 3], index: u64) -> Option<usize> {
        let route = self.route?;
        let header_len = extensions.header_len();
        let length = header_len + parts.iter().map(|part| part.len()).sum::<usize>() + self.sealer.tag_len();
        let sealer = self.sealer;
        let write = |bytes: &mut Vec<u8>| {
            let start = bytes.len();
            extensions.write(header, bytes);
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            sealer.seal(bytes, start, header_len, header.ssrc, index)
        };
        if !self.batch.has_room(length, self.max_segments) {
            self.connection.send(self.batch);
        }
        self.batch.add(route, length, write).ok()?;
        Some(length - sealer.tag_len())
    }
}

impl Outgoing {
    /// None when str0m has no such stream or payload type.
    pub fn new(rtc: &mut Rtc, chosen: Chosen, is_video: bool) -> Option<Self> {
        let (ssrc, resent_ssrc) = {
            let mut direct = rtc.direct_api();
            let stream = direct.stream_tx_by_mid(chosen.mid, None)?;
            (*stream.ssrc(), stream.rtx().map(|ssrc| *ssrc))
        };
        let media = rtc.media(chosen.mid)?;
        let extensions = media.remote_extmap();
        let (mid_id, transport_id) =
            (extensions.id_of(Extension::RtpMid), extensions.id_of(Extension::TransportSequenceNumber));
        let params = rtc.codec_config().params().iter().find(|params| params.pt() == chosen.pt)?;
        let resend = params.resend().filter(|pt| media.remote_pts().contains(pt) && is_video);
        let resent =
            resend.zip(resent_ssrc).map(|(pt, ssrc)| Resent { ssrc, payload_type: *pt, next_sequence: start() });
        let transport_id = transport_id.filter(|_| is_video && params.fb_transport_cc());
        let rate_hz = params.spec().clock_rate.get();
        Some(Self {
            track: Some(chosen.track),
            codec: chosen.codec,
            ssrc,
            rate_hz,
            payload_type: *chosen.pt,
            mid: chosen.mid,
            mid_id,
            transport_id,
            resent,
            next_sequence: start(),
            offset: rand::random(),
            last: None,
            is_adrift: false,
            introduces_itself: true,
            packets: 0,
            octets: 0,
        })
    }

    /// Goes over to another codec's payload type, and that of its repeats.
    pub fn change_format(&mut self, rtc: &Rtc, chosen: Chosen) {
        let params = rtc.codec_config().params().iter().find(|params| params.pt() == chosen.pt);
        let repeats = params.and_then(|params| params.resend());
        self.resent = self.resent.take().zip(repeats).map(|(resent, pt)| Resent { payload_type: *pt, ..resent });
        (self.track, self.codec, self.payload_type) = (Some(chosen.track), chosen.codec, *chosen.pt);
    }

    /// Whether packets are numbered over all of the viewer's streams, so that it can say when each came.
    pub fn counts_transport(&self) -> bool {
        self.transport_id.is_some()
    }

    /// The viewer has reported on this stream: it knows what it is.
    pub fn is_known(&mut self) {
        self.introduces_itself = false;
    }

    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The full sequence number that the viewer means; None where it was never sent.
    pub fn sent_sequence(&self, sequence: u16) -> Option<u64> {
        let sequence = crate::wire::rtp::extend(self.next_sequence, sequence);
        (sequence < self.next_sequence).then_some(sequence)
    }

    /// What follows is on another timeline.
    pub fn change_timeline(&mut self) {
        self.is_adrift = true;
    }

    /// The unit's own time; in a replay, times squeezed in behind the last one sent, so that the viewer's clock never
    /// runs backwards and it hurries through to the present.
    pub fn timestamp(&mut self, pts: i64, replayed: bool, now: Instant) -> u32 {
        // The low 32 bits are what goes on the wire.
        let pts = pts as u32;
        if self.is_adrift && !replayed {
            self.is_adrift = false;
            if let Some((last, at)) = self.last {
                let passed = now.saturating_duration_since(at).as_secs_f64() * f64::from(self.rate_hz);
                self.offset = last.wrapping_add(passed as u32).wrapping_sub(pts);
            }
        }
        let own = pts.wrapping_add(self.offset);
        let timestamp = match self.last {
            Some((last, _)) if replayed || (own.wrapping_sub(last) as i32) <= 0 => last.wrapping_add(1),
            _ => own,
        };
        // The present is where the last unit of the present was.
        let at = self.last.filter(|_| replayed).map_or(now, |(_, at)| at);
        self.last = Some((timestamp, at));
        timestamp
    }

    /// Sends a packet of a unit; `own` is the unit's time on the stream's clock. Gives the stamp and the packet's
    /// octets.
    pub fn send(
        &mut self,
        outlet: &mut Outlet<'_>,
        packet: &RtpPacket,
        own: u32,
        timestamp: u32,
        transport_sequence: Option<u16>,
    ) -> Option<(Stamp, usize)> {
        let stamp =
            Stamp { sequence: self.next_sequence, timestamp, transport_sequence, with_mid: self.introduces_itself };
        let length = self.put(outlet, packet, own, stamp)?;
        self.next_sequence += 1;
        Some((stamp, length))
    }

    /// Sends a packet again: as a packet of the stream for that, else as the very same packet. Gives the packet's octets
    /// and whether it took a transport-wide number of its own.
    pub fn resend(
        &mut self,
        outlet: &mut Outlet<'_>,
        packet: &RtpPacket,
        own: u32,
        stamp: Stamp,
        transport_sequence: Option<u16>,
    ) -> Option<(usize, bool)> {
        let Some(resent) = &mut self.resent else {
            return self.put(outlet, packet, own, stamp).map(|len| (len, false));
        };
        let header = Header {
            marker: packet.marker,
            payload_type: resent.payload_type,
            sequence: resent.next_sequence as u16,
            timestamp: stamp.timestamp.wrapping_add(packet.timestamp.wrapping_sub(own)),
            ssrc: resent.ssrc,
        };
        let extensions = Extensions {
            mid: self.mid_id.filter(|_| self.introduces_itself).map(|id| (id, &*self.mid)),
            transport_sequence: self.transport_id.zip(transport_sequence),
        };
        let original = (stamp.sequence as u16).to_be_bytes();
        let [head, body] = packet.payload();
        let length = outlet.put(header, extensions, [&original, head, body], resent.next_sequence)?;
        resent.next_sequence += 1;
        Some((length, transport_sequence.is_some()))
    }

    fn put(&mut self, outlet: &mut Outlet<'_>, packet: &RtpPacket, own: u32, stamp: Stamp) -> Option<usize> {
        let header = Header {
            marker: packet.marker,
            payload_type: self.payload_type,
            sequence: stamp.sequence as u16,
            // Long sound takes several packets, each a little later than the unit.
            timestamp: stamp.timestamp.wrapping_add(packet.timestamp.wrapping_sub(own)),
            ssrc: self.ssrc,
        };
        let extensions = Extensions {
            mid: self.mid_id.filter(|_| stamp.with_mid).map(|id| (id, &*self.mid)),
            transport_sequence: self.transport_id.zip(stamp.transport_sequence),
        };
        let [head, body] = packet.payload();
        let length = outlet.put(header, extensions, [head, body, &[]], stamp.sequence)?;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload_len() as u32);
        Some(length)
    }
}

/// A first sequence number.
fn start() -> u64 {
    u64::from(rand::random::<u16>() >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing() -> Outgoing {
        Outgoing {
            track: Some(0),
            codec: RtcCodec::H264,
            ssrc: 1,
            rate_hz: 90_000,
            payload_type: 96,
            mid: "0".into(),
            mid_id: None,
            transport_id: None,
            resent: None,
            next_sequence: start(),
            offset: u32::MAX - 100,
            last: None,
            is_adrift: false,
            introduces_itself: false,
            packets: 0,
            octets: 0,
        }
    }

    #[test]
    fn sequence_numbers_start_below_the_first_rollover() {
        assert!((0..1000).all(|_| outgoing().next_sequence() < 1 << 15));
    }

    #[test]
    fn a_viewer_means_a_packet_that_it_was_sent() {
        let mut video = outgoing();
        video.next_sequence = 0x1_0005;
        assert_eq!(video.sent_sequence(4), Some(0x1_0004));
        assert_eq!(video.sent_sequence(0xfff0), Some(0xfff0));
        assert_eq!(video.sent_sequence(5), None, "not sent yet");
    }

    #[test]
    fn a_replay_is_squeezed_in_between_what_was_and_what_comes() {
        let (mut video, now) = (outgoing(), Instant::now());
        let sent: Vec<u32> = (0..3).map(|number| video.timestamp(number * 3600, false, now)).collect();
        let again: Vec<u32> = (0..3).map(|number| video.timestamp(number * 3600, true, now)).collect();
        let next = video.timestamp(3 * 3600, false, now);
        assert_eq!(sent[1].wrapping_sub(sent[0]), 3600);
        assert_eq!(again, (1..4).map(|tick| sent[2].wrapping_add(tick)).collect::<Vec<_>>());
        assert_eq!(next.wrapping_sub(sent[2]), 3600);
    }

    #[test]
    fn another_timeline_goes_on_where_the_last_one_would_be() {
        let (mut video, now) = (outgoing(), Instant::now());
        let last = video.timestamp(1_000_000, false, now);
        video.change_timeline();
        // Its group of pictures from the cache, then the present, 40 ms after the last picture.
        let cached: Vec<u32> = (0..3).map(|number| video.timestamp(number * 3600, true, now)).collect();
        let present = video.timestamp(3 * 3600, false, now + std::time::Duration::from_millis(40));
        let next = video.timestamp(4 * 3600, false, now + std::time::Duration::from_millis(80));
        assert_eq!(cached, (1..4).map(|tick| last.wrapping_add(tick)).collect::<Vec<_>>());
        // A tick for each picture of the cache.
        assert_eq!(present.wrapping_sub(last), 3600 + 3);
        assert_eq!(next.wrapping_sub(present), 3600);
    }
}
