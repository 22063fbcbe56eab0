//! RTP over UDP (RFC 3550 §11, RFC 2326 §10.11) to one viewer: whole access units with segmentation offload, paced,
//! because nobody tells when the viewer's socket is full.
//!
//! A viewer with the usual 208 KiB of socket buffer holds about 90 packets. So 64 KiB leave at once, which is nearly
//! every live unit, and what is more follows at 4 MiB/s, in steps of 24 KiB: a keyframe of 150 KiB takes 21 ms, the
//! cache of one second at 4 Mbit/s 0.1 s, and a viewer may look away for 10 ms at the worst moment and for 27 ms else.
//! A long cache is given faster, so that the viewer catches up within about a second.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::stream::Datagrams;

/// Octets that leave at once after a pause.
const BUCKET_BYTES: usize = 64 * 1024;
/// Octets a second beyond that, at least.
const PACE_BYTES: usize = 4 * 1024 * 1024;
/// Of the cache given at the start, what would be left after a second at `PACE_BYTES` makes it go faster: twice of
/// what waits, a second.
const BURST_FACTOR: usize = 2;
/// Of live units likewise: a camera of more than 32 Mbit/s must get through.
const LIVE_FACTOR: usize = 8;
/// Steps in which a paced unit leaves.
const STEP_BYTES: usize = 24 * 1024;
/// Most that one system call may take: what fits an IPv4 datagram before it is cut.
const MAX_SEND_BYTES: usize = 64_000;

/// How a viewer's datagrams leave; the server owns the ports.
pub trait Ports: Send {
    /// `datagrams` are of `segment` octets each, the last may be shorter.
    fn send_rtp(&self, track: usize, datagrams: &[u8], segment: usize) -> io::Result<()>;
    fn send_rtcp(&self, track: usize, packet: &[u8]) -> io::Result<()>;
    /// Datagrams that one `send_rtp` may hold.
    fn max_segments(&self) -> usize;
    fn feedback(&self) -> &Feedback;
}

/// What is heard of a viewer beside its connection. The server writes it, the sink looks at it with each report: a flood
/// of reports costs the shard nothing.
#[derive(Debug)]
pub struct Feedback {
    begun: Instant,
    /// Milliseconds since `begun` and one, as all times here.
    heard: AtomicU64,
    refused_since: AtomicU64,
    /// 0: not yet.
    refused_last: AtomicU64,
    /// Packets that the viewer misses of each track, as it counts them.
    lost: Box<[AtomicI32]>,
}

/// Refusals that are further apart do not belong together. Hosts send one a second at most.
const REFUSAL_GAP: Duration = Duration::from_secs(5);

impl Feedback {
    pub fn new(tracks: usize, begun: Instant) -> Self {
        let (refused_since, refused_last) = Default::default();
        Self {
            begun,
            heard: AtomicU64::new(1),
            refused_since,
            refused_last,
            lost: (0..tracks).map(|_| AtomicI32::new(0)).collect(),
        }
    }

    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_millis()).map_or(u64::MAX, |passed| passed + 1)
    }

    /// RTCP has come from the viewer.
    pub fn heard(&self, now: Instant) {
        self.heard.store(self.since(now), Relaxed);
        self.refused_last.store(0, Relaxed);
    }

    /// Its host, or the way to it, refuses our datagrams (ICMP).
    pub fn refused(&self, now: Instant) {
        let now = self.since(now);
        let last = self.refused_last.swap(now, Relaxed);
        if last == 0 || now.saturating_sub(last) > REFUSAL_GAP.as_millis() as u64 {
            self.refused_since.store(now, Relaxed);
        }
    }

    /// A receiver report's cumulative loss of a track.
    pub fn lost(&self, track: usize, packets: i32) {
        if let Some(lost) = self.lost.get(track) {
            lost.store(packets, Relaxed);
        }
    }

    pub(super) fn lost_of(&self, track: usize) -> i32 {
        self.lost.get(track).map_or(0, |lost| lost.load(Relaxed))
    }

    /// How long ago RTCP has come.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        Duration::from_millis(self.since(now).saturating_sub(self.heard.load(Relaxed)))
    }

    /// For how long our datagrams have been refused.
    pub(super) fn refused_for(&self, now: Instant) -> Duration {
        let (now, last) = (self.since(now), self.refused_last.load(Relaxed));
        if last == 0 || now.saturating_sub(last) > REFUSAL_GAP.as_millis() as u64 {
            return Duration::ZERO;
        }
        Duration::from_millis(now.saturating_sub(self.refused_since.load(Relaxed)))
    }
}

