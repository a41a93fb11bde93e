//! A login's own steps, written down instead of walked to the end: nothing is signed.

use std::net::IpAddr;
use std::sync::Arc;

use postern_core::access_id::AccessId;
use postern_core::auth_method::AuthMethod;
use postern_core::check::{Check, Step};
use postern_core::facts::Facts;
use postern_core::k8s_auth_config::Issuers;
use postern_core::policy::{self, Denial};
use postern_core::reason::DenyReason;
use postern_core::resource_id::ResourceId;
use postern_proto::convert::{audit, time};
use postern_proto::pb;
use postern_rpc::caller::Caller;
use postern_rpc::deadline::Deadline;
use secrecy::SecretString;

use super::{Attempt, Login, Route, Stop};
use crate::cluster::Verified;
use crate::presented_token::{Claims, PresentedToken, Rejection};
use crate::snapshot::ConfigEntry;

const EARLY: &str = "an issuer, times and an audience that fit";
const NOT_SIMULATED: &str = "not simulated: the token's form and signature, the cluster's own verdict, and whether the config is enabled";
const NO_ISSUER: &str = "not simulated: the token's issuer, since none was described for a config (--issuer with --config)";

/// What an administrator asks about.
pub(crate) struct Question {
    pub(crate) config: ResourceId,
    pub(crate) token: SecretString,
    /// `None`: the config's own.
    pub(crate) access_id: Option<AccessId>,
    pub(crate) client_ip: Option<IpAddr>,
    /// The administrator.
    pub(crate) caller: Caller,
    pub(crate) deadline: Deadline,
}

/// An explanation in the making, with the method that it is about once that is known.
#[derive(Default)]
pub(crate) struct Explained {
    pub(crate) wire: pb::Explanation,
    pub(crate) method: Option<ResourceId>,
    /// What was verified.
    pub(crate) facts: Option<Facts>,
}

impl Login {
    /// What [`login`](Self::login) would say, and why. A refusal is an explanation as well.
    ///
    /// # Errors
    /// What is presented is no token, or there is no verdict.
    pub(crate) async fn explain(&self, question: Question) -> Result<Explained, Stop> {
        let mut explained = Explained::default();
        match self.walk(question, &mut explained).await {
            Err(Stop::Denied(denied)) => {
                let (reason, rule) = (denied.reason, denied.rule);
                explained.refused(Denial { reason, rule });
                Ok(explained)
            }
            Err(stop) => Err(stop),
            Ok(()) => Ok(explained),
        }
    }

    async fn walk(&self, question: Question, explained: &mut Explained) -> Result<(), Stop> {
        let token = PresentedToken::parse(question.token.clone());
        explained.step("shape", "token", "a JWT that clusters issue", &token);
        let token = Arc::new(token?);
        let access_id = self.access_id_of(&question).await;
        explained.step(
            "route",
            "k8s_auth_config",
            question.config.as_str(),
            &access_id,
        );
        let attempt = Attempt {
            access_id: access_id?,
            config: question.config,
            token: question.token,
            token_audiences: Vec::new(),
            caller: Caller {
                ip: question.client_ip,
                ..question.caller
            },
            deadline: question.deadline,
        };
        let route = self.route(&attempt).await;
        explained.step("route", "access_id", attempt.access_id.as_str(), &route);
        let Route { cluster, method } = &route?;
        let config = cluster.config();
        explained.wire.k8s_auth_config = config.name.to_string();
        explained.wire.access_id = method.access_id.to_string();
        explained.method = Some(method.id.clone());
        let standing = if config.disabled {
            Err(DenyReason::ConfigDisabled)
        } else {
            Ok(())
        };
        explained.step("route", "enabled", "a config that is enabled", &standing);
        standing?;
        let now = self.now();
        let admission = policy::explain_admission(method, attempt.caller.ip, now);
        explained.checks(&admission);
        let admission = policy::admit(method, attempt.caller.ip, now)?;
        let early = super::check_early(&token, config, admission, now);
        explained.step("early", "claims", EARLY, &early);
        early?;
        let route = Route {
            cluster: cluster.clone(),
            method: method.clone(),
        };
        let verified = self
            .ask_cluster(&route, &token, admission, &attempt)
            .await?;
        explained.verified(&verified);
        explained.policy(method, verified.verdict?, self.now());
        Ok(())
    }

    async fn access_id_of(&self, question: &Question) -> Result<AccessId, Stop> {
        if let Some(access_id) = &question.access_id {
            return Ok(access_id.clone());
        }
        let named = || match self.snapshot.config(&question.config) {
            Some(ConfigEntry::Live(cluster)) => Ok(cluster.config().access_id.clone()),
            Some(ConfigEntry::Unusable) => {
                Err(super::Fault::ConfigUnusable(question.config.clone()).into())
            }
            None => Err(Stop::from(DenyReason::ConfigUnknown)),
        };
        match named() {
            Err(Stop::Denied(_)) => {
                let caught_up = self.snapshot.catch_up(question.deadline).await;
                caught_up.map_err(super::Fault::behind)?;
                named()
            }
            named => named,
        }
    }
}

// === impl Explained ===

impl Explained {
    /// What a login's steps say about a workload that is only described, as far as they ask
    /// nobody. `issuers` are those of a config, with the issuer that was described for it.
    pub(crate) fn simulated(
        method: &AuthMethod,
        issuer: Option<(&Issuers, String)>,
        facts: Facts,
        now: jiff::Timestamp,
    ) -> Self {
        let mut explained = Self::default();
        let issuer_asked = issuer.is_some();
        match explained.before_review(method, issuer, &facts, now) {
            Ok(()) => explained.policy(method, facts, now),
            Err(reason) => explained.refused(Denial { reason, rule: None }),
        }
        // Nothing of it was verified.
        explained.facts = None;
        let notes = &mut explained.wire.notes;
        if !issuer_asked {
            notes.push(NO_ISSUER.to_owned());
        }
        notes.push(NOT_SIMULATED.to_owned());
        explained
    }

