//! The floor: what the kernel and the cipher alone cost when one thread gives the hub's own packets to N receivers with the
//! fewest system calls. Reading a camera is not in it, but for `relay_limit.rs`; system calls, copies, wake-ups and the loopback are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use _core::wire::{h264_pay, rtp};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use serde::Deserialize;
use serde_json::json;

use crate::clip::{self, FRAME_NS};
use crate::clock::{milliseconds, now_ns, pin, raise_open_files, seconds, sleep_until, thread_cpu_ns};
use crate::{Spread, relay_limit};

const TAG: usize = 16;
/// What one send with segmentation may hold.
const MAX_BATCH: usize = 65_000;
const MAX_SEGMENTS: usize = 64;

#[derive(Deserialize)]
pub struct Configuration {
    clip: PathBuf,
    pub receivers: usize,
    pub seconds: f64,
    /// "tcp": one send of a contiguous picture for each receiver. "udp": segmentation offload; "sealed": with
    /// AES-128-GCM before it. "relay": over TCP from a camera for each receiver.
    transport: String,
    send_core: usize,
    pub receive_core: usize,
}

/// A picture's RTP packets as the hub cuts them.
pub type Packets = Vec<Vec<u8>>;

pub fn run(configuration: &Configuration) {
    raise_open_files();
    pin(configuration.send_core);
    let pictures: Vec<Packets> = clip::read(&configuration.clip).iter().map(packets).collect();
    let floor = match configuration.transport.as_str() {
        "tcp" => tcp(configuration, &pictures),
        "udp" => udp(configuration, &pictures),
        "sealed" => sealed(configuration, &pictures),
        "relay" => relay_limit::run(configuration, &pictures),
        other => panic!("{other} is none of tcp, udp, sealed, relay"),
    };
    crate::say(&json!({
        "packets": floor.packets,
        "cpu_s": seconds(floor.cpu_ns),
        "cpu_s_per_1m": seconds(floor.cpu_ns) * 1e6 / floor.packets as f64,
        "delivered": floor.received as f64 / floor.sent_octets as f64,
        "delay_ms": Spread::of(floor.delays_ns.into_iter().map(milliseconds).collect()),
    }));
}

pub struct Floor {
    pub packets: u64,
    /// Of the sending thread.
    pub cpu_ns: u64,
    pub sent_octets: u64,
    pub received: u64,
    /// From when a picture was there until a receiver had read its first packet; over TCP.
    pub delays_ns: Vec<u64>,
}

/// When pictures begin in every receiver's octets, and when each was there.
pub struct Schedule {
    /// Octets up to the end of each picture's first packet.
    first_ends: Vec<u64>,
    began: Vec<AtomicU64>,
}

impl Schedule {
    fn of(frames: &[Vec<u8>], pictures: &[Packets], length: f64) -> Self {
        let rounds = (length * 1e9 / FRAME_NS as f64) as usize + 2;
        let mut before = 0;
        let first_ends = (0..rounds).map(|round| {
            let place = round % frames.len();
            let end = before + pictures[place].first().map_or(0, Vec::len) as u64;
            before += frames[place].len() as u64;
            end
        });
        Self { first_ends: first_ends.collect(), began: (0..rounds).map(|_| AtomicU64::new(0)).collect() }
    }
}

/// A picture as RTSP sends it over TCP.
pub fn interleaved(packets: &Packets) -> Vec<u8> {
    let framed = packets.iter().flat_map(|packet| {
        let [high, low] = (packet.len() as u16).to_be_bytes();
        [b'$', 0, high, low].into_iter().chain(packet.iter().copied())
    });
    framed.collect()
}

fn packets(picture: &clip::Picture) -> Packets {
    let (data, nals) = clip::annex_b(picture);
    let mut packets = Packets::new();
    h264_pay::packetise(&data, &nals, rtp::MAX_PAYLOAD, |parts| {
        let header =
            rtp::Header { marker: false, payload_type: 96, sequence: packets.len() as u16, timestamp: 0, ssrc: 1 };
        let mut packet = header.to_bytes().to_vec();
        parts.iter().for_each(|part| packet.extend_from_slice(part));
        packets.push(packet);
    });
    packets
}

