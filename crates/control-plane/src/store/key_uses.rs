//! What methods' keys are used for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use postern_core::key::KeyId;
use uuid::Uuid;

/// By method and key.
#[derive(Debug, Default)]
pub(crate) struct KeyUses(BTreeMap<(String, String), KeyUse>);

/// What one key is used for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct KeyUse {
    /// When a login was last signed with it, give or take a minute.
    pub(crate) last_used_time: Option<Timestamp>,
    /// Full names of the configs that sign with it, 20 at most.
    pub(crate) used_by: Vec<String>,
}

impl KeyUses {
    pub(crate) fn of(&self, method_uid: Uuid, key: &KeyId) -> Option<&KeyUse> {
        self.0.get(&(method_uid.to_string(), key.to_string()))
    }

    pub(super) fn entry(&mut self, method_uid: String, key_id: String) -> &mut KeyUse {
        self.0.entry((method_uid, key_id)).or_default()
    }
}
