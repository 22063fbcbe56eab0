//! One connection up to PLAY or RECORD: OPTIONS, DESCRIBE or ANNOUNCE, SETUP, one request after the other, also when they
//! come at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::super::socket::Socket;
use super::Context;
use super::announced::Recording;
use super::authorise::{Refused, authorise};
use super::places::Place;
use super::setup::Carried;
use crate::gate::{Admission, Refusal};
use crate::sink::rtsp::{METHODS, Play, RtspSink};
use crate::stream::Description;
use crate::telemetry::Protocol;
use crate::wire::rtsp::{Fault, Incoming, Parser, Request, Response, Target};
use crate::wire::sdp;

/// Nobody needs more to get to PLAY.
const MAX_REQUESTS: usize = 64;
/// Wrong logins on one connection.
const MAX_REFUSED_LOGINS: usize = 6;

/// What the door granted to this connection; it holds for this camera and no other.
pub(super) struct Admitted {
    camera: String,
    base: String,
    pub admission: Arc<dyn Admission>,
    pub description: Arc<Description>,
}

pub(super) struct Connection<S> {
    pub(super) socket: S,
    pub(super) peer: SocketAddr,
    /// Ours, as the client knows it.
    pub(super) local: SocketAddr,
    pub(super) context: Arc<Context>,
    place: Place,
    pub(super) parser: Parser,
    pub(super) admitted: Option<Admitted>,
    /// What it has announced: it pushes then, and plays nothing.
    pub(super) recording: Option<Recording>,
    /// Raised when it pushes: it is told then before the server stops.
    pub(super) pushes: Arc<AtomicBool>,
    pub(super) session: Option<String>,
    pub(super) tracks: Vec<bool>,
    /// How media goes, once a track is set up.
    pub(super) carried: Option<Carried>,
    refused_logins: usize,
    challenged: Option<Challenged>,
}

/// A challenge that was not met yet: most clients wait for one. It goes on record when the connection ends so.
struct Challenged {
    context: Arc<Context>,
    peer: SocketAddr,
    camera: String,
    refused: Option<Refused>,
}

impl Drop for Challenged {
    fn drop(&mut self) {
        if let Some(refused) = &self.refused {
            record(&self.context, self.peer, &self.camera, None, refused);
        }
    }
}

/// The client showed something, right or wrong: the challenge itself is no refusal.
fn met(challenged: Option<Challenged>) {
    if let Some(mut challenged) = challenged {
        challenged.refused = None;
    }
}

fn record(context: &Context, peer: SocketAddr, camera: &str, ticket: Option<&str>, refused: &Refused) {
    context.door.refused(&Refusal { camera, ticket, error: refused.error(), protocol: context.protocol, peer });
}

pub(super) enum Next {
    Answer(Response),
    /// Answer and close.
    Last(Response),
    Play(Option<u32>),
    Record(Option<u32>),
    /// The client has gone.
    Gone,
}

impl<S: Socket> Connection<S> {
    pub fn new(
        socket: S,
        (peer, local): (SocketAddr, SocketAddr),
        context: Arc<Context>,
        place: Place,
        pushes: Arc<AtomicBool>,
    ) -> Self {
        Self {
            socket,
            peer,
            local,
            context,
            place,
            parser: Parser::default(),
            admitted: None,
            recording: None,
            pushes,
            session: None,
            tracks: Vec::new(),
            carried: None,
            refused_logins: 0,
            challenged: None,
        }
    }

