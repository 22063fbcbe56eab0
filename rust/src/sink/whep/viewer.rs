//! One WebRTC viewer on its shard: a str0m peer connection, and the UDP datagrams it makes.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use str0m::net::{DatagramRecv, Receive, Transmit};
use str0m::rtp::RtpWrite;
use str0m::{Event, IceConnectionState, Input, Output, Rtc};

use super::answer::{Chosen, Negotiated, audible, playable, track_of};
use super::waiting::Waiting;
use super::way::{Carrier, Remote, Room, Way};
use crate::error::Result;
use crate::media::MediaKind;
use crate::stream::{Flow, Interest, Message, RtpPacket, Sink, Stream, WireUnit};
use crate::telemetry::{Direction, DropReason, SinkKind, Telemetry};
use crate::wire::stun;

/// A viewer that has not connected by then is dropped.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A viewer that lost its picture gets the GOP cache again, but not more often than this.
const REPLAY_EVERY: Duration = Duration::from_secs(1);
/// Addresses one viewer may send from: its interfaces, both families, and a change of network.
const MAX_REMOTES: usize = 8;
/// Packets kept per viewer to answer NACKs with; the payloads are shared with the GOP cache.
const RESEND_PACKETS: usize = 1024;
const RESEND_AGE: Duration = Duration::from_secs(3);
/// Above this share of all bytes, resends are given up. Generous, because a viewer with a small receive buffer loses much
/// of the GOP that it joins on, and nothing later.
const RESEND_SHARE: f32 = 0.5;
/// Limit of one UDP send with segmentation: what an IPv4 packet can hold, less the headers.
const MAX_BATCH_BYTES: usize = 65_000;
const RTP_HEADER: usize = 12;
/// A viewer whose TCP connection has gone may come back on another one within this.
const RETURN_WITHIN: Duration = Duration::from_secs(10);

/// A viewer's place at the port. Dropping it gives everything back.
pub trait Place: Send {
    /// Sends `datagrams`, equal pieces of `segment` bytes (the last may be shorter), from the local address `from`.
    fn send(&self, to: Remote, from: Option<IpAddr>, datagrams: &[u8], segment: usize) -> io::Result<()>;
    /// Most pieces that one `send` takes.
    fn max_segments(&self) -> usize;
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
    /// An interest in the camera's other stream, main or sub, where the session leaves the choice to the hub.
    fn other(&self) -> Result<Arc<dyn Interest>>;
    /// The viewer has gone over to it (`Flow::Switch`): the interest in the stream it came from is given back.
    fn switched(&self, to: Arc<dyn Interest>);
}

pub struct WhepSink {
    rtc: Rtc,
    place: Box<dyn Place>,
    stream: Arc<Stream>,
    telemetry: Arc<Telemetry>,
    candidates: Arc<[SocketAddr]>,
    /// For each of our candidates, the local address that the viewer's datagrams really came to.
    sources: SmallVec<[(SocketAddr, IpAddr); 2]>,
    remotes: SmallVec<[Remote; 2]>,
    /// Where pictures go, once some have gone.
    way: Option<Remote>,
    /// Units for a viewer whose TCP connection can't take more now, and since when there are some.
    waiting: Waiting,
    stuck: Option<Instant>,
    /// What comes now is the cache.
    is_joining: bool,
    video: Outgoing,
    audio: Option<Outgoing>,
    generation: u32,
    /// The youngest unit that went out; older ones that come again are a replay.
    last_index: Option<u64>,
    connected: bool,
    saw_picture: bool,
    started: Instant,
    last_replay: Option<Instant>,
    keyframe_wanted: bool,
    rtc_deadline: Instant,
    unsent: bool,
}

/// One RTP stream towards the viewer.
struct Outgoing {
    chosen: Chosen,
    /// Counts on from a value below 65,536: str0m takes the upper bits as the rollover counter, which starts at 0.
    sequence: u64,
    offset: u32,
    last_timestamp: Option<u32>,
}

