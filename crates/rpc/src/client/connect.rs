//! One connection: name, TCP, TLS.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::fault::ConnectFault;

/// Everything that is needed to connect to one server again and again.
pub(super) struct Dial {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Dial {
    /// `host` is without brackets. `timeout` bounds TCP and TLS together.
    pub(super) fn new(
        host: String,
        port: u16,
        tls: Option<(TlsConnector, ServerName<'static>)>,
        timeout: Duration,
    ) -> Self {
        Self {
            host,
            port,
            tls,
            timeout,
        }
    }

    pub(super) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    pub(super) fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
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
            return Ok(Box::new(tcp));
        };
        let stream = connector
            .connect(name.clone(), tcp)
            .await
            .map_err(|error| ConnectFault::of_tls(error, &self.authority()))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(ConnectFault::NotGrpc { http_status: None });
        }
        Ok(Box::new(stream))
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
