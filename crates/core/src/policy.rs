//! The decision. It runs twice, with the same facts: at the gateway over what it knows, and at
//! the control plane over the database.
//!
//! A check is a function that returns a finding, in one of the lists below: `ADMISSION`,
//! `TOKEN`, or the bounds of a rule. [`admit`] and [`decide`] run the lists to the first that
//! fails, [`explain`] to their ends, so that an explanation can't say anything else.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::auth_method::{Audiences, AuthMethod, Kubernetes, TokenTraits};
use crate::check::{Check, Finding, Shown, Step};
use crate::facts::{Facts, VerificationMode};
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

/// Why a described or verified login is allowed or not: every check, and the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Every check of every step, in the order of the decision.
    pub checks: Vec<Check>,
    /// The decision.
    pub verdict: Result<Allowed, Denial>,
}

/// What a login that is allowed gets. It is no [`Grant`]: nothing can be signed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The rule that holds, from 0.
    pub rule: usize,
    /// When a token would end.
    pub expire_time: Timestamp,
}

/// A login before its token was verified.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    method: &'a AuthMethod,
    client_ip: Option<IpAddr>,
    now: Timestamp,
}

/// A login whose token was verified.
#[derive(Clone, Copy)]
struct Presented<'a> {
    kubernetes: &'a Kubernetes,
    facts: &'a Facts,
    now: Timestamp,
}

/// A check; `None`: the method doesn't ask.
type AdmissionCheck = for<'a> fn(Attempt<'a>) -> Option<Finding<'a>>;
type TokenCheck = for<'a> fn(Presented<'a>) -> Option<Finding<'a>>;

/// Whether the method takes logins at all, by the field that says so.
const ADMISSION: &[(&str, AdmissionCheck)] = &[
    ("type", kind),
    ("disabled", disabled),
    ("access_expire_time", access_expire_time),
    ("bound_ips", bound_ips),
];

/// Whether the presented token is one that the method takes, by the field that says so; its
/// `TokenBounds` come first.
const TOKEN: &[(&str, TokenCheck)] = &[("mode", offline_audiences), ("audiences", audiences)];

/// Whether the method takes logins at all, now and from that address.
///
/// # Errors
/// The reason why not.
pub fn admit(
    method: &AuthMethod,
    client_ip: Option<IpAddr>,
    now: Timestamp,
) -> Result<Admission<'_>, DenyReason> {
    let attempt = Attempt {
        method,
        client_ip,
        now,
    };
    for (_, finding) in attempt.findings() {
        finding.outcome?;
    }
    let kubernetes = method.kubernetes().ok_or(DenyReason::MethodUnknown)?;
    Ok(Admission { method, kubernetes })
}

/// Whether the method's rules let in whom the facts describe.
///
/// # Errors
/// The reason of the rule that came nearest.
pub fn decide(admission: Admission<'_>, facts: Facts, now: Timestamp) -> Result<Grant, Denial> {
    let Allowed { rule, expire_time } = judge(admission, &facts, now)?;
    Ok(Grant {
        access_id: admission.method.access_id.clone(),
        facts,
        rule,
        expire_time,
    })
}

/// What [`admit`] and [`decide`] say about a login, and every check that they would make.
///
/// The facts may be verified ones or a description, since nothing can be issued on an explanation.
/// The labels of a described namespace come from
/// [`NamespaceLabels::read`](crate::facts::NamespaceLabels::read), over all keys that the method
/// names.
pub fn explain(method: &AuthMethod, facts: &Facts, now: Timestamp) -> Explanation {
    let mut checks = explain_admission(method, facts.client_ip, now);
    if let Some(kubernetes) = method.kubernetes() {
        let presented = Presented {
            kubernetes,
            facts,
            now,
        };
        let token = presented.findings();
        checks.extend(token.map(|(bound, found)| Check::new(Step::Token, None, bound, &found)));
        for (index, rule) in kubernetes.rules.iter().enumerate() {
            let bounds = rule.findings(facts);
            checks.extend(
                bounds.map(|(bound, found)| Check::new(Step::Rule, Some(index), bound, &found)),
            );
        }
    }
    let verdict = admit(method, facts.client_ip, now)
        .map_err(Denial::from)
        .and_then(|admission| judge(admission, facts, now));
    Explanation { checks, verdict }
}

/// Every check of [`admit`], for a login of which nothing was verified.
pub fn explain_admission(
    method: &AuthMethod,
    client_ip: Option<IpAddr>,
    now: Timestamp,
) -> Vec<Check> {
    let attempt = Attempt {
        method,
        client_ip,
        now,
    };
    let findings = attempt.findings();
    findings
        .map(|(bound, found)| Check::new(Step::Admit, None, bound, &found))
        .collect()
}

