//! The stream itself: state, description, GOP cache, subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::gop_cache::{GopCache, Kept};
use super::wire_unit::Shape;
use super::{ShardInbox, WireUnit};
use crate::media::{AccessUnit, Codec, MediaKind, Track};
use crate::telemetry::{DropReason, Telemetry};

/// Tracks that a stream may have; more are left out. RTP of track n goes on interleaved channel 2n, in one octet.
pub const MAX_TRACKS: usize = 16;

/// What is known of the stream's media. A new generation replaces it when parameters change in mid-stream.
#[derive(Debug)]
pub struct Description {
    pub generation: u32,
    pub tracks: Vec<Track>,
    /// RTP synchronisation source per track, stable for the life of the stream.
    pub ssrcs: Vec<u32>,
    /// As in `Described`.
    pub leaves_sound: bool,
    /// Packets of the last keyframe.
    pub keyframe_packets: AtomicU32,
}

/// What a source says of its media.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    pub tracks: Vec<Track>,
    /// There is sound, and none of it in a form that the hub carries.
    pub leaves_sound: bool,
}

impl From<Vec<Track>> for Described {
    fn from(tracks: Vec<Track>) -> Self {
        Self { tracks, leaves_sound: false }
    }
}

impl Description {
    /// Why there is no track of sound, as viewers are told.
    pub fn silence(&self) -> &'static str {
        if self.leaves_sound { "SOUND_NOT_CARRIED" } else { "NO_SOUND" }
    }

    /// RTP payload type of a track in the stream's own packets: the static one for G.711 at 8 kHz mono (RFC 3551 §6),
    /// else 96 and its place.
    pub fn payload_type(&self, track: usize) -> u8 {
        let dynamic = 96 + (track % MAX_TRACKS) as u8;
        let Some(track) = self.tracks.get(track) else { return dynamic };
        let telephone = track.clock_rate_hz == 8_000
            && matches!(track.parameters, crate::media::CodecParameters::G711 { channels: 1 });
        match track.codec {
            Codec::Pcmu if telephone => 0,
            Codec::Pcma if telephone => 8,
            Codec::H264 | Codec::H265 | Codec::Aac | Codec::Pcma | Codec::Pcmu | Codec::Opus => dynamic,
        }
    }
}

/// How the source is.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceState {
    /// Not asked for yet.
    Idle,
    Connecting,
    /// Media flows and a keyframe has come since the source connected.
    Live,
    /// The last attempt failed; the source tries again by itself for as long as there are viewers.
    Failed {
        /// The word that viewers get.
        reason: &'static str,
        /// The word that decides the camera's state, which tells more: `CAMERA_INVALID` is unreachable to a viewer.
        cause: &'static str,
        message: String,
    },
}

#[derive(Clone, Debug)]
pub struct StreamLimits {
    pub gop_cache_bytes: usize,
}

/// One camera's live media inside the hub.
pub struct Stream {
    id: u64,
    name: Arc<str>,
    telemetry: Arc<Telemetry>,
    /// Taken before `inner`, never while holding it: who looks at the state may ask for the description meanwhile.
    state: watch::Sender<SourceState>,
    /// Pictures come, if only such as wait for a keyframe.
    has_pictures: AtomicBool,
    /// How many groups have begun, for those who wait for one.
    groups: watch::Sender<u64>,
    inner: Mutex<Inner>,
}

/// What `publish` and `subscribe` must see at one moment.
struct Inner {
    description: Option<Arc<Description>>,
    /// One per track that ever was, so that a track keeps its SSRC and its sequence numbers over all generations.
    rtp: Vec<RtpState>,
    cache: GopCache,
    next_index: u64,
    /// The moment that is zero in its time; None before the first unit.
    began: Option<Instant>,
    /// A keyframe has come since the source connected or the parameters changed; before, nothing is delivered.
    is_synchronised: bool,
    /// Shards and how many of their sinks are subscribed.
    shards: SmallVec<[(Arc<ShardInbox>, usize); 4]>,
}

struct RtpState {
    ssrc: u32,
    next_sequence: u64,
    /// Decoding time of its last unit and how long that one lasted; None after a break.
    last: Option<(i64, u32)>,
}

/// A shard's place in the stream. Units with `index < next_index` are in `cached`: the shard skips them in its inbox.
pub struct Subscription {
    /// The GOP cache from its keyframe on.
    pub cached: Vec<Arc<WireUnit>>,
    pub next_index: u64,
}

