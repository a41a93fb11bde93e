//! `SealedK8sAuthConfig`, as gateways write it and as the control plane keeps it.

use postern_core::invalid::{Invalid, Violations};
use postern_core::k8s_auth_config::{Issuers, TokenExp};
use postern_core::sealed_config::{ConfigView, SealedConfig};

use super::time;
use crate::pb;

/// The longest box, in bytes.
const MAX_SEALED: usize = 256 * 1024;

/// What a gateway asks to store.
///
/// # Errors
/// Every fault at once, by field.
pub fn from_pb(wire: &pb::SealedK8sAuthConfig) -> Result<SealedConfig, Invalid> {
    let mut faults = Violations::default();
    let view = faults.absorb(
        wire.view
            .as_ref()
            .ok_or_else(|| Invalid::field("view", "is missing"))
            .and_then(|view| view_from_pb(view).map_err(|e| e.within("view"))),
    );
    if wire.sealed.is_empty() {
        faults.add("sealed", "is empty");
    }
    if wire.sealed.len() > MAX_SEALED {
        faults.add("sealed", format!("is longer than {MAX_SEALED} bytes"));
    }
    let Some(view) = view else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(SealedConfig {
        view,
        sealed: wire.sealed.clone(),
    })
}

/// The clear copy, from a gateway or the control plane.
///
/// # Errors
/// Every fault at once, by field.
pub fn view_from_pb(wire: &pb::K8sAuthConfig) -> Result<ConfigView, Invalid> {
    let mut faults = Violations::default();
    let uid = wire
        .meta
        .as_ref()
        .map(|meta| meta.uid.as_str())
        .unwrap_or_default();
    let uid = faults.check("meta.uid", uid.parse());
    let name = faults.check("name", wire.name.parse());
    let access_id = wire.access_id.as_deref().unwrap_or_default();
    let access_id = faults.check("access_id", access_id.parse());
    let k8s_host = wire.k8s_host.as_deref().unwrap_or_default();
    let k8s_host = faults.check("k8s_host", k8s_host.parse());
    let issuers = faults.absorb(issuers(wire));
    let token_exp = faults.check("token_exp", token_exp(wire));
    if wire.generation < 1 {
        faults.add("generation", "must be 1 or more");
    }
    for (field, id) in [
        ("signing_key_id", &wire.signing_key_id),
        ("seal_key_id", &wire.seal_key_id),
    ] {
        if id.is_empty() || id.len() > 128 {
            faults.add(field, "must have 1 to 128 characters");
        }
    }
    let expires = wire.reviewer_credential_expire_time.as_ref();
    let expires = expires
        .and_then(|t| faults.check("reviewer_credential_expire_time", time::from_timestamp(t)));
    let (Some(uid), Some(name), Some(access_id), Some(k8s_host), Some(issuers), Some(token_exp)) =
        (uid, name, access_id, k8s_host, issuers, token_exp)
    else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(ConfigView {
        name,
        uid,
        generation: wire.generation,
        access_id,
        k8s_host,
        k8s_ca_cert: wire.k8s_ca_cert.clone().unwrap_or_default(),
        issuers,
        disabled: wire.disabled.unwrap_or_default(),
        token_exp,
        signing_key_id: wire.signing_key_id.clone(),
        seal_key_id: wire.seal_key_id.clone(),
        reviewer_credential_expire_time: expires,
    })
}

pub(super) fn issuers(wire: &pb::K8sAuthConfig) -> Result<Issuers, Invalid> {
    Issuers::parse(
        wire.k8s_issuers.clone(),
        wire.disable_issuer_validation.unwrap_or_default(),
    )
}

pub(super) fn token_exp(
    wire: &pb::K8sAuthConfig,
) -> Result<TokenExp, postern_core::k8s_auth_config::TokenExpError> {
    let exp = wire.token_exp.unwrap_or_default();
    TokenExp::parse(exp.seconds, exp.nanos)
}

/// The clear copy, with `meta.uid` alone of its `meta`.
pub fn view_to_pb(view: &ConfigView) -> pb::K8sAuthConfig {
    pb::K8sAuthConfig {
        name: view.name.to_string(),
        meta: Some(pb::ResourceMeta {
            uid: view.uid.to_string(),
            ..pb::ResourceMeta::default()
        }),
        access_id: Some(view.access_id.to_string()),
        k8s_host: Some(view.k8s_host.to_string()),
        k8s_ca_cert: Some(view.k8s_ca_cert.clone()),
        k8s_issuers: view.issuers.listed().to_vec(),
        disable_issuer_validation: Some(view.issuers == Issuers::NotValidated),
        disabled: Some(view.disabled),
        token_exp: Some(time::from_std(view.token_exp.get())),
        signing_key_set: true,
        token_reviewer_jwt_set: true,
        signing_key_id: view.signing_key_id.clone(),
        seal_key_id: view.seal_key_id.clone(),
        generation: view.generation,
        reviewer_credential_expire_time: view.reviewer_credential_expire_time.map(time::timestamp),
        conditions: vec![],
    }
}