fn judge(admission: Admission<'_>, facts: &Facts, now: Timestamp) -> Result<Allowed, Denial> {
    let Admission { method, kubernetes } = admission;
    let presented = Presented {
        kubernetes,
        facts,
        now,
    };
    for (_, finding) in presented.findings() {
        finding.outcome?;
    }
    Ok(Allowed {
        rule: first_that_holds(kubernetes, facts)?,
        expire_time: expire_time(method, facts, now)?,
    })
}

impl<'a> Attempt<'a> {
    fn findings(self) -> impl Iterator<Item = (&'static str, Finding<'a>)> {
        let asked = ADMISSION.iter();
        asked.filter_map(move |(bound, check)| Some((*bound, check(self)?)))
    }
}

impl<'a> Presented<'a> {
    fn findings(self) -> impl Iterator<Item = (&'static str, Finding<'a>)> {
        let Self {
            kubernetes,
            facts,
            now,
        } = self;
        let bounds = kubernetes
            .tokens
            .findings(TokenTraits::of(facts), facts.mode, now);
        let asked = TOKEN.iter();
        bounds.chain(asked.filter_map(move |(bound, check)| Some((*bound, check(self)?))))
    }
}

fn kind(attempt: Attempt<'_>) -> Option<Finding<'_>> {
    let kubernetes = attempt.method.kubernetes().is_some();
    let got = if kubernetes {
        "kubernetes"
    } else {
        "access_key"
    };
    Some(Finding::new(
        Shown::Text("kubernetes"),
        Shown::Text(got),
        kubernetes,
        DenyReason::MethodUnknown,
    ))
}

fn disabled(attempt: Attempt<'_>) -> Option<Finding<'_>> {
    let disabled = attempt.method.settings.disabled;
    Some(Finding::new(
        Shown::Text("false"),
        Shown::Text(if disabled { "true" } else { "false" }),
        !disabled,
        DenyReason::MethodDisabled,
    ))
}

fn access_expire_time(attempt: Attempt<'_>) -> Option<Finding<'_>> {
    let end = attempt.method.settings.access_expires?;
    Some(Finding::new(
        Shown::Time(end),
        Shown::Time(attempt.now),
        attempt.now < end,
        DenyReason::AccessExpired,
    ))
}

fn bound_ips(attempt: Attempt<'_>) -> Option<Finding<'_>> {
    let blocks = &attempt.method.settings.bound_ips;
    (!blocks.is_empty()).then(|| {
        Finding::new(
            Shown::Blocks(blocks),
            Shown::Address(attempt.client_ip),
            ip::allowed(blocks, attempt.client_ip),
            DenyReason::ClientIpNotBound,
        )
    })
}

fn audiences(presented: Presented<'_>) -> Option<Finding<'_>> {
    let facts = presented.facts;
    let (wanted, holds) = match &presented.kubernetes.audiences {
        Audiences::ApiServer => (Shown::Text("the API server's own"), facts.for_api_server),
        Audiences::Listed(listed) => {
            let confirmed = facts.aud.iter().any(|aud| listed.contains(aud));
            (Shown::Texts(listed), confirmed)
        }
        Audiences::Any => return None,
    };
    let got = if facts.for_api_server {
        Shown::Text("the API server's own")
    } else {
        Shown::Texts(&facts.aud)
    };
    Some(Finding::new(
        wanted,
        got,
        holds,
        DenyReason::AudienceNotConfirmed,
    ))
}

/// What nobody reviewed must be for somebody in particular: a token for the API server, or for anybody, is in too many
/// hands.
fn offline_audiences(presented: Presented<'_>) -> Option<Finding<'_>> {
    let listed = presented.kubernetes.audiences.listed();
    (presented.facts.mode == VerificationMode::Offline).then(|| {
        Finding::new(
            Shown::Text("listed audiences"),
            Shown::Texts(listed),
            !listed.is_empty(),
            DenyReason::OfflineWithoutAudiences,
        )
    })
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

/// The earliest of what ends a token. One that would be over at once isn't made.
fn expire_time(
    method: &AuthMethod,
    facts: &Facts,
    now: Timestamp,
) -> Result<Timestamp, DenyReason> {
    let settings = &method.settings;
    let ttl = SignedDuration::try_from(settings.token_ttl.get()).unwrap_or_default();
    let end = now.saturating_add(ttl).unwrap_or(now);
    let end = settings
        .access_expires
        .map_or(end, |access| end.min(access));
    if !settings.cap_to_presented_expiry {
        return Ok(end);
    }
    let presented = facts.expire_time.ok_or(DenyReason::TokenWithoutExpiry)?;
    if presented <= now {
        return Err(DenyReason::TokenExpired);
    }
    Ok(end.min(presented))
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

    /// When a token from this grant ends: the method's TTL from `now`, its access's end, or, where
    /// the method says so, the presented token's own.
    pub fn expire_time(&self) -> Timestamp {
        self.expire_time
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;
