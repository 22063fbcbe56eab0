//! WHEP viewers behind a bad network: hub and viewers in network namespaces of their own, and a network between them that
//! loses, delays and narrows. What comes of it is counted; how soon it comes `make bench` shows.

mod camera;
mod network;
mod port;
mod whep_client;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use _core::stream::Stream;
use _core::telemetry::{Direction, DropReason, Protocol};
use camera::{CAMERA, PPS, SPS, access_unit, video};
use network::{Conditions, Count, Namespaces, Network, enter};
use parking_lot::{Mutex, MutexGuard};
use port::Port;
use whep_client::{Arrived, WhepClient, post_offer, run};

const VIEWERS: usize = 2;
const PICTURE: Duration = Duration::from_millis(40);
/// Two seconds between keyframes; 2 Mbit/s.
const GOP: u64 = 50;
const KEYFRAME_BYTES: usize = 60_000;
const PICTURE_BYTES: usize = 9_000;

/// The network on a thread of its own.
struct Between {
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Set(Conditions),
    Outage(Duration),
    Count(mpsc::Sender<[Count; 2]>),
    Stop,
}

impl Between {
    fn start(namespaces: &Namespaces) -> Self {
        let [a, b] = namespaces.0.clone();
        let (orders, received) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut network = Network::open([&a, &b], ["10.77.0.1", "10.77.0.2"], 1);
            ready.send(()).unwrap();
            loop {
                match received.try_recv() {
                    Ok(Order::Set(conditions)) => network.conditions = conditions,
                    Ok(Order::Outage(lasts)) => network.outage(lasts),
                    Ok(Order::Count(to)) => to.send(std::mem::take(&mut network.counts)).unwrap(),
                    Ok(Order::Stop) | Err(mpsc::TryRecvError::Disconnected) => return,
                    Err(mpsc::TryRecvError::Empty) => network.turn(Duration::from_millis(5), None),
                }
            }
        });
        is_ready.recv().expect("the network is there");
        Self { orders, thread: Some(thread) }
    }

    fn set(&self, conditions: Conditions) {
        self.orders.send(Order::Set(conditions)).unwrap();
    }

    /// Since the last time, down and up.
    fn count(&self) -> [Count; 2] {
        let (to, counts) = mpsc::channel();
        self.orders.send(Order::Count(to)).unwrap();
        counts.recv().unwrap()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A camera whose pictures are numbered.
struct Camera {
    published: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Camera {
    fn start(stream: Arc<Stream>) -> Self {
        let (published, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (times, stopped) = (Arc::clone(&published), Arc::clone(&stop));
        stream.describe(vec![video(false)]);
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            for number in 0u64.. {
                if stopped.load(SeqCst) {
                    return;
                }
                let is_keyframe = number.is_multiple_of(GOP);
                let mut slice = vec![0x5a; if is_keyframe { KEYFRAME_BYTES } else { PICTURE_BYTES }];
                slice[0] = if is_keyframe { 0x65 } else { 0x41 };
                slice[1..9].copy_from_slice(&number.to_be_bytes());
                let nals: &[&[u8]] = if is_keyframe { &[SPS, PPS, &slice] } else { &[&slice] };
                times.lock().push(Instant::now());
                stream.publish(access_unit(0, number as i64 * 3600, is_keyframe, nals));
                std::thread::sleep((start + PICTURE * (number + 1) as u32).saturating_duration_since(Instant::now()));
            }
        });
        Self { published, stop, thread: Some(thread) }
    }

    fn count(&self) -> u64 {
        self.published.lock().len() as u64
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One after the other: a busy machine is a network of its own.
static ALONE: Mutex<()> = Mutex::new(());

/// Everything, in the order in which it ends.
struct Place {
    clients: Vec<WhepClient>,
    camera: Camera,
    port: Port,
    between: Between,
    _namespaces: Namespaces,
    _alone: MutexGuard<'static, ()>,
}

impl Place {
    /// Viewers that watch over a network that is still a good one.
    fn with(tag: &str, conditions: Conditions) -> Self {
        let alone = ALONE.lock();
        let namespaces = Namespaces::create(&format!("{tag}-{}", std::process::id()));
        let between = Between::start(&namespaces);
        let [hub, viewers] = &namespaces.0;
        enter(hub);
        let port = Port::open_on("10.77.0.1:0".parse().unwrap(), |_, _| {});
        let camera = Camera::start(port.door.stream.clone());
        between.set(conditions);
        while camera.count() == 0 {
            std::thread::yield_now();
        }
        let mut clients = Vec::new();
        for number in 0..VIEWERS {
            enter(viewers);
            let (mut client, offer) = WhepClient::offer_from("10.77.0.2:0".parse().unwrap(), false);
            client.record = Some(Vec::new());
            enter(hub);
            let answer = post_offer(port.address, CAMERA, &format!("viewer-{number}"), &offer).unwrap();
            enter(viewers);
            client.accept(&answer.body);
            clients.push(client);
        }
        let watching = |clients: &[WhepClient]| clients.iter().all(|client| client.seen.frames > 25);
        assert!(run(&mut clients, Duration::from_secs(20), watching), "{:?}", clients[0].seen);
        Self { clients, camera, port, between, _namespaces: namespaces, _alone: alone }
    }

    fn watch(&mut self, time: Duration) {
        run(&mut self.clients, time, |_| false);
    }

    fn sent(&self) -> u64 {
        self.port.telemetry.flow(Direction::Out, Protocol::WebrtcUdp).packets.load(SeqCst)
    }

    /// When each picture could be shown, as a delay, by its number.
    fn shown(&self, viewer: usize) -> BTreeMap<u64, (Instant, Duration)> {
        let published = self.camera.published.lock();
        shown(self.clients[viewer].record.as_deref().unwrap())
            .into_iter()
            .map(|(number, at)| (number, (at, at.saturating_duration_since(published[number as usize]))))
            .collect()
    }

    /// The share of pictures from `from` to `to` that could be shown, of all viewers.
    fn share(&self, from: u64, to: u64) -> f64 {
        let count = |viewer| self.shown(viewer).range(from..to).count() as f64;
        (0..VIEWERS).map(count).sum::<f64>() / (VIEWERS as f64 * (to - from) as f64)
    }
}

/// Puts pictures together from packets: one can be shown when it is whole and so is all that it builds on.
fn shown(record: &[Arrived]) -> BTreeMap<u64, Instant> {
    let mut packets: BTreeMap<u64, &Arrived> = BTreeMap::new();
    for packet in record {
        packets.entry(packet.sequence).or_insert(packet);
    }
    let packets: Vec<&Arrived> = packets.into_values().collect();
    let (mut shown, mut chain): (BTreeMap<u64, Instant>, Option<Instant>) = (BTreeMap::new(), None);
    let mut last: Option<&Arrived> = None;
    for picture in packets.chunk_by(|one, other| one.timestamp == other.timestamp) {
        let (first, end) = (picture[0], picture[picture.len() - 1]);
        let is_whole = picture.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1) && end.marker;
        let follows = last.is_some_and(|last| last.sequence + 1 == first.sequence);
        let number = picture.iter().find_map(|packet| packet.slice).map(u64::from_be_bytes);
        let at = picture.iter().map(|packet| packet.at).max().unwrap_or(first.at);
        let is_keyframe = picture.iter().any(|packet| packet.is_keyframe);
        chain = match chain {
            _ if is_whole && is_keyframe => Some(at),
            Some(before) if is_whole && follows => Some(before.max(at)),
            _ => None,
        };
        if let (Some(at), Some(number)) = (chain, number) {
            shown.entry(number).or_insert(at);
        }
        last = Some(end);
    }
    shown
}

#[test]
fn viewers_behind_loss_see_every_picture_for_little_more_than_what_was_lost() {
    let good = Conditions { delay_ms: 20.0, ..Conditions::default() };
    let mut place = Place::with("loss", good);
    place.between.set(Conditions { loss_down: 0.03, loss_up: 0.03, ..good });
    place.between.count();
    let from = place.camera.count();
    place.watch(Duration::from_secs(8));
    let to = place.camera.count();
    place.between.set(good);
    // What is still missing is asked for until it comes.
    let mut shown = 0.0;
    for _ in 0..20 {
        place.watch(Duration::from_secs(1));
        shown = place.share(from, to);
        if shown == 1.0 {
            break;
        }
    }
    let Count { lost, repeated, .. } = place.between.count()[0];
    let dropped = place.port.telemetry.dropped(DropReason::SlowViewer).load(SeqCst);
    assert_eq!(dropped, 0, "loss is not taken for a narrow link");
    // Without repeats a loss costs the rest of its group of pictures: next to none would be left.
    assert!(shown > 0.98, "{shown} of the pictures could be shown");
    assert!(lost > 50 && repeated as f64 <= 1.5 * lost as f64 + 50.0, "{repeated} packets again for {lost} lost");
}

#[test]
fn viewers_whose_link_becomes_too_narrow_see_every_keyframe_soon_and_the_link_is_not_overfed() {
    let rate_bps = 1.25e6;
    let mut place = Place::with("narrow", Conditions { delay_ms: 20.0, ..Conditions::default() });
    place.between.set(Conditions { delay_ms: 20.0, rate_bps, ..Conditions::default() });
    place.watch(Duration::from_secs(2));
    place.between.count();
    let (from, start) = (place.camera.count(), Instant::now());
    place.watch(Duration::from_secs(6));
    let (to, taken) = (place.camera.count() - 25, start.elapsed().as_secs_f64());
    let bps = place.between.count()[0].octets as f64 * 8.0 / taken / VIEWERS as f64;
    assert!(bps <= 1.1 * rate_bps, "{bps} bit/s on a link of {rate_bps}");
    for viewer in 0..VIEWERS {
        for number in (from..to).filter(|number| number.is_multiple_of(GOP)) {
            let delay = place.shown(viewer).get(&number).map(|(_, delay)| *delay);
            assert!(delay.is_some_and(|delay| delay < Duration::from_millis(1500)), "{number}: {delay:?}");
        }
        assert_eq!(place.clients[viewer].seen.backwards, 0);
    }
}

/// After 20 seconds the link is asked whether it takes more by now.
#[test]
fn viewers_whose_link_stays_too_narrow_see_every_keyframe_also_while_it_is_asked() {
    let mut place = Place::with("asked", Conditions { delay_ms: 20.0, ..Conditions::default() });
    place.between.set(Conditions { delay_ms: 20.0, rate_bps: 1.25e6, ..Conditions::default() });
    place.watch(Duration::from_secs(2));
    let from = place.camera.count();
    place.watch(Duration::from_secs(18));
    place.between.count();
    place.watch(Duration::from_secs(8));
    let to = place.camera.count() - 25;
    assert!(place.between.count()[0].repeated > 50, "it is asked with what the viewers have");
    for viewer in 0..VIEWERS {
        let shown = place.shown(viewer);
        for number in (from..to).filter(|number| number.is_multiple_of(GOP)) {
            assert!(shown.contains_key(&number), "{number} could not be shown");
        }
        let all = shown.range(from..to).count();
        assert!(all < (to - from) as usize / 10, "{all} pictures went over a link that takes keyframes alone");
    }
}

/// What their decoders asked for would hold up the next keyframe: it takes longer than there is time until then.
#[test]
fn viewers_of_a_narrow_link_that_keep_asking_for_a_keyframe_see_every_one() {
    let mut place = Place::with("asking", Conditions { delay_ms: 20.0, ..Conditions::default() });
    place.between.set(Conditions { delay_ms: 20.0, rate_bps: 0.6e6, ..Conditions::default() });
    place.watch(Duration::from_secs(6));
    let from = place.camera.count();
    for _ in 0..4 {
        for picture in [5, 33] {
            let camera = &place.camera;
            assert!(run(&mut place.clients, Duration::from_secs(4), |_| camera.count() % GOP == picture));
            place.clients.iter_mut().for_each(WhepClient::ask_for_keyframe);
        }
    }
    let to = place.camera.count() - 25;
    place.watch(Duration::from_secs(3));
    for viewer in 0..VIEWERS {
        let shown = place.shown(viewer);
        for number in (from..to).filter(|number| number.is_multiple_of(GOP)) {
            assert!(shown.contains_key(&number), "{number} could not be shown");
        }
    }
}

#[test]
fn viewers_whose_link_was_too_narrow_for_a_while_see_all_again_within_half_a_minute() {
    let good = Conditions { delay_ms: 20.0, ..Conditions::default() };
    let mut place = Place::with("widened", good);
    place.between.set(Conditions { rate_bps: 1.25e6, ..good });
    place.watch(Duration::from_secs(5));
    place.between.set(good);
    let from = place.camera.count();
    let until = Instant::now() + Duration::from_secs(30);
    let is_back = |place: &Place| {
        let now = place.camera.count();
        now > from + 150 && place.share(now - 75, now - 25) == 1.0
    };
    while !is_back(&place) {
        assert!(Instant::now() < until, "only {} of the pictures come", place.share(from, place.camera.count()));
        place.watch(Duration::from_millis(500));
    }
}

#[test]
fn viewers_are_live_soon_after_an_outage_and_are_not_flooded() {
    let mut place = Place::with("outage", Conditions { delay_ms: 20.0, ..Conditions::default() });
    let (from, sent) = (place.camera.count(), place.sent());
    place.between.orders.send(Order::Outage(Duration::from_secs(2))).unwrap();
    let end = Instant::now() + Duration::from_secs(2);
    place.between.count();
    let back = |clients: &[WhepClient]| clients.iter().all(|client| last(client).at > end);
    assert!(run(&mut place.clients, Duration::from_secs(10), back), "nothing comes any more");
    // As decoders do; so much at once str0m does not ask for again.
    place.clients.iter_mut().for_each(WhepClient::ask_for_keyframe);
    place.watch(Duration::from_secs(3));
    for viewer in 0..VIEWERS {
        let live =
            place.shown(viewer).into_values().find(|(at, delay)| *at > end && *delay < Duration::from_millis(500));
        let after = live.map(|(at, _)| at - end);
        assert!(after.is_some_and(|after| after < Duration::from_secs(1)), "live again after {after:?}");
    }
    let missing = place.between.count()[0].outage_dropped;
    let stream: u64 = (from..place.camera.count()).map(packets_of).sum::<u64>() * VIEWERS as u64;
    let extra = (place.sent() - sent).saturating_sub(stream);
    assert!(missing > 200 && extra as f64 <= 1.5 * missing as f64 + 50.0, "{extra} for {missing} missing");
}

fn last(client: &WhepClient) -> &Arrived {
    client.record.as_ref().and_then(|record| record.last()).expect("it has watched")
}

/// Packets of a picture: parameter sets in one, and fragments of 1,198 octets.
fn packets_of(number: u64) -> u64 {
    let fragments = |bytes: usize| (bytes as u64 - 1).div_ceil(1198);
    if number.is_multiple_of(GOP) { 1 + fragments(KEYFRAME_BYTES) } else { fragments(PICTURE_BYTES) }
}
