//! What a camera sends over its RTSP connection, read by the client: packets without a copy, answers with patience.

use super::{Fault, Headers, MAX_HEADERS, Start, content_length, is_token, parse_start};

/// Head and body of one answer together; a session description is the largest.
pub const MAX_ANSWER_BYTES: usize = 64 << 10;
/// An interleaved frame: `$`, channel, length, and up to 65,535 octets. `Reader::read` takes it whole or not at all.
pub const MAX_FRAME_BYTES: usize = 4 + u16::MAX as usize;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Interleaved binary data (RFC 2326 §10.12).
    Frame {
        channel: u8,
        data: &'a [u8],
    },
    Answer(Answer),
    /// A request of the camera's.
    Request {
        method: String,
        headers: Headers,
    },
}

/// An answer to a request of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// Reads octets as they come; the result does not depend on how they were cut.
///
/// Frames are found wherever a line or a body may begin: there are cameras whose media thread writes in between the
/// header lines of an answer.
#[derive(Debug, Default)]
pub struct Reader {
    /// The lines of a message so far, the last one perhaps in part.
    head: Vec<u8>,
    /// Where the last line of `head` begins.
    line: usize,
    /// A message whose body is still to come, or a part of it, and how long that is.
    opened: Option<(Start, Headers, usize)>,
    body: Vec<u8>,
}

impl Reader {
    /// Reads the first thing in `data`: how many octets are done with, and what they were, if they complete anything.
    /// When none are done with, the beginning of a frame is there and more octets are needed.
    pub fn read<'a>(&mut self, data: &'a [u8]) -> Result<(usize, Option<Input<'a>>), Fault> {
        let may_begin = if self.opened.is_some() { self.body.is_empty() } else { self.line == self.head.len() };
        match (data.first(), &self.opened) {
            (None, _) => Ok((0, None)),
            (Some(b'$'), _) if may_begin => Ok(frame(data)),
            (_, Some((_, _, wanted))) => {
                let part = data.get(..wanted - self.body.len()).unwrap_or(data);
                self.body.extend_from_slice(part);
                Ok((part.len(), self.complete()))
            }
            (Some(first), None) => {
                if self.head.is_empty() && !is_token(*first) && !matches!(first, b'\r' | b'\n') {
                    return Err(Fault::Malformed);
                }
                self.line(data)
            }
        }
    }

    /// Takes a line, or the part of it that has come.
    fn line<'a>(&mut self, data: &'a [u8]) -> Result<(usize, Option<Input<'a>>), Fault> {
        let end = data.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(data.len(), |end| end + 1);
        if self.head.len() + used > MAX_ANSWER_BYTES {
            return Err(Fault::TooLarge);
        }
        self.head.extend_from_slice(data.get(..used).unwrap_or_default());
        if end.is_none() {
            return Ok((used, None));
        }
        let line = self.head.get(self.line..).unwrap_or_default();
        if line.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            self.line = self.head.len();
            return Ok((used, None));
        }
        // Empty lines between messages are common and mean nothing.
        let is_blank = self.line == 0;
        self.line = 0;
        let head = std::mem::take(&mut self.head);
        if is_blank {
            return Ok((used, None));
        }
        let (start, headers) = read_head(&head)?;
        let body_bytes = content_length(&headers)?;
        if body_bytes > MAX_ANSWER_BYTES - head.len() {
            return Err(Fault::TooLarge);
        }
        self.opened = Some((start, headers, body_bytes));
        Ok((used, self.complete()))
    }

    fn complete<'a>(&mut self) -> Option<Input<'a>> {
        let (start, headers, _) = self.opened.take_if(|(_, _, wanted)| self.body.len() >= *wanted)?;
        let body = std::mem::take(&mut self.body);
        Some(match start {
            Start::Response(status) => Input::Answer(Answer { status, headers, body }),
            Start::Request { method, .. } => Input::Request { method, headers },
        })
    }
}

