//! Resources as JSON for audit records, without anything secret.

use jiff::Timestamp;
use postern_core::access_token::AccessKeyId;
use postern_core::association::{Association, RequiredSubClaims};
use postern_core::auth_method::{Audiences, AuthMethod, Kubernetes, MethodKey, TokenUses};
use postern_core::facts::VerificationMode;
use postern_core::ip::IpBlock;
use postern_core::k8s_auth_config::{Issuers, TlsServerName};
use postern_core::permission::Permission;
use postern_core::role::{Role, RoleRule};
use postern_core::rule::{Rule, RuleSpec};
use postern_core::sealed_config::ConfigView;
use postern_core::seconds::Seconds;
use serde::Serialize;

use super::rows::format;
use super::{BoxedKey, Gateway, KeyOverlap, NewKey};

#[derive(Serialize)]
struct MethodDocument<'m> {
    access_id: &'m str,
    description: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_expire_time: Option<Timestamp>,
    token_ttl_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_max_ttl_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_num_uses: Option<u32>,
    cap_to_presented_expiry: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    token_audiences: &'m [String],
    token_format: &'static str,
    disabled: bool,
    bound_ips: Vec<String>,
    gw_bound_ips: Vec<String>,
    force_sub_claims: bool,
    audit_logs_claims: Vec<&'static str>,
    delete_protection: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<KubernetesDocument<'m>>,
}

#[derive(Serialize)]
struct KubernetesDocument<'m> {
    audiences: &'m [String],
    allow_any_audience: bool,
    allow_legacy_tokens: bool,
    require_pod: bool,
    single_use: bool,
    revoke_with_pod: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_presented_age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_presented_lifetime_seconds: Option<u64>,
    rules: Vec<&'m RuleSpec>,
    public_keys: Vec<KeyDocument<'m>>,
}

#[derive(Serialize)]
struct KeyDocument<'m> {
    key_id: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<Timestamp>,
}

#[derive(Serialize)]
struct ConfigDocument<'c> {
    uid: uuid::Uuid,
    generation: i64,
    access_id: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    k8s_host: Option<String>,
    k8s_ca_cert: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_server_name: Option<&'c str>,
    reviewer: &'static str,
    /// A client certificate, a pinned cluster, or a cluster's ID at Rancher.
    #[serde(skip_serializing_if = "String::is_empty")]
    reviewer_shown: String,
    mode: VerificationMode,
    #[serde(skip_serializing_if = "str::is_empty")]
    jwks: &'c str,
    connect_timeout_millis: u128,
    total_timeout_millis: u128,
    k8s_issuers: &'c [String],
    disable_issuer_validation: bool,
    disabled: bool,
    token_exp_seconds: u64,
    signing_key_id: &'c str,
    seal_key_id: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewer_credential_expire_time: Option<Timestamp>,
}

#[derive(Serialize)]
struct NameDocument<'n> {
    name: &'n str,
}

#[derive(Serialize)]
struct GatewayDocument<'g> {
    access_id: &'g str,
    url: &'g str,
    description: &'g str,
    disabled: bool,
}

/// How long older keys, or this one, stay good: 0 is not at all.
#[derive(Serialize)]
struct RotationDocument {
    key_id: String,
    overlap_seconds: u64,
}

#[derive(Serialize)]
struct SigningKeyDocument<'k> {
    state: &'static str,
    seal_key_id: &'k str,
    create_time: Timestamp,
}

/// What a thing is called.
pub(super) fn name(name: &str) -> Option<String> {
    text(&NameDocument { name })
}

/// An auth method.
pub(super) fn method(method: &AuthMethod) -> Option<String> {
    let settings = &method.settings;
    text(&MethodDocument {
        access_id: method.access_id.as_str(),
        description: &settings.description,
        access_expire_time: settings.access_expires,
        token_ttl_seconds: settings.token_ttl.get().as_secs(),
        token_max_ttl_seconds: settings.token_max_ttl.map(Seconds::as_secs),
        token_num_uses: settings.token_num_uses.map(TokenUses::get),
        cap_to_presented_expiry: settings.cap_to_presented_expiry,
        token_audiences: settings.token_format.audiences(),
        token_format: format(settings.token_format.is_jwt()),
        disabled: settings.disabled,
        bound_ips: blocks(&settings.bound_ips),
        gw_bound_ips: blocks(&settings.gw_bound_ips),
        force_sub_claims: settings.force_sub_claims,
        audit_logs_claims: settings
            .audit_logs_claims
            .iter()
            .map(|name| name.as_str())
            .collect(),
        delete_protection: settings.delete_protection,
        kubernetes: method.kubernetes().map(kubernetes),
    })
}

