//! Seal keys, and the boxes that hold a K8s auth config so that only its gateway can read or change it.
//!
//! A box is a version byte, a random nonce of 12 bytes, and ciphertext with its tag (AES-256-GCM-SIV, which stays safe should
//! a nonce repeat). It opens only together with the key ID and the [`SealContext`] that it was sealed with.

mod cipher;
mod lines;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;
use base64::Engine as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::access_id::NoRandomness;
use crate::pem::BASE64;

pub(crate) use cipher::Cipher;
pub(crate) use lines::{Keys, Named};

const LABEL: &[u8] = b"postern sealed k8s auth config v1";
const KEY_LEN: usize = 32;
const MAX_ID: usize = 64;

/// A key's name in a key file: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SealKeyId(String);

/// A text that can't be a key's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's ID is 1 to 64 of `A-Z a-z 0-9 . _ -`")]
pub struct SealKeyIdError;

/// The keys of a gateway's seal key file, never none: the first seals, all open.
pub struct Keyring(Keys<Cipher>);

/// What a box is bound to. Opening it with any other value fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext<'a> {
    /// The gateway's name.
    pub gateway: &'a str,
    /// The config's name at that gateway.
    pub name: &'a str,
    /// The access ID of the config's auth method.
    pub access_id: &'a str,
    /// The config's UID.
    pub config_uid: Uuid,
    /// Counts the config's seals, from 1.
    pub generation: i64,
}

/// A box and the key that it was sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key that opens it.
    pub key_id: SealKeyId,
    /// Version, nonce, ciphertext and tag: 29 bytes more than what is inside.
    pub bytes: Vec<u8>,
}

/// Why a key file can't be used. Never holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Nothing but blank lines and comments.
    #[error("holds no key")]
    Empty,
    /// A line that isn't a key.
    #[error("line {line}: {fault}")]
    Line {
        /// Counts from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
}

/// What is wrong with a line of a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// No colon.
    #[error("is not of the form `id:base64`")]
    Form,
    /// What stands before the colon.
    #[error(transparent)]
    Id(#[from] SealKeyIdError),
    /// What stands after the colon isn't base64 (standard alphabet, padding optional).
    #[error("the key isn't base64")]
    Base64,
    /// How many bytes the base64 stands for.
    #[error("the key has {0} bytes; 32 are needed")]
    Length(usize),
    /// An ID for the second time.
    #[error("the ID is the same as that of an earlier line")]
    Duplicate,
}

/// Sealing failed: the system's random source or the cipher did, or the content is too long for it (64 GiB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("could not be sealed")]
pub struct SealError;

/// Why a box doesn't open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The keyring has no key of that ID.
    #[error("was sealed with key {0:?}, which isn't in the key file")]
    UnknownKey(String),
    /// Of a form that this version doesn't know.
    #[error("is of a version that this program doesn't know")]
    UnknownVersion,
    /// Shorter than any box.
    #[error("is cut off")]
    Truncated,
    /// Changed, or sealed for another context or with another key of that ID.
    #[error("was changed, or was sealed for something else or with another key of the same ID")]
    NotAuthentic,
}

// === impl SealKeyId ===

impl SealKeyId {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SealKeyId {
    type Err = SealKeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=MAX_ID).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SealKeyIdError)
        }
    }
}

impl fmt::Display for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Keyring ===

impl Keyring {
    /// Reads a seal key file: lines of `id:base64(32 bytes)`; blank lines and those that start with `#` are skipped.
    ///
    /// # Errors
    /// The first line that isn't a key of its own ID, or that there is none.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        Keys::parse(text, Cipher::new).map(Self)
    }

    /// A new key as a line of a key file, without a line end. Secret.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate_line(id: &SealKeyId) -> Result<Zeroizing<String>, NoRandomness> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        rand::fill(key.as_mut_slice()).map_err(|_| NoRandomness)?;
        let encoded = Zeroizing::new(BASE64.encode(key.as_slice()));
        Ok(Zeroizing::new([id.as_str(), ":", &encoded].concat()))
    }

    /// The key that seals.
    pub fn first_id(&self) -> &SealKeyId {
        &self.0.first.id
    }

    /// All keys, in the file's order.
    pub fn ids(&self) -> impl Iterator<Item = &SealKeyId> {
        self.0.ids()
    }

    /// Seals with the first key.
    ///
    /// # Errors
    /// When randomness or the cipher fails.
    pub fn seal(&self, context: &SealContext<'_>, content: &[u8]) -> Result<Sealed, SealError> {
        let Named { id, key } = &self.0.first;
        Ok(Sealed {
            key_id: id.clone(),
            bytes: context.with_fields(id, |fields| key.seal(fields, content))?,
        })
    }

    /// Opens a box with the key of that ID.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        &self,
        key_id: &str,
        context: &SealContext<'_>,
        bytes: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let named = self.0.find(key_id);
        let Named { id, key } = named.ok_or_else(|| OpenError::UnknownKey(key_id.to_owned()))?;
        context.with_fields(id, |fields| key.open(fields, bytes))
    }
}

/// The keys' IDs alone.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")?;
        f.debug_list().entries(self.ids()).finish()
    }
}

// === impl SealContext ===

impl SealContext<'_> {
    fn with_fields<T>(&self, key_id: &SealKeyId, then: impl FnOnce(&[&[u8]]) -> T) -> T {
        then(&[
            LABEL,
            key_id.as_str().as_bytes(),
            self.gateway.as_bytes(),
            self.name.as_bytes(),
            self.access_id.as_bytes(),
            self.config_uid.as_bytes(),
            &self.generation.to_be_bytes(),
        ])
    }
}

#[cfg(test)]
mod tests;
