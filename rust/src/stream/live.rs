//! The stream itself: state, description, GOP cache, subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
}

impl Description {
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
            Codec::H264 | Codec::Aac | Codec::Pcma | Codec::Pcmu => dynamic,
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
        reason: &'static str,
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
    state: watch::Sender<SourceState>,
    inner: Mutex<Inner>,
}

/// What `publish` and `subscribe` must see at one moment.
struct Inner {
    description: Option<Arc<Description>>,
    /// One per track that ever was, so that a track keeps its SSRC and its sequence numbers over all generations.
    rtp: Vec<RtpState>,
    cache: GopCache,
    next_index: u64,
    /// A keyframe has come since the source connected or the parameters changed; before, nothing is delivered.
    is_synchronised: bool,
    /// Shards and how many of their sinks are subscribed.
    shards: SmallVec<[(Arc<ShardInbox>, usize); 4]>,
}

struct RtpState {
    ssrc: u32,
    next_sequence: u64,
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
            inner: Mutex::new(Inner {
                description: None,
                rtp: Vec::new(),
                cache: GopCache::new(limits.gop_cache_bytes),
                next_index: 0,
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
    /// again change nothing; others start a new generation, of which the first unit delivered is a keyframe.
    pub fn describe(&self, mut tracks: Vec<Track>) {
        if tracks.len() > MAX_TRACKS {
            warn!(stream = %self.name, tracks = tracks.len(), "the source has too many tracks; the last are left out");
            tracks.truncate(MAX_TRACKS);
        }
        let mut inner = self.inner.lock();
        if inner.description.as_ref().is_some_and(|known| known.tracks == tracks) {
            return;
        }
        while inner.rtp.len() < tracks.len() {
            inner.rtp.push(RtpState { ssrc: rand::random(), next_sequence: 0 });
        }
        let generation = inner.description.as_ref().map_or(0, |known| known.generation.wrapping_add(1));
        let ssrcs = inner.rtp.iter().take(tracks.len()).map(|track| track.ssrc).collect();
        inner.description = Some(Arc::new(Description { generation, tracks, ssrcs }));
        inner.is_synchronised = false;
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
        let Some(rtp) = inner.rtp.get_mut(unit.track) else { return };
        let first = rtp.next_sequence;
        rtp.next_sequence += shape.count(&unit) as u64;
        let sequences = first..rtp.next_sequence;
        let unit = Arc::new(WireUnit::new(inner.next_index, generation, unit, starts_gop, shape, sequences));
        inner.next_index += 1;

        let (kept, stale) = inner.cache.push(&unit);
        if kept == Kept::OverBudget {
            self.telemetry.dropped(DropReason::OverBudget).fetch_add(1, Relaxed);
        }
        for (shard, _) in &inner.shards {
            shard.unit(self.id, &unit);
        }
        if !inner.is_synchronised {
            inner.is_synchronised = true;
            self.state.send_if_modified(|state| {
                let is_news = *state != SourceState::Live;
                *state = SourceState::Live;
                is_news
            });
        }
        drop(guard);
        drop(stale);
    }

    /// Says how the source is. `Live` shows only when a keyframe has come, and comes by itself then. Anything else
    /// empties the cache: nobody is shown an old picture for a live one, and what follows starts at a keyframe.
    pub fn report(&self, state: SourceState) {
        let mut inner = self.inner.lock();
        let mut stale = Vec::new();
        let shown = match state {
            SourceState::Live if !inner.is_synchronised => SourceState::Connecting,
            SourceState::Live => SourceState::Live,
            SourceState::Idle | SourceState::Connecting | SourceState::Failed { .. } => {
                inner.is_synchronised = false;
                stale = inner.cache.clear();
                state
            }
        };
        self.state.send_if_modified(|known| {
            let is_news = *known != shown;
            if is_news {
                *known = shown;
            }
            is_news
        });
        drop(inner);
        drop(stale);
    }

    // For sinks and the gate.

    pub fn state(&self) -> watch::Receiver<SourceState> {
        self.state.subscribe()
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
