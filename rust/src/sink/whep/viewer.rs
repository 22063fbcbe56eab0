//! One WebRTC viewer on its shard: its connection, its media, and the stream it watches.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::answer::{Chosen, Formats, Negotiated, audible, playable, rtc_codec, track_of};
use super::batch::Batch;
use super::connection::{Connection, Kind, Outcome, Place};
use super::crossing::Crossing;
use super::crowd::Newcomer;
use super::media::{Age, Line, Media, Wish};
use super::rate::Change;
use super::replays::Replays;
use super::restart::{Restart, Restarts};
use super::waiting::Waiting;
use super::way::{Carrier, Remote, Room, Way};
use crate::media::{MediaKind, Profile};
use crate::stream::{Description, Flow, Interest, Message, Sink, Stream, WireUnit};
use crate::telemetry::{DropReason, SinkKind, Telemetry};

/// A viewer that has not connected by then is dropped.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A viewer whose TCP connection has gone may come back on another one within this.
const RETURN_WITHIN: Duration = Duration::from_secs(10);

pub struct WhepSink {
    connection: Connection,
    /// None until the viewer has connected.
    media: Option<Media>,
    video: Chosen,
    audio: Option<Chosen>,
    formats: Formats,
    stream: Arc<Stream>,
    telemetry: Arc<Telemetry>,
    /// Units for a viewer whose TCP connection can't take more now, and since when there are some.
    waiting: Waiting,
    stuck: Option<Instant>,
    /// What comes now is the cache.
    is_joining: bool,
    /// Until the first of it has come.
    newcomer: Option<Newcomer>,
    crossing: Crossing,
    /// Where it goes over to now.
    next: Option<(Arc<dyn Interest>, Arc<Description>)>,
    /// Why the viewer can't play what the camera sends: the picture stands until the other stream has one.
    stranded: Option<&'static str>,
    /// As in `Offer`.
    most_packets: u32,
    /// The last keyframe has more than that, and what follows leans on it.
    is_too_large: bool,
    /// What comes now is the cache of the stream it has gone over to.
    has_crossed: bool,
    generation: u32,
    /// The youngest unit that was taken; older ones that come again are a replay.
    last_index: Option<u64>,
    saw_picture: bool,
    started: Instant,
    replays: Replays,
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
        let Negotiated { rtc, keys, offer, video, audio, formats, most_packets, answer: _ } = negotiated;
        let restarts = Restarts::new(offer);
        Self {
            waiting: Waiting::new(place.queue_bytes()),
            stuck: None,
            is_joining: false,
            newcomer: Some(Newcomer::new(place.crowd())),
            crossing: Crossing::default(),
            next: None,
            stranded: None,
            most_packets,
            is_too_large: false,
            has_crossed: false,
            connection: Connection::new(rtc, keys, place, candidates, restarts, Arc::clone(&telemetry), now),
            media: None,
            video,
            audio,
            formats,
            stream,
            telemetry,
            generation,
            last_index: None,
            saw_picture: false,
            started: now,
            replays: Replays::default(),
        }
    }

    /// Does what it is time for.
    fn drive(&mut self, now: Instant) -> Flow {
        with_batch(|batch| {
            let outcome = self.connection.drive(batch, now);
            let flow = self.came(outcome, now);
            self.pump(batch, now);
            flow
        })
    }

    fn pump(&mut self, batch: &mut Batch, now: Instant) {
        let Self { connection, media, telemetry, .. } = self;
        if let Some(media) = media {
            media.pump(Line { batch, connection, telemetry }, now);
            media.tell(Line { batch, connection, telemetry }, now);
        }
        connection.send(batch);
    }

    fn came(&mut self, outcome: Outcome, now: Instant) -> Flow {
        match outcome {
            Outcome::Going => Flow::Continue,
            Outcome::Connected => self.connected(now),
            Outcome::Over(reason) => Flow::Close(reason),
        }
    }

    fn connected(&mut self, now: Instant) -> Flow {
        if self.media.is_some() {
            return Flow::Continue;
        }
        let Some(Ok(contexts)) = self.connection.keys.take() else { return Flow::Close("WEBRTC_FAILED") };
        let Some(media) = Media::new(&mut self.connection.rtc, contexts, self.video, self.audio, now) else {
            return Flow::Close("WEBRTC_FAILED");
        };
        self.media = Some(media);
        self.telemetry.sinks(SinkKind::Whep).fetch_add(1, Relaxed);
        self.join(now)
    }

    /// A camera can't be asked for a keyframe by most protocols: the GOP cache answers.
    fn replay(&mut self, now: Instant) -> Flow {
        let Some(media) = &mut self.media else { return Flow::Continue };
        if !media.may_replay(now) {
            self.replays.spared();
            return Flow::Continue;
        }
        if !self.replays.wanted(now) {
            return Flow::Continue;
        }
        media.begin_replay(&self.connection);
        self.join(now)
    }

    /// Asks for the cache.
    fn join(&mut self, now: Instant) -> Flow {
        self.replays.given(now);
        self.is_joining = true;
        self.waiting.begin_anew();
        Flow::Subscribe
    }

    /// The stream's parameters have changed: H.264 carries them in band, so a viewer goes on where it can.
    fn follow(&mut self, generation: u32) -> bool {
        let Some(description) = self.stream.description().filter(|known| known.generation == generation) else {
            // An even newer one is on its way to us.
            return true;
        };
        self.adopt(&description)
    }

    /// Takes the tracks as they are described; false where the viewer can't play them.
    fn adopt(&mut self, description: &Description) -> bool {
        let receives = |codec| self.formats.of(codec).is_some();
        let Ok((track, described)) = playable(description, self.most_packets, receives) else {
            return false;
        };
        let Some((pt, codec)) = self.formats.of(described.codec).zip(rtc_codec(described.codec)) else { return false };
        self.generation = description.generation;
        let Some(media) = &mut self.media else { return true };
        media.change_format(&self.connection.rtc, Chosen { track, pt, codec, ..self.video });
        if let Some(audio) = &mut media.audio {
            // Where the stream has none that was agreed on, there may be some again later, or on the other stream.
            audio.track = track_of(description, MediaKind::Audio)
                .and_then(|(place, track)| (audible(track) == Some(audio.codec)).then_some(place));
        }
        true
    }

    /// What follows from the state of the viewer's link.
    fn changed(&mut self, change: Change, now: Instant) {
        let wanted = match change {
            Change::Narrowed => Profile::Sub,
            Change::MayRise => Profile::Main,
            Change::Opened if self.stranded.is_some() => return,
            Change::Opened => return self.crossing.forget(),
            Change::Slowed | Change::MayOpen => return,
        };
        let place = &*self.connection.place;
        if place.profile() != wanted {
            self.crossing.ask(place, now);
        }
    }

    /// Goes over to the other stream, if it was asked for and has a picture that the viewer can play.
    fn cross(&mut self, now: Instant) -> Flow {
        let Self { crossing, formats, most_packets, .. } = self;
        let receives = |codec| formats.of(codec).is_some();
        let plays = |description: &Description| playable(description, *most_packets, receives).is_ok();
        self.next = crossing.look(now).filter(|(_, description)| plays(description));
        match (&self.next, self.stranded) {
            (Some(_), _) => Flow::Switch,
            (None, Some(why)) => self.strand(why, now),
            (None, None) => Flow::Continue,
        }
    }

    /// The camera now sends what the viewer can't play: over to its other stream, or the end.
    fn strand(&mut self, why: &'static str, now: Instant) -> Flow {
        if self.stranded.replace(why).is_none() {
            self.crossing.ask(&*self.connection.place, now);
        }
        if self.crossing.is_asked() {
            return Flow::Continue;
        }
        self.on_end(why, now);
        Flow::Close(why)
    }

    /// Whether the viewer's connection takes more.
    fn is_open(&self) -> bool {
        self.connection.way() == Way::Open
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

    fn give(&mut self, unit: &Arc<WireUnit>, now: Instant) -> Flow {
        if unit.starts_gop() {
            self.is_too_large = unit.packet_count() > self.most_packets as usize;
        }
        if self.is_too_large {
            return self.strand("KEYFRAME_TOO_LARGE", now);
        }
        if unit.generation != self.generation && !self.follow(unit.generation) {
            return self.strand("CODEC_CHANGED", now);
        }
        if self.stranded.take().is_some() {
            self.crossing.forget();
        }
        let age = match self.last_index {
            Some(last) if unit.index <= last => Age::Again,
            _ if self.has_crossed => Age::Past,
            _ => Age::Present,
        };
        self.last_index = self.last_index.max(Some(unit.index));
        let Self { connection, media, newcomer, telemetry, .. } = self;
        let Some(media) = media else { return Flow::Continue };
        with_batch(|batch| {
            media.unit(unit, age, Line { batch, connection, telemetry }, now);
            connection.send(batch);
            if self.is_joining {
                media.catches_up(newcomer.take(), connection);
            }
        });
        if media.video.track == Some(unit.unit.track) && unit.unit.keyframe {
            self.replays.spared();
            if !std::mem::replace(&mut self.saw_picture, true) {
                connection.place.first_picture();
            }
        }
        Flow::Continue
    }

    fn receive(&mut self, from: Remote, to: SocketAddr, data: &[u8], now: Instant) -> Flow {
        match Kind::of(data) {
            Kind::Peer => with_batch(|batch| {
                let outcome = self.connection.receive(batch, from, to, data, now);
                self.came(outcome, now)
            }),
            Kind::Rtcp => self.report(from, to, data, now),
            Kind::Foreign => {
                self.telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
                Flow::Continue
            }
        }
    }

    /// What the viewer reports, if it is the viewer.
    fn report(&mut self, from: Remote, to: SocketAddr, data: &[u8], now: Instant) -> Flow {
        let Some(media) = &mut self.media else { return Flow::Continue };
        let wish = REPORT.with_borrow_mut(|room| {
            room.clear();
            room.extend_from_slice(data);
            media.report(room, now)
        });
        let Some(wish) = wish else {
            self.telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
            return Flow::Continue;
        };
        self.connection.heard_from(from, to, now);
        match wish {
            Wish::Nothing => Flow::Continue,
            Wish::Replay => self.replay(now),
            Wish::Change(change) => {
                self.changed(change, now);
                Flow::Continue
            }
        }
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
        (self.is_joining, self.has_crossed) = (false, false);
        // The cache may have been empty.
        self.newcomer = None;
        let flow = self.catch_up(now);
        with_batch(|batch| self.pump(batch, now));
        flow
    }

    fn on_message(&mut self, message: Message, now: Instant) -> Flow {
        if message.is::<Room>() {
            return self.catch_up(now);
        }
        let Ok(restart) = message.downcast::<Restart>() else { return Flow::Continue };
        let Restart { remote, reply } = *restart;
        if let Some(restarted) = self.connection.restart(&remote, now) {
            // Whoever asked may have gone meanwhile; the old path is given up all the same.
            let _ = reply.send(restarted);
        }
        self.drive(now)
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
        if self.media.is_none() && now >= self.started + CONNECT_WITHIN {
            return Flow::Close("NOT_CONNECTED");
        }
        if self.stuck.is_some_and(|since| now >= since + RETURN_WITHIN) {
            if self.connection.way() == Way::Broken {
                return Flow::Close("VIEWER_LEFT");
            }
            self.stuck = Some(now);
            let flow = self.catch_up(now);
            if flow != Flow::Continue {
                return flow;
            }
        }
        if let Some(change) = self.media.as_mut().and_then(|media| media.pass(now)) {
            self.changed(change, now);
        }
        let flow = match now >= self.connection.deadline() {
            true => self.drive(now),
            false => {
                with_batch(|batch| self.pump(batch, now));
                Flow::Continue
            }
        };
        match flow {
            Flow::Continue if self.replays.is_due(now) => self.replay(now),
            Flow::Continue => self.cross(now),
            other => other,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let connect = self.media.is_none().then(|| self.started + CONNECT_WITHIN);
        let media = self.media.as_ref().map(Media::deadline);
        let stuck = self.stuck.map(|since| since + RETURN_WITHIN);
        [connect, self.replays.deadline(), media, stuck, self.crossing.deadline()]
            .into_iter()
            .flatten()
            .chain([self.connection.deadline()])
            .min()
    }

    fn next_stream(&mut self) -> Option<Arc<Stream>> {
        let (interest, description) = self.next.take()?;
        let stream = interest.stream().clone();
        self.adopt(&description);
        if let Some(media) = &mut self.media {
            media.begin_stream(&self.connection, interest.profile(), Instant::now());
        }
        self.stream = stream.clone();
        self.last_index = None;
        self.stranded = None;
        self.is_too_large = false;
        (self.is_joining, self.has_crossed) = (true, true);
        self.waiting.begin_anew();
        self.connection.place.switched(interest);
        Some(stream)
    }

    fn on_end(&mut self, reason: &'static str, now: Instant) {
        // RTCP BYE and DTLS close_notify: browsers show the end at once instead of a frozen picture.
        let Self { connection, media, telemetry, .. } = self;
        with_batch(|batch| {
            if let Some(media) = media {
                media.bye(reason, Line { batch, connection, telemetry }, now);
                connection.send(batch);
            }
            connection.close(batch, now);
        });
    }
}

impl Drop for WhepSink {
    fn drop(&mut self) {
        if self.media.is_some() {
            self.telemetry.sinks(SinkKind::Whep).fetch_sub(1, Relaxed);
        }
    }
}

thread_local! {
    /// One per shard: viewers take turns.
    static BATCH: RefCell<Batch> = RefCell::new(Batch::default());
    /// Room to open a report in.
    static REPORT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn with_batch<T>(call: impl FnOnce(&mut Batch) -> T) -> T {
    BATCH.with_borrow_mut(call)
}
