//! Why no Postern server answered.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// What is at the other end instead of a Postern server, or why nothing is. The texts are
/// for the command line: what was found, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFault {
    #[error("the host {host} isn't known; check the URL")]
    Dns { host: String },
    #[error("nothing listens on {address}; check the URL, and that the server runs")]
    Refused { address: String },
    #[error("{address} can't be reached: {fault}")]
    Unreachable { address: String, fault: String },
    #[error("{address} didn't answer in time; check the URL and the network")]
    Timeout { address: String },
    #[error(
        "the certificate of {address} isn't trusted ({fault}); give its CA with --ca-cert or POSTERN_CA_CERT"
    )]
    UntrustedCertificate { address: String, fault: String },
    #[error("the certificate of {address} has expired or isn't valid yet; check both clocks")]
    ExpiredCertificate { address: String },
    #[error("the certificate of {address} is for {}; use one of these names in the URL", names(.presented))]
    WrongName {
        address: String,
        presented: Vec<String>,
    },
    #[error("{address} doesn't speak TLS; check the URL's scheme and port")]
    PlainTextServer { address: String },
    #[error(
        "{address} doesn't take this side's client certificate ({fault}); check the certificate, its CA and both clocks"
    )]
    OwnCertificate { address: String, fault: String },
    #[error("TLS with {address} failed: {fault}")]
    Tls { address: String, fault: String },
    #[error("this isn't a Postern server: it doesn't speak gRPC{}; check the URL", status(*.http_status))]
    NotGrpc {
        /// Of the answer, if there was one.
        http_status: Option<u16>,
    },
    /// The call may have been carried out.
    #[error(
        "the connection broke before the answer was complete; if it always does, check the URL's scheme and port"
    )]
    Lost,
}

impl ConnectFault {
    /// The fault behind a failed call; `None` when a server answered.
    pub(crate) fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(fault) = cause::<Self>(error) {
            return Some(fault.clone());
        }
        let lost = cause::<tonic::transport::Error>(error).is_some()
            || cause::<hyper::Error>(error).is_some();
        lost.then_some(Self::Lost)
    }

    /// Whether it may be gone in a moment, as while a server restarts.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Dns { .. }
            | Self::Tls { .. }
            | Self::Lost => true,
            Self::NotGrpc { http_status } => matches!(http_status, Some(502..=504)),
            Self::UntrustedCertificate { .. }
            | Self::ExpiredCertificate { .. }
            | Self::WrongName { .. }
            | Self::OwnCertificate { .. }
            | Self::PlainTextServer { .. } => false,
        }
    }

    /// Whether the call had been sent by then.
    pub(crate) fn after_sending(&self) -> bool {
        match self {
            Self::Lost | Self::NotGrpc { .. } => true,
            Self::Dns { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::UntrustedCertificate { .. }
            | Self::ExpiredCertificate { .. }
            | Self::WrongName { .. }
            | Self::PlainTextServer { .. }
            | Self::OwnCertificate { .. }
            | Self::Tls { .. } => false,
        }
    }

    /// The server ended the connection over the certificate that this side showed.
    pub(super) fn of_own_certificate(error: &io::Error, address: &str) -> Option<Self> {
        let alert = match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::AlertReceived(alert) => alert,
            _ => return None,
        };
        let about_it = matches!(
            alert,
            AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied
        );
        about_it.then(|| Self::OwnCertificate {
            address: address.to_owned(),
            fault: format!("{alert:?}"),
        })
    }

    pub(super) fn of_tls(error: io::Error, address: &str) -> Self {
        if let Some(fault) = Self::of_own_certificate(&error, address) {
            return fault;
        }
        let address = address.to_owned();
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(fault)) => Self::of_certificate(fault, address),
            Some(rustls::Error::InvalidMessage(_)) => Self::PlainTextServer { address },
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                Self::NotGrpc { http_status: None }
            }
            Some(rustls::Error::NoApplicationProtocol) => Self::NotGrpc { http_status: None },
            _ => Self::Tls {
                address,
                fault: error.to_string(),
            },
        }
    }

    fn of_certificate(fault: &CertificateError, address: String) -> Self {
        match fault {
            CertificateError::NotValidForNameContext { presented, .. } => Self::WrongName {
                address,
                presented: presented.clone(),
            },
            CertificateError::NotValidForName => Self::WrongName {
                address,
                presented: Vec::new(),
            },
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::ExpiredCertificate { address },
            CertificateError::UnknownIssuer => Self::UntrustedCertificate {
                address,
                fault: "unknown issuer".to_owned(),
            },
            fault => Self::UntrustedCertificate {
                address,
                fault: fault.to_string(),
            },
        }
    }
}

/// The first `E` among an error and its causes.
pub(crate) fn cause<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn names(presented: &[String]) -> String {
    match presented {
        [] => "another name".to_owned(),
        names => names.join(", "),
    }
}

fn status(http_status: Option<u16>) -> String {
    http_status
        .map(|status| format!(" (it answered HTTP {status})"))
        .unwrap_or_default()
}
