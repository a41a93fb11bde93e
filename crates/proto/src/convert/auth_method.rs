//! `AuthMethod` and what stands in it.

use jiff::Timestamp;
use postern_core::auth_method::{
    Audiences, AuthMethod, Kind, Kubernetes, MethodKey, Settings, TokenTtl,
};
use postern_core::invalid::{Invalid, Violations};
use postern_core::ip::IpBlock;
use postern_core::key::{PublicKey, SigningAlgorithm};
use prost_types::FieldMask;

use super::mask::{Mask, take};
use super::{rule, time};
use crate::pb;

/// What an update can name.
const UPDATABLE: &[&str] = &[
    "description",
    "access_expire_time",
    "token_ttl",
    "disabled",
    "bound_ips",
    "gw_bound_ips",
    "kubernetes",
    "kubernetes.audiences",
    "kubernetes.allow_any_audience",
    "kubernetes.rules",
    "kubernetes.public_keys",
];

/// The settings that a create asks for; keys that it brings are dated `now`.
///
/// # Errors
/// Every fault at once, by field.
pub fn settings(wire: &pb::AuthMethod, now: Timestamp) -> Result<Settings, Invalid> {
    settings_keeping(wire, &[], now)
}

/// The settings after an update: `current` with what `patch` changes under `mask`.
///
/// Keys that stay keep their date.
///
/// # Errors
/// Every fault at once, by field; a mask that names an unknown or output-only field.
pub fn updated_settings(
    current: &AuthMethod,
    patch: &pb::AuthMethod,
    mask: Option<&FieldMask>,
    now: Timestamp,
) -> Result<Settings, Invalid> {
    let mut faults = Violations::default();
    let mask = Mask::parse(mask, UPDATABLE, &mut faults);
    let mut merged = to_pb(current);
    take!(
        mask,
        "description",
        merged.description,
        patch.description.clone(),
        patch.description.is_some()
    );
    take!(
        mask,
        "access_expire_time",
        merged.access_expire_time,
        patch.access_expire_time,
        patch.access_expire_time.is_some()
    );
    take!(
        mask,
        "token_ttl",
        merged.token_ttl,
        patch.token_ttl,
        patch.token_ttl.is_some()
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
        "bound_ips",
        merged.bound_ips,
        patch.bound_ips.clone(),
        !patch.bound_ips.is_empty()
    );
    take!(
        mask,
        "gw_bound_ips",
        merged.gw_bound_ips,
        patch.gw_bound_ips.clone(),
        !patch.gw_bound_ips.is_empty()
    );
    merge_type(&mask, &mut merged, patch, &mut faults);
    faults.finish()?;
    let keys = current.kubernetes().map_or(&[][..], |k| &k.public_keys);
    settings_keeping(&merged, keys, now)
}

fn merge_type(
    mask: &Mask<'_>,
    merged: &mut pb::AuthMethod,
    patch: &pb::AuthMethod,
    faults: &mut Violations,
) {
    use pb::auth_method::Type;
    let merged = match (&mut merged.r#type, &patch.r#type) {
        (Some(Type::Kubernetes(merged)), Some(Type::Kubernetes(patch))) => (merged, patch.clone()),
        (Some(Type::Kubernetes(merged)), None) => (merged, pb::KubernetesAuthMethod::default()),
        (_, None) => return,
        (_, Some(_)) => return faults.add("type", "can't be changed"),
    };
    let (merged, patch) = merged;
    let (audiences, rules, keys) = (
        !patch.audiences.is_empty(),
        !patch.rules.is_empty(),
        !patch.public_keys.is_empty(),
    );
    take!(
        mask,
        "kubernetes.allow_any_audience",
        merged.allow_any_audience,
        patch.allow_any_audience,
        patch.allow_any_audience.is_some()
    );
    take!(
        mask,
        "kubernetes.audiences",
        merged.audiences,
        patch.audiences,
        audiences
    );
    take!(mask, "kubernetes.rules", merged.rules, patch.rules, rules);
    take!(
        mask,
        "kubernetes.public_keys",
        merged.public_keys,
        patch.public_keys,
        keys
    );
}

