//! A deployment that runs: control plane, gateway and a simulated cluster in this process.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube_sim::KubeSim;
use postern_control_plane::SubjectLimits;
use postern_control_plane::bootstrap::{Bootstrap, BootstrapFileError};
use postern_control_plane::key_file::{self, KeyFileError};
use postern_control_plane::{self as control_plane, DatabaseUrlError};
use postern_core::auth_method::TokenMaxima;
use postern_core::clock::Clock;
use postern_data_plane::{self as data_plane, config::ConfigError};
use postern_rpc::server;
use postern_rpc::tls::ClientCaFiles;
use tempfile::TempDir;
use url::Url;

use crate::deployment::{AdminFile, Deployment, InitError, InitOptions};
use crate::ports::{Port, Reserved};
use crate::probe::{Probe, ProbeError};
use crate::server::Running;
pub use crate::server::Stopped;
use crate::state::ClusterState;

/// How long open calls may go on when a server is stopped.
const GRACE: Duration = Duration::from_secs(2);
/// How long a start waits for a database that isn't there yet.
const DATABASE_WITHIN: Duration = Duration::from_secs(10);
/// How often a server is asked whether it is ready.
const POLL: Duration = Duration::from_millis(10);

/// How to start a stack. The default is a temporary one on free ports.
pub struct StackOptions {
    /// Where certificates, credentials and the SQLite database are kept; what is there already is
    /// used, with the ports that it was made for. `None`: a temporary folder.
    pub data_dir: Option<PathBuf>,
    pub control_plane: Port,
    pub gateway: Port,
    pub cluster: Port,
    /// API servers that the gateway may talk to besides the simulated one.
    pub api_servers: Vec<String>,
    /// `None`: a SQLite file in the folder.
    pub database_url: Option<String>,
    /// How often the gateway tries its configs' clusters; `None`: when asked only.
    pub check_interval: Option<Duration>,
    /// The control plane takes the gateway's credential over mutual TLS only.
    pub require_gateway_certificate: bool,
    /// What one workload may have.
    pub subject_limits: SubjectLimits,
    /// Of both servers and of the simulated cluster. TLS asks the system's.
    pub clock: Clock,
    /// Gets the control plane's audit records; called at each of its starts.
    pub audit: Arc<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>,
}

/// A running stack. It stops when dropped; [`shutdown`](Self::shutdown) also waits for it.
pub struct Stack {
    gateway: Option<Running>,
    control_plane: Option<Running>,
    cluster: KubeSim,
    deployment: Deployment,
    admin: AdminFile,
    addresses: Addresses,
    database_url: String,
    check_interval: Option<Duration>,
    require_gateway_certificate: bool,
    subject_limits: SubjectLimits,
    clock: Clock,
    audit: Arc<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>,
    probe: Probe,
    _scratch: Option<TempDir>,
}

struct Addresses {
    control_plane: SocketAddr,
    gateway: SocketAddr,
}

