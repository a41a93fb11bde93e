//! A request ID for every answer, and one log line for every request.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use postern_proto::permissions;
use tonic::Code;
use tracing::Instrument as _;

use crate::caller::Caller;
use crate::error;
use crate::forwarded::TrustedProxies;
use crate::metrics::{Calls, UNKNOWN};
use crate::request_id::{HEADER, RequestId};
use crate::server::Peer;

pub(crate) async fn observe(
    State((proxies, calls)): State<(TrustedProxies, Calls)>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::generate();
    let peer = request.extensions().get::<Peer>();
    let caller = Caller::new(peer, &proxies, request.headers(), id);
    let record = Record {
        id,
        method: method(&request),
        peer: caller.ip,
        started: Instant::now(),
        outcome: Outcome::Cut,
        calls: says_grpc(request.headers()).then_some(calls),
    };
    let span = tracing::info_span!("request", request_id = %id, method = record.method);
    request.extensions_mut().insert(caller);
    let response = next.run(request).instrument(span).await;
    finish(response, record)
}

/// Only names that the server knows: a path can hold anything, a token included.
pub(super) fn method(request: &Request) -> String {
    let path = request.uri().path();
    if permissions::need(path).is_some() {
        return path.to_owned();
    }
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or_else(|| UNKNOWN.to_owned(), |matched| matched.as_str().to_owned())
}

fn finish(mut response: Response, mut record: Record) -> Response {
    if let Some(value) = record.id.header() {
        response.headers_mut().insert(HEADER, value);
    }
    if let Some(code) = error::complete(response.headers_mut(), record.id) {
        record.outcome = Outcome::Grpc(code);
        return response;
    }
    if !is_grpc(&response) {
        record.outcome = Outcome::Http(response.status().as_u16());
        return response;
    }
    response.map(|body| Body::new(Observed { body, record }))
}

fn is_grpc(response: &Response) -> bool {
    says_grpc(response.headers())
}

pub(super) fn says_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

enum Outcome {
    /// The caller went away, or the connection broke.
    Cut,
    Grpc(Code),
    Http(u16),
}

/// Becomes a log line and a count when the answer is complete or given up.
struct Record {
    id: RequestId,
    method: String,
    peer: Option<IpAddr>,
    started: Instant,
    outcome: Outcome,
    /// Of a gRPC call.
    calls: Option<Calls>,
}

/// A gRPC answer, whose status comes after its messages.
struct Observed {
    body: Body,
    record: Record,
}

// === impl Record ===

impl Drop for Record {
    fn drop(&mut self) {
        let code = match self.outcome {
            Outcome::Cut => "cut off".to_owned(),
            Outcome::Grpc(code) => format!("{code:?}"),
            Outcome::Http(status) => status.to_string(),
        };
        if let Some(calls) = &self.calls {
            let code = match self.outcome {
                Outcome::Grpc(code) => code,
                Outcome::Cut => Code::Cancelled,
                Outcome::Http(_) => Code::Unknown,
            };
            calls.handled(&self.method, code, self.started.elapsed());
        }
        let peer = self.peer.map(tracing::field::display);
        let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (request_id, method) = (&self.id, self.method.as_str());
        // Probes come every few seconds and say nothing.
        if matches!(method, "/livez" | "/readyz" | "/metrics")
            || method.starts_with("/grpc.health.")
        {
            tracing::debug!(%request_id, method, code, duration_ms, peer, "request");
        } else {
            tracing::info!(%request_id, method, code, duration_ms, peer, "request");
        }
    }
}

// === impl Observed ===

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Observed { body, record } = &mut *self;
        let mut polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
            && let Some(code) = error::complete(trailers, record.id)
        {
            record.outcome = Outcome::Grpc(code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