fn settings_keeping(
    wire: &pb::AuthMethod,
    known_keys: &[MethodKey],
    now: Timestamp,
) -> Result<Settings, Invalid> {
    let mut faults = Violations::default();
    let access_expires = wire
        .access_expire_time
        .as_ref()
        .and_then(|t| faults.check("access_expire_time", time::from_timestamp(t)));
    let ttl = wire.token_ttl.unwrap_or_default();
    let token_ttl = faults.check("token_ttl", TokenTtl::parse(ttl.seconds, ttl.nanos));
    let bound_ips = blocks(&mut faults, "bound_ips", &wire.bound_ips);
    let gw_bound_ips = blocks(&mut faults, "gw_bound_ips", &wire.gw_bound_ips);
    let kind = match &wire.r#type {
        Some(pb::auth_method::Type::Kubernetes(kubernetes)) => faults
            .absorb(
                self::kubernetes(kubernetes, known_keys, now).map_err(|e| e.within("kubernetes")),
            )
            .map(Kind::Kubernetes),
        Some(pb::auth_method::Type::AccessKey(_)) => Some(Kind::AccessKey),
        None => {
            faults.add(
                "type",
                "is missing: say kubernetes, with rules and public keys",
            );
            None
        }
    };
    let (Some(token_ttl), Some(kind)) = (token_ttl, kind) else {
        return Err(faults.into_invalid());
    };
    let settings = Settings {
        description: wire.description.clone().unwrap_or_default(),
        access_expires,
        token_ttl,
        disabled: wire.disabled.unwrap_or_default(),
        bound_ips,
        gw_bound_ips,
        kind,
    };
    faults.absorb(settings.check());
    faults.finish()?;
    Ok(settings)
}

fn blocks(faults: &mut Violations, field: &str, texts: &[String]) -> Vec<IpBlock> {
    texts
        .iter()
        .enumerate()
        .filter_map(|(i, text)| faults.check(format!("{field}[{i}]"), text.parse()))
        .collect()
}

fn kubernetes(
    wire: &pb::KubernetesAuthMethod,
    known_keys: &[MethodKey],
    now: Timestamp,
) -> Result<Kubernetes, Invalid> {
    let mut faults = Violations::default();
    let audiences = faults.absorb(Audiences::parse(
        wire.audiences.clone(),
        wire.allow_any_audience.unwrap_or_default(),
    ));
    let mut rules = Vec::with_capacity(wire.rules.len());
    for (i, rule) in wire.rules.iter().enumerate() {
        let parsed = rule::from_pb(rule).map_err(|e| e.within(&format!("rules[{i}]")));
        rules.extend(faults.absorb(parsed));
    }
    let mut public_keys = Vec::with_capacity(wire.public_keys.len());
    for (i, wire) in wire.public_keys.iter().enumerate() {
        let parsed = PublicKey::parse(&wire.public_key);
        let key = faults.check(format!("public_keys[{i}].public_key"), parsed);
        if let Some(fault) = key
            .as_ref()
            .and_then(|key| algorithm_fault(wire.algorithm, key))
        {
            faults.add(format!("public_keys[{i}].algorithm"), fault);
        }
        public_keys.extend(key.map(|key| dated(key, known_keys, now)));
    }
    let Some(audiences) = audiences else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(Kubernetes {
        audiences,
        rules,
        public_keys,
    })
}

/// The algorithm follows from the key: what is said beside it must be the same, or nothing.
fn algorithm_fault(said: i32, key: &PublicKey) -> Option<String> {
    let actual = wire_algorithm(key);
    match pb::SigningAlgorithm::try_from(said) {
        Err(_) => Some(format!("{said} is no signing algorithm")),
        Ok(pb::SigningAlgorithm::Unspecified) => None,
        Ok(said) if said == actual => None,
        Ok(said) => {
            let (said, actual) = (said.as_str_name(), actual.as_str_name());
            Some(format!("is {said}, and the key's is {actual}"))
        }
    }
}