struct Piece {
    datagrams: Datagrams,
    track: usize,
    packets: usize,
    starts_gop: bool,
    is_burst: bool,
}

/// What left with one system call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub track: usize,
    pub packets: usize,
    /// RTP octets.
    pub octets: usize,
    /// Set with the last of a unit: whether it `starts_gop`.
    pub finished: Option<bool>,
}

/// What waits to be sent: bounded like the backlog on TCP.
pub(super) struct Paced {
    ports: Box<dyn Ports>,
    pieces: VecDeque<Piece>,
    /// Where the first piece goes on: its run, octets of that, packets of all.
    run: usize,
    offset: usize,
    packets_out: usize,
    burst_bytes: usize,
    live_bytes: usize,
    limit: usize,
    is_skipping: bool,
    tokens: usize,
    filled: Instant,
}

impl Paced {
    pub fn new(ports: Box<dyn Ports>, limit: usize, now: Instant) -> Self {
        Self {
            ports,
            pieces: VecDeque::new(),
            run: 0,
            offset: 0,
            packets_out: 0,
            burst_bytes: 0,
            live_bytes: 0,
            limit,
            is_skipping: false,
            tokens: BUCKET_BYTES,
            filled: now,
        }
    }

    pub fn ports(&self) -> &dyn Ports {
        &*self.ports
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Takes a unit and tells how many packets the viewer will not get. Over the bound everything that waits is dropped,
    /// and what follows up to the next unit that `starts_gop`. `is_burst`: part of the cache given at the start, which
    /// is bounded by the stream.
    pub fn push(
        &mut self,
        datagrams: Datagrams,
        track: usize,
        packets: usize,
        starts_gop: bool,
        is_burst: bool,
    ) -> usize {
        if self.is_skipping && !starts_gop {
            return packets;
        }
        let size = datagrams.bytes.len();
        let mut dropped = 0;
        if !is_burst && self.live_bytes > 0 && self.live_bytes + size > self.limit {
            dropped = self.skip();
            if !starts_gop {
                return dropped + packets;
            }
        }
        self.is_skipping = false;
        *(if is_burst { &mut self.burst_bytes } else { &mut self.live_bytes }) += size;
        self.pieces.push_back(Piece { datagrams, track, packets, starts_gop, is_burst });
        dropped
    }

    /// Drops what waits, and what follows up to the next keyframe; tells how many packets that were.
    fn skip(&mut self) -> usize {
        let waiting: usize = self.pieces.iter().map(|piece| piece.packets).sum();
        let dropped = waiting.saturating_sub(self.packets_out);
        self.clear();
        self.is_skipping = true;
        dropped
    }

    pub fn clear(&mut self) {
        self.pieces = VecDeque::new();
        (self.run, self.offset, self.packets_out) = (0, 0, 0);
        (self.burst_bytes, self.live_bytes) = (0, 0);
    }

    fn waiting_bytes(&self) -> usize {
        self.burst_bytes + self.live_bytes
    }

    /// Octets a second.
    fn pace(&self) -> usize {
        PACE_BYTES.max(self.burst_bytes * BURST_FACTOR).max(self.live_bytes * LIVE_FACTOR)
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).min(Duration::from_secs(1));
        let grown = passed.as_micros() as u64 * self.pace() as u64 / 1_000_000;
        self.tokens = BUCKET_BYTES.min(self.tokens.saturating_add(grown as usize));
        self.filled = now;
    }

    /// Less is not worth a system call.
    fn step(&self) -> usize {
        STEP_BYTES.min(self.waiting_bytes())
    }

    /// When the next step may leave.
    pub fn deadline(&self) -> Option<Instant> {
        if self.pieces.is_empty() {
            return None;
        }
        let missing = self.step().saturating_sub(self.tokens) as u64;
        Some(self.filled + Duration::from_micros(missing * 1_000_000 / self.pace() as u64 + 1))
    }

