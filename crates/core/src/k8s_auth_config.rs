//! K8s auth configs: how a gateway reaches and trusts one cluster.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use url::Url;
use uuid::Uuid;

use crate::access_id::AccessId;
use crate::facts::VerificationMode;
use crate::invalid::{Invalid, Violations};
use crate::jwks::Jwks;
use crate::key::SigningKey;
use crate::resource_id::ConfigName;

mod access;
mod client_certificate;
mod credential;
mod timeouts;

pub use self::access::{
    ClusterAccess, Endpoint, PinnedCluster, PinnedClusterError, RancherClusterId,
    RancherClusterIdError, Reviewer, ReviewerView, TlsServerName, TlsServerNameError,
};
pub use self::client_certificate::{
    CertificateChain, CertificateChainError, ClientCertificate, ClientKey, ClientKeyError, NotAPair,
};
pub use self::credential::{RancherApiKey, ReviewerToken, ReviewerTokenError};
pub use self::timeouts::{
    ConnectTooLong, DEFAULT_CONNECT_TIMEOUT, MAX_TIMEOUT, TimeoutError, Timeouts,
};

/// An assertion's life when a config doesn't say, and the longest that it can say.
pub const MAX_TOKEN_EXP: Duration = Duration::from_secs(300);

/// All that a gateway acts on for one cluster; what a sealed box holds.
pub struct K8sAuthConfig {
    /// Its full name.
    pub name: ConfigName,
    /// Drawn by the gateway at create, never reused.
    pub uid: Uuid,
    /// Counts the seals, from 1.
    pub generation: i64,
    /// The auth method that it serves.
    pub access_id: AccessId,
    /// Where the API server is, and who reviews there.
    pub access: ClusterAccess,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// How tokens are verified.
    pub mode: VerificationMode,
    /// Public keys of the cluster's token signers; `None`: asked of the cluster. No part of `Review`.
    pub jwks: Option<Arc<Jwks>>,
    /// Which issuers tokens may come from.
    pub issuers: Issuers,
    /// Every login is refused.
    pub disabled: bool,
    /// Life of an assertion.
    pub token_exp: TokenExp,
    /// Signs assertions.
    pub signing_key: SigningKey,
}

/// `https` URL of an API server, without user-info, query or fragment; a path prefix is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct K8sHost(Url);

/// Why a text can't be an API server's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum K8sHostError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Not a URL at all.
    #[error("is not a URL: {0}")]
    NotAUrl(url::ParseError),
    /// Tokens travel there, so that it must be `https`.
    #[error("must be an https URL")]
    NotHttps,
    /// A credential in a URL ends up in logs.
    #[error("must not hold a user name or password")]
    UserInfo,
    /// Would be lost when a path is appended.
    #[error("must have neither a query nor a fragment")]
    QueryOrFragment,
}

/// Which issuers tokens may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuers {
    /// One of these, compared exactly; never empty.
    Listed(Vec<String>),
    /// Any, said on purpose.
    NotValidated,
}

/// More than 0 and at most 300 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenExp(Duration);

/// Why a duration can't be an assertion's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenExpError {
    /// Less than zero.
    #[error("is negative")]
    Negative,
    /// With a fraction of a second.
    #[error("must be whole seconds")]
    Fraction,
    /// More than the maximum.
    #[error("is {0} s; the most is 300 s")]
    TooLong(i64),
}

/// The API servers that a gateway may talk to, from its own configuration file.
#[derive(Debug, Clone, Default)]
pub struct AllowedApiServers(Option<Vec<K8sHost>>);

// === impl K8sHost ===

impl FromStr for K8sHost {
    type Err = K8sHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(K8sHostError::Empty);
        }
        let url = Url::parse(text.trim()).map_err(K8sHostError::NotAUrl)?;
        if url.scheme() != "https" {
            return Err(K8sHostError::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(K8sHostError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(K8sHostError::QueryOrFragment);
        }
        Ok(Self(url))
    }
}

