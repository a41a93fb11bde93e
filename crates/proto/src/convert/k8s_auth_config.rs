//! `K8sAuthConfig` at the gateway: from an administrator's request, into a sealed box and out of it.

mod access;
mod freshness;
mod verification;

use std::sync::Arc;

use jiff::Timestamp;
use postern_core::invalid::{Invalid, Violations};
use postern_core::k8s_auth_config::{
    ClusterAccess, Issuers, K8sAuthConfig, PinnedCluster, TokenExp,
};
use postern_core::key::SigningKey;
use postern_core::resource_id::ConfigName;
use postern_core::sealed_config::ConfigView;
use prost_types::FieldMask;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

pub(super) use self::access::Kind;
pub use self::access::OwnCluster;
use self::access::Secrets;
use super::mask::{Mask, take};
use super::sealed_config::{issuers, timeouts, token_exp};
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
    "tls_server_name",
    "reviewer",
    "k8s_client_certificate",
    "cluster_api_type",
    "rancher_cluster_id",
    "mode",
    "jwks",
    "connect_timeout",
    "total_timeout",
    "pinned_cluster",
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

/// The config that a create asks for. `own` is used by a config of the gateway's service account.
///
/// # Errors
/// Every fault at once, by field; secrets' values are never in them.
pub fn created(
    identity: Identity,
    wire: &pb::K8sAuthConfig,
    secrets: &pb::K8sAuthConfigSecrets,
    own: &OwnCluster,
    now: Timestamp,
) -> Result<Accepted, Invalid> {
    let accepted = parse(identity, wire, &Secrets::of(secrets), own, now)?;
    freshness::check(accepted, None, now)
}

/// The config after an update: `current` with what `patch` and `secrets` change under `mask`,
/// one generation on.
///
/// # Errors
/// Every fault at once, by field. A change of host, API type, Rancher cluster or kind of reviewer
/// must carry the reviewer's credential again, so that a stored one is never sent elsewhere.
pub fn updated(
    current: &K8sAuthConfig,
    patch: &pb::K8sAuthConfig,
    secrets: &pb::K8sAuthConfigSecrets,
    mask: Option<&FieldMask>,
    own: &OwnCluster,
    now: Timestamp,
) -> Result<Accepted, Invalid> {
    let mut faults = Violations::default();
    let mask = Mask::parse(mask, UPDATABLE, &mut faults);
    faults.finish()?;
    let mut merged = merge(current, patch, &mask);
    let before = Kind::of_access(&current.access);
    let kind = Kind::of(&merged).map_err(|fault| fault.within("k8s_auth_config"))?;
    if kind != before {
        kind.forget(&mut merged, patch);
    }
    let own = pin(current, patch, &mask, own)?;
    let given = Secrets::of(secrets);
    let old_key = current.signing_key.to_pkcs8_pem();
    let mut stays = Secrets {
        signing_key: Some(old_key.expose_secret()),
        ..Secrets::default()
    };
    if kind == before {
        stays = stays.or(Secrets::of_access(&current.access));
    }
    let identity = Identity {
        name: current.name.clone(),
        uid: current.uid,
        generation: current.generation.saturating_add(1),
    };
    let accepted = parse(identity, &merged, &given.or(stays), &own, now)?;
    let moved = accepted.config.access.api_server() != current.access.api_server();
    if let (Some((field, flag)), true, false) = (kind.credential(), moved, given.has_credential()) {
        return Err(Invalid::field(
            field,
            format!(
                "another host or cluster must carry the reviewer's credential again ({flag}): the stored one is never sent elsewhere"
            ),
        ));
    }
    let follows = follows_trust(current, &accepted.config, kind, &given);
    let mut accepted = freshness::check(accepted, Some(current), now)?;
    accepted.warnings.extend(follows);
    Ok(accepted)
}

/// A stored bearer goes to whom the new CA or name vouches for. It isn't asked for again: a CA that
/// is replaced must not need it, and whom it would go to must also get hold of the gateway's traffic.
fn follows_trust(
    current: &K8sAuthConfig,
    after: &K8sAuthConfig,
    kind: Kind,
    given: &Secrets<'_>,
) -> Option<pb::Warning> {
    let (before, now) = (current.access.endpoint()?, after.access.endpoint()?);
    let trust = (
        before.ca != now.ca,
        before.tls_server_name != now.tls_server_name,
    );
    let field = match trust {
        (true, _) => "k8s_auth_config.k8s_ca_cert",
        (false, true) => "k8s_auth_config.tls_server_name",
        (false, false) => return None,
    };
    let (_, flag) = kind.credential()?;
    (kind.is_bearer() && !given.has_credential()).then(|| pb::Warning {
        reason: "CREDENTIAL_FOLLOWS_TRUST".to_owned(),
        field: field.to_owned(),
        message: format!(
            "the stored credential stays, and from now on goes to whoever answers at k8s_host under what is trusted now; where that isn't surely the cluster, replace it ({flag})"
        ),
    })
}

