//! Keys that sign and verify assertions.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::access_id::NoRandomness;
use crate::pem::{self, Block, PemError};

mod der;

/// The key types that assertions may be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256; small and fast: the default.
    Es256,
    /// EdDSA on Ed25519.
    Ed25519,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 to 8192 bits.
    Rs256,
}

/// What a new key can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NewKey {
    /// ECDSA on P-256.
    #[default]
    Es256,
    /// EdDSA on Ed25519.
    Ed25519,
    /// RSA of 2048 bits, the fewest that are taken.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
}

/// A private key. Secret.
#[derive(Clone)]
pub struct SigningKey {
    pkcs8: Zeroizing<Vec<u8>>,
    encoding: EncodingKey,
    public: PublicKey,
}

/// The public half of a [`SigningKey`]. Equal keys have equal IDs.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: SigningAlgorithm,
    spki: Vec<u8>,
    id: KeyId,
    decoding: DecodingKey,
}

/// A public key's RFC 7638 thumbprint: SHA-256 as 43 characters of base64url.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

/// Why a text is no usable key. Never holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor base64 of PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A private key under a passphrase.
    #[error("is an encrypted private key; decrypt it first")]
    Encrypted,
    /// A public key where a private one is needed.
    #[error("is a public key; the private key is needed")]
    Public,
    /// A private key where a public one is needed. Whoever sent it should replace it.
    #[error(
        "is a private key; the public key is needed, and this private key has now been shown to others"
    )]
    Private,
    /// A certificate, or a request for one.
    #[error("is a certificate; a key is needed")]
    Certificate,
    /// Another kind of PEM, by the label of its `BEGIN` line.
    #[error("is of type `{0}`, which isn't supported")]
    Label(String),
    /// More than one block.
    #[error("holds {0} PEM blocks; one key is needed")]
    Several(usize),
    /// Neither ECDSA, Ed25519 nor RSA.
    #[error("is of an algorithm that isn't supported: use ECDSA on P-256, Ed25519, or RSA")]
    Algorithm,
    /// An elliptic curve other than P-256.
    #[error("is on an elliptic curve that isn't supported: use P-256")]
    Curve,
    /// An RSA modulus of this many bits.
    #[error("is an RSA key of {0} bits; 2048 to 8192 are needed")]
    RsaSize(usize),
    /// The content isn't what the label says, or its parts don't fit together.
    #[error("is damaged: the PEM block doesn't hold a valid key")]
    Malformed,
}

/// A text that can't be a key's ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a key ID: 43 characters of base64url")]
pub struct KeyIdError;

// === impl SigningAlgorithm ===

impl SigningAlgorithm {
    /// The same in a token's header.
    pub fn jws(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::Ed25519 => Algorithm::EdDSA,
            Self::Rs256 => Algorithm::RS256,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Ed25519 => &ED25519,
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

// === impl SigningKey ===

impl SigningKey {
    /// Draws a new key; an RSA key has 3072 bits.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Self, NoRandomness> {
        Self::draw(match algorithm {
            SigningAlgorithm::Es256 => NewKey::Es256,
            SigningAlgorithm::Ed25519 => NewKey::Ed25519,
            SigningAlgorithm::Rs256 => NewKey::Rsa3072,
        })
    }

    /// Draws a new key of that kind.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn draw(kind: NewKey) -> Result<Self, NoRandomness> {
        let pkcs8 = draw_pkcs8(kind).map_err(|_| NoRandomness)?;
        Self::from_pkcs8(&pkcs8).map_err(|_| NoRandomness)
    }

    /// Reads PEM or base64 of PEM, at most 64 KiB: PKCS#8, PKCS#1 (RSA) or SEC1 (P-256), not encrypted.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let Block { label, der } = single_block(text)?;
        match label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(&der),
            "RSA PRIVATE KEY" => {
                der::check_rsa_private_size(&der)?;
                let pair = RsaKeyPair::from_der(&der).map_err(|_| KeyError::Malformed)?;
                Self::from_pkcs8(pair.as_der().map_err(|_| KeyError::Malformed)?.as_ref())
            }
            "EC PRIVATE KEY" => {
                der::check_sec1_curve(&der)?;
                let pair =
                    EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
                        .map_err(|_| KeyError::Malformed)?;
                Self::from_pkcs8(pair.to_pkcs8v1().map_err(|_| KeyError::Malformed)?.as_ref())
            }
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            "PUBLIC KEY" | "RSA PUBLIC KEY" => Err(KeyError::Public),
            _ => Err(other_label(label)),
        }
    }

    /// What signs a token.
    pub fn encoding_key(&self) -> &EncodingKey {
        &self.encoding
    }

    /// What others may see of it.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// What it signs with.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.public.algorithm
    }

    /// Itself as PEM in PKCS#8, for the one who may have it.
    pub fn to_pkcs8_pem(&self) -> SecretString {
        pem::encode("PRIVATE KEY", &self.pkcs8).as_str().into()
    }

    /// Checks the key and encodes it anew, so that what an encoding may carry along (a public half, attributes) is gone.
    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, inner) = der::private_key_info(pkcs8)?;
        if algorithm == SigningAlgorithm::Rs256 {
            der::check_rsa_private_size(inner)?;
        }
        let (pkcs8, spki) = reencode(algorithm, pkcs8).ok_or(KeyError::Malformed)?;
        let encoding = match algorithm {
            SigningAlgorithm::Es256 => EncodingKey::from_ec_der(&pkcs8),
            SigningAlgorithm::Ed25519 => EncodingKey::from_ed_der(&pkcs8),
            SigningAlgorithm::Rs256 => EncodingKey::from_rsa_der(der::private_key_info(&pkcs8)?.1),
        };
        Ok(Self {
            pkcs8,
            encoding,
            public: PublicKey::from_spki(&spki)?,
        })
    }
}

