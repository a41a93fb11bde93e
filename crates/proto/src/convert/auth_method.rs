//! `AuthMethod` and what stands in it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use postern_core::auth_method::{
    Audiences, AuthMethod, Kind, Kubernetes, MethodKey, Settings, TokenBounds, TokenFormat,
    TokenTtl, TokenUses,
};
use postern_core::invalid::{Invalid, Violations};
use postern_core::ip::IpBlock;
use postern_core::key::{PublicKey, SigningAlgorithm};
use postern_core::seconds::Seconds;

use super::{rule, time};
use crate::pb;

mod update;

pub use update::updated_settings;

/// The settings that a create asks for; keys that it brings are dated `now`.
///
/// # Errors
/// Every fault at once, by field.
pub fn settings(wire: &pb::AuthMethod, now: Timestamp) -> Result<Settings, Invalid> {
    settings_keeping(wire, &[], now)
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
    let bound_ips = each(&mut faults, "bound_ips", &wire.bound_ips);
    let gw_bound_ips = each(&mut faults, "gw_bound_ips", &wire.gw_bound_ips);
    let token_max_ttl = seconds(&mut faults, "token_max_ttl", wire.token_max_ttl);
    let uses = TokenUses::parse(wire.token_num_uses.unwrap_or_default().into());
    let token_num_uses = faults.check("token_num_uses", uses).flatten();
    let token_format = faults.absorb(self::token_format(wire));
    let audit_logs_claims = each(&mut faults, "audit_logs_claims", &wire.audit_logs_claims);
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
                "is missing: say kubernetes, with rules and public keys, or access_key",
            );
            None
        }
    };
    if matches!(kind, Some(Kind::AccessKey)) && !gw_bound_ips.is_empty() {
        faults.add(
            "gw_bound_ips",
            "is for Kubernetes methods: nobody logs in with an access key through a gateway",
        );
    }
    let (Some(token_ttl), Some(token_format), Some(kind)) = (token_ttl, token_format, kind) else {
        return Err(faults.into_invalid());
    };
    let settings = Settings {
        description: wire.description.clone().unwrap_or_default(),
        access_expires,
        token_ttl,
        token_max_ttl,
        token_num_uses,
        cap_to_presented_expiry: wire.cap_to_presented_expiry.unwrap_or_default(),
        token_format,
        disabled: wire.disabled.unwrap_or_default(),
        bound_ips,
        gw_bound_ips,
        force_sub_claims: wire.force_sub_claims.unwrap_or_default(),
        audit_logs_claims,
        delete_protection: wire.delete_protection.unwrap_or_default(),
        kind,
    };
    faults.absorb(settings.check());
    faults.finish()?;
    Ok(settings)
}

fn token_format(wire: &pb::AuthMethod) -> Result<TokenFormat, Invalid> {
    let jwt = match pb::TokenFormat::try_from(wire.token_format) {
        Ok(pb::TokenFormat::Unspecified | pb::TokenFormat::Opaque) => false,
        Ok(pb::TokenFormat::Jwt) => true,
        Err(_) => {
            let fault = format!("{} is no token format", wire.token_format);
            return Err(Invalid::field("token_format", fault));
        }
    };
    TokenFormat::parse(jwt, wire.token_audiences.clone())
}

/// As on the wire.
pub fn token_format_to_pb(jwt: bool) -> pb::TokenFormat {
    match jwt {
        true => pb::TokenFormat::Jwt,
        false => pb::TokenFormat::Opaque,
    }
}

fn each<T>(faults: &mut Violations, field: &str, texts: &[String]) -> Vec<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    texts
        .iter()
        .enumerate()
        .filter_map(|(i, text)| faults.check(format!("{field}[{i}]"), text.parse()))
        .collect()
}

fn seconds<const MAX: u64>(
    faults: &mut Violations,
    field: &str,
    wire: Option<prost_types::Duration>,
) -> Option<Seconds<MAX>> {
    let wire = wire.unwrap_or_default();
    faults
        .check(field, Seconds::parse(wire.seconds, wire.nanos))
        .flatten()
}

