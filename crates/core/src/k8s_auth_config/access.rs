//! How a cluster is reached, and who reviews tokens there.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::client_certificate::ClientCertificate;
use super::credential::{RancherApiKey, ReviewerToken};
use super::{K8sHost, K8sHostError};
use crate::ca_bundle::CaBundle;

/// The longest DNS name and the longest of its labels, in bytes.
const MAX_DNS_NAME: usize = 253;
const MAX_DNS_LABEL: usize = 63;

/// How a cluster is reached, with the credential that reviews there.
#[derive(Clone)]
pub enum ClusterAccess {
    /// At its API server.
    Direct {
        /// The API server.
        at: Endpoint,
        /// Who reviews.
        reviewer: Reviewer,
    },
    /// At the API server of the cluster that the gateway itself runs in, by what is mounted into
    /// the gateway's pod.
    Own(PinnedCluster),
    /// Through Rancher.
    Rancher {
        /// The Rancher server.
        at: Endpoint,
        /// Which of its clusters.
        cluster: RancherClusterId,
        /// Stands in for a reviewer's token.
        api_key: RancherApiKey,
    },
}

/// A server, and how it proves that it is that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its URL.
    pub host: K8sHost,
    /// Whom to trust for it; `None`: the system's roots.
    pub ca: Option<CaBundle>,
    /// The name that its certificate must have; `None`: the host's.
    pub tls_server_name: Option<TlsServerName>,
}

/// Who reviews tokens at an API server.
#[derive(Clone)]
pub enum Reviewer {
    /// The bearer of this token.
    Token(ReviewerToken),
    /// The user that this certificate names.
    Certificate(ClientCertificate),
    /// Each pod reviews the token that it presents, by that token.
    PresentedToken,
}

/// What may be shown of a reviewer, and of how it is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewerView {
    /// A stored token.
    Token,
    /// A client certificate and what issued it, as PEM.
    Certificate(String),
    /// The gateway's own service account, in this cluster only.
    GatewayServiceAccount(PinnedCluster),
    /// The token that is presented.
    PresentedToken,
    /// A Rancher API key, for this cluster.
    RancherApiKey(RancherClusterId),
}

/// The one cluster that a gateway's own service account may be used in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinnedCluster {
    /// UID of its namespace `kube-system`.
    KubeSystem(String),
    /// SHA-256 of its CA's public key, for gateways that may not read that namespace.
    CaKey([u8; 32]),
}

/// A text that pins no cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is neither `kube-system:` and a UID nor `ca-sha256:` and 64 hexadecimal digits; leave it out, the gateway fills it in"
)]
pub struct PinnedClusterError;

/// A cluster's ID at Rancher, such as `local` or `c-m-abcdefgh`. Needs no escaping in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RancherClusterId(String);

/// Why a text can't be a cluster's ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RancherClusterIdError {
    /// Nothing was given.
    #[error(
        "is empty: give the ID that stands in the cluster's URL at Rancher, such as c-m-abcdefgh"
    )]
    Empty,
    /// Not what Rancher names clusters.
    #[error(
        "is no cluster ID: 1 to 63 lower-case letters, digits and inner `-`, as in the cluster's URL at Rancher"
    )]
    Characters,
}

/// A DNS name in lower case, for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsServerName(String);

/// A text that is no DNS name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no DNS name (an address can't be one: TLS sends names only)")]
pub struct TlsServerNameError;

// === impl ClusterAccess ===