/// Why a stack, or one of its servers, doesn't start. `source()` says more.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("can't make a folder for the data")]
    Folder(#[source] io::Error),
    #[error("no port for the {name}")]
    Port {
        name: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Init(#[from] InitError),
    #[error("the simulated cluster doesn't start")]
    Cluster(#[from] kube_sim::Error),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("the database URL is wrong: {0}")]
    DatabaseUrl(#[from] DatabaseUrlError),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapFileError),
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error("the control plane doesn't start")]
    ControlPlane(#[from] control_plane::BindError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the gateway doesn't start")]
    Gateway(#[from] data_plane::BindError),
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            data_dir: None,
            control_plane: Port::Free,
            gateway: Port::Free,
            cluster: Port::Free,
            api_servers: Vec::new(),
            database_url: None,
            check_interval: Some(Duration::from_secs(60)),
            require_gateway_certificate: false,
            subject_limits: SubjectLimits::default(),
            clock: Clock::system(),
            audit: Arc::new(|| Box::new(io::sink())),
        }
    }
}

// === impl Stack ===

impl Stack {
    /// Makes what is missing and starts everything. The servers listen when this returns;
    /// [`ready`](Self::ready) waits until logins can succeed.
    ///
    /// # Errors
    /// A port is taken, a file or the database can't be used.
    pub async fn start(options: StackOptions) -> Result<Self, StartError> {
        let (dir, scratch) = folder(options.data_dir.as_deref())?;
        let before = Deployment::options(&dir)?;
        let ports = Ports::choose(&options, before.as_ref())?;
        let clock = options.clock.clone();
        let cluster = KubeSim::start(kube_sim::Options {
            listen: release("simulated cluster", ports.cluster)?,
            clock: Arc::new(move || clock.now()),
            ..kube_sim::Options::default()
        })
        .await?;
        let made_for = match before {
            Some(before) => before,
            None => {
                let mut api_servers = vec![cluster.host().to_owned()];
                api_servers.extend(options.api_servers);
                InitOptions {
                    control_plane_url: url("control plane", &ports.control_plane)?,
                    gateway_url: url("gateway", &ports.gateway)?,
                    api_servers,
                    ..InitOptions::default()
                }
            }
        };
        let deployment = Deployment::init(&dir, &made_for)?;
        let admin = AdminFile::read(&deployment.admin())?;
        let probe = Probe::new(&admin.ca_cert)?;
        let sqlite = || format!("sqlite:{}", dir.join("postern.db").display());
        let mut stack = Self {
            gateway: None,
            control_plane: None,
            cluster,
            admin,
            deployment,
            addresses: Addresses {
                control_plane: release("control plane", ports.control_plane)?,
                gateway: address("gateway", &ports.gateway)?,
            },
            database_url: options.database_url.unwrap_or_else(sqlite),
            check_interval: options.check_interval,
            require_gateway_certificate: options.require_gateway_certificate,
            subject_limits: options.subject_limits,
            clock: options.clock,
            audit: options.audit,
            probe,
            _scratch: scratch,
        };
        stack.start_control_plane().await?;
        drop(ports.gateway);
        stack.start_gateway().await?;
        Ok(stack)
    }

    /// The folder with certificates and credentials.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The first administrator, the servers' URLs, and the CA that they are to be trusted by.
    pub fn admin(&self) -> &AdminFile {
        &self.admin
    }

    pub fn control_plane_url(&self) -> &str {
        &self.admin.control_plane_url
    }

    pub fn gateway_url(&self) -> &str {
        &self.admin.gateway_url
    }

    pub fn cluster(&self) -> &KubeSim {
        &self.cluster
    }

    /// For other processes.
    pub fn cluster_state(&self) -> ClusterState {
        cluster_state(&self.cluster)
    }

    /// The control plane's database; with a password, if the URL that was given has one.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Waits until the servers that run say that they are ready; give it a deadline.
    pub async fn ready(&self) {
        let servers = [
            (&self.control_plane, self.control_plane_url()),
            (&self.gateway, self.gateway_url()),
        ];
        for (server, url) in servers {
            while server.is_some() && !self.probe.ready(url).await {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Waits until a server stops that wasn't told to; forever, if none does.
    pub async fn stopped(&mut self) -> Stopped {
        let control_plane = stopped(&mut self.control_plane);
        let gateway = stopped(&mut self.gateway);
        tokio::select! {
            stopped = control_plane => stopped,
            stopped = gateway => stopped,
        }
    }

    /// Starts the control plane, on the same address as before; does nothing if it runs.
    ///
    /// # Errors
    /// The address is taken meanwhile, or the database can't be used.
    pub async fn start_control_plane(&mut self) -> Result<(), StartError> {
        if self.control_plane.is_some() {
            return Ok(());
        }
        let (certificate, key) = self.deployment.control_plane_tls();
        let mut server =
            server::Config::new(self.addresses.control_plane).with_tls(certificate, key);
        server.shutdown_grace = GRACE;
        server.client_ca = Some(ClientCaFiles {
            ca: self.deployment.client_ca(),
            revoked: None,
        });
        let bound = control_plane::bind(control_plane::Config {
            server,
            require_gateway_certificate: self.require_gateway_certificate,
            database_url: self.database_url.parse()?,
            bootstrap: Some(Bootstrap::read(&self.deployment.bootstrap())?),
            keys: key_file::read(&self.deployment.control_plane_keys())?,
            issuer: None,
            clock: self.clock.clone(),
            limits: self.subject_limits,
            token_maxima: TokenMaxima::default(),
            audit: (self.audit)(),
            audit_retention: None,
        });
        let bound = Box::pin(bound).await?;
        let readiness = bound.readiness();
        let serve = |stop| bound.serve(stop);
        let mut running = Running::spawn("control plane", serve);
        let opened = tokio::time::timeout(DATABASE_WITHIN, readiness.ready());
        tokio::select! {
            // One that comes still later is waited for by `ready`.
            _ = opened => {}
            stopped = running.stopped() => return Err(stopped.into()),
        }
        self.control_plane = Some(running);
        Ok(())
    }

    /// Lets open calls finish, at most two seconds; does nothing if it doesn't run.
    ///
    /// # Errors
    /// It had stopped by itself.
    pub async fn stop_control_plane(&mut self) -> Result<(), Stopped> {
        match self.control_plane.take() {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Starts the gateway, on the same address as before; does nothing if it runs.
    ///
    /// # Errors
    /// The address is taken meanwhile, or its file was changed to what can't be used.
    pub async fn start_gateway(&mut self) -> Result<(), StartError> {
        if self.gateway.is_some() {
            return Ok(());
        }
        let file = self.deployment.gateway_config();
        let clock = self.clock.clone();
        let mut config = data_plane::config::Config::load(&file, self.addresses.gateway, clock)?;
        config.server.shutdown_grace = GRACE;
        config.check_interval = self.check_interval;
        let bound = data_plane::bind(config).await?;
        let serve = |stop| bound.serve(stop);
        self.gateway = Some(Running::spawn("gateway", serve));
        Ok(())
    }

    /// Lets open calls finish, at most two seconds, and sends the last reports; does nothing if
    /// it doesn't run.
    ///
    /// # Errors
    /// It had stopped by itself.
    pub async fn stop_gateway(&mut self) -> Result<(), Stopped> {
        match self.gateway.take() {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Stops everything and removes what was temporary.
    ///
    /// # Errors
    /// A server had stopped by itself.
    pub async fn shutdown(mut self) -> Result<(), Stopped> {
        // The gateway first: its last reports go to the control plane.
        let gateway = self.stop_gateway().await;
        let control_plane = self.stop_control_plane().await;
        self.cluster.shutdown().await;
        gateway.and(control_plane)
    }
}

/// How other processes reach a simulated cluster of this one.
pub fn cluster_state(cluster: &KubeSim) -> ClusterState {
    ClusterState {
        host: cluster.host().to_owned(),
        ca_cert: cluster.ca_pem().to_owned(),
        issuer: cluster.issuer().to_owned(),
        admin_token: cluster.admin_token().into(),
    }
}

async fn stopped(server: &mut Option<Running>) -> Stopped {
    match server {
        Some(server) => server.stopped().await,
        None => std::future::pending().await,
    }
}

fn folder(data_dir: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), StartError> {
    match data_dir {
        Some(dir) => {
            let dir = std::path::absolute(dir).map_err(StartError::Folder)?;
            Ok((dir, None))
        }
        None => {
            let scratch = tempfile::Builder::new()
                .prefix("postern-")
                .tempdir()
                .map_err(StartError::Folder)?;
            Ok((scratch.path().to_owned(), Some(scratch)))
        }
    }
}

struct Ports {
    control_plane: Reserved,
    gateway: Reserved,
    cluster: Reserved,
}

impl Ports {
    /// A folder that was used before keeps its ports: its files and its database name them.
    fn choose(options: &StackOptions, before: Option<&InitOptions>) -> Result<Self, StartError> {
        let port = |name, url: Option<&String>, otherwise: Port| {
            let known = url.and_then(|url| Url::parse(url).ok()?.port_or_known_default());
            let port = known.map_or(otherwise, Port::Exactly);
            port.reserve()
                .map_err(|source| StartError::Port { name, source })
        };
        let control_plane = before.map(|before| &before.control_plane_url);
        let gateway = before.map(|before| &before.gateway_url);
        let cluster = before.and_then(|before| before.api_servers.first());
        Ok(Self {
            control_plane: port("control plane", control_plane, options.control_plane)?,
            gateway: port("gateway", gateway, options.gateway)?,
            cluster: port("simulated cluster", cluster, options.cluster)?,
        })
    }
}

fn address(name: &'static str, reserved: &Reserved) -> Result<SocketAddr, StartError> {
    reserved
        .address()
        .map_err(|source| StartError::Port { name, source })
}

fn release(name: &'static str, reserved: Reserved) -> Result<SocketAddr, StartError> {
    address(name, &reserved)
}

fn url(name: &'static str, reserved: &Reserved) -> Result<String, StartError> {
    Ok(format!("https://{}", address(name, reserved)?))
}
