//! `postern control-plane serve` and `postern gateway serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use postern_control_plane::SubjectLimits;
use postern_control_plane::bootstrap::{Bootstrap, BootstrapError};
use postern_control_plane::key_file::{self, KeyFileError};
use postern_control_plane::{ServeError, SigningKeysError};
use postern_core::auth_method::TokenMaxima;
use postern_core::clock::Clock;
use postern_core::ip::{IpBlock, IpBlockError};
use postern_core::jwt::IssuerUrl;
use postern_core::own_keys::OwnKeys;
use postern_rpc::forwarded::TrustedProxies;
use postern_rpc::server::BindError;
use postern_rpc::tls::ClientCaFiles;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::failure::{Exit, Failure};
use crate::flags::{OutputFlags, present};
use crate::values::{Unit, duration};

use super::key_file::GenerateArgs;

/// The control plane
#[derive(Debug, Subcommand)]
pub(crate) enum ControlPlaneCommand {
    /// Run a control plane
    Serve(Box<ControlPlaneServeArgs>),
    /// The control plane's own keys, which seal its signing keys and prove its audit
    #[command(subcommand)]
    Key(KeyCommand),
}

/// The control plane's own keys
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Add a new key at the end of a key file: it opens only, until its line is moved to the top
    Generate(GenerateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ControlPlaneServeArgs {
    /// postgres://… (a socket, loopback, or sslmode=verify-full) or sqlite:FILE
    #[arg(
        long,
        env = "POSTERN_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    database_url: String,
    /// What `postern init` left for a first start; changes nothing that exists
    #[arg(long, env = "POSTERN_BOOTSTRAP", value_name = "FILE")]
    bootstrap: Option<PathBuf>,
    /// The control plane's own keys, which `postern init` made; the same on every replica
    #[arg(long, env = "POSTERN_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Where others reach this control plane: the `iss` of its JWTs [default: what `postern init` was told]
    #[arg(long, env = "POSTERN_ISSUER_URL", value_name = "URL")]
    issuer_url: Option<String>,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    clients: ClientFlags,
    /// Addresses or CIDR blocks of proxies whose forwarded and x-forwarded-for headers count
    #[arg(
        long,
        env = "POSTERN_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    trusted_proxies: Vec<String>,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    subject_limits: SubjectLimitFlags,
    #[command(flatten)]
    token_maxima: TokenMaximaFlags,
    /// Remove audit records that are older than so many days; without it they are kept for ever
    #[arg(
        long,
        env = "POSTERN_AUDIT_RETENTION",
        value_name = "DAYS",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    audit_retention: Option<u16>,
    /// Where to listen
    #[arg(
        long,
        env = "POSTERN_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8100"
    )]
    listen: SocketAddr,
    /// Where else to listen, for metrics, which the first address then doesn't serve
    #[arg(long, env = "POSTERN_ADMIN_LISTEN", value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
}

/// What one client leaves to others. A gateway is one client.
#[derive(Debug, Args)]
struct LimitFlags {
    /// Calls at once
    #[arg(
        long,
        env = "POSTERN_MAX_CALLS",
        value_name = "N",
        default_value_t = 1024
    )]
    max_calls: u16,
    /// Calls at once from one client address
    #[arg(
        long,
        env = "POSTERN_MAX_CALLS_PER_PEER",
        value_name = "N",
        default_value_t = 256
    )]
    max_calls_per_peer: u16,
    /// Connections at once
    #[arg(
        long,
        env = "POSTERN_MAX_CONNECTIONS",
        value_name = "N",
        default_value_t = 4096
    )]
    max_connections: u16,
    /// Connections at once from one client address
    #[arg(
        long,
        env = "POSTERN_MAX_CONNECTIONS_PER_PEER",
        value_name = "N",
        default_value_t = 1024
    )]
    max_connections_per_peer: u16,
}

/// What one workload may have, after its logins were verified.
#[derive(Debug, Args)]
struct SubjectLimitFlags {
    /// Logins a minute of one workload; 0: no limit
    #[arg(
        long,
        env = "POSTERN_SUBJECT_LOGINS_PER_MINUTE",
        value_name = "N",
        default_value_t = 10
    )]
    subject_logins_per_minute: u32,
    /// Logins at once of one workload that had none for a while
    #[arg(
        long,
        env = "POSTERN_SUBJECT_LOGIN_BURST",
        value_name = "N",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    subject_login_burst: u32,
    /// Live tokens of one workload; 0: no limit
    #[arg(
        long,
        env = "POSTERN_SUBJECT_LIVE_TOKENS",
        value_name = "N",
        default_value_t = 100
    )]
    subject_live_tokens: u32,
}