impl ClusterAccess {
    /// The server that the config names; `None`: the gateway's own cluster, which it doesn't.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Direct { at, .. } | Self::Rancher { at, .. } => Some(at),
            Self::Own(_) => None,
        }
    }

    /// Where the API server's paths begin; `None`: at the gateway's own cluster.
    pub fn api_server(&self) -> Option<K8sHost> {
        match self {
            Self::Direct { at, .. } => Some(at.host.clone()),
            Self::Rancher { at, cluster, .. } => Some(at.host.of_rancher_cluster(cluster)),
            Self::Own(_) => None,
        }
    }

    /// What may be shown.
    pub fn reviewer_view(&self) -> ReviewerView {
        match self {
            Self::Direct { reviewer, .. } => match reviewer {
                Reviewer::Token(_) => ReviewerView::Token,
                Reviewer::Certificate(pair) => {
                    ReviewerView::Certificate(pair.chain_pem().to_owned())
                }
                Reviewer::PresentedToken => ReviewerView::PresentedToken,
            },
            Self::Own(cluster) => ReviewerView::GatewayServiceAccount(cluster.clone()),
            Self::Rancher { cluster, .. } => ReviewerView::RancherApiKey(cluster.clone()),
        }
    }

    /// When the stored credential expires, where it says so.
    pub fn credential_expire_time(&self) -> Option<Timestamp> {
        match self {
            Self::Direct { reviewer, .. } => match reviewer {
                Reviewer::Token(token) => token.expire_time(),
                Reviewer::Certificate(pair) => Some(pair.not_after()),
                Reviewer::PresentedToken => None,
            },
            Self::Own(_) | Self::Rancher { .. } => None,
        }
    }

    /// Whether the stored credentials are the same; says nothing about the rest.
    pub fn same_credential(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Direct { reviewer, .. },
                Self::Direct {
                    reviewer: other, ..
                },
            ) => match (reviewer, other) {
                (Reviewer::Token(a), Reviewer::Token(b)) => a.expose() == b.expose(),
                (Reviewer::Certificate(a), Reviewer::Certificate(b)) => {
                    a.expose_key() == b.expose_key()
                }
                (Reviewer::PresentedToken, Reviewer::PresentedToken) => true,
                _ => false,
            },
            (Self::Own(_), Self::Own(_)) => true,
            (Self::Rancher { api_key: a, .. }, Self::Rancher { api_key: b, .. }) => {
                a.expose() == b.expose()
            }
            _ => false,
        }
    }
}

// === impl ReviewerView ===

impl ReviewerView {
    /// As it is stored: which kind, and what may be shown of it.
    pub fn to_parts(&self) -> (&'static str, String) {
        match self {
            Self::Token => ("token", String::new()),
            Self::Certificate(pem) => ("certificate", pem.clone()),
            Self::GatewayServiceAccount(cluster) => {
                ("gateway_service_account", cluster.to_string())
            }
            Self::PresentedToken => ("presented_token", String::new()),
            Self::RancherApiKey(cluster) => ("rancher_api_key", cluster.to_string()),
        }
    }

    /// From where it is stored; `None`: what no gateway writes.
    pub fn from_parts(kind: &str, shown: &str) -> Option<Self> {
        match (kind, shown) {
            ("token", "") => Some(Self::Token),
            ("presented_token", "") => Some(Self::PresentedToken),
            ("certificate", pem) if !pem.is_empty() => Some(Self::Certificate(pem.to_owned())),
            ("gateway_service_account", cluster) => {
                cluster.parse().ok().map(Self::GatewayServiceAccount)
            }
            ("rancher_api_key", cluster) => cluster.parse().ok().map(Self::RancherApiKey),
            _ => None,
        }
    }
}

// === impl PinnedCluster ===

impl fmt::Display for PinnedCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KubeSystem(uid) => write!(f, "kube-system:{uid}"),
            Self::CaKey(hash) => {
                f.write_str("ca-sha256:")?;
                hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl FromStr for PinnedCluster {
    type Err = PinnedClusterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(uid) = text.strip_prefix("kube-system:") {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            let fits = (1..=128).contains(&uid.len()) && uid.bytes().all(plain);
            return fits
                .then(|| Self::KubeSystem(uid.to_owned()))
                .ok_or(PinnedClusterError);
        }
        let digits = text.strip_prefix("ca-sha256:").ok_or(PinnedClusterError)?;
        let mut hash = [0; 32];
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(PinnedClusterError);
        }
        for (byte, digits) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| PinnedClusterError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| PinnedClusterError)?;
        }
        Ok(Self::CaKey(hash))
    }
}

// === impl RancherClusterId ===

impl FromStr for RancherClusterId {
    type Err = RancherClusterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(RancherClusterIdError::Empty);
        }
        if is_label(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RancherClusterIdError::Characters)
        }
    }
}

impl fmt::Display for RancherClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl TlsServerName ===

