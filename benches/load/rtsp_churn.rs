//! RTSP readers that join, see a keyframe and leave, over and over: what does a hub keep of them?

use std::io::ErrorKind;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use serde::Deserialize;
use serde_json::json;

use crate::Spread;
use crate::clock::{milliseconds, now_ns, pin, raise_open_files, seconds};
use crate::rtsp_client::{Reader, State};
use crate::rtsp_readers::Target;

/// One that has seen no keyframe by then has failed.
const PATIENCE_S: f64 = 10.0;

#[derive(Deserialize)]
pub struct Configuration {
    target: Target,
    /// Joins in all, and readers at a time.
    joins: usize,
    at_once: usize,
    core: usize,
    #[serde(default)]
    by_udp: bool,
}

pub fn run(configuration: &Configuration) {
    raise_open_files();
    pin(configuration.core);
    let mut poll = Poll::new().expect("epoll");
    let mut events = Events::with_capacity(1024);
    let mut room = vec![0; 256 * 1024];
    let mut places: Vec<Option<Reader>> = (0..configuration.at_once).map(|_| None).collect();
    let (mut begun, mut left, mut failures, mut error) = (0, 0, 0, String::new());
    let mut joined = Vec::with_capacity(configuration.joins);
    let mut delays = Vec::new();
    let start = now_ns();
    while left < configuration.joins {
        for (number, place) in places.iter_mut().enumerate().filter(|(_, place)| place.is_none()) {
            if begun == configuration.joins {
                break;
            }
            begun += 1;
            let Target { url, ticket } = &configuration.target;
            let mut reader = Reader::connect(url, ticket, configuration.by_udp, None).expect("a socket");
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut reader.socket, Token(2 * number), interest).expect("a socket");
            if let Some((rtp, _)) = &mut reader.datagrams {
                poll.registry().register(rtp, Token(2 * number + 1), Interest::READABLE).expect("a socket");
            }
            *place = Some(reader);
        }
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(cause) if cause.kind() != ErrorKind::Interrupted => panic!("epoll: {cause}"),
            _ => {}
        }
        for event in &events {
            let Token(token) = event.token();
            let Some(reader) = &mut places[token / 2] else { continue };
            match token % 2 {
                0 => reader.on_ready(&mut room, &mut delays),
                _ => reader.on_datagrams(&mut room, &mut delays),
            }
        }
        delays.clear();
        for place in &mut places {
            let Some(reader) = place else { continue };
            let is_late = seconds(now_ns() - reader.started) > PATIENCE_S;
            if let Some(seen) = reader.first_key {
                joined.push(milliseconds(seen - reader.started));
            } else if reader.state == State::Dead || is_late {
                failures += 1;
                error = if is_late { "no keyframe in time".to_owned() } else { reader.error.clone() };
            } else {
                continue;
            }
            *place = None;
            left += 1;
        }
    }
    crate::say(&json!({
        "joins": left,
        "failures": failures,
        "error": error,
        "seconds": seconds(now_ns() - start),
        "first_key_ms": Spread::of(joined),
    }));
}
