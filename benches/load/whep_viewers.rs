//! N WHEP viewers in one thread, each a str0m peer on a port of its own, as in the tests; no decoder.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::clock::{milliseconds, now_ns, pin, raise_open_files, seconds, thread_cpu_ns};
use crate::whep_client::{self, WhepClient};
use crate::{Spread, clip};

/// A viewer has its first picture within this, or the run counts it out.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub struct Configuration {
    server: SocketAddr,
    camera: String,
    ticket: String,
    viewers: usize,
    /// Joins a second.
    rate: f64,
    warmup_s: f64,
    seconds: f64,
    core: usize,
}

pub fn run(configuration: &Configuration) {
    raise_open_files();
    pin(configuration.core);
    let Configuration { server, camera, ticket, viewers, rate, .. } = configuration;
    let delays = Rc::new(RefCell::new(Vec::new()));
    let mut clients: Vec<WhepClient> = Vec::new();
    let mut joins = Vec::new();
    let mut error = String::new();
    let begun = Instant::now();
    for number in 0..*viewers {
        let due = begun + Duration::from_secs_f64(number as f64 / rate);
        whep_client::run(&mut clients, due.saturating_duration_since(Instant::now()), |_| false);
        let (mut client, offer) = WhepClient::offer(false);
        let sample = delays.clone();
        client.tap = Some(Box::new(move |payload| {
            if let Some(sent) = clip::inspect(payload).sent_ns {
                sample.borrow_mut().push(milliseconds(now_ns().saturating_sub(sent)));
            }
        }));
        let asked = Instant::now();
        match whep_client::post_offer(*server, camera, ticket, &offer) {
            Ok(answer) if answer.status == 201 => client.accept(&answer.body),
            Ok(answer) => {
                error = format!("{} {}", answer.status, answer.reason());
                continue;
            }
            Err(cause) => {
                error = cause.to_string();
                continue;
            }
        }
        clients.push(client);
        let place = clients.len() - 1;
        whep_client::run(&mut clients, JOIN_TIMEOUT, |clients| clients[place].seen.first_keyframe.is_some());
        joins.extend(clients[place].seen.first_keyframe.map(|first| (first - asked).as_secs_f64() * 1e3));
    }
    whep_client::run(&mut clients, Duration::from_secs_f64(configuration.warmup_s), |_| false);
    delays.borrow_mut().clear();
    let from = (now_ns(), total(&clients), thread_cpu_ns());
    crate::say(&json!({"event": "window_start"}));
    whep_client::run(&mut clients, Duration::from_secs_f64(configuration.seconds), |_| false);
    let until = (now_ns(), total(&clients), thread_cpu_ns());
    crate::say(&json!({"event": "window_end"}));
    if let Some(broken) = clients.iter().find_map(|client| client.seen.error.clone()) {
        error = broken;
    }
    let playing = clients.iter().filter(|client| client.seen.video_packets > 0 && client.seen.closed.is_none()).count();
    crate::say(&json!({
        "playing": playing,
        "dead": viewers - playing,
        "error": error,
        "window_s": seconds(until.0 - from.0),
        "packets": until.1.0 - from.1.0,
        "bytes": until.1.1 - from.1.1,
        "lost": until.1.2.saturating_sub(from.1.2),
        "first_key_ms": Spread::of(joins),
        "relay_ms": Spread::of(delays.take()),
        "client_cpu_s": seconds(until.2 - from.2),
    }));
}

/// Packets, payload octets, packets missing.
fn total(clients: &[WhepClient]) -> (u64, u64, u64) {
    clients.iter().fold((0, 0, 0), |sum, client| {
        (sum.0 + client.seen.video_packets, sum.1 + client.seen.video_bytes, sum.2 + client.seen.lost)
    })
}
