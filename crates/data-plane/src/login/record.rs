//! The audit record of a refusal.

use postern_core::audit::{Component, Event, EventKind};
use postern_core::resource_id::ConfigName;

use super::{Attempt, Denied, Login};

/// Stands for a name that matches no object: what was sent in its place may be anything, a token
/// included.
const UNKNOWN: &str = "unknown";

impl Login {
    pub(super) fn record(&self, attempt: &Attempt, denied: &Denied) -> Event {
        Event {
            request_id: attempt.caller.request_id.to_string(),
            gateway: self.settings.gateway.to_string(),
            k8s_auth_config: self.config_name(attempt),
            access_id: self.access_id(attempt),
            caller_ip: attempt.caller.ip,
            user_agent: attempt.caller.user_agent.clone().unwrap_or_default(),
            facts: denied.facts.as_deref().cloned(),
            reason: denied.reason.to_string(),
            rule: denied.rule,
            ..Event::new(EventKind::LoginDenied, Component::Gateway, self.now())
        }
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