fn kubernetes(kubernetes: &Kubernetes) -> KubernetesDocument<'_> {
    let tokens = &kubernetes.tokens;
    KubernetesDocument {
        audiences: kubernetes.audiences.listed(),
        allow_any_audience: kubernetes.audiences == Audiences::Any,
        allow_legacy_tokens: tokens.allow_legacy,
        require_pod: tokens.require_pod,
        single_use: tokens.single_use,
        revoke_with_pod: kubernetes.revoke_with_pod,
        max_presented_age_seconds: tokens.max_age.map(Seconds::as_secs),
        max_presented_lifetime_seconds: tokens.max_lifetime.map(Seconds::as_secs),
        rules: kubernetes.rules.iter().map(Rule::spec).collect(),
        public_keys: kubernetes.public_keys.iter().map(key).collect(),
    }
}

fn key(method_key: &MethodKey) -> KeyDocument<'_> {
    KeyDocument {
        key_id: method_key.key.id().as_str(),
        expire_time: method_key.expire_time,
    }
}

/// A K8s auth config's clear copy.
pub(super) fn config(view: &ConfigView) -> Option<String> {
    let (reviewer, reviewer_shown) = view.reviewer.to_parts();
    text(&ConfigDocument {
        uid: view.uid,
        generation: view.generation,
        access_id: view.access_id.as_str(),
        k8s_host: view.k8s_host.as_ref().map(ToString::to_string),
        k8s_ca_cert: &view.k8s_ca_cert,
        tls_server_name: view.tls_server_name.as_ref().map(TlsServerName::as_str),
        reviewer,
        reviewer_shown,
        mode: view.mode,
        jwks: &view.jwks,
        connect_timeout_millis: view.timeouts.connect().as_millis(),
        total_timeout_millis: view.timeouts.total().as_millis(),
        k8s_issuers: view.issuers.listed(),
        disable_issuer_validation: view.issuers == Issuers::NotValidated,
        disabled: view.disabled,
        token_exp_seconds: view.token_exp.get().as_secs(),
        signing_key_id: &view.signing_key_id,
        seal_key_id: &view.seal_key_id,
        reviewer_credential_expire_time: view.reviewer_credential_expire_time,
    })
}

/// A gateway.
pub(super) fn gateway(gateway: &Gateway) -> Option<String> {
    text(&GatewayDocument {
        access_id: gateway.access_id.as_str(),
        url: &gateway.url,
        description: &gateway.description,
        disabled: gateway.disabled,
    })
}

/// What became of an owner's access keys when another one came.
pub(super) fn rotation(new: &NewKey) -> Option<String> {
    text(&RotationDocument {
        key_id: AccessKeyId::of(&new.hash).to_string(),
        overlap_seconds: new.overlap.map_or(0, Seconds::as_secs),
    })
}

/// What became of one access key.
pub(super) fn revocation(id: &AccessKeyId, overlap: Option<KeyOverlap>) -> Option<String> {
    text(&RotationDocument {
        key_id: id.to_string(),
        overlap_seconds: overlap.map_or(0, Seconds::as_secs),
    })
}

#[derive(Serialize)]
struct RoleDocument<'r> {
    uid: uuid::Uuid,
    description: &'r str,
    rules: Vec<RoleRuleDocument<'r>>,
    permissions: Vec<&'static str>,
    delete_protection: bool,
}

#[derive(Serialize)]
struct RoleRuleDocument<'r> {
    path: &'r str,
    capabilities: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<Timestamp>,
}

#[derive(Serialize)]
struct AssociationDocument<'a> {
    auth_method: String,
    role: String,
    #[serde(flatten)]
    sub_claims: &'a RequiredSubClaims,
}

/// A role.
pub(super) fn role(role: &Role) -> Option<String> {
    let settings = &role.settings;
    text(&RoleDocument {
        uid: role.uid,
        description: &settings.description,
        rules: settings.rules.iter().map(role_rule).collect(),
        permissions: settings
            .permissions
            .iter()
            .map(Permission::as_str)
            .collect(),
        delete_protection: settings.delete_protection,
    })
}

fn role_rule(rule: &RoleRule) -> RoleRuleDocument<'_> {
    RoleRuleDocument {
        path: rule.path.as_str(),
        capabilities: rule.capabilities.iter().map(|c| c.as_str()).collect(),
        expire_time: rule.expire_time,
    }
}

/// An association.
pub(super) fn association(association: &Association) -> Option<String> {
    text(&AssociationDocument {
        auth_method: association.auth_method.auth_method_name(),
        role: association.role.role_name(),
        sub_claims: &association.sub_claims,
    })
}

/// A signing key's public half and where it is in its life.
pub(super) fn signing_key(key: &BoxedKey) -> Option<String> {
    text(&SigningKeyDocument {
        state: key.published.stage.state().as_str(),
        seal_key_id: key.sealed.key_id.as_str(),
        create_time: key.published.create_time,
    })
}

fn blocks(blocks: &[IpBlock]) -> Vec<String> {
    blocks.iter().map(ToString::to_string).collect()
}

/// Strings, numbers and lists always have a JSON text.
fn text(document: &impl Serialize) -> Option<String> {
    serde_json::to_string(document).ok()
}
