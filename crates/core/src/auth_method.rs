//! Auth methods: who may log in, and what the token is like.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::access_id::AccessId;
use crate::invalid::{Invalid, Violations};
use crate::ip::IpBlock;
use crate::key::{KeyId, PublicKey};
use crate::resource_id::ResourceId;
use crate::rule::Rule;

/// A token's life when a method doesn't say.
pub const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(15 * 60);
/// The longest life that a method can say.
pub const MAX_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The most keys, audiences, rules or address blocks that a method can have.
pub const MAX_LIST: usize = 100;
/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 1024;

/// Who may log in, and what the token is like.
#[derive(Debug, Clone)]
pub struct AuthMethod {
    /// Its name; can be given anew.
    pub id: ResourceId,
    /// Drawn once, never reused.
    pub uid: Uuid,
    /// Its public identifier.
    pub access_id: AccessId,
    /// What administrators set.
    pub settings: Settings,
}

/// What administrators set on an auth method.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For people.
    pub description: String,
    /// From then on every login is refused.
    pub access_expires: Option<Timestamp>,
    /// How long a token lives.
    pub token_ttl: TokenTtl,
    /// Every login is refused.
    pub disabled: bool,
    /// Where clients must log in from; empty: anywhere.
    pub bound_ips: Vec<IpBlock>,
    /// Where gateways must call from; empty: anywhere.
    pub gw_bound_ips: Vec<IpBlock>,
    /// What its clients prove themselves with.
    pub kind: Kind,
}

/// What the clients of a method prove themselves with.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A Kubernetes service-account token.
    Kubernetes(Kubernetes),
    /// An access key.
    AccessKey,
}

/// What is particular to Kubernetes methods.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// For whom a presented token must be.
    pub audiences: Audiences,
    /// One must hold. Never empty in a method that was written through the API.
    pub rules: Vec<Rule>,
    /// Keys that gateways sign with.
    pub public_keys: Vec<MethodKey>,
}

/// A public key and when the method got it.
#[derive(Debug, Clone)]
pub struct MethodKey {
    /// The key.
    pub key: PublicKey,
    /// When it was added.
    pub create_time: Timestamp,
}

/// For whom a presented token must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audiences {
    /// The API server's own audience.
    ApiServer,
    /// One of these, never empty.
    Listed(Vec<String>),
    /// Whatever the token says.
    Any,
}

/// More than 0 and at most 24 hours, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTtl(Duration);

/// Why a duration can't be a token's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenTtlError {
    /// Less than zero.
    #[error("is negative")]
    Negative,
    /// Between zero and a second, or with a fraction.
    #[error("must be whole seconds")]
    Fraction,
    /// More than the maximum.
    #[error("is {0} s; the most is 86400 s (24 hours)")]
    TooLong(i64),
}

// === impl AuthMethod ===

impl AuthMethod {
    /// The part that is particular to Kubernetes, when it is such a method.
    pub fn kubernetes(&self) -> Option<&Kubernetes> {
        match &self.settings.kind {
            Kind::Kubernetes(kubernetes) => Some(kubernetes),
            Kind::AccessKey => None,
        }
    }
}

// === impl Settings ===

impl Settings {
    /// Checks what one field alone can't show; field names are those of the API's `AuthMethod`.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn check(&self) -> Result<(), Invalid> {
        let mut faults = Violations::default();
        if self.description.chars().count() > MAX_DESCRIPTION {
            faults.add(
                "description",
                format!("is longer than {MAX_DESCRIPTION} characters"),
            );
        }
        for (field, length) in [
            ("bound_ips", self.bound_ips.len()),
            ("gw_bound_ips", self.gw_bound_ips.len()),
        ] {
            at_most(&mut faults, field, length);
        }
        if let Kind::Kubernetes(kubernetes) = &self.kind {
            kubernetes.check(&mut faults);
        }
        faults.finish()
    }
}

fn at_most(faults: &mut Violations, field: &str, length: usize) {
    if length > MAX_LIST {
        faults.add(field, format!("has more than {MAX_LIST} entries"));
    }
}

// === impl Kubernetes ===

