//! A camera's session from DESCRIBE to PLAY: requests and their answers, login, transports.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::super::datagrams::Datagrams;
use super::super::offer::Offer;
use super::super::{Failure, FailureKind, Options, Target};
use super::connection::{Broken, Connection};
use super::description::{Description, Track};
use super::login::Login;
use super::play::Playing;
use super::{Address, no_answer, refusal, refused_by_hub, said};
use crate::telemetry::Protocol;
use crate::wire::rtsp::{Answer, Headers, Input, Lower, Transport, request};

/// RFC 2326 §12.37.
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// Not 1: a camera that always says the same number is then told from one that counts.
const FIRST_CSEQ: u32 = 2;
/// Targets' transports, as they are registered.
const TCP: u8 = 1;
const UDP: u8 = 2;

/// A camera that has described itself, and plays when it is told to. Dropping it closes the connection; `end` also takes
/// leave, so that the camera has its session back.
pub struct Camera {
    pub(super) connection: Connection,
    pub(super) login: Login,
    target: Target,
    control: String,
    pub(super) tracks: Vec<Track>,
    leaves_sound: bool,
    /// The way that each track comes, once SETUP.
    pub(super) lanes: Vec<Lane>,
    /// The first session id that the camera gave, and the last when that is another.
    session: Option<String>,
    other_session: Option<String>,
    pub(super) session_timeout: Duration,
    limit: Duration,
    cseq: u32,
    pub(super) playing: Option<Playing>,
}

/// The way a track comes.
pub enum Lane {
    Interleaved { rtp: u8, rtcp: u8 },
    Datagrams(Box<Datagrams>),
}

impl Camera {
    pub(super) async fn describe(
        connection: Connection,
        address: &Address,
        target: &Target,
        options: &Options,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let mut camera = Self::new(connection, address, target, options);
        camera.ask_description(address, deadline).await?;
        Ok(camera)
    }

    /// A connection on which nothing has been asked.
    pub(super) fn new(connection: Connection, address: &Address, target: &Target, options: &Options) -> Self {
        Self {
            login: Login::new(target),
            target: target.clone(),
            control: address.url.to_string(),
            tracks: Vec::new(),
            leaves_sound: false,
            lanes: Vec::new(),
            session: None,
            other_session: None,
            session_timeout: SESSION_TIMEOUT,
            limit: options.connect_timeout,
            cseq: FIRST_CSEQ,
            playing: None,
            connection,
        }
    }

    pub(super) async fn ask_description(&mut self, address: &Address, deadline: Instant) -> Result<(), Failure> {
        let url = self.control.clone();
        let answer = self.ask("DESCRIBE", &url, &[("Accept", "application/sdp")], deadline).await?;
        if !is_success(answer.status) {
            let is_of_hub = self.target.peer.is_some();
            return Err(if is_of_hub { refused_by_hub(&answer) } else { refusal(answer.status, "DESCRIBE") });
        }
        let described = Description::read(&answer, address, self.connection.peer, &self.target)?;
        (self.control, self.tracks, self.leaves_sound) = (described.control, described.tracks, described.leaves_sound);
        Ok(())
    }

    /// Whether it speaks RTSP at all: any answer is one, also one that wants a login.
    pub(super) async fn ask_options(&mut self, deadline: Instant) -> Result<u16, Failure> {
        let url = self.control.clone();
        self.send("OPTIONS", &url, &[]).map_err(|broken| broken.explain("OPTIONS"))?;
        match timeout_at(deadline, self.answer()).await {
            Ok(answer) => answer.map(|answer| answer.status).map_err(|broken| broken.explain("OPTIONS")),
            Err(_) => Err(no_answer("OPTIONS")),
        }
    }