impl WhepSink {
    pub fn new(
        negotiated: Negotiated,
        place: Box<dyn Place>,
        stream: Arc<Stream>,
        generation: u32,
        candidates: Arc<[SocketAddr]>,
        telemetry: Arc<Telemetry>,
        now: Instant,
    ) -> Self {
        Self {
            rtc: negotiated.rtc,
            waiting: Waiting::new(place.queue_bytes()),
            place,
            stream,
            telemetry,
            candidates,
            sources: SmallVec::new(),
            remotes: SmallVec::new(),
            way: None,
            stuck: None,
            is_joining: false,
            video: Outgoing::new(negotiated.video),
            audio: negotiated.audio.map(Outgoing::new),
            generation,
            last_index: None,
            connected: false,
            saw_picture: false,
            started: now,
            last_replay: None,
            keyframe_wanted: false,
            rtc_deadline: now,
            unsent: false,
        }
    }

    /// Lets str0m work off what it was given, and sends what comes of it.
    fn drive(&mut self, now: Instant) -> Flow {
        self.unsent = false;
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            return Flow::Close("WEBRTC_FAILED");
        }
        self.drain(now)
    }

    fn drain(&mut self, now: Instant) -> Flow {
        BATCH.with_borrow_mut(|batch| {
            let mut flow = Flow::Continue;
            loop {
                match self.rtc.poll_output() {
                    Ok(Output::Timeout(deadline)) => {
                        self.rtc_deadline = deadline;
                        break;
                    }
                    Ok(Output::Transmit(transmit)) => self.gather(batch, &transmit),
                    Ok(Output::Event(event)) => match self.event(&event, now) {
                        Flow::Continue => {}
                        other => flow = other,
                    },
                    Err(_) => {
                        flow = Flow::Close("WEBRTC_FAILED");
                        break;
                    }
                }
            }
            self.send(batch);
            if self.rtc.is_alive() { flow } else { Flow::Close("VIEWER_LEFT") }
        })
    }

    fn event(&mut self, event: &Event, now: Instant) -> Flow {
        match event {
            Event::Connected => {
                if !self.connected {
                    self.connected = true;
                    self.telemetry.sinks(SinkKind::Whep).fetch_add(1, Relaxed);
                }
                if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(self.video.chosen.mid, None) {
                    stream.set_unpaced(true);
                    stream.set_rtx_cache(RESEND_PACKETS, RESEND_AGE, Some(RESEND_SHARE));
                }
                self.join(now)
            }
            Event::KeyframeRequest(request) if request.mid == self.video.chosen.mid => self.replay(now),
            // An ICE-lite side says so when no check has come for 15 seconds.
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => Flow::Close("VIEWER_SILENT"),
            _ => Flow::Continue,
        }
    }

    /// A camera can't be asked for a keyframe by most protocols: the GOP cache answers.
    fn replay(&mut self, now: Instant) -> Flow {
        if !self.connected || self.last_replay.is_some_and(|last| now < last + REPLAY_EVERY) {
            self.keyframe_wanted = self.connected;
            return Flow::Continue;
        }
        self.join(now)
    }

    /// Asks for the cache.
    fn join(&mut self, now: Instant) -> Flow {
        self.keyframe_wanted = false;
        self.last_replay = Some(now);
        self.is_joining = true;
        self.waiting.begin_anew();
        Flow::Subscribe
    }

    /// Adds a datagram to the batch; equal ones to one place go out in one call.
    fn gather(&mut self, batch: &mut Batch, transmit: &Transmit) {
        let datagram: &[u8] = &transmit.contents;
        let remote = Remote { carrier: Carrier::of(transmit.proto), address: transmit.destination };
        if stun::is_binding_success(datagram) {
            self.hear(remote);
        } else if !stun::is_stun(datagram) {
            self.way = Some(remote);
        }
        let route = (remote, transmit.source);
        if !batch.takes(route, datagram.len(), self.place.max_segments()) {
            self.send(batch);
        }
        batch.add(route, datagram);
    }

    fn send(&self, batch: &mut Batch) {
        let Some((to, source)) = batch.route.take() else { return };
        let from = self.sources.iter().find(|(candidate, _)| *candidate == source).map(|(_, local)| *local);
        // A datagram that can't be sent is a lost one, as on any network: the viewer asks for it again.
        if self.place.send(to, from, &batch.bytes, batch.segment).is_err() {
            self.telemetry.dropped(DropReason::OverBudget).fetch_add(batch.count as u64, Relaxed);
        }
        batch.clear();
    }

    fn hear(&mut self, remote: Remote) {
        if self.remotes.contains(&remote) {
            return;
        }
        if self.remotes.len() == MAX_REMOTES {
            self.place.forgets(self.remotes.remove(0));
        }
        self.remotes.push(remote);
        self.place.hears(remote);
    }

    fn receive(&mut self, from: Remote, to: SocketAddr, data: &[u8], now: Instant) -> Flow {
        let Some(candidate) = self.candidate(to) else { return Flow::Continue };
        let Ok(contents) = DatagramRecv::try_from(data) else {
            self.telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
            return Flow::Continue;
        };
        match self.sources.iter_mut().find(|(known, _)| *known == candidate) {
            Some((_, local)) => *local = to.ip(),
            None => self.sources.push((candidate, to.ip())),
        }
        let receive = Receive { proto: from.carrier.ice(), source: from.address, destination: candidate, contents };
        match self.rtc.handle_input(Input::Receive(now, receive)) {
            Ok(()) => self.drain(now),
            Err(_) => Flow::Close("WEBRTC_FAILED"),
        }
    }

    /// The candidate that a datagram to the local address `to` was sent to.
    fn candidate(&self, to: SocketAddr) -> Option<SocketAddr> {
        whose(&self.candidates, &self.sources, to.ip())
    }

    /// The stream's parameters have changed: H.264 carries them in band, so a viewer goes on where it can.
    fn follow(&mut self, generation: u32) -> bool {
        let Some(description) = self.stream.description().filter(|known| known.generation == generation) else {
            // An even newer one is on its way to us.
            return true;
        };
        let Ok((place, _)) = playable(&description) else { return false };
        self.generation = generation;
        self.video.chosen.track = place;
        if let Some(audio) = &mut self.audio {
            match track_of(&description, MediaKind::Audio) {
                Some((place, track)) if audible(track) == Some(audio.chosen.codec) => audio.chosen.track = place,
                _ => self.audio = None,
            }
        }
        true
    }

    /// Whether the viewer's connection takes more.
    fn is_open(&self) -> bool {
        self.way.is_none_or(|way| self.place.way(way) == Way::Open)
    }

    /// Gives the viewer what waits, as far as its connection takes it.
    fn catch_up(&mut self, now: Instant) -> Flow {
        while self.is_open() {
            let Some(unit) = self.waiting.pop() else {
                self.stuck = None;
                return Flow::Continue;
            };
            let flow = self.give(&unit, now);
            if flow != Flow::Continue {
                return flow;
            }
        }
        Flow::Continue
    }

    fn give(&mut self, unit: &WireUnit, now: Instant) -> Flow {
        if unit.generation != self.generation && !self.follow(unit.generation) {
            self.on_end("CODEC_CHANGED", now);
            return Flow::Close("CODEC_CHANGED");
        }
        self.write(unit, now);
        self.last_index = self.last_index.max(Some(unit.index));
        if unit.unit.track != self.video.chosen.track {
            return Flow::Continue;
        }
        let flow = self.drive(now);
        if unit.unit.keyframe && !self.saw_picture {
            self.saw_picture = true;
            self.place.first_picture();
        }
        flow
    }

    fn write(&mut self, unit: &WireUnit, now: Instant) {
        let replayed = self.last_index.is_some_and(|last| unit.index <= last);
        let is_video = unit.unit.track == self.video.chosen.track;
        let outgoing = match &mut self.audio {
            _ if is_video => &mut self.video,
            Some(audio) if audio.chosen.track == unit.unit.track && !replayed => audio,
            _ => return,
        };
        let timestamp = outgoing.timestamp(unit.unit.pts, replayed);
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(outgoing.chosen.mid, None) else { return };
        let (mut packets, mut bytes) = (0, 0);
        for packet in unit.packets() {
            let RtpPacket { marker, timestamp: own, .. } = packet;
            bytes += (RTP_HEADER + packet.payload_len()) as u64;
            // Long sound takes several packets, each a little later than the unit.
            let time = timestamp.wrapping_add(own.wrapping_sub(unit.timestamp()));
            let packet =
                RtpWrite::new(outgoing.chosen.pt, outgoing.sequence.into(), time, now, packet.payload().concat())
                    .marker(*marker)
                    .nackable(true);
            stream.write_rtp(packet);
            outgoing.sequence += 1;
            packets += 1;
        }
        let carrier = self.way.map_or(Carrier::Udp, |way| way.carrier);
        self.telemetry.moved(Direction::Out, carrier.protocol(), packets, bytes);
        self.unsent = true;
        if is_video && unit.unit.keyframe {
            self.keyframe_wanted = false;
        }
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

impl Outgoing {
    fn new(chosen: Chosen) -> Self {
        Self { chosen, sequence: u64::from(rand::random::<u16>() >> 1), offset: rand::random(), last_timestamp: None }
    }

    /// The unit's own time; in a replay, times squeezed in behind the last one sent, so that the viewer's clock never
    /// runs backwards and it hurries through to the present.
    fn timestamp(&mut self, pts: i64, replayed: bool) -> u32 {
        // The low 32 bits are what goes on the wire.
        let own = (pts as u32).wrapping_add(self.offset);
        let timestamp = match self.last_timestamp {
            Some(last) if replayed || (own.wrapping_sub(last) as i32) <= 0 => last.wrapping_add(1),
            _ => own,
        };
        self.last_timestamp = Some(timestamp);
        timestamp
    }
}

impl Sink for WhepSink {
    fn socket(&mut self) -> Option<&mut dyn mio::event::Source> {
        None
    }

    fn on_start(&mut self, now: Instant) -> Flow {
        self.drive(now)
    }

    fn on_unit(&mut self, unit: &Arc<WireUnit>, now: Instant) -> Flow {
        if self.waiting.is_empty() && self.is_open() {
            return self.give(unit, now);
        }
        self.stuck.get_or_insert(now);
        let dropped = self.waiting.push(unit, self.is_joining);
        self.telemetry.dropped(DropReason::SlowViewer).fetch_add(dropped, Relaxed);
        Flow::Continue
    }

    fn on_flush(&mut self, now: Instant) -> Flow {
        self.is_joining = false;
        let flow = self.catch_up(now);
        if self.unsent && flow == Flow::Continue { self.drive(now) } else { flow }
    }

    fn on_message(&mut self, message: Message, now: Instant) -> Flow {
        if message.is::<Room>() { self.catch_up(now) } else { Flow::Continue }
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

    fn on_timer(&mut self, now: Instant) -> Flow {
        if !self.connected && now >= self.started + CONNECT_WITHIN {
            return Flow::Close("NOT_CONNECTED");
        }
        if self.stuck.is_some_and(|since| now >= since + RETURN_WITHIN) {
            if self.way.is_some_and(|way| self.place.way(way) == Way::Broken) {
                return Flow::Close("VIEWER_LEFT");
            }
            self.stuck = Some(now);
            let flow = self.catch_up(now);
            if flow != Flow::Continue {
                return flow;
            }
        }
        let driven = self.drive(now);
        if driven == Flow::Continue && self.keyframe_wanted { self.replay(now) } else { driven }
    }

    fn deadline(&self) -> Option<Instant> {
        let connect = (!self.connected).then(|| self.started + CONNECT_WITHIN);
        let replay = self.last_replay.filter(|_| self.keyframe_wanted).map(|last| last + REPLAY_EVERY);
        let stuck = self.stuck.map(|since| since + RETURN_WITHIN);
        [connect, replay, stuck].into_iter().flatten().chain([self.rtc_deadline]).min()
    }

    fn on_end(&mut self, _reason: &'static str, now: Instant) {
        // RTCP BYE and DTLS close_notify: browsers show the end at once instead of a frozen picture.
        if self.rtc.close().is_ok() {
            self.drive(now);
        }
    }
}

impl Drop for WhepSink {
    fn drop(&mut self) {
        if self.connected {
            self.telemetry.sinks(SinkKind::Whep).fetch_sub(1, Relaxed);
        }
    }
}

thread_local! {
    /// One per shard: viewers take turns.
    static BATCH: RefCell<Batch> = RefCell::new(Batch::default());
}

/// Datagrams of equal size on one route, for one call with UDP segmentation offload.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Destination and our candidate.
    route: Option<(Remote, SocketAddr)>,
    segment: usize,
    count: usize,
    /// A shorter piece has ended it.
    full: bool,
}

impl Batch {
    fn takes(&self, route: (Remote, SocketAddr), length: usize, max_segments: usize) -> bool {
        self.route.is_none()
            || (self.route == Some(route)
                && !self.full
                && length <= self.segment
                && self.count < max_segments
                && self.bytes.len() + length <= MAX_BATCH_BYTES)
    }

    fn add(&mut self, route: (Remote, SocketAddr), datagram: &[u8]) {
        if self.route.is_none() {
            self.route = Some(route);
            self.segment = datagram.len();
        }
        self.full = datagram.len() < self.segment;
        self.count += 1;
        self.bytes.extend_from_slice(datagram);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.route = None;
        self.count = 0;
        self.full = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing() -> Outgoing {
        let codec = str0m::format::Codec::H264;
        Outgoing::new(Chosen { track: 0, mid: "0".into(), pt: 96.into(), codec })
    }

    #[test]
    fn sequence_numbers_start_below_the_first_rollover() {
        assert!((0..1000).all(|_| outgoing().sequence < 1 << 15));
    }

    #[test]
    fn a_replay_is_squeezed_in_between_what_was_and_what_comes() {
        let mut video = Outgoing { offset: u32::MAX - 100, ..outgoing() };
        let sent: Vec<u32> = (0..3).map(|number| video.timestamp(number * 3600, false)).collect();
        let again: Vec<u32> = (0..3).map(|number| video.timestamp(number * 3600, true)).collect();
        let next = video.timestamp(3 * 3600, false);
        assert_eq!(sent[1].wrapping_sub(sent[0]), 3600);
        assert_eq!(again, (1..4).map(|tick| sent[2].wrapping_add(tick)).collect::<Vec<_>>());
        assert_eq!(next.wrapping_sub(sent[2]), 3600);
    }

    #[test]
    fn behind_a_translator_each_local_address_stands_for_a_candidate_of_its_own() {
        let outside: Vec<SocketAddr> =
            ["203.0.113.7:8555", "198.51.100.7:8555", "[2001:db8::7]:8555"].map(|text| text.parse().unwrap()).into();
        let inside: Vec<IpAddr> =
            ["10.0.0.7", "10.0.1.7", "10.0.2.7", "fd00::7"].map(|text| text.parse().unwrap()).into();
        let mut sources = Vec::new();
        for (to, expected) in [(0, 0), (1, 1), (0, 0), (1, 1), (2, 0), (3, 2)] {
            let candidate = whose(&outside, &sources, inside[to]).unwrap();
            assert_eq!(candidate, outside[expected], "{}", inside[to]);
            if !sources.iter().any(|(known, _)| *known == candidate) {
                sources.push((candidate, inside[to]));
            }
        }
        assert_eq!(whose(&outside, &sources, outside[1].ip()), Some(outside[1]), "none is translated there");
        assert_eq!(whose(&outside[..1], &[], inside[3]), None);
    }

    #[test]
    fn a_batch_holds_equal_pieces_for_one_place_and_a_shorter_last_one() {
        let remote = |carrier, address: &str| Remote { carrier, address: address.parse().unwrap() };
        let here = (remote(Carrier::Udp, "192.0.2.1:1"), "192.0.2.7:2".parse().unwrap());
        let there = (remote(Carrier::Udp, "192.0.2.9:1"), here.1);
        let by_tcp = (remote(Carrier::Tcp, "192.0.2.1:1"), here.1);
        let mut batch = Batch::default();
        assert!(batch.takes(here, 1200, 64));
        batch.add(here, &[0; 1200]);
        assert!(batch.takes(here, 1200, 64) && batch.takes(here, 300, 64));
        assert!(
            !batch.takes(here, 1201, 64)
                && !batch.takes(there, 1200, 64)
                && !batch.takes(by_tcp, 1200, 64)
                && !batch.takes(here, 1200, 1)
        );
        batch.add(here, &[0; 300]);
        assert!(!batch.takes(here, 300, 64), "the shorter piece is the last");
        batch.clear();
        for _ in 0..54 {
            batch.add(here, &[0; 1200]);
        }
        assert!(!batch.takes(here, 1200, 64), "a datagram holds no more");
    }
}
