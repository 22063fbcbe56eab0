//! Whether anybody from another hub has a session on a camera: what goes to that hub ends with the last of them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::sessions::{SessionSpec, Sessions};
use crate::policy::PrincipalKind;
use crate::ticket::Operation;

/// Who waits for the last guest's end, by camera.
#[derive(Default)]
pub struct Guests {
    waiting: Mutex<HashMap<String, Vec<Waiting>>>,
}

struct Waiting {
    peer: String,
    gone: CancellationToken,
}

/// Guests of one hub on one camera, while there are any.
pub struct Visit {
    sessions: Arc<Sessions>,
    camera: String,
    gone: CancellationToken,
}

impl Visit {
    /// None when nobody of hub `peer` has a session to watch the camera.
    pub fn of(sessions: &Arc<Sessions>, camera: &str, peer: &str) -> Option<Self> {
        let visit = Self { sessions: sessions.clone(), camera: camera.to_owned(), gone: CancellationToken::new() };
        let waiting = Waiting { peer: peer.to_owned(), gone: visit.gone.clone() };
        sessions.guests.waiting.lock().entry(camera.to_owned()).or_default().push(waiting);
        // Entered first, so that an end in this moment is heard.
        sessions.has_guest(camera, peer).then_some(visit)
    }

    /// Returns when the last of them has gone.
    pub async fn over(&self) {
        self.gone.cancelled().await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.gone.cancel();
        let mut waiting = self.sessions.guests.waiting.lock();
        if let Some(of_camera) = waiting.get_mut(&self.camera) {
            of_camera.retain(|one| !one.gone.is_cancelled());
            if of_camera.is_empty() {
                waiting.remove(&self.camera);
            }
        }
    }
}

impl Guests {
    /// A session on the camera has left the book.
    pub(super) fn left(&self, sessions: &Sessions, camera: &str) {
        let waiting: Vec<(String, CancellationToken)> = match self.waiting.lock().get(camera) {
            Some(of_camera) => of_camera.iter().map(|one| (one.peer.clone(), one.gone.clone())).collect(),
            None => return,
        };
        for (peer, gone) in waiting {
            if !sessions.has_guest(camera, &peer) {
                gone.cancel();
            }
        }
    }
}

/// Whether the session is to watch, and its principal is the hub `peer` or of it.
pub(super) fn is_guest(spec: &SessionSpec, peer: &str) -> bool {
    let principal = &spec.principal;
    let hub = if principal.kind == PrincipalKind::Hub { &principal.id } else { &principal.hub_id };
    hub == peer && !peer.is_empty() && spec.operation() == Operation::Play
}
