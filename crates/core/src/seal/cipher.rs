//! A box: a version byte, a nonce, ciphertext and tag, under whichever program's key.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::{OpenError, SealError};

const VERSION: u8 = 1;
const TAG_LEN: usize = 16;

/// Seals and opens boxes under one key.
pub(crate) struct Cipher(LessSafeKey);

// === impl Cipher ===

impl Cipher {
    /// `None` unless the key has 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM_SIV, key).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// A box that opens with the same fields only.
    pub(crate) fn seal(&self, fields: &[&[u8]], content: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError)?;
        // Encrypted in place: the content never outgrows, and so never leaves, this one buffer.
        let mut buffer = Zeroizing::new(Vec::with_capacity(content.len() + TAG_LEN));
        buffer.extend_from_slice(content);
        let nonce_value = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(nonce_value, associated_data(fields), &mut *buffer)
            .map_err(|_| SealError)?;
        Ok([&[VERSION][..], &nonce, &buffer].concat())
    }

    pub(crate) fn open(
        &self,
        fields: &[&[u8]],
        bytes: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (version, rest) = bytes.split_first().ok_or(OpenError::Truncated)?;
        if *version != VERSION {
            return Err(OpenError::UnknownVersion);
        }
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(OpenError::Truncated)?;
        if ciphertext.len() < TAG_LEN {
            return Err(OpenError::Truncated);
        }
        let mut content = Zeroizing::new(ciphertext.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .0
            .open_in_place(nonce, associated_data(fields), &mut content)
            .map_err(|_| OpenError::NotAuthentic)?
            .len();
        content.truncate(length);
        Ok(content)
    }
}

/// Each field after its length, so that no two lists of fields give the same bytes.
fn associated_data(fields: &[&[u8]]) -> Aad<Vec<u8>> {
    let mut data = Vec::new();
    for field in fields {
        data.extend((field.len() as u64).to_be_bytes());
        data.extend(*field);
    }
    Aad::from(data)
}
