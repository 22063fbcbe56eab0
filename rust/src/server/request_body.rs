//! The body of a request on its way to the application: bounded in size and time, and known by what it broke on.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::limits::{BODY_TIMEOUT, MAX_API_BODY, MAX_BODY_TIME};
use super::problem::problem;

/// What ended a body before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    TooLarge,
    /// Nothing came for `BODY_TIMEOUT`, or not all in `MAX_BODY_TIME`.
    TooSlow,
    /// It is not framed as HTTP says, or the client has left.
    Unreadable,
}

impl Broken {
    /// What a client is told whose body broke, wherever in the error's causes that stands. None: the fault is another's.
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut causes = std::iter::successors(Some(error), |error| StdError::source(*error));
        causes.find_map(|cause| cause.downcast_ref().copied())
    }

    pub fn answer(self) -> Response<Body> {
        match self {
            Self::TooLarge => {
                let detail = format!("the body is larger than {} MiB", MAX_API_BODY >> 20);
                problem(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", &detail)
            }
            Self::TooSlow => {
                problem(StatusCode::GATEWAY_TIMEOUT, "BODY_TIMEOUT", "the body did not arrive in time; send it again")
            }
            Self::Unreadable => {
                let detail = "the body broke off, or is not framed as its header says";
                problem(StatusCode::BAD_REQUEST, "REQUEST_INVALID", detail)
            }
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLarge => "the body is too large",
            Self::TooSlow => "the body is too slow",
            Self::Unreadable => "the body can't be read",
        })
    }
}

impl StdError for Broken {}

/// Counts and times a body while it streams.
pub struct RequestBody {
    body: Body,
    left: usize,
    /// Since the application waits for more and nothing comes.
    idle: Option<Pin<Box<Sleep>>>,
    /// From the first wait to the end of the body.
    whole: Option<Pin<Box<Sleep>>>,
    idle_within: Duration,
    whole_within: Duration,
}

impl RequestBody {
    pub fn new(body: Body) -> Self {
        Self {
            body,
            left: MAX_API_BODY,
            idle: None,
            whole: None,
            idle_within: BODY_TIMEOUT,
            whole_within: MAX_BODY_TIME,
        }
    }

    /// Whether the time for what is awaited is over.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Self { idle, whole, idle_within, whole_within, .. } = self;
        let idle = idle.get_or_insert_with(|| Box::pin(sleep(*idle_within)));
        let whole = whole.get_or_insert_with(|| Box::pin(sleep(*whole_within)));
        idle.as_mut().poll(cx).is_ready() || whole.as_mut().poll(cx).is_ready()
    }
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return if self.is_late(cx) { Poll::Ready(Some(Err(Broken::TooSlow))) } else { Poll::Pending };
        };
        self.idle = None;
        let Some(frame) = frame else { return Poll::Ready(None) };
        let Ok(frame) = frame else { return Poll::Ready(Some(Err(Broken::Unreadable))) };
        let octets = frame.data_ref().map_or(0, Bytes::len);
        let Some(left) = self.left.checked_sub(octets) else { return Poll::Ready(Some(Err(Broken::TooLarge))) };
        self.left = left;
        // Drops of water are no stream: the time for all of it runs on.
        if self.whole.as_mut().is_some_and(|whole| whole.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Some(Err(Broken::TooSlow)));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(3600);

    async fn read(body: Body, idle_within: Duration, whole_within: Duration) -> Result<usize, Broken> {
        let body = RequestBody { idle_within, whole_within, ..RequestBody::new(body) };
        body.collect().await.map(|whole| whole.to_bytes().len())
    }

    fn drops() -> Body {
        let drops = futures::stream::repeat(()).then(async |()| {
            sleep(Duration::from_millis(1)).await;
            Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
        });
        Body::from_stream(drops)
    }

    #[tokio::test]
    async fn a_body_that_stops_and_one_that_drips_are_given_up() {
        let silent = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(silent, SOON, NEVER).await, Err(Broken::TooSlow));
        assert_eq!(read(drops(), NEVER, SOON).await, Err(Broken::TooSlow));
        assert_eq!(read(Body::from("all of it"), SOON, SOON).await, Ok(9));
    }

    #[tokio::test]
    async fn what_a_body_broke_on_is_found_among_the_causes() {
        let broken = Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("chunk"))]));
        assert_eq!(read(broken, NEVER, NEVER).await, Err(Broken::Unreadable));
        let large = Body::from(vec![0; MAX_API_BODY + 1]);
        assert_eq!(read(large, NEVER, NEVER).await, Err(Broken::TooLarge));
        let wrapped = axum::Error::new(Broken::TooSlow);
        assert_eq!((Broken::of(&wrapped), Broken::of(&std::io::Error::other("x"))), (Some(Broken::TooSlow), None));
    }
}