/// The pin stays until it is emptied by its name: a write through a replica in another cluster
/// must not turn the config to that one.
fn pin(
    current: &K8sAuthConfig,
    patch: &pb::K8sAuthConfig,
    mask: &Mask<'_>,
    own: &OwnCluster,
) -> Result<OwnCluster, Invalid> {
    let ClusterAccess::Own(pinned) = &current.access else {
        return Ok(own.clone());
    };
    let said = patch.pinned_cluster.as_str();
    match mask.takes("pinned_cluster", false) {
        true if said.is_empty() => Ok(own.clone()),
        true if said != pinned.to_string() => Err(Invalid::field(
            "k8s_auth_config.pinned_cluster",
            "is output only: empty it to pin the gateway's own cluster anew (--clear pinned_cluster)",
        )),
        _ => Ok(Ok(pinned.clone())),
    }
}

fn merge(current: &K8sAuthConfig, patch: &pb::K8sAuthConfig, mask: &Mask<'_>) -> pb::K8sAuthConfig {
    let mut merged = super::sealed_config::view_to_pb(&view(current, String::new()));
    take!(
        mask,
        "k8s_issuers",
        merged.k8s_issuers,
        patch.k8s_issuers.clone(),
        !patch.k8s_issuers.is_empty()
    );
    macro_rules! take_present {
        ($($path:literal $field:ident),*) => {$(
            take!(mask, $path, merged.$field, patch.$field.clone(), patch.$field.is_some());
        )*};
    }
    take_present!(
        "access_id" access_id,
        "k8s_host" k8s_host,
        "k8s_ca_cert" k8s_ca_cert,
        "disable_issuer_validation" disable_issuer_validation,
        "disabled" disabled,
        "token_exp" token_exp,
        "tls_server_name" tls_server_name,
        "reviewer" reviewer,
        "k8s_client_certificate" k8s_client_certificate,
        "cluster_api_type" cluster_api_type,
        "rancher_cluster_id" rancher_cluster_id,
        "mode" mode,
        "jwks" jwks,
        "connect_timeout" connect_timeout,
        "total_timeout" total_timeout
    );
    merged
}

fn parse(
    identity: Identity,
    wire: &pb::K8sAuthConfig,
    secrets: &Secrets<'_>,
    own: &OwnCluster,
    now: Timestamp,
) -> Result<Accepted, Invalid> {
    let mut faults = Violations::default();
    let access_id = faults.check("k8s_auth_config.access_id", wire.access_id().parse());
    let access = access::parse(&mut faults, wire, secrets, own, now);
    let issuers = faults.absorb(issuers(wire).map_err(|e| e.within("k8s_auth_config")));
    let token_exp = faults.check("k8s_auth_config.token_exp", token_exp(wire));
    let timeouts = faults.absorb(timeouts(wire).map_err(|e| e.within("k8s_auth_config")));
    let mode = verification::parse(&mut faults, wire);
    let signing_key = secrets.signing_key.unwrap_or_default();
    let signing_key = faults.check("secrets.signing_key", SigningKey::parse(signing_key));
    let (Some(access_id), Some((access, warnings)), Some(issuers), Some(token_exp)) =
        (access_id, access, issuers, token_exp)
    else {
        return Err(faults.into_invalid());
    };
    let (Some(timeouts), Some((mode, jwks)), Some(signing_key)) = (timeouts, mode, signing_key)
    else {
        return Err(faults.into_invalid());
    };
    verification::check(&mut faults, mode, jwks.as_ref(), &access, &issuers);
    faults.finish()?;
    let config = K8sAuthConfig {
        name: identity.name,
        uid: identity.uid,
        generation: identity.generation,
        access_id,
        access,
        timeouts,
        mode,
        jwks: jwks.map(Arc::new),
        issuers,
        disabled: wire.disabled.unwrap_or_default(),
        token_exp,
        signing_key,
    };
    Ok(Accepted { config, warnings })
}

