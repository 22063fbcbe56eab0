//! Which of a camera's streams a viewer gets: the main one where it can play that, else the sub stream, if it left the choice.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, ErrorKind, Result};
use crate::gate::{Admission, BoxFuture};
use crate::media::Profile;
use crate::stream::Description;

/// Of a successful answer: the stream that is played, and where it is not the main one, why.
const PROFILE: HeaderName = HeaderName::from_static("x-vidhub-profile");
const REASON: HeaderName = HeaderName::from_static("x-vidhub-reason");

/// A stream that the viewer can play.
#[derive(Debug)]
pub struct Choice<T> {
    pub description: Arc<Description>,
    /// What `fits` said of it.
    pub fit: T,
    pub profile: Profile,
    /// Why it is not the main stream: CODEC_NOT_OFFERED, B_FRAMES, KEYFRAME_TOO_LARGE, or what is wrong with that, as in CAMERA_NO_PICTURE;
    /// empty where it is, or was asked for.
    pub reason: &'static str,
}

/// Waits for the camera, at most `patience`, and for the other stream as long again where it is asked for; asks of the description whether the viewer can play
/// it. Afterwards the admission holds what was chosen. Errors: the camera's, or those of `fits` with a word on why the other
/// stream is no help.
pub async fn choose<T>(
    admission: &dyn Admission,
    patience: Duration,
    fits: impl Fn(&Description) -> Result<T>,
) -> Result<Choice<T>> {
    let description = within(patience, admission.ready()).await?;
    let refusal = match fits(&description) {
        Ok(fit) => {
            return Ok(Choice { description, fit, profile: admission.profile(), reason: admission.instead() });
        }
        Err(refusal) => refusal,
    };
    let no_help = |why: String| Error::new(refusal.kind(), refusal.reason(), format!("{}. {why}", refusal.message()));
    let other = match admission.other() {
        Ok(other) => other,
        Err(cause) => return Err(no_help(without_other(&cause))),
    };
    let name = if other.profile() == Profile::Sub { "sub" } else { "main" };
    let described = within(patience, other.ready()).await;
    let description =
        described.map_err(|cause| no_help(format!("Its {name} stream can't be had: {}", cause.message())))?;
    let fit =
        fits(&description).map_err(|cause| no_help(format!("Its {name} stream is no help: {}", cause.message())))?;
    let profile = other.profile();
    admission.switched(other);
    Ok(Choice { description, fit, profile, reason: refusal.reason() })
}

impl<T> Choice<T> {
    /// Tells the client in the header of the answer.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let profile = if self.profile == Profile::Main { "main" } else { "sub" };
        headers.insert(PROFILE, HeaderValue::from_static(profile));
        if !self.reason.is_empty() {
            headers.insert(REASON, HeaderValue::from_static(self.reason));
        }
    }
}

/// Why there is no other stream to go to.
fn without_other(cause: &Error) -> String {
    match cause.reason() {
        "PROFILE_FIXED" => {
            "The session asked for this stream alone: open one with profile AUTO to be given the other".into()
        }
        "CAMERA_PROFILE_MISSING" => "No other stream of this camera is registered: its unit can add one".into(),
        _ => format!("Its other stream can't be had: {}", cause.message()),
    }
}

async fn within(patience: Duration, ready: BoxFuture<'_, Result<Arc<Description>>>) -> Result<Arc<Description>> {
    tokio::time::timeout(patience, ready).await.map_err(|_| {
        Error::new(ErrorKind::Unavailable, "CAMERA_NO_KEYFRAME", "the camera has given no keyframe in time; try again")
    })?
}