/// Sends round after round, one picture each, and counts the CPU time of this thread.
fn rounds(length: f64, pictures: &[Packets], mut send: impl FnMut(usize)) -> (u64, u64) {
    let (begun, cpu) = (now_ns(), thread_cpu_ns());
    let mut packets = 0;
    for round in 0u64.. {
        if seconds(now_ns() - begun) >= length {
            break;
        }
        let place = round as usize % pictures.len();
        send(place);
        packets += pictures[place].len() as u64;
        sleep_until(begun + (round + 1) * FRAME_NS);
    }
    (packets, thread_cpu_ns() - cpu)
}

fn tcp(configuration: &Configuration, pictures: &[Packets]) -> Floor {
    let frames: Vec<Vec<u8>> = pictures.iter().map(interleaved).collect();
    let schedule = Arc::new(Schedule::of(&frames, pictures, configuration.seconds));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..configuration.receivers {
        let receiver = TcpStream::connect(address).expect("connects");
        receiver.set_nonblocking(true).expect("a socket");
        let (sender, _) = listener.accept().expect("accepts");
        sender.set_nodelay(true).expect("a socket");
        senders.push(sender);
        receivers.push(receiver);
    }
    let timed = Some(schedule.clone());
    let sink = Drain::start(configuration.receive_core, receivers, timed, |mut socket, room| socket.read(room));
    let (mut sent_octets, mut round) = (0, 0);
    let (rounds_packets, cpu_ns) = rounds(configuration.seconds, pictures, |place| {
        if let Some(began) = schedule.began.get(round) {
            began.store(now_ns(), Relaxed);
        }
        round += 1;
        for mut sender in &senders {
            sender.write_all(&frames[place]).expect("the receiver is there");
        }
        sent_octets += (frames[place].len() * senders.len()) as u64;
    });
    let (received, delays_ns) = sink.stop(sent_octets);
    Floor { packets: rounds_packets * senders.len() as u64, cpu_ns, sent_octets, received, delays_ns }
}

/// As many sockets as there are receivers, and who reads them.
fn receivers(configuration: &Configuration) -> (Vec<SocketAddr>, Drain) {
    let (mut addresses, mut receivers) = (Vec::<SocketAddr>::new(), Vec::new());
    for _ in 0..configuration.receivers {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket2::SockRef::from(&receiver).set_recv_buffer_size(4 << 20).expect("a socket");
        receiver.set_nonblocking(true).expect("a socket");
        addresses.push(receiver.local_addr().expect("bound"));
        receivers.push(receiver);
    }
    let sink = Drain::start(configuration.receive_core, receivers, None, |socket, room| socket.recv(room));
    (addresses, sink)
}

/// The packets of each picture one behind the other, in runs of one size: made once, sent as they are.
fn udp(configuration: &Configuration, pictures: &[Packets]) -> Floor {
    let pictures_in_runs: Vec<Vec<(Vec<u8>, usize)>> = pictures.iter().map(|picture| in_runs(picture)).collect();
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let state = UdpSocketState::new(UdpSockRef::from(&sender)).expect("a UDP socket");
    let (addresses, sink) = receivers(configuration);
    let mut sent_octets = 0;
    let (rounds_packets, cpu_ns) = rounds(configuration.seconds, pictures, |place| {
        for address in &addresses {
            for (contents, segment) in &pictures_in_runs[place] {
                let transmit =
                    Transmit { destination: *address, ecn: None, contents, segment_size: Some(*segment), src_ip: None };
                state.try_send(UdpSockRef::from(&sender), &transmit).expect("loopback takes it");
                sent_octets += contents.len() as u64;
            }
        }
    });
    let (received, delays_ns) = sink.stop(sent_octets);
    Floor { packets: rounds_packets * addresses.len() as u64, cpu_ns, sent_octets, received, delays_ns }
}

/// What one send with segmentation takes at a time, and the size of its packets.
fn in_runs(picture: &[Vec<u8>]) -> Vec<(Vec<u8>, usize)> {
    let mut runs: Vec<(Vec<u8>, usize)> = Vec::new();
    for packet in picture {
        match runs.last_mut() {
            Some((run, segment))
                if packet.len() <= *segment
                    && run.len() % *segment == 0
                    && run.len() < MAX_SEGMENTS * *segment
                    && run.len() + packet.len() <= MAX_BATCH =>
            {
                run.extend_from_slice(packet);
            }
            _ => runs.push((packet.clone(), packet.len())),
        }
    }
    runs
}