/// The clear copy of a config that is sealed with `seal_key_id`.
pub fn view(config: &K8sAuthConfig, seal_key_id: String) -> ConfigView {
    let at = config.access.endpoint();
    let ca = at.and_then(|at| at.ca.as_ref());
    ConfigView {
        name: config.name.clone(),
        uid: config.uid,
        generation: config.generation,
        access_id: config.access_id.clone(),
        k8s_host: at.map(|at| at.host.clone()),
        k8s_ca_cert: ca.map(|ca| ca.pem().to_owned()).unwrap_or_default(),
        tls_server_name: at.and_then(|at| at.tls_server_name.clone()),
        reviewer: config.access.reviewer_view(),
        timeouts: config.timeouts,
        mode: config.mode,
        jwks: config
            .jwks
            .as_ref()
            .map_or_else(String::new, |jwks| jwks.text().to_owned()),
        issuers: config.issuers.clone(),
        disabled: config.disabled,
        token_exp: config.token_exp,
        signing_key_id: config.signing_key.public().id().to_string(),
        seal_key_id,
        reviewer_credential_expire_time: config.access.credential_expire_time(),
    }
}

/// The inside of a box.
pub fn to_box(config: &K8sAuthConfig) -> sealed::K8sAuthConfig {
    let view = super::sealed_config::view_to_pb(&view(config, String::new()));
    let secrets = Secrets::of_access(&config.access);
    let secret = |secret: Option<&str>| secret.unwrap_or_default().to_owned();
    let millis = |timeout: std::time::Duration| i64::try_from(timeout.as_millis()).unwrap_or(0);
    sealed::K8sAuthConfig {
        name: view.name,
        uid: config.uid.to_string(),
        generation: config.generation,
        access_id: config.access_id.to_string(),
        k8s_host: view.k8s_host.unwrap_or_default(),
        k8s_ca_cert: view.k8s_ca_cert.unwrap_or_default(),
        k8s_issuers: view.k8s_issuers,
        disable_issuer_validation: config.issuers == Issuers::NotValidated,
        disabled: config.disabled,
        token_exp_seconds: config.token_exp.get().as_secs().cast_signed(),
        signing_key: config.signing_key.to_pkcs8_pem().expose_secret().to_owned(),
        token_reviewer_jwt: secret(secrets.token_reviewer_jwt),
        tls_server_name: view.tls_server_name.unwrap_or_default(),
        reviewer: view.reviewer.unwrap_or_default(),
        cluster_api_type: view.cluster_api_type.unwrap_or_default(),
        k8s_client_certificate: view.k8s_client_certificate.unwrap_or_default(),
        k8s_client_key: secret(secrets.k8s_client_key),
        rancher_cluster_id: view.rancher_cluster_id.unwrap_or_default(),
        rancher_api_key: secret(secrets.rancher_api_key),
        pinned_cluster: view.pinned_cluster,
        mode: view.mode.unwrap_or_default(),
        jwks: view.jwks.unwrap_or_default(),
        connect_timeout_millis: millis(config.timeouts.connect()),
        total_timeout_millis: millis(config.timeouts.total()),
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
        tls_server_name: Some(opened.tls_server_name.clone()),
        reviewer: Some(opened.reviewer),
        cluster_api_type: Some(opened.cluster_api_type),
        k8s_client_certificate: Some(opened.k8s_client_certificate.clone()),
        rancher_cluster_id: Some(opened.rancher_cluster_id.clone()),
        mode: Some(opened.mode),
        jwks: Some(opened.jwks.clone()),
        connect_timeout: Some(time::from_millis(opened.connect_timeout_millis)),
        total_timeout: Some(time::from_millis(opened.total_timeout_millis)),
        ..pb::K8sAuthConfig::default()
    };
    let identity = Identity {
        name,
        uid,
        generation: opened.generation,
    };
    let secrets = Secrets {
        signing_key: set(&opened.signing_key),
        token_reviewer_jwt: set(&opened.token_reviewer_jwt),
        k8s_client_key: set(&opened.k8s_client_key),
        rancher_api_key: set(&opened.rancher_api_key),
    };
    let own = opened.pinned_cluster.parse::<PinnedCluster>();
    let own = own.map_err(|fault| fault.to_string());
    parse(identity, &wire, &secrets, &own, now).map(|accepted| accepted.config)
}

fn set(secret: &str) -> Option<&str> {
    (!secret.is_empty()).then_some(secret)
}

#[cfg(test)]
mod tests;
