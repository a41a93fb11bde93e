//! The control plane: what administrators set, and what gateways and logins need of it.
//!
//! A server is started by [`bind`], then [`Bound::serve`]. A handler reads as four verbs:
//! parse, authorize (done by the layer, it yields an identity), one call of the store, convert.
#![forbid(unsafe_code)]

mod associations;
mod audit;
mod auth_methods;
mod authenticate;
mod authorization;
mod authorizer;
pub mod bootstrap;
mod calls;
pub mod config;
mod context;
mod failure;
mod gateways;
mod identity;
mod jwts;
pub mod key_file;
mod key_set;
mod keys;
mod limits;
mod meta;
mod metrics;
mod page;
pub mod recover;
mod roles;
mod sealed_configs;
mod server_info;
mod signing_keys;
mod standing;
mod start;
mod store;
mod sweep;
mod token_admin;
mod tokens;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use jiff::SignedDuration;
use postern_proto::pb::access_key_auth_service_server::AccessKeyAuthServiceServer;
use postern_proto::pb::association_service_server::AssociationServiceServer;
use postern_proto::pb::audit_service_server::AuditServiceServer;
use postern_proto::pb::auth_method_service_server::AuthMethodServiceServer;
use postern_proto::pb::authorization_service_server::AuthorizationServiceServer;
use postern_proto::pb::gateway_service_server::GatewayServiceServer;
use postern_proto::pb::gateway_sync_service_server::GatewaySyncServiceServer;
use postern_proto::pb::role_service_server::RoleServiceServer;
use postern_proto::pb::sealed_k8s_auth_config_service_server::SealedK8sAuthConfigServiceServer;
use postern_proto::pb::server_info_service_server::ServerInfoServiceServer;
use postern_proto::pb::signing_key_service_server::SigningKeyServiceServer;
use postern_proto::pb::token_admin_service_server::TokenAdminServiceServer;
use postern_proto::permissions::Server;
use postern_rpc::http::{Component, Readiness, introspection};
use postern_rpc::server::{self, App};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tracing::info;

pub use config::{BindError, Config};
pub use limits::SubjectLimits;
pub use signing_keys::{MakeError, SigningKeysError, Unusable};
pub use start::ServeError;
pub use store::{DatabaseUrl, DatabaseUrlError};

use context::Context;
use gateways::GatewayCertificates;
use metrics::Metrics;
use start::Opening;
use store::Store;

/// Enough for an access ID, a key and a gateway's name, from whoever comes along.
const MAX_LOGIN_BYTES: usize = 16 * 1024;

/// A control plane that has its port and its certificate, and doesn't serve yet.
pub struct Bound {
    server: server::Bound,
    opening: Opening,
    context: Context,
    readiness: Readiness,
    database: Component,
    metrics: postern_rpc::metrics::Metrics,
    log: audit::Log,
    audit_retention: Option<SignedDuration>,
}

/// Takes the port and reads the certificate. The database needn't be there.
///
/// # Errors
/// The address or the certificate can't be used.
pub async fn bind(config: Config) -> Result<Bound, BindError> {
    if config.require_gateway_certificate && config.server.client_ca.is_none() {
        return Err(BindError::NoClientCa);
    }
    let server = server::bind(config.server).await?;
    let mut registry = postern_rpc::metrics::Metrics::new();
    let metrics = Metrics::register(&mut registry);
    let log = audit::Log::start(config.audit, metrics.audit.clone()).map_err(BindError::Audit)?;
    let named = config.bootstrap.as_ref();
    let named = named.and_then(|file| file.control_plane_url.clone());
    let issuer = config.issuer.or(named);
    let readiness = Readiness::new();
    Ok(Bound {
        server,
        opening: Opening {
            url: config.database_url,
            sink: log.sink(),
            bootstrap: config.bootstrap,
        },
        context: Context {
            store: Store::default(),
            clock: config.clock,
            signs: issuer
                .as_ref()
                .map(|_| config.keys.ids().cloned().collect()),
            keys: Arc::new(config.keys),
            issuer,
            opened: Arc::default(),
            deployment: Arc::default(),
            certificates: GatewayCertificates::new(
                config.require_gateway_certificate,
                metrics.certificates_refused.clone(),
            ),
            metrics,
            limits: config.limits,
            token_maxima: config.token_maxima,
            swept_for: Arc::default(),
        },
        metrics: registry,
        database: readiness.component("database"),
        readiness,
        log,
        audit_retention: config.audit_retention,
    })
}

