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

/// Why nothing can be signed, though there is a method whose tokens are JWTs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CantSign {
    #[error("this control plane has no issuer URL (--issuer-url)")]
    NoIssuer,
    #[error("there is no active signing key")]
    NoKey,
    #[error(
        "the active signing key is sealed under a key that this control plane's key file lacks"
    )]
    Sealed,
}

/// The full name.
pub(crate) fn name(id: &KeyId) -> String {
    format!("signingKeys/{id}")
}
