//! The accept loop: TLS, then HTTP/1.1 or HTTP/2 as agreed by ALPN, until told to stop.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::http::Api;
use crate::peer::Peer;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests may go on after the stop.
const GRACE: Duration = Duration::from_secs(1);
/// After a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    api: Arc<Api>,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = api.stopped.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(connection(stream, tls.clone(), Arc::clone(&api)));
            }
            Err(error) => {
                debug!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, api: Arc<Api>) {
    let handshake = tokio::select! {
        () = api.stopped.cancelled() => return,
        handshake = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => handshake,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake took too long"),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = Peer {
        chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
    };
    let _open = api.connections.opened();
    let service = service_fn(|request| {
        let (api, peer) = (Arc::clone(&api), peer.clone());
        async move { Ok::<_, Infallible>(api.answer(request, &peer).await) }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => Some(result),
        () = api.stopped.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.ok()
        }
    };
    if let Some(Err(error)) = result {
        debug!(error, "connection failed");
    }
}
