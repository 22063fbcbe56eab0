//! What it takes to dial a camera.

use std::fmt;
use std::sync::Arc;

/// One stream of a camera, as its unit registered it.
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
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("camera", &self.camera).field("url", &self.url).finish_non_exhaustive()
    }
}
