//! N RTSP readers in one thread, joining one after the other; counts packets over a window that the driver hears of.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use serde::Deserialize;
use serde_json::json;

use crate::Spread;
use crate::clock::{milliseconds, now_ns, pin, raise_open_files, seconds, thread_cpu_ns};
use crate::rtsp_client::{Counts, Reader, State, believe};

const KEEP_ALIVE_S: f64 = 20.0;
/// A stalled reader has been closed by then. It can't tell: the end waits behind what it does not read.
const STALLED_FOR_S: f64 = 11.0;

#[derive(Deserialize)]
pub struct Configuration {
    /// Readers take turns with them.
    targets: Vec<Target>,
    readers: usize,
    /// Joins a second.
    rate: f64,
    warmup_s: f64,
    seconds: f64,
    core: usize,
    /// Behind TLS: the certificate that is believed, PEM.
    #[serde(default)]
    ca: Option<PathBuf>,
    /// Media by UDP.
    #[serde(default)]
    by_udp: bool,
    /// The first so many stop reading when they play, come again when the hub has closed them, and count for nothing.
    #[serde(default)]
    stalled: usize,
}

#[derive(Deserialize)]
pub struct Target {
    pub url: String,
    pub ticket: String,
}

pub fn run(configuration: &Configuration) {
    raise_open_files();
    pin(configuration.core);
    let tls = configuration.ca.as_deref().map(believe);
    let mut poll = Poll::new().expect("epoll");
    let mut events = Events::with_capacity(1024);
    let mut room = vec![0; 256 * 1024];
    let mut readers: Vec<Reader> = Vec::new();
    let mut failed: Vec<String> = Vec::new();
    let mut delays = Vec::new();
    let begun = now_ns();
    let mut all_joined = None;
    let mut window: Option<(u64, Counts, u64)> = None;
    let mut keep_alive = KEEP_ALIVE_S;
    let (from, until) = loop {
        let elapsed = seconds(now_ns() - begun);
        let started = readers.len() + failed.len();
        if started < configuration.readers {
            // Those that are due join at once.
            let due = (elapsed * configuration.rate) as usize + 1;
            for started in started..due.min(configuration.readers) {
                let target = &configuration.targets[started % configuration.targets.len()];
                match Reader::connect(&target.url, &target.ticket, configuration.by_udp, tls.as_ref()) {
                    Ok(mut reader) => {
                        let interest = Interest::READABLE | Interest::WRITABLE;
                        let place = 2 * readers.len();
                        poll.registry().register(&mut reader.socket, Token(place), interest).expect("a socket");
                        if let Some((rtp, _)) = &mut reader.datagrams {
                            poll.registry().register(rtp, Token(place + 1), Interest::READABLE).expect("a socket");
                        }
                        readers.push(reader);
                    }
                    Err(cause) => failed.push(cause.to_string()),
                }
            }
        } else if started == configuration.readers {
            let since = elapsed - *all_joined.get_or_insert(elapsed);
            match &window {
                None if since >= configuration.warmup_s => {
                    delays.clear();
                    window = Some((now_ns(), total(&readers), thread_cpu_ns()));
                    crate::say(&json!({"event": "window_start"}));
                }
                Some(from) if seconds(now_ns() - from.0) >= configuration.seconds => {
                    break (*from, (now_ns(), total(&readers), thread_cpu_ns()));
                }
                _ => {}
            }
        }
        for place in 0..configuration.stalled.min(readers.len()) {
            if seconds(now_ns() - readers[place].started) > STALLED_FOR_S {
                poll.registry().deregister(&mut readers[place].socket).expect("it is registered");
                let target = &configuration.targets[place % configuration.targets.len()];
                let mut reader = Reader::connect(&target.url, &target.ticket, false, tls.as_ref()).expect("the hub");
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut reader.socket, Token(2 * place), interest).expect("a socket");
                readers[place] = reader;
            }
        }
        if elapsed > keep_alive {
            keep_alive += KEEP_ALIVE_S;
            readers.iter_mut().for_each(Reader::keep_alive);
        }
        match poll.poll(&mut events, Some(Duration::from_millis(if started < configuration.readers { 1 } else { 20 })))
        {
            Err(cause) if cause.kind() != ErrorKind::Interrupted => panic!("epoll: {cause}"),
            _ => {}
        }
        for event in &events {
            let Token(place) = event.token();
            let reader = &mut readers[place / 2];
            let is_stalled = place / 2 < configuration.stalled && reader.first_key.is_some();
            match place % 2 {
                _ if reader.state == State::Dead || is_stalled => {}
                0 => reader.on_ready(&mut room, &mut delays),
                _ => reader.on_datagrams(&mut room, &mut delays),
            }
        }
    };
    crate::say(&json!({"event": "window_end"}));
    let readers = &readers[configuration.stalled.min(readers.len())..];
    let dead: Vec<&Reader> = readers.iter().filter(|reader| reader.state == State::Dead).collect();
    let error = dead.first().map(|reader| reader.error.clone()).or(failed.first().cloned()).unwrap_or_default();
    let joined = readers.iter().filter_map(|reader| Some(milliseconds(reader.first_key? - reader.started)));
    crate::say(&json!({
        "playing": readers.iter().filter(|reader| reader.state == State::Playing && reader.counts.packets > 0).count(),
        "dead": dead.len() + failed.len(),
        "error": error,
        "window_s": seconds(until.0 - from.0),
        "packets": until.1.packets - from.1.packets,
        "bytes": until.1.bytes - from.1.bytes,
        "lost": until.1.lost - from.1.lost,
        "first_key_ms": Spread::of(joined.collect()),
        "relay_ms": Spread::of(delays),
        "client_cpu_s": seconds(until.2 - from.2),
    }));
}

fn total(readers: &[Reader]) -> Counts {
    readers.iter().fold(Counts::default(), |sum, Reader { counts, .. }| Counts {
        packets: sum.packets + counts.packets,
        bytes: sum.bytes + counts.bytes,
        lost: sum.lost + counts.lost,
    })
}
