//! An access unit with its wire forms, each derived once and shared by all sinks.
//!
//! The contiguous forms (`interleaved`, `datagrams`, `fragment`) are as large as the unit itself, so they are kept only while viewers
//! are being served with it; `Stream` lets them go after that (`cool`), and a late joiner derives them anew. The table of
//! packets refers to the unit's own octets and stays.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::media::{AccessUnit, CodecParameters, MediaKind, Track};
use crate::wire::{aac, fmp4, g711, h264_pay, h265_pay, rtp, websocket};

/// `$`, channel, length (RFC 2326 §10.12).
const INTERLEAVED_HEADER: usize = 4;
/// Most octets that a payload has in front of what it takes from the unit: RFC 3640's headers.
const MAX_HEAD: usize = 4;

/// One RTP packet's variable part (RFC 3550 §5.1). Payload at most 1,200 octets, shared by every viewer.
#[derive(Clone, Debug)]
pub struct RtpPacket {
    pub marker: bool,
    /// Low 16 bits go on the wire; counts from 0 at the start of the stream, per track.
    pub sequence: u64,
    /// See `rtp_timestamp`; packets of a long piece of G.711 differ.
    pub timestamp: u32,
    head: [u8; MAX_HEAD],
    head_len: u8,
    body: Bytes,
}

impl RtpPacket {
    /// The payload, in two parts to be written one after the other; the second refers to the unit's own octets.
    pub fn payload(&self) -> [&[u8]; 2] {
        [self.head.get(..usize::from(self.head_len)).unwrap_or_default(), &self.body]
    }

    /// Octets of the payload.
    pub fn payload_len(&self) -> usize {
        usize::from(self.head_len) + self.body.len()
    }
}

/// RTP packets one behind the other, for UDP with segmentation offload.
#[derive(Clone, Debug, Default)]
pub struct Datagrams {
    pub bytes: Bytes,
    /// Runs of packets of one size, of which the last may be shorter: what one `sendmsg` can take, if it takes so many.
    pub runs: Arc<[Run]>,
}

/// Packets of one size in `Datagrams::bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub range: Range<usize>,
    /// Octets of each packet but the last, which has at most as many.
    pub segment: usize,
}

/// How a track is packetised.
#[derive(Clone, Copy, Debug)]
enum Payload {
    H264,
    H265,
    Aac,
    G711 { channels: u8 },
    Opus,
}

/// Where a moment of the timeline stands on a track's RTP clock: one second on, for all tracks alike. The timeline begins
/// at zero, and ffmpeg takes a timestamp of 0 in RTP-Info or the first packet for "not known" and repeats it.
pub fn rtp_timestamp(pts: i64, clock_rate_hz: u32) -> u32 {
    (pts as u32).wrapping_add(clock_rate_hz)
}

/// What a track's packets have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    payload: Payload,
    payload_type: u8,
    clock_rate_hz: u32,
    ssrc: u32,
    usual_duration: u32,
}

impl Shape {
    pub(super) fn new(track: &Track, payload_type: u8, ssrc: u32) -> Self {
        let payload = match track.parameters {
            CodecParameters::H264 { .. } => Payload::H264,
            CodecParameters::H265 { .. } => Payload::H265,
            CodecParameters::Aac { .. } => Payload::Aac,
            CodecParameters::G711 { channels } => Payload::G711 { channels },
            CodecParameters::Opus { .. } => Payload::Opus,
        };
        let usual_duration = fmp4::usual_duration(track);
        Self { payload, payload_type, clock_rate_hz: track.clock_rate_hz, ssrc, usual_duration }
    }

    /// How long a unit of the track lasts when nothing else is known, in ticks.
    pub(super) fn usual_duration(&self) -> u32 {
        self.usual_duration
    }

    /// How many packets the unit will take. Known without cutting it, so that sequence numbers are given out whether
    /// or not anybody needs the packets.
    pub(super) fn count(&self, unit: &AccessUnit) -> usize {
        self.count_of(unit, rtp::MAX_PAYLOAD)
    }