impl Stream {
    /// `name` is for logs: camera id and profile.
    pub fn new(name: Arc<str>, limits: StreamLimits, telemetry: Arc<Telemetry>) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            name,
            telemetry,
            state: watch::Sender::new(SourceState::Idle),
            has_pictures: AtomicBool::new(false),
            groups: watch::Sender::new(0),
            inner: Mutex::new(Inner {
                description: None,
                rtp: Vec::new(),
                cache: GopCache::new(limits.gop_cache_bytes),
                next_index: 0,
                began: None,
                is_synchronised: false,
                shards: SmallVec::new(),
            }),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells streams of one process apart.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    // For the source.

    /// Says what the media is. Called before the first `publish` and whenever the parameters change. The same tracks
    /// again change nothing that flows, and who joins from then on is told of sound as it is now; other tracks start a new
    /// generation, of which the first unit delivered is a keyframe.
    pub fn describe(&self, described: impl Into<Described>) {
        let Described { mut tracks, leaves_sound } = described.into();
        if tracks.len() > MAX_TRACKS {
            warn!(stream = %self.name, tracks = tracks.len(), "the source has too many tracks; the last are left out");
            tracks.truncate(MAX_TRACKS);
        }
        let mut inner = self.inner.lock();
        if let Some(known) = inner.description.as_ref().filter(|known| known.tracks == tracks) {
            if known.leaves_sound != leaves_sound {
                let (generation, ssrcs) = (known.generation, known.ssrcs.clone());
                let keyframe_packets = known.keyframe_packets.load(Relaxed).into();
                inner.description =
                    Some(Arc::new(Description { generation, tracks, ssrcs, leaves_sound, keyframe_packets }));
            }
            return;
        }
        while inner.rtp.len() < tracks.len() {
            inner.rtp.push(RtpState { ssrc: rand::random(), next_sequence: 0, last: None });
        }
        let generation = inner.description.as_ref().map_or(0, |known| known.generation.wrapping_add(1));
        let ssrcs = inner.rtp.iter().take(tracks.len()).map(|track| track.ssrc).collect();
        inner.description = Some(Arc::new(Description {
            generation,
            tracks,
            ssrcs,
            leaves_sound,
            keyframe_packets: AtomicU32::new(0),
        }));
        inner.is_synchronised = false;
        inner.rtp.iter_mut().for_each(|track| track.last = None);
        let stale = inner.cache.clear();
        drop(inner);
        drop(stale);
        debug!(stream = %self.name, generation, "described");
    }

    /// Caches one access unit and sends it to every subscribed shard. Never blocks.
    ///
    /// Units of a track that was not described are dropped, and so is what comes before the first keyframe.
    pub fn publish(&self, unit: AccessUnit) {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let Some((description, kind, shape)) = inner.shape(&unit) else {
            self.telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
            return;
        };
        let has_video = description.tracks.iter().any(|track| track.kind() == MediaKind::Video);
        let starts_gop = match kind {
            MediaKind::Video => unit.keyframe,
            MediaKind::Audio => !has_video,
        };
        if !starts_gop && !inner.is_synchronised {
            return;
        }
        let generation = description.generation;
        let packets = shape.count(&unit);
        if starts_gop {
            description.keyframe_packets.store(u32::try_from(packets).unwrap_or(u32::MAX), Relaxed);
        }
        if !inner.is_synchronised {
            inner.rtp.iter_mut().for_each(|track| track.last = None);
        }
        let Some(rtp) = inner.rtp.get_mut(unit.track) else { return };
        let passed = rtp.last.and_then(|(dts, _)| u32::try_from(unit.dts - dts).ok()).filter(|passed| *passed > 0);
        let lasts = passed.or(rtp.last.map(|(_, lasts)| lasts)).unwrap_or(shape.usual_duration());
        rtp.last = Some((unit.dts, lasts));
        let first = rtp.next_sequence;
        rtp.next_sequence += packets as u64;
        let sequences = first..rtp.next_sequence;
        inner.began.get_or_insert_with(Instant::now);
        let unit = Arc::new(WireUnit::new(inner.next_index, generation, unit, starts_gop, shape, lasts, sequences));
        inner.next_index += 1;

        let (kept, stale) = inner.cache.push(&unit);
        if kept == Kept::OverBudget {
            self.telemetry.dropped(DropReason::OverBudget).fetch_add(1, Relaxed);
        }
        for (shard, _) in &inner.shards {
            shard.unit(self.id, &unit);
        }
        let is_first = !std::mem::replace(&mut inner.is_synchronised, true);
        drop(guard);
        drop(stale);
        if starts_gop {
            self.groups.send_modify(|count| *count += 1);
        }
        if is_first {
            self.state.send_if_modified(|known| {
                // Unless the source has failed since.
                self.inner.lock().is_synchronised && std::mem::replace(known, SourceState::Live) != SourceState::Live
            });
        }
    }

