//! JSON Web Key Sets of clusters: the public keys that service-account tokens are signed with.
//!
//! aws-lc-rs verifies, and not a JWT library: such a library takes the algorithm from the token and doesn't know
//! ES512, which clusters may sign with. Here a key has one algorithm, and a token names its key.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest set that administrators can give, in bytes.
pub const MAX_GIVEN: usize = 64 * 1024;
/// More keys than any cluster has.
const MAX_KEYS: usize = 256;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// At least one public key that a cluster's tokens can be signed with.
#[derive(Clone)]
pub struct Jwks {
    text: String,
    keys: Vec<VerificationKey>,
}

/// A public key with its ID and the one algorithm that it is for.
#[derive(Clone)]
struct VerificationKey {
    id: String,
    algorithm: &'static str,
    key: ParsedPublicKey,
}

/// Why a text is no set of usable keys. Keys count from 0; never holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// More than [`MAX_GIVEN`] bytes.
    #[error("is longer than 64 KiB")]
    TooLong,
    /// Not JSON, or not of this form.
    #[error(
        "is not a JWK set: a JSON object with a list `keys` (`kubectl get --raw /openid/v1/jwks` prints the cluster's)"
    )]
    NotAJwkSet,
    /// More keys than any cluster has.
    #[error("has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// A secret, which has no business there. Whoever sent it should replace it.
    #[error(
        "keys[{0}]: is a private or symmetric key; only public keys belong here, and this one has now been shown to others"
    )]
    Private(usize),
    /// A key of a known type that can't be read.
    #[error("keys[{key}]: {fault}")]
    Malformed {
        /// Which key.
        key: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Nothing that a token could be verified with.
    #[error(
        "holds no key that service-account tokens can be verified with: a `kid`, and RSA of 2048 to 8192 bits or ECDSA on P-256, P-384 or P-521"
    )]
    NoUsableKey,
}

/// Why a signature doesn't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureFault {
    /// No key of that ID. A newer set may have it.
    UnknownKey,
    /// The key of that ID is for another algorithm.
    OtherAlgorithm,
    /// Not this key's signature of this text.
    Wrong,
}

#[derive(Deserialize)]
struct WireSet {
    keys: Vec<WireKey>,
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private half of RSA, ECDSA and EdDSA keys.
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    /// A symmetric key.
    k: Option<IgnoredAny>,
}

// === impl Jwks ===

impl Jwks {
    /// Reads a set that an administrator gave.
    ///
    /// # Errors
    /// See [`JwksError`].
    pub fn given(text: &str) -> Result<Self, JwksError> {
        if text.len() > MAX_GIVEN {
            return Err(JwksError::TooLong);
        }
        Self::parse(text.trim())
    }

    /// Reads a set. What can't verify a token is passed over, since sets also hold keys of other types and for other
    /// uses; what claims to be able to and can't be read is an error, so that half a set is never taken for a whole one.
    ///
    /// # Errors
    /// See [`JwksError`].
    pub fn parse(text: &str) -> Result<Self, JwksError> {
        if text.is_empty() {
            return Err(JwksError::Empty);
        }
        let set: WireSet = serde_json::from_str(text).map_err(|_| JwksError::NotAJwkSet)?;
        if set.keys.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys);
        }
        let mut keys = Vec::with_capacity(set.keys.len());
        for (i, wire) in set.keys.iter().enumerate() {
            keys.extend(wire.read(i)?);
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        let text = text.to_owned();
        Ok(Self { text, keys })
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many of its keys can verify a token.
    pub fn usable(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has a key of that ID.
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// Whether the named key, used with its own algorithm and with no other, signed `message`.
    ///
    /// # Errors
    /// See [`SignatureFault`].
    pub fn verify(
        &self,
        id: &str,
        algorithm: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureFault> {
        let mut fault = SignatureFault::UnknownKey;
        // Nothing forbids two keys to have one ID: any of them will do.
        for key in self.keys.iter().filter(|key| key.id == id) {
            fault = match key.verify(algorithm, message, signature) {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
        }
        Err(fault)
    }
}

/// Public, and long: what matters is which keys it has.
impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| (&key.id, key.algorithm));
        f.debug_map().entries(ids).finish()
    }
}

