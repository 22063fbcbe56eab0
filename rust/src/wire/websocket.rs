//! WebSocket (RFC 6455) as the server speaks it: the handshake's proof, frames out, messages in. No extensions.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, Bytes, BytesMut};

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// RFC 6455 §5.5.
const MAX_CONTROL: usize = 125;
/// Octets of a header of ours, at most.
pub const MAX_HEADER: usize = 10;
/// Frames that one message may be cut into; none of our clients cuts at all.
const MAX_FRAGMENTS: usize = 64;

/// What a frame is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// What came in, whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close,
}

/// What ends a connection; each has its status (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Protocol,
    NotUtf8,
    TooLarge,
}

impl Fault {
    pub fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::Protocol | Self::NotUtf8 => "MESSAGE_INVALID",
            Self::TooLarge => "TOO_LARGE",
        }
    }
}

/// `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key`; None where that is none (RFC 6455 §4.2.1: 16 octets in Base64).
pub fn accept(key: &str) -> Option<String> {
    BASE64_STANDARD.decode(key).ok().filter(|nonce| nonce.len() == 16)?;
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID);
    Some(BASE64_STANDARD.encode(hash.finish()))
}

/// Writes the header of a frame that is a whole message of `length` octets.
pub fn put_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(0x80 | opcode as u8);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// A whole message.
pub fn message(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + MAX_HEADER);
    put_header(&mut out, opcode, payload.len());
    out.extend_from_slice(payload);
    out.into()
}

/// The last message of a side, with its reason: 123 octets at most.
pub fn close(code: u16, reason: &str) -> Bytes {
    let end = (0..=reason.len().min(MAX_CONTROL - 2)).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.get(..end).unwrap_or_default().as_bytes());
    message(Opcode::Close, &payload)
}

/// Puts a client's messages together from what the socket gives, however it is cut.
///
/// Holds at most one message of `limit` octets and the frame that comes in. After a fault or `Close` nothing more is read.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    buffer: BytesMut,
    /// A message of several frames, so far.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    is_text: bool,
    frames: usize,
    payload: Vec<u8>,
}

