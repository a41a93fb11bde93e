//! One connection: name, TCP, TLS.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault::ConnectFault;
use crate::gathered::Gathered;

/// Everything that is needed to connect to one server again and again.
pub(super) struct Dial {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    refusal: Refusal,
}

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Why the server wanted no connection with this client's certificate, if that is so at present.
/// It says so after the handshake, from the client's point of view; below, that is a lost
/// connection like any other.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal(Arc<Mutex<Option<ConnectFault>>>);

/// A connection whose server hasn't said yet whether it takes this client's certificate.
struct Judged {
    stream: TlsStream<TcpStream>,
    address: String,
    refusal: Refusal,
    accepted: bool,
}

/// `host` is without brackets.
pub(super) fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

impl Dial {
    /// `host` is without brackets. `timeout` bounds TCP and TLS together.
    pub(super) fn new(
        host: String,
        port: u16,
        tls: Option<(TlsConnector, ServerName<'static>)>,
        timeout: Duration,
        refusal: Refusal,
    ) -> Self {
        Self {
            host,
            port,
            tls,
            timeout,
            refusal,
        }
    }

    fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    pub(super) async fn connect(&self) -> Result<TokioIo<Box<dyn Io>>, ConnectFault> {
        let connecting = tokio::time::timeout(self.timeout, self.stream());
        let stream = connecting.await.map_err(|_| ConnectFault::Timeout {
            address: self.authority(),
        })?;
        stream.map(TokioIo::new)
    }

    async fn stream(&self) -> Result<Box<dyn Io>, ConnectFault> {
        let tcp = self.tcp().await?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Box::new(Gathered::new(tcp)));
        };
        let stream = connector
            .connect(name.clone(), tcp)
            .await
            .map_err(|error| ConnectFault::of_tls(error, &self.authority()))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(ConnectFault::NotGrpc { http_status: None });
        }
        Ok(Box::new(Gathered::new(Judged {
            stream,
            address: self.authority(),
            refusal: self.refusal.clone(),
            accepted: false,
        })))
    }

    async fn tcp(&self) -> Result<TcpStream, ConnectFault> {
        let unknown = || ConnectFault::Dns {
            host: self.host.clone(),
        };
        let addresses = lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|_| unknown())?;
        let mut failure = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Small requests must not wait for the previous one's acknowledgement.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.map_or_else(unknown, |error| self.tcp_fault(&error)))
    }

    fn tcp_fault(&self, error: &io::Error) -> ConnectFault {
        let address = self.authority();
        match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectFault::Refused { address },
            io::ErrorKind::TimedOut => ConnectFault::Timeout { address },
            _ => ConnectFault::Unreachable {
                address,
                fault: error.to_string(),
            },
        }
    }
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn fault(&self) -> Option<ConnectFault> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, fault: Option<ConnectFault>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

// === impl Judged ===

impl AsyncRead for Judged {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Err(error)) => {
                if let Some(fault) = ConnectFault::of_own_certificate(error, &self.address) {
                    self.refusal.set(Some(fault));
                }
            }
            Poll::Ready(Ok(())) if !self.accepted => {
                self.accepted = true;
                self.refusal.set(None);
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Judged {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