    /// The same for pictures in packets of at most `max` octets of payload.
    fn count_of(&self, unit: &AccessUnit, max: usize) -> usize {
        match self.payload {
            Payload::H264 => h264_pay::count(&unit.data, &unit.nals, max),
            Payload::H265 => h265_pay::count(&unit.data, &unit.nals, max),
            Payload::Aac => aac::count(&unit.data),
            Payload::G711 { channels } => g711::count(&unit.data, channels),
            Payload::Opus => usize::from(!unit.data.is_empty()),
        }
    }
}

/// How a unit is cut into packets.
#[derive(Clone, Copy)]
struct Cut {
    /// Octets of a picture's payload.
    max: usize,
    /// The first sequence number.
    first: u64,
    /// Packets.
    count: usize,
}

/// One access unit on its way to the viewers.
pub struct WireUnit {
    /// Counts every unit of the stream, all tracks together, without gaps.
    pub index: u64,
    /// Changes when the tracks or their parameters change: a sink that can't follow ends.
    pub generation: u32,
    pub unit: AccessUnit,
    starts_gop: bool,
    shape: Shape,
    /// Ticks since the unit before it in its track; the usual duration where there is none.
    lasts: u32,
    first_sequence: u64,
    count: usize,
    packets: OnceLock<Box<[RtpPacket]>>,
    interleaved: Mutex<Option<Bytes>>,
    datagrams: Mutex<Option<Datagrams>>,
    fragment: Mutex<Option<Bytes>>,
}

impl WireUnit {
    pub(super) fn new(
        index: u64,
        generation: u32,
        unit: AccessUnit,
        starts_gop: bool,
        shape: Shape,
        lasts: u32,
        sequences: Range<u64>,
    ) -> Self {
        Self {
            index,
            generation,
            unit,
            starts_gop,
            shape,
            lasts,
            first_sequence: sequences.start,
            count: usize::try_from(sequences.end - sequences.start).unwrap_or_default(),
            packets: OnceLock::new(),
            interleaved: Mutex::new(None),
            datagrams: Mutex::new(None),
            fragment: Mutex::new(None),
        }
    }

    /// Delivery may start, or go on after a gap, at this unit: a video keyframe, or any unit of a stream without
    /// video. (`unit.keyframe` is true of every audio unit.)
    pub fn starts_gop(&self) -> bool {
        self.starts_gop
    }

    /// Sequence number of the first packet.
    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// RTP packets of this unit, without deriving them.
    pub fn packet_count(&self) -> usize {
        self.count
    }

    /// RTP timestamp of the unit.
    pub fn timestamp(&self) -> u32 {
        rtp_timestamp(self.unit.pts, self.shape.clock_rate_hz)
    }

    /// RTP packets of this unit, derived on first use (H.264: RFC 6184 mode 1; H.265: RFC 7798; AAC: RFC 3640; G.711:
    /// RFC 3551; Opus: RFC 7587).
    pub fn packets(&self) -> &[RtpPacket] {
        self.packets.get_or_init(|| {
            let mut packets = Vec::with_capacity(self.count);
            self.each_packet(self.usual(), |header, sequence, parts| {
                let mut packet = RtpPacket {
                    marker: header.marker,
                    sequence,
                    timestamp: header.timestamp,
                    head: [0; MAX_HEAD],
                    head_len: 0,
                    body: Bytes::new(),
                };
                match parts {
                    [body] => packet.body = self.share(body),
                    [head, body] if head.len() <= MAX_HEAD => {
                        for (to, from) in packet.head.iter_mut().zip(*head) {
                            *to = *from;
                        }
                        packet.head_len = head.len() as u8;
                        packet.body = self.share(body);
                    }
                    parts => packet.body = parts.concat().into(),
                }
                packets.push(packet);
            });
            packets.into_boxed_slice()
        })
    }

