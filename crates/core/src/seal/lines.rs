//! The lines of a key file, whichever program's.

use base64::Engine as _;
use zeroize::Zeroizing;

use super::{KeyringError, LineFault, SealKeyId};
use crate::pem::BASE64;

/// A key of a file and what it is known by.
pub(crate) struct Named<K> {
    pub(crate) id: SealKeyId,
    pub(crate) key: K,
}

/// The keys of a file, in its order, never none and each of its own ID.
pub(crate) struct Keys<K> {
    pub(crate) first: Named<K>,
    others: Vec<Named<K>>,
}

// === impl Keys ===

impl<K> Keys<K> {
    /// Reads lines of `id:base64`; blank ones and those that start with `#` are skipped. `key` is
    /// `None` for what isn't of a key's length.
    ///
    /// # Errors
    /// The first line that isn't a key of its own ID, or that there is none.
    pub(crate) fn parse(
        text: &str,
        key: impl Fn(&[u8]) -> Option<K>,
    ) -> Result<Self, KeyringError> {
        let mut keys: Vec<Named<K>> = Vec::new();
        for (i, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |fault| KeyringError::Line { line: i + 1, fault };
            let named = Named::parse(line, &key).map_err(fail)?;
            if keys.iter().any(|earlier| earlier.id == named.id) {
                return Err(fail(LineFault::Duplicate));
            }
            keys.push(named);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(KeyringError::Empty)?;
        Ok(Self {
            first,
            others: keys.collect(),
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Named<K>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &SealKeyId> {
        self.iter().map(|named| &named.id)
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Named<K>> {
        self.iter().find(|named| named.id.as_str() == id)
    }
}

// === impl Named ===

impl<K> Named<K> {
    fn parse(line: &str, key: impl Fn(&[u8]) -> Option<K>) -> Result<Self, LineFault> {
        let (id, encoded) = line.split_once(':').ok_or(LineFault::Form)?;
        let id = id.parse::<SealKeyId>()?;
        let secret = BASE64
            .decode(encoded)
            .map(Zeroizing::new)
            .map_err(|_| LineFault::Base64)?;
        let key = key(&secret).ok_or(LineFault::Length(secret.len()))?;
        Ok(Self { id, key })
    }
}
