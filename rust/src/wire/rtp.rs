//! The RTP header and arithmetic on sequence numbers (RFC 3550 §5.1, appendix A.1).

/// Octets of the header that we write: no CSRC, no extension, no padding.
pub const HEADER_LEN: usize = 12;

/// Payload octets that a packet may carry. With IPv6, UDP, RTP and SRTP around it this stays under 1,280 octets, which
/// every path carries.
pub const MAX_PAYLOAD: usize = 1200;

/// The same on a connection to another hub, where nothing of a packet's size is left on the wire: so that headers are not
/// worth counting.
pub const LARGE_PAYLOAD: usize = 16_000;

/// Packets of one picture that browsers put together, the room of libwebrtc that Chromium, Firefox and Safari have in them
/// (`kPacketBufferMaxSize`): of a larger picture nothing is ever shown.
pub const BROWSER_PACKETS: u32 = 2048;

const VERSION: u8 = 2;

/// The fixed part of an RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    /// Seven bits.
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Header {
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.to_be_bytes();
        let second = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        [VERSION << 6, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
    }
}

/// A packet as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub header: Header,
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet; CSRCs, an extension and padding are stepped over. None when it is not RTP or is cut short.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (&[first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3], mut rest) =
            data.split_first_chunk::<HEADER_LEN>()?;
        if first >> 6 != VERSION {
            return None;
        }
        rest = rest.get(usize::from(first & 0x0f) * 4..)?;
        if first & 0x10 != 0 {
            let (&[_, _, l0, l1], body) = rest.split_first_chunk::<4>()?;
            rest = body.get(usize::from(u16::from_be_bytes([l0, l1])) * 4..)?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            // Some encoders set the bit and add nothing: a zero is taken for no padding.
            rest = rest.get(..rest.len().checked_sub(padding)?)?;
        }
        let header = Header {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
        };
        Some(Self { header, payload: rest })
    }
}

/// How far `to` lies after `from`, over the wrap; negative when it lies before.
pub fn distance(from: u16, to: u16) -> i16 {
    to.wrapping_sub(from) as i16
}

/// The 64-bit sequence number nearest to `near` whose low 16 bits are `sequence`; never below zero.
pub fn extend(near: u64, sequence: u16) -> u64 {
    let step = i64::from(distance(near as u16, sequence));
    near.checked_add_signed(step).unwrap_or(u64::from(sequence))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: Header =
        Header { marker: true, payload_type: 96, sequence: 0xfffe, timestamp: 0x0102_0304, ssrc: 0xdead_beef };

    #[test]
    fn a_written_header_is_read_back() {
        let mut packet = HEADER.to_bytes().to_vec();
        packet.extend_from_slice(b"payload");
        assert_eq!(Packet::parse(&packet), Some(Packet { header: HEADER, payload: b"payload" }));
    }

    #[test]
    fn csrcs_extension_and_padding_are_stepped_over() {
        let mut packet = HEADER.to_bytes().to_vec();
        packet[0] |= 0x20 | 0x10 | 0x02;
        packet.extend_from_slice(&[9; 8]);
        packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        packet.extend_from_slice(b"payload");
        packet.extend_from_slice(&[0, 0, 3]);
        assert_eq!(Packet::parse(&packet).map(|packet| packet.payload), Some(&b"payload"[..]));
        packet[0] |= 0x0f;
        assert_eq!(Packet::parse(&packet), None, "more CSRCs than octets");
    }

    #[test]
    fn sequence_numbers_are_followed_over_the_wrap() {
        assert_eq!(distance(0xffff, 1), 2);
        assert_eq!(distance(1, 0xffff), -2);
        assert_eq!(extend(0x1_ffff, 0), 0x2_0000);
        assert_eq!(extend(0x2_0000, 0xffff), 0x1_ffff);
        assert_eq!(extend(0, 0xffff), 0xffff, "nothing lies before the first");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_panic(data in proptest::collection::vec(any::<u8>(), 0..96)) {
            if let Some(packet) = Packet::parse(&data) {
                prop_assert!(packet.payload.len() + HEADER_LEN <= data.len());
            }
        }

        #[test]
        fn extension_inverts_truncation(near in 0x1_0000u64..1 << 48, step in -32_000i64..32_000) {
            let wanted = near.checked_add_signed(step).unwrap();
            prop_assert_eq!(extend(near, wanted as u16), wanted);
        }
    }
}
