//! Where a viewer's media goes, tried without a network or a clock: a client of str0m's and the sink, datagram by datagram.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::{Candidate, IceCreds, Input, Output, Rtc};

use super::{Crowd, Local, Offer, Place, Remote, Way, WhepSink, fit, negotiate};
use crate::error::{Error, ErrorKind, Result};
use crate::media::{Codec, CodecParameters, Profile, Track};
use crate::stream::samples::unit;
use crate::stream::{Flow, Interest, Sink, Stream, StreamLimits};
use crate::telemetry::Telemetry;
use crate::wire::h264::samples::{PPS, SPS};
use crate::wire::stun;

const HUB: &str = "192.0.2.7:8555";
const HOME: &str = "192.0.2.1:5000";
const ELSEWHERE: &str = "198.51.100.9:6000";
const TICK: Duration = Duration::from_millis(40);

type Datagram = (SocketAddr, Vec<u8>);

/// What the sink has sent.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<Datagram>>>);

struct Desk {
    sent: Sent,
    crowd: Arc<Crowd>,
}

impl Place for Desk {
    fn send(&self, to: Remote, _from: Option<IpAddr>, datagrams: &[u8], segment: usize) -> io::Result<()> {
        self.sent.0.lock().extend(datagrams.chunks(segment).map(|piece| (to.address, piece.to_vec())));
        Ok(())
    }
    fn max_segments(&self) -> usize {
        1
    }
    fn crowd(&self) -> &Arc<Crowd> {
        &self.crowd
    }
    fn queue_bytes(&self) -> usize {
        1 << 20
    }
    fn way(&self, _to: Remote) -> Way {
        Way::Open
    }
    fn hears(&self, _remote: Remote) {}
    fn forgets(&self, _remote: Remote) {}
    fn first_picture(&self) {}
    fn profile(&self) -> Profile {
        Profile::Main
    }
    fn other(&self) -> Result<Arc<dyn Interest>> {
        Err(Error::new(ErrorKind::NotFound, "CAMERA_PROFILE_MISSING", "there is one stream"))
    }
    fn switched(&self, _to: Arc<dyn Interest>) {}
}

/// A viewer that watches, and the world around it.
struct World {
    sink: WhepSink,
    client: Rtc,
    sent: Sent,
    now: Instant,
    /// Where the client's datagrams come from, and where it hears.
    at: SocketAddr,
    next_unit: u64,
    /// A check that named its way, and one that did not, as they were on the wire.
    check: Option<Vec<u8>>,
    plain: Option<Vec<u8>>,
    /// What of the client's gets through: reports, checks.
    passes: [bool; 2],
}