fn draw_pkcs8(kind: NewKey) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
    let rsa = |size| -> Result<Vec<u8>, Unspecified> {
        Ok(RsaKeyPair::generate(size)?.as_der()?.as_ref().to_vec())
    };
    let pkcs8 = match kind {
        NewKey::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?
            .to_pkcs8v1()?
            .as_ref()
            .to_vec(),
        NewKey::Ed25519 => Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref().to_vec(),
        NewKey::Rsa2048 => rsa(KeySize::Rsa2048)?,
        NewKey::Rsa3072 => rsa(KeySize::Rsa3072)?,
        NewKey::Rsa4096 => rsa(KeySize::Rsa4096)?,
    };
    Ok(Zeroizing::new(pkcs8))
}

/// The key in PKCS#8 version 1, and its public half as SubjectPublicKeyInfo.
fn reencode(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Option<(Zeroizing<Vec<u8>>, Vec<u8>)> {
    let (private, public) = match algorithm {
        SigningAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
            (
                pair.to_pkcs8v1().ok()?.as_ref().to_vec(),
                pair.public_key().as_der().ok()?,
            )
        }
        SigningAlgorithm::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
            (
                pair.to_pkcs8v1().ok()?.as_ref().to_vec(),
                pair.public_key().as_der().ok()?,
            )
        }
        SigningAlgorithm::Rs256 => {
            let pair = RsaKeyPair::from_pkcs8(pkcs8).ok()?;
            (
                pair.as_der().ok()?.as_ref().to_vec(),
                pair.public_key().as_der().ok()?,
            )
        }
    };
    Some((Zeroizing::new(private), public.as_ref().to_vec()))
}

/// Its ID and algorithm alone.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public).finish()
    }
}

// === impl PublicKey ===

impl PublicKey {
    /// Reads PEM or base64 of PEM, at most 64 KiB: SubjectPublicKeyInfo, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let Block { label, der } = match single_block(text) {
            Err(KeyError::Pem(PemError::Encrypted(_))) => return Err(KeyError::Private),
            block => block?,
        };
        match label.as_str() {
            "PUBLIC KEY" => Self::from_spki(&der),
            _ if label.ends_with("PRIVATE KEY") => Err(KeyError::Private),
            _ => Err(other_label(label)),
        }
    }

    /// Itself as PEM of a SubjectPublicKeyInfo, the same text for every encoding that it may have been read from.
    pub fn to_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.spki).to_string()
    }

    /// Its RFC 7638 thumbprint: the `kid` of what it verifies.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// What it verifies.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Itself as others fetch it in a key set: an RFC 7517 key for signatures, of one algorithm.
    ///
    /// # Errors
    /// When the library can't write it, which a parsed key's always can be.
    pub fn to_jwk(&self) -> Result<serde_json::Value, KeyError> {
        let malformed = |_| KeyError::Malformed;
        let mut jwk = Jwk::from_decoding_key(&self.decoding, Some(self.algorithm.jws()))
            .map_err(|_| KeyError::Malformed)?;
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_id = Some(self.id.to_string());
        serde_json::to_value(jwk).map_err(malformed)
    }

    /// What verifies a token.
    pub fn decoding_key(&self) -> &DecodingKey {
        &self.decoding
    }

    fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, raw) = der::public_key_info(spki)?;
        if algorithm == SigningAlgorithm::Rs256 {
            der::check_rsa_public_size(raw)?;
        }
        let parsed = UnparsedPublicKey::new(algorithm.verification(), raw).parse();
        let parsed = parsed.map_err(|_| KeyError::Malformed)?;
        let spki = parsed
            .as_der()
            .map_err(|_| KeyError::Malformed)?
            .as_ref()
            .to_vec();
        let (_, raw) = der::public_key_info(&spki)?;
        let decoding = match algorithm {
            SigningAlgorithm::Es256 => DecodingKey::from_ec_der(raw),
            SigningAlgorithm::Ed25519 => DecodingKey::from_ed_der(raw),
            SigningAlgorithm::Rs256 => DecodingKey::from_rsa_der(raw),
        };
        let id = Jwk::from_decoding_key(&decoding, Some(algorithm.jws()))
            .and_then(|jwk| jwk.thumbprint(ThumbprintHash::SHA256))
            .map_err(|_| KeyError::Malformed)?;
        Ok(Self {
            algorithm,
            spki,
            id: KeyId(id),
            decoding,
        })
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.algorithm, self.id)
    }
}

// === impl KeyId ===

impl KeyId {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if text.len() == 43 && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyIdError)
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn single_block(text: &str) -> Result<Block, KeyError> {
    let mut blocks = pem::blocks(text)?;
    // `openssl ecparam -genkey` writes the curve's name in front of the key, which names it again.
    blocks.retain(|block| block.label != "EC PARAMETERS");
    match blocks.len() {
        0 => Err(KeyError::Label("EC PARAMETERS".to_owned())),
        1 => Ok(blocks.remove(0)),
        several => Err(KeyError::Several(several)),
    }
}

fn other_label(label: String) -> KeyError {
    match label.as_str() {
        "CERTIFICATE" | "TRUSTED CERTIFICATE" | "CERTIFICATE REQUEST" => KeyError::Certificate,
        _ => KeyError::Label(label),
    }
}

#[cfg(test)]
mod tests;