/// What no auth method's token goes beyond.
#[derive(Debug, Args)]
struct TokenMaximaFlags {
    /// Longest life of any token, in minutes or such as 1h; at most 24h
    #[arg(
        long,
        env = "POSTERN_MAX_TOKEN_TTL",
        value_name = "MINUTES",
        default_value = "24h"
    )]
    max_token_ttl: String,
    /// The same in all, renewals included; at most 168h (7 days)
    #[arg(
        long,
        env = "POSTERN_MAX_TOKEN_LIFE",
        value_name = "MINUTES",
        default_value = "168h"
    )]
    max_token_life: String,
}

#[derive(Debug, Args)]
pub(crate) struct TlsFlags {
    /// PEM file of the server's certificate and its chain; read again when it changes
    #[arg(
        long,
        env = "POSTERN_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(
        long,
        env = "POSTERN_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
}

/// Mutual TLS. Administrators and pods' clients show no certificate, and need none.
#[derive(Debug, Args)]
struct ClientFlags {
    /// PEM file of the CA whose client certificates count; read again when it changes. A gateway's
    /// certificate has the URI postern://gateway/NAME among its names
    #[arg(
        long,
        env = "POSTERN_CLIENT_CA_FILE",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    client_ca_file: Option<PathBuf>,
    /// PEM file of revocation lists of every CA in a client certificate's chain
    #[arg(
        long,
        env = "POSTERN_CLIENT_CRL_FILE",
        value_name = "FILE",
        requires = "client_ca_file"
    )]
    client_crl_file: Option<PathBuf>,
    /// Take a gateway's credential over a connection with that gateway's certificate only
    #[arg(
        long,
        env = "POSTERN_REQUIRE_GATEWAY_CERTIFICATE",
        requires = "client_ca_file"
    )]
    require_gateway_certificate: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GatewayServeArgs {
    /// The gateway's configuration file, such as `postern init` makes
    #[arg(long, env = "POSTERN_GATEWAY_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Where to listen
    #[arg(
        long,
        env = "POSTERN_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8000"
    )]
    listen: SocketAddr,
}

pub(crate) async fn control_plane(
    command: &ControlPlaneCommand,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        ControlPlaneCommand::Serve(args) => serve_control_plane(args).await,
        ControlPlaneCommand::Key(KeyCommand::Generate(args)) => generate_key(args, flags),
    }
}

fn generate_key(args: &GenerateArgs, flags: &OutputFlags) -> Result<(), Failure> {
    args.run(flags, |text| OwnKeys::parse(text).map(drop), |id, file| {
        format!(
            "Key {id} added to {file}. It opens only. To seal with it: restart every replica of the control plane with this file, move the key's line to the top, and restart again. Keep the old line."
        )
    })
}

async fn serve_control_plane(args: &ControlPlaneServeArgs) -> Result<(), Failure> {
    let database_url = present("--database-url", &args.database_url)?;
    let database_url = database_url
        .parse()
        .map_err(|error| Failure::usage(format!("--database-url: {error}")))?;
    let bootstrap = args.bootstrap.as_deref().map(Bootstrap::read).transpose();
    let bootstrap =
        bootstrap.map_err(|error| Failure::usage(format!("--bootstrap: {}", chain(&error))))?;
    let keys = own_keys(args.key_file.as_deref())?;
    let issuer = args.issuer_url.as_ref().map(|text| {
        let url = present("--issuer-url", text)?;
        let parsed = url.parse::<IssuerUrl>();
        parsed.map_err(|fault| Failure::usage(format!("--issuer-url: {fault}")))
    });
    let mut server = postern_rpc::server::Config::new(args.listen);
    if let (Some(certificate), Some(key)) = (&args.tls.tls_cert, &args.tls.tls_key) {
        server = server.with_tls(certificate, key);
    }
    server.trusted_proxies = trusted_proxies(&args.trusted_proxies)?;
    server.admin_listen = args.admin_listen;
    server.client_ca = args.clients.files();
    args.limits.apply(&mut server);
    let config = postern_control_plane::Config {
        server,
        require_gateway_certificate: args.clients.require_gateway_certificate,
        database_url,
        bootstrap,
        keys,
        issuer: issuer.transpose()?,
        clock: Clock::system(),
        limits: args.subject_limits.limits(),
        token_maxima: args.token_maxima.maxima()?,
        audit: Box::new(std::io::stdout()),
        audit_retention: args.audit_retention.map(days),
    };
    let bound = postern_control_plane::bind(config).await;
    let bound = bound.map_err(|error| match error {
        postern_control_plane::BindError::Listen(error) => cant_listen(&error),
        postern_control_plane::BindError::NoClientCa => Failure::usage(error.to_string()),
        postern_control_plane::BindError::Audit(_) => cant_start(&error),
    })?;
    info!(address = %bound.addr(), "control plane listening");
    bound.serve(shutdown()?).await.map_err(|error| match error {
        ServeError::Bootstrap(BootstrapError::Store(_))
        | ServeError::SigningKeys(SigningKeysError::Make(_) | SigningKeysError::Store(_))
        | ServeError::Database(_)
        | ServeError::Server(_) => cant_start(&error),
        ServeError::NotAdmitted(_) => Failure::usage(format!("--database-url: {error}")),
        ServeError::Bootstrap(
            BootstrapError::Missing
            | BootstrapError::OtherDeployment { .. }
            | BootstrapError::Invalid(_),
        )
        | ServeError::SigningKeys(SigningKeysError::Unusable { .. }) => {
            Failure::usage(chain(&error))
        }
    })
}

