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

pub fn h265() -> Track {
    let (vps, sps, pps) =
        (Bytes::from_static(&H265_SETS[0]), H265_SETS[1].to_vec().into(), H265_SETS[2].to_vec().into());
    let parameters = CodecParameters::H265 { vps, sps, pps, width: 1920, height: 1080, has_b_frames: false };
    Track { codec: Codec::H265, clock_rate_hz: 90_000, parameters }
}

/// VPS, SPS and PPS in name alone.
pub const H265_SETS: [[u8; 4]; 3] = [[0x40, 1, 2, 3], [0x42, 1, 2, 3], [0x44, 1, 2, 3]];

/// One synthetic picture of H.265, as `picture`.
pub fn h265_picture(number: i64) -> AccessUnit {
    let keyframe = number % 25 == 0;
    let mut slice = vec![0x5a; if keyframe { 20_000 } else { 4_000 }];
    slice[..2].copy_from_slice(if keyframe { &[0x26, 1] } else { &[0x02, 1] });
    let [vps, sps, pps] = &H265_SETS;
    let nals: &[&[u8]] = if keyframe { &[vps, sps, pps, &slice] } else { &[&slice] };
    access_unit(0, number * 3600, keyframe, nals)
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

/// What the camera has beside its main stream.
#[derive(Clone)]
pub enum Other {
    /// The session asked for the main stream.
    Fixed,
    Missing,
    /// A sub stream; one without a description can't be had.
    Sub(Arc<Stream>),
}

/// A door with one camera, `CAMERA`; the words of tickets say what becomes of them.
pub struct OneDoor {
    me: Weak<OneDoor>,
    pub stream: Arc<Stream>,
    pub other: Mutex<Other>,
    /// Where viewers went over to.
    pub switched: Mutex<Vec<Profile>>,
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
            other: Mutex::new(Other::Missing),
            switched: Mutex::default(),
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
    stream: Mutex<Arc<Stream>>,
    session: String,
    mood: Mood,
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
        let stream = Mutex::new(self.stream.clone());
        Ok(Arc::new(OneAdmission { door, stream, session, mood: *self.mood.lock() }))
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
        self.stream.lock().clone()
    }

    fn profile(&self) -> Profile {
        if Arc::ptr_eq(&self.stream.lock(), &self.door.stream) { Profile::Main } else { Profile::Sub }
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

    fn other(&self) -> Result<Arc<dyn Interest>> {
        match self.door.other.lock().clone() {
            Other::Fixed => Err(Error::new(ErrorKind::FailedPrecondition, "PROFILE_FIXED", "the main one alone")),
            Other::Missing => Err(Error::new(ErrorKind::NotFound, "CAMERA_PROFILE_MISSING", "there is no sub stream")),
            Other::Sub(stream) => Ok(Arc::new(Sub(stream))),
        }
    }

    fn switched(&self, to: Arc<dyn Interest>) {
        *self.stream.lock() = to.stream().clone();
        self.door.switched.lock().push(to.profile());
    }

    fn first_picture(&self) {
        self.door.pictured.fetch_add(1, SeqCst);
    }
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
        let silent = || Error::new(ErrorKind::Unavailable, "CAMERA_SILENT", "the sub stream says nothing");
        Box::pin(async move { self.0.description().ok_or_else(silent) })
    }

    fn plays(&self, _sink: SinkHandle) {}
}

impl Drop for OneAdmission {
    fn drop(&mut self) {
        self.door.admitted.fetch_sub(1, SeqCst);
    }
}
