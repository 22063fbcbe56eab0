//! Somebody's interest in a stream, and their wait for its first picture.

use std::fmt;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::ender::Ender;
use super::pushes::Turn;
use super::streams::{MOVED, Origin, Running, Streams};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::source::for_viewers;
use crate::stream::{Description, SinkHandle, SourceState, Stream};

/// Somebody's interest in a stream; the stream runs while there is one.
pub struct Lease {
    pub(super) running: Arc<Running>,
    pub(super) streams: Arc<Streams>,
    /// Whether it is a viewer's: the others bring media themselves.
    pub(super) views: bool,
    pub(super) number: u64,
}

/// What the catalogue calls a failure of the source, which tells more than its reason.
#[derive(Debug)]
pub struct Cause(pub &'static str);

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

impl std::error::Error for Cause {}

/// Causes that lie in one stream of a camera which answers: its other stream may be of use.
const UNCARRIED: [&str; 3] = ["CAMERA_NO_PICTURE", "CAMERA_INVALID", "CAMERA_NO_KEYFRAME"];

/// The cause of an error that lies in one stream of a camera, if this one does.
pub(super) fn uncarried(error: &Error) -> Option<&'static str> {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Cause>());
    cause.map(|cause| cause.0).filter(|cause| UNCARRIED.contains(cause))
}

/// The error as another hub is told it: by its cause where that lies in one stream, so that its viewers are given the
/// camera's other stream as those here are.
pub fn for_hubs(error: Error) -> Error {
    match uncarried(&error) {
        Some(cause) => Error::new(error.kind(), cause, error.message()),
        None => error,
    }
}

impl Lease {
    /// Takes the stream over to push it: whoever pushes it is ended with CONNECTION_REPLACED, a pull ends, and once they
    /// write no more the turn is given. Errors: CONNECTION_REPLACED (Aborted) when another came meanwhile,
    /// CAMERA_BUSY (Unavailable).
    pub async fn take_over(&self, ender: Ender) -> Result<Turn> {
        Turn::take(self.streams.clone(), self.running.clone(), self.number, ender).await
    }

    pub fn profile(&self) -> Profile {
        self.running.key.1
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.running.stream
    }

    /// What plays from the stream is ended with it.
    pub fn plays(&self, sink: SinkHandle) {
        self.running.sinks.lock().insert(self.number, sink.clone());
        if self.running.stop.is_cancelled() {
            sink.end(MOVED);
        }
    }

    /// Waits until the tracks are known and a keyframe is cached. All who wait share one start. Where no group fits into
    /// the cache, a keyframe that has come meanwhile is enough: another is likely to come in time.
    pub async fn ready(&self) -> Result<Arc<Description>> {
        let mut state = self.running.stream.state();
        let mut groups = self.running.stream.groups();
        let earlier = *groups.borrow_and_update();
        let deadline = Instant::now() + self.streams.options.patience;
        loop {
            // The guard of the state is given back before the stream is asked anything.
            let now = state.borrow_and_update().clone();
            match now {
                SourceState::Live => {
                    let has_keyframe = self.running.stream.has_keyframe() || *groups.borrow() != earlier;
                    if let Some(description) = self.running.stream.description().filter(|_| has_keyframe) {
                        return Ok(description);
                    }
                }
                SourceState::Failed { reason, cause, message } => {
                    return Err(Error::new(ErrorKind::Unavailable, reason, message).because(Cause(cause)));
                }
                SourceState::Idle | SourceState::Connecting => {}
            }
            let changed = tokio::select! {
                () = self.running.stop.cancelled() => return Err(stopped()),
                changed = timeout_at(deadline, async { tokio::select! {
                    changed = state.changed() => changed,
                    changed = groups.changed() => changed,
                } }) => changed,
            };
            match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(self.impatient()),
            }
        }
    }

    fn impatient(&self) -> Error {
        let waited = self.streams.options.patience.as_secs_f64();
        let supply = self.running.supply.lock();
        if supply.origin == Origin::Hub {
            // It was asked for again meanwhile, and who waited waited for that too.
            if let Some((reason, message)) = supply.asking.told() {
                return Error::new(ErrorKind::Unavailable, for_viewers(reason), message.clone()).because(Cause(reason));
            }
            return Error::new(
                ErrorKind::Unavailable,
                "LINK_NO_MEDIA",
                format!("the hub that shares this camera has brought nothing within {waited:.0} s: try again"),
            );
        }
        if supply.push.is_none() && supply.origin == Origin::Pushed {
            return Error::new(
                ErrorKind::Unavailable,
                "CAMERA_UNREACHABLE",
                "the camera has no address to pull from: its unit pushes it, and does not now",
            );
        }
        drop(supply);
        if self.running.stream.has_pictures() || self.running.stream.description().is_some() {
            Error::new(
                ErrorKind::Unavailable,
                "CAMERA_NO_KEYFRAME",
                format!(
                    "the camera sends media, but no keyframe came within {waited:.0} s: shorten its keyframe interval, \
                     and switch intra refresh and open groups of pictures off"
                ),
            )
            .because(Cause("CAMERA_NO_KEYFRAME"))
        } else {
            Error::new(
                ErrorKind::Unavailable,
                "CAMERA_SILENT",
                format!("the camera sent no media within {waited:.0} s: check its stream settings"),
            )
        }
    }
}

/// Nothing comes any more from a stream that was stopped while somebody waited for it.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "CAMERA_UNREACHABLE", "the camera's record has just changed: try again")
}

impl Drop for Lease {
    fn drop(&mut self) {
        let is_last_to_watch = {
            let mut supply = self.running.supply.lock();
            supply.viewers -= usize::from(self.views);
            supply.origin == Origin::Hub && supply.viewers == 0
        };
        self.running.sinks.lock().remove(&self.number);
        let is_last = {
            let mut interest = self.running.interest.lock();
            *interest -= 1;
            *interest == 0
        };
        if is_last || is_last_to_watch {
            self.running.idle.notify_one();
            self.running.news.notify_one();
        }
    }
}
