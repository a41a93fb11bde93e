//! Auth methods: who may log in, and what the token is like.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use crate::access_id::AccessId;
use crate::invalid::{Invalid, Violations};
use crate::ip::IpBlock;
use crate::key::{KeyId, PublicKey};
use crate::reason::DenyReason;
use crate::resource_id::ResourceId;
use crate::rule::Rule;
use crate::seconds::Seconds;
use crate::sub_claim::SubClaimName;

mod token_bounds;
mod token_format;
mod token_life;

pub use token_bounds::{PresentedLimit, TokenBounds, TokenTraits};
pub use token_format::{TokenAudiences, TokenFormat, check_audience};
pub use token_life::{
    DEFAULT_TOKEN_TTL, MAX_TOKEN_TTL, TokenMaxTtl, TokenMaxima, TokenTtl, TokenTtlError, TokenUses,
    TokenUsesError,
};

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
    /// How long it may live in all, renewals included; unset: `token_ttl`, so that it can't be renewed
    /// beyond that.
    pub token_max_ttl: Option<TokenMaxTtl>,
    /// How often a token can be used; unset: as often as one likes.
    pub token_num_uses: Option<TokenUses>,
    /// A token ends with the token that was presented for it, if that is earlier.
    pub cap_to_presented_expiry: bool,
    /// What a token looks like.
    pub token_format: TokenFormat,
    /// Every login is refused.
    pub disabled: bool,
    /// Where clients must log in from; empty: anywhere.
    pub bound_ips: Vec<IpBlock>,
    /// Where gateways must call from; empty: anywhere.
    pub gw_bound_ips: Vec<IpBlock>,
    /// A role counts for the method's tokens only by an association that names sub-claims.
    pub force_sub_claims: bool,
    /// Sub-claims that stand in the audit records of its logins.
    pub audit_logs_claims: Vec<SubClaimName>,
    /// It can't be deleted while set.
    pub delete_protection: bool,
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
    /// What else it must be like.
    pub tokens: TokenBounds,
    /// One must hold. Never empty in a method that was written through the API.
    pub rules: Vec<Rule>,
    /// Keys that gateways sign with.
    pub public_keys: Vec<MethodKey>,
    /// Tokens are revoked when their pod is deleted.
    pub revoke_with_pod: bool,
}

/// A public key, and from when to when the method has it.
#[derive(Debug, Clone)]
pub struct MethodKey {
    /// The key.
    pub key: PublicKey,
    /// When it was added.
    pub create_time: Timestamp,
    /// From then on nothing that it signed is taken. Unset: never.
    pub expire_time: Option<Timestamp>,
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

// === impl AuthMethod ===

impl AuthMethod {
    /// The part that is particular to Kubernetes, when it is such a method.
    pub fn kubernetes(&self) -> Option<&Kubernetes> {
        match &self.settings.kind {
            Kind::Kubernetes(kubernetes) => Some(kubernetes),
            Kind::AccessKey => None,
        }
    }

    /// Whether its tokens live no longer than a server lets them.
    pub fn keeps(&self, maxima: TokenMaxima) -> bool {
        let settings = &self.settings;
        let longest = settings.token_max_ttl.map(Seconds::get);
        settings.token_ttl.get() <= maxima.ttl.min(maxima.life)
            && longest.is_none_or(|longest| longest <= maxima.life)
    }

    /// What it comes to on a server that lets no token live longer.
    pub fn cap(&mut self, maxima: TokenMaxima) {
        let settings = &mut self.settings;
        settings.token_ttl = settings.token_ttl.at_most(maxima.ttl.min(maxima.life));
        settings.token_max_ttl = settings
            .token_max_ttl
            .map(|longest| longest.at_most(maxima.life));
    }

