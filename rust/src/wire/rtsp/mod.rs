//! RTSP/1.0 messages (RFC 2326), bytes to values and back: bounded, incremental, and lenient where clients are sloppy.

mod answer;
mod reader;
mod target;
mod transport;

use bytes::{Buf, Bytes, BytesMut};

pub use answer::{Response, phrase, request};
pub use reader::{Answer, Input, MAX_ANSWER_BYTES, MAX_FRAME_BYTES, Reader};
pub use target::Target;
pub use transport::{Lower, Transport};

/// Head and body of one message together.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;
pub const MAX_HEADERS: usize = 64;

/// What a peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Request(Request),
    /// An answer to a request of ours.
    Response {
        status: u16,
        headers: Headers,
    },
    /// Interleaved binary data (RFC 2326 §10.12).
    Frame {
        channel: u8,
        data: Bytes,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub uri: String,
    /// False for anything but RTSP/1.x: answer 505.
    pub version_supported: bool,
    pub headers: Headers,
    pub body: Bytes,
}

/// Why bytes are no RTSP. The parser stays at its first fault: there is no way back into step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Malformed,
    TooLarge,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first header of that name, in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Request {
    /// The sequence number, when it is one.
    pub fn cseq(&self) -> Option<u32> {
        self.headers.get("CSeq")?.parse().ok()
    }

    /// The session id without its parameters.
    pub fn session(&self) -> Option<&str> {
        Some(self.headers.get("Session")?.split(';').next().unwrap_or_default().trim())
    }
}

/// Takes bytes as they come and yields messages; the result does not depend on how the bytes were cut.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: BytesMut,
    /// No end of a head begins before this place.
    scanned: usize,
    fault: Option<Fault>,
}

impl Parser {
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// Octets that may be pushed before `take` must be called; never 0 after `take` has returned `None`.
    pub fn room(&self) -> usize {
        (MAX_FRAME_BYTES + MAX_MESSAGE_BYTES).saturating_sub(self.buffer.len())
    }

    /// What was pushed and not taken, for another reader.
    pub fn rest(self) -> BytesMut {
        self.buffer
    }

    /// The next complete message, `None` when more bytes are needed.
    pub fn take(&mut self) -> Result<Option<Incoming>, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let parsed = self.parse();
        self.fault = parsed.as_ref().err().copied();
        parsed
    }

    fn parse(&mut self) -> Result<Option<Incoming>, Fault> {
        // Empty lines between messages are common and mean nothing.
        let blank = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            self.buffer.advance(blank);
            self.scanned = 0;
        }
        match self.buffer.first() {
            None => return Ok(None),
            Some(b'$') => return Ok(self.frame()),
            Some(byte) if !is_token(*byte) => return Err(Fault::Malformed),
            Some(_) => {}
        }
        let Some(head_bytes) = self.head_end() else {
            return if self.buffer.len() >= MAX_MESSAGE_BYTES { Err(Fault::TooLarge) } else { Ok(None) };
        };
        if head_bytes > MAX_MESSAGE_BYTES {
            return Err(Fault::TooLarge);
        }
        let head = self.buffer.get(..head_bytes).ok_or(Fault::Malformed)?;
        let (first_line, headers) = parse_head(head)?;
        let body_bytes = content_length(&headers)?;
        if body_bytes > MAX_MESSAGE_BYTES - head_bytes {
            return Err(Fault::TooLarge);
        }
        let start = parse_start(&first_line)?;
        if self.buffer.len() < head_bytes + body_bytes {
            return Ok(None);
        }
        self.buffer.advance(head_bytes);
        self.scanned = 0;
        let body = self.buffer.split_to(body_bytes).freeze();
        Ok(Some(match start {
            Start::Request { method, uri, version_supported } => {
                Incoming::Request(Request { method, uri, version_supported, headers, body })
            }
            Start::Response(status) => Incoming::Response { status, headers },
        }))
    }

    fn frame(&mut self) -> Option<Incoming> {
        let &[_, channel, high, low, ..] = &self.buffer[..] else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if self.buffer.len() < 4 + length {
            return None;
        }
        self.buffer.advance(4);
        self.scanned = 0;
        Some(Incoming::Frame { channel, data: self.buffer.split_to(length).freeze() })
    }

    /// Where the empty line that closes the head ends; lines may end in a bare LF.
    fn head_end(&mut self) -> Option<usize> {
        let mut from = self.scanned;
        while let Some(found) = self.buffer.get(from..)?.iter().position(|byte| *byte == b'\n') {
            let line_end = from + found;
            match self.buffer.get(line_end + 1..) {
                Some([b'\n', ..]) => return Some(line_end + 2),
                Some([b'\r', b'\n', ..]) => return Some(line_end + 3),
                Some([] | [b'\r']) => {
                    self.scanned = line_end;
                    return None;
                }
                _ => from = line_end + 1,
            }
        }
        self.scanned = self.buffer.len();
        None
    }
}