fn sealed(configuration: &Configuration, pictures: &[Packets]) -> Floor {
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let state = UdpSocketState::new(UdpSockRef::from(&sender)).expect("a UDP socket");
    let (addresses, sink) = receivers(configuration);
    // A key for each, as in SRTP.
    let keys: Vec<LessSafeKey> = (0..configuration.receivers)
        .map(|place| LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[place as u8; 16]).expect("16 octets")))
        .collect();
    let mut counter = 0u64;
    let mut sent_octets = 0;
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let (rounds_packets, cpu_ns) = rounds(configuration.seconds, pictures, |place| {
        for (key, address) in keys.iter().zip(&addresses) {
            let mut segment = 0;
            let mut flush = |batch: &mut Vec<u8>, segment: usize| {
                if !batch.is_empty() {
                    let transmit = Transmit {
                        destination: *address,
                        ecn: None,
                        contents: batch,
                        segment_size: Some(segment),
                        src_ip: None,
                    };
                    state.try_send(UdpSockRef::from(&sender), &transmit).expect("loopback takes it");
                    sent_octets += batch.len() as u64;
                    batch.clear();
                }
            };
            for packet in &pictures[place] {
                let sealed = packet.len() + TAG;
                let is_full = batch.len() + sealed > MAX_BATCH || batch.len() >= segment * state.max_gso_segments();
                if sealed > segment || batch.len() % segment != 0 || is_full {
                    flush(&mut batch, segment);
                    segment = sealed;
                }
                let start = batch.len();
                batch.extend_from_slice(packet);
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&counter.to_be_bytes());
                counter += 1;
                let (header, body) = batch[start..].split_at_mut(rtp::HEADER_LEN);
                let tag = key
                    .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*header), body)
                    .expect("a short message");
                batch.extend_from_slice(tag.as_ref());
            }
            flush(&mut batch, segment);
        }
    });
    let (received, delays_ns) = sink.stop(sent_octets);
    Floor { packets: rounds_packets * keys.len() as u64, cpu_ns, sent_octets, received, delays_ns }
}

/// A thread that reads all receivers on a core of its own.
pub struct Drain {
    received: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Drain {
    /// schedule: of what is sent to each; then delays are taken down.
    pub fn start<S: AsRawFd + Send + 'static>(
        core: usize,
        sockets: Vec<S>,
        schedule: Option<Arc<Schedule>>,
        read: impl Fn(&S, &mut [u8]) -> std::io::Result<usize> + Send + 'static,
    ) -> Self {
        let (received, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, over) = (received.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            pin(core);
            let mut poll = Poll::new().expect("epoll");
            for (place, socket) in sockets.iter().enumerate() {
                let mut source = SourceFd(&socket.as_raw_fd());
                poll.registry().register(&mut source, Token(place), Interest::READABLE).expect("a socket");
            }
            let mut events = Events::with_capacity(1024);
            let mut room = vec![0; 256 * 1024];
            // Octets and pictures that have begun, of each.
            let mut places = vec![(0u64, 0usize); sockets.len()];
            let mut delays = Vec::new();
            while !over.load(Relaxed) {
                // A wait cut short is as good as one that was not.
                let _ = poll.poll(&mut events, Some(Duration::from_millis(50)));
                for event in &events {
                    while let Ok(length @ 1..) = read(&sockets[event.token().0], &mut room) {
                        count.fetch_add(length as u64, Relaxed);
                        let Some(schedule) = &schedule else { continue };
                        let (octets, picture) = &mut places[event.token().0];
                        *octets += length as u64;
                        while schedule.first_ends.get(*picture).is_some_and(|end| *octets >= *end) {
                            delays.push(now_ns() - schedule.began[*picture].load(Relaxed));
                            *picture += 1;
                        }
                    }
                }
            }
            delays
        });
        Self { received, is_over, thread }
    }

    /// Waits a little for what is on its way; the octets that arrived, and the delays.
    pub fn stop(self, expected: u64) -> (u64, Vec<u64>) {
        let end = now_ns() + 500_000_000;
        while self.received.load(Relaxed) < expected && now_ns() < end {
            sleep_until(now_ns() + 5_000_000);
        }
        self.is_over.store(true, Relaxed);
        let delays = self.thread.join().expect("the reading thread does not panic");
        (self.received.load(Relaxed), delays)
    }
}
