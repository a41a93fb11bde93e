//! A proxy that breaks connections on purpose.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Where a [`ChaosProxy`] passes connections on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// What a [`ChaosProxy`] has done since it started. Bytes count once they are passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted and not refused.
    pub accepted: u64,
    pub refused: u64,
    /// Accepted connections whose upstream couldn't be reached.
    pub unreachable: u64,
    /// Connections that are open now.
    pub open: u64,
    pub bytes_to_upstream: u64,
    pub bytes_to_client: u64,
    /// Bytes that the upstream sent and the client never got.
    pub bytes_swallowed: u64,
    /// How often [`ChaosProxy::lose_answers`] ran its course.
    pub answers_lost: u64,
}

/// Listens on a free port of 127.0.0.1. It passes everything on until told otherwise; each control
/// acts at once, on open connections too unless it says otherwise, and replaces the one before.
/// Dropping it closes the listener and every connection.
pub struct ChaosProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl ChaosProxy {
    pub async fn start(upstream: impl Into<Upstream>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            control: watch::Sender::new(Control {
                mode: Mode::Pass,
                cuts: 0,
                strandings: 0,
                upstream: upstream.into(),
            }),
            counters: watch::Sender::new(Counters::default()),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes everything on, what [`Self::blackhole`] held back included.
    pub fn pass(&self) {
        self.set(Mode::Pass);
    }

    /// Closes new connections as soon as they are accepted; open ones go on.
    pub fn refuse(&self) {
        self.set(Mode::Refuse);
    }

    /// Passes nothing on and closes nothing, as a network that drops packets.
    pub fn blackhole(&self) {
        self.set(Mode::Blackhole);
    }

    /// Open connections pass nothing on any more and stay open, as after a firewall forgot them; new
    /// ones are served.
    pub fn strand(&self) {
        self.shared
            .control
            .send_modify(|control| control.strandings += 1);
    }

    /// Requests reach the upstream, answers don't reach the client: after `pass` further bytes to
    /// clients (of all connections together) what upstreams send is swallowed, and once that is
    /// `swallow` bytes (at least one), all connections are cut and the proxy passes again.
    ///
    /// On HTTP/2, bookkeeping frames come before an answer (9 to 40 bytes each with TLS): choose
    /// `swallow` above that, or `u64::MAX` and [`Self::cut`] once the test has seen the effect.
    pub fn lose_answers(&self, pass: u64, swallow: u64) {
        self.set(Mode::LoseAnswers { pass, swallow });
    }

    /// Closes all open connections; new ones are served.
    pub fn cut(&self) {
        self.shared.control.send_modify(|control| control.cuts += 1);
    }

    /// Where new connections go, for an upstream that started again elsewhere.
    pub fn set_upstream(&self, upstream: impl Into<Upstream>) {
        let upstream = upstream.into();
        self.shared
            .control
            .send_modify(|control| control.upstream = upstream);
    }

    pub fn counters(&self) -> Counters {
        *self.shared.counters.borrow()
    }

    /// Waits until the counters fulfil `condition`. Bound it with a timeout.
    pub async fn wait_for(&self, mut condition: impl FnMut(&Counters) -> bool) -> Counters {
        let mut counters = self.shared.counters.subscribe();
        *counters
            .wait_for(|now| condition(now))
            .await
            .expect("the sender is ours")
    }

    fn set(&self, mode: Mode) {
        self.shared
            .control
            .send_modify(|control| control.mode = mode);
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        // Its JoinSet of connections goes with it.
        self.accepting.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Refuse,
    Blackhole,
    LoseAnswers { pass: u64, swallow: u64 },
}

#[derive(Clone)]
struct Control {
    mode: Mode,
    /// A connection that saw a lower number when it was accepted must end.
    cuts: u64,
    /// A connection that saw a lower number passes nothing on.
    strandings: u64,
    upstream: Upstream,
}

struct Shared {
    control: watch::Sender<Control>,
    counters: watch::Sender<Counters>,
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Counters)) {
        self.counters.send_modify(change);
    }