impl Kubernetes {
    fn check(&self, faults: &mut Violations) {
        at_most(faults, "kubernetes.rules", self.rules.len());
        at_most(faults, "kubernetes.public_keys", self.public_keys.len());
        if self.rules.is_empty() {
            faults.add(
                "kubernetes.rules",
                "is empty: a method without a rule lets nobody in",
            );
        }
        if self.public_keys.is_empty() {
            faults.add(
                "kubernetes.public_keys",
                "is empty: gateways sign with the private half of one",
            );
        }
        let ids: BTreeSet<&str> = self
            .public_keys
            .iter()
            .map(|k| k.key.id().as_str())
            .collect();
        if ids.len() < self.public_keys.len() {
            faults.add("kubernetes.public_keys", "has a key twice");
        }
    }

    /// The method's key of that ID.
    pub fn key(&self, id: &str) -> Option<&PublicKey> {
        self.public_keys
            .iter()
            .map(|method_key| &method_key.key)
            .find(|key| key.id().as_str() == id)
    }

    /// The namespace labels that its selectors name: those that a gateway must read, and the only
    /// ones that may stand in the facts. Empty: no namespace needs to be read.
    pub fn namespace_label_keys(&self) -> BTreeSet<&str> {
        self.rules
            .iter()
            .flat_map(Rule::namespace_label_keys)
            .collect()
    }

    /// The IDs of its keys.
    pub fn key_ids(&self) -> impl Iterator<Item = &KeyId> {
        self.public_keys
            .iter()
            .map(|method_key| method_key.key.id())
    }
}

// === impl Audiences ===

impl Audiences {
    /// From the two fields of the API.
    ///
    /// # Errors
    /// Blank, over-long or repeated values, and both fields at once.
    pub fn parse(listed: Vec<String>, allow_any: bool) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        at_most(&mut faults, "audiences", listed.len());
        for (i, audience) in listed.iter().enumerate() {
            if audience.trim().is_empty() {
                faults.add(format!("audiences[{i}]"), "is empty or blank");
            } else if audience.len() > 512 {
                faults.add(format!("audiences[{i}]"), "is longer than 512 bytes");
            }
        }
        if allow_any && !listed.is_empty() {
            faults.add(
                "allow_any_audience",
                "contradicts the audiences that are listed",
            );
        }
        faults.finish()?;
        Ok(match (allow_any, listed.is_empty()) {
            (true, _) => Self::Any,
            (false, true) => Self::ApiServer,
            (false, false) => Self::Listed(listed),
        })
    }

    /// The listed ones.
    pub fn listed(&self) -> &[String] {
        match self {
            Self::Listed(listed) => listed,
            Self::ApiServer | Self::Any => &[],
        }
    }
}

// === impl TokenTtl ===

impl TokenTtl {
    /// From whole seconds and nanoseconds as protobuf's Duration has them; zero is the default.
    ///
    /// # Errors
    /// Negative, fractional or over-long durations.
    pub fn parse(seconds: i64, nanos: i32) -> Result<Self, TokenTtlError> {
        match u64::try_from(seconds) {
            Err(_) => Err(TokenTtlError::Negative),
            Ok(_) if nanos < 0 => Err(TokenTtlError::Negative),
            Ok(_) if nanos > 0 => Err(TokenTtlError::Fraction),
            Ok(0) => Ok(Self::default()),
            Ok(s) if s > MAX_TOKEN_TTL.as_secs() => Err(TokenTtlError::TooLong(seconds)),
            Ok(s) => Ok(Self(Duration::from_secs(s))),
        }
    }

    /// The duration.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl Default for TokenTtl {
    fn default() -> Self {
        Self(DEFAULT_TOKEN_TTL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_life_is_bounded_and_zero_means_the_default() {
        assert_eq!(TokenTtl::parse(0, 0).unwrap().get(), DEFAULT_TOKEN_TTL);
        assert_eq!(TokenTtl::parse(86_400, 0).unwrap().get(), MAX_TOKEN_TTL);
        assert_eq!(
            TokenTtl::parse(86_401, 0),
            Err(TokenTtlError::TooLong(86_401))
        );
        assert_eq!(TokenTtl::parse(-1, 0), Err(TokenTtlError::Negative));
        assert_eq!(TokenTtl::parse(0, -1), Err(TokenTtlError::Negative));
        assert_eq!(TokenTtl::parse(1, 1), Err(TokenTtlError::Fraction));
    }

    #[test]
    fn audiences_are_listed_or_any_never_both_and_never_blank() {
        let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        assert_eq!(Audiences::parse(vec![], false), Ok(Audiences::ApiServer));
        assert_eq!(Audiences::parse(vec![], true), Ok(Audiences::Any));
        assert!(Audiences::parse(list(&["a"]), true).is_err());
        assert!(Audiences::parse(list(&["a", " "]), false).is_err());
    }
}
