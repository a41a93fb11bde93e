//! The servers that are measured, each a process of its own: this program again, in another role.
//!
//! A server says on standard output where it is, and ends when its standard input does, however
//! its parent ended.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;
use kube_sim::KubeSim;
use postern_control_plane::SubjectLimits;
use postern_control_plane::bootstrap::Bootstrap;
use postern_core::auth_method::TokenMaxima;
use postern_core::clock::Clock;
use postern_dev::deployment::{Deployment, InitOptions};
use postern_dev::stack::cluster_state;
use postern_dev::state::State;
use postern_proto::pb;
use postern_proto::pb::auth_service_server::{AuthService, AuthServiceServer};
use postern_rpc::server;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

#[derive(Subcommand)]
pub(crate) enum Role {
    Simulator {
        /// Where to write how to reach it
        state: PathBuf,
    },
    ControlPlane {
        dir: PathBuf,
        listen: SocketAddr,
        database_url: String,
    },
    Gateway {
        dir: PathBuf,
        listen: SocketAddr,
    },
    Echo {
        dir: PathBuf,
    },
}

pub(crate) async fn run(role: Role) -> Result<()> {
    let stop = CancellationToken::new();
    let ended = stop.clone();
    std::thread::spawn(move || {
        // An error ends it just as well.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ended.cancel();
    });
    match role {
        Role::Simulator { state } => simulator(&state, stop).await,
        Role::ControlPlane {
            dir,
            listen,
            database_url,
        } => control_plane(&dir, listen, &database_url, stop).await,
        Role::Gateway { dir, listen } => gateway(&dir, listen, stop).await,
        Role::Echo { dir } => echo(&dir, stop).await,
    }
}

fn say(line: impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

async fn simulator(state: &Path, stop: CancellationToken) -> Result<()> {
    let simulator = KubeSim::start(kube_sim::Options::default()).await?;
    State {
        cluster: cluster_state(&simulator),
        servers: None,
    }
    .write(state)?;
    say(simulator.host())?;
    stop.cancelled().await;
    simulator.shutdown().await;
    Ok(())
}

/// The folder as it was made: asking for the same again changes nothing.
fn deployment(dir: &Path) -> Result<Deployment> {
    let options = Deployment::options(dir)?.unwrap_or_else(InitOptions::default);
    Ok(Deployment::init(dir, &options)?)
}

async fn control_plane(
    dir: &Path,
    listen: SocketAddr,
    database_url: &str,
    stop: CancellationToken,
) -> Result<()> {
    let deployment = deployment(dir)?;
    let (certificate, key) = deployment.control_plane_tls();
    let bound = postern_control_plane::bind(postern_control_plane::Config {
        server: server::Config::new(listen).with_tls(certificate, key),
        require_gateway_certificate: false,
        database_url: database_url.parse()?,
        bootstrap: Some(Bootstrap::read(&deployment.bootstrap())?),
        keys: postern_control_plane::key_file::read(&deployment.control_plane_keys())?,
        issuer: None,
        clock: Clock::system(),
        // There are few subjects here, and each logs in all the time.
        limits: SubjectLimits::OFF,
        token_maxima: TokenMaxima::default(),
        // As in production: a line for each record, in a file here.
        audit: Box::new(std::fs::File::create(dir.join("audit.log"))?),
        audit_retention: None,
    });
    let bound = Box::pin(bound).await?;
    say(bound.addr())?;
    Ok(bound.serve(stop).await?)
}

async fn gateway(dir: &Path, listen: SocketAddr, stop: CancellationToken) -> Result<()> {
    let file = deployment(dir)?.gateway_config();
    let config = postern_data_plane::config::Config::load(&file, listen, Clock::system())?;
    let bound = postern_data_plane::bind(config).await?;
    say(bound.addr())?;
    Ok(bound.serve(stop).await?)
}

struct Echo;

#[tonic::async_trait]
impl AuthService for Echo {
    /// As long as a login's answer.
    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let request = request.into_inner();
        let claim = |values: &[&str]| pb::StringList {
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let sub_claims = [
            "namespace",
            "service_account_name",
            "service_account_uid",
            "pod_name",
            "pod_uid",
            "aud",
            "config_name",
            "gateway",
        ];
        let uid = "00000000-0000-0000-0000-000000000000";
        Ok(Response::new(pb::AuthenticateResponse {
            access_token: format!("t-{uid}"),
            accessor: request.access_id,
            sub_claims: sub_claims
                .iter()
                .map(|name| ((*name).to_owned(), claim(&[uid])))
                .collect(),
            ..pb::AuthenticateResponse::default()
        }))
    }

    /// Nobody measures it.
    async fn renew(
        &self,
        _: Request<pb::AuthServiceRenewRequest>,
    ) -> Result<Response<pb::AuthServiceRenewResponse>, Status> {
        Ok(Response::new(pb::AuthServiceRenewResponse::default()))
    }
}

async fn echo(dir: &Path, stop: CancellationToken) -> Result<()> {
    let (certificate, key) = deployment(dir)?.control_plane_tls();
    let identity = Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    listener.local_addr().map(say)??;
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        let stream = stream?;
        // What the library does for listeners of its own only.
        stream.set_nodelay(true)?;
        std::io::Result::Ok(stream)
    });
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))?
        .add_service(AuthServiceServer::new(Echo))
        .serve_with_incoming_shutdown(incoming, stop.cancelled())
        .await?;
    Ok(())
}
