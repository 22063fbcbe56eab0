//! A sink that tells what it was asked, and a stream of one H.264 track.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use _core::media::{AccessUnit, Codec, CodecParameters, Track};
use _core::stream::{Flow, Sink, SinkHandle, Stream, StreamLimits, WireUnit};
use _core::telemetry::Telemetry;
use bytes::Bytes;

pub const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

/// Nothing here takes as long; a test that gets here has failed.
const BOUND: Duration = Duration::from_secs(60);

pub fn video(pps: &'static [u8]) -> Track {
    let (sps, pps) = (Bytes::from_static(&[0x67]), Bytes::from_static(pps));
    let parameters = CodecParameters::H264 { sps, pps, width: 640, height: 480, has_b_frames: false };
    Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }
}

pub fn unit(keyframe: bool, size: usize) -> AccessUnit {
    let mut data = vec![0x41; size];
    data[..4].copy_from_slice(&[0, 0, 0, 1]);
    let nals = std::iter::once(4..size as u32).collect();
    AccessUnit { track: 0, pts: 0, dts: 0, keyframe, data: data.into(), nals }
}

pub fn live() -> (Arc<Stream>, Arc<Telemetry>) {
    live_with_cache(16 << 20)
}

pub fn live_with_cache(gop_cache_bytes: usize) -> (Arc<Stream>, Arc<Telemetry>) {
    let telemetry = Arc::new(Telemetry::default());
    let stream = Stream::new("camera/main".into(), StreamLimits { gop_cache_bytes }, telemetry.clone());
    stream.describe(vec![video(&[0x68])]);
    (stream, telemetry)
}

/// Waits for what another thread is about to do.
pub fn until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < BOUND, "it was to come true");
        std::thread::yield_now();
    }
}

#[derive(Debug)]
pub enum Event {
    /// The thread's name.
    Started(String),
    Unit(Arc<Seen>),
    Flush,
    Ready {
        readable: bool,
        writable: bool,
    },
    Datagram(Vec<u8>),
    Timer(Instant),
    End(&'static str),
}

/// A unit that came, with `Debug`.
pub struct Seen(pub Arc<WireUnit>);

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.index)
    }
}

impl std::ops::Deref for Seen {
    type Target = WireUnit;
    fn deref(&self) -> &WireUnit {
        &self.0
    }
}

pub struct Recorder {
    /// What the sink answers.
    pub answer: Box<dyn FnMut(&Event) -> Flow + Send>,
    pub socket: Option<mio::net::UnixStream>,
    pub deadline: Option<Instant>,
    /// Where `Flow::Switch` leads.
    pub other: Option<Arc<Stream>>,
    hold: Option<Receiver<()>>,
    /// Last: when the channel closes, all else of the sink is gone.
    events: Sender<Event>,
}

/// The test's side. The channel closes when the sink is dropped.
pub struct Viewer {
    events: Receiver<Event>,
}

pub fn sink() -> (Recorder, Viewer) {
    let (events, received) = channel();
    let answer = Box::new(|_: &Event| Flow::Continue);
    (Recorder { answer, socket: None, deadline: None, other: None, hold: None, events }, Viewer { events: received })
}

impl Recorder {
    /// The first unit keeps the shard until the sender is used or dropped.
    pub fn hold_first_unit(&mut self) -> Sender<()> {
        let (release, hold) = channel();
        self.hold = Some(hold);
        release
    }

    fn tell(&mut self, event: Event) -> Flow {
        let flow = (self.answer)(&event);
        // A test that has ended no longer listens.
        let _ = self.events.send(event);
        flow
    }
}

impl Sink for Recorder {
    fn socket(&mut self) -> Option<&mut dyn mio::event::Source> {
        self.socket.as_mut().map(|socket| socket as _)
    }

    fn on_start(&mut self, _now: Instant) -> Flow {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.tell(Event::Started(name))
    }

    fn on_unit(&mut self, unit: &Arc<WireUnit>, _now: Instant) -> Flow {
        let flow = self.tell(Event::Unit(Arc::new(Seen(unit.clone()))));
        if let Some(hold) = self.hold.take() {
            let _ = hold.recv();
        }
        flow
    }

    fn on_flush(&mut self, _now: Instant) -> Flow {
        self.tell(Event::Flush)
    }

    fn on_ready(&mut self, readable: bool, writable: bool, _now: Instant) -> Flow {
        self.tell(Event::Ready { readable, writable })
    }

    fn on_datagram(&mut self, _from: SocketAddr, _to: SocketAddr, data: &[u8], now: Instant) -> Flow {
        if data == b"hurry" {
            self.deadline = Some(now);
        }
        self.tell(Event::Datagram(data.to_vec()))
    }

    fn on_timer(&mut self, now: Instant) -> Flow {
        self.tell(Event::Timer(now))
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn next_stream(&mut self) -> Option<Arc<Stream>> {
        self.other.take()
    }

    fn on_end(&mut self, reason: &'static str, _now: Instant) {
        self.tell(Event::End(reason));
    }
}

impl Viewer {
    pub fn next(&self) -> Event {
        self.events.recv_timeout(BOUND).expect("the sink was to be called")
    }

    /// Passes over events up to one that fits.
    pub fn expect(&self, fits: impl Fn(&Event) -> bool) -> Event {
        std::iter::repeat_with(|| self.next()).find(fits).expect("repeats for ever")
    }

    /// Waits until the sink has been subscribed: the shard looks at datagrams after that.
    pub fn subscribed(&self, handle: &SinkHandle) {
        assert!(handle.datagram(PEER, PEER, b"subscribed".to_vec()));
        self.expect(|event| matches!(event, Event::Datagram(_)));
    }

    /// The units up to the one with that index.
    pub fn units_until(&self, index: u64) -> Vec<Arc<Seen>> {
        let mut units = Vec::new();
        while units.last().is_none_or(|unit: &Arc<Seen>| unit.index != index) {
            if let Event::Unit(unit) = self.next() {
                units.push(unit);
            }
        }
        units
    }

    /// Everything up to the moment when the sink is dropped.
    pub fn all(&self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.events.recv_timeout(BOUND) {
                Ok(event) => events.push(event),
                Err(RecvTimeoutError::Disconnected) => return events,
                Err(RecvTimeoutError::Timeout) => panic!("the sink was to be dropped"),
            }
        }
    }

    /// The reasons that it was given until it was dropped.
    pub fn ends(&self) -> Vec<&'static str> {
        self.all()
            .into_iter()
            .filter_map(|event| if let Event::End(reason) = event { Some(reason) } else { None })
            .collect()
    }
}