    /// How many of the next `length` bytes to the client may pass.
    fn admit(&self, length: u64) -> u64 {
        let mut admitted = length;
        self.control.send_if_modified(|control| {
            if let Mode::LoseAnswers { pass, .. } = &mut control.mode {
                admitted = length.min(*pass);
                *pass -= admitted;
            }
            false
        });
        admitted
    }

    fn swallow(&self, length: u64) {
        self.count(|counters| counters.bytes_swallowed += length);
        let complete = self.control.send_if_modified(|control| {
            let Mode::LoseAnswers { swallow, .. } = &mut control.mode else {
                return false;
            };
            *swallow = swallow.saturating_sub(length);
            let complete = *swallow == 0;
            if complete {
                control.mode = Mode::Pass;
                control.cuts += 1;
            }
            complete
        });
        if complete {
            self.count(|counters| counters.answers_lost += 1);
        }
    }

    /// For a connection that saw that many strandings.
    async fn until_passing(&self, strandings: u64) {
        let mut control = self.control.subscribe();
        let passing = |now: &Control| now.mode != Mode::Blackhole && now.strandings == strandings;
        let _ = control.wait_for(passing).await;
    }

    async fn until_cut(&self, seen: u64) {
        let mut control = self.control.subscribe();
        let _ = control.wait_for(|now| now.cuts > seen).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((client, _)) = client else {
            continue;
        };
        let Control {
            mode,
            cuts,
            strandings,
            ..
        } = shared.control.borrow().clone();
        if mode == Mode::Refuse {
            shared.count(|counters| counters.refused += 1);
            continue;
        }
        let open = Open::count(Arc::clone(&shared));
        connections.spawn(async move {
            tokio::select! {
                _ = connect(client, &open.0, strandings) => {}
                () = open.0.until_cut(cuts) => {}
            }
        });
    }
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Shared>);

impl Open {
    fn count(shared: Arc<Shared>) -> Self {
        shared.count(|counters| {
            counters.accepted += 1;
            counters.open += 1;
        });
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.count(|counters| counters.open -= 1);
    }
}

async fn connect(client: TcpStream, shared: &Shared, strandings: u64) -> io::Result<()> {
    shared.until_passing(strandings).await;
    client.set_nodelay(true)?;
    let upstream = shared.control.borrow().upstream.clone();
    let unreachable = |_: &io::Error| shared.count(|counters| counters.unreachable += 1);
    match upstream {
        Upstream::Tcp(address) => {
            let upstream = TcpStream::connect(address).await.inspect_err(unreachable)?;
            upstream.set_nodelay(true)?;
            relay(client, upstream, shared, strandings).await
        }
        Upstream::Unix(path) => {
            let upstream = UnixStream::connect(path).await.inspect_err(unreachable)?;
            relay(client, upstream, shared, strandings).await
        }
    }
}

async fn relay<U>(
    client: TcpStream,
    upstream: U,
    shared: &Shared,
    strandings: u64,
) -> io::Result<()>
where
    U: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let requests = requests(from_client, to_upstream, shared, strandings);
    let answers = answers(from_upstream, to_client, shared, strandings);
    tokio::try_join!(requests, answers).map(|_| ())
}

async fn requests(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    strandings: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        shared.until_passing(strandings).await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        shared.count(|counters| counters.bytes_to_upstream += length as u64);
    }
}

async fn answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    strandings: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        shared.until_passing(strandings).await;
        if length == 0 {
            return to.shutdown().await;
        }
        let admitted = shared.admit(length as u64);
        to.write_all(&buffer[..admitted as usize]).await?;
        shared.count(|counters| counters.bytes_to_client += admitted);
        if admitted < length as u64 {
            shared.swallow(length as u64 - admitted);
        }
    }
}
