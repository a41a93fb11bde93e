//! The control plane's own keys, the same on each of its replicas.
//!
//! The file has the form of a gateway's seal keys, and neither serves as the other: what is used
//! here is derived from a line's key, by HKDF-SHA256, for one purpose each.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::access_id::NoRandomness;
use crate::seal::{
    Cipher, Keyring, KeyringError, Keys, Named, OpenError, SealError, SealKeyId, Sealed,
};

const SALT: &[u8] = b"postern control plane v1";
const SIGNING_KEYS: &[u8] = b"seal signing keys";
const AUDIT: &[u8] = b"audit mac";
const KEY_LEN: usize = 32;

/// The keys of a control plane's key file, never none: the first seals and makes MACs, all open
/// and verify.
pub struct OwnKeys(Keys<Derived>);

struct Derived {
    signing_keys: Cipher,
    audit: hmac::Key,
}

/// What a sealed signing key is bound to. Opening it with any other value fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningKeyContext<'a> {
    /// The signing key's RFC 7638 thumbprint.
    pub key_id: &'a str,
    /// The deployment that signs with it.
    pub deployment: Uuid,
}

/// A MAC of the audit's, and the key that it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditMac {
    /// The key that verifies it.
    pub key_id: SealKeyId,
    /// HMAC-SHA256.
    pub tag: [u8; 32],
}

/// Why a MAC proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditMacError {
    /// The file has no key of that ID.
    #[error("was made with key {0:?}, which isn't in the key file")]
    UnknownKey(String),
    /// Of other data, or with another key of that ID.
    #[error("doesn't fit")]
    NotAuthentic,
}

struct KeyLength;

// === impl OwnKeys ===

impl OwnKeys {
    /// Reads a key file: lines of `id:base64(32 bytes)`; blank lines and those that start with `#`
    /// are skipped.
    ///
    /// # Errors
    /// The first line that isn't a key of its own ID, or that there is none.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        Keys::parse(text, Derived::of).map(Self)
    }

    /// A new key as a line of a key file, without a line end. Secret.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate_line(id: &SealKeyId) -> Result<Zeroizing<String>, NoRandomness> {
        Keyring::generate_line(id)
    }

    /// The key that seals and makes MACs.
    pub fn first_id(&self) -> &SealKeyId {
        &self.0.first.id
    }

    /// All keys, in the file's order.
    pub fn ids(&self) -> impl Iterator<Item = &SealKeyId> {
        self.0.ids()
    }

    /// Seals a private signing key with the first key.
    ///
    /// # Errors
    /// When randomness or the cipher fails.
    pub fn seal_signing_key(
        &self,
        context: &SigningKeyContext<'_>,
        private_key: &[u8],
    ) -> Result<Sealed, SealError> {
        let Named { id, key } = &self.0.first;
        Ok(Sealed {
            key_id: id.clone(),
            bytes: key.signing_keys.seal(&context.fields(id), private_key)?,
        })
    }

    /// Opens a sealed signing key with the key of that ID.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_signing_key(
        &self,
        key_id: &str,
        context: &SigningKeyContext<'_>,
        bytes: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let named = self.0.find(key_id);
        let Named { id, key } = named.ok_or_else(|| OpenError::UnknownKey(key_id.to_owned()))?;
        key.signing_keys.open(&context.fields(id), bytes)
    }

    /// A MAC of the audit's with the first key.
    pub fn audit_mac(&self, data: &[u8]) -> AuditMac {
        let Named { id, key } = &self.0.first;
        let mut tag = [0; 32];
        tag.copy_from_slice(hmac::sign(&key.audit, data).as_ref());
        AuditMac {
            key_id: id.clone(),
            tag,
        }
    }

    /// Verifies a MAC of the audit's with the key of that ID.
    ///
    /// # Errors
    /// See [`AuditMacError`].
    pub fn verify_audit_mac(
        &self,
        key_id: &str,
        data: &[u8],
        tag: &[u8],
    ) -> Result<(), AuditMacError> {
        let named = self.0.find(key_id);
        let Named { key, .. } =
            named.ok_or_else(|| AuditMacError::UnknownKey(key_id.to_owned()))?;
        hmac::verify(&key.audit, data, tag).map_err(|_| AuditMacError::NotAuthentic)
    }
}

/// The keys' IDs alone.
impl fmt::Debug for OwnKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnKeys")?;
        f.debug_list().entries(self.ids()).finish()
    }
}

// === impl Derived ===

impl Derived {
    /// `None` unless the key has 32 bytes.
    fn of(key: &[u8]) -> Option<Self> {
        if key.len() != KEY_LEN {
            return None;
        }
        let prk = Salt::new(HKDF_SHA256, SALT).extract(key);
        let derive = |purpose: &[u8]| {
            let mut derived = Zeroizing::new([0; KEY_LEN]);
            prk.expand(&[purpose], KeyLength)
                .and_then(|okm| okm.fill(derived.as_mut_slice()))
                .ok()?;
            Some(derived)
        };
        Some(Self {
            signing_keys: Cipher::new(derive(SIGNING_KEYS)?.as_slice())?,
            audit: hmac::Key::new(hmac::HMAC_SHA256, derive(AUDIT)?.as_slice()),
        })
    }
}

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