impl K8sHost {
    /// The URL of a path below the host and its prefix.
    pub fn join(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for K8sHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

// === impl Issuers ===

impl Issuers {
    /// From the two fields of the API.
    ///
    /// # Errors
    /// Neither or both of them, blank or over-long values.
    pub fn parse(listed: Vec<String>, disabled: bool) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        for (i, issuer) in listed.iter().enumerate() {
            if issuer.trim().is_empty() {
                faults.add(format!("k8s_issuers[{i}]"), "is empty or blank");
            } else if issuer.len() > 1024 {
                faults.add(format!("k8s_issuers[{i}]"), "is longer than 1024 bytes");
            }
        }
        if listed.len() > 20 {
            faults.add("k8s_issuers", "has more than 20 entries");
        }
        match (listed.is_empty(), disabled) {
            (true, false) => faults.add(
                "k8s_issuers",
                "is empty: name the cluster's issuer (--k8s-issuer), or say disable_issuer_validation (--disable-issuer-validation)",
            ),
            (false, true) => faults.add(
                "disable_issuer_validation",
                "contradicts the issuers that are listed (--k8s-issuer, --disable-issuer-validation)",
            ),
            _ => {}
        }
        faults.finish()?;
        Ok(if disabled {
            Self::NotValidated
        } else {
            Self::Listed(listed)
        })
    }

    /// The listed ones.
    pub fn listed(&self) -> &[String] {
        match self {
            Self::Listed(listed) => listed,
            Self::NotValidated => &[],
        }
    }

    /// Whether a token with that `iss`, or none, may come in.
    pub fn accept(&self, iss: Option<&str>) -> bool {
        match self {
            Self::NotValidated => true,
            Self::Listed(listed) => iss.is_some_and(|iss| listed.iter().any(|l| l == iss)),
        }
    }
}

// === impl TokenExp ===

impl TokenExp {
    /// From whole seconds and nanoseconds as protobuf's Duration has them; zero is the default.
    ///
    /// # Errors
    /// Negative, fractional or over-long durations.
    pub fn parse(seconds: i64, nanos: i32) -> Result<Self, TokenExpError> {
        match u64::try_from(seconds) {
            Err(_) => Err(TokenExpError::Negative),
            Ok(_) if nanos < 0 => Err(TokenExpError::Negative),
            Ok(_) if nanos > 0 => Err(TokenExpError::Fraction),
            Ok(0) => Ok(Self::default()),
            Ok(s) if s > MAX_TOKEN_EXP.as_secs() => Err(TokenExpError::TooLong(seconds)),
            Ok(s) => Ok(Self(Duration::from_secs(s))),
        }
    }

    /// The duration.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl Default for TokenExp {
    fn default() -> Self {
        Self(MAX_TOKEN_EXP)
    }
}

// === impl AllowedApiServers ===

impl AllowedApiServers {
    /// Only these; an empty list allows none.
    pub fn only(hosts: Vec<K8sHost>) -> Self {
        Self(Some(hosts))
    }

    /// Any: a gateway whose configuration has no list.
    pub fn any() -> Self {
        Self(None)
    }

    /// Whether that URL is one of the list's, path included: an API server's own proxy, or another
    /// cluster behind the same Rancher, is just a path away.
    pub fn allows(&self, host: &K8sHost) -> bool {
        match &self.0 {
            None => true,
            Some(hosts) => hosts
                .iter()
                .any(|allowed| allowed.to_string() == host.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_is_an_https_url_with_perhaps_a_prefix() {
        let host: K8sHost = "https://127.0.0.1:8443/k8s/clusters/c-1/".parse().unwrap();
        assert_eq!(
            host.join("/apis"),
            "https://127.0.0.1:8443/k8s/clusters/c-1/apis"
        );
        for (text, error) in [
            ("", K8sHostError::Empty),
            ("http://a", K8sHostError::NotHttps),
            ("https://u@a", K8sHostError::UserInfo),
            ("https://:p@a", K8sHostError::UserInfo),
            ("https://a/?q", K8sHostError::QueryOrFragment),
            ("https://a/#f", K8sHostError::QueryOrFragment),
        ] {
            assert_eq!(text.parse::<K8sHost>(), Err(error), "{text}");
        }
        for text in ["127.0.0.1:8443", "https://", "kubernetes"] {
            assert!(text.parse::<K8sHost>().is_err(), "{text}");
        }
    }

    #[test]
    fn issuers_are_exact_and_an_absent_one_is_refused() {
        let issuers = Issuers::parse(vec!["https://a".to_owned()], false).unwrap();
        assert!(issuers.accept(Some("https://a")));
        assert!(!issuers.accept(Some("https://a/")));
        assert!(!issuers.accept(None));
        assert!(Issuers::parse(vec![], true).unwrap().accept(None));
        let neither = Issuers::parse(vec![], false).unwrap_err().to_string();
        assert!(
            neither.contains("--k8s-issuer") && neither.contains("--disable-issuer-validation")
        );
        assert!(Issuers::parse(vec!["a".to_owned()], true).is_err());
    }

    #[test]
    fn a_gateways_list_goes_by_the_whole_url() {
        let allowed = AllowedApiServers::only(vec!["https://a:6443".parse().unwrap()]);
        assert!(allowed.allows(&"https://A:6443/".parse().unwrap()));
        let proxy = "https://a:6443/api/v1/namespaces/n/services/https:evil:443/proxy";
        assert!(!allowed.allows(&proxy.parse().unwrap()));
        let rancher = AllowedApiServers::only(vec!["https://r/k8s/clusters/c-1".parse().unwrap()]);
        assert!(rancher.allows(&"https://r/k8s/clusters/c-1/".parse().unwrap()));
        assert!(!rancher.allows(&"https://r/k8s/clusters/c-2".parse().unwrap()));
        assert!(!rancher.allows(&"https://r/k8s/clusters/c-1/../c-2".parse().unwrap()));
        assert!(!allowed.allows(&"https://a".parse().unwrap()));
        assert!(!AllowedApiServers::only(vec![]).allows(&"https://a".parse().unwrap()));
        assert!(AllowedApiServers::any().allows(&"https://a".parse().unwrap()));
    }
}