impl FromStr for TlsServerName {
    type Err = TlsServerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.to_ascii_lowercase();
        let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        let address = name.rsplit('.').next().is_some_and(numeric);
        if address || name.len() > MAX_DNS_NAME || !name.split('.').all(is_label) {
            return Err(TlsServerNameError);
        }
        Ok(Self(name))
    }
}

impl TlsServerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_DNS_LABEL).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

// === impl K8sHost ===

impl K8sHost {
    /// That cluster's API server behind this Rancher server.
    pub fn of_rancher_cluster(&self, cluster: &RancherClusterId) -> Self {
        let mut url = self.0.clone();
        // Only a URL that can't be a base has no path; an `https` URL is never one of those.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["k8s", "clusters", &cluster.0]);
        }
        Self(url)
    }

    /// The same URL with that name in place of its host.
    ///
    /// # Errors
    /// A name that no URL may have, which a [`TlsServerName`] isn't.
    pub fn named(&self, name: &TlsServerName) -> Result<Self, K8sHostError> {
        let mut url = self.0.clone();
        url.set_host(Some(name.as_str()))
            .map_err(K8sHostError::NotAUrl)?;
        Ok(Self(url))
    }

    /// Its host: a name or an address, without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.host_str().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rancher_cluster_is_a_path_below_the_server_and_never_leaves_it() {
        let local: RancherClusterId = "c-m-abc123".parse().unwrap();
        for (server, url) in [
            ("https://r", "https://r/k8s/clusters/c-m-abc123"),
            ("https://r/", "https://r/k8s/clusters/c-m-abc123"),
            (
                "https://r/prefix/",
                "https://r/prefix/k8s/clusters/c-m-abc123",
            ),
        ] {
            let server: K8sHost = server.parse().unwrap();
            assert_eq!(server.of_rancher_cluster(&local).to_string(), url);
        }
        for text in [
            "",
            " ",
            "..",
            "a/b",
            "a%2fb",
            "A",
            "c_1",
            "-a",
            "a-",
            "é",
            "a?b",
            "a#b",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(text.parse::<RancherClusterId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tls_name_is_a_dns_name() {
        for (text, name) in [("Kubernetes.Default", "kubernetes.default"), ("a", "a")] {
            assert_eq!(text.parse::<TlsServerName>().unwrap().as_str(), name);
        }
        for text in [
            "",
            " ",
            "a..b",
            "a.",
            "127.0.0.1",
            "::1",
            "*.a",
            "a/b",
            "a:1",
            "é",
        ] {
            assert!(text.parse::<TlsServerName>().is_err(), "{text}");
        }
        let host: K8sHost = "https://[::1]:6443/p".parse().unwrap();
        assert_eq!(host.host(), "::1");
        let named = host.named(&"k".parse().unwrap()).unwrap();
        assert_eq!(named.to_string(), "https://k:6443/p");
    }

    #[test]
    fn a_pin_is_read_as_it_was_written() {
        for pin in [
            PinnedCluster::KubeSystem("5b7b1a3e-0000-4000-8000-000000000001".to_owned()),
            PinnedCluster::CaKey([0xa7; 32]),
        ] {
            assert_eq!(pin.to_string().parse(), Ok(pin));
        }
        for text in ["", "kube-system:", "ca-sha256:ab", "kube-system:a b", "x:y"] {
            assert!(text.parse::<PinnedCluster>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_stored_of_a_reviewer_is_read_back_and_nothing_else() {
        for view in [
            ReviewerView::Token,
            ReviewerView::Certificate("a PEM".to_owned()),
            ReviewerView::GatewayServiceAccount(PinnedCluster::CaKey([1; 32])),
            ReviewerView::PresentedToken,
            ReviewerView::RancherApiKey("local".parse().unwrap()),
        ] {
            let (kind, shown) = view.to_parts();
            assert_eq!(ReviewerView::from_parts(kind, &shown), Some(view));
        }
        for (kind, shown) in [
            ("", ""),
            ("token", "x"),
            ("certificate", ""),
            ("gateway_service_account", ""),
            ("rancher_api_key", "../x"),
        ] {
            assert_eq!(ReviewerView::from_parts(kind, shown), None, "{kind}");
        }
    }
}
