//! The way to another hub that takes what we push: ANNOUNCE, SETUP of each track, RECORD (RFC 2326 §10.3, §10.11).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::Transport;
use crate::error::{Error, ErrorKind, Result, reason_word};
use crate::peer::Peer;
use crate::stream::Description;
use crate::wire::rtsp::{self, Headers, Incoming, Parser};
use crate::wire::sdp;

/// For each answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What has been settled when RECORD is answered.
pub struct Recorded {
    pub(super) transport: Transport,
    /// What came behind the answer is still in it.
    pub(super) parser: Parser,
    pub(super) session: String,
    /// What requests are about.
    pub(super) base: String,
    /// Wall-clock time since 1970.
    pub(super) wall: Duration,
}

/// Announces the stream to another hub and sets it up. Errors (Unavailable): the reason that the other hub gives, such as
/// TICKET_EXPIRED, or LINK_MEDIA_REFUSED; LINK_MEDIA_UNREACHABLE when it does not answer.
pub async fn record(
    stream: TlsStream<TcpStream>,
    peer: &Peer,
    camera: &str,
    description: &Description,
) -> Result<Recorded> {
    let tracks: Vec<_> =
        description.tracks.iter().enumerate().map(|(index, track)| (track, description.payload_type(index))).collect();
    let body = sdp::describe(camera, &tracks, description.generation, description.leaves_sound);
    let mut asking = Asking {
        stream,
        peer,
        parser: Parser::default(),
        session: String::new(),
        cseq: 0,
        base: peer.url().to_owned(),
    };
    let (ticket, length) = (peer.authorization(), body.len().to_string());
    let url = asking.base.clone();
    let headers =
        [("Authorization", ticket.as_str()), ("Content-Type", "application/sdp"), ("Content-Length", length.as_str())];
    asking.ask("ANNOUNCE", &url, &headers, &body).await?;
    for index in 0..tracks.len() {
        let control = format!("{}/trackID={index}", url.trim_end_matches('/'));
        // The channels that the stream's own form has (`WireUnit::interleaved`).
        let transport = format!("RTP/AVP/TCP;unicast;interleaved={}-{};mode=record", 2 * index, 2 * index + 1);
        let answer = asking.ask("SETUP", &control, &[("Transport", &transport)], "").await?;
        if let Some(session) = answer.get("Session") {
            asking.session = session.split(';').next().unwrap_or_default().trim().to_owned();
        }
    }
    asking.ask("RECORD", &url, &[], "").await?;
    let Asking { stream, parser, session, base, .. } = asking;
    let (socket, tls) = stream.into_inner();
    let transport = socket.into_std().and_then(|socket| Transport::tls(socket, tls)).map_err(|cause| {
        Error::new(ErrorKind::Unavailable, "LINK_MEDIA_UNREACHABLE", "the connection to the other hub was gone at once")
            .because(cause)
    })?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Ok(Recorded { transport, parser, session, base, wall })
}

struct Asking<'a> {
    stream: TlsStream<TcpStream>,
    peer: &'a Peer,
    parser: Parser,
    session: String,
    cseq: u32,
    base: String,
}

impl Asking<'_> {
    /// Sends a request and waits for its answer, whose headers are given back.
    async fn ask(&mut self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Result<Headers> {
        self.cseq += 1;
        let session = self.session.clone();
        let mut all = vec![("User-Agent", concat!("vidhub/", env!("CARGO_PKG_VERSION")))];
        if !session.is_empty() {
            all.push(("Session", &session));
        }
        all.extend_from_slice(headers);
        let mut message = rtsp::request(method, uri, self.cseq, &all).to_vec();
        message.extend_from_slice(body.as_bytes());
        let answered = timeout(ANSWER_TIMEOUT, async {
            self.stream.write_all(&message).await?;
            self.stream.flush().await?;
            self.answer().await
        });
        let answered = answered.await;
        let hub = self.peer.id();
        let silent = |why: &str| {
            let message = format!("hub {hub} {why} ({method}): check its port 8322 and its log");
            Error::new(ErrorKind::Unavailable, "LINK_MEDIA_UNREACHABLE", message)
        };
        let (status, headers) = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(cause)) => return Err(silent("has cut the media connection").because(cause)),
            Err(_) => return Err(silent("does not answer on the media connection")),
        };
        if (200..300).contains(&status) {
            return Ok(headers);
        }
        let reason = headers.get("X-Vidhub-Reason").and_then(reason_word).unwrap_or("LINK_MEDIA_REFUSED");
        let message = format!("hub {hub} answers {method} with {status} {reason}");
        Err(Error::new(ErrorKind::Unavailable, reason, message))
    }

    async fn answer(&mut self) -> std::io::Result<(u16, Headers)> {
        let mut chunk = [0; 4096];
        loop {
            match self.parser.take() {
                Ok(Some(Incoming::Response { status, headers })) if status >= 200 => return Ok((status, headers)),
                Ok(Some(_)) => {}
                Ok(None) => {
                    let room = self.parser.room().min(chunk.len());
                    let Some(target) = chunk.get_mut(..room) else {
                        return Err(std::io::ErrorKind::InvalidData.into());
                    };
                    match self.stream.read(target).await? {
                        0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                        count => self.parser.push(chunk.get(..count).unwrap_or_default()),
                    }
                }
                Err(_) => return Err(std::io::ErrorKind::InvalidData.into()),
            }
        }
    }
}
