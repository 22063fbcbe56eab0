//! A viewer's peer connection: ICE and DTLS by str0m, and the way of datagrams in and out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use str0m::net::{DatagramRecv, Receive, Transmit};
use str0m::{Event, IceConnectionState, IceCreds, Input, Output, Rtc};

use super::batch::{Batch, Route};
use super::crowd::Crowd;
use super::keys::Keys;
use super::restart::{Restarted, Restarts};
use super::way::{Carrier, Remote, Remotes, Way};
use crate::error::Result;
use crate::media::Profile;
use crate::stream::Interest;
use crate::telemetry::{DropReason, Telemetry};
use crate::wire::stun;

/// With no report from the viewer for so long, a check that names another way is believed, if it can be no old one that
/// somebody else has kept: it came by TCP, or is the first after a restart, or the way in use is checked no more.
const QUIET: Duration = Duration::from_millis(500);
/// Browsers and aiortc check the way in use every 2.5 to 6 seconds.
const UNCHECKED: Duration = Duration::from_secs(7);
/// Consent to be sent media (RFC 7675 §5.1): so long after the last check or report from where it goes, it has expired.
const CONSENT: Duration = Duration::from_secs(30);

/// For a viewer that was followed by a check to report from where its media goes now.
const PROOF: Duration = Duration::from_secs(10);

/// A viewer's place at the port. Dropping it gives everything back.
pub trait Place: Send {
    /// Sends `datagrams`, equal pieces of `segment` bytes (the last may be shorter), from the local address `from`.
    fn send(&self, to: Remote, from: Option<IpAddr>, datagrams: &[u8], segment: usize) -> io::Result<()>;
    /// Most pieces that one `send` takes.
    fn max_segments(&self) -> usize;
    /// Viewers of the port that are catching up.
    fn crowd(&self) -> &Arc<Crowd>;
    /// Octets of access units that may wait for a TCP connection; one may always.
    fn queue_bytes(&self) -> usize;
    /// Whether an access unit may be sent there now. Where not, `Room` follows when it may.
    fn way(&self, to: Remote) -> Way;
    /// The viewer has proved that it sends from `remote`: what comes from there is for this sink.
    fn hears(&self, remote: Remote);
    /// What comes from `remote` is no longer for this sink.
    fn forgets(&self, remote: Remote);
    /// The first picture has gone out.
    fn first_picture(&self);
    /// Which of the camera's streams it plays.
    fn profile(&self) -> Profile;
    /// An interest in the camera's other stream, main or sub, where the session leaves the choice to the hub.
    fn other(&self) -> Result<Arc<dyn Interest>>;
    /// The viewer has gone over to it (`Flow::Switch`): the interest in the stream it came from is given back.
    fn switched(&self, to: Arc<dyn Interest>);
}

pub(super) struct Connection {
    pub rtc: Rtc,
    pub keys: Keys,
    pub place: Box<dyn Place>,
    telemetry: Arc<Telemetry>,
    candidates: Arc<[SocketAddr]>,
    /// For each of our candidates, the local address that the viewer's datagrams really came to.
    sources: SmallVec<[(SocketAddr, IpAddr); 2]>,
    remotes: Remotes,
    /// Where media goes. The handshake's way at first; then the way that the viewer's own reports come.
    route: Option<Route>,
    /// The way of a check that is being answered, if it says that it is the one to be taken.
    nominated: Option<Route>,
    /// When the viewer last reported.
    heard: Instant,
    /// When it last reported from where media goes, or passed a check there.
    consented: Instant,
    /// Since when media goes where a check has led it that may be an old one: no report has come since.
    unproven: Option<Instant>,
    /// The handshake is done.
    is_connected: bool,
    /// It has restarted ICE and not yet said which way is the one to be taken.
    is_moving: bool,
    restarts: Restarts,
    deadline: Instant,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Going,
    /// The handshake is done: the keys are there.
    Connected,
    Over(&'static str),
}

/// Datagrams by their first octet (RFC 7983 §7) and, of those like RTP, their second (RFC 5761 §4).
pub(super) enum Kind {
    /// STUN or DTLS.
    Peer,
    Rtcp,
    /// Media, which no viewer sends, or nothing we know.
    Foreign,
}

impl Kind {
    pub fn of(data: &[u8]) -> Self {
        match data {
            [0..=3 | 20..=63, ..] => Self::Peer,
            [128..=191, 192..=223, ..] => Self::Rtcp,
            _ => Self::Foreign,
        }
    }
}

impl Connection {
    pub fn new(
        rtc: Rtc,
        keys: Keys,
        place: Box<dyn Place>,
        candidates: Arc<[SocketAddr]>,
        restarts: Restarts,
        telemetry: Arc<Telemetry>,
        now: Instant,
    ) -> Self {
        Self {
            rtc,
            keys,
            place,
            telemetry,
            candidates,
            sources: SmallVec::new(),
            remotes: Remotes::default(),
            route: None,
            nominated: None,
            heard: now,
            consented: now,
            unproven: None,
            is_connected: false,
            is_moving: false,
            restarts,
            deadline: now,
        }
    }

