//! Over to the camera's other stream and back, where the session leaves the choice to the hub.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Place;
use crate::stream::{Description, Interest};

/// A camera that gives no keyframe of its other stream by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct Crossing {
    asked: Option<Asked>,
}

struct Asked {
    interest: Arc<dyn Interest>,
    until: Instant,
    look: Instant,
}

impl Crossing {
    /// Asks for the other stream; nothing follows where the session may not have it, or there is none.
    pub fn ask(&mut self, place: &dyn Place, now: Instant) {
        if self.asked.is_none() {
            self.asked = place.other().ok().map(|interest| Asked { interest, until: now + PATIENCE, look: now });
        }
    }

    /// Gives the other stream back, if it was asked for.
    pub fn forget(&mut self) {
        self.asked = None;
    }

    /// Whether the other stream is waited for.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// When `look` wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.look)
    }

    /// The other stream, once it has a keyframe.
    pub fn look(&mut self, now: Instant) -> Option<(Arc<dyn Interest>, Arc<Description>)> {
        let asked = self.asked.as_mut().filter(|asked| now >= asked.look)?;
        asked.look = now + LOOK_EVERY;
        let is_late = now >= asked.until;
        match asked.interest.now() {
            None if !is_late => None,
            None | Some(Err(_)) => {
                self.asked = None;
                None
            }
            Some(Ok(description)) => self.asked.take().map(|asked| (asked.interest, description)),
        }
    }
}
