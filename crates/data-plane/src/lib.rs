//! The gateway: pods log in here, and what they show stays here.
//!
//! [`bind`] takes what [`config::Config`] says and the port; [`Bound::serve`] then runs until it
//! is told to stop. A login is `login::Login`, read from the top; the rest keeps what it needs in
//! memory (`snapshot`), talks to the control plane (`control_plane`), and lets administrators
//! write configs (`k8s_auth_configs`), which are sealed (`sealing`) before they leave.
#![forbid(unsafe_code)]

mod auth;
mod authorizer;
mod backoff;
mod cluster;
mod conditions;
pub mod config;
mod control_plane;
mod diagnostics;
#[cfg(test)]
mod fixtures;
mod health;
mod k8s_auth_configs;
pub mod limits;
mod login;
mod metrics;
mod pods;
mod presented_token;
mod reports;
#[cfg(test)]
mod sample;
mod sealing;
mod server_info;
mod snapshot;
mod status;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use postern_core::clock::Clock;
use postern_core::k8s_auth_config::AllowedApiServers;
use postern_core::resource_id::GatewayName;
use postern_proto::pb::server_info_service_server::ServerInfoServiceServer;
use postern_proto::permissions::Server;
use postern_rpc::client::FollowTarget;
pub use postern_rpc::http::Readiness;
use postern_rpc::http::introspection;
use postern_rpc::server::{self, App};
pub use postern_rpc::server::{BindError, ServeError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use uuid::Uuid;

use crate::auth::AuthHandler;
use crate::authorizer::Authorizer;
use crate::cluster::{OwnCluster, Shared};
use crate::config::{Config, OwnClusterConfig};
use crate::control_plane::{ControlPlane, Own};
use crate::diagnostics::Diagnostics;
use crate::health::Health;
use crate::k8s_auth_configs::K8sAuthConfigs;
use crate::limits::Limits;
use crate::login::Login;
use crate::metrics::{Gauges, Metrics};
use crate::pods::Pods;
use crate::reports::Reports;
use crate::sealing::Sealer;
use crate::server_info::ServerInfo;
use crate::snapshot::{Opener, Snapshot, Source};
use crate::status::Status;

/// A gateway that has its port and its certificate, and doesn't serve yet.
pub struct Bound {
    server: server::Bound,
    readiness: Readiness,
    metrics: postern_rpc::metrics::Metrics,
    control_plane_files: FollowTarget,
    gateway: Gateway,
}

/// What the services and the background tasks share.
struct Gateway {
    name: GatewayName,
    instance: String,
    deployment: Uuid,
    clock: Clock,
    sealer: Arc<Sealer>,
    api_servers: Arc<AllowedApiServers>,
    own: Arc<OwnCluster>,
    control_plane: Arc<ControlPlane>,
    snapshot: Arc<Snapshot>,
    health: Arc<Health>,
    check_interval: Option<Duration>,
    reports: Arc<Reports>,
    status: Arc<Status>,
    limits: Limits,
    metrics: Metrics,
}

/// Takes the port and reads the certificate. The control plane needn't be there.
///
/// # Errors
/// The address is taken, or the certificate can't be used.
pub async fn bind(config: Config) -> Result<Bound, BindError> {
    let server = server::bind(config.server).await?;
    let clock = config.clock;
    let mut registry = postern_rpc::metrics::Metrics::new();
    let metrics = Metrics::register(&mut registry);
    let snapshot = Arc::new(Snapshot::new(&config.limits));
    registry.registry().register_collector(Box::new(Gauges {
        snapshot: Arc::clone(&snapshot),
        clock: clock.clone(),
    }));
    let instance = config.instance.to_string();
    let api_servers = Arc::new(config.api_servers);
    let OwnClusterConfig {
        service_account_dir,
        api_server,
    } = config.own_cluster;
    let own = OwnCluster::new(
        service_account_dir,
        api_server,
        Arc::clone(&api_servers),
        clock.clone(),
    );
    let own_credential = Own {
        gateway: config.gateway.clone(),
        deployment: config.deployment,
        credential: config.credential,
        credential_file: config.credential_file,
    };
    let status = Status {
        instance: instance.clone(),
        seal_key_ids: config.keyring.ids().map(ToString::to_string).collect(),
        start_time: clock.now(),
        snapshot: Arc::clone(&snapshot),
    };
    let gateway = Gateway {
        sealer: Arc::new(Sealer::new(config.gateway.clone(), config.keyring)),
        api_servers,
        own: Arc::new(own),
        control_plane: Arc::new(ControlPlane::new(config.control_plane, own_credential)),
        status: Arc::new(status),
        health: Arc::new(Health::new(
            Arc::clone(&snapshot),
            clock.clone(),
            instance.clone(),
        )),
        check_interval: config.check_interval,
        snapshot,
        reports: Arc::new(Reports::new(
            config.gateway.to_string(),
            clock.clone(),
            metrics.audit(),
        )),
        limits: config.limits,
        metrics,
        name: config.gateway,
        instance,
        deployment: config.deployment,
        clock,
    };
    Ok(Bound {
        server,
        readiness: Readiness::new(),
        metrics: registry,
        control_plane_files: config.control_plane_files,
        gateway,
    })
}

// === impl Bound ===

impl Bound {
    /// With the port that was taken.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The administrators' port, if it has one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.server.admin_addr()
    }

    /// What `/readyz` says; ready once the control plane's whole snapshot is here.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Serves until `shutdown`, then lets open calls finish and sends the last reports.
    ///
    /// # Errors
    /// The server couldn't start.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let Self {
            server,
            readiness,
            metrics,
            control_plane_files,
            gateway,
        } = self;
        // The background works for open calls until the last of them is done.
        let (stop, shutdown) = (CancellationToken::new(), shutdown.child_token());
        let mut background = gateway.background(&readiness, &stop, &shutdown);
        background.spawn(control_plane_files.run(metrics.tls(), stop.clone()));
        let app = App {
            server: Server::Gateway,
            grpc: gateway.routes(),
            http: introspection::routes(tokens::Introspection::new(Arc::clone(
                &gateway.control_plane,
            ))),
            authorizer: Authorizer::new(
                Arc::clone(&gateway.control_plane),
                Arc::clone(&gateway.reports),
                gateway.name.clone(),
                gateway.clock.clone(),
            ),
            readiness,
            metrics,
        };
        let served = server.serve(app, shutdown).await;
        // Reports go out with the token that the session still holds.
        stop.cancel();
        while let Some(ended) = background.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a background task failed");
            }
        }
        served
    }
}

