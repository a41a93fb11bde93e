//! Which keys were seen a moment ago.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// How long a key's use isn't noted again.
const QUIET: SignedDuration = SignedDuration::from_secs(60);
/// Far more keys than sign in a minute; beyond that all are noted again.
const MAX_KEYS: usize = 10_000;

/// When each key's use was last noted by this process.
#[derive(Debug, Default)]
pub(crate) struct KeyNotes(Mutex<HashMap<String, Timestamp>>);

impl KeyNotes {
    /// Whether it is time to note the key's use; if so, that counts as done.
    pub(super) fn due(&self, key_id: &str, now: Timestamp) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |at: &Timestamp| now.duration_since(*at).abs() < QUIET;
        if noted.get(key_id).is_some_and(quiet) {
            return false;
        }
        if noted.len() >= MAX_KEYS {
            noted.clear();
        }
        noted.insert(key_id.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_use_is_noted_once_a_minute() {
        let noon: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let later = |seconds| noon + SignedDuration::from_secs(seconds);
        let notes = KeyNotes::default();
        assert!(notes.due("a", noon));
        assert!(!notes.due("a", later(59)));
        assert!(notes.due("b", later(59)));
        assert!(notes.due("a", later(60)));
        assert!(!notes.due("a", later(61)));
    }
}