    /// What needs no cluster to be refused, in a login's order.
    fn before_review(
        &mut self,
        method: &AuthMethod,
        issuer: Option<(&Issuers, String)>,
        facts: &Facts,
        now: jiff::Timestamp,
    ) -> Result<(), DenyReason> {
        self.checks(&policy::explain_admission(method, facts.client_ip, now));
        let admission = policy::admit(method, facts.client_ip, now)?;
        let (issuers, issuer) = issuer.unzip();
        let claims = Claims {
            issuer,
            audiences: facts.aud.clone(),
            issue_time: facts.issue_time,
            expire_time: facts.expire_time,
            pod_uid: facts.pod_uid.clone(),
            ..Claims::default()
        };
        let issuers = issuers.unwrap_or(&Issuers::NotValidated);
        let early = claims.check_early(issuers, admission.kubernetes(), now);
        self.step("early", "claims", EARLY, &early);
        early
    }

    /// What the cluster said, and whether it was asked.
    fn verified(&mut self, verified: &Verified) {
        let wanted = "a token that the cluster vouches for";
        self.step("verify", "token", wanted, &verified.verdict);
        self.wire.cached = verified.cached;
        if verified.cached
            && let Some(check) = self.wire.checks.last_mut()
        {
            check.got.push_str(", known from a moment ago");
        }
    }

    fn policy(&mut self, method: &AuthMethod, facts: Facts, now: jiff::Timestamp) {
        let explanation = policy::explain(method, &facts, now);
        // Already there, in its own place, where a token was presented.
        let admitted = self
            .wire
            .checks
            .iter()
            .any(|check| check.step == Step::Admit.as_str());
        let checks = explanation.checks.into_iter();
        let rest: Vec<Check> = checks
            .filter(|check| !admitted || check.step != Step::Admit)
            .collect();
        self.checks(&rest);
        self.wire.facts = Some(audit::facts_to_pb(&facts));
        self.facts = Some(facts);
        match explanation.verdict {
            Err(denial) => self.refused(denial),
            Ok(allowed) => {
                self.wire.allowed = true;
                self.wire.rule = i32::try_from(allowed.rule).ok();
                self.wire.token_expire_time = Some(time::timestamp(allowed.expire_time));
                self.notes(method);
            }
        }
    }

    /// What the exchange would still ask.
    fn notes(&mut self, method: &AuthMethod) {
        if !method.settings.gw_bound_ips.is_empty() {
            let blocks = method.settings.gw_bound_ips.iter().map(ToString::to_string);
            self.wire.notes.push(format!(
                "the control plane also holds the gateway's own address, which only it sees, to gw_bound_ips: {}",
                blocks.collect::<Vec<_>>().join(", ")
            ));
        }
        let kubernetes = method.kubernetes();
        if kubernetes.is_some_and(|kubernetes| kubernetes.tokens.single_use) {
            self.wire.notes.push(
                "the method takes a token once: whether this one was used only the control plane knows"
                    .to_owned(),
            );
        }
    }

    fn refused(&mut self, Denial { reason, rule }: Denial) {
        self.wire.allowed = false;
        self.wire.reason = reason.to_string();
        self.wire.rule = rule.and_then(|rule| i32::try_from(rule).ok());
    }

    fn checks(&mut self, checks: &[Check]) {
        self.wire
            .checks
            .extend(checks.iter().map(|check| pb::Check {
                step: check.step.as_str().to_owned(),
                rule: check.rule.and_then(|rule| i32::try_from(rule).ok()),
                bound: check.bound.to_owned(),
                wanted: check.wanted.clone(),
                got: check.got.clone(),
                matched: check.matched(),
                reason: check.reason.map(|r| r.to_string()).unwrap_or_default(),
            }));
    }

    /// A step that isn't the policy's. What isn't a refusal is no finding.
    fn step<T, E: AsRefusal>(
        &mut self,
        step: &str,
        bound: &str,
        wanted: &str,
        outcome: &Result<T, E>,
    ) {
        let reason = match outcome {
            Ok(_) => None,
            Err(fault) => match fault.refusal() {
                Some(reason) => Some(reason),
                None => return,
            },
        };
        self.wire.checks.push(pb::Check {
            step: step.to_owned(),
            rule: None,
            bound: bound.to_owned(),
            wanted: wanted.to_owned(),
            got: if reason.is_none() { "yes" } else { "no" }.to_owned(),
            matched: reason.is_none(),
            reason: reason.map(|r| r.to_string()).unwrap_or_default(),
        });
    }
}

/// What may be a refusal, or a fault that says nothing about the token.
trait AsRefusal {
    fn refusal(&self) -> Option<DenyReason>;
}

impl AsRefusal for DenyReason {
    fn refusal(&self) -> Option<DenyReason> {
        Some(*self)
    }
}

impl AsRefusal for Stop {
    fn refusal(&self) -> Option<DenyReason> {
        match self {
            Self::Denied(denied) => Some(denied.reason),
            Self::Shape(_) | Self::RefusedByControlPlane | Self::Limited(_) | Self::Fault(_) => {
                None
            }
        }
    }
}

impl AsRefusal for Rejection {
    fn refusal(&self) -> Option<DenyReason> {
        match self {
            Self::Denied(reason) => Some(*reason),
            Self::Shape(_) => None,
        }
    }
}
