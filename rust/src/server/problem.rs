//! What the HTTP port says when it refuses: problem+json (RFC 9457) with the reason that clients match on.

use axum::body::Body;
use hyper::http::{HeaderValue, Response, StatusCode, header};
use tracing::error;

use crate::error::{Error, ErrorKind};

/// Seconds after which trying again makes sense.
const RETRY_AFTER_S: &str = "2";

/// An answer with a body that says what is wrong and what to do.
pub fn problem(status: StatusCode, reason: &str, detail: &str) -> Response<Body> {
    let body = serde_json::json!({
        "type": format!("/problems/{}", reason.to_ascii_lowercase().replace('_', "-")),
        "title": title(status),
        "status": status.as_u16(),
        "detail": detail,
        "reason": reason,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        _ => {}
    }
    response
}

/// The answer for an error of ours. The cause of an internal one goes to the log alone.
pub fn problem_of(error: &Error) -> Response<Body> {
    if error.kind() == ErrorKind::Internal {
        error!(%error, cause = ?std::error::Error::source(error), "request failed");
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the hub failed; its log says why");
    }
    problem(status_of(error), error.reason(), error.message())
}

/// The kind's status; where HTTP has a better word for a reason, that.
pub(super) fn status_of(error: &Error) -> StatusCode {
    match error.reason() {
        "CODEC_NOT_OFFERED" | "B_FRAMES" | "KEYFRAME_TOO_LARGE" => StatusCode::NOT_ACCEPTABLE,
        "CONTENT_TYPE" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "TOO_LARGE" => StatusCode::PAYLOAD_TOO_LARGE,
        "LIMIT_VIEWERS" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// 405 with what is allowed instead.
pub fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response =
        problem(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", &format!("this address takes {allow}"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// "Not Found" as "Not found".
fn title(status: StatusCode) -> String {
    let words = status.canonical_reason().unwrap_or("Refused");
    let (first, rest) = words.split_at_checked(1).unwrap_or((words, ""));
    first.to_owned() + &rest.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_status() {
        for kind in ErrorKind::ALL {
            let status = problem_of(&Error::new(kind, "SOME_REASON", "a sentence")).status();
            assert_eq!(status.as_u16(), kind.http_status());
        }
    }

    #[test]
    fn what_can_pass_says_when_to_try_again() {
        for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
            assert!(problem(status, "LIMIT_VIEWERS", "").headers().contains_key(header::RETRY_AFTER));
        }
        assert_eq!(title(StatusCode::NOT_FOUND), "Not found");
    }
}