    /// Sends what the pace allows and tells how many packets were dropped: all that wait, when the kernel has no room for
    /// them or knows no way to the viewer.
    pub fn flush(&mut self, now: Instant, mut left: impl FnMut(Left)) -> usize {
        self.fill(now);
        while !self.pieces.is_empty() && self.tokens >= self.step() {
            let Some(piece) = self.pieces.front() else { break };
            let Some(run) = piece.datagrams.runs.get(self.run) else {
                self.finish();
                continue;
            };
            let rest = piece.datagrams.bytes.get(run.range.start + self.offset..run.range.end).unwrap_or_default();
            let segment = run.segment.max(1);
            let most = self.ports.max_segments().min(MAX_SEND_BYTES / segment).min(self.tokens / segment).max(1);
            let contents = rest.get(..most * segment).unwrap_or(rest);
            if let Err(error) = self.ports.send_rtp(piece.track, contents, segment) {
                if error.kind() != ErrorKind::WouldBlock {
                    self.ports.feedback().refused(now);
                }
                return self.skip();
            }
            let (packets, octets) = (contents.len().div_ceil(segment), contents.len());
            let is_last = octets == rest.len() && self.run + 1 == piece.datagrams.runs.len();
            let finished = is_last.then_some(piece.starts_gop);
            left(Left { track: piece.track, packets, octets, finished });
            self.tokens = self.tokens.saturating_sub(octets);
            *(if piece.is_burst { &mut self.burst_bytes } else { &mut self.live_bytes }) -= octets;
            self.packets_out += packets;
            self.offset += octets;
            if octets == rest.len() {
                (self.run, self.offset) = (self.run + 1, 0);
            }
            if is_last {
                self.finish();
            }
        }
        0
    }