    pub fn deadline(&self) -> Instant {
        self.restarts.deadline().map_or(self.deadline, |restarted| restarted.min(self.deadline))
    }

    /// Takes new ICE credentials of the viewer's and gives new ones of ours.
    pub fn restart(&mut self, remote: &IceCreds, now: Instant) -> Option<Restarted> {
        let restarted = self.restarts.begin(&mut self.rtc, remote, now)?;
        self.remotes.begin_anew();
        self.is_moving = true;
        Some(restarted)
    }

    pub fn route(&self) -> Option<Route> {
        self.route
    }

    /// Whether the way to the viewer takes an access unit.
    pub fn way(&self) -> Way {
        self.route.map_or(Way::Open, |route| self.place.way(route.to))
    }

    /// Lets str0m do what it is time for.
    pub fn drive(&mut self, batch: &mut Batch, now: Instant) -> Outcome {
        if self.restarts.deadline().is_some_and(|deadline| now >= deadline) {
            return Outcome::Over("VIEWER_SILENT");
        }
        let is_unproven = self.unproven.is_some_and(|since| now >= since + PROOF);
        if is_unproven || now >= self.consented + CONSENT {
            return Outcome::Over("VIEWER_SILENT");
        }
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            return Outcome::Over("WEBRTC_FAILED");
        }
        self.drain(batch, now)
    }

    /// Takes a datagram for str0m.
    pub fn receive(&mut self, batch: &mut Batch, from: Remote, to: SocketAddr, data: &[u8], now: Instant) -> Outcome {
        let Some(candidate) = self.candidate(to) else { return Outcome::Going };
        let Ok(contents) = DatagramRecv::try_from(data) else {
            self.telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
            return Outcome::Going;
        };
        match self.sources.iter_mut().find(|(known, _)| *known == candidate) {
            Some((_, local)) => *local = to.ip(),
            None => self.sources.push((candidate, to.ip())),
        }
        if stun::is_stun(data) && !self.remotes.takes_checks_from(from) {
            self.telemetry.dropped(DropReason::OverBudget).fetch_add(1, Relaxed);
            return Outcome::Going;
        }
        let is_quiet = self.way() == Way::Broken || now > self.heard + QUIET;
        let is_fresh = from.carrier == Carrier::Tcp || now > self.consented + UNCHECKED;
        let is_believed = self.is_moving || is_quiet && is_fresh;
        self.nominated = (is_believed && stun::nominates(data)).then_some(Route { to: from, candidate });
        let receive = Receive { proto: from.carrier.ice(), source: from.address, destination: candidate, contents };
        match self.rtc.handle_input(Input::Receive(now, receive)) {
            Ok(()) => self.drain(batch, now),
            Err(_) => Outcome::Over("WEBRTC_FAILED"),
        }
    }

    /// The viewer has reported from there, with its own key: that is the way it has chosen.
    pub fn heard_from(&mut self, from: Remote, to: SocketAddr, now: Instant) {
        self.heard = now;
        self.unproven = None;
        if let Some(candidate) = self.candidate(to) {
            self.route = Some(Route { to: from, candidate });
            self.consented = now;
        }
    }

    /// Begins the end: DTLS close_notify goes out.
    pub fn close(&mut self, batch: &mut Batch, now: Instant) {
        if self.rtc.close().is_ok() {
            self.drive(batch, now);
        }
    }

