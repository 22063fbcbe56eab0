//! WebSocket (RFC 6455) as the server speaks it, between octets and messages. The protocol is tungstenite's; here it is put
//! between a connection that somebody else reads and a backlog of shared buffers, for which its own sockets copy too much.

use std::io::{self, Read, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use tungstenite::error::Error;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

/// RFC 6455 §5.5.
const MAX_CONTROL: usize = 125;
/// Octets of a header of ours, at most.
pub const MAX_HEADER: usize = 10;
/// Read from the connection's octets at a time; clients send a few hundred octets in all.
const READ_BYTES: usize = 4096;

/// What a frame of ours is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Text,
    Binary,
    Ping,
    Pong,
}

impl From<Opcode> for OpCode {
    fn from(opcode: Opcode) -> Self {
        match opcode {
            Opcode::Text => Self::Data(Data::Text),
            Opcode::Binary => Self::Data(Data::Binary),
            Opcode::Ping => Self::Control(Control::Ping),
            Opcode::Pong => Self::Control(Control::Pong),
        }
    }
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
    Some(derive_accept_key(key.as_bytes()))
}

/// Writes the header of a frame that is a whole message of `length` octets.
pub fn put_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    let header = FrameHeader { opcode: opcode.into(), ..FrameHeader::default() };
    // Into memory, which does not fail.
    let _ = header.format(length as u64, out);
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
    let reason = reason.get(..end).unwrap_or_default().into();
    let mut out = Vec::new();
    // Into memory, which does not fail.
    let _ = Frame::close(Some(CloseFrame { code: CloseCode::from(code), reason })).format(&mut out);
    out.into()
}

/// Puts a client's messages together from what the socket gives, however it is cut.
///
/// Holds at most one message of `limit` octets and what was pushed. After a fault or `Close` nothing more is read.
#[derive(Debug)]
pub struct Parser {
    socket: WebSocket<Pushed>,
}

/// What was pushed and not read yet. What the protocol would answer by itself goes nowhere: answers are the caller's.
#[derive(Debug, Default)]
struct Pushed(BytesMut);

impl Read for Pushed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.0.len());
        self.0.copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

impl Write for Pushed {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Parser {
    /// `limit`: octets of one message.
    pub fn new(limit: usize) -> Self {
        let config = bounded(WebSocketConfig::default().read_buffer_size(READ_BYTES).write_buffer_size(0), limit);
        Self { socket: WebSocket::from_raw_socket(Pushed::default(), Role::Server, Some(config)) }
    }

    /// Another bound for the messages to come.
    pub fn set_limit(&mut self, limit: usize) {
        self.socket.set_config(|config| *config = bounded(*config, limit));
    }

    pub fn push(&mut self, data: &[u8]) {
        self.socket.get_mut().0.extend_from_slice(data);
    }

    /// The next message, if it is there whole.
    pub fn take(&mut self) -> Result<Option<Incoming>, Fault> {
        loop {
            return match self.socket.read() {
                Ok(tungstenite::Message::Text(text)) => Ok(Some(Incoming::Text(text.as_str().to_owned()))),
                Ok(tungstenite::Message::Binary(octets)) => Ok(Some(Incoming::Binary(octets))),
                Ok(tungstenite::Message::Ping(octets)) => Ok(Some(Incoming::Ping(octets))),
                Ok(tungstenite::Message::Pong(_)) => Ok(Some(Incoming::Pong)),
                Ok(tungstenite::Message::Close(_)) => Ok(Some(Incoming::Close)),
                // Given out when frames are asked for, which they are not.
                Ok(tungstenite::Message::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(None),
                Err(Error::Capacity(_)) => Err(Fault::TooLarge),
                Err(Error::Utf8(_)) => Err(Fault::NotUtf8),
                Err(_) => Err(Fault::Protocol),
            };
        }
    }
}

fn bounded(config: WebSocketConfig, limit: usize) -> WebSocketConfig {
    config.max_message_size(Some(limit)).max_frame_size(Some(limit.max(MAX_CONTROL)))
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
        let header = [0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(read(&header), Err(Fault::TooLarge), "before it comes");
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