    /// The same octets, by reference where they are the unit's own.
    fn share(&self, part: &[u8]) -> Bytes {
        let data = &self.unit.data;
        let start = (part.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        match start.checked_add(part.len()) {
            Some(end) if start < data.len() && end <= data.len() => data.slice(start..end),
            _ => Bytes::copy_from_slice(part),
        }
    }

    /// The unit in large packets, framed likewise, for one connection to another hub; how many they are. Their sequence
    /// numbers are that connection's own, and begin with `first`: nobody shares them.
    pub fn large(&self, first: u64) -> (Bytes, usize) {
        let count = self.shape.count_of(&self.unit, rtp::LARGE_PAYLOAD);
        let cut = Cut { max: rtp::LARGE_PAYLOAD, first, count };
        (self.framed(cut), count)
    }

    /// The same packets framed for RTSP interleaved transport (RFC 2326 §10.12), one contiguous buffer:
    /// RTP of track n goes on channel 2n; SSRC and payload type from the stream's description.
    pub fn interleaved(&self) -> Bytes {
        let derive = || self.framed(self.usual());
        self.interleaved.lock().get_or_insert_with(derive).clone()
    }

    fn framed(&self, cut: Cut) -> Bytes {
        let channel = (self.unit.track as u8) << 1;
        let mut out = self.room(INTERLEAVED_HEADER, cut.count);
        self.each_packet(cut, |header, _, parts| {
            let length = rtp::HEADER_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
            let [length0, length1] = (length as u16).to_be_bytes();
            out.extend_from_slice(&[b'$', channel, length0, length1]);
            out.extend_from_slice(&header.to_bytes());
            parts.iter().for_each(|part| out.extend_from_slice(part));
        });
        out.into()
    }

    /// The same packets for UDP: SSRC and payload type from the stream's description.
    pub fn datagrams(&self) -> Datagrams {
        let derive = || {
            let (mut out, mut runs) = (self.room(0, self.count), SmallVec::<[Run; 4]>::new());
            self.each_packet(self.usual(), |header, _, parts| {
                let start = out.len();
                out.extend_from_slice(&header.to_bytes());
                parts.iter().for_each(|part| out.extend_from_slice(part));
                let size = out.len() - start;
                match runs.last_mut() {
                    // A shorter one has ended its run.
                    Some(run) if size <= run.segment && run.range.len() % run.segment == 0 => run.range.end = out.len(),
                    _ => runs.push(Run { range: start..out.len(), segment: size }),
                }
            });
            Datagrams { bytes: out.into(), runs: runs.as_slice().into() }
        };
        self.datagrams.lock().get_or_insert_with(derive).clone()
    }

    /// One fragment of MP4 for Media Source Extensions, framed as one binary WebSocket message; empty for G.711, which MP4
    /// has no place for in browsers.
    pub fn fragment(&self) -> Bytes {
        let derive = || {
            let Shape { payload, clock_rate_hz, usual_duration, .. } = self.shape;
            let AccessUnit { track, pts, dts, keyframe, data, nals } = &self.unit;
            let kind = match payload {
                Payload::H264 | Payload::H265 => MediaKind::Video,
                Payload::Aac | Payload::Opus => MediaKind::Audio,
                Payload::G711 { .. } => return Bytes::new(),
            };
            let length = fmp4::OVERHEAD + data.len();
            let mut out = Vec::with_capacity(websocket::MAX_HEADER + length);
            websocket::put_header(&mut out, websocket::Opcode::Binary, length);
            // All tracks begin one second on, as in RTP: what lies before the first unit has room.
            let timing = fmp4::Timing::new(kind, *pts, *dts, self.lasts, usual_duration, clock_rate_hz);
            fmp4::put_fragment(&mut out, self.index as u32, *track, timing, *keyframe, data, nals);
            Bytes::from(out)
        };
        self.fragment.lock().get_or_insert_with(derive).clone()
    }

    /// Lets the contiguous forms go; viewers that still send them hold them themselves.
    pub(super) fn cool(&self) {
        let stale = (self.interleaved.lock().take(), self.datagrams.lock().take(), self.fragment.lock().take());
        drop(stale);
    }

    /// A buffer for all packets with so many octets in front of each. Start codes make up for the lengths in aggregates.
    fn room(&self, framing: usize, packets: usize) -> Vec<u8> {
        Vec::with_capacity(self.unit.data.len() + packets * (framing + rtp::HEADER_LEN + MAX_HEAD))
    }

    /// The packets that all viewers share.
    fn usual(&self) -> Cut {
        Cut { max: rtp::MAX_PAYLOAD, first: self.first_sequence, count: self.count }
    }

    fn each_packet(&self, Cut { max, first, count }: Cut, mut each: impl FnMut(rtp::Header, u64, &[&[u8]])) {
        let Shape { payload, payload_type, ssrc, .. } = self.shape;
        let mut place = 0;
        let mut next = |offset: u32, ends_at: Option<usize>, parts: &[&[u8]]| {
            let sequence = first + place as u64;
            place += 1;
            let header = rtp::Header {
                marker: ends_at == Some(place),
                payload_type,
                sequence: sequence as u16,
                timestamp: self.timestamp().wrapping_add(offset),
                ssrc,
            };
            each(header, sequence, parts);
        };
        let data = &self.unit.data;
        match payload {
            Payload::H264 => h264_pay::packetise(data, &self.unit.nals, max, |parts| next(0, Some(count), parts)),
            Payload::H265 => h265_pay::packetise(data, &self.unit.nals, max, |parts| next(0, Some(count), parts)),
            Payload::Aac => aac::packetise(data, |parts| next(0, Some(count), parts)),
            // The marker would mean the end of a silence, which nobody suppresses here (RFC 3551 §4.1, RFC 7587 §4.1).
            Payload::G711 { channels } => g711::packetise(data, channels, |offset, parts| next(offset, None, parts)),
            Payload::Opus if data.is_empty() => {}
            Payload::Opus => next(0, None, &[data]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smallvec::SmallVec;

    use super::*;
    use crate::wire::depay::{Depacketiser, Event, Packet};
    use crate::wire::h264::H264;
    use crate::wire::h264::samples::{PPS, SPS};

    fn shape(payload: Payload) -> Shape {
        Shape { payload, payload_type: 96, clock_rate_hz: 0, ssrc: 0xfeed, usual_duration: 3600 }
    }

    fn wire(shape: Shape, unit: AccessUnit, first: u64) -> WireUnit {
        let count = shape.count(&unit) as u64;
        WireUnit::new(0, 0, unit, true, shape, 3600, first..first + count)
    }

    fn picture(nals: &[Vec<u8>], pts: i64) -> AccessUnit {
        let (mut data, mut ranges) = (Vec::new(), SmallVec::new());
        for nal in nals {
            data.extend_from_slice(&[0, 0, 0, 1]);
            ranges.push(data.len() as u32..(data.len() + nal.len()) as u32);
            data.extend_from_slice(nal);
        }
        AccessUnit { track: 1, pts, dts: pts, keyframe: true, data: data.into(), nals: ranges }
    }

    fn sound(track: usize, size: usize) -> AccessUnit {
        let data = (0..size).map(|place| place as u8).collect::<Vec<_>>().into();
        AccessUnit { track, pts: -1, dts: -1, keyframe: true, data, nals: SmallVec::new() }
    }

    /// Takes the interleaved buffer apart: channel and packet.
    fn frames(mut buffer: &[u8]) -> Vec<(u8, rtp::Packet<'_>)> {
        let mut frames = Vec::new();
        while let Some((&[dollar, channel, length0, length1], rest)) = buffer.split_first_chunk::<4>() {
            assert_eq!(dollar, b'$');
            let (packet, after) = rest.split_at(usize::from(u16::from_be_bytes([length0, length1])));
            frames.push((channel, rtp::Packet::parse(packet).unwrap()));
            buffer = after;
        }
        assert!(buffer.is_empty());
        frames
    }

    fn slice(header: u8, size: usize) -> Vec<u8> {
        let mut nal = vec![header, 0x88];
        nal.extend((0..size).map(|place| place as u8 | 1));
        nal
    }

    #[test]
    fn a_fragment_is_one_message_and_is_let_go_with_the_other_forms() {
        let unit = wire(shape(Payload::H264), picture(&[vec![0x65; 5000]], 0), 0);
        let fragment = unit.fragment();
        assert_eq!(fragment[..2], [0x82, 126], "final, binary, two octets of length");
        assert_eq!(usize::from(u16::from_be_bytes([fragment[2], fragment[3]])), fragment.len() - 4);
        assert!(std::ptr::eq(fragment.as_ptr(), unit.fragment().as_ptr()), "derived once");
        unit.cool();
        assert!(unit.fragment.lock().is_none());
        assert!(wire(shape(Payload::G711 { channels: 1 }), sound(0, 160), 0).fragment().is_empty());
    }

    proptest! {
        #[test]
        fn both_wire_forms_are_the_same_packets_and_give_the_picture_back(
            first in prop_oneof![Just(0u64), Just(65_530), 0u64..1 << 40],
            sizes in proptest::collection::vec(prop_oneof![1usize..60, 1190usize..1210, 1usize..30_000], 1..5),
        ) {
            let mut depacketiser = Depacketiser::<H264>::default();
            let mut next = first;
            for (place, size) in sizes.into_iter().enumerate() {
                let unit = picture(&[SPS.to_vec(), PPS.to_vec(), slice(0x65, size)], place as i64 * 3600);
                let wire = wire(shape(Payload::H264), unit, next);
                next += wire.packet_count() as u64;
                let buffer = wire.interleaved();
                let frames = frames(&buffer);
                prop_assert_eq!(frames.len(), wire.packets().len());
                let mut came = None;
                for ((channel, frame), packet) in frames.iter().zip(wire.packets()) {
                    let header = rtp::Header {
                        marker: packet.sequence + 1 == next,
                        payload_type: 96,
                        sequence: packet.sequence as u16,
                        timestamp: packet.timestamp,
                        ssrc: 0xfeed,
                    };
                    prop_assert_eq!((*channel, frame.header, frame.payload), (2, header, &packet.payload().concat()[..]));
                    let rtp::Header { marker, sequence, timestamp, .. } = frame.header;
                    for event in depacketiser.push(Packet { sequence, timestamp, marker, payload: frame.payload }) {
                        let Event::Unit(unit) = event else { panic!("lost") };
                        prop_assert!(came.replace(unit).is_none());
                    }
                }
                prop_assert_eq!(&came.unwrap().data[..], &wire.unit.data[..]);
            }
        }
    }

    #[test]
    fn large_packets_hold_the_same_unit_and_count_for_themselves() {
        let mut depacketiser = Depacketiser::<H264>::default();
        let mut next = 65_530;
        for (place, size) in [1, 1_500, 15_000, 100_000, 700].into_iter().enumerate() {
            let unit = picture(&[SPS.to_vec(), PPS.to_vec(), slice(0x65, size)], place as i64 * 3600);
            let wire = wire(shape(Payload::H264), unit, 7);
            let (buffer, count) = wire.large(next);
            let frames = frames(&buffer);
            assert_eq!(frames.len(), count);
            assert!(count <= 2 + size / 15_000 && buffer.len() < wire.unit.data.len() + 32 * count);
            let mut came = None;
            for (number, (channel, frame)) in frames.iter().enumerate() {
                let rtp::Header { marker, sequence, timestamp, .. } = frame.header;
                assert_eq!((*channel, sequence, marker), (2, (next + number as u64) as u16, number + 1 == count));
                assert!(frame.payload.len() <= rtp::LARGE_PAYLOAD);
                for event in depacketiser.push(Packet { sequence, timestamp, marker, payload: frame.payload }) {
                    let Event::Unit(unit) = event else { panic!("lost") };
                    assert!(came.replace(unit).is_none());
                }
            }
            assert_eq!(came.unwrap().data, wire.unit.data);
            next += count as u64;
        }
    }

    #[test]
    fn forms_are_derived_once_and_refer_to_the_unit_where_they_can() {
        let wire = wire(shape(Payload::H264), picture(&[slice(0x41, 3_000)], 0), 0);
        let own = wire.unit.data.as_ptr_range();
        assert!(wire.packets().iter().all(|packet| own.contains(&packet.payload()[1].as_ptr())));
        assert_eq!(wire.interleaved().as_ptr(), wire.interleaved().as_ptr());
        assert_eq!(wire.datagrams().bytes.as_ptr(), wire.datagrams().bytes.as_ptr());
        assert_eq!(wire.packets().iter().map(|packet| packet.marker).collect::<Vec<_>>(), [false, false, true]);
        let held = wire.interleaved();
        wire.cool();
        assert_ne!(wire.interleaved().as_ptr(), held.as_ptr(), "derived anew");
        assert_eq!(wire.interleaved(), held);
    }

    #[test]
    fn datagrams_are_the_packets_in_runs_of_equal_size() {
        let nals = [SPS.to_vec(), PPS.to_vec(), slice(0x65, 5_000), slice(0x65, 100)];
        let wire = wire(shape(Payload::H264), picture(&nals, 0), 9);
        let Datagrams { bytes, runs } = wire.datagrams();
        let packets: Vec<&[u8]> = runs.iter().flat_map(|run| bytes[run.range.clone()].chunks(run.segment)).collect();
        assert_eq!(packets.len(), wire.packet_count());
        for (datagram, packet) in packets.iter().zip(wire.packets()) {
            let parsed = rtp::Packet::parse(datagram).unwrap();
            assert_eq!(parsed.payload, packet.payload().concat());
            assert_eq!((parsed.header.sequence, parsed.header.marker), (packet.sequence as u16, packet.marker));
        }
        assert_eq!(runs.len(), 3, "parameter sets, fragments of which the last is shorter, the small slice");
        assert!(runs.iter().all(|run| run.segment <= rtp::HEADER_LEN + rtp::MAX_PAYLOAD));
        assert_eq!(runs.last().map(|run| run.range.end), Some(bytes.len()));
    }

    #[test]
    fn a_frame_of_sound_keeps_its_time_and_a_long_piece_counts_on() {
        let aac = wire(shape(Payload::Aac), sound(2, 1500), 7);
        assert_eq!(frames(&aac.interleaved()).iter().map(|(channel, _)| *channel).collect::<Vec<_>>(), [4, 4]);
        assert!(aac.packets().iter().all(|packet| packet.timestamp == u32::MAX));
        assert_eq!(aac.packets().iter().map(|packet| packet.marker).collect::<Vec<_>>(), [false, true]);

        let g711 = wire(shape(Payload::G711 { channels: 1 }), sound(0, 1500), 7);
        let stamps: Vec<_> = g711.packets().iter().map(|packet| (packet.sequence, packet.timestamp)).collect();
        assert_eq!(stamps, [(7, u32::MAX), (8, 1199)]);
        assert!(g711.packets().iter().all(|packet| !packet.marker));
    }

    #[test]
    fn no_stream_begins_with_a_timestamp_that_players_take_for_unknown() {
        let shape = Shape { clock_rate_hz: 90_000, ..shape(Payload::H264) };
        let mut first = picture(&[slice(0x41, 10)], 0);
        first.pts = 0;
        assert_eq!(wire(shape, first, 0).timestamp(), 90_000);
    }

    #[test]
    fn a_unit_with_nothing_in_it_has_no_packets() {
        let wire = wire(shape(Payload::H264), picture(&[], 0), 3);
        assert_eq!((wire.packet_count(), wire.packets().len(), wire.interleaved().len()), (0, 0, 0));
    }
}