    pub async fn run(mut self) {
        for _ in 0..MAX_REQUESTS {
            let request = match timeout(self.context.request_timeout, self.next_request()).await {
                Ok(Ok(Some(request))) => request,
                Ok(Ok(None)) => return,
                Ok(Err(fault)) => {
                    let reason = match fault {
                        Fault::Malformed => "MALFORMED_REQUEST",
                        Fault::TooLarge => "TOO_LARGE",
                    };
                    debug!(peer = %self.peer, reason, "an RTSP connection is refused");
                    self.write(Response::refusal(400, None, reason)).await;
                    return self.finish().await;
                }
                Err(_) => {
                    debug!(peer = %self.peer, "an RTSP connection sent no request in time");
                    return;
                }
            };
            match self.answer(&request).await {
                Next::Answer(answer) => {
                    if !self.write(answer).await {
                        return;
                    }
                }
                Next::Last(answer) => {
                    self.write(answer).await;
                    return self.finish().await;
                }
                Next::Play(cseq) => return self.play(cseq),
                // In a box: what is kept of it while it pushes is no burden to the others.
                Next::Record(cseq) => return Box::pin(self.record(cseq)).await,
                Next::Gone => return,
            }
        }
        debug!(peer = %self.peer, "an RTSP connection asked too much before PLAY");
    }

    /// The next request; None when the client has closed.
    async fn next_request(&mut self) -> Result<Option<Request>, Fault> {
        loop {
            while let Some(message) = self.parser.take()? {
                // Nothing else is of use before PLAY.
                if let Incoming::Request(request) = message {
                    return Ok(Some(request));
                }
            }
            if !self.read().await {
                return Ok(None);
            }
        }
    }

