//! `Association`.

use std::collections::{BTreeMap, HashMap};

use postern_core::association::{Association, RequiredSubClaims};
use postern_core::invalid::{Invalid, Violations};
use prost_types::FieldMask;

use super::audit::sub_claims;
use super::mask::{Mask, take};
use crate::pb;

const UPDATABLE: &[&str] = &["sub_claims", "case_insensitive"];

/// Which tokens an association asks for.
///
/// # Errors
/// Every fault at once, by field.
pub fn required(wire: &pb::Association) -> Result<RequiredSubClaims, Invalid> {
    RequiredSubClaims::new(
        claims(&wire.sub_claims),
        wire.case_insensitive.unwrap_or_default(),
    )
}

fn claims(wire: &HashMap<String, pb::StringList>) -> BTreeMap<String, Vec<String>> {
    wire.iter()
        .map(|(name, list)| (name.clone(), list.values.clone()))
        .collect()
}

/// The same after an update: `current` with what `patch` changes under `mask`.
///
/// # Errors
/// Every fault at once, by field; a mask that names an unknown or output-only field.
pub fn updated(
    current: &Association,
    patch: &pb::Association,
    mask: Option<&FieldMask>,
) -> Result<RequiredSubClaims, Invalid> {
    let mut faults = Violations::default();
    let mask = Mask::parse(mask, UPDATABLE, &mut faults);
    faults.finish()?;
    let mut merged = to_pb(current);
    take!(
        mask,
        "sub_claims",
        merged.sub_claims,
        patch.sub_claims.clone(),
        !patch.sub_claims.is_empty()
    );
    take!(
        mask,
        "case_insensitive",
        merged.case_insensitive,
        patch.case_insensitive,
        patch.case_insensitive.is_some()
    );
    required(&merged)
}

/// On the wire, without `meta`.
pub fn to_pb(association: &Association) -> pb::Association {
    pb::Association {
        name: association.name(),
        meta: None,
        auth_method: association.auth_method.auth_method_name(),
        role: association.role.role_name(),
        sub_claims: sub_claims(association.sub_claims.claims()),
        case_insensitive: Some(association.sub_claims.case_insensitive()),
    }
}
