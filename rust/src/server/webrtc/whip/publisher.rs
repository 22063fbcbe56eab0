//! One WebRTC publisher on its shard: str0m receives, asks again for what is lost, and says how packets arrive; what
//! comes goes into the camera's stream.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, UNIX_EPOCH};

use smallvec::SmallVec;
use str0m::media::{KeyframeRequestKind, Mid, SenderFeedback};
use str0m::net::{DatagramRecv, Receive, Transmit};
use str0m::rtp::RtpPacket;
use str0m::{Event, IceConnectionState, Input, Output, Rtc};

use super::Berth;
use super::answer::Negotiated;
use crate::sink::whep::{Carrier, Remote, Remotes, Restart, Restarts};
use crate::source::{Announced, Push};
use crate::stream::{Flow, Message, Sink, WireUnit};
use crate::telemetry::{DropReason, Protocol, SourceKind, Telemetry};
use crate::wire::{rtcp, rtp, stun};

/// A publisher that has not connected by then is dropped.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// While pictures wait for a keyframe, one is asked for this often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Browsers send keyframes on demand alone. With one so often, who joins waits for none and is sent little.
const KEYFRAME_EVERY: Duration = Duration::from_secs(4);
/// How long a missing packet is waited for: asked for again, it takes a round trip or two.
const LOSS_PATIENCE: Duration = Duration::from_millis(400);