    /// Reads some more; false when the client has closed.
    async fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let room = self.parser.room().min(chunk.len());
        let Some(target) = chunk.get_mut(..room) else { return false };
        match self.socket.read(target).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.parser.push(chunk.get(..count).unwrap_or_default());
                true
            }
        }
    }

    /// False when the client does not take it.
    pub(super) async fn write(&mut self, answer: Response) -> bool {
        self.write_bytes(&answer.into_bytes()).await
    }

    pub(super) async fn write_bytes(&mut self, bytes: &[u8]) -> bool {
        let written = timeout(self.context.request_timeout, async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        });
        matches!(written.await, Ok(Ok(())))
    }

    /// Closes so that the last answer arrives: unread data would turn the close into a reset.
    pub(super) async fn finish(mut self) {
        drain(&mut self.socket).await;
    }

    async fn answer(&mut self, request: &Request) -> Next {
        let cseq = request.cseq();
        if !request.version_supported {
            return Next::Last(Response::refusal(505, cseq, "RTSP_VERSION"));
        }
        if cseq.is_none() {
            return Next::Answer(Response::refusal(400, None, "CSEQ_MISSING"));
        }
        if let Some(feature) = request.headers.get("Require") {
            // What is required is an extension, and there is none here.
            return Next::Answer(Response::refusal(551, cseq, "OPTION_UNKNOWN").header("Unsupported", feature));
        }
        let is_foreign = request.session().is_some_and(|session| self.session.as_deref() != Some(session));
        let wants_session = matches!(request.method.as_str(), "PLAY" | "RECORD" | "TEARDOWN" | "PAUSE");
        let pushes = self.recording.is_some();
        match request.method.as_str() {
            "OPTIONS" => Next::Answer(Response::new(200, cseq).header("Public", METHODS)),
            "ANNOUNCE" => self.announce(request, cseq),
            "DESCRIBE" | "PLAY" if pushes => {
                Next::Answer(Response::not_now(cseq, "ANNOUNCED", &request.method, METHODS))
            }
            "DESCRIBE" => self.describe(request, cseq).await,
            _ if is_foreign => Next::Answer(Response::refusal(454, cseq, "RTSP_SESSION_UNKNOWN")),
            "SETUP" if pushes => self.set_up_to_record(request, cseq).await,
            "SETUP" => self.setup(request, cseq).await,
            _ if wants_session && self.session.is_none() => {
                Next::Answer(Response::not_now(cseq, "SETUP_MISSING", &request.method, METHODS))
            }
            _ if wants_session && request.session().is_none() => {
                Next::Answer(Response::refusal(454, cseq, "RTSP_SESSION_MISSING"))
            }
            "RECORD" if pushes => Next::Record(cseq),
            "RECORD" => Next::Answer(Response::not_now(cseq, "ANNOUNCE_MISSING", &request.method, METHODS)),
            "PLAY" => match self.target(request) {
                Ok(_) => Next::Play(cseq),
                Err(answer) => Next::Answer(answer),
            },
            "TEARDOWN" => Next::Last(Response::new(200, cseq).header("Connection", "close")),
            "PAUSE" => Next::Answer(Response::not_now(cseq, "NOT_PLAYING", &request.method, METHODS)),
            "GET_PARAMETER" | "SET_PARAMETER" => match &self.session {
                Some(session) => {
                    Next::Answer(Response::new(200, cseq).header("Session", format_args!("{session};timeout=60")))
                }
                None => Next::Answer(Response::refusal(454, cseq, "RTSP_SESSION_MISSING")),
            },
            _ => Next::Answer(Response::refusal(405, cseq, "METHOD_UNKNOWN").header("Allow", METHODS)),
        }
    }

    /// The address of a request; after admission it must name the same camera.
    pub(super) fn target(&self, request: &Request) -> Result<Target, Response> {
        let cseq = request.cseq();
        let target = Target::parse(&request.uri).ok_or_else(|| Response::refusal(400, cseq, "ADDRESS_INVALID"))?;
        match &self.admitted {
            Some(admitted) if admitted.camera != target.camera => {
                Err(Response::refusal(403, cseq, "TICKET_OTHER_CAMERA"))
            }
            _ => Ok(target),
        }
    }

    /// Admits the connection if it is not yet, and waits for the camera.
    pub(super) async fn admit(&mut self, request: &Request) -> Result<Target, Next> {
        let cseq = request.cseq();
        let target = self.target(request).map_err(Next::Answer)?;
        if self.admitted.is_some() {
            return Ok(target);
        }
        let admitted = authorise(&self.context, self.peer, request, &target, |proof| {
            self.context.door.admit(&target.camera, proof, self.context.protocol, self.peer)
        });
        let admission = match admitted {
            Ok(admission) => admission,
            Err(refused) => return Err(self.turn_away(refused, target, cseq)),
        };
        self.is_known();
        let ready = self.wait_for(&admission).await.ok_or(Next::Gone)?;
        let description = ready.map_err(|refused| self.refuse(&refused, &target, cseq))?;
        self.tracks = vec![false; description.tracks.len()];
        self.admitted =
            Some(Admitted { camera: target.camera.clone(), base: target.base.clone(), admission, description });
        Ok(target)
    }

    /// The client has shown who it is.
    pub(super) fn is_known(&mut self) {
        met(self.challenged.take());
        self.place.known();
    }

    /// Answers a client that the door does not let in, and puts it on record.
    pub(super) fn turn_away(&mut self, refused: Refused, target: Target, cseq: Option<u32>) -> Next {
        let next = self.refuse(&refused, &target, cseq);
        let earlier = self.challenged.take();
        if !refused.is_challenge() {
            record(&self.context, self.peer, &target.camera, target.ticket.as_deref(), &refused);
            met(earlier);
        } else if earlier.is_none() {
            let (context, camera, refused) = (self.context.clone(), target.camera, Some(refused));
            self.challenged = Some(Challenged { context, peer: self.peer, camera, refused });
        } else {
            self.challenged = earlier;
        }
        next
    }

    /// Whether it is admitted already, to play or to push.
    pub(super) fn is_busy(&self) -> bool {
        self.admitted.is_some() || self.recording.is_some() || self.session.is_some()
    }

    fn refuse(&mut self, refused: &Refused, target: &Target, cseq: Option<u32>) -> Next {
        debug!(peer = %self.peer, camera = %target.camera, reason = refused.reason(), "an RTSP request is refused");
        let answer = refused.answer(&self.context, self.peer, cseq);
        if refused.is_unauthenticated() {
            self.refused_logins += 1;
            if self.refused_logins >= MAX_REFUSED_LOGINS {
                return Next::Last(answer);
            }
        }
        Next::Answer(answer)
    }

    /// Waits until the camera is ready, or the client gives up: then nobody waits for the camera in its name.
    async fn wait_for(&mut self, admission: &Arc<dyn Admission>) -> Option<Result<Arc<Description>, Refused>> {
        let mut ready = admission.ready();
        loop {
            if self.parser.room() == 0 {
                return Some(ready.await.map_err(Refused::from));
            }
            tokio::select! {
                ready = &mut ready => return Some(ready.map_err(Refused::from)),
                is_open = self.read() => if !is_open { return None },
            }
        }
    }

    async fn describe(&mut self, request: &Request, cseq: Option<u32>) -> Next {
        if self.session.is_some() {
            return Next::Answer(Response::not_now(cseq, "ALREADY_SET_UP", &request.method, METHODS));
        }
        let target = match self.admit(request).await {
            Ok(target) => target,
            Err(next) => return next,
        };
        let Some(admitted) = &self.admitted else { return Next::Gone };
        let description = &admitted.description;
        let tracks: Vec<_> = description
            .tracks
            .iter()
            .enumerate()
            .map(|(index, track)| (track, description.payload_type(index)))
            .collect();
        let sdp = sdp::describe(&target.camera, &tracks, description.generation, description.leaves_sound);
        let answer = Response::new(200, cseq)
            .header("Content-Base", &target.base)
            .header("Cache-Control", "no-cache")
            .body("application/sdp", sdp);
        Next::Answer(answer)
    }

    /// Hands the connection to a shard, which answers PLAY with the first unit.
    fn play(self, cseq: Option<u32>) {
        let (Some(admitted), Some(session)) = (self.admitted, self.session) else { return };
        if !admitted.admission.is_open() {
            debug!(peer = %self.peer, "a session ended between SETUP and PLAY");
            return;
        }
        let transport = match self.socket.into_transport() {
            Ok(transport) => transport,
            Err(error) => {
                debug!(peer = %self.peer, %error, "a viewer's socket was gone before PLAY");
                return;
            }
        };
        let admission = admitted.admission;
        let stream = admission.stream();
        let (ports, protocol) = match self.carried {
            Some(Carried::Datagrams(ports)) => (Some(ports), Protocol::RtspUdp),
            Some(Carried::Interleaved) | None => (None, self.context.protocol),
        };
        admission.carried_by(protocol);
        let play = Play {
            transport,
            ports: ports.map(|ports| ports as _),
            parser: self.parser,
            cseq,
            session,
            base: admitted.base,
            stream: stream.clone(),
            description: admitted.description,
            tracks: self.tracks,
            protocol,
            queue_bytes: self.context.sink_queue_bytes,
            telemetry: self.context.telemetry.clone(),
            link: admission.link(),
            wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
            first_picture: Box::new({
                let admission = admission.clone();
                move || admission.first_picture()
            }),
            keep: Box::new((admission.clone(), self.place)),
        };
        let sink = self.context.shards.attach(stream, Box::new(RtspSink::new(play, Instant::now())), true);
        admission.connected(sink);
    }
}