    /// The source holds a picture back until a keyframe comes.
    pub fn holds_back(&self) {
        self.has_pictures.store(true, Relaxed);
    }

    /// Whether the camera sends pictures, playable or not.
    pub fn has_pictures(&self) -> bool {
        self.has_pictures.load(Relaxed)
    }

    /// Says how the source is. `Live` shows only when a keyframe has come, and comes by itself then. Anything else
    /// empties the cache: nobody is shown an old picture for a live one, and what follows starts at a keyframe.
    pub fn report(&self, state: SourceState) {
        if state != SourceState::Live {
            self.has_pictures.store(false, Relaxed);
        }
        let mut stale = Vec::new();
        self.state.send_if_modified(|known| {
            let mut inner = self.inner.lock();
            if state != SourceState::Live {
                inner.is_synchronised = false;
                stale = inner.cache.clear();
            }
            let is_awaited = state == SourceState::Live && !inner.is_synchronised;
            // While new parameters wait for their keyframe the source is as live as before.
            let shown = if is_awaited && *known != SourceState::Live { SourceState::Connecting } else { state };
            let is_news = *known != shown;
            *known = shown;
            is_news
        });
        drop(stale);
    }

    /// How far its time has gone, for a source that takes over from another: whoever watches on sees no time twice. None
    /// before the first unit.
    pub fn time(&self) -> Option<Duration> {
        let inner = self.inner.lock();
        let elapsed = inner.began?.elapsed();
        let tracks = inner.description.iter().flat_map(|description| &description.tracks);
        let furthest = inner.rtp.iter().zip(tracks).filter_map(|(rtp, track)| {
            let (dts, lasts) = rtp.last?;
            let ticks = u64::try_from(dts + i64::from(lasts) + 1).ok()?;
            Some(Duration::from_secs_f64(ticks as f64 / f64::from(track.clock_rate_hz.max(1))))
        });
        Some(furthest.fold(elapsed, Duration::max))
    }

    // For sinks and the gate.

    pub fn state(&self) -> watch::Receiver<SourceState> {
        self.state.subscribe()
    }

    /// Counts the groups that have begun: changes with each keyframe.
    pub fn groups(&self) -> watch::Receiver<u64> {
        self.groups.subscribe()
    }

    /// Whether who joins now has a keyframe to begin with. A live stream has none after a group that was too large for the
    /// cache, until the next keyframe.
    pub fn has_keyframe(&self) -> bool {
        !self.inner.lock().cache.units().is_empty()
    }

    pub fn description(&self) -> Option<Arc<Description>> {
        self.inner.lock().description.clone()
    }

    /// The GOP cache as it is now, from its keyframe on; for a snapshot.
    pub fn cached(&self) -> Vec<Arc<WireUnit>> {
        self.inner.lock().cache.units().to_vec()
    }

    /// Takes the cache and, in the same breath, subscribes the shard to what follows. One `subscribe` per sink; the
    /// stream counts them per shard.
    pub fn subscribe(self: &Arc<Self>, shard: &Arc<ShardInbox>) -> Subscription {
        let mut inner = self.inner.lock();
        match inner.shards.iter_mut().find(|(known, _)| Arc::ptr_eq(known, shard)) {
            Some((_, sinks)) => *sinks += 1,
            None => inner.shards.push((shard.clone(), 1)),
        }
        inner.cache.joined();
        Subscription { cached: inner.cache.units().to_vec(), next_index: inner.next_index }
    }

    pub fn unsubscribe(&self, shard: &Arc<ShardInbox>) {
        let mut inner = self.inner.lock();
        if let Some(place) = inner.shards.iter().position(|(known, _)| Arc::ptr_eq(known, shard))
            && let Some((_, sinks)) = inner.shards.get_mut(place)
        {
            *sinks -= 1;
            if *sinks == 0 {
                inner.shards.swap_remove(place);
            }
        }
    }
}

