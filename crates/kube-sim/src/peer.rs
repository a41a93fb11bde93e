//! Who is at the other end of a connection, and how many ends there are.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authn::User;

/// What a client showed when it connected.
#[derive(Clone, Default)]
pub(crate) struct Peer {
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// Counts connections that have come through TLS.
pub(crate) struct Connections {
    open: Arc<watch::Sender<usize>>,
    made: Arc<watch::Sender<u64>>,
}

/// One of them; closed when dropped.
pub(crate) struct Open(Arc<watch::Sender<usize>>);

impl Peer {
    /// The user that its certificate names: the common name, in the organizations as groups. One without a common name
    /// names nobody.
    pub(crate) fn user(&self) -> Option<User> {
        let (_, certificate) = X509Certificate::from_der(self.chain.first()?).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?;
        let mut groups: Vec<String> = subject
            .iter_organization()
            .filter_map(|group| group.as_str().ok().map(str::to_owned))
            .collect();
        groups.push("system:authenticated".to_owned());
        (!name.is_empty()).then(|| User::of_certificate(name, groups))
    }
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(0)),
            made: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(crate) fn opened(&self) -> Open {
        self.made.send_modify(|made| *made += 1);
        self.open.send_modify(|open| *open += 1);
        Open(Arc::clone(&self.open))
    }

    pub(crate) fn made(&self) -> u64 {
        *self.made.borrow()
    }

    /// Waits until so many are open.
    pub(crate) async fn until_open(&self, wanted: usize) {
        let mut open = self.open.subscribe();
        // The sender lives as long as this does.
        let _open = open.wait_for(|open| *open == wanted).await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}
