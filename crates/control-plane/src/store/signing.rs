//! Signing keys as the store takes and gives them.

use postern_core::key::KeyId;
use postern_core::seal::Sealed;
use postern_core::signing_key::PublishedKey;

/// A signing key whose private half only the control plane's own keys open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BoxedKey {
    pub(crate) published: PublishedKey,
    pub(crate) sealed: Sealed,
}

/// The private half of the key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signer {
    pub(crate) key_id: KeyId,
    pub(crate) sealed: Sealed,
}

/// The full name.
pub(crate) fn name(id: &KeyId) -> String {
    format!("signingKeys/{id}")
}