    /// What the camera offers, picture first; after `play`, what it plays.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.tracks.iter().map(|track| &track.offer)
    }

    /// Whether it has sound, and none of it in a form that the hub carries.
    pub fn leaves_sound(&self) -> bool {
        self.leaves_sound
    }

    /// What carries the media.
    pub fn protocol(&self) -> Protocol {
        if self.lanes.iter().any(|lane| matches!(lane, Lane::Datagrams(_))) {
            Protocol::RtspUdp
        } else if self.connection.is_secure() {
            Protocol::Rtsps
        } else {
            Protocol::RtspTcp
        }
    }

    /// SETUP of every offer, then PLAY, whose answer may come after the first packets: `advance` sees to it.
    /// `began`: what the times of packets count from.
    pub async fn play(&mut self, began: Instant) -> Result<(), Failure> {
        let is_secure = self.connection.is_secure();
        if is_secure && self.target.transport == UDP {
            let message =
                "over rtsps:// media comes inside the TLS connection: register transport TCP, or leave it open";
            return Err(Failure::new(FailureKind::Invalid, message));
        }
        let is_open = !is_secure && self.target.transport != TCP && self.target.transport != UDP;
        let mut by_udp = self.target.transport == UDP;
        let mut place = 0;
        while place < self.tracks.len() {
            let answer = match by_udp {
                false => self.set_up_interleaved(place).await?,
                true => self.set_up_datagrams(place).await?,
            };
            match answer {
                None => place += 1,
                // Not this way: the other, if it is left open.
                Some(461) if is_open && !by_udp && place == 0 => by_udp = true,
                Some(461) => {
                    let (this, other) = if by_udp { ("UDP", "TCP") } else { ("TCP", "UDP") };
                    let message = format!("the camera does not send by {this}: register transport {other}");
                    return Err(Failure::new(FailureKind::Invalid, message));
                }
                // A picture without sound is better than none.
                Some(status) if place > 0 => {
                    info!(camera = %self.target.camera, status, "the camera does not give its sound");
                    self.tracks.remove(place);
                }
                Some(status) => return Err(refusal(status, "SETUP")),
            }
        }
        let by_udp = self.protocol() == Protocol::RtspUdp;
        self.playing = Some(Playing::new(began, self.session_timeout, Instant::now() + self.limit, by_udp));
        self.send_play()
    }

    /// Asks for `PLAY`; the answer comes to `advance`.
    pub(super) fn send_play(&mut self) -> Result<(), Failure> {
        let url = self.control.clone();
        let cseq = self.send("PLAY", &url, &[("Range", "npt=0.000-")]).map_err(|broken| broken.explain("PLAY"))?;
        if let Some(playing) = &mut self.playing {
            playing.awaits_play(cseq);
        }
        Ok(())
    }

    /// A request in mid-session about all of it; its CSeq.
    pub(super) fn send_about_all(&mut self, method: &str) -> Result<u32, Broken> {
        let url = self.control.clone();
        self.send(method, &url, &[])
    }

    /// Goes over to another session id that the camera has given, if it has.
    pub(super) fn tries_other_session(&mut self) -> bool {
        match self.other_session.take() {
            Some(other) => {
                self.session = Some(other);
                true
            }
            None => false,
        }
    }

    pub(super) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// The status when the camera refuses.
    async fn set_up_interleaved(&mut self, place: usize) -> Result<Option<u16>, Failure> {
        let wanted = (place as u8 * 2, place as u8 * 2 + 1);
        let header = format!("RTP/AVP/TCP;unicast;interleaved={}-{}", wanted.0, wanted.1);
        let answer = self.set_up(place, &header).await?;
        if !is_success(answer.status) {
            return Ok(Some(answer.status));
        }
        // What the camera says counts, unless it says the same for two tracks.
        let is_taken = |channel: u8| {
            self.lanes.iter().any(|lane| matches!(lane, Lane::Interleaved { rtp, .. } if *rtp == channel))
        };
        let told = transport(&answer).and_then(|transport| transport.interleaved);
        let (rtp, rtcp) = told.filter(|(rtp, _)| !is_taken(*rtp)).unwrap_or(wanted);
        self.lanes.push(Lane::Interleaved { rtp, rtcp });
        Ok(None)
    }

    /// The status when the camera refuses.
    async fn set_up_datagrams(&mut self, place: usize) -> Result<Option<u16>, Failure> {
        let none = |_| Failure::new(FailureKind::Unreachable, "the hub has no UDP ports left: raise ulimit -n");
        let rate_hz = self.tracks.get(place).map_or(90_000, |track| track.offer.rate_hz());
        let (local, peer) = (self.connection.local, self.connection.peer);
        let mut datagrams = Datagrams::bind(local, peer, rate_hz).map_err(none)?;
        let (rtp, rtcp) = datagrams.local_ports().map_err(none)?;
        let answer = self.set_up(place, &format!("RTP/AVP;unicast;client_port={rtp}-{rtcp}")).await?;
        if !is_success(answer.status) {
            return Ok(Some(answer.status));
        }
        let transport = transport(&answer);
        if let Some((rtp, rtcp)) = transport.as_ref().and_then(|transport| transport.interleaved) {
            // Asked for the one, it has chosen the other.
            self.lanes.push(Lane::Interleaved { rtp, rtcp });
            return Ok(None);
        }
        if transport.as_ref().is_some_and(|transport| transport.multicast) {
            let message = "the camera sends by multicast, which the hub does not join: register transport TCP";
            return Err(Failure::new(FailureKind::Invalid, message));
        }
        let source = transport.as_ref().and_then(|transport| transport.source.as_deref()).unwrap_or_default();
        if let Ok(elsewhere) = source.parse::<std::net::IpAddr>()
            && elsewhere.to_canonical() != peer.ip().to_canonical()
            && !elsewhere.is_unspecified()
        {
            let message =
                format!("the camera says that it sends from {elsewhere}: register the camera there, or by TCP");
            return Err(Failure::new(FailureKind::Invalid, message));
        }
        if let Some(ports) = transport.and_then(|transport| transport.server_port) {
            datagrams.expect(ports);
            datagrams.punch();
        }
        self.lanes.push(Lane::Datagrams(Box::new(datagrams)));
        Ok(None)
    }

    async fn set_up(&mut self, place: usize, transport: &str) -> Result<Answer, Failure> {
        let url = self.tracks.get(place).map(|track| track.control.clone()).unwrap_or_default();
        let deadline = Instant::now() + self.limit;
        let answer = self.ask("SETUP", &url, &[("Transport", transport)], deadline).await?;
        if is_success(answer.status)
            && let Some(header) = answer.headers.get("Session")
        {
            let mut parts = header.split(';').map(str::trim);
            let id = parts.next().unwrap_or_default().to_owned();
            let timeout = parts.filter_map(|part| part.split_once('=')).find_map(|(name, value)| {
                name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok()).flatten()
            });
            if let Some(seconds) = timeout.filter(|seconds| *seconds > 0) {
                self.session_timeout = Duration::from_secs(seconds);
            }
            match &self.session {
                None => self.session = Some(id),
                Some(known) => self.other_session = (*known != id).then_some(id),
            }
        }
        Ok(answer)
    }

    /// Sends a request and waits for its answer; a login that is asked for is given.
    async fn ask(
        &mut self,
        method: &'static str,
        url: &str,
        headers: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        loop {
            self.send(method, url, headers).map_err(|broken| broken.explain(method))?;
            let answer = match timeout_at(deadline, self.answer()).await {
                Ok(answer) => answer.map_err(|broken| broken.explain(method))?,
                Err(_) => return Err(no_answer(method)),
            };
            debug!(camera = %self.target.camera, method, status = answer.status, "the camera answers");
            match answer.status {
                401 => {
                    self.login.challenged(&answer)?;
                    if self.login.is_plain() && !self.connection.is_secure() {
                        info!(camera = %self.target.camera, "the camera takes its password in clear only");
                    }
                }
                status => {
                    if is_success(status) {
                        self.login.accepted(&answer);
                    }
                    return Ok(answer);
                }
            }
        }
    }

    /// The next answer; packets before PLAY are nobody's.
    pub(super) async fn answer(&mut self) -> Result<Answer, Broken> {
        poll_fn(|cx| {
            loop {
                let mut answer = None;
                let mut requests = Requests::new();
                let polled = self.connection.poll(cx, |input| match input {
                    Input::Answer(came) if answer.is_none() && came.status >= 200 => answer = Some(came),
                    Input::Request { method, headers } => requests.push((method, headers)),
                    Input::Answer(_) | Input::Frame { .. } => {}
                });
                let broken = match polled {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(polled) => polled.and_then(|()| self.obey(&requests)).err(),
                };
                match (answer, broken) {
                    (Some(answer), _) => return Poll::Ready(Ok(answer)),
                    (None, Some(broken)) => return Poll::Ready(Err(broken)),
                    (None, None) => {}
                }
            }
        })
        .await
    }

    /// Answers requests of the camera's own.
    pub(super) fn obey(&mut self, requests: &[(String, Headers)]) -> Result<(), Broken> {
        for (method, headers) in requests {
            if matches!(method.as_str(), "TEARDOWN" | "REDIRECT") {
                let by_hub = self.target.peer.as_ref().map(|_| said(headers));
                return Err(by_hub.map_or(Broken::Ended, Broken::EndedByHub));
            }
            let is_ping = matches!(method.as_str(), "OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER");
            let status = if is_ping { "200 OK" } else { "501 Not Implemented" };
            let cseq = headers.get("CSeq").unwrap_or("0");
            self.connection.send(format!("RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n\r\n").as_bytes())?;
        }
        Ok(())
    }

    /// Puts a request on its way; its CSeq.
    fn send(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> Result<u32, Broken> {
        let cseq = self.cseq;
        self.cseq = self.cseq.wrapping_add(1);
        let authorization = self.login.authorization(method, url);
        let mut all: SmallVec<[(&str, &str); 6]> = SmallVec::from_slice(headers);
        all.push(("User-Agent", concat!("vidhub/", env!("CARGO_PKG_VERSION"))));
        all.extend(authorization.as_deref().map(|value| ("Authorization", value)));
        all.extend(self.session.as_deref().map(|id| ("Session", id)));
        self.connection.send(&request(method, url, cseq, &all))?;
        Ok(cseq)
    }
}

/// Requests of the camera's that came together.
pub(super) type Requests = SmallVec<[(String, Headers); 1]>;

pub(super) fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn transport(answer: &Answer) -> Option<Transport> {
    let offers = Transport::parse_all(answer.headers.get("Transport")?);
    offers.into_iter().find(|offer| offer.lower != Lower::Other)
}
