//! A bad network in user space, for kernels without `netem`: two network namespaces with a TUN device each, and packets
//! carried between them with loss, delay, jitter, a rate for each flow, and outages. Wants root and `ip`.

#![allow(dead_code)] // Each program that includes this file uses a part of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const DEVICE: &str = "bench0";
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
/// IP packets without a header of the device's own.
const TUN_WITHOUT_HEADER: u16 = 0x1001;
/// Packets taken from a device before the other gets its turn.
const ROUND: usize = 256;
/// How long a flow keeps its extra delay.
const JITTER_LASTS: Duration = Duration::from_millis(30);
const UDP: u8 = 17;

/// What the network does. Down is from `a`, where the hub is, to `b`, where the viewers are.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// Shares of UDP packets, 0 to 1.
    pub loss_down: f64,
    pub loss_up: f64,
    /// Mean number of packets of a flow that are lost in a row; 1: each by itself.
    pub burst: f64,
    /// One way.
    pub delay_ms: f64,
    /// Mean of what comes on top, uniform from none to twice as much, anew for a flow every 30 ms; never reorders.
    pub jitter_ms: f64,
    /// Drawn for each packet instead: reorders.
    pub reorders: bool,
    /// Bits a second for each flow down, IP headers included; 0: no limit.
    pub rate_bps: f64,
    /// What may wait at that rate; more is dropped.
    pub queue_ms: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            loss_down: 0.0,
            loss_up: 0.0,
            burst: 1.0,
            delay_ms: 0.0,
            jitter_ms: 0.0,
            reorders: false,
            rate_bps: 0.0,
            queue_ms: 500.0,
        }
    }
}

/// What came of one direction.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Count {
    pub udp_packets: u64,
    /// RTP that a flow has had before: with a sequence number that is not new, or of another source than its first, as what
    /// is sent again by RFC 4588. Where a flow carries one source.
    pub repeated: u64,
    pub octets: u64,
    pub delivered: u64,
    pub lost: u64,
    pub queue_dropped: u64,
    pub outage_dropped: u64,
}

/// Two namespaces, gone with it.
pub struct Namespaces(pub [String; 2]);

