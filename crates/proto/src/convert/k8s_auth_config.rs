//! `K8sAuthConfig` at the gateway: from an administrator's request, into a sealed box and out of it.

use jiff::Timestamp;
use postern_core::ca_bundle::CaBundle;
use postern_core::invalid::{Invalid, Violations};
use postern_core::k8s_auth_config::{Issuers, K8sAuthConfig, TokenExp};
use postern_core::key::SigningKey;
use postern_core::resource_id::ConfigName;
use postern_core::sealed_config::ConfigView;
use prost_types::FieldMask;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::mask::{Mask, take};
use super::sealed_config::{issuers, token_exp};
use super::time;
use crate::{pb, sealed};

/// What an update can name.
const UPDATABLE: &[&str] = &[
    "access_id",
    "k8s_host",
    "k8s_ca_cert",
    "k8s_issuers",
    "disable_issuer_validation",
    "disabled",
    "token_exp",
];

/// A config that was accepted, and what an administrator should still look at.
pub struct Accepted {
    /// The config.
    pub config: K8sAuthConfig,
    /// Such as an expired certificate in a CA bundle.
    pub warnings: Vec<pb::Warning>,
}

/// Whose config it is, which the request doesn't say.
pub struct Identity {
    /// Its full name.
    pub name: ConfigName,
    /// Drawn by this gateway at create.
    pub uid: Uuid,
    /// The seal's number, from 1.
    pub generation: i64,
}

/// The config that a create asks for.
///
/// # Errors
/// Every fault at once, by field; secrets' values are never in them.
pub fn created(
    identity: Identity,
    wire: &pb::K8sAuthConfig,
    secrets: &pb::K8sAuthConfigSecrets,
    now: Timestamp,
) -> Result<Accepted, Invalid> {
    let signing_key = secrets.signing_key.as_deref().unwrap_or_default();
    let reviewer = secrets.token_reviewer_jwt.as_deref().unwrap_or_default();
    parse(identity, wire, signing_key, reviewer, now)
}

/// The config after an update: `current` with what `patch` and `secrets` change under `mask`,
/// one generation on.
///
/// # Errors
/// Every fault at once, by field. A change of `k8s_host` must carry the reviewer's credential
/// again, so that a stored one is never sent to a new host.
pub fn updated(
    current: &K8sAuthConfig,
    patch: &pb::K8sAuthConfig,
    secrets: &pb::K8sAuthConfigSecrets,
    mask: Option<&FieldMask>,
    now: Timestamp,
) -> Result<Accepted, Invalid> {
    let mut faults = Violations::default();
    let mask = Mask::parse(mask, UPDATABLE, &mut faults);
    faults.finish()?;
    let merged = merge(current, patch, &mask);
    let old_key = current.signing_key.to_pkcs8_pem();
    let signing_key = secrets
        .signing_key
        .as_deref()
        .unwrap_or(old_key.expose_secret());
    let old_reviewer = current.token_reviewer_jwt.expose();
    let reviewer = secrets
        .token_reviewer_jwt
        .as_deref()
        .unwrap_or(old_reviewer);
    let identity = Identity {
        name: current.name.clone(),
        uid: current.uid,
        generation: current.generation.saturating_add(1),
    };
    let accepted = parse(identity, &merged, signing_key, reviewer, now)?;
    let moved = accepted.config.k8s_host != current.k8s_host;
    if moved && secrets.token_reviewer_jwt.is_none() {
        return Err(Invalid::field(
            "secrets.token_reviewer_jwt",
            "a change of k8s_host must carry the reviewer's token again (--token-reviewer-jwt): the stored one is never sent to another host",
        ));
    }
    Ok(accepted)
}

fn merge(current: &K8sAuthConfig, patch: &pb::K8sAuthConfig, mask: &Mask<'_>) -> pb::K8sAuthConfig {
    let mut merged = super::sealed_config::view_to_pb(&view(current, String::new()));
    take!(
        mask,
        "access_id",
        merged.access_id,
        patch.access_id.clone(),
        patch.access_id.is_some()
    );
    take!(
        mask,
        "k8s_host",
        merged.k8s_host,
        patch.k8s_host.clone(),
        patch.k8s_host.is_some()
    );
    take!(
        mask,
        "k8s_ca_cert",
        merged.k8s_ca_cert,
        patch.k8s_ca_cert.clone(),
        patch.k8s_ca_cert.is_some()
    );
    take!(
        mask,
        "k8s_issuers",
        merged.k8s_issuers,
        patch.k8s_issuers.clone(),
        !patch.k8s_issuers.is_empty()
    );
    take!(
        mask,
        "disable_issuer_validation",
        merged.disable_issuer_validation,
        patch.disable_issuer_validation,
        patch.disable_issuer_validation.is_some()
    );
    take!(
        mask,
        "disabled",
        merged.disabled,
        patch.disabled,
        patch.disabled.is_some()
    );
    take!(
        mask,
        "token_exp",
        merged.token_exp,
        patch.token_exp,
        patch.token_exp.is_some()
    );
    merged
}

