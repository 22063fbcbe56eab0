//! The turn of one who pushes a camera's media into its stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::ender::Ender;
use super::streams::{Origin, Running, Streams};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::SourceState;

/// How long whoever brought the media before may take to stop.
const HAND_OVER: Duration = Duration::from_secs(5);

/// The right to write into a stream. Dropping it says that the camera is not pushed any more, and lets it be pulled
/// again where it can be.
pub struct Turn {
    streams: Arc<Streams>,
    running: Arc<Running>,
    number: u64,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    pub(super) async fn take(streams: Arc<Streams>, running: Arc<Running>, number: u64, ender: Ender) -> Result<Self> {
        {
            let mut supply = running.supply.lock();
            if let Some((_, earlier)) = supply.push.replace((number, ender)) {
                earlier.end("CONNECTION_REPLACED");
            }
            if let Some(pull) = supply.pull.take() {
                pull.cancel();
            }
            supply.lent = None;
            supply.asking.answered(Instant::now());
        }
        // From here on, leaving early leaves nothing behind.
        let mut turn = Self { streams, running, number, permit: None };
        let Ok(Ok(permit)) = timeout(HAND_OVER, turn.running.turns.clone().acquire_owned()).await else {
            warn!(stream = turn.running.stream.name(), "who brought the camera's media before does not stop");
            return Err(Error::new(
                ErrorKind::Unavailable,
                "CAMERA_BUSY",
                "another source of this camera has not stopped yet: try again",
            ));
        };
        turn.permit = Some(permit);
        let is_newest = turn.running.supply.lock().push.as_ref().is_some_and(|(newest, _)| *newest == number);
        if !is_newest {
            return Err(Error::new(
                ErrorKind::Aborted,
                "CONNECTION_REPLACED",
                "another connection pushes this camera since a moment ago",
            ));
        }
        if turn.running.stop.is_cancelled() {
            return Err(super::lease::stopped());
        }
        turn.running.stream.report(SourceState::Connecting);
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut supply = self.running.supply.lock();
        let is_newest = supply.push.as_ref().is_some_and(|(newest, _)| *newest == self.number);
        if is_newest {
            supply.push = None;
        }
        let has_left = is_newest && self.permit.is_some();
        if has_left {
            // Where there is an address to pull from, what comes of pulling tells how the camera is.
            supply.left = (supply.origin == Origin::Pushed).then(|| SourceState::Failed {
                reason: "CAMERA_UNREACHABLE",
                cause: "CAMERA_UNREACHABLE",
                message: "its unit has stopped pushing it".to_owned(),
            });
        }
        drop(supply);
        if has_left {
            self.running.stream.report(SourceState::Idle);
        }
        self.permit = None;
        if is_newest {
            self.streams.pull(&self.running);
            self.streams.supply_ended(&self.running, None);
        }
    }
}