/// Says that the camera is this publisher's now, or why not.
pub struct Began(pub Result<(), &'static str>);

pub struct Publisher {
    rtc: Rtc,
    video: Mid,
    audio: Option<Mid>,
    announced: Announced,
    restarts: Restarts,
    /// Once the camera is ours. Before the berth, so that nothing is written when that is given back.
    push: Option<Push>,
    berth: Berth,
    telemetry: Arc<Telemetry>,
    candidates: Arc<[SocketAddr]>,
    /// For each of our candidates, the local address that the publisher's datagrams really came to.
    sources: SmallVec<[(SocketAddr, IpAddr); 2]>,
    remotes: Remotes,
    /// Where DTLS or media last came from.
    source: Option<Remote>,
    stall_timeout: Duration,
    started: Instant,
    is_connected: bool,
    /// When a keyframe was last asked for.
    asked: Option<Instant>,
    /// When one last came.
    keyframe: Instant,
    deadline: Instant,
}

impl Publisher {
    pub(super) fn new(
        negotiated: Negotiated,
        berth: Berth,
        candidates: Arc<[SocketAddr]>,
        stall_timeout: Duration,
        telemetry: Arc<Telemetry>,
        now: Instant,
    ) -> Self {
        let Negotiated { rtc, video, audio, announced, restarts, .. } = negotiated;
        Self {
            rtc,
            video,
            audio,
            announced,
            restarts,
            push: None,
            berth,
            telemetry,
            candidates,
            sources: SmallVec::new(),
            remotes: Remotes::default(),
            source: None,
            stall_timeout,
            started: now,
            is_connected: false,
            asked: None,
            keyframe: now,
            deadline: now,
        }
    }

    fn drive(&mut self, now: Instant) -> Flow {
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            return Flow::Close("WEBRTC_FAILED");
        }
        self.drain(now)
    }

    fn drain(&mut self, now: Instant) -> Flow {
        let mut flow = Flow::Continue;
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(deadline)) => {
                    self.deadline = deadline;
                    break;
                }
                Ok(Output::Transmit(transmit)) => self.send(&transmit),
                Ok(Output::Event(Event::Connected)) => {
                    if !std::mem::replace(&mut self.is_connected, true) {
                        self.berth.begin();
                    }
                }
                Ok(Output::Event(Event::RtpPacket(packet))) => self.take(&packet, now),
                Ok(Output::Event(Event::SenderFeedback(feedback))) => self.sender_report(&feedback),
                // An ICE-lite side says so when no check has come for 15 seconds.
                Ok(Output::Event(Event::IceConnectionStateChange(IceConnectionState::Disconnected))) => {
                    flow = Flow::Close("PUBLISHER_SILENT");
                }
                Ok(Output::Event(_)) => {}
                Err(_) => {
                    flow = Flow::Close("WEBRTC_FAILED");
                    break;
                }
            }
        }
        if self.rtc.is_alive() { flow } else { Flow::Close("PUBLISHER_LEFT") }
    }

    fn send(&mut self, transmit: &Transmit) {
        let datagram: &[u8] = &transmit.contents;
        let to = Remote { carrier: Carrier::of(transmit.proto), address: transmit.destination };
        if stun::is_binding_success(datagram) {
            self.hear(to);
        }
        let from = self.sources.iter().find(|(candidate, _)| *candidate == transmit.source).map(|(_, local)| *local);
        // One that can't be sent is one that is lost, as on any network.
        let _ = self.berth.send(to, from, datagram);
    }

    fn hear(&mut self, remote: Remote) {
        let Self { remotes, source, berth, .. } = self;
        remotes.add(remote, *source, |forgotten| berth.forgets(forgotten));
        berth.hears(remote);
    }

    /// The place of a section's track among those announced.
    fn place(&self, mid: Mid) -> Option<usize> {
        if mid == self.video { Some(0) } else { (self.audio == Some(mid)).then_some(1) }
    }

    fn take(&mut self, packet: &RtpPacket, now: Instant) {
        let header = &packet.header;
        let mut direct = self.rtc.direct_api();
        let mid = header.ext_vals.mid.or_else(|| Some(direct.stream_rx(&header.ssrc)?.mid()));
        let (Some(place), Some(push)) = (mid.and_then(|mid| self.place(mid)), &mut self.push) else { return };
        let header = rtp::Header {
            marker: header.marker,
            payload_type: *header.payload_type,
            sequence: *packet.seq_no as u16,
            timestamp: header.timestamp,
            ssrc: *header.ssrc,
        };
        if push.received(place, header, &packet.payload, now) {
            self.keyframe = now;
        }
    }

    fn sender_report(&mut self, feedback: &SenderFeedback) {
        let info = &feedback.sender_info;
        let (Some(place), Some(push)) = (self.place(feedback.mid), &mut self.push) else { return };
        if let Ok(since_1970) = info.ntp_time.duration_since(UNIX_EPOCH) {
            // The low 32 bits are what was on the wire.
            push.sender_report(place, info.rtp_time.numer() as u32, rtcp::ntp(since_1970));
        }
    }

    fn receive(&mut self, from: Remote, to: SocketAddr, data: &[u8], now: Instant) -> Flow {
        let same = self.candidates.iter().find(|candidate| candidate.ip() == to.ip());
        let family = || self.candidates.iter().find(|candidate| candidate.is_ipv4() == to.is_ipv4());
        let Some(candidate) = same.or_else(family).copied() else { return Flow::Continue };
        let Ok(contents) = DatagramRecv::try_from(data) else {
            self.telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
            return Flow::Continue;
        };
        match self.sources.iter_mut().find(|(known, _)| *known == candidate) {
            Some((_, local)) => *local = to.ip(),
            None => self.sources.push((candidate, to.ip())),
        }
        if !stun::is_stun(data) {
            self.source = Some(from);
            if let Some(push) = &mut self.push {
                push.comes_by(from.carrier.protocol());
            }
        } else if !self.remotes.takes_checks_from(from) {
            self.telemetry.dropped(DropReason::OverBudget).fetch_add(1, Relaxed);
            return Flow::Continue;
        }
        let receive = Receive { proto: from.carrier.ice(), source: from.address, destination: candidate, contents };
        match self.rtc.handle_input(Input::Receive(now, receive)) {
            Ok(()) => self.drain(now),
            Err(_) => Flow::Close("WEBRTC_FAILED"),
        }
    }

    /// When the next keyframe is to be asked for; None before the camera is ours.
    fn next_request(&self) -> Option<Instant> {
        let push = self.push.as_ref()?;
        let Some(asked) = self.asked else { return Some(self.keyframe) };
        let due = if push.waits_for_keyframe() { asked } else { self.keyframe + KEYFRAME_EVERY };
        Some(due.max(asked + ASK_EVERY))
    }

    fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(self.video, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    fn stalled(&self) -> Option<Instant> {
        self.push.as_ref().map(|push| push.last_picture() + self.stall_timeout)
    }

    fn protocol(&self) -> Protocol {
        self.source.map_or(Carrier::Udp, |source| source.carrier).protocol()
    }
}