impl World {
    fn watching() -> Self {
        let now = Instant::now();
        let telemetry = Arc::new(Telemetry::default());
        let stream = Stream::new("camera/main".into(), StreamLimits { gop_cache_bytes: 1 << 20 }, telemetry.clone());
        let parameters = CodecParameters::H264 {
            sps: Bytes::from_static(SPS),
            pps: Bytes::from_static(PPS),
            width: 640,
            height: 360,
            has_b_frames: false,
        };
        stream.describe(vec![Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }]);
        let description = stream.description().unwrap();
        let mut client = Rtc::builder().set_rtp_mode(true).build(now);
        let at: SocketAddr = HOME.parse().unwrap();
        client.add_local_candidate(Candidate::host(at, "udp").unwrap());
        let mut changes = client.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let offer = offer.to_sdp_string();
        let offer = Offer::read(offer.as_bytes()).unwrap();
        let certificate = str0m::crypto::from_feature_flags().dtls_provider.generate_certificate().unwrap();
        let candidates: Arc<[SocketAddr]> = [HUB.parse().unwrap()].into();
        let credentials = IceCreds { ufrag: "hubs".into(), pass: "a-password-of-the-hubs-own".into() };
        let local = Local { certificate: &certificate, credentials, candidates: &candidates };
        let negotiated = negotiate(&offer, &description, fit(&offer, &description).unwrap(), local, now).unwrap();
        client.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&negotiated.answer).unwrap()).unwrap();
        let sent = Sent::default();
        let desk = Desk { sent: sent.clone(), crowd: Arc::default() };
        let mut sink =
            WhepSink::new(negotiated, Box::new(desk), stream, description.generation, candidates, telemetry, now);
        assert_eq!(sink.on_start(now), Flow::Continue);
        let mut world = Self { sink, client, sent, now, at, next_unit: 0, check: None, plain: None, passes: [true; 2] };
        let flow = world.run(Duration::from_secs(2));
        assert_eq!(flow, Flow::Continue);
        assert!(world.check.is_some() && world.media(Duration::from_secs(1)).keys().eq([&at]), "it watches at home");
        world
    }

    /// Time passes: a picture every 40 ms, and datagrams to and fro. Close, when the sink says so.
    fn run(&mut self, time: Duration) -> Flow {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            let mut flows = vec![self.sink.on_timer(self.now)];
            flows.push(self.sink.on_unit(&unit(self.next_unit, 3), self.now));
            self.next_unit += 1;
            flows.push(self.sink.on_flush(self.now));
            self.client.handle_input(Input::Timeout(self.now)).unwrap();
            for _ in 0..8 {
                flows.extend(self.exchange());
            }
            if let Some(closed) = flows.into_iter().find(|flow| matches!(flow, Flow::Close(_))) {
                return closed;
            }
        }
        Flow::Continue
    }

    fn exchange(&mut self) -> Vec<Flow> {
        let mut flows = Vec::new();
        loop {
            match self.client.poll_output().unwrap() {
                Output::Timeout(_) => break,
                Output::Event(_) => {}
                Output::Transmit(transmit) => {
                    let data = transmit.contents.to_vec();
                    let is_check = stun::is_stun(&data);
                    if stun::nominates(&data) {
                        self.check = Some(data.clone());
                    } else if stun::local_ufrag(&data).is_some() {
                        self.plain = Some(data.clone());
                    }
                    if self.passes[usize::from(is_check)] {
                        flows.push(self.arrives(self.at, &data));
                    }
                }
            }
        }
        let arrived: Vec<_> = {
            let mut sent = self.sent.0.lock();
            // What was sent is kept for `media`.
            let new = sent.iter().filter(|(to, _)| *to == self.at).map(|(_, data)| data.clone()).collect();
            let media = sent.drain(..).map(|(to, data)| (to, data.len())).collect::<Vec<_>>();
            COUNTED.with_borrow_mut(|counted| counted.extend(media));
            new
        };
        for data in arrived {
            let Ok(contents) = DatagramRecv::try_from(&data[..]) else { continue };
            let (source, destination) = (HUB.parse().unwrap(), HOME.parse().unwrap());
            let receive = Receive { proto: Protocol::Udp, source, destination, contents };
            self.client.handle_input(Input::Receive(self.now, receive)).unwrap();
        }
        flows
    }

    /// A datagram comes to the hub.
    fn arrives(&mut self, from: SocketAddr, data: &[u8]) -> Flow {
        self.sink.on_datagram(from, HUB.parse().unwrap(), data, self.now)
    }

    /// Octets sent to each address while so much time passes, of whole pictures.
    fn media(&mut self, time: Duration) -> BTreeMap<SocketAddr, usize> {
        COUNTED.take();
        assert_eq!(self.run(time), Flow::Continue);
        let mut sums = BTreeMap::new();
        for (to, octets) in COUNTED.take() {
            *sums.entry(to).or_default() += octets;
        }
        // Answers to checks are no media.
        sums.retain(|_, octets| *octets > 2_000);
        sums
    }
}

