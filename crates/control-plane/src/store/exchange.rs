//! Whether an assertion is granted: the part of an exchange that asks no database.

use std::net::IpAddr;

use jiff::Timestamp;
use postern_core::assertion::{self, Claims};
use postern_core::audit::{Component, Event, EventKind};
use postern_core::auth_method::AuthMethod;
use postern_core::facts::{Facts, SubClaims};
use postern_core::policy::{self, Denial, Grant};
use postern_core::reason::DenyReason;
use postern_core::resource_id::ConfigName;
use postern_core::{ip, resource_id::ResourceId, sub_claim};

use super::{Exchange, Granted, Inconsistent};

/// What the exchange must know of a K8s auth config.
#[derive(sqlx::FromRow)]
pub(super) struct ConfigFacts {
    #[sqlx(rename = "config_id")]
    id: String,
    #[sqlx(rename = "config_gateway_uid")]
    gateway_uid: String,
    #[sqlx(rename = "config_method_uid")]
    method_uid: String,
    #[sqlx(rename = "config_generation")]
    generation: i64,
    #[sqlx(rename = "config_disabled")]
    disabled: bool,
}

impl ConfigFacts {
    /// Where not, it is a fault of its logins until somebody mends the row.
    pub(super) fn is_valid(&self) -> bool {
        self.id.parse::<ResourceId>().is_ok()
    }
}

/// A refusal and what was known of the login by then.
pub(super) struct Refusal {
    pub(super) reason: DenyReason,
    rule: Option<usize>,
    access_id: Option<String>,
    config: Option<String>,
    facts: Option<Facts>,
    sub_claims: SubClaims,
}

/// What an assertion says, once it is known to be the caller's own.
///
/// # Errors
/// The first check that failed.
pub(super) fn verify(request: &Exchange, method: &AuthMethod) -> Result<Claims, DenyReason> {
    let kubernetes = method.kubernetes().ok_or(DenyReason::MethodUnknown)?;
    let claims = assertion::verify(
        &request.assertion,
        &request.access_id,
        kubernetes,
        request.deployment,
        request.now,
    )?;
    if claims.gateway != request.gateway.name {
        return Err(DenyReason::AssertionGatewayMismatch);
    }
    Ok(claims)
}

/// The login's config, which must be the caller's own and name the method.
///
/// # Errors
/// The inner one: why not.
pub(super) fn own_config(
    request: &Exchange,
    method: &AuthMethod,
    claims: &Claims,
    config: Option<&ConfigFacts>,
) -> Result<Result<ConfigName, DenyReason>, Inconsistent> {
    let own = config.filter(|config| {
        config.gateway_uid == request.gateway.uid.to_string()
            && config.method_uid == method.uid.to_string()
            // A login that came through what the config was before an acknowledged change.
            && config.generation == claims.generation
    });
    let Some(config) = own else {
        return Ok(Err(DenyReason::AssertionConfigMismatch));
    };
    if config.disabled {
        return Ok(Err(DenyReason::ConfigDisabled));
    }
    let id: ResourceId = config.id.parse().map_err(|_| Inconsistent {
        table: "k8s_auth_configs",
        column: "id",
        key: config.id.clone(),
    })?;
    Ok(Ok(ConfigName {
        gateway: request.gateway.name.clone(),
        id,
    }))
}

/// The decision, on the rules as they are in the database.
///
/// # Errors
/// Why not.
pub(super) fn grant(
    gateway_ip: Option<IpAddr>,
    method: &AuthMethod,
    facts: &Facts,
    now: Timestamp,
) -> Result<Grant, Denial> {
    if !ip::allowed(&method.settings.gw_bound_ips, gateway_ip) {
        return Err(DenyReason::GatewayIpNotBound.into());
    }
    let admission = policy::admit(method, facts.client_ip, now)?;
    policy::decide(admission, facts.clone(), now)
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(denial: impl Into<Denial>) -> Self {
        let Denial { reason, rule } = denial.into();
        Self {
            reason,
            rule,
            access_id: None,
            config: None,
            facts: None,
            sub_claims: SubClaims::new(),
        }
    }

    /// Of a method that exists.
    pub(super) fn of_method(mut self, method: &AuthMethod) -> Self {
        self.access_id = Some(method.access_id.to_string());
        self
    }

    /// Of an assertion that was verified.
    pub(super) fn of_claims(mut self, claims: &Claims) -> Self {
        self.facts = Some(claims.facts.clone());
        self
    }

    /// Through a config of the caller's own.
    pub(super) fn of_config(mut self, method: &AuthMethod, config: &ConfigName) -> Self {
        self.config = Some(config.to_string());
        if let Some(facts) = &self.facts {
            self.sub_claims = logged_claims(method, facts, config);
        }
        self
    }

    /// Its record; what matches no object is `unknown`.
    pub(super) fn event(&self, request: &Exchange) -> Event {
        let unknown = || "unknown".to_owned();
        let client_ip = self.facts.as_ref().and_then(|facts| facts.client_ip);
        Event {
            request_id: request.request_id.clone(),
            gateway: request.gateway.name.to_string(),
            access_id: self.access_id.clone().unwrap_or_else(unknown),
            k8s_auth_config: self.config.clone().unwrap_or_else(unknown),
            caller_ip: client_ip,
            reason: self.reason.as_str().to_owned(),
            rule: self.rule,
            facts: self.facts.clone(),
            sub_claims: self.sub_claims.clone(),
            ..Event::new(EventKind::LoginDenied, Component::ControlPlane, request.now)
        }
    }
}

/// The sub-claims that the method wants in its logins' records.
fn logged_claims(method: &AuthMethod, facts: &Facts, config: &ConfigName) -> SubClaims {
    let claims = facts.sub_claims(&config.to_string(), config.gateway.as_str());
    sub_claim::selected(&claims, &method.settings.audit_logs_claims)
}

/// The record of a grant.
pub(super) fn granted(
    request: &Exchange,
    method: &AuthMethod,
    grant: &Grant,
    config: &ConfigName,
    granted: &Granted,
) -> Event {
    let kind = if granted.renewed {
        EventKind::TokenRenewed
    } else {
        EventKind::LoginGranted
    };
    Event {
        request_id: request.request_id.clone(),
        gateway: request.gateway.name.to_string(),
        access_id: grant.access_id().to_string(),
        k8s_auth_config: config.to_string(),
        caller_ip: grant.facts().client_ip,
        accessor: granted.accessor.to_string(),
        rule: Some(grant.rule()),
        facts: Some(grant.facts().clone()),
        sub_claims: logged_claims(method, grant.facts(), config),
        ..Event::new(kind, Component::ControlPlane, request.now)
    }
}
