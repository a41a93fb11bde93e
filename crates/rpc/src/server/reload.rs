//! A server's certificate that follows its files.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::TlsFiles;
use crate::tls;

/// What is served, and where it came from.
pub(super) struct Certificate {
    files: TlsFiles,
    /// As last read, good or not: a broken pair is complained about once.
    read: Pems,
    current: watch::Sender<Arc<CertifiedKey>>,
    config: Arc<ServerConfig>,
}

#[derive(PartialEq, Eq)]
struct Pems {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

struct Resolver(watch::Receiver<Arc<CertifiedKey>>);

impl Certificate {
    /// # Errors
    /// A file can't be read, isn't PEM, or the two don't belong together.
    pub(super) fn load(files: TlsFiles) -> Result<Self, tls::Error> {
        let read = Pems::read(&files)?;
        let (current, resolved) = watch::channel(read.parse()?);
        let config = Arc::new(tls::server_config(Arc::new(Resolver(resolved)))?);
        Ok(Self {
            files,
            read,
            current,
            config,
        })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Looks at the files now and then until `stop`. Contents are compared, not times: a
    /// mounted Secret changes by a symbolic link, whose times say little.
    pub(super) async fn watch(mut self, every: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(every);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.refresh() {
                tracing::warn!(
                    certificate = %self.files.certificate.display(),
                    %error,
                    "the changed certificate can't be used; the old one stays"
                );
            }
        }
    }

    fn refresh(&mut self) -> Result<(), tls::Error> {
        let read = Pems::read(&self.files)?;
        if read == self.read {
            return Ok(());
        }
        self.read = read;
        self.current.send_replace(self.read.parse()?);
        tracing::info!(certificate = %self.files.certificate.display(), "certificate reloaded");
        Ok(())
    }
}

impl Pems {
    fn read(files: &TlsFiles) -> Result<Self, tls::Error> {
        let certificate = tls::read_file(&files.certificate)?;
        Ok(Self {
            certificate,
            key: Zeroizing::new(tls::read_file(&files.key)?),
        })
    }

    fn parse(&self) -> Result<Arc<CertifiedKey>, tls::Error> {
        tls::certified_key(&self.certificate, &self.key).map(Arc::new)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.borrow()))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
