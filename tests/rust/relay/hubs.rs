//! Two whole hubs in one process and a camera at the lower one: what the control plane would do, the test does.

#![allow(dead_code)] // Each program that includes this file uses a part of it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use _core::camera_sim::{CameraSim, SimCamera};
use _core::gate::{self, Event, SessionSpec};
use _core::hub::{FrameReader, Hub, HubOptions};
use _core::media::Profile;
use _core::peer::{NAME, Peer};
use _core::policy::{Principal, PrincipalKind};
use _core::registry::{Camera, CameraStream};
use _core::sink::frames::{Frame, Wanted};
use _core::telemetry::{Direction, SinkKind};
use base64::Engine;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub const CAMERA: &str = "36060200001320000001";
/// Nothing here takes as long; a test that gets here has failed.
pub const BOUND: Duration = Duration::from_secs(20);

/// A hub that takes media by RTSPS, with its own authority.
pub struct Place {
    pub hub: Hub,
    pub id: &'static str,
    pub ca: String,
    /// ADDRESS:PORT.
    pub rtsps: String,
    /// Events that nobody has asked for yet.
    events: Mutex<Vec<Event>>,
}

/// Waits for what another thread is about to do.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < BOUND, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An authority, and what it has issued for 127.0.0.1: certificate and key.
pub fn certificates() -> (String, String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap();
    let own = rcgen::KeyPair::generate().unwrap();
    let issued = rcgen::CertificateParams::new(["127.0.0.1".to_owned(), NAME.to_owned()]).unwrap();
    let issued = issued.signed_by(&own, &rcgen::Issuer::new(authority, key)).unwrap();
    (pem("CERTIFICATE", ca.der()), pem("CERTIFICATE", issued.der()), pem("PRIVATE KEY", own.serialized_der()))
}

fn pem(kind: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
}

impl Place {
    pub fn new(id: &'static str) -> Self {
        let (ca, certificate, key) = certificates();
        let pair = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let options = serde_json::json!({
            "hub_id": id,
            "ticket_key_pem": pem("PRIVATE KEY", pair.as_ref()),
            "listen": { "rtsps": "127.0.0.1:0" },
            "rtsps_certificate": { "certificate_pem": certificate, "key_pem": key },
            "stream": { "linger_s": 0.3 },
            "source": { "allow": ["127.0.0.0/8"], "stall_timeout_s": 3.0 },
            "probe": { "interval_s": 0.0 },
            "threads": 2,
        });
        let hub = Hub::new(HubOptions::parse(&options.to_string()).unwrap()).unwrap();
        let bound = hub.start().unwrap();
        let rtsps = bound["rtsps"].clone().unwrap();
        Self { hub, id, ca, rtsps, events: Mutex::default() }
    }

    /// Its one camera: at `url`, or of another hub.
    pub fn knows(&self, url: &str, home: &str) {
        let stream = CameraStream {
            profile: Profile::Main,
            url: url.into(),
            username: String::new(),
            password: String::new(),
            transport: 1,
        };
        let camera = Camera {
            id: CAMERA.into(),
            name: "gate".into(),
            unit_id: "u1".into(),
            region_code: "360602".into(),
            industry: "11".into(),
            place_category: 5,
            latitude: 28.2,
            longitude: 117.0,
            quarantined: false,
            revision: 1,
            streams: vec![stream],
            home_hub_id: home.into(),
        };
        self.hub.load("e1", 1, vec![camera], Vec::new()).unwrap();
    }

    /// Opens a session, as it stands on record.
    pub fn open(&self, id: &str, principal: Principal, purpose: &str) {
        let spec = SessionSpec {
            id: id.into(),
            principal,
            camera: CAMERA.into(),
            profile: Some(Profile::Main),
            purpose: purpose.into(),
            grant: "g1".into(),
            expires: gate::moment(gate::now() + 600.0),
            rtsp_user: format!("user-{id}"),
            rtsp_password: "word".into(),
            connections: 1,
        };
        self.hub.gate().sessions.open(spec).unwrap();
    }

    pub fn close(&self, session: &str) {
        assert!(self.hub.gate().sessions.end(session, "SESSION_CLOSED"));
    }

    /// A ticket for the hub `peer`, to push the camera or to pull it.
    pub fn ticket(&self, session: &str, peer: &str, purpose: &str) -> String {
        self.open(session, hub(peer), purpose);
        self.hub.gate().issue_ticket(session, gate::now() + 60.0).unwrap()
    }

    /// This hub's media port, as another knows it.
    pub fn peer(&self, ticket: &str) -> Peer {
        Peer::new(self.id, &format!("rtsps://{}/{CAMERA}", self.rtsps), ticket, &self.ca).unwrap()
    }

    /// A person of this hub who watches.
    pub fn watch(&self, session: &str) -> FrameReader {
        self.open(session, person("zhang", ""), "patrol");
        self.hub.open_frames(session, Wanted::Everything).unwrap()
    }

