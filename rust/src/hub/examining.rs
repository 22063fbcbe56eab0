//! Examines one camera hop by hop, for whoever asks why it brings no picture.

use std::time::Duration;

use tokio::time::timeout;

use super::{Hub, stopped};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::source::{self, Hop, Target};

/// Cameras examined at once.
pub const MAX_EXAMINATIONS: usize = 4;
/// The longest that one examination takes, whatever the time-outs of its hops add up to.
const LONGEST: Duration = Duration::from_secs(50);

impl Hub {
    /// Dials a camera once, on the way that pulling goes. Blocks until that is done, at most `LONGEST`.
    ///
    /// Errors: CAMERA_NOT_FOUND, CAMERA_PROFILE_MISSING (NotFound), CAMERA_FOREIGN, CAMERA_PUSHED, HUB_STOPPED
    /// (FailedPrecondition), LIMIT_EXAMINATIONS (ResourceExhausted).
    pub fn examine_camera(&self, id: &str, profile: Profile) -> Result<Vec<Hop>> {
        let handle = self.runtime.lock().as_ref().map(|runtime| runtime.handle().clone()).ok_or_else(stopped)?;
        let target = self.target_to_examine(id, profile)?;
        let Ok(_place) = self.examinations.try_acquire() else {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_EXAMINATIONS",
                format!("{MAX_EXAMINATIONS} cameras are being examined: try again in a moment"),
            ));
        };
        handle.block_on(async {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => Err(stopped()),
                examined = timeout(LONGEST, source::examine(&target, &self.dialling)) => examined.map_err(|_| {
                    Error::new(
                        ErrorKind::DeadlineExceeded,
                        "EXAMINATION_TOO_LONG",
                        format!("the camera was not examined within {} s: try again", LONGEST.as_secs()),
                    )
                }),
            }
        })
    }

    fn target_to_examine(&self, id: &str, profile: Profile) -> Result<Target> {
        let row = self
            .gate
            .registry
            .get(id)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "CAMERA_NOT_FOUND", format!("no camera {id}")))?;
        if !row.home_hub_id().is_empty() {
            let message = format!("the camera is of hub {}: examine it there", row.home_hub_id());
            return Err(Error::new(ErrorKind::FailedPrecondition, "CAMERA_FOREIGN", message));
        }
        let stream = row.stream(profile).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "CAMERA_PROFILE_MISSING",
                "the camera has no such stream: ask for the other",
            )
        })?;
        if stream.url.is_empty() {
            let message = "its unit pushes the camera, so there is nothing to dial: see that the unit's encoder runs";
            return Err(Error::new(ErrorKind::FailedPrecondition, "CAMERA_PUSHED", message));
        }
        Ok(Target {
            camera: id.into(),
            url: stream.url,
            username: stream.username,
            password: stream.password,
            transport: stream.transport,
            peer: None,
        })
    }
}