// === impl Gateway ===

impl Gateway {
    /// Runs until `stop`. Should a task end before, by a panic, it calls for `shutdown`: a gateway
    /// that no longer follows its configuration must not go on.
    fn background(
        &self,
        readiness: &Readiness,
        stop: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> JoinSet<()> {
        let source = Source {
            control_plane: Arc::clone(&self.control_plane),
            opener: Opener {
                sealer: Arc::clone(&self.sealer),
                api_servers: Arc::clone(&self.api_servers),
                instance: self.instance.clone(),
                shared: Arc::new(Shared {
                    limits: self.limits.clone(),
                    clock: self.clock.clone(),
                    metrics: self.metrics.clone(),
                    own: Arc::clone(&self.own),
                }),
            },
            instance: self.instance.clone(),
            clock: self.clock.clone(),
            loaded: readiness.component("snapshot"),
            connected: readiness.component("control-plane"),
        };
        let mut tasks = JoinSet::new();
        let mut spawn = |task: BoxFuture<'static, ()>| {
            let ended = shutdown.clone().drop_guard();
            tasks.spawn(async move {
                let _ended = ended;
                task.await;
            });
        };
        let (control_plane, stopped) = (Arc::clone(&self.control_plane), stop.clone());
        spawn(Box::pin(async move {
            control_plane.keep_logged_in(stopped).await
        }));
        let (snapshot, stopped) = (Arc::clone(&self.snapshot), stop.clone());
        spawn(Box::pin(async move { snapshot.run(source, stopped).await }));
        let (own, stopped) = (Arc::clone(&self.own), stop.clone());
        spawn(Box::pin(async move { own.run(stopped).await }));
        let (status, control_plane) = (Arc::clone(&self.status), Arc::clone(&self.control_plane));
        let stopped = stop.clone();
        spawn(Box::pin(async move {
            status.run(&control_plane, stopped).await
        }));
        let (reports, control_plane) = (Arc::clone(&self.reports), Arc::clone(&self.control_plane));
        if let Some(interval) = self.check_interval {
            let (health, stopped) = (Arc::clone(&self.health), stop.clone());
            spawn(Box::pin(async move { health.run(interval, stopped).await }));
        }
        let pods = Pods::new(
            Arc::clone(&self.snapshot),
            Arc::clone(&self.control_plane),
            self.clock.clone(),
        );
        let stopped = stop.clone();
        spawn(Box::pin(async move { pods.run(stopped).await }));
        let stopped = stop.clone();
        spawn(Box::pin(async move {
            reports.run(&control_plane, stopped).await
        }));
        tasks
    }

    fn routes(&self) -> Routes {
        let login = Arc::new(Login::new(
            login::Settings {
                gateway: self.name.clone(),
                instance: self.instance.clone(),
                deployment: self.deployment,
                clock: self.clock.clone(),
            },
            Arc::clone(&self.snapshot),
            Arc::clone(&self.control_plane),
            Arc::clone(&self.reports),
            Arc::clone(&self.health),
            self.metrics.clone(),
        ));
        let configs = K8sAuthConfigs::new(
            Arc::clone(&self.sealer),
            Arc::clone(&self.api_servers),
            Arc::clone(&self.own),
            Arc::clone(&self.snapshot),
            Arc::clone(&self.control_plane),
            Arc::clone(&self.health),
            self.clock.clone(),
        );
        let info = ServerInfo::new(self.name.clone());
        let diagnostics = Diagnostics::new(
            self.name.clone(),
            Arc::clone(&login),
            Arc::clone(&self.snapshot),
            Arc::clone(&self.reports),
            self.clock.clone(),
        );
        Routes::new(AuthHandler::service(login))
            .add_service(diagnostics.service())
            .add_service(configs.service())
            .add_service(tokens::Tokens::service(Arc::clone(&self.control_plane)))
            .add_service(ServerInfoServiceServer::new(info))
    }
}

#[cfg(test)]
mod tests;
