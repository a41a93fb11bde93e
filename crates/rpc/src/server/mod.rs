//! One port: gRPC, and HTTP beside it, over TLS.

mod accept;
mod connection;
#[cfg(test)]
mod tests;

use std::io::ErrorKind::AddrInUse;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use postern_proto::permissions::Server;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::error::{self, Error};
use crate::forwarded::TrustedProxies;
use crate::health::{self, Mirror};
use crate::http::{self, Readiness};
use crate::layers::{self, Authorizer, CallLimits};
use crate::metrics::{self, Limited, Metrics, Side, TlsState};
use crate::tls::{ClientCaFiles, ClientCertificate, Follow, Material, PairFiles};
use crate::{deadline, reflection, tls};
use accept::Accept;

/// How long a port may be taken by whoever has just let go of it: a program that was being started at that
/// moment holds it until it runs.
const LETTING_GO: Duration = Duration::from_secs(1);

/// How a server listens, and its limits. [`Config::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// A second port, with the same certificate: it serves all that `listen` does and `/metrics`,
    /// and then `listen` serves no metrics and no administrator's call at a gateway. Default: none.
    pub admin_listen: Option<SocketAddr>,
    /// `None`: plain text, which only a loopback address may have.
    pub tls: Option<PairFiles>,
    /// Whose client certificates count. With it clients are asked for one, and may go on without;
    /// one that isn't right ends the handshake. Default: nobody's, and none is asked for.
    pub client_ca: Option<ClientCaFiles>,
    /// Whose `forwarded` and `x-forwarded-for` headers count. Default: nobody's.
    pub trusted_proxies: TrustedProxies,
    /// Whether reflection is served. Default: yes.
    pub reflection: bool,
    /// Calls at once; more are answered UNAVAILABLE. Default 1024.
    pub max_calls: usize,
    /// Calls at once from one client address; more are answered RESOURCE_EXHAUSTED. Default 256.
    pub max_calls_per_peer: usize,
    /// Connections at once; more wait to be accepted. Default 4096.
    pub max_connections: usize,
    /// Connections at once from one client address; more are closed. Default 1024.
    pub max_connections_per_peer: usize,
    /// TLS handshakes at once; more wait. Default 1024.
    pub max_handshakes: usize,
    /// TLS handshakes at once with one client address; its others wait, and nobody else waits for
    /// them. Default 64.
    pub max_handshakes_per_peer: usize,
    /// Streams at once on one connection. Default 256.
    pub max_streams_per_connection: u32,
    /// The longest deadline that a caller gets, and the one of who names none. Default 30 s.
    pub max_deadline: Duration,
    /// Connections older than this are asked to reconnect, which spreads gateways over
    /// replicas. Default: never.
    pub max_connection_age: Option<Duration>,
    /// How long a handshake, and the first byte after it, may take. Default 5 s.
    pub handshake_timeout: Duration,
    /// How often the files of `tls` and `client_ca` are read again. Default 5 s.
    pub reload_every: Duration,
    /// How long open calls may go on after shutdown began. Default 10 s.
    pub shutdown_grace: Duration,
}

/// What a server serves.
pub struct App<A> {
    /// Which rows of the table of permissions this server serves.
    pub server: Server,
    /// The `postern.v1` services; health and reflection are added.
    pub grpc: Routes,
    /// Pages beside `/livez` and `/readyz`. Open to everybody, and limited as calls are.
    pub http: Router,
    pub authorizer: A,
    pub readiness: Readiness,
    pub metrics: Metrics,
}

/// Why a server doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "{0} isn't a loopback address, and plain text is for loopback only: give a certificate"
    )]
    PlainTextBeyondLoopback(SocketAddr),
    #[error("can't listen on {listen}")]
    Listen {
        listen: SocketAddr,
        source: io::Error,
    },
    #[error("can't use the server's TLS files")]
    Tls(#[from] tls::Error),
    #[error("client certificates need TLS: give a server certificate")]
    ClientCaWithoutTls,
}

/// Why a server stopped other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("reflection can't be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// A server that has its port and its certificate, and doesn't serve yet.
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    admin: Option<(TcpListener, SocketAddr)>,
    tls: Option<(Follow<Material>, watch::Receiver<Material>)>,
    config: Config,
}

