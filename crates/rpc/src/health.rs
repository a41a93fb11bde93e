//! `grpc.health.v1`, which says what `/readyz` says.

use axum::Router;
use postern_proto::permissions::{self, Server};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::http::Readiness;

/// The service, and what keeps it up to date.
pub(crate) struct Health {
    pub(crate) routes: Router,
    pub(crate) mirror: Mirror,
}

/// Copies readiness to the health of every service of one server.
pub(crate) struct Mirror {
    reporter: HealthReporter,
    readiness: Readiness,
    server: Server,
}

pub(crate) fn health(server: Server, readiness: Readiness) -> Health {
    let (reporter, service) = tonic_health::server::health_reporter();
    Health {
        routes: Routes::new(service).into_axum_router(),
        mirror: Mirror {
            reporter,
            readiness,
            server,
        },
    }
}

impl Mirror {
    /// Until `stop`; then open Watch streams end, so that they don't hold up a shutdown.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.readiness.changes();
        loop {
            self.copy().await;
            if !matches!(
                stop.run_until_cancelled(changes.changed()).await,
                Some(Ok(()))
            ) {
                break;
            }
        }
        self.reporter.clear_service_status("").await;
        for service in permissions::services(self.server) {
            self.reporter.clear_service_status(service.name).await;
        }
    }

    /// The empty name stands for the whole server.
    async fn copy(&self) {
        let status = if self.readiness.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.reporter.set_service_status("", status).await;
        for service in permissions::services(self.server) {
            self.reporter.set_service_status(service.name, status).await;
        }
    }
}