fn frame(data: &[u8]) -> (usize, Option<Input<'_>>) {
    let &[_, channel, high, low, ref rest @ ..] = data else { return (0, None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    match rest.get(..length) {
        Some(data) => (4 + length, Some(Input::Frame { channel, data })),
        None => (0, None),
    }
}

/// As `parse_head`, but what is no header is passed over: cameras write what they like.
fn read_head(head: &[u8]) -> Result<(Start, Headers), Fault> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let start = parse_start(lines.next().unwrap_or_default())?;
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let clean = |text: &str| text.trim().replace(|character: char| character.is_control(), " ");
        if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), headers.last_mut()) {
            value.push(' ');
            value.push_str(&clean(line));
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(is_token) {
            continue;
        }
        if headers.len() == MAX_HEADERS {
            return Err(Fault::TooLarge);
        }
        headers.push((name.to_owned(), clean(value)));
    }
    Ok((start, Headers(headers)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `bytes` hold, given in pieces as a socket gives them; what is left of one piece is put before the next.
    fn read(pieces: &[&[u8]]) -> Result<Vec<String>, Fault> {
        let (mut reader, mut found, mut rest) = (Reader::default(), Vec::new(), Vec::new());
        for piece in pieces {
            rest.extend_from_slice(piece);
            let mut at = 0;
            loop {
                let (used, input) = reader.read(&rest[at..])?;
                at += used;
                match input {
                    Some(Input::Frame { channel, data }) => found.push(format!("{channel}:{}", data.escape_ascii())),
                    Some(Input::Answer(answer)) => found.push(format!(
                        "{} {} {}",
                        answer.status,
                        answer.headers.get("cseq").unwrap_or("-"),
                        answer.body.escape_ascii()
                    )),
                    Some(Input::Request { method, .. }) => found.push(method),
                    None if used == 0 => break,
                    None => {}
                }
            }
            rest.drain(..at);
            assert!(rest.len() < MAX_FRAME_BYTES);
        }
        Ok(found)
    }

    #[test]
    fn frames_are_found_before_between_and_after_the_lines_of_an_answer() {
        let bytes = b"$\x00\x00\x01aRTSP/1.0 200 OK\r\n$\x00\x00\x02bcCSeq: 4\r\n$\x01\x00\x00Content-Length: 3\r\n\
            $\x02\x00\x01d\r\n$\x00\x00\x01ev=0$\x00\x00\x01f";
        let expected = ["0:a", "0:bc", "1:", "2:d", "0:e", "200 4 v=0", "0:f"];
        assert_eq!(read(&[bytes]).unwrap(), expected);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single).unwrap(), expected);
    }

    #[test]
    fn answers_are_read_with_patience() {
        let sloppy =
            b"\r\n\nRTSP/1.0 401\ncseq :7\nno colon\nX-Bad Name: 1\nWWW-Authenticate: Digest\n  realm=\x01\"a\"\n\n";
        let mut reader = Reader::default();
        let (mut at, mut answer) = (0, None);
        while at < sloppy.len() {
            let (used, input) = reader.read(&sloppy[at..]).expect("readable");
            at += used;
            answer = answer.or(input);
        }
        let Some(Input::Answer(answer)) = answer else { panic!("{answer:?}") };
        assert_eq!((answer.status, answer.headers.get("CSeq")), (401, Some("7")));
        assert_eq!(answer.headers.get("www-authenticate"), Some("Digest realm= \"a\""));
        assert_eq!(read(&[b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"]).unwrap(), ["OPTIONS"]);
    }

    #[test]
    fn garbage_and_excess_are_faults() {
        for garbage in
            [&b"\x15\x03\x01\x00\x02"[..], b"HTTP/1.1 200 OK\r\n\r\n", b"RTSP/1.0 OK\r\n\r\n", b"nonsense\n\n"]
        {
            assert_eq!(read(&[garbage]), Err(Fault::Malformed), "{}", garbage.escape_ascii());
        }
        assert_eq!(read(&[b"RTSP/1.0 200 OK\r\nContent-Length: 65536\r\n\r\n"]), Err(Fault::TooLarge));
        assert_eq!(read(&[b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n"]), Err(Fault::Malformed));
        assert_eq!(read(&[&[b'x'; MAX_ANSWER_BYTES + 1]]), Err(Fault::TooLarge));
        let endless: Vec<&[u8]> = vec![b"A: b\r\n"; 20_000];
        let endless = [&[&b"RTSP/1.0 200 OK\r\n"[..]], &endless[..]].concat();
        assert_eq!(read(&endless), Err(Fault::TooLarge));
        let many = format!("RTSP/1.0 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(read(&[many.as_bytes()]), Err(Fault::TooLarge));
    }

    /// Bytes that get past the first checks often enough.
    fn likely() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"RTSP/1.0 200 OK\r\n".to_vec()),
            Just(b"CSeq: 1\r\n".to_vec()),
            Just(b"Content-Length: 3\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"$\x00\x00\x05".to_vec()),
            Just(b"OPTIONS * RTSP/1.0\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..20),
        ];
        prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_result(
            bytes in likely(),
            cuts in prop::collection::vec(1_usize..40, 1..40),
        ) {
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(read(&[&bytes]), read(&pieces));
        }
    }
}
