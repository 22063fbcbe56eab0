//! The door as the media servers see it.

use std::net::SocketAddr;
use std::sync::Arc;

pub use futures::future::BoxFuture;

use super::ender::Ender;
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::stream::{Description, Interest, SinkHandle, Stream};
use crate::telemetry::{Meter, Protocol};

/// What a client shows at a media port.
pub enum Proof<'a> {
    /// A ticket, from `Authorization: Bearer` or `?ticket=`.
    Ticket(&'a str),
    /// The session's `rtsp_user`; the server has verified Digest or Basic against `Door::rtsp_password`.
    RtspUser(&'a str),
}

/// An attempt that got nothing.
pub struct Refusal<'a> {
    pub camera: &'a str,
    pub ticket: Option<&'a str>,
    pub error: &'a Error,
    pub protocol: Protocol,
    pub peer: SocketAddr,
}

/// The door as the media servers see it: `Gate` in a hub, a fixed camera in `vidhub camera-sim`.
pub trait Door: Send + Sync + 'static {
    /// Settles one attempt. Reasons as in the contract: TICKET_MISSING, TICKET_INVALID, TICKET_EXPIRED, SESSION_UNKNOWN
    /// (Unauthenticated), TICKET_OTHER_CAMERA (PermissionDenied), CAMERA_NOT_FOUND (NotFound), LIMIT_… (ResourceExhausted).
    fn admit(
        &self,
        camera: &str,
        proof: Option<Proof<'_>>,
        protocol: Protocol,
        peer: SocketAddr,
    ) -> Result<Arc<dyn Admission>>;

    /// The same for a client that is going to push the camera. Reasons as of `admit`, and both TICKET_OTHER_OPERATION
    /// (PermissionDenied): what was given to watch is no right to push, nor the other way round.
    fn publish(
        &self,
        camera: &str,
        _proof: Option<Proof<'_>>,
        _protocol: Protocol,
        _peer: SocketAddr,
    ) -> Result<Arc<dyn Publication>> {
        let message = format!("{camera} takes no push here");
        Err(Error::new(ErrorKind::Unimplemented, "PUBLISH_NOT_SERVED", message))
    }

    /// Whose ticket this is, expired or not, as long as its session is open: for WHEP's PATCH and DELETE, whose bearer
    /// may be older than a ticket's time to first use. Errors as `admit`.
    fn session_of(&self, ticket: &str) -> Result<String>;

    /// Somebody was turned away, by this door or by the server before it: for the record.
    fn refused(&self, _refusal: &Refusal<'_>) {}

    /// The session's RTSP password, to verify Digest with; None for an unknown user.
    fn rtsp_password(&self, rtsp_user: &str) -> Option<String>;
}

/// One admitted attempt. Dropping it gives the place in the session and the interest in the camera back.
pub trait Admission: Send + Sync + 'static {
    fn session_id(&self) -> &str;
    /// The stream that it plays or is to play.
    fn stream(&self) -> Arc<Stream>;
    /// Which of the camera's streams that is.
    fn profile(&self) -> Profile {
        Profile::Main
    }
    /// Starts the source if need be (all who wait share one start) and waits until the tracks are known and a keyframe
    /// is cached. A session that leaves the choice to the hub goes over to the camera's other stream where this one can't
    /// be carried: `stream` and `profile` tell that one from then on. Errors: CAMERA_REFUSED_LOGIN, CAMERA_SILENT,
    /// CAMERA_UNREACHABLE, CAMERA_NO_KEYFRAME (Unavailable).
    fn ready(&self) -> BoxFuture<'_, Result<Arc<Description>>>;
    /// Where `ready` went over to the other stream: what is wrong with the first one, as in CAMERA_NO_PICTURE; else empty.
    fn instead(&self) -> &'static str {
        ""
    }
    /// Whether the session is still open. To be asked before a sink is built: one that is on its shard may play for a
    /// moment before its end reaches it.
    fn is_open(&self) -> bool {
        true
    }
    /// Why the session has ended, if it has.
    fn end_reason(&self) -> Option<&'static str> {
        None
    }
    /// The client has chosen how its media goes, which `admit` could not know. Before `connected`.
    fn carried_by(&self, _protocol: Protocol) {}
    /// The sink is on its shard: from now on the session's end ends it, and an older connection of the same session
    /// and protocol is replaced. If the session has ended meanwhile, the sink is ended at once.
    fn connected(&self, sink: SinkHandle);
    /// An interest in the stream that it does not play now, main or sub, for a session that leaves the choice to the hub
    /// (profile AUTO). Errors: CAMERA_PROFILE_MISSING (NotFound) where the camera has no other, PROFILE_FIXED
    /// (FailedPrecondition) where it has and the session asked for just this one, and those of `Door::admit`.
    fn other(&self) -> Result<Arc<dyn Interest>> {
        Err(Error::new(
            ErrorKind::FailedPrecondition,
            "PROFILE_FIXED",
            "the session asked for this stream and no other",
        ))
    }
    /// The viewer has gone over to what `other` gave (`Flow::Switch`), or plays it from the start: the interest in the
    /// stream it came from is given back, and its sink ends with the new one.
    fn switched(&self, _to: Arc<dyn Interest>) {}
    /// Counts what goes out where the viewer is another hub.
    fn link(&self) -> Option<Meter> {
        None
    }
    /// The first picture went out: `first_picture_seconds` counts from `admit`.
    fn first_picture(&self);
}

/// One admitted publisher. Dropping it ends the push: its viewers wait for the next one.
pub trait Publication: Send + Sync + 'static {
    fn session_id(&self) -> &str;
    /// What its media goes into, once `begin` has returned.
    fn stream(&self) -> &Arc<Stream>;
    /// Counts what comes in where another hub pushes.
    fn link(&self) -> Option<Meter> {
        None
    }
    /// The connection is about to bring media: older ones of the session and protocol, whoever else pushes the camera,
    /// and a pull of it are ended. The session's end ends it by `ender`. Errors: SESSION_UNKNOWN (Unauthenticated),
    /// CONNECTION_REPLACED (Aborted), CAMERA_BUSY, CAMERA_UNREACHABLE (Unavailable).
    fn begin(&self, ender: Ender) -> BoxFuture<'_, Result<()>>;
}
