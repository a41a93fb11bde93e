//! `/.well-known/openid-configuration` and `/.well-known/jwks.json`: what others verify tokens by.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use postern_core::jwt::IssuerUrl;
use postern_core::signing_key::{KEY_SET_MAX_AGE, PublishedKey};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::context::Context;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEY_SET: &str = "/.well-known/jwks.json";
/// Everybody may ask, so the database is asked once for all who come within a second, unless this
/// process knows of a change.
const FRESH: Duration = Duration::from_secs(1);

/// What was read last.
struct Read {
    at: Instant,
    revision: i64,
    keys: Vec<PublishedKey>,
}

struct KeySet {
    context: Context,
    last: Mutex<Option<Read>>,
}

pub(crate) fn routes(context: Context) -> Router {
    let keys = KeySet {
        context,
        last: Mutex::new(None),
    };
    Router::new()
        .route(DISCOVERY, get(discovery))
        .route(KEY_SET, get(key_set))
        .with_state(Arc::new(keys))
}

/// OpenID Connect Discovery, as far as there is something to say: nobody signs in here.
async fn discovery(State(keys): State<Arc<KeySet>>) -> Response {
    let Some(issuer) = &keys.context.issuer else {
        return none();
    };
    page(document(issuer))
}

fn document(issuer: &IssuerUrl) -> Value {
    json!({
        "issuer": issuer.as_str(),
        "jwks_uri": issuer.page(KEY_SET),
        "id_token_signing_alg_values_supported": ["ES256"],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "claims_supported": [
            "iss", "sub", "aud", "iat", "nbf", "exp", "jti", "access_id", "sub_claims", "roles",
        ],
    })
}

async fn key_set(State(keys): State<Arc<KeySet>>) -> Response {
    if keys.context.issuer.is_none() {
        return none();
    }
    match keys.current().await {
        Ok(set) => page(set),
        Err(error) => {
            tracing::warn!(%error, "the key set can't be read");
            let body = json!({ "error": "the key set can't be read at the moment; try again" });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

fn page(body: Value) -> Response {
    let max_age = format!("public, max-age={}", KEY_SET_MAX_AGE.as_secs());
    ([(header::CACHE_CONTROL, max_age)], Json(body)).into_response()
}

fn none() -> Response {
    let body = json!({ "error": "this control plane has no issuer URL (--issuer-url)" });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

// === impl KeySet ===

impl KeySet {
    async fn current(&self) -> Result<Value, Fault> {
        let mut last = self.last.lock().await;
        let revision = *self.context.store.subscribe()?.borrow();
        let known = last
            .as_ref()
            .is_some_and(|read| read.revision == revision && read.at.elapsed() < FRESH);
        let (at, now) = (Instant::now(), self.context.now());
        if !known {
            let stored = self.context.store.signing_keys(now).await?;
            *last = Some(Read {
                at,
                revision,
                keys: stored.into_iter().map(|boxed| boxed.published).collect(),
            });
        }
        let keys = last.iter().flat_map(|read| &read.keys);
        let published = keys.filter(|key| key.is_published(now));
        let jwks: Vec<Value> = published
            .map(|published| published.key.to_jwk())
            .collect::<Result<_, _>>()?;
        Ok(json!({ "keys": jwks }))
    }
}
