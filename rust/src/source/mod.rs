//! What brings media in: one file per protocol, and what they share.

mod certificates;
mod datagrams;
mod dials;
mod examine;
mod failure;
pub mod file;
mod intake;
mod networks;
pub mod offer;
mod probe;
mod push;
mod rtsp;
mod supervisor;
mod target;
mod threads;

use std::sync::Arc;
use std::time::Duration;

pub use certificates::Certificates;
pub use dials::{Dials, Playing};
pub use examine::{Hop, examine};
pub use failure::{Failure, FailureKind, NO_KEYFRAME_REMEDY, for_viewers};
pub use networks::{Denial, Networks};
pub use probe::{ProbeOptions, ProbeResult, ProbeSink, ProbeState, Prober, Seen};
pub use push::{Announced, Push, Section, announced};
pub use supervisor::supervise;
pub use target::Target;
pub use threads::Threads;

/// How cameras are dialled and watched.
#[derive(Clone, Debug)]
pub struct Options {
    /// For each of: resolving and connecting with DESCRIBE, each SETUP, PLAY.
    pub connect_timeout: Duration,
    /// Without a complete picture for this long, the camera is dialled anew.
    pub stall_timeout: Duration,
    /// Without a keyframe for this long, the camera is said to give none. It is dialled anew after three times this at
    /// the beginning, and at once where a loss made the next keyframe necessary.
    pub keyframe_timeout: Duration,
    /// First and longest pause between attempts.
    pub retry: (Duration, Duration),
    /// The same when the camera refused the login: cameras lock accounts after a few failures.
    pub retry_refused: (Duration, Duration),
    pub networks: Arc<Networks>,
    pub dials: Arc<Dials>,
    pub certificates: Arc<Certificates>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(5),
            keyframe_timeout: Duration::from_secs(10),
            retry: (Duration::from_millis(500), Duration::from_secs(10)),
            retry_refused: (Duration::from_secs(5), Duration::from_secs(60)),
            networks: Arc::default(),
            dials: Arc::new(Dials::new(64, 4)),
            certificates: Arc::new(Certificates::remembering()),
        }
    }
}
