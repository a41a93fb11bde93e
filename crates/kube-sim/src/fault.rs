//! Ways to misbehave, for the tests of those who call a Kubernetes API.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::http::{Answer, json_answer, text_answer};
use crate::objects::merge;

/// How every TokenReview, or every request for one path, is answered until another fault is set. Other requests are
/// answered as ever.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// As a healthy server does.
    #[default]
    None,
    /// The request is taken, and never answered.
    Hang,
    /// The true answer, once this is notified.
    Hold(Arc<Notify>),
    /// The true answer, after this time.
    Delay(Duration),
    /// Status 201 (200 for what is read) and its headers, then nothing.
    StallBody,
    /// This status code with the `Status` body that belongs to it; 429 carries `Retry-After: 1`.
    Status(u16),
    /// A 307 to this location.
    Redirect(String),
    /// Status 200 and a page for people, as a login proxy answers.
    Html,
    /// The same status and a body without an end.
    EndlessBody,
    /// The same status and exactly this body, as JSON.
    Body(String),
    /// The true answer merged with this object, of a review its `status`: null removes a key (RFC 7386).
    Patch(Value),
}

impl Fault {
    /// The answer in place of the true one, to a request that succeeds with `success`; none where that goes on.
    pub(crate) async fn answer(
        &self,
        success: StatusCode,
        stopped: &CancellationToken,
    ) -> Option<Answer> {
        let answer = match self {
            Self::None | Self::Patch(_) => return None,
            Self::Hold(release) => {
                stopped.run_until_cancelled(release.notified()).await;
                return None;
            }
            Self::Hang => {
                stopped.cancelled().await;
                json_answer(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &ApiError::of_code(503).body(),
                )
            }
            Self::Delay(time) => {
                stopped.run_until_cancelled(sleep(*time)).await;
                return None;
            }
            Self::StallBody => body_answer(success, Stall::Silent),
            Self::EndlessBody => body_answer(success, Stall::Blanks),
            Self::Status(code) => {
                let status =
                    StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut answer = json_answer(status, &ApiError::of_code(status.as_u16()).body());
                if status == StatusCode::TOO_MANY_REQUESTS {
                    answer
                        .headers_mut()
                        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                }
                answer
            }
            Self::Redirect(location) => {
                let mut answer =
                    text_answer(StatusCode::TEMPORARY_REDIRECT, "text/plain", String::new());
                if let Ok(location) = HeaderValue::from_str(location) {
                    answer.headers_mut().insert(header::LOCATION, location);
                }
                answer
            }
            Self::Html => {
                let page = "<!doctype html><title>Sign in</title><p>Please sign in.</p>\n";
                text_answer(StatusCode::OK, "text/html; charset=utf-8", page.to_owned())
            }
            Self::Body(body) => text_answer(success, "application/json", body.clone()),
        };
        Some(answer)
    }

    pub(crate) fn spoil(&self, answer: &mut Value) {
        if let Self::Patch(patch) = self {
            merge(answer, patch);
        }
    }
}

fn body_answer(status: StatusCode, body: Stall) -> Answer {
    let mut answer = Response::new(body.boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    answer
}

/// A body that never ends.
enum Stall {
    Silent,
    Blanks,
}

impl Body for Stall {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match *self {
            Self::Silent => Poll::Pending,
            Self::Blanks => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 4096]))))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_removes_and_replaces() {
        let healthy = json!({ "authenticated": true, "user": { "username": "a", "uid": "1" } });
        let mut review = healthy.clone();
        Fault::Patch(json!({ "authenticated": null, "user": { "username": "b" } }))
            .spoil(&mut review);
        assert_eq!(review, json!({ "user": { "username": "b", "uid": "1" } }));
        let mut review = healthy.clone();
        Fault::Patch(Value::Null).spoil(&mut review);
        assert_eq!(review, Value::Null);
        let mut review = healthy.clone();
        Fault::None.spoil(&mut review);
        assert_eq!(review, healthy);
    }
}
