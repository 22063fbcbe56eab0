//! The bad network of `tests/rust/network.rs` as a program: after the first line, each line of standard input changes the
//! conditions, asks for an outage or for the counts since the last time.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::clock::{now_ns, pin};
use crate::network_between::{Conditions, Network};

#[derive(Deserialize)]
pub struct Configuration {
    /// Namespaces and addresses: of the hub, of the viewers.
    namespaces: [String; 2],
    addresses: [String; 2],
    core: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Set(Conditions),
    OutageMs(u64),
    Counts,
}

pub fn run(configuration: &Configuration) {
    pin(configuration.core);
    let [a, b] = &configuration.namespaces;
    let [here, there] = &configuration.addresses;
    let mut network = Network::open([a, b], [here, there], now_ns());
    let mut input = std::io::stdin();
    let descriptor: OwnedFd = {
        use std::os::fd::AsFd;
        input.as_fd().try_clone_to_owned().expect("standard input is open")
    };
    // SAFETY: the descriptor is ours.
    unsafe { libc::fcntl(0, libc::F_SETFL, libc::O_NONBLOCK) };
    crate::say(&json!({"ready": true}));
    let mut text = Vec::new();
    loop {
        network.turn(Duration::from_millis(50), Some(&descriptor));
        let mut room = [0; 4096];
        match input.read(&mut room) {
            Ok(0) => return,
            Ok(length) => text.extend_from_slice(&room[..length]),
            Err(_) => continue,
        }
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice(&line).expect("each line is a command") {
                Command::Set(conditions) => network.conditions = conditions,
                Command::OutageMs(lasts) => {
                    network.outage(Duration::from_millis(lasts));
                    crate::say(&json!({"outage_end_ns": now_ns() + lasts * 1_000_000}));
                }
                Command::Counts => {
                    let [down, up] = std::mem::take(&mut network.counts);
                    crate::say(&json!({"down": down, "up": up}));
                }
            }
        }
    }
}