impl Parser {
    /// `limit`: octets of one message.
    pub fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new(), partial: None }
    }

    /// Another bound for the messages to come.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next message, if it is there whole.
    pub fn take(&mut self) -> Result<Option<Incoming>, Fault> {
        while let Some((first, payload)) = self.frame()? {
            let is_last = first & 0x80 != 0;
            let whole = match (first & 0x0f, is_last, self.partial.take()) {
                (0, _, Some(mut partial)) => {
                    partial.frames += 1;
                    if partial.payload.len() + payload.len() > self.limit || partial.frames > MAX_FRAGMENTS {
                        return Err(Fault::TooLarge);
                    }
                    partial.payload.extend_from_slice(&payload);
                    if !is_last {
                        self.partial = Some(partial);
                        continue;
                    }
                    (partial.is_text, Bytes::from(partial.payload))
                }
                (kind @ (1 | 2), false, None) => {
                    self.partial = Some(Partial { is_text: kind == 1, frames: 1, payload: payload.to_vec() });
                    continue;
                }
                (kind @ (1 | 2), true, None) => (kind == 1, payload),
                // Control frames may come between the frames of a message.
                (8, true, _) => return Ok(Some(Incoming::Close)),
                (9, true, partial) => {
                    self.partial = partial;
                    return Ok(Some(Incoming::Ping(payload)));
                }
                (10, true, partial) => {
                    self.partial = partial;
                    return Ok(Some(Incoming::Pong));
                }
                _ => return Err(Fault::Protocol),
            };
            return match whole {
                (true, text) => match String::from_utf8(text.into()) {
                    Ok(text) => Ok(Some(Incoming::Text(text))),
                    Err(_) => Err(Fault::NotUtf8),
                },
                (false, octets) => Ok(Some(Incoming::Binary(octets))),
            };
        }
        Ok(None)
    }

    /// One frame: its first octet and its payload, unmasked.
    fn frame(&mut self) -> Result<Option<(u8, Bytes)>, Fault> {
        let Some(&[first, second]) = self.buffer.first_chunk::<2>() else { return Ok(None) };
        // No extension was agreed on, and a client masks (RFC 6455 §5.1).
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Fault::Protocol);
        }
        let is_control = first & 0x08 != 0;
        let (length, at) = match second & 0x7f {
            126 => match self.buffer.get(2..4).and_then(|octets| octets.first_chunk::<2>()) {
                Some(octets) => (u64::from(u16::from_be_bytes(*octets)), 4),
                None => return Ok(None),
            },
            127 => match self.buffer.get(2..10).and_then(|octets| octets.first_chunk::<8>()) {
                Some(octets) => (u64::from_be_bytes(*octets), 10),
                None => return Ok(None),
            },
            length => (u64::from(length), 2),
        };
        if is_control && length > MAX_CONTROL as u64 {
            return Err(Fault::Protocol);
        }
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= self.limit.max(MAX_CONTROL)) else {
            return Err(Fault::TooLarge);
        };
        let Some(mask) = self.buffer.get(at..at + 4).and_then(|octets| octets.first_chunk::<4>()).copied() else {
            return Ok(None);
        };
        if self.buffer.len() < at + 4 + length {
            return Ok(None);
        }
        self.buffer.advance(at + 4);
        let mut payload = self.buffer.split_to(length);
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(octet, mask)| *octet ^= mask);
        Ok(Some((first, payload.freeze())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// A client's frame.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(&mut out, Opcode::Text, payload.len());
        out[0] = first;
        out[1] |= 0x80;
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(octet, mask)| octet ^ mask));
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<Incoming>, Fault> {
        let mut parser = Parser::new(1000);
        parser.push(bytes);
        std::iter::from_fn(|| parser.take().transpose()).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_are_read_and_written() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(accept("c2hvcnQ="), None);
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(read(&hello), Ok(vec![Incoming::Text("Hello".into())]));
        assert_eq!(message(Opcode::Text, b"Hello")[..], [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(message(Opcode::Binary, &[0; 256])[..4], [0x82, 0x7e, 1, 0]);
        assert_eq!(message(Opcode::Binary, &[0; 65536])[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_message_in_pieces_lets_control_frames_through() {
        let frames =
            [masked(0x01, b"ab"), masked(0x89, b"?"), masked(0x00, b"c"), masked(0x80, b""), masked(0x88, b"")];
        let expected = vec![Incoming::Ping(Bytes::from_static(b"?")), Incoming::Text("abc".into()), Incoming::Close];
        assert_eq!(read(&frames.concat()), Ok(expected));
    }

    #[test]
    fn what_no_client_may_send_is_a_fault() {
        let unmasked = message(Opcode::Text, b"x");
        let cases: [(&[u8], Fault); 9] = [
            (&unmasked, Fault::Protocol),
            (&masked(0xc1, b"compressed"), Fault::Protocol),
            (&masked(0x83, b"reserved"), Fault::Protocol),
            (&masked(0x80, b"goes on with nothing"), Fault::Protocol),
            (&[masked(0x01, b"a"), masked(0x81, b"b")].concat(), Fault::Protocol),
            (&masked(0x09, b"ping in pieces"), Fault::Protocol),
            (&masked(0x89, &[0; 126]), Fault::Protocol),
            (&masked(0x81, b"\xff"), Fault::NotUtf8),
            (&masked(0x82, &[0; 1001]), Fault::TooLarge),
        ];
        for (bytes, fault) in cases {
            assert_eq!(read(bytes), Err(fault), "{bytes:x?}");
        }
        assert_eq!(read(&[0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0]), Err(Fault::TooLarge), "before it comes");
        let pieces: Vec<u8> =
            std::iter::once(masked(0x01, b"")).chain((0..64).map(|_| masked(0x00, b""))).flatten().collect();
        assert_eq!(read(&pieces), Err(Fault::TooLarge), "empty pieces without end");
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let bytes = close(4403, &"原".repeat(100));
        assert!(bytes.len() <= 2 + MAX_CONTROL);
        assert!(std::str::from_utf8(&bytes[4..]).is_ok());
    }

    proptest! {
        #[test]
        fn messages_come_out_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..6),
            step in 1_usize..50,
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| masked(0x82, payload)).collect();
            let mut parser = Parser::new(300);
            let mut out = Vec::new();
            for piece in bytes.chunks(step) {
                parser.push(piece);
                while let Some(Incoming::Binary(payload)) = parser.take().unwrap() {
                    out.push(payload.to_vec());
                }
            }
            prop_assert_eq!(out, payloads);
        }

        #[test]
        fn whatever_comes_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }
    }
}
