//! A connection that pushes: ANNOUNCE, SETUP, RECORD (RFC 2326 §10.3, §10.11), then media until its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info};

use super::super::socket::Socket;
use super::announced::{Recording, Way};
use super::authorise::{Refused, authorise};
use super::connection::{Connection, Next};
use crate::gate::{Ender, Publication};
use crate::sink::rtsp::METHODS;
use crate::source::Push;
use crate::telemetry::{Protocol, SourceKind};
use crate::wire::reorder;
use crate::wire::rtsp::{self, Fault, Headers, Input, MAX_FRAME_BYTES, Reader, Request, Response};

/// Room for what is read at once: two of the largest frames, so that a part of one never keeps the rest out.
const READ_BYTES: usize = 2 * MAX_FRAME_BYTES;
/// Largest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;
/// Datagrams taken from one socket before the others have their turn.
const DATAGRAMS_A_TURN: usize = 64;
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a publisher may take to be told why it is ended.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

/// One socket of a pair and the track whose packets come to it.
struct Port {
    socket: UdpSocket,
    place: usize,
    is_rtcp: bool,
}

/// Why a publisher's connection ends.
enum End {
    /// The client has gone, or has been answered for the last time.
    Gone(&'static str),
    /// It is to be told.
    Told(&'static str),
}

impl<S: Socket> Connection<S> {
    pub(super) fn announce(&mut self, request: &Request, cseq: Option<u32>) -> Next {
        if self.is_busy() {
            return Next::Answer(Response::not_now(cseq, "ALREADY_SET_UP", &request.method, METHODS));
        }
        let target = match self.target(request) {
            Ok(target) => target,
            Err(answer) => return Next::Answer(answer),
        };
        let published = authorise(&self.context, self.peer, request, &target, |proof| {
            self.context.door.publish(&target.camera, proof, self.context.protocol, self.peer)
        });
        let publication = match published {
            Ok(publication) => publication,
            Err(refused) => return self.turn_away(refused, target, cseq),
        };
        self.is_known();
        let content_type = request.headers.get("Content-Type").unwrap_or_default();
        if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/sdp") {
            return Next::Answer(Response::refusal(415, cseq, "CONTENT_TYPE").header("Accept", "application/sdp"));
        }
        match crate::source::announced(&target.camera, &request.body) {
            Ok(announced) => {
                self.recording = Some(Recording::new(&target, publication, announced));
                Next::Answer(Response::new(200, cseq))
            }
            Err(error) => {
                let status = if error.reason() == "CODEC_NOT_CARRIED" { 415 } else { 400 };
                debug!(peer = %self.peer, camera = %target.camera, %error, "an ANNOUNCE is refused");
                let answer = Response::refusal(status, cseq, error.reason());
                Next::Answer(answer.body("text/plain; charset=utf-8", error.message().to_owned()))
            }
        }
    }

    /// SETUP of an announced section.
    pub(super) async fn set_up_to_record(&mut self, request: &Request, cseq: Option<u32>) -> Next {
        let Ok(local) = self.socket.local() else { return Next::Gone };
        let is_secure = self.context.protocol == Protocol::Rtsps;
        let Some(recording) = &mut self.recording else { return Next::Gone };
        match recording.set_up(request, (self.peer, local), is_secure).await {
            Ok(transport) => {
                let session = self.session.get_or_insert_with(|| format!("{:016x}", rand::random::<u64>()));
                let answer = Response::new(200, cseq)
                    .header("Session", format_args!("{session};timeout=60"))
                    .header("Transport", transport);
                Next::Answer(answer)
            }
            Err(answer) => Next::Answer(answer),
        }
    }

    /// RECORD and all that follows.
    pub(super) async fn record(mut self, cseq: Option<u32>) {
        let (Some(recording), Some(session)) = (self.recording.take(), self.session.take()) else { return };
        let (ender, mut ended) = Ender::task();
        if let Err(error) = recording.publication.begin(ender).await {
            let answer = Refused::from(error).answer(&self.context, self.peer, cseq);
            self.write(answer).await;
            return self.finish().await;
        }
        if !self.write(Response::new(200, cseq).header("Session", &session)).await {
            return;
        }
        self.pushes.store(true, Relaxed);
        let (camera, base) = (recording.camera.clone(), recording.base.clone());
        let stop = self.context.stop.clone();
        let mut reading = Reading::new(self, recording, session);
        // Looked at first, and also while an answer waits for a client that reads none.
        let end = tokio::select! {
            biased;
            reason = ended.wait() => End::Told(reason),
            () = stop.cancelled() => End::Told("HUB_DRAINING"),
            end = reading.run() => end,
        };
        let Reading { connection, publication, push, ports, session, .. } = reading;
        // The place is free before the client is told: it may not listen any more.
        drop((ports, push, publication));
        let reason = match end {
            End::Gone(reason) | End::Told(reason) => reason,
        };
        info!(%camera, reason, "a publisher's connection ends");
        let goodbye = async move {
            let mut connection = connection;
            if let End::Told(reason) = end {
                let headers = [("Session", session.as_str()), ("X-Vidhub-Reason", reason)];
                connection.write_bytes(&rtsp::request("TEARDOWN", &base, 1, &headers)).await;
            }
            connection.finish().await;
        };
        // A client that takes nothing any more is not waited for.
        let _ = timeout(GOODBYE, goodbye).await;
    }
}

/// A connection that brings media.
struct Reading<S> {
    connection: Connection<S>,
    publication: Arc<dyn Publication>,
    push: Push,
    session: String,
    /// By channel, the track and whether it is RTCP.
    channels: [Option<(usize, bool)>; 256],
    /// By track, where reports go on this connection.
    report_channels: Vec<(usize, u8)>,
    ports: Vec<Port>,
    reader: Reader,
    buffer: Vec<u8>,
    /// What of it has come and is not read yet.
    filled: std::ops::Range<usize>,
}

enum Happened {
    Stalled,
    Timer,
    Octets(io::Result<usize>),
    Port(usize),
}

impl<S: Socket> Reading<S> {
    fn new(mut connection: Connection<S>, recording: Recording, session: String) -> Self {
        let Recording { publication, sections, announced, ways, .. } = recording;
        let mut channels = [None; 256];
        let (mut report_channels, mut ports) = (Vec::new(), Vec::new());
        for (section, way) in sections.iter().zip(ways) {
            // What is not carried is taken and left out.
            let Some(place) = section.place else { continue };
            match way {
                Some(Way::Interleaved { rtp, rtcp }) => {
                    channels[usize::from(rtp)] = Some((place, false));
                    channels[usize::from(rtcp)] = Some((place, true));
                    report_channels.push((place, rtcp));
                }
                Some(Way::Udp(pair)) => {
                    ports.push(Port { socket: pair.rtp, place, is_rtcp: false });
                    ports.push(Port { socket: pair.rtcp, place, is_rtcp: true });
                }
                None => {}
            }
        }
        let protocol = if ports.is_empty() { connection.context.protocol } else { Protocol::RtspUdp };
        let link = publication.link();
        let kind = if link.is_some() { SourceKind::Hub } else { SourceKind::RtspPush };
        let push = Push::new(
            publication.stream().clone(),
            &announced,
            (kind, protocol),
            link,
            (!ports.is_empty()).then_some(reorder::MAX_WAIT),
            connection.context.telemetry.clone(),
            Instant::now(),
        );
        let mut buffer = vec![0; READ_BYTES];
        let rest = std::mem::take(&mut connection.parser).rest();
        let filled = 0..rest.len().min(READ_BYTES);
        if let (Some(room), Some(rest)) = (buffer.get_mut(filled.clone()), rest.get(filled.clone())) {
            room.copy_from_slice(rest);
        }
        let reader = Reader::default();
        Self { connection, publication, push, session, channels, report_channels, ports, reader, buffer, filled }
    }

