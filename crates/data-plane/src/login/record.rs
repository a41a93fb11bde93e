//! The audit records of a refusal, and of what a limit did to a login.

use postern_core::audit::{Component, Event, EventKind};
use postern_core::facts::{Facts, SubClaims};
use postern_core::resource_id::ConfigName;
use postern_core::sub_claim;
use postern_rpc::metrics::Scope;

use super::{Attempt, Denied, Login};

/// Stands for a name that matches no object: what was sent in its place may be anything, a token
/// included.
const UNKNOWN: &str = "unknown";

impl Login {
    pub(super) fn record(&self, attempt: &Attempt, denied: &Denied) -> Event {
        let config = self.config_name(attempt);
        let facts = denied.facts.as_deref().cloned();
        Event {
            sub_claims: facts
                .as_ref()
                .map(|facts| self.logged_claims(attempt, facts, &config))
                .unwrap_or_default(),
            facts,
            reason: denied.reason.to_string(),
            rule: denied.rule,
            ..self.record_of(EventKind::LoginDenied, attempt, config)
        }
    }

    pub(super) fn record_of_limit(&self, attempt: &Attempt, limit: Scope) -> Event {
        let config = self.config_name(attempt);
        Event {
            reason: limit.reason().to_owned(),
            ..self.record_of(EventKind::CallLimited, attempt, config)
        }
    }

    fn record_of(&self, kind: EventKind, attempt: &Attempt, config: String) -> Event {
        Event {
            request_id: attempt.caller.request_id.to_string(),
            gateway: self.settings.gateway.to_string(),
            k8s_auth_config: config,
            access_id: self.access_id(attempt),
            caller_ip: attempt.caller.ip,
            user_agent: attempt.caller.user_agent.clone().unwrap_or_default(),
            ..Event::new(kind, Component::Gateway, self.now())
        }
    }

    /// The sub-claims that the method wants in its logins' records.
    fn logged_claims(&self, attempt: &Attempt, facts: &Facts, config: &str) -> SubClaims {
        let Some(method) = self.snapshot.method(&attempt.access_id) else {
            return SubClaims::new();
        };
        let claims = facts.sub_claims(config, self.settings.gateway.as_str());
        sub_claim::selected(&claims, &method.settings.audit_logs_claims)
    }

    fn config_name(&self, attempt: &Attempt) -> String {
        if self.snapshot.config(&attempt.config).is_none() {
            return UNKNOWN.to_owned();
        }
        let gateway = self.settings.gateway.clone();
        ConfigName {
            gateway,
            id: attempt.config.clone(),
        }
        .to_string()
    }

    fn access_id(&self, attempt: &Attempt) -> String {
        match self.snapshot.method(&attempt.access_id) {
            Some(_) => attempt.access_id.to_string(),
            None => UNKNOWN.to_owned(),
        }
    }
}
