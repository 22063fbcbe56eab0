//! RTP headers with extensions in the one-byte form (RFC 8285 §4.2), written in front of a payload.

use super::rtp::{HEADER_LEN, Header};

/// Marks the one-byte form.
const PROFILE: [u8; 2] = [0xbe, 0xde];
const EXTENSION_BIT: u8 = 0x10;
/// Identifier 15 is reserved, 0 is padding.
const MAX_ID: u8 = 14;
const MAX_VALUE: usize = 16;

/// What a packet says beside its payload. An extension whose identifier does not fit the one-byte form is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extensions<'a> {
    /// Which section of the session description the packet belongs to (RFC 8843 §15).
    pub mid: Option<(u8, &'a str)>,
    /// The packet's number among all that go to this peer (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
    pub transport_sequence: Option<(u8, u16)>,
}

impl Extensions<'_> {
    /// Octets of the header with these.
    pub fn header_len(self) -> usize {
        let Self { mid, transport_sequence } = self.written();
        let values = mid.map_or(0, |(_, mid)| 1 + mid.len()) + transport_sequence.map_or(0, |_| 3);
        HEADER_LEN + if values > 0 { 4 + values.next_multiple_of(4) } else { 0 }
    }

    /// Writes header and extensions.
    pub fn write(self, header: Header, out: &mut Vec<u8>) {
        let end = out.len() + self.header_len();
        let mut fixed = header.to_bytes();
        let Self { mid, transport_sequence } = self.written();
        if mid.is_none() && transport_sequence.is_none() {
            out.extend_from_slice(&fixed);
            return;
        }
        fixed[0] |= EXTENSION_BIT;
        out.extend_from_slice(&fixed);
        let words = (end - out.len()) / 4 - 1;
        out.extend_from_slice(&PROFILE);
        out.extend_from_slice(&(words as u16).to_be_bytes());
        if let Some((id, sequence)) = transport_sequence {
            let [high, low] = sequence.to_be_bytes();
            out.extend_from_slice(&[id << 4 | 1, high, low]);
        }
        if let Some((id, mid)) = mid {
            out.push(id << 4 | (mid.len() - 1) as u8);
            out.extend_from_slice(mid.as_bytes());
        }
        out.resize(end, 0);
    }

    fn written(self) -> Self {
        let fits = |id: u8| (1..=MAX_ID).contains(&id);
        Self {
            mid: self.mid.filter(|(id, mid)| fits(*id) && (1..=MAX_VALUE).contains(&mid.len())),
            transport_sequence: self.transport_sequence.filter(|(id, _)| fits(*id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rtp::Packet;
    use super::*;

    const HEADER: Header =
        Header { marker: true, payload_type: 96, sequence: 0xfffe, timestamp: 0x0102_0304, ssrc: 0xdead_beef };

    fn written(extensions: Extensions) -> Vec<u8> {
        let mut out = b"before".to_vec();
        extensions.write(HEADER, &mut out);
        assert_eq!(out.len(), 6 + extensions.header_len());
        out.extend_from_slice(b"payload");
        let packet = Packet::parse(&out[6..]).unwrap();
        assert_eq!((packet.header, packet.payload), (HEADER, &b"payload"[..]));
        out[6 + HEADER_LEN..out.len() - 7].to_vec()
    }

    #[test]
    fn extensions_fill_whole_words_and_are_left_out_where_there_are_none() {
        assert_eq!(written(Extensions::default()), b"");
        let transport_sequence = Some((3, 0x1234));
        assert_eq!(written(Extensions { transport_sequence, mid: None }), [0xbe, 0xde, 0, 1, 0x31, 0x12, 0x34, 0]);
        let both = written(Extensions { transport_sequence, mid: Some((4, "0")) });
        assert_eq!(both, [0xbe, 0xde, 0, 2, 0x31, 0x12, 0x34, 0x40, b'0', 0, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_the_one_byte_form_is_left_out() {
        assert_eq!(written(Extensions { transport_sequence: Some((15, 1)), mid: Some((0, "0")) }), b"");
        assert_eq!(written(Extensions { transport_sequence: None, mid: Some((4, "12345678901234567")) }), b"");
        assert_eq!(written(Extensions { transport_sequence: None, mid: Some((4, "")) }), b"");
    }
}
