//! Media between hubs: what is given to another hub, what another hub gives, and what it says of its cameras.

use std::sync::Arc;

use super::door::BoxFuture;
use super::guests::Visit;
use super::lease::Lease;
use super::{Gate, camera_not_found, now};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::peer::Peer;
use crate::registry::State;
use crate::stream::{Description, Interest, SinkHandle, Stream};

/// A stream for another hub, for as long as somebody of that hub watches the camera.
pub struct Lent {
    lease: Lease,
    visit: Visit,
}

impl Lent {
    /// Returns when nobody of the other hub watches any more.
    pub async fn over(&self) {
        self.visit.over().await;
    }
}

impl Interest for Lent {
    fn profile(&self) -> Profile {
        self.lease.profile()
    }

    fn stream(&self) -> &Arc<Stream> {
        self.lease.stream()
    }

    fn ready(&self) -> BoxFuture<'_, Result<Arc<Description>>> {
        Box::pin(self.lease.ready())
    }

    fn plays(&self, sink: SinkHandle) {
        self.lease.plays(sink);
    }
}

impl Gate {
    /// A stream for the hub `peer`. Errors: CAMERA_NOT_FOUND, CAMERA_PROFILE_MISSING (NotFound), RELAY_NOT_WANTED
    /// (FailedPrecondition) when nobody of that hub has a session on the camera, LIMIT_STREAMS (ResourceExhausted).
    pub fn lend(&self, camera: &str, profile: Profile, peer: &str) -> Result<Lent> {
        if self.registry.get(camera).is_none() {
            return Err(camera_not_found(camera));
        }
        let visit = Visit::of(&self.sessions, camera, peer).ok_or_else(|| {
            let message = format!("nobody of hub {peer} has a session on camera {camera}: a view is asked for first");
            Error::new(ErrorKind::FailedPrecondition, "RELAY_NOT_WANTED", message)
        })?;
        Ok(Lent { lease: self.lease(camera, Some(profile))?, visit })
    }

    /// Pulls a wanted stream of another hub's camera where that hub gives it. Errors: CAMERA_NOT_FOUND (NotFound),
    /// CAMERA_NOT_FOREIGN, STREAM_NOT_WANTED (FailedPrecondition).
    pub fn supply_stream(&self, camera: &str, profile: Profile, peer: Peer) -> Result<()> {
        let row = self.registry.get(camera).ok_or_else(|| camera_not_found(camera))?;
        if !self.is_foreign(&row) {
            let message = format!("camera {camera} is this hub's own: no other hub brings it");
            return Err(Error::new(ErrorKind::FailedPrecondition, "CAMERA_NOT_FOREIGN", message));
        }
        self.streams.lend(&(camera.to_owned(), profile), peer)
    }

    /// Pulls it no more. False when it was not pulled.
    pub fn withdraw_stream(&self, camera: &str, profile: Profile, reason: &'static str) -> bool {
        self.streams.take_back(&(camera.to_owned(), profile), reason)
    }

    /// Tells whoever waits for the stream why it does not come. False when nobody does.
    pub fn refuse_stream(&self, camera: &str, profile: Profile, reason: &'static str, message: String) -> bool {
        self.streams.refuse(&(camera.to_owned(), profile), reason, message)
    }

    /// Notes what other hubs say of their cameras: (camera, state, time since 1970, reason). How many were news.
    pub fn apply_states(&self, states: Vec<(String, State, f64, String)>) -> usize {
        let here = self.policy.here();
        let latest = now();
        let in_time = |time: f64| if time > 0.0 && time <= latest { time } else { latest };
        let states = states.into_iter().map(|(camera, state, time, reason)| (camera, state, in_time(time), reason));
        let news = self.registry.set_foreign_states(states, here);
        let count = news.len();
        self.events.push_states(news);
        count
    }
}