impl Sink for Publisher {
    fn socket(&mut self) -> Option<&mut dyn mio::event::Source> {
        None
    }

    fn on_start(&mut self, now: Instant) -> Flow {
        self.drive(now)
    }

    fn on_unit(&mut self, _unit: &Arc<WireUnit>, _now: Instant) -> Flow {
        Flow::Continue
    }

    fn on_flush(&mut self, now: Instant) -> Flow {
        if let Some(push) = &mut self.push {
            push.settle(now);
        }
        if self.next_request().is_some_and(|due| due <= now) {
            self.ask(now);
            return self.drive(now);
        }
        Flow::Continue
    }

    fn on_ready(&mut self, _readable: bool, _writable: bool, _now: Instant) -> Flow {
        Flow::Continue
    }

    fn on_datagram(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8], now: Instant) -> Flow {
        self.receive(Remote { carrier: Carrier::Udp, address: from }, to, data, now)
    }

    fn on_framed(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8], now: Instant) -> Flow {
        self.receive(Remote { carrier: Carrier::Tcp, address: from }, to, data, now)
    }

    fn on_message(&mut self, message: Message, now: Instant) -> Flow {
        let began = match message.downcast::<Began>() {
            Ok(began) => began,
            Err(message) => {
                // Others tell of room on a way, of which little is needed here.
                let Ok(restart) = message.downcast::<Restart>() else { return Flow::Continue };
                let Restart { remote, reply } = *restart;
                if let Some(restarted) = self.restarts.begin(&mut self.rtc, &remote, now) {
                    self.remotes.begin_anew();
                    // A client that no longer waits is none of ours.
                    let _ = reply.send(restarted);
                }
                return self.drive(now);
            }
        };
        if let Err(reason) = began.0 {
            self.on_end(reason, now);
            return Flow::Close(reason);
        }
        let push = Push::new(
            self.berth.publication.stream().clone(),
            &self.announced,
            (SourceKind::Whip, self.protocol()),
            None,
            Some(LOSS_PATIENCE),
            self.telemetry.clone(),
            now,
        );
        self.push = Some(push);
        self.keyframe = now;
        self.ask(now);
        self.drive(now)
    }

    fn on_timer(&mut self, now: Instant) -> Flow {
        if !self.is_connected && now >= self.started + CONNECT_WITHIN {
            return Flow::Close("NOT_CONNECTED");
        }
        if self.stalled().is_some_and(|stalled| now >= stalled) {
            self.on_end("CAMERA_SILENT", now);
            return Flow::Close("CAMERA_SILENT");
        }
        if let Some(push) = &mut self.push {
            push.settle(now);
        }
        if self.next_request().is_some_and(|due| due <= now) {
            self.ask(now);
        }
        self.drive(now)
    }

    fn deadline(&self) -> Option<Instant> {
        let connect = (!self.is_connected).then(|| self.started + CONNECT_WITHIN);
        let reordering = self.push.as_ref().and_then(Push::deadline);
        [connect, reordering, self.next_request(), self.stalled(), Some(self.deadline)].into_iter().flatten().min()
    }

    fn on_end(&mut self, _reason: &'static str, now: Instant) {
        // RTCP BYE and DTLS close_notify: the client learns of it at once.
        if self.rtc.close().is_ok() {
            self.drive(now);
        }
    }
}
