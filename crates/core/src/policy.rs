//! The decision. It runs twice, with the same facts: at the gateway over what it knows, and at
//! the control plane over the database.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::auth_method::{Audiences, AuthMethod, Kubernetes};
use crate::facts::Facts;
use crate::ip;
use crate::reason::DenyReason;
use crate::rule::Miss;

/// A method that would take a login from there and now: the ticket to [`decide`].
#[derive(Debug, Clone, Copy)]
pub struct Admission<'m> {
    method: &'m AuthMethod,
    kubernetes: &'m Kubernetes,
}

/// A login that is allowed. Only [`decide`] makes one, and only a grant can be signed or turned
/// into a token.
#[derive(Debug)]
pub struct Grant {
    access_id: crate::access_id::AccessId,
    facts: Facts,
    rule: usize,
    expire_time: Timestamp,
}

/// A login that no rule lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: DenyReason,
    /// The rule that came nearest, from 0; absent when it wasn't a rule that refused.
    pub rule: Option<usize>,
}

/// Whether the method takes logins at all, now and from that address.
///
/// # Errors
/// The reason why not.
pub fn admit(
    method: &AuthMethod,
    client_ip: Option<IpAddr>,
    now: Timestamp,
) -> Result<Admission<'_>, DenyReason> {
    let kubernetes = method.kubernetes().ok_or(DenyReason::MethodUnknown)?;
    if method.settings.disabled {
        return Err(DenyReason::MethodDisabled);
    }
    if method.settings.access_expires.is_some_and(|end| end <= now) {
        return Err(DenyReason::AccessExpired);
    }
    if !ip::allowed(&method.settings.bound_ips, client_ip) {
        return Err(DenyReason::ClientIpNotBound);
    }
    Ok(Admission { method, kubernetes })
}

/// Whether the method's rules let in whom the facts describe.
///
/// # Errors
/// The reason of the rule that came nearest.
pub fn decide(admission: Admission<'_>, facts: Facts, now: Timestamp) -> Result<Grant, Denial> {
    let Admission { method, kubernetes } = admission;
    if facts.legacy {
        return Err(Denial::from(DenyReason::TokenWithoutExpiry));
    }
    if !audience_accepted(&kubernetes.audiences, &facts) {
        return Err(Denial::from(DenyReason::AudienceNotConfirmed));
    }
    let rule = first_that_holds(kubernetes, &facts)?;
    Ok(Grant {
        access_id: method.access_id.clone(),
        facts,
        rule,
        expire_time: expire_time(method, now),
    })
}

fn audience_accepted(audiences: &Audiences, facts: &Facts) -> bool {
    match audiences {
        Audiences::ApiServer => facts.for_api_server,
        Audiences::Listed(listed) => facts.aud.iter().any(|aud| listed.contains(aud)),
        Audiences::Any => true,
    }
}

fn first_that_holds(kubernetes: &Kubernetes, facts: &Facts) -> Result<usize, Denial> {
    let mut nearest: Option<(usize, Miss)> = None;
    for (index, rule) in kubernetes.rules.iter().enumerate() {
        match rule.check(facts) {
            Ok(()) => return Ok(index),
            Err(miss) => {
                if nearest.is_none_or(|(_, best)| miss.matched > best.matched) {
                    nearest = Some((index, miss));
                }
            }
        }
    }
    Err(match nearest {
        Some((index, miss)) => Denial {
            reason: miss.reason,
            rule: Some(index),
        },
        None => Denial::from(DenyReason::NoRules),
    })
}

fn expire_time(method: &AuthMethod, now: Timestamp) -> Timestamp {
    let ttl = SignedDuration::try_from(method.settings.token_ttl.get()).unwrap_or_default();
    let end = now.saturating_add(ttl).unwrap_or(now);
    method
        .settings
        .access_expires
        .map_or(end, |access| end.min(access))
}

impl From<DenyReason> for Denial {
    fn from(reason: DenyReason) -> Self {
        Self { reason, rule: None }
    }
}

// === impl Admission ===

impl<'m> Admission<'m> {
    /// The method.
    pub fn method(&self) -> &'m AuthMethod {
        self.method
    }

    /// Its Kubernetes half.
    pub fn kubernetes(&self) -> &'m Kubernetes {
        self.kubernetes
    }
}

// === impl Grant ===

impl Grant {
    /// The method that granted.
    pub fn access_id(&self) -> &crate::access_id::AccessId {
        &self.access_id
    }

    /// What it was granted on.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The rule that held, from 0.
    pub fn rule(&self) -> usize {
        self.rule
    }

    /// When a token from this grant ends: the method's TTL from `now`, or its access's end.
    pub fn expire_time(&self) -> Timestamp {
        self.expire_time
    }
}

#[cfg(test)]
mod tests;
