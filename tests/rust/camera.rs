//! A camera inside the process: publishes pictures to a stream, and the door that leads to it.

#![allow(dead_code)] // Each program that includes this file uses a part of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use _core::error::{Error, ErrorKind, Result};
use _core::gate::{Admission, BoxFuture, Door, Proof};
use _core::media::{AccessUnit, Codec, CodecParameters, Profile, Track};
use _core::stream::{Description, Interest, SinkHandle, Stream, StreamLimits};
use _core::telemetry::{Protocol, Telemetry};
use bytes::Bytes;
use parking_lot::Mutex;

pub const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0xc8];
pub const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];

pub fn video(has_b_frames: bool) -> Track {
    let (sps, pps) = (Bytes::from_static(SPS), Bytes::from_static(PPS));
    let parameters = CodecParameters::H264 { sps, pps, width: 640, height: 360, has_b_frames };
    Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }
}

pub fn sound() -> Track {
    Track { codec: Codec::Pcma, clock_rate_hz: 8_000, parameters: CodecParameters::G711 { channels: 1 } }
}

/// Annex B from NAL units.
pub fn access_unit(track: usize, pts: i64, keyframe: bool, nal_units: &[&[u8]]) -> AccessUnit {
    let (mut data, mut nals) = (Vec::new(), smallvec::SmallVec::new());
    for unit in nal_units {
        data.extend_from_slice(&[0, 0, 0, 1]);
        let start = data.len() as u32;
        data.extend_from_slice(unit);
        nals.push(start..data.len() as u32);
    }
    AccessUnit { track, pts, dts: pts, keyframe, data: data.into(), nals }
}

/// One synthetic picture: a keyframe of 20 kB each second, else 4 kB.
pub fn picture(number: i64) -> AccessUnit {
    let keyframe = number % 25 == 0;
    let mut slice = vec![0x5a; if keyframe { 20_000 } else { 4_000 }];
    slice[0] = if keyframe { 0x65 } else { 0x41 };
    let pts = number * 3600;
    if keyframe { access_unit(0, pts, true, &[SPS, PPS, &slice]) } else { access_unit(0, pts, false, &[&slice]) }
}

/// Publishes synthetic pictures at 25 a second, and sound if the stream has it, until dropped.
pub struct Publisher {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Publisher {
    pub fn start(stream: Arc<Stream>, tracks: Vec<Track>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        stream.describe(tracks.clone());
        // A cache to join on from the first moment.
        for number in 0..10 {
            stream.publish(picture(number));
        }
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            for number in 10.. {
                if stopped.load(SeqCst) {
                    return;
                }
                stream.publish(picture(number));
                if tracks.len() > 1 {
                    let data = Bytes::from(vec![0xd5; 320]);
                    let pts = number * 320;
                    let nals = smallvec::SmallVec::new();
                    stream.publish(AccessUnit { track: 1, pts, dts: pts, keyframe: true, data, nals });
                }
                // The camera's own clock.
                let due = start + Duration::from_millis(40) * (number - 9) as u32;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How the camera behind the door is.
#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    Fine,
    /// `ready` fails with this reason.
    Broken(&'static str),
    /// `ready` never answers.
    Silent,
}

/// A door with one camera, `CAMERA`; the words of tickets say what becomes of them.
pub struct OneDoor {
    me: Weak<OneDoor>,
    pub stream: Arc<Stream>,
    /// The camera's other stream, if it has one.
    pub sub: Mutex<Option<Arc<Stream>>>,
    pub mood: Mutex<Mood>,
    pub sinks: Mutex<Vec<SinkHandle>>,
    pub admitted: Arc<AtomicUsize>,
    pub pictured: Arc<AtomicUsize>,
    pub peers: Mutex<Vec<SocketAddr>>,
}

pub const CAMERA: &str = "36060200001320000001";

impl OneDoor {
    pub fn new(telemetry: &Arc<Telemetry>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            stream: Stream::new("test".into(), StreamLimits { gop_cache_bytes: 16 << 20 }, Arc::clone(telemetry)),
            sub: Mutex::default(),
            mood: Mutex::new(Mood::Fine),
            sinks: Mutex::default(),
            admitted: Arc::default(),
            pictured: Arc::default(),
            peers: Mutex::default(),
        })
    }

    fn session(ticket: &str) -> Result<String> {
        let refused = |reason| Err(Error::new(ErrorKind::Unauthenticated, reason, "refused"));
        match ticket {
            "forged" => refused("TICKET_INVALID"),
            "expired" => refused("TICKET_EXPIRED"),
            "unknown" => refused("SESSION_UNKNOWN"),
            session => Ok(session.to_owned()),
        }
    }
}

pub struct OneAdmission {
    door: Arc<OneDoor>,
    session: String,
    mood: Mood,
    switched: Mutex<Option<Arc<dyn Interest>>>,
}

struct Sub(Arc<Stream>);

impl Interest for Sub {
    fn profile(&self) -> Profile {
        Profile::Sub
    }

