//! A gate over two cameras whose sources the test plays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use _core::error::ErrorKind;
use _core::gate::{self, Admission, Door, Event, Events, Gate, Proof, SessionSpec, Streams, StreamsOptions};
use _core::media::Profile;
use _core::policy::{Grant, Policy, Principal, PrincipalKind, Scope, Subject};
use _core::registry::{Camera, CameraStream, Registry};
use _core::stream::{Shards, SourceState, StreamLimits};
use _core::telemetry::{Protocol, Telemetry};
use _core::ticket::Tickets;
use base64::Engine;
use tokio::runtime::Runtime;

use crate::harness::{self, sink, unit, video};

pub const CAMERA: &str = "36060200001320000001";
pub const OTHER: &str = "36060200001320000002";
pub const PEER: SocketAddr = harness::PEER;

/// A gate over two cameras whose sources this test plays.
pub struct House {
    pub gate: Arc<Gate>,
    pub events: Arc<Events>,
    pub telemetry: Arc<Telemetry>,
    pub shards: Arc<Shards>,
    pub started: Arc<AtomicUsize>,
    pub stopped: Arc<AtomicUsize>,
    // Last: the tasks of the streams end with it.
    pub runtime: Runtime,
}

#[derive(Clone, Copy)]
pub enum Source {
    /// Sends a keyframe at once.
    Plays,
    /// Fails at once; what another hub gives is over then.
    Refuses,
    /// Never says anything.
    Silent,
    /// The main stream fails for this cause; the sub stream plays.
    MainFails(&'static str),
    /// The main stream has pictures but no keyframe; the sub stream plays.
    MainHasNoKeyframe,
}

/// How a sub stream's URL ends.
pub const SUB_URL: &str = "192.0.2.3/";

pub fn house(source: Source, linger: Duration, patience: Duration) -> House {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let telemetry = Arc::new(Telemetry::default());
    let registry = Arc::new(Registry::new(1));
    let events = Arc::new(Events::new().unwrap());
    let (started, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (started.clone(), stopped.clone());
    let start: gate::StartSource = Box::new(move |target, stream, stop| {
        let (started, stopped) = counts.clone();
        Box::pin(async move {
            started.fetch_add(1, SeqCst);
            stream.report(SourceState::Connecting);
            match source {
                Source::MainFails(cause) if !target.url.ends_with(SUB_URL) => stream.report(SourceState::Failed {
                    reason: "CAMERA_UNREACHABLE",
                    cause,
                    message: "the main stream is no use".into(),
                }),
                Source::MainHasNoKeyframe if !target.url.ends_with(SUB_URL) => {
                    stream.describe(vec![video(&[0x68])]);
                    stream.publish(unit(false, 100));
                }
                Source::Plays | Source::MainFails(_) | Source::MainHasNoKeyframe => {
                    stream.describe(vec![video(&[0x68])]);
                    stream.publish(unit(true, 100));
                }
                Source::Refuses => {
                    stream.report(SourceState::Failed {
                        reason: "CAMERA_REFUSED_LOGIN",
                        cause: "CAMERA_REFUSED_LOGIN",
                        message: "wrong".into(),
                    });
                    if target.peer.is_some() {
                        return;
                    }
                }
                Source::Silent => {}
            }
            stop.cancelled().await;
            stopped.fetch_add(1, SeqCst);
        })
    });
    let options =
        StreamsOptions { linger, patience, limits: StreamLimits { gop_cache_bytes: 1 << 20 }, max_streams: 16 };
    let watch = gate::watch_streams(registry.clone(), events.clone(), |_| {});
    let streams = Streams::new(options, start, watch, events.clone(), telemetry.clone(), runtime.handle().clone());
    let key = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(key.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    let tickets = Tickets::new("hub", &pem).unwrap();
    let gate = Gate::new(Policy::new("hub").unwrap(), tickets, registry, events.clone(), streams, telemetry.clone());
    gate.load("e1", 1, vec![camera(CAMERA), camera(OTHER)], Vec::new()).unwrap();
    gate.apply_grant(grant("g1"));
    House { gate, events, telemetry, shards: Shards::start(1).unwrap(), started, stopped, runtime }
}

pub fn quick(source: Source) -> House {
    house(source, Duration::ZERO, Duration::from_secs(30))
}

pub fn camera(id: &str) -> Camera {
    let stream = CameraStream {
        profile: Profile::Main,
        url: "rtsp://192.0.2.1/".into(),
        username: String::new(),
        password: String::new(),
        transport: 1,
    };
    Camera {
        id: id.into(),
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
        home_hub_id: String::new(),
    }
}

pub fn grant(id: &str) -> Grant {
    Grant {
        id: id.into(),
        subject: Subject::User("zhang".into()),
        scope: Scope { region_prefixes: vec!["3606".into()], ..Scope::default() },
        actions: vec!["view_live".into()],
        purposes: vec!["patrol".into()],
        not_before: 0.0,
        not_after: gate::now() + 3600.0,
    }
}

pub fn spec(id: &str) -> SessionSpec {
    let principal = Principal {
        kind: PrincipalKind::User,
        id: "zhang".into(),
        hub_id: String::new(),
        unit_id: String::new(),
        department: String::new(),
        roles: vec!["operator".into()],
    };
    SessionSpec {
        id: id.into(),
        principal,
        camera: CAMERA.into(),
        profile: Some(Profile::Main),
        purpose: "patrol".into(),
        grant: "g1".into(),
        expires: gate::moment(gate::now() + 600.0),
        rtsp_user: format!("user-{id}"),
        rtsp_password: "word".into(),
        connections: 1,
    }
}

impl House {
    pub fn open(&self, id: &str) -> String {
        self.open_until(id, gate::now() + 600.0);
        self.gate.issue_ticket(id, gate::now() + 60.0).unwrap()
    }

    pub fn open_until(&self, id: &str, expires: f64) {
        let spec = SessionSpec { expires: gate::moment(expires), ..spec(id) };
        self.gate.sessions.open(spec).unwrap();
    }

    /// A session that asks for `profile`, or leaves the choice to the hub; its ticket.
    pub fn open_profile(&self, id: &str, profile: Option<Profile>) -> String {
        self.gate.sessions.open(SessionSpec { profile, ..spec(id) }).unwrap();
        self.gate.issue_ticket(id, gate::now() + 60.0).unwrap()
    }

    /// A session of the camera's unit to push it; its ticket.
    pub fn open_to_push(&self, id: &str, profile: Profile) -> String {
        let principal = Principal {
            kind: PrincipalKind::Unit,
            id: "u1".into(),
            hub_id: "hub".into(),
            unit_id: "u1".into(),
            department: String::new(),
            roles: Vec::new(),
        };
        let spec = SessionSpec {
            principal,
            profile: Some(profile),
            purpose: "publish".into(),
            grant: String::new(),
            ..spec(id)
        };
        self.gate.sessions.open(spec).unwrap();
        self.gate.issue_ticket(id, gate::now() + 60.0).unwrap()
    }

    pub fn admit(&self, ticket: &str, protocol: Protocol) -> Arc<dyn Admission> {
        self.gate.admit(CAMERA, Some(Proof::Ticket(ticket)), protocol, PEER).unwrap()
    }

    pub fn refusal(&self, camera: &str, proof: Option<Proof<'_>>) -> (ErrorKind, &'static str) {
        let error = self.gate.admit(camera, proof, Protocol::RtspTcp, PEER).err().expect("a refusal");
        (error.kind(), error.reason())
    }

    /// A viewer that plays, as a server would set it up.
    pub fn play(&self, admission: &Arc<dyn Admission>) -> harness::Viewer {
        self.runtime.block_on(admission.ready()).unwrap();
        self.attach(admission)
    }

    /// A viewer that waits for its first picture.
    pub fn attach(&self, admission: &Arc<dyn Admission>) -> harness::Viewer {
        let (sink, viewer) = sink();
        admission.connected(self.shards.attach(admission.stream(), Box::new(sink), true));
        viewer
    }

    pub fn ends(&self) -> Vec<(String, &'static str)> {
        let taken = self.events.take(usize::MAX);
        taken
            .into_iter()
            .filter_map(|(_, event)| match event {
                Event::SessionEnded { session, reason } => Some((session, reason)),
                _ => None,
            })
            .collect()
    }
}

pub fn ended(viewer: &harness::Viewer, wanted: &'static str) {
    viewer.expect(|event| matches!(event, harness::Event::End(reason) if *reason == wanted));
}
