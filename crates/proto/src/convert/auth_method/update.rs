//! What an update makes of a method.

use jiff::Timestamp;
use postern_core::auth_method::{AuthMethod, Settings};
use postern_core::invalid::{Invalid, Violations};
use prost_types::FieldMask;

use super::super::mask::{Mask, take};
use super::{settings_keeping, to_pb};
use crate::pb;

/// What an update can name.
const UPDATABLE: &[&str] = &[
    "description",
    "access_expire_time",
    "token_ttl",
    "token_max_ttl",
    "token_num_uses",
    "cap_to_presented_expiry",
    "token_format",
    "token_audiences",
    "disabled",
    "bound_ips",
    "gw_bound_ips",
    "force_sub_claims",
    "audit_logs_claims",
    "delete_protection",
    "kubernetes",
    "kubernetes.audiences",
    "kubernetes.allow_any_audience",
    "kubernetes.rules",
    "kubernetes.public_keys",
    "kubernetes.allow_legacy_tokens",
    "kubernetes.require_pod",
    "kubernetes.single_use",
    "kubernetes.max_presented_age",
    "kubernetes.max_presented_lifetime",
    "kubernetes.revoke_with_pod",
];

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
    merge_token(&mask, &mut merged, patch);
    merge_protections(&mask, &mut merged, patch);
    merge_type(&mask, &mut merged, patch, &mut faults);
    faults.finish()?;
    let keys = current.kubernetes().map_or(&[][..], |k| &k.public_keys);
    settings_keeping(&merged, keys, now)
}

fn merge_token(mask: &Mask<'_>, merged: &mut pb::AuthMethod, patch: &pb::AuthMethod) {
    take!(
        mask,
        "token_ttl",
        merged.token_ttl,
        patch.token_ttl,
        patch.token_ttl.is_some()
    );
    take!(
        mask,
        "token_max_ttl",
        merged.token_max_ttl,
        patch.token_max_ttl,
        patch.token_max_ttl.is_some()
    );
    take!(
        mask,
        "token_num_uses",
        merged.token_num_uses,
        patch.token_num_uses,
        patch.token_num_uses.is_some()
    );
    take!(
        mask,
        "cap_to_presented_expiry",
        merged.cap_to_presented_expiry,
        patch.cap_to_presented_expiry,
        patch.cap_to_presented_expiry.is_some()
    );
    take!(
        mask,
        "token_format",
        merged.token_format,
        patch.token_format,
        patch.token_format != 0
    );
    take!(
        mask,
        "token_audiences",
        merged.token_audiences,
        patch.token_audiences.clone(),
        !patch.token_audiences.is_empty()
    );
}

fn merge_protections(mask: &Mask<'_>, merged: &mut pb::AuthMethod, patch: &pb::AuthMethod) {
    take!(
        mask,
        "force_sub_claims",
        merged.force_sub_claims,
        patch.force_sub_claims,
        patch.force_sub_claims.is_some()
    );
    take!(
        mask,
        "audit_logs_claims",
        merged.audit_logs_claims,
        patch.audit_logs_claims.clone(),
        !patch.audit_logs_claims.is_empty()
    );
    take!(
        mask,
        "delete_protection",
        merged.delete_protection,
        patch.delete_protection,
        patch.delete_protection.is_some()
    );
}

fn merge_token_bounds(
    mask: &Mask<'_>,
    merged: &mut pb::KubernetesAuthMethod,
    patch: &pb::KubernetesAuthMethod,
) {
    take!(
        mask,
        "kubernetes.allow_legacy_tokens",
        merged.allow_legacy_tokens,
        patch.allow_legacy_tokens,
        patch.allow_legacy_tokens.is_some()
    );
    take!(
        mask,
        "kubernetes.require_pod",
        merged.require_pod,
        patch.require_pod,
        patch.require_pod.is_some()
    );
    take!(
        mask,
        "kubernetes.single_use",
        merged.single_use,
        patch.single_use,
        patch.single_use.is_some()
    );
    take!(
        mask,
        "kubernetes.revoke_with_pod",
        merged.revoke_with_pod,
        patch.revoke_with_pod,
        patch.revoke_with_pod.is_some()
    );
    take!(
        mask,
        "kubernetes.max_presented_age",
        merged.max_presented_age,
        patch.max_presented_age,
        patch.max_presented_age.is_some()
    );
    take!(
        mask,
        "kubernetes.max_presented_lifetime",
        merged.max_presented_lifetime,
        patch.max_presented_lifetime,
        patch.max_presented_lifetime.is_some()
    );
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
        // What is shown of an access-key method's keys can't be written.
        (Some(Type::AccessKey(_)), Some(Type::AccessKey(_))) | (_, None) => return,
        (_, Some(_)) => return faults.add("type", "can't be changed"),
    };
    let (merged, patch) = merged;
    merge_token_bounds(mask, merged, &patch);
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