// === impl Bound ===

impl Bound {
    /// With the port that was taken.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The administrators' port, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.server.admin_addr()
    }

    /// Component `database`, ready while the server serves and its database answers.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Serves until `shutdown`; open calls get the grace time of the server's configuration. Pages
    /// are served at once, and calls are unavailable until the database is there: it is brought up
    /// to date, and a first start made if there is one to make.
    ///
    /// # Errors
    /// The server couldn't start, or the database never can be used: its schema doesn't fit, or it
    /// is empty and there is no bootstrap file.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let Self {
            server,
            opening,
            context,
            readiness,
            database,
            metrics,
            log,
            audit_retention,
        } = self;
        info!(keys = ?context.keys, "the control plane's own keys, the first of which seals");
        let background = TaskTracker::new();
        // Beside `shutdown`: it also ends when the server fails, or has nothing to serve from.
        let stop = shutdown.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let failed = Arc::new(OnceLock::new());
        let work = {
            let (context, stop, failed) = (context.clone(), stop.clone(), Arc::clone(&failed));
            let log = log.clone();
            async move {
                if let Err(error) = opening.run(context.clone(), database.clone()).await {
                    // It is set once.
                    let _ = failed.set(error);
                    stop.cancel();
                    return;
                }
                let pings = sweep::watch_database(context.clone(), database);
                let seals = audit::seal(context.clone(), log);
                let retention = audit::retain(context.clone(), audit_retention);
                let keys = signing_keys::watch(context.clone());
                tokio::join!(pings, sweep::sweep(context), seals, retention, keys);
            }
        };
        background.spawn(stop.clone().run_until_cancelled_owned(work));
        let app = App {
            server: Server::ControlPlane,
            grpc: services(&context, &stop),
            http: key_set::routes(context.clone()).merge(introspection::routes(
                tokens::Introspection(context.clone()),
            )),
            authorizer: authorizer::Sessions::new(&context),
            readiness,
            metrics,
        };
        let result = server.serve(app, stop.clone()).await;
        stop.cancel();
        background.close();
        background.wait().await;
        Box::pin(audit::finish(&context, &log)).await;
        match Arc::into_inner(failed).and_then(OnceLock::into_inner) {
            Some(error) => Err(error),
            None => Ok(result?),
        }
    }
}

fn services(context: &Context, shutdown: &CancellationToken) -> Routes {
    let login = AccessKeyAuthServiceServer::new(authenticate::AccessKeyAuth::new(context.clone()))
        .max_decoding_message_size(MAX_LOGIN_BYTES);
    let sync = gateways::GatewaySync {
        key_uses: gateways::KeyNotes::default(),
        context: context.clone(),
        shutdown: shutdown.clone(),
    };
    let configs = sealed_configs::SealedConfigs(context.clone());
    Routes::new(ServerInfoServiceServer::new(server_info::ServerInfo))
        .add_service(login)
        .add_service(AuthMethodServiceServer::new(auth_methods::AuthMethods(
            context.clone(),
        )))
        .add_service(GatewayServiceServer::new(gateways::Gateways(
            context.clone(),
        )))
        .add_service(GatewaySyncServiceServer::new(sync))
        .add_service(SealedK8sAuthConfigServiceServer::new(configs))
        .add_service(RoleServiceServer::new(roles::Roles(context.clone())))
        .add_service(AssociationServiceServer::new(associations::Associations(
            context.clone(),
        )))
        .add_service(AuthorizationServiceServer::new(
            authorization::Authorization(context.clone()),
        ))
        .add_service(SigningKeyServiceServer::new(signing_keys::SigningKeys(
            context.clone(),
        )))
        .add_service(tokens::Tokens::service(context.clone()))
        .add_service(TokenAdminServiceServer::new(token_admin::TokenAdmin(
            context.clone(),
        )))
        .add_service(AuditServiceServer::new(audit::Audit {
            context: context.clone(),
            shutdown: shutdown.clone(),
        }))
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("addr", &self.addr())
            .finish_non_exhaustive()
    }
}
