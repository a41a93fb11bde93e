//! Takes connections and greets them, so that a slow one delays nobody else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Stream};
use super::{Config, Peer};
use crate::forwarded::TrustedProxies;
use crate::metrics::{Limited, Scope};
use crate::peer::{Held, PerPeer, Turns};
use crate::tls::{ClientCertificate, Material};

/// After `accept` failed, which mostly means that file descriptors ran out.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

type Connections = mpsc::Sender<Result<Connection, Infallible>>;

pub(super) struct Accept {
    greeter: Greeter,
    slots: Arc<Semaphore>,
    per_peer: Arc<PerPeer>,
    limited: Limited,
}

/// A connection's place among all, and among its peer's unless that is a trusted proxy, behind which
/// are many.
pub(super) type Slot = (OwnedSemaphorePermit, Option<Held>);

#[derive(Clone)]
struct Greeter {
    tls: Option<watch::Receiver<Material>>,
    connections: Connections,
    handshakes: Arc<Semaphore>,
    turns: Arc<Turns>,
    proxies: TrustedProxies,
    timeout: Duration,
    cut: CancellationToken,
}

impl Accept {
    /// `cut` ends every connection at once.
    pub(super) fn new(
        config: &Config,
        tls: Option<watch::Receiver<Material>>,
        connections: Connections,
        limited: Limited,
        cut: CancellationToken,
    ) -> Self {
        Self {
            greeter: Greeter {
                tls,
                connections,
                handshakes: Arc::new(Semaphore::new(config.max_handshakes)),
                turns: Turns::new(config.max_handshakes_per_peer),
                proxies: config.trusted_proxies.clone(),
                timeout: config.handshake_timeout,
                cut,
            },
            slots: Arc::new(Semaphore::new(config.max_connections)),
            per_peer: PerPeer::new(config.max_connections_per_peer),
            limited,
        }
    }

    /// Until `stop`; the port is free then.
    pub(super) async fn run(self, listener: TcpListener, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                self.next(&listener).await;
            }
        })
        .await;
    }

    async fn next(&self, listener: &TcpListener) {
        // It is never closed.
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let greeter = self.greeter.clone();
                let held = self.per_peer.hold(peer.ip().into());
                if held.is_none() && !greeter.is_proxy(peer) {
                    self.limited.count(Scope::PeerConnections);
                    return;
                }
                tokio::spawn(async move { greeter.greet(stream, peer, (slot, held)).await });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

impl Greeter {
    fn is_proxy(&self, peer: SocketAddr) -> bool {
        self.proxies.trusts(peer.ip().to_canonical())
    }

    async fn greet(self, stream: TcpStream, peer: SocketAddr, slot: Slot) {
        // Small answers must not wait for the previous one's acknowledgement.
        let _ = stream.set_nodelay(true);
        let Some((stream, certificate)) = self.handshake(stream, peer).await else {
            return;
        };
        let addr = peer;
        let peer = Peer { addr, certificate };
        let connection = Connection::new(stream, peer, self.timeout, self.cut, slot);
        // It fails when the server has stopped, and then the connection just closes.
        let _ = self.connections.send(Ok(connection)).await;
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<(Stream, Option<ClientCertificate>)> {
        let Some(current) = &self.tls else {
            return Some((Stream::Plain(stream), None));
        };
        let greeting = async {
            let _turn = match self.is_proxy(peer) {
                true => None,
                false => Some(self.turns.take(peer.ip().into()).await),
            };
            let _handshake = self.handshakes.acquire().await;
            let config = Arc::clone(&current.borrow().config);
            TlsAcceptor::from(config).accept(stream).await
        };
        match tokio::time::timeout(self.timeout, greeting).await {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                let certificate = ClientCertificate::new(chain, current.clone());
                Some((Stream::Tls(Box::new(stream)), certificate))
            }
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!(%peer, "TLS handshake timed out");
                None
            }
        }
    }
}