// === impl SigningKeyContext ===

impl SigningKeyContext<'_> {
    fn fields<'f>(&'f self, key_id: &'f SealKeyId) -> [&'f [u8]; 4] {
        [
            SIGNING_KEYS,
            key_id.as_str().as_bytes(),
            self.key_id.as_bytes(),
            self.deployment.as_bytes(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;
    use crate::seal::SealContext;

    const DATA: &[u8] = b"a private key, or a record";
    const CONTEXT: SigningKeyContext<'static> = SigningKeyContext {
        key_id: "a-thumbprint",
        deployment: Uuid::from_u128(7),
    };

    fn line(id: &str) -> String {
        let line = OwnKeys::generate_line(&id.parse().unwrap()).unwrap();
        line.to_string()
    }

    fn keys(lines: &[&str]) -> OwnKeys {
        OwnKeys::parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let (old, new) = (line("old"), line("new"));
        let before = keys(&[&old]);
        let sealed = before.seal_signing_key(&CONTEXT, DATA).unwrap();
        let mac = before.audit_mac(DATA);
        let both = keys(&[&new, &old]);
        assert_eq!(both.first_id().as_str(), "new");
        let opened = both.open_signing_key("old", &CONTEXT, &sealed.bytes);
        assert_eq!(*opened.unwrap(), DATA);
        both.verify_audit_mac("old", DATA, &mac.tag).unwrap();
        let sealed = both.seal_signing_key(&CONTEXT, DATA).unwrap();
        assert_eq!(sealed.key_id.as_str(), "new");
        assert_eq!(both.audit_mac(DATA).key_id.as_str(), "new");
        assert_eq!(
            before.open_signing_key("new", &CONTEXT, &sealed.bytes),
            Err(OpenError::UnknownKey("new".to_owned()))
        );
        assert_eq!(
            before.verify_audit_mac("new", DATA, &mac.tag),
            Err(AuditMacError::UnknownKey("new".to_owned()))
        );
    }

    #[test]
    fn a_signing_key_opens_for_its_id_and_its_deployment_only() {
        let keys = keys(&[&line("a")]);
        let sealed = keys.seal_signing_key(&CONTEXT, DATA).unwrap();
        for other in [
            SigningKeyContext {
                key_id: "another",
                ..CONTEXT
            },
            SigningKeyContext {
                deployment: Uuid::from_u128(8),
                ..CONTEXT
            },
        ] {
            assert_eq!(
                keys.open_signing_key("a", &other, &sealed.bytes),
                Err(OpenError::NotAuthentic)
            );
        }
    }

    #[test]
    fn a_mac_fits_its_data_and_its_key_only() {
        let keys = keys(&[&line("a"), &line("b")]);
        let mac = keys.audit_mac(DATA);
        let refused = |key: &str, data: &[u8], tag: &[u8]| {
            keys.verify_audit_mac(key, data, tag) == Err(AuditMacError::NotAuthentic)
        };
        assert!(refused("a", b"other data", &mac.tag));
        assert!(refused("b", DATA, &mac.tag));
        assert!(refused("a", DATA, &mac.tag[..31]));
        assert!(refused("a", DATA, &[]));
    }

    #[test]
    fn the_same_line_in_a_gateways_file_opens_nothing_of_the_control_planes() {
        let line = line("a");
        let gateways = Keyring::parse(&line).unwrap();
        let context = SealContext {
            gateway: "",
            name: "",
            access_id: "",
            config_uid: Uuid::nil(),
            generation: 0,
        };
        let own = keys(&[&line]);
        let sealed = own.seal_signing_key(&CONTEXT, DATA).unwrap();
        assert!(gateways.open("a", &context, &sealed.bytes).is_err());
        // The associated data differ too, so the keys are held against each other themselves.
        let encoded = line.split_once(':').unwrap().1;
        let raw = crate::pem::BASE64.decode(encoded).unwrap();
        let Named { id, key } = &own.0.first;
        let fields = CONTEXT.fields(id);
        let by_the_line = Cipher::new(&raw).unwrap();
        assert!(by_the_line.open(&fields, &sealed.bytes).is_err());
        assert!(key.signing_keys.open(&fields, &sealed.bytes).is_ok());
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &raw), DATA);
        assert!(own.verify_audit_mac("a", DATA, mac.as_ref()).is_err());
    }

    #[test]
    fn debug_shows_no_key() {
        let line = line("a");
        let shown = format!("{:?}", keys(&[&line]));
        assert!(shown.contains("\"a\"") || shown.contains("(a)"), "{shown}");
        assert!(!shown.contains(line.split_once(':').unwrap().1), "{shown}");
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let fault = OwnKeys::parse("a:AAAA").unwrap_err();
        assert_eq!(
            fault.to_string(),
            "line 1: the key has 3 bytes; 32 are needed"
        );
    }
}