    /// When a token that is issued now must end for good: no renewal goes beyond.
    pub fn max_expire_time(&self, now: Timestamp) -> Timestamp {
        let settings = &self.settings;
        let longest = settings.token_max_ttl.map(Seconds::get);
        let longest = longest.unwrap_or(settings.token_ttl.get());
        let end = now.saturating_add(longest).unwrap_or(now);
        settings
            .access_expires
            .map_or(end, |access| end.min(access))
    }
}

// === impl Settings ===

impl Settings {
    /// What a method is like when nothing is said.
    pub fn new(kind: Kind) -> Self {
        Self {
            description: String::new(),
            access_expires: None,
            token_ttl: TokenTtl::default(),
            token_max_ttl: None,
            token_num_uses: None,
            cap_to_presented_expiry: false,
            token_format: TokenFormat::Opaque,
            disabled: false,
            bound_ips: Vec::new(),
            gw_bound_ips: Vec::new(),
            force_sub_claims: false,
            audit_logs_claims: Vec::new(),
            delete_protection: false,
            kind,
        }
    }

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
        self.check_ttls(&mut faults);
        self.check_cap(&mut faults);
        self.check_format(&mut faults);
        self.check_sub_claims(&mut faults);
        if let Kind::Kubernetes(kubernetes) = &self.kind {
            kubernetes.check(&mut faults);
        }
        faults.finish()
    }

    fn check_ttls(&self, faults: &mut Violations) {
        let ttl = self.token_ttl.get();
        if self.token_max_ttl.is_some_and(|max| max.get() < ttl) {
            let fault = format!("is less than token_ttl, which is {} s", ttl.as_secs());
            faults.add("token_max_ttl", fault);
        }
    }

    fn check_cap(&self, faults: &mut Violations) {
        if !self.cap_to_presented_expiry {
            return;
        }
        let fault = match &self.kind {
            Kind::AccessKey => "is for Kubernetes methods: an access key is no token that ends",
            Kind::Kubernetes(kubernetes) if kubernetes.tokens.allow_legacy => {
                "contradicts kubernetes.allow_legacy_tokens: such a token never ends"
            }
            Kind::Kubernetes(_) => return,
        };
        faults.add("cap_to_presented_expiry", fault);
    }

    /// What can only be kept by asking can't be asked of whoever verifies offline.
    fn check_format(&self, faults: &mut Violations) {
        if !self.token_format.is_jwt() {
            return;
        }
        if self.token_num_uses.is_some() {
            let fault = "can't be counted for JWTs, which are verified without asking";
            faults.add("token_num_uses", fault);
        }
        if !self.bound_ips.is_empty() {
            let fault = "can't be kept for JWTs, which are verified without asking";
            faults.add("bound_ips", fault);
        }
        if matches!(self.kind, Kind::AccessKey) {
            faults.add("token_format", "JWTs are for Kubernetes methods");
        }
    }

    fn check_sub_claims(&self, faults: &mut Violations) {
        let names: BTreeSet<_> = self.audit_logs_claims.iter().collect();
        if names.len() < self.audit_logs_claims.len() {
            faults.add("audit_logs_claims", "has a name twice");
        }
        if matches!(self.kind, Kind::Kubernetes(_)) {
            return;
        }
        let fault = "is for Kubernetes methods: tokens of access keys carry no sub-claims";
        if self.force_sub_claims {
            faults.add("force_sub_claims", fault);
        }
        if !self.audit_logs_claims.is_empty() {
            faults.add("audit_logs_claims", fault);
        }
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
        self.tokens.check_settings(faults);
    }