fn parse(
    identity: Identity,
    wire: &pb::K8sAuthConfig,
    signing_key: &str,
    reviewer: &str,
    now: Timestamp,
) -> Result<Accepted, Invalid> {
    let mut faults = Violations::default();
    let access_id = wire.access_id.as_deref().unwrap_or_default();
    let access_id = faults.check("k8s_auth_config.access_id", access_id.parse());
    let k8s_host = wire.k8s_host.as_deref().unwrap_or_default();
    let k8s_host = faults.check("k8s_auth_config.k8s_host", k8s_host.parse());
    let issuers = faults.absorb(issuers(wire).map_err(|e| e.within("k8s_auth_config")));
    let token_exp = faults.check("k8s_auth_config.token_exp", token_exp(wire));
    let ca = ca(&mut faults, wire, now);
    let signing_key = faults.check("secrets.signing_key", SigningKey::parse(signing_key));
    let reviewer = faults.check("secrets.token_reviewer_jwt", reviewer.parse());
    let (Some(access_id), Some(k8s_host), Some(issuers), Some(token_exp), Some((ca, warnings))) =
        (access_id, k8s_host, issuers, token_exp, ca)
    else {
        return Err(faults.into_invalid());
    };
    let (Some(signing_key), Some(token_reviewer_jwt)) = (signing_key, reviewer) else {
        return Err(faults.into_invalid());
    };
    let config = K8sAuthConfig {
        name: identity.name,
        uid: identity.uid,
        generation: identity.generation,
        access_id,
        k8s_host,
        ca,
        issuers,
        disabled: wire.disabled.unwrap_or_default(),
        token_exp,
        signing_key,
        token_reviewer_jwt,
    };
    Ok(Accepted { config, warnings })
}

/// `None` after a fault; no CA at all is `Some`.
fn ca(
    faults: &mut Violations,
    wire: &pb::K8sAuthConfig,
    now: Timestamp,
) -> Option<(Option<CaBundle>, Vec<pb::Warning>)> {
    const FIELD: &str = "k8s_auth_config.k8s_ca_cert";
    let text = wire.k8s_ca_cert.as_deref().unwrap_or_default();
    if text.is_empty() {
        return Some((None, vec![]));
    }
    let (bundle, warnings) = faults.check(FIELD, CaBundle::parse(text, now))?;
    let warnings = warnings
        .into_iter()
        .map(|message| pb::Warning {
            reason: "CERTIFICATE_EXPIRED".to_owned(),
            field: FIELD.to_owned(),
            message,
        })
        .collect();
    Some((Some(bundle), warnings))
}

/// The clear copy of a config that is sealed with `seal_key_id`.
pub fn view(config: &K8sAuthConfig, seal_key_id: String) -> ConfigView {
    ConfigView {
        name: config.name.clone(),
        uid: config.uid,
        generation: config.generation,
        access_id: config.access_id.clone(),
        k8s_host: config.k8s_host.clone(),
        k8s_ca_cert: config
            .ca
            .as_ref()
            .map(|ca| ca.pem().to_owned())
            .unwrap_or_default(),
        issuers: config.issuers.clone(),
        disabled: config.disabled,
        token_exp: config.token_exp,
        signing_key_id: config.signing_key.public().id().to_string(),
        seal_key_id,
        reviewer_credential_expire_time: config.token_reviewer_jwt.expire_time(),
    }
}

/// The inside of a box.
pub fn to_box(config: &K8sAuthConfig) -> sealed::K8sAuthConfig {
    sealed::K8sAuthConfig {
        name: config.name.to_string(),
        uid: config.uid.to_string(),
        generation: config.generation,
        access_id: config.access_id.to_string(),
        k8s_host: config.k8s_host.to_string(),
        k8s_ca_cert: config
            .ca
            .as_ref()
            .map(|ca| ca.pem().to_owned())
            .unwrap_or_default(),
        k8s_issuers: config.issuers.listed().to_vec(),
        disable_issuer_validation: config.issuers == Issuers::NotValidated,
        disabled: config.disabled,
        token_exp_seconds: config.token_exp.get().as_secs().cast_signed(),
        signing_key: config.signing_key.to_pkcs8_pem().expose_secret().to_owned(),
        token_reviewer_jwt: config.token_reviewer_jwt.expose().to_owned(),
    }
}

/// A config out of its box.
///
/// # Errors
/// When the box holds what this gateway would not have sealed.
pub fn from_box(opened: &sealed::K8sAuthConfig, now: Timestamp) -> Result<K8sAuthConfig, Invalid> {
    let mut faults = Violations::default();
    let name = faults.check("name", opened.name.parse());
    let uid = faults.check("uid", opened.uid.parse());
    let token_exp = faults.check(
        "token_exp_seconds",
        TokenExp::parse(opened.token_exp_seconds, 0),
    );
    let (Some(name), Some(uid), Some(token_exp)) = (name, uid, token_exp) else {
        return Err(faults.into_invalid());
    };
    let wire = pb::K8sAuthConfig {
        access_id: Some(opened.access_id.clone()),
        k8s_host: Some(opened.k8s_host.clone()),
        k8s_ca_cert: Some(opened.k8s_ca_cert.clone()),
        k8s_issuers: opened.k8s_issuers.clone(),
        disable_issuer_validation: Some(opened.disable_issuer_validation),
        disabled: Some(opened.disabled),
        token_exp: Some(time::from_std(token_exp.get())),
        ..pb::K8sAuthConfig::default()
    };
    let identity = Identity {
        name,
        uid,
        generation: opened.generation,
    };
    parse(
        identity,
        &wire,
        &opened.signing_key,
        &opened.token_reviewer_jwt,
        now,
    )
    .map(|accepted| accepted.config)
}

#[cfg(test)]
mod tests;
