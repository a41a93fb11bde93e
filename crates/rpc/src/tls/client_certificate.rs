//! The certificate that a client showed, and which gateway it speaks for.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use postern_core::resource_id::GatewayName;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Material;

const PREFIX: &str = "postern://gateway/";

/// What a client showed in its handshake. Cheap to clone.
///
/// A connection outlives its handshake, and a resumed session had none of its own: the certificate
/// is judged anew at each use, by the CA and the revocation list of that moment.
#[derive(Clone)]
pub struct ClientCertificate(Arc<Shown>);

struct Shown {
    chain: Vec<CertificateDer<'static>>,
    gateway: Option<GatewayName>,
    current: watch::Receiver<Material>,
    judged: Mutex<Option<Judged>>,
}

/// Good for the second in which it was made, and for as long as its judge stays.
struct Judged {
    by: Arc<dyn ClientCertVerifier>,
    at: u64,
    trusted: bool,
}

/// The name that a gateway's client certificate has among its subject alternative names, as a URI.
pub fn gateway_uri(gateway: &GatewayName) -> String {
    format!("{PREFIX}{gateway}")
}

// === impl ClientCertificate ===

impl ClientCertificate {
    /// `None` where the client showed none.
    pub(crate) fn new(
        chain: Option<&[CertificateDer<'_>]>,
        current: watch::Receiver<Material>,
    ) -> Option<Self> {
        let chain: Vec<_> = chain?.iter().map(|it| it.clone().into_owned()).collect();
        let gateway = gateway(chain.first()?);
        Some(Self(Arc::new(Shown {
            chain,
            gateway,
            current,
            judged: Mutex::default(),
        })))
    }

    /// The gateway that it speaks for; `None` where it names none, or isn't trusted any more.
    pub fn gateway(&self) -> Option<&GatewayName> {
        // Whoever verifies a certificate in a handshake asks the system's clock as well.
        self.gateway_at(UnixTime::now())
    }

    fn gateway_at(&self, now: UnixTime) -> Option<&GatewayName> {
        let gateway = self.0.gateway.as_ref()?;
        self.is_trusted(now).then_some(gateway)
    }

    fn is_trusted(&self, now: UnixTime) -> bool {
        let Some(verifier) = self.0.current.borrow().clients.clone() else {
            return false;
        };
        let mut judged = self.0.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(judged) = &*judged
            && judged.at == now.as_secs()
            && Arc::ptr_eq(&judged.by, &verifier)
        {
            return judged.trusted;
        }
        let trusted = match self.0.chain.split_first() {
            Some((own, intermediates)) => {
                verifier.verify_client_cert(own, intermediates, now).is_ok()
            }
            None => false,
        };
        *judged = Some(Judged {
            by: verifier,
            at: now.as_secs(),
            trusted,
        });
        trusted
    }
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.chain == other.0.chain
    }
}

impl Eq for ClientCertificate {}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("gateway", &self.0.gateway)
            .finish_non_exhaustive()
    }
}

/// A certificate that names several gateways speaks for none.
fn gateway(certificate: &CertificateDer<'_>) -> Option<GatewayName> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut gateways = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(PREFIX),
            _ => None,
        });
    let text = gateways.next()?;
    let name: GatewayName = text.parse().ok()?;
    // No second spelling of a name.
    (gateways.next().is_none() && name.as_str() == text).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::SanType;

    use super::*;
    use crate::testing::Ca;
    use crate::tls::{certificates, certified_key, client_verifier, read_file, server_config};

    fn trusting(ca: &Ca) -> Material {
        let files = ca.issue("localhost");
        let read = |path| read_file(path).unwrap();
        let pair = certified_key(&read(&files.certificate), &read(&files.key)).unwrap();
        Material {
            config: Arc::new(server_config(pair, None).unwrap()),
            clients: Some(client_verifier(&ca.pem(), None).unwrap()),
        }
    }

    fn shown(uris: &[&str]) -> (ClientCertificate, watch::Sender<Material>) {
        let ca = Ca::new();
        let files = ca.issue_with("east", |params| {
            let uri = |text: &&str| SanType::URI((*text).try_into().unwrap());
            params.subject_alt_names = uris.iter().map(uri).collect();
            params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        });
        let chain = certificates(&read_file(&files.certificate).unwrap()).unwrap();
        let (trust, current) = watch::channel(trusting(&ca));
        let shown = ClientCertificate::new(Some(&chain), current).unwrap();
        (shown, trust)
    }

    fn named(uris: &[&str]) -> Option<String> {
        let (shown, _trust) = shown(uris);
        shown.gateway().map(GatewayName::to_string)
    }

    #[test]
    fn a_certificate_speaks_for_the_one_gateway_that_it_names() {
        let east = gateway_uri(&"east".parse().unwrap());
        assert_eq!(named(&[&east]).as_deref(), Some("east"));
        assert_eq!(named(&["https://x", &east]).as_deref(), Some("east"));
        for none in [
            &[][..],
            &[&east, "postern://gateway/west"],
            &["postern://gateway/"],
            &["postern://gateway//east"],
            &["postern://gateway/a/b"],
            &["https://gateway/east"],
        ] {
            assert_eq!(named(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_connection_outlives_neither_its_certificate_nor_the_trust_in_its_ca() {
        let (shown, trust) = shown(&["postern://gateway/east"]);
        let at = |text: &str| {
            let at: jiff::Timestamp = text.parse().unwrap();
            UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().try_into().unwrap()))
        };
        let (before, after) = (at("2099-12-31T00:00:00Z"), at("2100-01-02T00:00:00Z"));
        assert!(shown.gateway_at(before).is_some());
        assert!(shown.gateway_at(after).is_none(), "it has expired");
        assert!(shown.gateway_at(before).is_some());
        trust.send_replace(trusting(&Ca::new()));
        assert!(shown.gateway_at(before).is_none(), "another CA is trusted");
        trust.send_modify(|material| material.clients = None);
        assert!(shown.gateway_at(before).is_none(), "no CA is trusted");
    }
}
