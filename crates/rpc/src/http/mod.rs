//! `/livez` and `/readyz`, for probes.

pub mod introspection;
mod readiness;

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;

pub(crate) use readiness::Gauge;
pub use readiness::{Component, Readiness};

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
struct Report {
    ready: bool,
    components: BTreeMap<&'static str, ComponentReport>,
}

/// The body of `/readyz/{component}`, and a part of `/readyz`'s.
#[derive(Debug, Serialize)]
struct ComponentReport {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(crate) fn routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/readyz/{component}", get(readyz_component))
        .with_state(readiness)
}

/// Depends on nothing: a restart mends no database.
async fn livez() -> Response {
    Json(BTreeMap::from([("live", true)])).into_response()
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let components = readiness
        .components()
        .into_iter()
        .map(|(name, reason)| (name, ComponentReport::new(reason)))
        .collect();
    let report = Report {
        ready: readiness.is_ready(),
        components,
    };
    (status(report.ready), Json(report)).into_response()
}

async fn readyz_component(
    State(readiness): State<Readiness>,
    Path(component): Path<String>,
) -> Response {
    match readiness.components().remove(component.as_str()) {
        Some(reason) => {
            let report = ComponentReport::new(reason);
            (status(report.ready), Json(report)).into_response()
        }
        None => not_found().await,
    }
}

/// For paths that are neither a gRPC service nor a page.
pub(crate) async fn not_found() -> Response {
    let body = Json(BTreeMap::from([(
        "error",
        "no such page; this is a gRPC server",
    )]));
    (StatusCode::NOT_FOUND, body).into_response()
}

fn status(ready: bool) -> StatusCode {
    if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

impl ComponentReport {
    fn new(reason: Option<String>) -> Self {
        Self {
            ready: reason.is_none(),
            reason,
        }
    }
}