    fn drain(&mut self, batch: &mut Batch, now: Instant) -> Outcome {
        let mut outcome = Outcome::Going;
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(deadline)) => {
                    self.deadline = deadline;
                    break;
                }
                Ok(Output::Transmit(transmit)) => self.gather(batch, &transmit, now),
                Ok(Output::Event(Event::Connected)) => {
                    self.is_connected = true;
                    outcome = Outcome::Connected;
                }
                // An ICE-lite side says so when no check has come for 15 seconds.
                Ok(Output::Event(Event::IceConnectionStateChange(IceConnectionState::Disconnected))) => {
                    outcome = Outcome::Over("VIEWER_SILENT");
                }
                Ok(Output::Event(Event::IceConnectionStateChange(
                    IceConnectionState::Connected | IceConnectionState::Completed,
                ))) => self.restarts.is_checked(),
                Ok(Output::Event(_)) => {}
                Err(_) => {
                    outcome = Outcome::Over("WEBRTC_FAILED");
                    break;
                }
            }
        }
        self.send(batch);
        if self.rtc.is_alive() { outcome } else { Outcome::Over("VIEWER_LEFT") }
    }

    /// Adds a datagram of str0m's to the batch. Media and reports are not its business: what it makes of them unasked
    /// would use indexes a second time that ours have.
    fn gather(&mut self, batch: &mut Batch, transmit: &Transmit, now: Instant) {
        let datagram: &[u8] = &transmit.contents;
        let to = Remote { carrier: Carrier::of(transmit.proto), address: transmit.destination };
        let mut route = Route { to, candidate: transmit.source };
        match datagram.first() {
            // The way that str0m takes is that of the last check that named one, whoever has sent it.
            Some(20..=63) if self.is_connected => route = self.route.unwrap_or(route),
            Some(20..=63) => (self.route, self.consented) = (Some(route), now),
            Some(128..=191) => return,
            _ if stun::is_binding_success(datagram) => self.passed(route, now),
            _ => {}
        }
        let written = self.add(batch, route, datagram.len(), |bytes| {
            bytes.extend_from_slice(datagram);
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written;
    }

    /// A check that came this way is granted.
    fn passed(&mut self, route: Route, now: Instant) {
        self.hear(route.to);
        if self.nominated == Some(route) && self.route.is_some() {
            if !self.is_moving && route.to.carrier == Carrier::Udp && self.route != Some(route) {
                self.unproven.get_or_insert(now);
            }
            self.route = self.nominated.take();
            self.is_moving = false;
        }
        if self.route.is_some_and(|used| used.to == route.to) {
            self.consented = now;
        }
    }

    /// Adds a datagram of so many octets to the batch, and sends first what it can't go out with.
    pub fn add<E>(
        &self,
        batch: &mut Batch,
        route: Route,
        length: usize,
        write: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        if !batch.goes(route) || !batch.has_room(length, self.place.max_segments()) {
            self.send(batch);
        }
        batch.add(route, length, write)
    }

    pub fn send(&self, batch: &mut Batch) {
        if let Some(contents) = batch.contents() {
            let candidate = contents.route.candidate;
            let from = self.sources.iter().find(|(known, _)| *known == candidate).map(|(_, local)| *local);
            // A datagram that can't be sent is a lost one, as on any network: the viewer asks for it again.
            if self.place.send(contents.route.to, from, contents.bytes, contents.segment).is_err() {
                self.telemetry.dropped(DropReason::OverBudget).fetch_add(contents.count as u64, Relaxed);
            }
        }
        batch.clear();
    }

    fn hear(&mut self, remote: Remote) {
        let Self { remotes, route, place, .. } = self;
        remotes.add(remote, route.map(|route| route.to), |forgotten| place.forgets(forgotten));
        // Also of one that is known: another may have passed a check from there meanwhile, and gone.
        place.hears(remote);
    }

    /// The candidate that a datagram to the local address `to` was sent to.
    fn candidate(&self, to: SocketAddr) -> Option<SocketAddr> {
        whose(&self.candidates, &self.sources, to.ip())
    }
}

/// Which of our candidates stands for the local address `to`. Where addresses are translated on the way, none is equal to
/// it: each local address then stands for one candidate of its family, and keeps it, so that answers leave from where the
/// questions came to.
fn whose(candidates: &[SocketAddr], sources: &[(SocketAddr, IpAddr)], to: IpAddr) -> Option<SocketAddr> {
    let known = || sources.iter().find(|(_, local)| *local == to).map(|(candidate, _)| *candidate);
    let family = || candidates.iter().filter(|candidate| candidate.is_ipv4() == to.is_ipv4()).copied();
    let free = || family().find(|candidate| sources.iter().all(|(taken, _)| taken != candidate));
    let equal = candidates.iter().find(|candidate| candidate.ip() == to).copied();
    equal.or_else(known).or_else(free).or_else(|| family().next())
}