impl PartialEq for Jwks {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Jwks {}

// === impl VerificationKey ===

impl VerificationKey {
    fn verify(
        &self,
        algorithm: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureFault> {
        if algorithm != self.algorithm {
            return Err(SignatureFault::OtherAlgorithm);
        }
        self.key
            .verify_sig(message, signature)
            .map_err(|_| SignatureFault::Wrong)
    }
}

// === impl WireKey ===

impl WireKey {
    /// `None` when it isn't for this: of another type, for another use, too weak, or without an ID.
    fn read(&self, index: usize) -> Result<Option<VerificationKey>, JwksError> {
        if self.kty == "oct" || self.d.is_some() || self.p.is_some() || self.k.is_some() {
            return Err(JwksError::Private(index));
        }
        let Some(id) = self.kid.clone().filter(|id| !id.is_empty()) else {
            return Ok(None);
        };
        if !self.verifies() {
            return Ok(None);
        }
        let read = match self.kty.as_str() {
            "RSA" => self.rsa(),
            "EC" => self.ec(),
            _ => return Ok(None),
        };
        let read = read.map_err(|fault| JwksError::Malformed { key: index, fault })?;
        Ok(read.map(|(algorithm, key)| VerificationKey { id, algorithm, key }))
    }

    fn verifies(&self) -> bool {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let operations = self.key_ops.as_deref();
        signs && operations.is_none_or(|list| list.iter().any(|operation| operation == "verify"))
    }

    fn rsa(&self) -> Result<Option<(&'static str, ParsedPublicKey)>, &'static str> {
        // What kube-apiserver signs with when a key doesn't say.
        let (algorithm, parameters): (_, &'static RsaParameters) =
            match self.alg.as_deref().unwrap_or("RS256") {
                "RS256" => ("RS256", &RSA_PKCS1_2048_8192_SHA256),
                "RS384" => ("RS384", &RSA_PKCS1_2048_8192_SHA384),
                "RS512" => ("RS512", &RSA_PKCS1_2048_8192_SHA512),
                _ => return Ok(None),
            };
        let n = number(self.n.as_deref()).ok_or("`n` is no base64url number")?;
        let e = number(self.e.as_deref()).ok_or("`e` is no base64url number")?;
        if !RSA_BITS.contains(&bits(&n)) {
            return Ok(None);
        }
        let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
        let key = parsed.map_err(|_| "`n` and `e` are no RSA key")?;
        Ok(Some((algorithm, key)))
    }

    fn ec(&self) -> Result<Option<(&'static str, ParsedPublicKey)>, &'static str> {
        let curve = self.crv.as_deref().unwrap_or_default();
        let (algorithm, parameters, length): (_, &'static dyn VerificationAlgorithm, _) =
            match curve {
                "P-256" => ("ES256", &ECDSA_P256_SHA256_FIXED, 32),
                "P-384" => ("ES384", &ECDSA_P384_SHA384_FIXED, 48),
                "P-521" => ("ES512", &ECDSA_P521_SHA512_FIXED, 66),
                _ => return Ok(None),
            };
        if self.alg.as_deref().is_some_and(|alg| alg != algorithm) {
            return Err("`alg` doesn't belong to `crv`");
        }
        let coordinate = |text: Option<&str>| {
            let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
            (bytes.len() == length).then_some(bytes)
        };
        let x = coordinate(self.x.as_deref()).ok_or("`x` is no coordinate of its curve")?;
        let y = coordinate(self.y.as_deref()).ok_or("`y` is no coordinate of its curve")?;
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let key = ParsedPublicKey::new(parameters, point)
            .map_err(|_| "`x` and `y` are no point on its curve")?;
        Ok(Some((algorithm, key)))
    }
}

/// A positive number, big-endian and without leading zeros.
fn number(text: Option<&str>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let significant = bytes.get(zeros..)?.to_vec();
    (!significant.is_empty()).then_some(significant)
}

fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    number.len() * 8 - unused as usize
}

#[cfg(test)]
mod tests;