fn wire_algorithm(key: &PublicKey) -> pb::SigningAlgorithm {
    match key.algorithm() {
        SigningAlgorithm::Es256 => pb::SigningAlgorithm::Es256,
        SigningAlgorithm::Ed25519 => pb::SigningAlgorithm::Ed25519,
        SigningAlgorithm::Rs256 => pb::SigningAlgorithm::Rs256,
    }
}

fn dated(key: PublicKey, known: &[MethodKey], now: Timestamp) -> MethodKey {
    let before = known.iter().find(|k| k.key.id() == key.id());
    MethodKey {
        create_time: before.map_or(now, |k| k.create_time),
        key,
    }
}

/// The method without `meta`.
pub fn to_pb(method: &AuthMethod) -> pb::AuthMethod {
    let settings = &method.settings;
    let texts = |blocks: &[IpBlock]| blocks.iter().map(ToString::to_string).collect();
    pb::AuthMethod {
        name: method.id.auth_method_name(),
        access_id: method.access_id.to_string(),
        meta: None,
        description: Some(settings.description.clone()),
        access_expire_time: settings.access_expires.map(time::timestamp),
        token_ttl: Some(time::from_std(settings.token_ttl.get())),
        disabled: Some(settings.disabled),
        bound_ips: texts(&settings.bound_ips),
        gw_bound_ips: texts(&settings.gw_bound_ips),
        r#type: Some(match &settings.kind {
            Kind::Kubernetes(kubernetes) => {
                pb::auth_method::Type::Kubernetes(kubernetes_to_pb(kubernetes))
            }
            Kind::AccessKey => pb::auth_method::Type::AccessKey(pb::AccessKeyAuthMethod::default()),
        }),
    }
}

fn kubernetes_to_pb(kubernetes: &Kubernetes) -> pb::KubernetesAuthMethod {
    pb::KubernetesAuthMethod {
        audiences: kubernetes.audiences.listed().to_vec(),
        allow_any_audience: Some(kubernetes.audiences == Audiences::Any),
        rules: kubernetes.rules.iter().map(rule::to_pb).collect(),
        public_keys: kubernetes.public_keys.iter().map(key_to_pb).collect(),
    }
}

fn key_to_pb(method_key: &MethodKey) -> pb::PublicKey {
    let algorithm = wire_algorithm(&method_key.key);
    pb::PublicKey {
        key_id: method_key.key.id().to_string(),
        public_key: method_key.key.to_pem(),
        algorithm: algorithm.into(),
        create_time: Some(time::timestamp(method_key.create_time)),
    }
}

/// A method as a gateway gets it by Watch.
///
/// # Errors
/// When the control plane sent what it would not have stored: the gateway then refuses every
/// login of the method.
pub fn from_pb(wire: &pb::AuthMethod, now: Timestamp) -> Result<AuthMethod, Invalid> {
    use postern_core::resource_id::ResourceId;
    let mut faults = Violations::default();
    let id = faults.check("name", ResourceId::of_auth_method(&wire.name));
    let access_id = faults.check("access_id", wire.access_id.parse());
    let uid = wire
        .meta
        .as_ref()
        .map(|meta| meta.uid.as_str())
        .unwrap_or_default();
    let uid = faults.check("meta.uid", uid.parse());
    let settings = faults.absorb(settings(wire, now));
    match (id, access_id, uid, settings) {
        (Some(id), Some(access_id), Some(uid), Some(settings)) => Ok(AuthMethod {
            id,
            uid,
            access_id,
            settings,
        }),
        _ => Err(faults.into_invalid()),
    }
}

#[cfg(test)]
mod tests;