    async fn run(&mut self) -> End {
        let stall_timeout = self.connection.context.stall_timeout;
        let mut next_report = Instant::now() + REPORT_INTERVAL;
        if let Some(end) = self.take().await {
            return end;
        }
        loop {
            let stalled = self.push.last_picture() + stall_timeout;
            let timer = self.push.deadline().map_or(next_report, |wait| wait.min(next_report));
            match self.wait(stalled, timer).await {
                Happened::Stalled => return End::Told("CAMERA_SILENT"),
                Happened::Octets(Ok(0) | Err(_)) => return End::Gone("CLIENT_CLOSED"),
                Happened::Octets(Ok(count)) => {
                    self.filled.end += count;
                    if let Some(end) = self.take().await {
                        return end;
                    }
                }
                Happened::Port(number) => self.datagrams(number),
                Happened::Timer => {}
            }
            let now = Instant::now();
            self.push.settle(now);
            if now >= next_report {
                next_report = now + REPORT_INTERVAL;
                if !self.report(now).await {
                    return End::Gone("CONNECTION_LOST");
                }
            }
        }
    }

    /// The watchdogs are looked at first: a flood of anything but pictures must not starve them.
    async fn wait(&mut self, stalled: Instant, timer: Instant) -> Happened {
        let Self { connection, ports, buffer, filled, .. } = self;
        let room = buffer.get_mut(filled.end..).unwrap_or_default();
        let datagram = std::future::poll_fn(|context| {
            let ready = ports.iter().position(|port| port.socket.poll_recv_ready(context).is_ready());
            ready.map_or(Poll::Pending, Poll::Ready)
        });
        tokio::select! {
            biased;
            () = sleep_until(stalled.into()) => Happened::Stalled,
            () = sleep_until(timer.into()) => Happened::Timer,
            number = datagram => Happened::Port(number),
            read = connection.socket.read(room) => Happened::Octets(read),
        }
    }

