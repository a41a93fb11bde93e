//! Access keys as the store knows them: by their hashes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use postern_core::access_token::{AccessKeyId, TokenHash};
use postern_core::seconds::Seconds;
use uuid::Uuid;

/// How many of one owner's keys can be good at a time.
pub(crate) const MAX_GOOD_KEYS: usize = 2;

/// How long an old key stays good beside a new one: at most 30 days.
pub(crate) type KeyOverlap = Seconds<{ 30 * 24 * 60 * 60 }>;

/// A key that is to be, and what becomes of those that are there.
pub(crate) struct NewKey {
    pub(crate) hash: TokenHash,
    /// How long they stay good; `None`: they end at once.
    pub(crate) overlap: Option<KeyOverlap>,
}

/// One key of an access-key method or of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) id: AccessKeyId,
    pub(crate) create_time: Timestamp,
    /// From then on it is worth nothing; `None`: never.
    pub(crate) expire_time: Option<Timestamp>,
    /// When somebody last logged in by it, give or take a minute.
    pub(crate) last_used_time: Option<Timestamp>,
}

/// By the UID of the method or gateway; each one's newest first.
#[derive(Debug, Default)]
pub(crate) struct StoredKeys(BTreeMap<String, Vec<StoredKey>>);

// === impl StoredKeys ===

impl StoredKeys {
    pub(crate) fn of(&self, owner: Uuid) -> &[StoredKey] {
        self.0.get(&owner.to_string()).map_or(&[], Vec::as_slice)
    }

    pub(super) fn add(&mut self, owner: String, key: StoredKey) {
        self.0.entry(owner).or_default().push(key);
    }
}