/// Answers the first request of a connection for which there is no place.
pub(super) async fn refuse(mut socket: TcpStream, reason: &'static str) {
    let answer = async {
        let mut parser = Parser::default();
        let mut chunk = [0; 4096];
        let cseq = loop {
            match parser.take() {
                Ok(Some(Incoming::Request(request))) => break request.cseq(),
                Ok(Some(_)) => {}
                Ok(None) => match socket.read(&mut chunk).await {
                    Ok(count @ 1..) => parser.push(chunk.get(..count).unwrap_or_default()),
                    _ => return,
                },
                Err(_) => break None,
            }
        };
        let bytes = Response::refusal(453, cseq, reason).header("Connection", "close").into_bytes();
        if socket.write_all(&bytes).await.is_ok() {
            drain(&mut socket).await;
        }
    };
    // Whoever says nothing gets no answer; the place among the refused is given back.
    let _ = timeout(Duration::from_secs(2), answer).await;
}

/// Shuts our side and takes what the client still sends, for a moment.
async fn drain(socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut chunk = [0; 4096];
    let wait = async {
        if socket.shutdown().await.is_ok() {
            while matches!(socket.read(&mut chunk).await, Ok(1..)) {}
        }
    };
    let _ = timeout(Duration::from_secs(1), wait).await;
}
