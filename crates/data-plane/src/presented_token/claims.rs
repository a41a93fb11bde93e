//! The claims that are read, by their exact names.

use jiff::{SignedDuration, Timestamp};
use postern_core::auth_method::{Kubernetes, TokenBounds, TokenTraits};
use postern_core::facts::{Facts, VerificationMode};
use postern_core::k8s_auth_config::Issuers;
use postern_core::reason::DenyReason;
use serde_json::Value;

use super::json::Object;

/// How far clocks may differ; what kube-apiserver allows.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// What a token says about itself. Absent is absent; a wrong type never gets here.
#[derive(Default)]
pub(crate) struct Claims {
    pub(crate) issuer: Option<String>,
    /// One string or a list of them.
    pub(crate) audiences: Vec<String>,
    pub(crate) issue_time: Option<Timestamp>,
    pub(crate) not_before: Option<Timestamp>,
    /// Absent in tokens from Secrets.
    pub(crate) expire_time: Option<Timestamp>,
    /// `jti`.
    pub(crate) id: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) service_account_name: Option<String>,
    pub(crate) service_account_uid: Option<String>,
    pub(crate) pod_name: Option<String>,
    pub(crate) pod_uid: Option<String>,
    /// Where the pod runs.
    pub(crate) node_name: Option<String>,
}

impl Claims {
    pub(super) fn read(payload: &Object) -> Result<Self, DenyReason> {
        let mut claims = Self {
            issuer: text(payload, "iss")?,
            audiences: texts(payload, "aud")?,
            issue_time: time(payload, "iat")?,
            not_before: time(payload, "nbf")?,
            expire_time: time(payload, "exp")?,
            id: text(payload, "jti")?,
            subject: text(payload, "sub")?,
            // As in tokens from Secrets; bound tokens have them below.
            namespace: text(payload, "kubernetes.io/serviceaccount/namespace")?,
            service_account_name: text(
                payload,
                "kubernetes.io/serviceaccount/service-account.name",
            )?,
            service_account_uid: text(payload, "kubernetes.io/serviceaccount/service-account.uid")?,
            ..Self::default()
        };
        if let Some(bound) = object(payload, "kubernetes.io")? {
            claims.namespace = text(bound, "namespace")?.or(claims.namespace);
            if let Some(account) = object(bound, "serviceaccount")? {
                claims.service_account_name =
                    text(account, "name")?.or(claims.service_account_name);
                claims.service_account_uid = text(account, "uid")?.or(claims.service_account_uid);
            }
            if let Some(pod) = object(bound, "pod")? {
                claims.pod_name = text(pod, "name")?;
                claims.pod_uid = text(pod, "uid")?;
            }
            if let Some(node) = object(bound, "node")? {
                claims.node_name = text(node, "name")?;
            }
        }
        Ok(claims)
    }

    /// What a method's bounds look at.
    fn traits(&self) -> TokenTraits<'_> {
        TokenTraits {
            issue_time: self.issue_time,
            expire_time: self.expire_time,
            pod: self.pod_uid.as_deref(),
            credential_id: None,
        }
    }

    /// Refuses what the API server or the method would refuse anyway, so that it isn't asked.
    /// Passing proves nothing.
    ///
    /// # Errors
    /// The reason.
    pub(crate) fn check_early(
        &self,
        issuers: &Issuers,
        method: &Kubernetes,
        now: Timestamp,
    ) -> Result<(), DenyReason> {
        let bounds = &method.tokens;
        if self.expire_time.is_none() && !bounds.allow_legacy {
            return Err(DenyReason::TokenWithoutExpiry);
        }
        if !issuers.accept(self.issuer.as_deref()) {
            return Err(DenyReason::TokenIssuerNotTrusted);
        }
        self.check_times(now)?;
        let listed = method.audiences.listed();
        if !listed.is_empty() && !self.audiences.iter().any(|aud| listed.contains(aud)) {
            return Err(DenyReason::TokenAudienceNotAccepted);
        }
        // Its credential ID only the API server says; what a mode asks beyond waits for the decision.
        let bounds = TokenBounds {
            single_use: false,
            ..bounds.clone()
        };
        bounds.check(self.traits(), VerificationMode::Review, now)
    }

    /// Whether the token is of now. An absent time says nothing.
    pub(crate) fn check_times(&self, now: Timestamp) -> Result<(), DenyReason> {
        let after = |time: Option<Timestamp>| time.map(|time| now.duration_since(time));
        if after(self.expire_time).is_some_and(|late| late > SKEW) {
            return Err(DenyReason::TokenExpired);
        }
        let early = |time| after(time).is_some_and(|since| since < -SKEW);
        if early(self.not_before) || early(self.issue_time) {
            return Err(DenyReason::TokenNotYetValid);
        }
        Ok(())
    }

    /// Whether the token names the same subject as what was verified, where both name one.
    pub(crate) fn agree_with(&self, facts: &Facts) -> bool {
        let subject = format!(
            "system:serviceaccount:{}:{}",
            facts.namespace, facts.service_account_name
        );
        let same = |claim: &Option<String>, fact: Option<&String>| match (claim, fact) {
            (Some(claim), Some(fact)) => claim == fact,
            _ => true,
        };
        same(&self.subject, Some(&subject))
            && same(&self.namespace, Some(&facts.namespace))
            && same(
                &self.service_account_name,
                Some(&facts.service_account_name),
            )
            && same(&self.service_account_uid, Some(&facts.service_account_uid))
            && same(&self.pod_name, facts.pod_name.as_ref())
            && same(&self.pod_uid, facts.pod_uid.as_ref())
    }
}

fn object<'o>(object: &'o Object, name: &str) -> Result<Option<&'o Object>, DenyReason> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(_) => Err(DenyReason::TokenClaimMalformed),
    }
}

pub(super) fn text(object: &Object, name: &str) -> Result<Option<String>, DenyReason> {
    object.get(name).map(string).transpose()
}

fn texts(object: &Object, name: &str) -> Result<Vec<String>, DenyReason> {
    match object.get(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(string).collect(),
        Some(one) => Ok(vec![string(one)?]),
    }
}

fn string(value: &Value) -> Result<String, DenyReason> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or(DenyReason::TokenClaimMalformed)
}

fn time(object: &Object, name: &str) -> Result<Option<Timestamp>, DenyReason> {
    let Some(value) = object.get(name) else {
        return Ok(None);
    };
    let time = value
        .as_i64()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(Some).ok_or(DenyReason::TokenClaimMalformed)
}
