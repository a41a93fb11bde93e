//! What was verified about a login: the only input of the policy.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Facts that were verified in the way that `mode` says, and the caller's address.
///
/// Absent means that it wasn't verified; whatever needs an absent fact refuses. Travels in
/// the assertion as JSON: a reader ignores facts that it doesn't know, since no rule of its own
/// can ask for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The service account's namespace.
    pub namespace: String,
    /// The service account's name.
    pub service_account_name: String,
    /// The service account's UID.
    pub service_account_uid: String,
    /// The pod that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// That pod's UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The node that the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Kubernetes' credential ID, `JTI=…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    /// Where the login came from, as the gateway saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<IpAddr>,
    /// The audiences that the API server confirmed.
    pub aud: Vec<String>,
    /// No audience was asked for: the API server took the token as one for itself.
    pub for_api_server: bool,
    /// The token has no expiry.
    pub legacy: bool,
    /// `iat` of the reviewed token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue_time: Option<Timestamp>,
    /// `exp` of the reviewed token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Timestamp>,
    /// How the token was verified. Gateways that say nothing know reviews only.
    #[serde(default)]
    pub mode: VerificationMode,
    /// The namespace's labels that [`Kubernetes::namespace_label_keys`] names. `None`: none was
    /// read, so that whatever asks for one denies.
    ///
    /// Whoever may edit the namespace may set them: a kind of fact of its own, never an identity.
    ///
    /// [`Kubernetes::namespace_label_keys`]: crate::auth_method::Kubernetes::namespace_label_keys
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_labels: Option<NamespaceLabels>,
    /// They were verified for another login a moment ago. For the record: no rule can ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// How long the verification took, unless they were cached. For the record as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_ms: Option<u32>,
}

/// Labels of a namespace that were read, those that it doesn't have included.
///
/// A gateway reads what its copy of the method names, and the rules of the control plane may be
/// newer: a label that wasn't read must not look like one that isn't there, which `NotIn` and
/// `DoesNotExist` take for a match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NamespaceLabels(BTreeMap<String, Option<String>>);

/// A label that was asked for and not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the namespace's label wasn't read")]
pub struct LabelNotRead;

/// How a gateway verifies a presented token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationMode {
    /// The API server reviews it.
    #[default]
    Review,
    /// Its signature, against the cluster's keys; the API server isn't asked.
    Offline,
    /// Both: the signature first, then the review.
    JwksThenReview,
}

/// A text that names no verification mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no verification mode: review, offline or jwks_then_review")]
pub struct UnknownMode(String);

/// The names of all facts that a token can carry.
pub const SUB_CLAIMS: &[&str] = &[
    "namespace",
    "service_account_name",
    "service_account_uid",
    "pod_name",
    "pod_uid",
    "node_name",
    "aud",
    "config_name",
    "gateway",
];

/// Facts that an access token carries, by the names that policies are written with.
pub type SubClaims = BTreeMap<String, Vec<String>>;

// === impl VerificationMode ===

impl VerificationMode {
    /// All modes.
    pub const ALL: &[Self] = &[Self::Review, Self::Offline, Self::JwksThenReview];

    /// As people write it, and as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Offline => "offline",
            Self::JwksThenReview => "jwks_then_review",
        }
    }
}

impl fmt::Display for VerificationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for VerificationMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownMode(text.chars().take(64).collect()))
    }
}

// === impl NamespaceLabels ===

impl NamespaceLabels {
    /// What was read of a namespace that has the labels `all`, when `keys` were asked for.
    pub fn read<'k>(
        keys: impl IntoIterator<Item = &'k str>,
        all: &BTreeMap<String, String>,
    ) -> Self {
        let read = |key: &str| (key.to_owned(), all.get(key).cloned());
        Self(keys.into_iter().map(read).collect())
    }

    /// A label's value; `None` when the namespace doesn't have it.
    ///
    /// # Errors
    /// Nobody looked.
    pub fn get(&self, key: &str) -> Result<Option<&str>, LabelNotRead> {
        self.0.get(key).map(Option::as_deref).ok_or(LabelNotRead)
    }

    /// The labels that the namespace has, of those that were read.
    pub fn present(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)))
    }
}

impl fmt::Display for NamespaceLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, value)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match value {
                Some(value) => write!(f, "{key}={value}")?,
                None => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

// === impl Facts ===

impl Facts {
    /// The token's sub-claims. `config_name` is the full name of the K8s auth config.
    pub fn sub_claims(&self, config_name: &str, gateway: &str) -> SubClaims {
        let one = |value: &String| vec![value.clone()];
        let mut claims = SubClaims::from([
            ("namespace".to_owned(), one(&self.namespace)),
            (
                "service_account_name".to_owned(),
                one(&self.service_account_name),
            ),
            (
                "service_account_uid".to_owned(),
                one(&self.service_account_uid),
            ),
            ("config_name".to_owned(), vec![config_name.to_owned()]),
            ("gateway".to_owned(), vec![gateway.to_owned()]),
        ]);
        let optional = [
            ("pod_name", &self.pod_name),
            ("pod_uid", &self.pod_uid),
            ("node_name", &self.node_name),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                claims.insert(name.to_owned(), one(value));
            }
        }
        if !self.aud.is_empty() {
            claims.insert("aud".to_owned(), self.aud.clone());
        }
        claims
    }
}