fn own_keys(file: Option<&Path>) -> Result<OwnKeys, Failure> {
    let made_by = "`postern init DIR` makes it where it is missing: DIR/control-plane/keys";
    let Some(file) = file else {
        return Err(Failure::usage("--key-file is missing").hint(made_by));
    };
    key_file::read(file).map_err(|error| {
        let failure = Failure::usage(format!("--key-file: {}", chain(&error)));
        match error {
            KeyFileError::Read { .. } => failure.hint(made_by),
            KeyFileError::Malformed { .. } => failure,
        }
    })
}

impl ClientFlags {
    fn files(&self) -> Option<ClientCaFiles> {
        Some(ClientCaFiles {
            ca: self.client_ca_file.clone()?,
            revoked: self.client_crl_file.clone(),
        })
    }
}

impl SubjectLimitFlags {
    fn limits(&self) -> SubjectLimits {
        SubjectLimits {
            logins_per_minute: self.subject_logins_per_minute,
            login_burst: self.subject_login_burst,
            live_tokens: self.subject_live_tokens,
        }
    }
}

impl TokenMaximaFlags {
    fn maxima(&self) -> Result<TokenMaxima, Failure> {
        let most = TokenMaxima::default();
        Ok(TokenMaxima {
            ttl: life("--max-token-ttl", &self.max_token_ttl, most.ttl)?,
            life: life("--max-token-life", &self.max_token_life, most.life)?,
        })
    }
}

fn life(flag: &str, text: &str, most: Duration) -> Result<Duration, Failure> {
    let given = duration(flag, text, Unit::Minutes)?;
    let whole = u64::try_from(given.seconds)
        .ok()
        .filter(|_| given.nanos == 0);
    match whole.map(Duration::from_secs) {
        Some(life) if !life.is_zero() && life <= most => Ok(life),
        _ => Err(Failure::usage(format!(
            "{flag}: `{text}` must be whole seconds, more than 0 and at most {} h",
            most.as_secs() / 3600
        ))),
    }
}

fn days(days: u16) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(days))
}

impl LimitFlags {
    fn apply(&self, server: &mut postern_rpc::server::Config) {
        server.max_calls = self.max_calls.into();
        server.max_calls_per_peer = self.max_calls_per_peer.into();
        server.max_connections = self.max_connections.into();
        server.max_connections_per_peer = self.max_connections_per_peer.into();
    }
}

fn trusted_proxies(texts: &[String]) -> Result<TrustedProxies, Failure> {
    let blocks = texts.iter().map(|text| text.trim().parse());
    let blocks: Result<Vec<IpBlock>, IpBlockError> = blocks.collect();
    blocks
        .map(TrustedProxies::new)
        .map_err(|error| Failure::usage(format!("--trusted-proxies: {error}")))
}

pub(crate) async fn gateway(args: &GatewayServeArgs) -> Result<(), Failure> {
    let config =
        postern_data_plane::config::Config::load(&args.config, args.listen, Clock::system())
            .map_err(|error| Failure::usage(chain(&error)))?;
    let name = config.gateway.clone();
    let bound = postern_data_plane::bind(config).await;
    let bound = bound.map_err(|error| cant_listen(&error))?;
    info!(address = %bound.addr(), gateway = %name, "gateway listening");
    let served = bound.serve(shutdown()?).await;
    served.map_err(|error| cant_start(&error))
}

fn cant_start(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Unavailable, chain(error))
}

/// What stands in flags and files is for whoever wrote it to mend; a port that is taken may be free
/// in a moment.
fn cant_listen(error: &BindError) -> Failure {
    match error {
        BindError::Listen { .. } => cant_start(error),
        BindError::PlainTextBeyondLoopback(_)
        | BindError::Tls(_)
        | BindError::ClientCaWithoutTls => Failure::usage(chain(error)),
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Cancelled by Ctrl-C or SIGTERM.
pub(crate) fn shutdown() -> Result<CancellationToken, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::new(Exit::Unavailable, format!("signals: {error}")))
    };
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        info!("stopping");
        cancel.cancel();
    });
    Ok(token)
}