fn token_bounds(faults: &mut Violations, wire: &pb::KubernetesAuthMethod) -> TokenBounds {
    TokenBounds {
        allow_legacy: wire.allow_legacy_tokens.unwrap_or_default(),
        require_pod: wire.require_pod.unwrap_or_default(),
        single_use: wire.single_use.unwrap_or_default(),
        max_age: seconds(faults, "max_presented_age", wire.max_presented_age),
        max_lifetime: seconds(
            faults,
            "max_presented_lifetime",
            wire.max_presented_lifetime,
        ),
    }
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
    let tokens = token_bounds(&mut faults, wire);
    let mut public_keys = Vec::with_capacity(wire.public_keys.len());
    for (i, wire) in wire.public_keys.iter().enumerate() {
        let key = method_key(wire, known_keys, now);
        public_keys.extend(faults.absorb(key.map_err(|e| e.within(&format!("public_keys[{i}]")))));
    }
    let Some(audiences) = audiences else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(Kubernetes {
        audiences,
        tokens,
        rules,
        public_keys,
        revoke_with_pod: wire.revoke_with_pod.unwrap_or_default(),
    })
}

/// A key as a request brings it; one that is `known` keeps the time at which it was added.
///
/// # Errors
/// Every fault at once, by field.
pub fn method_key(
    wire: &pb::PublicKey,
    known: &[MethodKey],
    now: Timestamp,
) -> Result<MethodKey, Invalid> {
    let mut faults = Violations::default();
    let key = faults.check("public_key", PublicKey::parse(&wire.public_key));
    if let Some(fault) = key
        .as_ref()
        .and_then(|key| algorithm_fault(wire.algorithm, key))
    {
        faults.add("algorithm", fault);
    }
    let expire_time = wire
        .expire_time
        .as_ref()
        .and_then(|t| faults.check("expire_time", time::from_timestamp(t)));
    let Some(key) = key else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    let before = known.iter().find(|k| k.key.id() == key.id());
    Ok(MethodKey {
        create_time: before.map_or(now, |k| k.create_time),
        key,
        expire_time,
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

/// The method without `meta`, and without what is known of its keys' use.
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
        token_max_ttl: settings.token_max_ttl.map(|max| time::from_std(max.get())),
        token_num_uses: settings.token_num_uses.map(|uses| uses.get().cast_signed()),
        cap_to_presented_expiry: Some(settings.cap_to_presented_expiry),
        token_format: token_format_to_pb(settings.token_format.is_jwt()).into(),
        token_audiences: settings.token_format.audiences().to_vec(),
        force_sub_claims: Some(settings.force_sub_claims),
        audit_logs_claims: settings
            .audit_logs_claims
            .iter()
            .map(ToString::to_string)
            .collect(),
        delete_protection: Some(settings.delete_protection),
        r#type: Some(match &settings.kind {
            Kind::Kubernetes(kubernetes) => {
                pb::auth_method::Type::Kubernetes(kubernetes_to_pb(kubernetes))
            }
            Kind::AccessKey => pb::auth_method::Type::AccessKey(pb::AccessKeyAuthMethod::default()),
        }),
    }
}

fn kubernetes_to_pb(kubernetes: &Kubernetes) -> pb::KubernetesAuthMethod {
    let tokens = &kubernetes.tokens;
    pb::KubernetesAuthMethod {
        audiences: kubernetes.audiences.listed().to_vec(),
        allow_any_audience: Some(kubernetes.audiences == Audiences::Any),
        rules: kubernetes.rules.iter().map(rule::to_pb).collect(),
        public_keys: kubernetes.public_keys.iter().map(key_to_pb).collect(),
        allow_legacy_tokens: Some(tokens.allow_legacy),
        require_pod: Some(tokens.require_pod),
        single_use: Some(tokens.single_use),
        max_presented_age: tokens.max_age.map(|max| time::from_std(max.get())),
        max_presented_lifetime: tokens.max_lifetime.map(|max| time::from_std(max.get())),
        revoke_with_pod: Some(kubernetes.revoke_with_pod),
    }
}

fn key_to_pb(method_key: &MethodKey) -> pb::PublicKey {
    let algorithm = wire_algorithm(&method_key.key);
    pb::PublicKey {
        key_id: method_key.key.id().to_string(),
        public_key: method_key.key.to_pem(),
        algorithm: algorithm.into(),
        create_time: Some(time::timestamp(method_key.create_time)),
        expire_time: method_key.expire_time.map(time::timestamp),
        last_used_time: None,
        used_by: Vec::new(),
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