/// The connection's other end, as a request extension.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) certificate: Option<ClientCertificate>,
}

/// What the ports serve, and what keeps it up to date.
struct Served {
    main: Routes,
    admin: Option<Routes>,
    mirror: Mirror,
    limited: Limited,
    tls: TlsState,
}

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADER_LIST_BYTES: u32 = 32 * 1024;
/// Long enough for a probe to see NOT_SERVING before connections are refused.
const SHUTDOWN_NOTICE: Duration = Duration::from_millis(100);
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes the port and reads the certificate; everything that can fail at start fails here.
///
/// # Errors
/// The address is taken or may not be plain text, or the certificate can't be used.
pub async fn bind(config: Config) -> Result<Bound, BindError> {
    let addresses = [Some(config.listen), config.admin_listen];
    for listen in addresses.into_iter().flatten() {
        if config.tls.is_none() && !listen.ip().is_loopback() {
            return Err(BindError::PlainTextBeyondLoopback(listen));
        }
    }
    if config.tls.is_none() && config.client_ca.is_some() {
        return Err(BindError::ClientCaWithoutTls);
    }
    let tls = config
        .tls
        .clone()
        .map(|pair| tls::follow(pair, config.client_ca.clone()))
        .transpose()?;
    let (listener, addr) = take(config.listen).await?;
    let admin = match config.admin_listen {
        Some(listen) => Some(take(listen).await?),
        None => None,
    };
    Ok(Bound {
        listener,
        addr,
        admin,
        tls,
        config,
    })
}

async fn take(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError::Listen { listen, source };
    let patience = Instant::now() + LETTING_GO;
    let listener = loop {
        match TcpListener::bind(listen).await {
            Err(error) if error.kind() == AddrInUse && Instant::now() < patience => {
                tokio::time::sleep(LETTING_GO / 50).await;
            }
            done => break done.map_err(failed)?,
        }
    };
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

// === impl Config ===

impl Config {
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            admin_listen: None,
            tls: None,
            client_ca: None,
            trusted_proxies: TrustedProxies::default(),
            reflection: true,
            max_calls: 1024,
            max_calls_per_peer: 256,
            max_connections: 4096,
            max_connections_per_peer: 1024,
            max_handshakes: 1024,
            max_handshakes_per_peer: 64,
            max_streams_per_connection: 256,
            max_deadline: deadline::DEFAULT_CAP,
            max_connection_age: None,
            handshake_timeout: Duration::from_secs(5),
            reload_every: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(10),
        }
    }

    #[must_use]
    pub fn with_tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(PairFiles {
            certificate: certificate.into(),
            key: key.into(),
        });
        self
    }
}

// === impl Bound ===