    /// The method's key of that ID, which must be current.
    ///
    /// # Errors
    /// There is no such key, or it has expired by `now`.
    pub fn key(&self, id: &str, now: Timestamp) -> Result<&PublicKey, DenyReason> {
        let mut keys = self.public_keys.iter();
        let found = keys.find(|method_key| method_key.key.id().as_str() == id);
        match found {
            None => Err(DenyReason::AssertionKeyUnknown),
            Some(key) if key.expired(now) => Err(DenyReason::AssertionKeyExpired),
            Some(key) => Ok(&key.key),
        }
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

// === impl MethodKey ===

impl MethodKey {
    /// One that doesn't expire.
    pub fn new(key: PublicKey, create_time: Timestamp) -> Self {
        Self {
            key,
            create_time,
            expire_time: None,
        }
    }

    /// Whether nothing that it signed is taken any more.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expire_time.is_some_and(|end| end <= now)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, noon};
    use crate::key::{SigningAlgorithm, SigningKey};

    #[test]
    fn no_token_may_outlive_what_the_method_says_in_all() {
        let mut method = fixtures::method(vec![]);
        let later = |s| noon() + jiff::SignedDuration::from_secs(s);
        assert_eq!(method.max_expire_time(noon()), later(900));
        method.settings.token_max_ttl = TokenMaxTtl::parse(86_400 * 7, 0).unwrap();
        assert_eq!(method.max_expire_time(noon()), later(86_400 * 7));
        method.settings.access_expires = Some(later(3600));
        assert_eq!(method.max_expire_time(noon()), later(3600));
        assert!(TokenMaxTtl::parse(86_400 * 7 + 1, 0).is_err());
    }

    fn faults(edit: impl FnOnce(&mut Settings)) -> Vec<String> {
        let key = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
        let mut settings = fixtures::method(vec![key.public().clone()]).settings;
        edit(&mut settings);
        let Err(invalid) = settings.check() else {
            return Vec::new();
        };
        let fields = invalid.violations().iter().map(|v| v.field.clone());
        fields.collect()
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        assert_eq!(faults(|_| ()), [""; 0]);
        let short = TokenMaxTtl::parse(899, 0).unwrap();
        assert_eq!(faults(|s| s.token_max_ttl = short), ["token_max_ttl"]);
        let twice = vec!["aud".parse().unwrap(); 2];
        assert_eq!(
            faults(|s| s.audit_logs_claims = twice),
            ["audit_logs_claims"]
        );
        let of_access_keys = |s: &mut Settings| {
            s.kind = Kind::AccessKey;
            s.force_sub_claims = true;
            s.audit_logs_claims = vec!["aud".parse().unwrap()];
        };
        assert_eq!(
            faults(of_access_keys),
            ["force_sub_claims", "audit_logs_claims"]
        );
        let capped = |s: &mut Settings| {
            s.kind = Kind::AccessKey;
            s.cap_to_presented_expiry = true;
        };
        assert_eq!(faults(capped), ["cap_to_presented_expiry"]);
        let legacy = |s: &mut Settings| {
            s.cap_to_presented_expiry = true;
            let Kind::Kubernetes(kubernetes) = &mut s.kind else {
                return;
            };
            kubernetes.tokens = TokenBounds {
                allow_legacy: true,
                single_use: true,
                max_lifetime: PresentedLimit::parse(60, 0).unwrap(),
                ..TokenBounds::default()
            };
        };
        assert_eq!(
            faults(legacy),
            [
                "cap_to_presented_expiry",
                "kubernetes.single_use",
                "kubernetes.max_presented_lifetime"
            ]
        );
    }

    #[test]
    fn a_key_is_good_until_it_expires() {
        let key = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
        let mut method = fixtures::method(vec![key.public().clone()]);
        let later = noon() + jiff::SignedDuration::from_secs(1);
        let kubernetes = fixtures::kubernetes(&mut method);
        kubernetes.public_keys[0].expire_time = Some(later);
        let id = key.public().id().as_str();
        assert!(kubernetes.key(id, noon()).is_ok());
        let expired = kubernetes.key(id, later);
        assert_eq!(expired.err(), Some(DenyReason::AssertionKeyExpired));
        let unknown = kubernetes.key("other", noon());
        assert_eq!(unknown.err(), Some(DenyReason::AssertionKeyUnknown));
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