    /// The next event that fits; the others wait.
    pub fn expect<T>(&self, what: &str, fits: impl Fn(&Event) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let mut events = self.events.lock();
            events.extend(self.hub.gate().events.take(1000).into_iter().map(|(_, event)| event));
            let found = events.iter().enumerate().find_map(|(place, event)| Some((place, fits(event)?)));
            if let Some((place, found)) = found {
                events.remove(place);
                return found;
            }
            drop(events);
            assert!(start.elapsed() < BOUND, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether there is such an event now.
    pub fn has(&self, fits: impl Fn(&Event) -> bool) -> bool {
        let mut events = self.events.lock();
        events.extend(self.hub.gate().events.take(1000).into_iter().map(|(_, event)| event));
        events.iter().any(fits)
    }

    /// Waits until the stream is wanted; what went wrong before.
    pub fn wanted(&self) -> &'static str {
        self.expect("the stream was to be wanted", |event| match event {
            Event::StreamNeed { is_wanted: true, reason, .. } => Some(*reason),
            _ => None,
        })
    }

    pub fn released(&self) {
        self.expect("the stream was to be released", |event| {
            matches!(event, Event::StreamNeed { is_wanted: false, .. }).then_some(())
        });
    }

    pub fn relay_live(&self, id: &str) {
        self.expect("the relay was to be live", |event| match event {
            Event::RelayLive { relay } => (relay == id).then_some(()),
            _ => None,
        });
    }

    pub fn relay_ended(&self, id: &str) -> (&'static str, String) {
        self.expect("the relay was to end", |event| match event {
            Event::RelayEnded { relay, reason, message } => (relay == id).then(|| (*reason, message.clone())),
            _ => None,
        })
    }

    /// Sinks of RTSP: viewers and relays.
    pub fn sinks(&self) -> i64 {
        self.hub.telemetry().sinks(SinkKind::Rtsp).load(std::sync::atomic::Ordering::Relaxed)
    }

    /// RTP payload octets to or from another hub.
    pub fn counted(&self, peer: &str, direction: Direction) -> u64 {
        let links = self.hub.telemetry().links();
        links.into_iter().find(|(hub, way, _)| hub == peer && *way == direction).map_or(0, |(_, _, octets)| octets)
    }
}

pub fn person(name: &str, hub_id: &str) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        id: name.into(),
        hub_id: hub_id.into(),
        unit_id: String::new(),
        department: String::new(),
        roles: vec!["operator".into()],
    }
}

pub fn hub(id: &str) -> Principal {
    Principal { kind: PrincipalKind::Hub, roles: Vec::new(), ..person(id, id) }
}

/// The next frames of a reader, as many as that.
pub fn frames(reader: &FrameReader, count: usize) -> Vec<Frame> {
    let (start, mut taken) = (Instant::now(), Vec::new());
    while taken.len() < count {
        taken.extend(reader.take(count - taken.len()).unwrap_or_else(|error| panic!("{error}")));
        assert!(start.elapsed() < BOUND, "{} of {count} frames came", taken.len());
        std::thread::sleep(Duration::from_millis(1));
    }
    taken
}

/// Why a reader ends.
pub fn end_of(reader: &FrameReader) -> &'static str {
    let start = Instant::now();
    loop {
        match reader.take(100) {
            Ok(_) => assert!(start.elapsed() < BOUND, "the reader was to end"),
            Err(error) => return error.reason(),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ten seconds of 25 pictures each with one keyframe, made by x264: who sees a picture at once has it from a cache.
pub fn clip() -> &'static Path {
    static CLIP: OnceLock<PathBuf> = OnceLock::new();
    CLIP.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("relay-{}.h264", std::process::id()));
        let name = path.to_str().unwrap();
        let source = "testsrc=size=640x360:rate=25:duration=10";
        let codec = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "250", "-sc_threshold", "0"];
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-loglevel", "error", "-y", "-f", "lavfi", "-i", source]).args(codec);
        let made = ffmpeg.args(["-pix_fmt", "yuv420p", "-f", "h264", name]).status().unwrap();
        assert!(made.success(), "ffmpeg makes the clip");
        path
    })
}

pub fn camera() -> (CameraSim, String) {
    let gate = SimCamera { name: "gate".into(), clip: clip().into(), frame_rate: 25.0 };
    let camera = CameraSim::start("127.0.0.1:0", &[gate], "", "").unwrap();
    let url = format!("rtsp://{}/gate", camera.address());
    (camera, url)
}

/// A lower hub with the camera, and an upper one that knows of it.
pub fn two() -> (Place, Place, CameraSim) {
    let (upper, lower) = (Place::new("upper"), Place::new("lower"));
    let (camera, url) = camera();
    lower.knows(&url, "");
    upper.knows("", "lower");
    (upper, lower, camera)
}

/// The upper's order: the lower pushes by relay `id`, for its guest's session `session`.
pub fn order(upper: &Place, lower: &Place, id: &str, session: &str) {
    let ticket = upper.ticket(&format!("push-{id}"), lower.id, "publish");
    lower.open(session, person("zhang", upper.id), "patrol");
    lower.hub.start_relay(id, CAMERA, Profile::Main, upper.peer(&ticket)).unwrap();
}

/// A hub that takes an order and then nothing any more.
pub fn deaf_upper() -> (Peer, Sender<()>, JoinHandle<()>) {
    let (hold, held) = channel();
    let (ca, certificate, key) = certificates();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rtsps://{}/{CAMERA}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, socket);
        let mut text = String::new();
        while !text.contains("RECORD rtsps") {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).unwrap();
            let came = String::from_utf8_lossy(&chunk[..count]).into_owned();
            text.push_str(&came);
            for line in came.lines().filter_map(|line| line.strip_prefix("CSeq: ")) {
                stream.write_all(format!("RTSP/1.0 200 OK\r\nCSeq: {line}\r\nSession: 1\r\n\r\n").as_bytes()).unwrap();
            }
        }
        // Reads no more, and holds the connection until the test lets go of it.
        let _ = held.recv();
    });
    (Peer::new("upper", &url, "ticket", &ca).unwrap(), hold, thread)
}
