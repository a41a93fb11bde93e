//! What administrators say of a gateway.

use postern_core::invalid::{Invalid, Violations};
use prost_types::FieldMask;

use super::mask::{Mask, take};
use crate::pb;

/// What an update can name.
const UPDATABLE: &[&str] = &["url", "description", "disabled"];

/// `current` with what `patch` changes under `mask`.
///
/// # Errors
/// A mask that names an unknown or output-only field.
pub fn updated(
    current: &pb::Gateway,
    patch: &pb::Gateway,
    mask: Option<&FieldMask>,
) -> Result<pb::Gateway, Invalid> {
    let mut faults = Violations::default();
    let mask = Mask::parse(mask, UPDATABLE, &mut faults);
    let mut merged = current.clone();
    take!(
        mask,
        "url",
        merged.url,
        patch.url.clone(),
        patch.url.is_some()
    );
    take!(
        mask,
        "description",
        merged.description,
        patch.description.clone(),
        patch.description.is_some()
    );
    take!(
        mask,
        "disabled",
        merged.disabled,
        patch.disabled,
        patch.disabled.is_some()
    );
    faults.finish()?;
    Ok(merged)
}