#[derive(Debug)]
enum Start {
    Request { method: String, uri: String, version_supported: bool },
    Response(u16),
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#%&'*+-.^_`|~".contains(&byte)
}

fn parse_head(head: &[u8]) -> Result<(String, Headers), Fault> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let first_line = lines.next().unwrap_or_default().to_owned();
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(Fault::Malformed);
        }
        if line.starts_with([' ', '\t']) {
            let (_, value) = headers.last_mut().ok_or(Fault::Malformed)?;
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(Fault::Malformed)?;
        let name = name.trim_end();
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Fault::Malformed);
        }
        if headers.len() == MAX_HEADERS {
            return Err(Fault::TooLarge);
        }
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok((first_line, Headers(headers)))
}

fn content_length(headers: &Headers) -> Result<usize, Fault> {
    let mut lengths = headers.all("Content-Length");
    let Some(length) = lengths.next() else { return Ok(0) };
    if length.is_empty() || !length.bytes().all(|digit| digit.is_ascii_digit()) || lengths.any(|other| other != length)
    {
        return Err(Fault::Malformed);
    }
    // All digits: what does not fit a number is too large.
    length.parse().map_err(|_| Fault::TooLarge)
}

fn parse_start(line: &str) -> Result<Start, Fault> {
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Fault::Malformed);
    }
    let line = line.trim_end();
    let (first, rest) = line.split_once(' ').ok_or(Fault::Malformed)?;
    if first.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("RTSP/")) {
        let status = rest.trim_start().split(' ').next().and_then(|code| code.parse().ok()).ok_or(Fault::Malformed)?;
        return Ok(Start::Response(status));
    }
    // An address with an unescaped space in it still has the version behind the last one.
    let (uri, version) = rest.rsplit_once(' ').ok_or(Fault::Malformed)?;
    let (protocol, number) = version.split_once('/').ok_or(Fault::Malformed)?;
    let uri = uri.trim();
    if uri.is_empty() || !first.bytes().all(is_token) || !protocol.bytes().all(is_token) {
        return Err(Fault::Malformed);
    }
    let version_supported = protocol.eq_ignore_ascii_case("RTSP") && (number == "1" || number.starts_with("1."));
    Ok(Start::Request { method: first.to_owned(), uri: uri.to_owned(), version_supported })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(parser: &mut Parser) -> Result<Vec<Incoming>, Fault> {
        let mut found = Vec::new();
        while let Some(message) = parser.take()? {
            found.push(message);
        }
        Ok(found)
    }

    fn one(bytes: &[u8]) -> Result<Option<Incoming>, Fault> {
        let mut parser = Parser::default();
        parser.push(bytes);
        parser.take()
    }

    fn request_of(bytes: &[u8]) -> Request {
        match one(bytes) {
            Ok(Some(Incoming::Request(request))) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_with_its_body() {
        let request = request_of(
            b"SET_PARAMETER rtsp://h/cam RTSP/1.0\r\ncseq: 7\r\nSession: ab12;timeout=60\r\nContent-Length: 4\r\n\r\nbody",
        );
        assert_eq!(request.method, "SET_PARAMETER");
        assert_eq!(request.uri, "rtsp://h/cam");
        assert_eq!(request.cseq(), Some(7));
        assert_eq!(request.session(), Some("ab12"));
        assert_eq!(&request.body[..], b"body");
    }

    #[test]
    fn bare_line_feeds_folded_lines_and_blanks_between_messages_are_taken() {
        let request = request_of(b"\r\n\nOPTIONS * RTSP/1.0\nCSeq : 1\nUser-Agent: a\n  b\n\n");
        assert_eq!(request.cseq(), Some(1));
        assert_eq!(request.headers.get("user-agent"), Some("a b"));
    }

    #[test]
    fn pipelined_requests_and_frames_come_in_order() {
        let mut parser = Parser::default();
        parser.push(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n$\x01\x00\x02hiOPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\nRTSP/1.0 200 OK\r\n\r\n");
        let found = all(&mut parser).expect("no fault");
        assert_eq!(found.len(), 4);
        assert_eq!(found[1], Incoming::Frame { channel: 1, data: Bytes::from_static(b"hi") });
        assert!(matches!(found[3], Incoming::Response { status: 200, .. }));
    }

    #[test]
    fn other_versions_and_protocols_are_named_not_refused_here() {
        assert!(request_of(b"OPTIONS * RTSP/1.1\r\n\r\n").version_supported);
        assert!(!request_of(b"OPTIONS * RTSP/2.0\r\n\r\n").version_supported);
        assert!(!request_of(b"GET / HTTP/1.1\r\n\r\n").version_supported);
    }

    #[test]
    fn garbage_and_excess_are_faults() {
        assert_eq!(one(b"\x16\x03\x01\x02\x00"), Err(Fault::Malformed));
        assert_eq!(one(b"nonsense\r\n\r\n"), Err(Fault::Malformed));
        assert_eq!(one(b"OPTIONS * RTSP/1.0\r\nno colon\r\n\r\n"), Err(Fault::Malformed));
        assert_eq!(one(b"OPTIONS * RTSP/1.0\r\nA: b\rc\r\n\r\n"), Err(Fault::Malformed));
        assert_eq!(one(b"OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n"), Err(Fault::Malformed));
        assert_eq!(one(b"OPTIONS * RTSP/1.0\r\nContent-Length: 16384\r\n\r\n"), Err(Fault::TooLarge));
        assert_eq!(one(b"OPTIONS * RTSP/1.0\r\nContent-Length: 99999999999999999999999\r\n\r\n"), Err(Fault::TooLarge));
        assert_eq!(one(&[b'A'; MAX_MESSAGE_BYTES]), Err(Fault::TooLarge));
        assert_eq!(one(&[b'A'; MAX_MESSAGE_BYTES - 1]), Ok(None));
        let many = format!("OPTIONS * RTSP/1.0\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(one(many.as_bytes()), Err(Fault::TooLarge));
        let enough = format!("OPTIONS * RTSP/1.0\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS));
        assert!(matches!(one(enough.as_bytes()), Ok(Some(_))));
    }

    /// Bytes that get past the first checks often enough.
    fn likely() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"OPTIONS * RTSP/1.0\r\n".to_vec()),
            Just(b"SETUP rtsp://h/c?ticket=x/trackID=0 RTSP/1.0\n".to_vec()),
            Just(b"CSeq: 1\r\n".to_vec()),
            Just(b"Content-Length: 3\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"$\x00\x00\x05".to_vec()),
            Just(b"RTSP/1.0 200 OK\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_result(
            bytes in likely(),
            cuts in proptest::collection::vec(1_usize..40, 1..40),
        ) {
            let run = |pieces: Vec<&[u8]>| {
                let mut parser = Parser::default();
                let mut found = Vec::new();
                for piece in pieces {
                    parser.push(piece);
                    loop {
                        match parser.take() {
                            Ok(Some(message)) => found.push(message),
                            Ok(None) => break,
                            Err(fault) => return (found, Some(fault)),
                        }
                    }
                    assert!(parser.room() > 0);
                }
                (found, None)
            };
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(run(vec![&bytes]), run(pieces));
        }
    }
}