    fn stream(&self) -> &Arc<Stream> {
        &self.0
    }

    fn ready(&self) -> BoxFuture<'_, Result<Arc<Description>>> {
        Box::pin(async { Ok(self.0.description().expect("it was described")) })
    }

    fn plays(&self, _: SinkHandle) {}
}

impl Door for OneDoor {
    fn admit(
        &self,
        camera: &str,
        proof: Option<Proof<'_>>,
        _: Protocol,
        peer: SocketAddr,
    ) -> Result<Arc<dyn Admission>> {
        self.peers.lock().push(peer);
        let Some(Proof::Ticket(ticket)) = proof else {
            return Err(Error::new(ErrorKind::Unauthenticated, "TICKET_MISSING", "no ticket"));
        };
        let session = OneDoor::session(ticket)?;
        if ticket == "elsewhere" {
            return Err(Error::new(ErrorKind::PermissionDenied, "TICKET_OTHER_CAMERA", "another camera"));
        }
        if camera != CAMERA {
            return Err(Error::new(ErrorKind::NotFound, "CAMERA_NOT_FOUND", "no such camera"));
        }
        self.admitted.fetch_add(1, SeqCst);
        let door = self.me.upgrade().expect("the door is in an Arc");
        Ok(Arc::new(OneAdmission { door, session, mood: *self.mood.lock(), switched: Mutex::default() }))
    }

    fn session_of(&self, ticket: &str) -> Result<String> {
        OneDoor::session(ticket)
    }

    fn rtsp_password(&self, _: &str) -> Option<String> {
        None
    }
}

impl Admission for OneAdmission {
    fn session_id(&self) -> &str {
        &self.session
    }

    fn stream(&self) -> Arc<Stream> {
        let switched = self.switched.lock().as_ref().map(|to| to.stream().clone());
        switched.unwrap_or_else(|| self.door.stream.clone())
    }

    fn profile(&self) -> Profile {
        self.switched.lock().as_ref().map_or(Profile::Main, |to| to.profile())
    }

    fn other(&self) -> Result<Arc<dyn Interest>> {
        let missing = || Error::new(ErrorKind::NotFound, "CAMERA_PROFILE_MISSING", "it has one stream");
        Ok(Arc::new(Sub(self.door.sub.lock().clone().ok_or_else(missing)?)))
    }

    fn switched(&self, to: Arc<dyn Interest>) {
        *self.switched.lock() = Some(to);
    }

    fn ready(&self) -> BoxFuture<'_, Result<Arc<Description>>> {
        Box::pin(async {
            match self.mood {
                Mood::Fine => Ok(self.door.stream.description().expect("the publisher has described it")),
                Mood::Broken(reason) => Err(Error::new(ErrorKind::Unavailable, reason, "the camera fails")),
                Mood::Silent => std::future::pending().await,
            }
        })
    }

    fn connected(&self, sink: SinkHandle) {
        self.door.sinks.lock().push(sink);
    }

    fn first_picture(&self) {
        self.door.pictured.fetch_add(1, SeqCst);
    }
}

impl Drop for OneAdmission {
    fn drop(&mut self) {
        self.door.admitted.fetch_sub(1, SeqCst);
    }
}