impl Bound {
    /// With the port that was taken.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The administrators' port, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, addr)| *addr)
    }

    /// Serves until `shutdown`, then lets open calls finish for the grace time. Server
    /// streams must watch the same token, or they are cut when that time is over.
    ///
    /// # Errors
    /// The server couldn't start.
    pub async fn serve<A: Authorizer>(
        self,
        app: App<A>,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let readiness = app.readiness.clone();
        let served = served(app, &self.config)?;
        let stop = CancellationToken::new();
        let _stop_at_end = stop.clone().drop_guard();
        self.run(served, &readiness, shutdown, stop).await
    }

    /// `stop` ends everything that was started beside the server.
    async fn run(
        self,
        served: Served,
        readiness: &Readiness,
        shutdown: CancellationToken,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let cut = CancellationToken::new();
        let shutdown_grace = self.config.shutdown_grace;
        let mut server = Box::pin(self.start(served, &stop, &cut));
        tokio::select! {
            result = &mut server => return Ok(result?),
            () = shutdown.cancelled() => {}
        }
        readiness.shut_down();
        // Everything goes on while probes learn of it.
        if let Ok(result) = timeout(SHUTDOWN_NOTICE, &mut server).await {
            return Ok(result?);
        }
        stop.cancel();
        if let Ok(result) = timeout(shutdown_grace, &mut server).await {
            return Ok(result?);
        }
        tracing::warn!("calls were still open after the grace time; cutting them");
        cut.cancel();
        // Connections end as soon as they notice; there is nothing to do if one doesn't.
        let _ = timeout(CUT_TIMEOUT, server).await;
        Ok(())
    }

    /// Begins to accept. `stop` frees the port and lets open calls finish, `cut` doesn't.
    fn start(
        self,
        served: Served,
        stop: &CancellationToken,
        cut: &CancellationToken,
    ) -> impl Future<Output = Result<(), tonic::transport::Error>> + use<> {
        let Served {
            main,
            admin,
            mirror,
            limited,
            tls: state,
        } = served;
        tokio::spawn(mirror.run(stop.clone()));
        let config = self.config;
        let tls = self.tls.map(|(follow, material)| {
            let every = config.reload_every;
            tokio::spawn(follow.run(Side::Server, every, state, stop.clone()));
            material
        });
        let listen = |listener, routes| {
            let (connections, incoming) = mpsc::channel(64);
            let accept = Accept::new(
                &config,
                tls.clone(),
                connections,
                limited.clone(),
                cut.clone(),
            );
            tokio::spawn(accept.run(listener, stop.clone()));
            builder(&config)
                .add_routes(routes)
                .serve_with_incoming_shutdown(
                    ReceiverStream::new(incoming),
                    stop.clone().cancelled_owned(),
                )
        };
        let main = listen(self.listener, main);
        let admin = self
            .admin
            .zip(admin)
            .map(|((listener, _), routes)| listen(listener, routes));
        async move {
            match admin {
                Some(admin) => tokio::try_join!(main, admin).map(drop),
                None => main.await,
            }
        }
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

fn builder(config: &Config) -> tonic::transport::Server {
    let builder = tonic::transport::Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_concurrent_streams(config.max_streams_per_connection);
    match config.max_connection_age {
        Some(age) => builder.max_connection_age(age),
        None => builder,
    }
}

fn served<A: Authorizer>(app: App<A>, config: &Config) -> Result<Served, ServeError> {
    let App {
        server,
        mut grpc,
        http,
        authorizer,
        readiness,
        mut metrics,
    } = app;
    let gauge = Box::new(http::Gauge(readiness.clone()));
    metrics.registry().register_collector(gauge);
    let (limited, calls, tls) = (metrics.limited(), metrics.calls(), metrics.tls());
    let health = health::health(server, readiness.clone());
    if config.reflection {
        let reflection = reflection::routes(server)?;
        let router = std::mem::take(grpc.axum_router_mut());
        grpc = router
            .reset_fallback()
            .merge(reflection.reset_fallback())
            .into();
    }
    let methods = grpc
        .into_axum_router()
        .reset_fallback()
        .route_layer(from_fn_with_state(
            authorizer.clone(),
            layers::authorize::<A>,
        ))
        .route_layer(from_fn_with_state(config.max_deadline, layers::deadline));
    let pages = health
        .routes
        .reset_fallback()
        .merge(http::routes(readiness));
    let observed = (config.trusted_proxies.clone(), calls);
    let port = |methods: Router, pages: Router| {
        let (all, per_peer) = (config.max_calls, config.max_calls_per_peer);
        let limits = CallLimits::new(all, per_peer, limited.clone(), authorizer.clone());
        let routes = methods
            .merge(http.clone())
            .route_layer(from_fn_with_state(limits, layers::shed::<A>))
            .merge(pages)
            .fallback(unknown)
            .layer(from_fn(layers::contain))
            .layer(from_fn_with_state(observed.clone(), layers::observe));
        Routes::from(routes)
    };
    let metrics = metrics::routes(Arc::new(metrics));
    let (main, admin) = match config.admin_listen {
        None => (port(methods, pages.merge(metrics)), None),
        Some(_) => {
            let closed = methods
                .clone()
                .route_layer(from_fn_with_state(server, layers::no_administrators));
            let main = port(closed, pages.clone());
            (main, Some(port(methods, pages.merge(metrics))))
        }
    };
    Ok(Served {
        main,
        admin,
        mirror: health.mirror,
        limited,
        tls,
    })
}

async fn unknown(request: Request) -> axum::response::Response {
    let content_type = request.headers().get(::http::header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        return error::answer(Error::Unimplemented);
    }
    http::not_found().await
}
