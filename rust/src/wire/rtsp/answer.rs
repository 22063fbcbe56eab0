//! What we say: answers, and requests of our own.

use std::fmt::Write as _;

use bytes::Bytes;

/// A status, its headers and body; `reason` goes into the phrase, where players show it, and into a header.
pub struct Response {
    head: String,
    body: String,
}

impl Response {
    pub fn new(status: u16, cseq: Option<u32>) -> Self {
        Self::start(status, cseq, None)
    }

    pub fn refusal(status: u16, cseq: Option<u32>, reason: &str) -> Self {
        Self::start(status, cseq, Some(reason)).header("X-Vidhub-Reason", reason)
    }

    /// 455 (RFC 2326 §11.3.6): `method` can't be had in the state that the connection is in. It names the others of `methods`.
    pub fn not_now(cseq: Option<u32>, reason: &str, method: &str, methods: &str) -> Self {
        let others: Vec<&str> = methods.split(", ").filter(|other| *other != method).collect();
        Self::refusal(455, cseq, reason).header("Allow", others.join(", "))
    }

    fn start(status: u16, cseq: Option<u32>, reason: Option<&str>) -> Self {
        let mut head = format!("RTSP/1.0 {status} {}", phrase(status));
        if let Some(reason) = reason {
            let _ = write!(head, " {reason}");
        }
        head.push_str("\r\n");
        if let Some(cseq) = cseq {
            let _ = write!(head, "CSeq: {cseq}\r\n");
        }
        head.push_str("Server: vidhub\r\n");
        Self { head, body: String::new() }
    }

    pub fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let _ = write!(self.head, "{name}: {value}\r\n");
        self
    }

    pub fn body(mut self, content_type: &str, body: String) -> Self {
        let _ = write!(self.head, "Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        self.body = body;
        self
    }

    pub fn into_bytes(self) -> Bytes {
        let mut bytes = self.head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_bytes());
        bytes.into()
    }
}

/// A request of ours.
pub fn request(method: &str, uri: &str, cseq: u32, headers: &[(&str, &str)]) -> Bytes {
    let mut head = format!("{method} {uri} RTSP/1.0\r\nCSeq: {cseq}\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes().into()
}

/// RFC 2326 §7.1.1.
pub fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        415 => "Unsupported Media Type",
        453 => "Not Enough Bandwidth",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        459 => "Aggregate Operation Not Allowed",
        461 => "Unsupported Transport",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "RTSP Version Not Supported",
        551 => "Option Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_carries_the_reason_in_phrase_and_header() {
        let bytes = Response::refusal(401, Some(3), "TICKET_EXPIRED").header("A", "b").into_bytes();
        assert_eq!(
            &bytes[..],
            b"RTSP/1.0 401 Unauthorized TICKET_EXPIRED\r\nCSeq: 3\r\nServer: vidhub\r\nX-Vidhub-Reason: TICKET_EXPIRED\r\nA: b\r\n\r\n"
        );
    }

    #[test]
    fn what_is_refused_for_now_is_not_among_what_may_be_tried() {
        let bytes = Response::not_now(Some(3), "SETUP_MISSING", "PLAY", "SETUP, PLAY, TEARDOWN").into_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.starts_with("RTSP/1.0 455 ") && text.contains("\r\nAllow: SETUP, TEARDOWN\r\n"), "{text}");
    }
}
