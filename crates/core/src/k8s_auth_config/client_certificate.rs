//! Client certificates: a chain and the private key that belongs to it.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pem::{self, Block, PemError};

/// A certificate chain and its key. Holds a secret: no `Debug`.
#[derive(Clone)]
pub struct ClientCertificate {
    chain: CertificateChain,
    key: ClientKey,
}

/// The client's certificate, and what issued it, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    pem: String,
    /// As the first certificate's SubjectPublicKeyInfo has it.
    public_key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// A private key for TLS. Secret.
#[derive(Clone)]
pub struct ClientKey {
    pem: SecretString,
    public_key: Vec<u8>,
}

/// Why a text is no client certificate. Blocks count from 1; never holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateChainError {
    /// Neither PEM nor base64 of PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A private key, which is stored in clear beside the certificate if it comes here.
    #[error(
        "block {0}: is a private key, which belongs into k8s_client_key (--k8s-client-key); only certificates belong here"
    )]
    PrivateKey(usize),
    /// Something else than a certificate.
    #[error("block {block}: is of type `{label}`; only certificates belong here")]
    NotCertificate {
        /// Which block.
        block: usize,
        /// The label of its `BEGIN` line.
        label: String,
    },
    /// A certificate that X.509 doesn't know.
    #[error("block {0}: is not an X.509 certificate")]
    Malformed(usize),
}

/// Why a text is no private key for TLS. Never holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeyError {
    /// Neither PEM nor base64 of PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Under a passphrase.
    #[error("is an encrypted private key; decrypt it first")]
    Encrypted,
    /// The other half.
    #[error("is a certificate; the private key is needed")]
    Certificate,
    /// Another kind of PEM.
    #[error("is of type `{0}`; a private key is needed")]
    Label(String),
    /// More than one block.
    #[error("holds {0} PEM blocks; one private key is needed")]
    Several(usize),
    /// Damaged, or of an algorithm that TLS clients don't use.
    #[error(
        "is no private key of ECDSA (P-256, P-384, P-521), Ed25519, or RSA of 2048 bits and more"
    )]
    Unsupported,
}

/// A certificate and a key that aren't a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("doesn't belong to the client certificate (--k8s-client-certificate)")]
pub struct NotAPair;

// === impl ClientCertificate ===

impl ClientCertificate {
    /// The pair.
    ///
    /// # Errors
    /// They aren't one.
    pub fn new(chain: CertificateChain, key: ClientKey) -> Result<Self, NotAPair> {
        if chain.public_key == key.public_key {
            Ok(Self { chain, key })
        } else {
            Err(NotAPair)
        }
    }

    /// The chain as PEM, the client's own certificate first.
    pub fn chain_pem(&self) -> &str {
        &self.chain.pem
    }

    /// The key as PEM, for TLS and for sealing.
    pub fn expose_key(&self) -> &str {
        self.key.pem.expose_secret()
    }

    /// Until when the certificate is valid.
    pub fn not_after(&self) -> Timestamp {
        self.chain.not_after
    }

    /// Whether the certificate isn't valid yet.
    pub fn starts_after(&self, now: Timestamp) -> bool {
        now < self.chain.not_before
    }
}

// === impl CertificateChain ===

impl CertificateChain {
    /// Reads PEM or base64 of PEM, at most 64 KiB. Says nothing about the times.
    ///
    /// # Errors
    /// The first block that isn't a certificate.
    pub fn parse(text: &str) -> Result<Self, CertificateChainError> {
        let blocks = pem::blocks(text).map_err(|error| match error {
            // Only private keys are encrypted that way.
            PemError::Encrypted(block) => CertificateChainError::PrivateKey(block),
            error => error.into(),
        })?;
        let mut pem = String::new();
        for (i, block) in blocks.iter().enumerate() {
            certificate(i + 1, block)?;
            pem.push_str(&pem::encode(&block.label, &block.der));
        }
        let first = blocks.first().ok_or(PemError::Empty)?;
        let first = certificate(1, first)?;
        let time = |seconds| {
            Timestamp::from_second(seconds).map_err(|_| CertificateChainError::Malformed(1))
        };
        Ok(Self {
            pem,
            public_key: first.public_key().subject_public_key.data.to_vec(),
            not_before: time(first.validity.not_before.timestamp())?,
            not_after: time(first.validity.not_after.timestamp())?,
        })
    }
}

fn certificate(number: usize, block: &Block) -> Result<X509Certificate<'_>, CertificateChainError> {
    if block.label.ends_with("PRIVATE KEY") {
        return Err(CertificateChainError::PrivateKey(number));
    }
    if block.label != "CERTIFICATE" {
        return Err(CertificateChainError::NotCertificate {
            block: number,
            label: block.label.clone(),
        });
    }
    match X509Certificate::from_der(&block.der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateChainError::Malformed(number)),
    }
}

// === impl ClientKey ===

impl ClientKey {
    /// Reads PEM or base64 of PEM: PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// See [`ClientKeyError`].
    pub fn parse(text: &str) -> Result<Self, ClientKeyError> {
        let mut blocks = pem::blocks(text).map_err(|error| match error {
            PemError::Encrypted(_) => ClientKeyError::Encrypted,
            error => error.into(),
        })?;
        // `openssl ecparam -genkey` writes the curve's name in front of the key, which names it again.
        blocks.retain(|block| block.label != "EC PARAMETERS");
        let [block] = blocks.as_slice() else {
            return Err(ClientKeyError::Several(blocks.len()));
        };
        let public_key = match block.label.as_str() {
            "PRIVATE KEY" => of_pkcs8(&block.der),
            "EC PRIVATE KEY" => {
                ecdsa(|curve| EcdsaKeyPair::from_private_key_der(curve, &block.der))
            }
            "RSA PRIVATE KEY" => rsa(RsaKeyPair::from_der(&block.der)),
            "ENCRYPTED PRIVATE KEY" => return Err(ClientKeyError::Encrypted),
            "CERTIFICATE" => return Err(ClientKeyError::Certificate),
            label => return Err(ClientKeyError::Label(label.to_owned())),
        };
        Ok(Self {
            pem: pem::encode(&block.label, &block.der).as_str().into(),
            public_key: public_key.ok_or(ClientKeyError::Unsupported)?,
        })
    }
}

fn of_pkcs8(der: &[u8]) -> Option<Vec<u8>> {
    let ed25519 = || {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        Some(pair.public_key().as_ref().to_vec())
    };
    ecdsa(|curve| EcdsaKeyPair::from_pkcs8(curve, der))
        .or_else(ed25519)
        .or_else(|| rsa(RsaKeyPair::from_pkcs8(der)))
}

fn ecdsa<E>(
    read: impl Fn(&'static aws_lc_rs::signature::EcdsaSigningAlgorithm) -> Result<EcdsaKeyPair, E>,
) -> Option<Vec<u8>> {
    [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
        &ECDSA_P521_SHA512_ASN1_SIGNING,
    ]
    .into_iter()
    .find_map(|curve| read(curve).ok())
    .map(|pair| pair.public_key().as_ref().to_vec())
}

fn rsa<E>(read: Result<RsaKeyPair, E>) -> Option<Vec<u8>> {
    read.ok().map(|pair| pair.public_key().as_ref().to_vec())
}

#[cfg(test)]
mod tests;
