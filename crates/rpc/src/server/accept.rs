//! Takes connections and greets them, so that a slow one delays nobody else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::connection::{Connection, Stream};

const MAX_HANDSHAKES: usize = 256;
/// After `accept` failed, which mostly means that file descriptors ran out.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

type Connections = mpsc::Sender<Result<Connection, Infallible>>;

pub(super) struct Accept {
    greeter: Greeter,
    slots: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

#[derive(Clone)]
struct Greeter {
    tls: Option<TlsAcceptor>,
    connections: Connections,
    timeout: Duration,
    cut: CancellationToken,
}

impl Accept {
    /// `cut` ends every connection at once.
    pub(super) fn new(
        config: &Config,
        tls: Option<TlsAcceptor>,
        connections: Connections,
        cut: CancellationToken,
    ) -> Self {
        Self {
            greeter: Greeter {
                tls,
                connections,
                timeout: config.handshake_timeout,
                cut,
            },
            slots: Arc::new(Semaphore::new(config.max_connections)),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
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
        let slots = Arc::clone(&self.slots).acquire_owned();
        let handshakes = Arc::clone(&self.handshakes).acquire_owned();
        // Neither semaphore is ever closed.
        let (Ok(slot), Ok(handshake)) = (slots.await, handshakes.await) else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let greeter = self.greeter.clone();
                tokio::spawn(async move {
                    greeter.greet(stream, peer, slot).await;
                    drop(handshake);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

impl Greeter {
    async fn greet(self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        // Small answers must not wait for the previous one's acknowledgement.
        let _ = stream.set_nodelay(true);
        let Some(stream) = self.handshake(stream, peer).await else {
            return;
        };
        let connection = Connection::new(stream, peer, self.timeout, self.cut, slot);
        // It fails when the server has stopped, and then the connection just closes.
        let _ = self.connections.send(Ok(connection)).await;
    }

    async fn handshake(&self, stream: TcpStream, peer: SocketAddr) -> Option<Stream> {
        let Some(tls) = &self.tls else {
            return Some(Stream::Plain(stream));
        };
        match tokio::time::timeout(self.timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
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
