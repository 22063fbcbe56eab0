//! Load programs of `make bench`: a camera, readers and viewers by the hundred, and the floor that they are held against.
//!
//! One line of JSON on standard input says what to do; lines of JSON on standard output say what happened. When standard
//! input closes the program ends, so none outlives the one who started it.

mod camera;
mod clip;
mod clock;
mod fanout_limit;
mod network;
#[path = "../../tests/rust/network.rs"]
mod network_between;
mod relay_limit;
mod rtsp_churn;
mod rtsp_client;
mod rtsp_readers;
#[path = "../../tests/rust/whep_client.rs"]
mod whep_client;
mod whep_viewers;

use std::io::{BufRead, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

fn main() {
    let program = std::env::args().nth(1).unwrap_or_default();
    match program.as_str() {
        "camera" => camera::run(&configuration()),
        "readers" => rtsp_readers::run(&configuration()),
        "churn" => rtsp_churn::run(&configuration()),
        "viewers" => whep_viewers::run(&configuration()),
        "floor" => fanout_limit::run(&configuration()),
        "network" => network::run(&first_line()),
        // Cargo asks every bench for its list of tests.
        _ => eprintln!("load camera|readers|churn|viewers|floor|network, and a line of JSON: see benches/README.md"),
    }
}

/// What the driver wants.
fn first_line<T: DeserializeOwned>() -> T {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("standard input is readable");
    serde_json::from_str(&line).expect("the first line is the program's configuration")
}

/// The same; from then on somebody listens for its end.
fn configuration<T: DeserializeOwned>() -> T {
    let configuration = first_line();
    std::thread::spawn(|| {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().lock().read(&mut rest), Ok(length) if length > 0) {}
        std::process::exit(0);
    });
    configuration
}

/// One line to the driver.
fn say(line: &impl Serialize) {
    let text = serde_json::to_string(line).expect("plain values are JSON");
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        // Nobody reads any more.
        std::process::exit(0);
    }
}

/// Percentiles of a sample, in the sample's unit.
#[derive(Serialize)]
struct Spread {
    count: usize,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    fn of(mut sample: Vec<f64>) -> Option<Self> {
        sample.sort_by(f64::total_cmp);
        let at = |share: f64| sample.get(((sample.len().max(1) - 1) as f64 * share).round() as usize).copied();
        Some(Self { count: sample.len(), p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)?, max: at(1.0)? })
    }
}
