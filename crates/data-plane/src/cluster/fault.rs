//! Why there is no verdict. None of these says anything about the token.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use postern_rpc::deadline::DeadlineExceeded;
use postern_rpc::error::Outage;
use reqwest::StatusCode;

use super::jwks::KeysFault;
use super::own::OwnFault;

/// Why an API server gave no verdict. The texts are for callers: they name neither hosts nor
/// secrets; sources are for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewFault {
    #[error("the name of the cluster's API server can't be resolved")]
    Dns(#[source] reqwest::Error),
    #[error("no connection to the cluster's API server could be made")]
    Connect(#[source] reqwest::Error),
    #[error("the certificate of the cluster's API server isn't trusted, or TLS failed")]
    Tls(#[source] rustls::Error),
    #[error("the connection to the cluster's API server broke")]
    Broken(#[source] reqwest::Error),
    #[error("the cluster's API server didn't answer in time")]
    Timeout,
    #[error("the cluster's API server doesn't accept the reviewer's token")]
    ReviewerUnauthorized,
    #[error("the cluster's API server doesn't let the reviewer create TokenReviews")]
    ReviewerForbidden,
    #[error("the cluster's API server has too many requests")]
    TooManyRequests,
    #[error("the cluster's API server failed with HTTP {0}")]
    ServerError(u16),
    #[error(
        "the cluster's API server answered with a redirect (HTTP {0}), which is never followed"
    )]
    Redirect(u16),
    #[error("the cluster's API server answered HTTP {0}, which is no answer to what it was asked")]
    UnexpectedStatus(u16),
    #[error("the answer wasn't a TokenReview; is `k8s_host` a Kubernetes API server?")]
    NotATokenReview,
    #[error("the answer of the cluster's API server was longer than 1 MiB")]
    TooLarge,
    /// Nothing was asked: the pod's token never takes the place of the gateway's.
    #[error("the gateway's own service account can't be used: {0}")]
    OwnCluster(#[source] OwnFault),
    #[error("the cluster's signing keys aren't known: {0}")]
    Keys(#[source] Arc<KeysFault>),
    #[error(
        "the cluster's API server doesn't let the reviewer read namespaces and service accounts: a method with namespace selectors needs a ClusterRole with `get` on both, bound to the reviewer"
    )]
    ReadForbidden,
    #[error("the cluster's API server has no object of that name")]
    NoSuchObject,
    #[error("the cluster's API server answered something else than the object that was read")]
    NotTheObject,
    #[error("the TokenReview couldn't be written")]
    Request(#[source] Box<dyn StdError + Send + Sync>),
    #[error("as many logins as may wait for the cluster already")]
    QueueFull,
    #[error("the verification ended without a result")]
    Lost,
}

impl ReviewFault {
    /// What callers are told doesn't work.
    pub(crate) fn outage(&self) -> Outage {
        match self {
            Self::Dns(_) | Self::Connect(_) | Self::Tls(_) | Self::Broken(_) | Self::Timeout => {
                Outage::ClusterUnreachable
            }
            Self::ReviewerUnauthorized | Self::ReviewerForbidden | Self::ReadForbidden => {
                Outage::ReviewerRefused
            }
            Self::Keys(_) => Outage::ClusterKeysUnknown,
            Self::OwnCluster(_) => Outage::GatewayServiceAccount,
            Self::TooManyRequests
            | Self::ServerError(_)
            | Self::Redirect(_)
            | Self::UnexpectedStatus(_)
            | Self::NotATokenReview
            | Self::NotTheObject
            | Self::NoSuchObject
            | Self::TooLarge
            | Self::Request(_)
            | Self::Lost => Outage::ClusterError,
            Self::QueueFull => Outage::Overloaded,
        }
    }

    /// For the metrics: a closed set.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Broken(_) => "broken",
            Self::Timeout => "timeout",
            Self::ReviewerUnauthorized => "401",
            Self::ReviewerForbidden => "403",
            Self::TooManyRequests => "429",
            Self::ServerError(_) => "5xx",
            Self::Redirect(_) => "3xx",
            Self::UnexpectedStatus(_) => "unexpected",
            Self::NotATokenReview => "malformed",
            Self::TooLarge => "too_large",
            Self::OwnCluster(_) => "own_cluster",
            Self::ReadForbidden => "read_403",
            Self::NoSuchObject => "404",
            Self::NotTheObject => "malformed",
            Self::Keys(_) => "keys",
            Self::Request(_) | Self::QueueFull | Self::Lost => "none",
        }
    }

    /// The same, of a request that reads an object instead.
    pub(super) fn of_read(self) -> Self {
        match self {
            Self::ReviewerForbidden => Self::ReadForbidden,
            Self::UnexpectedStatus(_) => Self::NotTheObject,
            other => other,
        }
    }

    /// `None` for the two codes that a create succeeds with.
    pub(super) fn of_status(status: StatusCode) -> Option<Self> {
        let code = status.as_u16();
        match code {
            200 | 201 => None,
            401 => Some(Self::ReviewerUnauthorized),
            403 => Some(Self::ReviewerForbidden),
            429 => Some(Self::TooManyRequests),
            300..=399 => Some(Self::Redirect(code)),
            500..=599 => Some(Self::ServerError(code)),
            _ => Some(Self::UnexpectedStatus(code)),
        }
    }
}

impl From<DeadlineExceeded> for ReviewFault {
    fn from(_: DeadlineExceeded) -> Self {
        Self::Timeout
    }
}

impl From<reqwest::Error> for ReviewFault {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_dns() {
            return Self::Dns(error);
        }
        if let Some(tls) = tls_error(&error) {
            return Self::Tls(tls);
        }
        if error.is_connect() {
            return Self::Connect(error);
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        Self::Broken(error)
    }
}

fn tls_error(error: &reqwest::Error) -> Option<rustls::Error> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls.clone());
        }
        // An `io::Error`'s source is that of the error within: the one within has to be asked for.
        next = match error.downcast_ref::<io::Error>() {
            Some(io) => io
                .get_ref()
                .map(|within| -> &(dyn StdError + 'static) { within }),
            None => error.source(),
        };
    }
    None
}
