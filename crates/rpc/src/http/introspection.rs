//! `POST /v1/introspect`: RFC 7662, for services that don't speak gRPC.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router, body};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use postern_proto::pb;
use serde::Serialize;
use url::form_urlencoded;

use crate::caller::{BearerToken, Caller};
use crate::deadline::Deadline;
use crate::error::{self, Error};

/// The page's path.
pub const PATH: &str = "/v1/introspect";
/// A token of 16 KiB, percent-encoded at worst.
const MAX_BODY: usize = 64 * 1024;
const MAX_TOKEN: usize = 16 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
const FORM: &str = "application/x-www-form-urlencoded";

/// Who asks, and about which token.
#[derive(Debug)]
pub struct Question {
    pub asker: BearerToken,
    pub caller: Caller,
    pub deadline: Deadline,
    /// The asker's own may be asked about too.
    pub token: BearerToken,
    /// Where another's token was shown, as the asker saw it. Empty: unknown.
    pub client_address: String,
}

/// What answers for gRPC callers too.
pub trait Introspector: Send + Sync + 'static {
    /// # Errors
    /// As `TokenService.Introspect`.
    fn introspect(
        &self,
        question: Question,
    ) -> impl Future<Output = Result<pb::IntrospectResponse, Error>> + Send;
}

struct Page<I> {
    introspector: I,
}

/// RFC 7662's answer. What isn't known is left out.
#[derive(Debug, Default, Serialize)]
struct Answer {
    active: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    iss: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sub: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aud: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_claims: Option<BTreeMap<String, Vec<String>>>,
}

/// OAuth's error (RFC 6749, section 5.2; RFC 6750, section 3.1).
#[derive(Debug, Serialize)]
struct Fault {
    error: &'static str,
    error_description: String,
}

/// The page, to be put beside a server's own.
pub fn routes(introspector: impl Introspector) -> Router {
    let page = Arc::new(Page { introspector });
    Router::new().route(PATH, post(introspect)).with_state(page)
}

async fn introspect<I: Introspector>(
    State(page): State<Arc<Page<I>>>,
    request: Request,
) -> Response {
    match page.answer(request).await {
        Ok(answer) => not_kept(Json(answer).into_response()),
        Err(refusal) => refusal,
    }
}

/// No cache keeps what is true of a token now.
fn not_kept(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

// === impl Page ===

impl<I: Introspector> Page<I> {
    async fn answer(&self, request: Request) -> Result<Answer, Response> {
        let deadline = Deadline::after(TIMEOUT);
        let question = deadline.run(question(request, deadline)).await;
        let question =
            question.unwrap_or_else(|_| Err(invalid("the request didn't come in time")))?;
        match deadline.run(self.introspector.introspect(question)).await {
            Ok(Ok(answer)) => Ok(answer.into()),
            Ok(Err(error)) => Err(refusal(error)),
            Err(_) => Err(refusal(Error::DeadlineExceeded)),
        }
    }
}

async fn question(request: Request, deadline: Deadline) -> Result<Question, Response> {
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| refusal(Error::internal("a layer is missing")))?;
    // Before the body: who shows nothing learns nothing about the form.
    let asker = BearerToken::from_authorization(request.headers());
    let asker = asker.ok().flatten().ok_or_else(unauthenticated)?;
    if !is_form(request.headers()) {
        return Err(invalid(
            "the body must be application/x-www-form-urlencoded",
        ));
    }
    let body = body::to_bytes(request.into_body(), MAX_BODY).await;
    let body = body.map_err(|_| invalid("the body is longer than 64 KiB, or broken off"))?;
    let token = single(&body, "token")?;
    if token.is_empty() {
        return Err(invalid("token is missing"));
    }
    if token.len() > MAX_TOKEN {
        return Err(invalid("token is longer than 16 KiB"));
    }
    Ok(Question {
        asker,
        caller,
        deadline,
        token: BearerToken::new(token),
        client_address: single(&body, "client_address")?,
    })
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let kind = value.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(FORM)
    })
}

/// No parameter may stand twice. One that isn't there is empty.
fn single(form: &[u8], name: &str) -> Result<String, Response> {
    let mut values = form_urlencoded::parse(form).filter(|(key, _)| key == name);
    let value = values.next();
    if values.next().is_some() {
        return Err(invalid(&format!("{name} stands there twice")));
    }
    Ok(value
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default())
}

fn fault(status: StatusCode, error: &'static str, description: &str) -> Response {
    let body = Json(Fault {
        error,
        error_description: description.to_owned(),
    });
    not_kept((status, body).into_response())
}

fn invalid(description: &str) -> Response {
    fault(StatusCode::BAD_REQUEST, "invalid_request", description)
}

fn unauthenticated() -> Response {
    let mut response = fault(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        "send a token that is good: authorization: Bearer t-…",
    );
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn away(status: StatusCode, description: &str) -> Response {
    let mut response = fault(status, "temporarily_unavailable", description);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// What a caller over plain HTTP gets for an error.
pub(crate) fn refusal(error: Error) -> Response {
    error::log(&error);
    match error {
        Error::Invalid(violations) => {
            let faults: Vec<String> = violations
                .iter()
                .map(|violation| format!("{} {}", violation.field, violation.fault))
                .collect();
            invalid(&faults.join("; "))
        }
        Error::Unauthenticated | Error::OnBehalfUnauthenticated | Error::LoginRefused => {
            unauthenticated()
        }
        Error::PermissionDenied { message } => {
            fault(StatusCode::FORBIDDEN, "insufficient_scope", &message)
        }
        Error::Unavailable { message, .. } => away(StatusCode::SERVICE_UNAVAILABLE, &message),
        Error::ResourceExhausted { .. } | Error::SubjectLimited { .. } => away(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests; try again in a moment",
        ),
        Error::DeadlineExceeded => away(StatusCode::SERVICE_UNAVAILABLE, "no answer in time"),
        Error::NotFound { .. }
        | Error::AlreadyExists { .. }
        | Error::Aborted { .. }
        | Error::FailedPrecondition { .. }
        | Error::Unimplemented
        | Error::Internal(_) => fault(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "a fault of the server's; its log has it under the request ID",
        ),
    }
}

// === impl Answer ===

impl From<pb::IntrospectResponse> for Answer {
    fn from(token: pb::IntrospectResponse) -> Self {
        if !token.active {
            return Self::default();
        }
        let claims = token.sub_claims.into_iter();
        Self {
            active: true,
            client_id: token.access_id,
            iss: token.iss,
            sub: token.sub,
            aud: token.aud,
            jti: token.accessor,
            iat: token.issue_time.map(|time| time.seconds),
            exp: token.expire_time.map(|time| time.seconds),
            token_type: Some("Bearer"),
            roles: Some(token.roles),
            sub_claims: Some(claims.map(|(name, list)| (name, list.values)).collect()),
        }
    }
}