    /// The first piece is out.
    fn finish(&mut self) {
        self.pieces.pop_front();
        (self.run, self.offset, self.packets_out) = (0, 0, 0);
        // The burst needed more than what live units do.
        if self.pieces.is_empty() && self.pieces.capacity() > 16 {
            self.pieces = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::stream::Run;

    const SEGMENT: usize = 1_212;

    /// Notes what leaves, and says what it is told to say.
    #[derive(Clone)]
    struct Wire {
        sent: Arc<Mutex<Vec<usize>>>,
        failure: Arc<Mutex<Option<ErrorKind>>>,
        feedback: Arc<Feedback>,
    }

    impl Ports for Wire {
        fn send_rtp(&self, _track: usize, datagrams: &[u8], segment: usize) -> io::Result<()> {
            assert!(datagrams.len().div_ceil(segment) <= self.max_segments() && datagrams.len() <= MAX_SEND_BYTES);
            match *self.failure.lock().expect("lock") {
                Some(kind) => Err(kind.into()),
                None => {
                    self.sent.lock().expect("lock").push(datagrams.len());
                    Ok(())
                }
            }
        }

        fn send_rtcp(&self, _track: usize, _packet: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn max_segments(&self) -> usize {
            64
        }

        fn feedback(&self) -> &Feedback {
            &self.feedback
        }
    }

    impl Wire {
        fn open(limit: usize, now: Instant) -> (Self, Paced) {
            let wire =
                Self { sent: Arc::default(), failure: Arc::default(), feedback: Arc::new(Feedback::new(1, now)) };
            (wire.clone(), Paced::new(Box::new(wire), limit, now))
        }

        fn sent(&self) -> usize {
            self.sent.lock().expect("lock").iter().sum()
        }
    }

    fn unit(octets: usize) -> (Datagrams, usize) {
        let runs = [Run { range: 0..octets, segment: SEGMENT }];
        (Datagrams { bytes: vec![0; octets].into(), runs: Arc::new(runs) }, octets.div_ceil(SEGMENT))
    }

    fn push(paced: &mut Paced, octets: usize, starts_gop: bool, is_burst: bool) -> usize {
        let (datagrams, packets) = unit(octets);
        paced.push(datagrams, 0, packets, starts_gop, is_burst)
    }

    /// Goes on from deadline to deadline; the units finished and the time it took.
    fn run(paced: &mut Paced, mut now: Instant) -> (usize, Duration) {
        let (begun, mut finished) = (now, 0);
        while let Some(due) = paced.deadline() {
            now = now.max(due);
            assert_eq!(paced.flush(now, |left| finished += usize::from(left.finished.is_some())), 0);
        }
        (finished, now - begun)
    }

    #[test]
    fn a_live_unit_leaves_at_once_in_one_call() {
        let now = Instant::now();
        let (wire, mut paced) = Wire::open(1 << 20, now);
        push(&mut paced, 20_000, false, false);
        let mut left = Vec::new();
        assert_eq!(paced.flush(now, |one| left.push(one)), 0);
        assert_eq!(left, [Left { track: 0, packets: 17, octets: 20_000, finished: Some(false) }]);
        assert_eq!((wire.sent.lock().expect("lock").len(), paced.deadline()), (1, None));
    }

    #[test]
    fn a_keyframe_is_there_within_the_mark_and_no_burst_overruns_a_common_socket() {
        let now = Instant::now();
        let (wire, mut paced) = Wire::open(1 << 20, now);
        push(&mut paced, 150_000, true, true);
        (0..24).for_each(|_| assert_eq!(push(&mut paced, 15_000, false, true), 0));
        assert_eq!(paced.flush(now, |_| ()), 0);
        assert!(wire.sent() <= BUCKET_BYTES, "90 packets are 109 KB");
        let (mut at, mut keyframe) = (now, None);
        while let Some(due) = paced.deadline() {
            at = due.max(at);
            paced.flush(at, |left| {
                if left.finished == Some(true) {
                    keyframe = Some(at - now);
                }
            });
            let allowed = BUCKET_BYTES as f64 + (at - now).as_secs_f64() * PACE_BYTES as f64;
            assert!(wire.sent() as f64 <= allowed + 100.0, "{} octets after {:?}", wire.sent(), at - now);
        }
        assert_eq!(wire.sent(), 510_000);
        assert!(keyframe.expect("the keyframe is out") < Duration::from_millis(25), "{keyframe:?}");
        assert!(at - now < Duration::from_millis(120), "{:?}", at - now);
    }

    #[test]
    fn a_long_cache_and_a_fast_camera_get_through() {
        let now = Instant::now();
        let (_, mut paced) = Wire::open(1 << 20, now);
        (0..400).for_each(|number| assert_eq!(push(&mut paced, 40_000, number == 0, true), 0));
        let (finished, took) = run(&mut paced, now);
        assert_eq!(finished, 400);
        assert!(took < Duration::from_millis(2_000), "16 MB in {took:?}");
        // 80 Mbit/s.
        let (wire, mut paced) = Wire::open(2 << 20, now);
        let mut at = now;
        for frame in 0_u32..50 {
            at = now + Duration::from_millis(40) * frame;
            assert_eq!(push(&mut paced, 400_000, frame == 0, false), 0, "frame {frame}");
            let next = at + Duration::from_millis(40);
            while paced.deadline().is_some_and(|due| due < next) {
                at = at.max(paced.deadline().expect("waits"));
                paced.flush(at, |_| ());
            }
        }
        run(&mut paced, at);
        assert_eq!(wire.sent(), 50 * 400_000);
    }

    #[test]
    fn over_the_bound_it_skips_to_the_next_keyframe() {
        let now = Instant::now();
        let (wire, mut paced) = Wire::open(100_000, now);
        assert_eq!(push(&mut paced, 90_000, true, false), 0);
        paced.flush(now, |_| ());
        let out = wire.sent().div_ceil(SEGMENT);
        assert_eq!(push(&mut paced, 90_000, false, false), 75 - out + 75, "the rest of the first, and all of this");
        assert_eq!(push(&mut paced, 1_000, false, false), 1);
        assert_eq!(push(&mut paced, 500_000, true, false), 0, "one unit has room always");
        assert_eq!(run(&mut paced, now).0, 1);
        assert!(paced.pieces.capacity() <= 16, "what the burst needed is given back");
    }

    #[test]
    fn no_room_in_the_kernel_is_a_slow_viewer_and_no_way_to_it_is_noted() {
        let now = Instant::now();
        let (wire, mut paced) = Wire::open(1 << 20, now);
        *wire.failure.lock().expect("lock") = Some(ErrorKind::WouldBlock);
        push(&mut paced, 10_000, true, false);
        assert_eq!(paced.flush(now, |_| ()), 9);
        *wire.failure.lock().expect("lock") = Some(ErrorKind::HostUnreachable);
        assert_eq!(push(&mut paced, 10_000, false, false), 9, "a keyframe is awaited");
        for second in 0_u32..12 {
            let now = now + Duration::from_secs(1) * second;
            push(&mut paced, 10_000, true, false);
            assert_eq!(paced.flush(now, |_| ()), 9);
            assert_eq!(wire.feedback.refused_for(now), Duration::from_secs(1) * second);
        }
        wire.feedback.heard(now + Duration::from_secs(11));
        assert_eq!(wire.feedback.refused_for(now + Duration::from_secs(11)), Duration::ZERO, "it has said something");
    }

    #[test]
    fn refusals_far_apart_do_not_add_up() {
        let now = Instant::now();
        let feedback = Feedback::new(1, now);
        let at = |second| now + Duration::from_secs(second);
        feedback.refused(at(1));
        feedback.refused(at(3));
        assert_eq!(feedback.refused_for(at(4)), Duration::from_secs(3));
        assert_eq!(feedback.refused_for(at(9)), Duration::ZERO, "the last is too long ago");
        feedback.refused(at(20));
        assert_eq!(feedback.refused_for(at(21)), Duration::from_secs(1));
        assert_eq!(feedback.silence(at(21)), Duration::from_secs(21));
    }
}