impl Namespaces {
    pub fn create(tag: &str) -> Self {
        let names = Self([format!("vh-a-{tag}"), format!("vh-b-{tag}")]);
        for name in &names.0 {
            let made = Command::new("ip").args(["netns", "add", name]).status();
            let made = made.is_ok_and(|status| status.success());
            assert!(
                made,
                "a network namespace can't be made: this wants root (or CAP_NET_ADMIN and CAP_SYS_ADMIN) and `ip`"
            );
        }
        names
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            // What is left behind by a failure goes with the machine.
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// Takes this thread, and those that it starts, into a namespace.
pub fn enter(namespace: &str) {
    let file = File::open(format!("/var/run/netns/{namespace}")).expect("the namespace exists");
    // SAFETY: the descriptor is open, and the call takes nothing else.
    let entered = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(entered, 0, "{namespace} can't be entered: {}", std::io::Error::last_os_error());
}

fn device(namespace: &str, own: &str, peer: &str) -> File {
    enter(namespace);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .expect("/dev/net/tun can be opened");
    let mut request = [0u8; 40];
    request[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
    request[16..18].copy_from_slice(&TUN_WITHOUT_HEADER.to_ne_bytes());
    // SAFETY: the request is as large as `struct ifreq`.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(made, 0, "no TUN device: {}", std::io::Error::last_os_error());
    for words in [
        &["addr", "add", own, "peer", peer, "dev", DEVICE][..],
        &["link", "set", DEVICE, "mtu", "1500", "txqueuelen", "10000", "up"],
        &["link", "set", "lo", "up"],
    ] {
        assert!(Command::new("ip").args(words).status().is_ok_and(|status| status.success()), "ip {words:?}");
    }
    file
}

#[derive(Default)]
struct Flow {
    is_bad: bool,
    free: Option<Instant>,
    last_out: Option<Instant>,
    jitter: Duration,
    jitter_until: Option<Instant>,
    /// Source and newest sequence number of its RTP.
    media: Option<(u32, u16)>,
}

impl Flow {
    /// Whether a datagram is RTP that the flow has had before.
    fn repeats(&mut self, datagram: &[u8]) -> bool {
        // RTP, and not RTCP (RFC 5761 §4).
        let &[128..=191, kind, high, low, _, _, _, _, a, b, c, d, ..] = datagram else { return false };
        if matches!(kind, 192..=223) {
            return false;
        }
        let (source, sequence) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([high, low]));
        let (known, newest) = self.media.get_or_insert((source, sequence.wrapping_sub(1)));
        let is_new = *known == source && (sequence.wrapping_sub(*newest) as i16) > 0;
        if is_new {
            *newest = sequence;
        }
        !is_new
    }
}

/// When it is due, its place in the order, which device it came from, and its octets.
type Carried = (Instant, u64, usize, Vec<u8>);

pub struct Network {
    devices: [File; 2],
    pub conditions: Conditions,
    pub counts: [Count; 2],
    gone_until: Option<Instant>,
    waiting: BinaryHeap<Reverse<Carried>>,
    flows: [HashMap<[u8; 12], Flow>; 2],
    order: u64,
    random: u64,
}

impl Network {
    /// Between two namespaces; leaves this thread in the second.
    pub fn open(namespaces: [&str; 2], addresses: [&str; 2], seed: u64) -> Self {
        let [a, b] = addresses;
        let devices = [device(namespaces[0], a, b), device(namespaces[1], b, a)];
        Self {
            devices,
            conditions: Conditions::default(),
            counts: Default::default(),
            gone_until: None,
            waiting: BinaryHeap::new(),
            flows: Default::default(),
            order: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ seed,
        }
    }

    /// Drops everything both ways for so long.
    pub fn outage(&mut self, lasts: Duration) {
        self.gone_until = Some(Instant::now() + lasts);
    }

    /// Carries packets until `wait` has passed with nothing to do, or `also` can be read.
    pub fn turn(&mut self, wait: Duration, also: Option<&OwnedFd>) {
        self.deliver();
        let next = self.waiting.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let wait = next.map_or(wait, |next| next.min(wait));
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let also = also.map_or(-1, AsRawFd::as_raw_fd);
        let mut polls = [poll(self.devices[0].as_raw_fd()), poll(self.devices[1].as_raw_fd()), poll(also)];
        let wait = libc::timespec { tv_sec: 0, tv_nsec: wait.as_nanos().min(999_999_999) as i64 };
        // SAFETY: three entries, as it says.
        unsafe { libc::ppoll(polls.as_mut_ptr(), 3, &raw const wait, std::ptr::null()) };
        let mut room = [0; 65_536];
        for from in [0, 1] {
            for _ in 0..ROUND {
                match (&self.devices[from]).read(&mut room) {
                    Ok(length) if length > 0 => self.take(from, &room[..length]),
                    _ => break,
                }
            }
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse((due, ..))| *due <= now)
            && let Some(Reverse((_, _, from, packet))) = self.waiting.pop()
        {
            // A full device loses it, as networks do.
            if (&self.devices[1 - from]).write(&packet).is_ok() {
                self.counts[from].delivered += 1;
            }
        }
    }

    fn take(&mut self, from: usize, packet: &[u8]) {
        // IPv4 with ports.
        let header = 4 * usize::from(packet[0] & 15);
        if packet[0] >> 4 != 4 || packet.len() < header + 8 {
            return;
        }
        let now = Instant::now();
        let is_udp = packet[9] == UDP;
        self.counts[from].octets += packet.len() as u64;
        self.counts[from].udp_packets += u64::from(is_udp);
        if self.gone_until.is_some_and(|until| now < until) {
            self.counts[from].outage_dropped += 1;
            return;
        }
        let mut key = [0; 12];
        key[..8].copy_from_slice(&packet[12..20]);
        key[8..].copy_from_slice(&packet[header..header + 4]);
        let (chances, Conditions { burst, rate_bps, queue_ms, delay_ms, jitter_ms, reorders, .. }) =
            ([chance(&mut self.random), chance(&mut self.random)], self.conditions);
        let loss = if from == 0 { self.conditions.loss_down } else { self.conditions.loss_up };
        let flow = self.flows[from].entry(key).or_default();
        let repeats = is_udp && flow.repeats(&packet[header + 8..]);
        self.counts[from].repeated += u64::from(repeats);
        if is_udp && loss > 0.0 {
            flow.is_bad = match flow.is_bad {
                _ if burst <= 1.0 => chances[0] < loss,
                true => chances[0] >= 1.0 / burst,
                false => chances[0] < loss / (burst * (1.0 - loss)),
            };
            if flow.is_bad {
                self.counts[from].lost += 1;
                return;
            }
        }
        let mut due = now;
        if from == 0 && rate_bps > 0.0 {
            let free = flow.free.map_or(now, |free| free.max(now));
            if free - now > Duration::from_secs_f64(queue_ms / 1e3) {
                self.counts[from].queue_dropped += 1;
                return;
            }
            due = free + Duration::from_secs_f64(packet.len() as f64 * 8.0 / rate_bps);
            flow.free = Some(due);
        }
        due += Duration::from_secs_f64(delay_ms / 1e3);
        if jitter_ms > 0.0 {
            let extra = Duration::from_secs_f64(chances[1] * 2.0 * jitter_ms / 1e3);
            if reorders {
                due += extra;
            } else {
                if flow.jitter_until.is_none_or(|until| now > until) {
                    (flow.jitter, flow.jitter_until) = (extra, Some(now + JITTER_LASTS));
                }
                due = flow.last_out.map_or(due + flow.jitter, |last| last.max(due + flow.jitter));
            }
        }
        flow.last_out = Some(due);
        self.order += 1;
        self.waiting.push(Reverse((due, self.order, from, packet.to_vec())));
    }
}

/// From 0 to 1.
fn chance(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1u64 << 53) as f64
}