impl Inner {
    /// How the unit's track travels; None when the source has not described it.
    fn shape(&self, unit: &AccessUnit) -> Option<(&Arc<Description>, MediaKind, Shape)> {
        let description = self.description.as_ref()?;
        let track = description.tracks.get(unit.track)?;
        let ssrc = *description.ssrcs.get(unit.track)?;
        Some((description, track.kind(), Shape::new(track, description.payload_type(unit.track), ssrc)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::worker::Worker;
    use super::*;
    use crate::media::CodecParameters;

    const BUDGET: usize = 20_000;

    fn video(pps: &'static [u8]) -> Track {
        let (sps, pps) = (Bytes::from_static(&[0x67]), Bytes::from_static(pps));
        let parameters = CodecParameters::H264 { sps, pps, width: 640, height: 480, has_b_frames: false };
        Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }
    }

    fn audio(codec: Codec, clock_rate_hz: u32) -> Track {
        Track { codec, clock_rate_hz, parameters: CodecParameters::G711 { channels: 1 } }
    }

    fn unit(track: usize, keyframe: bool, size: usize) -> AccessUnit {
        let mut data = vec![0x41; size];
        data[..4].copy_from_slice(&[0, 0, 0, 1]);
        AccessUnit {
            track,
            pts: 0,
            dts: 0,
            keyframe,
            data: data.into(),
            nals: std::iter::once(4..size as u32).collect(),
        }
    }

    fn stream(tracks: Vec<Track>) -> (Arc<Stream>, Arc<Telemetry>) {
        let telemetry = Arc::new(Telemetry::default());
        let stream = Stream::new("camera/main".into(), StreamLimits { gop_cache_bytes: BUDGET }, telemetry.clone());
        stream.describe(tracks);
        (stream, telemetry)
    }

    fn indices(stream: &Stream) -> Vec<u64> {
        stream.cached().iter().map(|unit| unit.index).collect()
    }

    #[test]
    fn the_cache_begins_at_a_video_keyframe_and_holds_the_sound_since() {
        let (stream, _) = stream(vec![video(&[0x68]), audio(Codec::Pcma, 8_000)]);
        stream.publish(unit(1, true, 160));
        stream.publish(unit(0, false, 500));
        assert!(stream.cached().is_empty(), "nothing before a keyframe");
        for (track, keyframe) in [(0, true), (1, true), (0, false), (1, true)] {
            stream.publish(unit(track, keyframe, 500));
        }
        assert_eq!(indices(&stream), [0, 1, 2, 3]);
        stream.publish(unit(0, true, 500));
        assert_eq!(indices(&stream), [4]);
    }

    #[test]
    fn without_video_the_last_sound_is_enough() {
        let (stream, _) = stream(vec![audio(Codec::Pcmu, 8_000)]);
        stream.publish(unit(0, true, 160));
        stream.publish(unit(0, true, 160));
        assert_eq!(indices(&stream), [1]);
        assert_eq!(*stream.state().borrow(), SourceState::Live);
    }

    #[test]
    fn over_its_budget_the_cache_is_empty_until_the_next_keyframe() {
        let (stream, telemetry) = stream(vec![video(&[0x68])]);
        let held = || stream.cached().iter().map(|unit| unit.unit.data.len()).sum::<usize>();
        for keyframe in [true, false, false, false, false, false] {
            stream.publish(unit(0, keyframe, 8_000));
            assert!(held() <= BUDGET);
        }
        assert!(stream.cached().is_empty());
        assert_eq!(telemetry.dropped(DropReason::OverBudget).load(Relaxed), 1);
        assert_eq!(*stream.state().borrow(), SourceState::Live, "what is live goes on");
        let mut groups = stream.groups();
        assert!(!stream.has_keyframe() && !groups.has_changed().unwrap());
        stream.publish(unit(0, true, 8_000));
        assert_eq!(indices(&stream), [6]);
        assert!(stream.has_keyframe() && groups.has_changed().unwrap());
        groups.mark_unchanged();
        stream.publish(unit(0, true, BUDGET));
        assert!(stream.cached().is_empty(), "a keyframe beyond the budget takes the old group with it");
        assert!(!stream.has_keyframe() && groups.has_changed().unwrap(), "who waits has seen it come all the same");
        for _ in 0..1000 {
            stream.publish(unit(0, false, 5));
        }
        assert!(stream.cached().len() < BUDGET / 512);
    }

    #[test]
    fn live_shows_when_a_keyframe_has_come() {
        let (stream, _) = stream(vec![video(&[0x68])]);
        let state = stream.state();
        stream.report(SourceState::Live);
        assert_eq!(*state.borrow(), SourceState::Connecting);
        stream.publish(unit(0, false, 100));
        assert_eq!(*state.borrow(), SourceState::Connecting);
        stream.publish(unit(0, true, 100));
        assert_eq!(*state.borrow(), SourceState::Live);
        let failed = SourceState::Failed { reason: "CAMERA_SILENT", cause: "CAMERA_SILENT", message: String::new() };
        stream.report(failed.clone());
        assert_eq!(*state.borrow(), failed);
        assert!(stream.cached().is_empty(), "an old picture is not a live one");
        stream.publish(unit(0, false, 100));
        assert!(stream.cached().is_empty());
        stream.publish(unit(0, true, 100));
        assert_eq!((indices(&stream), state.borrow().clone()), (vec![1], SourceState::Live));
    }

    #[test]
    fn who_looks_at_the_state_may_ask_for_more_while_it_changes() {
        let (stream, _) = stream(vec![video(&[0x68])]);
        let state = stream.state();
        let seen = state.borrow();
        std::thread::scope(|scope| {
            // Waits with the new state until nobody looks at the old one, and meanwhile keeps nobody from the stream.
            let publisher = scope.spawn(|| stream.publish(unit(0, true, 100)));
            while stream.cached().is_empty() {
                std::thread::yield_now();
            }
            assert!(stream.description().is_some() && *seen == SourceState::Idle);
            drop(seen);
            publisher.join().unwrap();
        });
        assert_eq!(*state.borrow(), SourceState::Live);
    }

    #[test]
    fn new_parameters_make_a_new_generation_that_begins_at_a_keyframe() {
        let (stream, _) = stream(vec![video(&[0x68])]);
        stream.publish(unit(0, true, 3_000));
        let first = stream.description().unwrap();
        stream.describe(vec![video(&[0x68])]);
        assert!(Arc::ptr_eq(&first, &stream.description().unwrap()), "the same again is no news");
        stream.describe(vec![video(&[0x68, 1]), audio(Codec::Pcma, 16_000)]);
        stream.report(SourceState::Live);
        assert_eq!(*stream.state().borrow(), SourceState::Live);
        stream.publish(unit(0, false, 100));
        assert!(stream.cached().is_empty());
        stream.publish(unit(0, true, 100));
        let second = stream.description().unwrap();
        assert_eq!((first.generation, second.generation), (0, 1));
        assert_eq!(first.ssrcs[0], second.ssrcs[0]);
        let cached = stream.cached();
        assert_eq!((cached[0].generation, cached[0].index, cached[0].first_sequence()), (1, 1, 3));
    }

    #[test]
    fn sequence_numbers_go_on_whether_or_not_anybody_derives_packets() {
        let (stream, _) = stream(vec![video(&[0x68]), audio(Codec::Pcma, 8_000)]);
        let mut next = [0, 0];
        for (place, size) in [5_000, 100, 1204, 1205, 9_000].into_iter().enumerate() {
            let track = place % 2;
            stream.publish(unit(0, true, 10));
            next[0] += 1;
            stream.publish(unit(track, false, size));
            let unit = stream.cached().pop().unwrap();
            assert_eq!(unit.first_sequence(), next[track]);
            next[track] += unit.packet_count() as u64;
            if place != 2 {
                assert_eq!(unit.packets().len(), unit.packet_count());
                assert_eq!(unit.packets().last().map(|packet| packet.sequence + 1), Some(next[track]));
            }
        }
    }

    #[test]
    fn telephone_sound_has_its_static_payload_type() {
        let tracks =
            vec![video(&[0x68]), audio(Codec::Pcma, 8_000), audio(Codec::Pcmu, 8_000), audio(Codec::Pcma, 16_000)];
        let (stream, telemetry) = stream(tracks);
        let description = stream.description().unwrap();
        assert_eq!([0, 1, 2, 3].map(|track| description.payload_type(track)), [96, 8, 0, 99]);
        stream.publish(unit(4, true, 10));
        assert_eq!(telemetry.dropped(DropReason::Malformed).load(Relaxed), 1, "no such track");
    }

    #[test]
    fn a_shard_is_kept_for_as_long_as_one_of_its_sinks_is_subscribed() {
        let (stream, _) = stream(vec![video(&[0x68])]);
        let (_worker, shard) = Worker::new().unwrap();
        let before = Arc::strong_count(&shard);
        assert_eq!(stream.subscribe(&shard).next_index, 0);
        stream.publish(unit(0, true, 10));
        let Subscription { cached, next_index } = stream.subscribe(&shard);
        assert_eq!((cached.len(), next_index), (1, 1));
        stream.unsubscribe(&shard);
        assert_eq!(Arc::strong_count(&shard), before + 1);
        stream.unsubscribe(&shard);
        stream.unsubscribe(&shard);
        assert_eq!(Arc::strong_count(&shard), before);
    }
}