thread_local! {
    static COUNTED: std::cell::RefCell<Vec<(SocketAddr, usize)>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn only(media: BTreeMap<SocketAddr, usize>) -> SocketAddr {
    assert_eq!(media.len(), 1, "{media:?}");
    media.into_keys().next().unwrap()
}

#[test]
fn a_check_that_somebody_has_kept_does_not_lead_the_pictures_elsewhere() {
    let mut world = World::watching();
    let elsewhere: SocketAddr = ELSEWHERE.parse().unwrap();
    let kept = world.check.clone().unwrap();
    // The viewer reports as seldom as RTCP allows.
    world.passes[0] = false;
    for _ in 0..6 {
        world.run(Duration::from_millis(600));
        assert_eq!(world.arrives(elsewhere, &kept), Flow::Continue);
        assert_eq!(only(world.media(Duration::from_millis(400))), world.at);
    }
    // One that is not the viewer's at all.
    let mut forged = kept;
    *forged.last_mut().unwrap() ^= 1;
    forged[40] ^= 1;
    assert_eq!(world.arrives(elsewhere, &forged), Flow::Continue);
    assert_eq!(only(world.media(Duration::from_secs(1))), world.at);
}

#[test]
fn a_viewer_whose_address_changes_is_followed_by_its_reports() {
    let mut world = World::watching();
    world.at = ELSEWHERE.parse().unwrap();
    world.run(Duration::from_secs(3));
    assert_eq!(only(world.media(Duration::from_secs(2))), world.at);
}

#[test]
fn a_viewer_that_says_nothing_from_where_its_pictures_go_is_sent_none_any_more() {
    let mut world = World::watching();
    let (elsewhere, began): (SocketAddr, _) = (ELSEWHERE.parse().unwrap(), world.now);
    world.passes = [false, false];
    let mut flow = Flow::Continue;
    while flow == Flow::Continue && world.now < began + Duration::from_secs(60) {
        // It checks another way, but does not take it: no consent for the one in use.
        let check = world.plain.clone().unwrap();
        assert_eq!(world.arrives(elsewhere, &check), Flow::Continue);
        flow = world.run(Duration::from_secs(1));
    }
    assert_eq!(flow, Flow::Close("VIEWER_SILENT"));
    let after = world.now - began;
    assert!((28..=31).contains(&after.as_secs()), "{after:?}");
}

#[test]
fn a_check_that_somebody_has_kept_is_followed_for_seconds_at_most_when_the_viewer_has_gone() {
    let mut world = World::watching();
    let elsewhere: SocketAddr = ELSEWHERE.parse().unwrap();
    let kept = world.check.clone().unwrap();
    world.passes = [false, false];
    assert_eq!(world.run(Duration::from_millis(7_500)), Flow::Continue);
    let (led, mut flow) = (world.now, Flow::Continue);
    while flow == Flow::Continue && world.now < led + Duration::from_secs(60) {
        world.arrives(elsewhere, &kept);
        flow = world.run(Duration::from_secs(1));
    }
    assert_eq!(flow, Flow::Close("VIEWER_SILENT"));
    assert!(world.now - led <= Duration::from_secs(12), "{:?}", world.now - led);
}

#[test]
fn a_viewer_that_checks_no_way_is_ended_sooner() {
    let mut world = World::watching();
    let began = world.now;
    world.passes = [false, false];
    assert_eq!(world.run(Duration::from_secs(60)), Flow::Close("VIEWER_SILENT"));
    assert!(world.now - began < Duration::from_secs(20));
}

#[test]
fn a_viewer_that_passes_checks_from_every_port_is_heard_from_some() {
    let mut world = World::watching();
    let check = world.plain.clone().unwrap();
    for port in 10_000..10_200 {
        assert_eq!(world.arrives(SocketAddr::new(world.at.ip(), port), &check), Flow::Continue);
    }
    let answers = world.sent.0.lock().iter().filter(|(to, _)| to.port() >= 10_000).count();
    assert!((50..=64).contains(&answers), "{answers}");
    assert_eq!(only(world.media(Duration::from_secs(1))), world.at);
}