    /// Takes what has been read: packets where they lie, requests with an answer.
    async fn take(&mut self) -> Option<End> {
        let now = Instant::now();
        while let Some(data) = self.buffer.get(self.filled.clone()) {
            let (used, input) = match self.reader.read(data) {
                Ok(read) => read,
                Err(fault) => {
                    let reason = match fault {
                        Fault::Malformed => "MALFORMED_REQUEST",
                        Fault::TooLarge => "TOO_LARGE",
                    };
                    self.connection.write(Response::refusal(400, None, reason)).await;
                    return Some(End::Told(reason));
                }
            };
            match input {
                Some(Input::Frame { channel, data }) => match self.channels[usize::from(channel)] {
                    Some((place, false)) => self.push.rtp(place, data, now),
                    Some((place, true)) => self.push.rtcp(place, data, now),
                    None => {}
                },
                Some(Input::Request { method, headers }) => {
                    self.filled.start += used;
                    if let Some(end) = self.answer(&method, &headers).await {
                        return Some(end);
                    }
                    continue;
                }
                // To nothing that we asked.
                Some(Input::Answer(_)) => {}
                None if used == 0 => break,
                None => {}
            }
            self.filled.start += used;
        }
        // The part of a frame that is left moves to the front, where the rest of it has room.
        self.buffer.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
        None
    }

    async fn answer(&mut self, method: &str, headers: &Headers) -> Option<End> {
        let cseq = headers.get("CSeq").and_then(|number| number.parse().ok());
        let shown = headers.get("Session").map(|session| session.split(';').next().unwrap_or_default().trim());
        let ok = || Response::new(200, cseq).header("Session", format_args!("{};timeout=60", self.session));
        let (answer, end) = match method {
            _ if cseq.is_none() => (Response::refusal(400, None, "CSEQ_MISSING"), None),
            _ if shown.is_some_and(|shown| shown != self.session) => {
                (Response::refusal(454, cseq, "RTSP_SESSION_UNKNOWN"), None)
            }
            "OPTIONS" => (ok().header("Public", METHODS), None),
            "GET_PARAMETER" | "SET_PARAMETER" | "RECORD" => (ok(), None),
            "TEARDOWN" => (ok().header("Connection", "close"), Some(End::Gone("CLIENT_TEARDOWN"))),
            "PAUSE" => (Response::refusal(501, cseq, "LIVE_ONLY"), None),
            "ANNOUNCE" | "DESCRIBE" | "SETUP" | "PLAY" => {
                (Response::not_now(cseq, "ALREADY_RECORDING", method, METHODS), None)
            }
            _ => (Response::refusal(405, cseq, "METHOD_UNKNOWN").header("Allow", METHODS), None),
        };
        if self.connection.write(answer).await { end } else { Some(End::Gone("CONNECTION_LOST")) }
    }

    fn datagrams(&mut self, number: usize) {
        let Self { ports, push, .. } = self;
        let Some(port) = ports.get(number) else { return };
        let now = Instant::now();
        DATAGRAM.with_borrow_mut(|room| {
            for _ in 0..DATAGRAMS_A_TURN {
                match port.socket.try_recv(room) {
                    Ok(length) => {
                        let data = room.get(..length).unwrap_or_default();
                        if port.is_rtcp { push.rtcp(port.place, data, now) } else { push.rtp(port.place, data, now) }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    // An ICMP answer to a report of ours: the client has not opened its port, or not any more.
                    Err(_) => {}
                }
            }
        });
    }

    /// Tells the publisher how its packets arrive; false when the connection takes nothing any more.
    async fn report(&mut self, now: Instant) -> bool {
        for number in 0..self.ports.len() {
            let Some(place) = self.ports.get(number).filter(|port| port.is_rtcp).map(|port| port.place) else {
                continue;
            };
            if let (Some(report), Some(port)) = (self.push.report(place, now), self.ports.get(number)) {
                // One that can't be sent is one that is lost.
                let _ = port.socket.try_send(&report);
            }
        }
        let mut framed = Vec::new();
        for (place, channel) in &self.report_channels {
            let Some(report) = self.push.report(*place, now) else { continue };
            let Ok(length) = u16::try_from(report.len()) else { continue };
            let [high, low] = length.to_be_bytes();
            framed.extend_from_slice(&[b'$', *channel, high, low]);
            framed.extend_from_slice(&report);
        }
        framed.is_empty() || self.connection.write_bytes(&framed).await
    }
}

thread_local! {
    /// One per thread: what is in it is worked off before anybody else has a turn.
    static DATAGRAM: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; MAX_DATAGRAM]);
}
