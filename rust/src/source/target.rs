//! What it takes to dial a camera.

use std::fmt;
use std::sync::Arc;

use crate::peer::Peer;

/// One stream of a camera, as its unit registered it, or as another hub gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Camera id, for logs and results.
    pub camera: Arc<str>,
    /// Without credentials.
    pub url: String,
    pub username: String,
    pub password: String,
    /// 0 unspecified, 1 TCP, 2 UDP.
    pub transport: u8,
    /// The hub that gives it: dialled once, with its ticket, and by nothing else that stands here.
    pub peer: Option<Box<Peer>>,
}

impl Target {
    /// A camera of another hub, where that hub gives it.
    pub fn at(camera: &str, peer: Peer) -> Self {
        let url = peer.url().to_owned();
        let (username, password) = (String::new(), String::new());
        Self { camera: camera.into(), url, username, password, transport: 1, peer: Some(peer.into()) }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("camera", &self.camera).field("url", &self.url).finish_non_exhaustive()
    }
}
