//! A viewer's interest in a stream, as the viewer itself may hold it.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{Description, SinkHandle, SourceState, Stream};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;

/// Somebody's interest in one of a camera's streams: the stream runs while there is one. Shared like any; dropping it
/// gives it back.
pub trait Interest: Send + Sync + 'static {
    fn profile(&self) -> Profile;
    fn stream(&self) -> &Arc<Stream>;
    /// Waits until the tracks are known and a keyframe is cached. Errors: CAMERA_REFUSED_LOGIN, CAMERA_SILENT,
    /// CAMERA_UNREACHABLE, CAMERA_NO_KEYFRAME (Unavailable).
    fn ready(&self) -> BoxFuture<'_, Result<Arc<Description>>>;
    /// The sink plays from this stream: it is ended with it.
    fn plays(&self, sink: SinkHandle);

    /// What `ready` would say if it had to speak now, for a sink on its shard, which can't wait; None: not known yet.
    fn now(&self) -> Option<Result<Arc<Description>>> {
        let state = self.stream().state().borrow().clone();
        match state {
            SourceState::Live => self.stream().description().map(Ok),
            SourceState::Failed { reason, message, .. } => {
                Some(Err(Error::new(ErrorKind::Unavailable, reason, message)))
            }
            SourceState::Idle | SourceState::Connecting => None,
        }
    }
}
