//! AAC over RTP (RFC 3640, mode AAC-hbr: sizelength=13, indexlength=3, indexdeltalength=3).

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::rtp::MAX_PAYLOAD;

/// AU-headers-length and one AU-header.
const HEADERS: usize = 4;
/// What 13 bits can say. An AAC frame of two channels has at most 1,536 octets.
pub const MAX_FRAME: usize = 0x1fff;
const BODY: usize = MAX_PAYLOAD - HEADERS;

/// How many payloads `packetise` will give; 0 for a frame that the mode cannot carry.
pub fn count(frame: &[u8]) -> usize {
    if frame.len() > MAX_FRAME { 0 } else { frame.len().div_ceil(BODY) }
}

/// Gives the payloads of one frame: one packet, or fragments that each state the size of the whole (RFC 3640 §3.2.3.2).
pub fn packetise(frame: &[u8], mut emit: impl FnMut(&[&[u8]])) {
    if frame.len() > MAX_FRAME {
        return;
    }
    let [size0, size1] = ((frame.len() as u16) << 3).to_be_bytes();
    for chunk in frame.chunks(BODY) {
        emit(&[&[0, 16, size0, size1], chunk]);
    }
}

/// Reads the payloads of one track back into frames.
///
/// Feed packets in sequence order; call `lost` at a gap.
#[derive(Default)]
pub struct Depacketiser {
    /// A frame that came in part: its timestamp, its size, what is there.
    partial: Option<(u32, usize, BytesMut)>,
}

impl Depacketiser {
    /// The frames that this packet completes, each with its place among the frames of the packet (so many frame
    /// durations after the packet's timestamp). None when the payload is no AAC-hbr.
    pub fn push(&mut self, timestamp: u32, payload: &[u8]) -> Option<SmallVec<[(u32, Bytes); 2]>> {
        let (length, rest) = payload.split_first_chunk::<2>()?;
        let octets = usize::from(u16::from_be_bytes(*length)).div_ceil(8);
        let (headers, mut body) = rest.split_at_checked(octets)?;
        let mut frames = SmallVec::new();
        if headers.len() == 2 {
            let size = size_of(headers)?;
            if size > body.len() {
                return self.fragment(timestamp, size, body);
            }
        }
        self.partial = None;
        for (header, place) in headers.chunks_exact(2).zip(0u32..) {
            let (frame, after) = body.split_at_checked(size_of(header)?)?;
            body = after;
            if !frame.is_empty() {
                frames.push((place, Bytes::copy_from_slice(frame)));
            }
        }
        Some(frames)
    }

    /// Packets are missing: a frame that came in part is dropped.
    pub fn lost(&mut self) {
        self.partial = None;
    }

    fn fragment(&mut self, timestamp: u32, size: usize, body: &[u8]) -> Option<SmallVec<[(u32, Bytes); 2]>> {
        let (_, _, mut held) = self
            .partial
            .take()
            .filter(|(begun, whole, _)| (*begun, *whole) == (timestamp, size))
            .unwrap_or_else(|| (timestamp, size, BytesMut::with_capacity(size)));
        held.extend_from_slice(body);
        match held.len().cmp(&size) {
            std::cmp::Ordering::Less => {
                self.partial = Some((timestamp, size, held));
                Some(SmallVec::new())
            }
            std::cmp::Ordering::Equal => Some(SmallVec::from_iter([(0, held.freeze())])),
            std::cmp::Ordering::Greater => None,
        }
    }
}

fn size_of(header: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(*header.first_chunk::<2>()?) >> 3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payloads(frame: &[u8]) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        packetise(frame, |parts| payloads.push(parts.concat()));
        assert_eq!(payloads.len(), count(frame));
        payloads
    }

    #[test]
    fn two_frames_in_one_packet_are_told_apart() {
        let payload = [0, 32, 0, 3 << 3, 0, 2 << 3, 1, 2, 3, 4, 5];
        let frames = Depacketiser::default().push(0, &payload).unwrap();
        assert_eq!(frames[..], [(0, Bytes::from_static(&[1, 2, 3])), (1, Bytes::from_static(&[4, 5]))]);
    }

    #[test]
    fn a_fragment_is_dropped_when_its_sister_is_missing() {
        let parts = payloads(&[7; 3000]);
        let mut depacketiser = Depacketiser::default();
        assert!(depacketiser.push(0, &parts[0]).unwrap().is_empty());
        depacketiser.lost();
        assert!(depacketiser.push(0, &parts[1]).unwrap().is_empty());
        assert!(depacketiser.push(0, &parts[2]).unwrap().is_empty(), "half a frame is none");
        assert_eq!(depacketiser.push(1024, &payloads(&[8; 10])[0]).unwrap()[..], [(0, Bytes::from_static(&[8; 10]))]);
    }

    #[test]
    fn a_frame_beyond_thirteen_bits_is_not_sent() {
        assert_eq!(payloads(&vec![0; MAX_FRAME]).len(), 7);
        assert!(payloads(&vec![0; MAX_FRAME + 1]).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(frame in proptest::collection::vec(any::<u8>(), 1..5000)) {
            let mut depacketiser = Depacketiser::default();
            let mut frames = Vec::new();
            for payload in payloads(&frame) {
                prop_assert!(payload.len() <= MAX_PAYLOAD);
                frames.extend(depacketiser.push(5, &payload).unwrap());
            }
            prop_assert_eq!(frames, vec![(0, Bytes::from(frame))]);
        }

        #[test]
        fn whatever_comes_is_read_without_panic(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let mut depacketiser = Depacketiser::default();
            for packet in packets {
                depacketiser.push(0, &packet);
            }
        }
    }
}
