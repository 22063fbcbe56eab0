//! An access unit with its wire forms, each derived once and shared by all sinks.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::media::{AccessUnit, CodecParameters, Track};
use crate::wire::{aac, g711, h264_pay, rtp};

/// `$`, channel, length (RFC 2326 §10.12).
const INTERLEAVED_HEADER: usize = 4;

/// One RTP packet's variable part (RFC 3550 §5.1). Payload at most 1,200 octets, shared by every viewer.
#[derive(Clone, Debug)]
pub struct RtpPacket {
    pub marker: bool,
    /// Low 16 bits go on the wire; counts from 0 at the start of the stream, per track.
    pub sequence: u64,
    /// Low 32 bits of the presentation time; packets of a long piece of G.711 differ.
    pub timestamp: u32,
    pub payload: Arc<[u8]>,
}

/// How a track is packetised.
#[derive(Clone, Copy, Debug)]
enum Payload {
    H264,
    Aac,
    G711 { channels: u8 },
}

/// What a track's packets have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    payload: Payload,
    payload_type: u8,
    ssrc: u32,
}

impl Shape {
    pub(super) fn new(track: &Track, payload_type: u8, ssrc: u32) -> Self {
        let payload = match track.parameters {
            CodecParameters::H264 { .. } => Payload::H264,
            CodecParameters::Aac { .. } => Payload::Aac,
            CodecParameters::G711 { channels } => Payload::G711 { channels },
        };
        Self { payload, payload_type, ssrc }
    }

    /// How many packets the unit will take. Known without cutting it, so that sequence numbers are given out whether
    /// or not anybody needs the packets.
    pub(super) fn count(&self, unit: &AccessUnit) -> usize {
        match self.payload {
            Payload::H264 => h264_pay::count(&unit.data, &unit.nals),
            Payload::Aac => aac::count(&unit.data),
            Payload::G711 { channels } => g711::count(&unit.data, channels),
        }
    }
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
    first_sequence: u64,
    count: usize,
    packets: OnceLock<Box<[RtpPacket]>>,
    interleaved: OnceLock<Bytes>,
}

impl WireUnit {
    pub(super) fn new(
        index: u64,
        generation: u32,
        unit: AccessUnit,
        starts_gop: bool,
        shape: Shape,
        sequences: std::ops::Range<u64>,
    ) -> Self {
        Self {
            index,
            generation,
            unit,
            starts_gop,
            shape,
            first_sequence: sequences.start,
            count: usize::try_from(sequences.end - sequences.start).unwrap_or_default(),
            packets: OnceLock::new(),
            interleaved: OnceLock::new(),
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
        self.unit.pts as u32
    }

    /// RTP packets of this unit, derived on first use (H.264: RFC 6184 mode 1; AAC: RFC 3640; G.711: RFC 3551).
    pub fn packets(&self) -> &[RtpPacket] {
        self.packets.get_or_init(|| {
            let mut packets = Vec::with_capacity(self.count);
            let mut scratch = Vec::with_capacity(rtp::MAX_PAYLOAD);
            self.each_packet(|header, sequence, parts| {
                scratch.clear();
                parts.iter().for_each(|part| scratch.extend_from_slice(part));
                packets.push(RtpPacket {
                    marker: header.marker,
                    sequence,
                    timestamp: header.timestamp,
                    payload: Arc::from(&scratch[..]),
                });
            });
            packets.into_boxed_slice()
        })
    }

    /// The same packets framed for RTSP interleaved transport (RFC 2326 §10.12), one contiguous buffer:
    /// RTP of track n goes on channel 2n; SSRC and payload type from the stream's description.
    pub fn interleaved(&self) -> &Bytes {
        self.interleaved.get_or_init(|| {
            let channel = (self.unit.track as u8) << 1;
            // Start codes make up for the lengths in aggregates.
            let headers = self.count * (INTERLEAVED_HEADER + rtp::HEADER_LEN + 4);
            let mut out = Vec::with_capacity(self.unit.data.len() + headers);
            self.each_packet(|header, _, parts| {
                let length = rtp::HEADER_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
                let [length0, length1] = (length as u16).to_be_bytes();
                out.extend_from_slice(&[b'$', channel, length0, length1]);
                out.extend_from_slice(&header.to_bytes());
                parts.iter().for_each(|part| out.extend_from_slice(part));
            });
            Bytes::from(out)
        })
    }

    fn each_packet(&self, mut each: impl FnMut(rtp::Header, u64, &[&[u8]])) {
        let Shape { payload, payload_type, ssrc } = self.shape;
        let mut place = 0;
        let mut next = |offset: u32, ends_at: Option<usize>, parts: &[&[u8]]| {
            let sequence = self.first_sequence + place as u64;
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
            Payload::H264 => h264_pay::packetise(data, &self.unit.nals, |parts| next(0, Some(self.count), parts)),
            Payload::Aac => aac::packetise(data, |parts| next(0, Some(self.count), parts)),
            // The marker would mean the end of a silence, which nobody suppresses here (RFC 3551 §4.1).
            Payload::G711 { channels } => g711::packetise(data, channels, |offset, parts| next(offset, None, parts)),
        }
    }
}
