//! A service-account signing key: JWS compact RS256, and its public half as a JWK.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use serde_json::{Value, json};

/// Go's decoder takes any trailing bits, so two spellings of one signature are both good.
const BASE64URL: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

pub(crate) struct SigningKey {
    pair: KeyPair,
    id: String,
}

/// What a signature can be faulted for. The texts are in [`crate::authn`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SignatureFault {
    Malformed,
    UnknownKey,
    Wrong,
}

impl SigningKey {
    /// Makes a 2048-bit RSA key. Takes up to some hundred milliseconds of processor time.
    pub(crate) fn generate() -> Result<Self, Unspecified> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        let id = BASE64URL.encode(digest(&SHA256, public.as_ref()));
        Ok(Self { pair, id })
    }

    /// As in a token's `kid`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn sign(&self, claims: &Value) -> Result<String, Unspecified> {
        let header = json!({ "alg": "RS256", "kid": self.id });
        let message = format!("{}.{}", encode_json(&header), encode_json(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            message.as_bytes(),
            &mut signature,
        )?;
        Ok(format!("{message}.{}", BASE64URL.encode(signature)))
    }

    /// The claims of a token whose signature is this key's.
    pub(crate) fn verify(&self, token: &str) -> Result<Value, SignatureFault> {
        let (message, signature) = token.rsplit_once('.').ok_or(SignatureFault::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(SignatureFault::Malformed)?;
        let header = decode_json(header).ok_or(SignatureFault::Malformed)?;
        let signature = BASE64URL
            .decode(signature)
            .map_err(|_| SignatureFault::Malformed)?;
        match header.get("kid").and_then(Value::as_str) {
            Some(id) if !id.is_empty() && id != self.id => return Err(SignatureFault::UnknownKey),
            _ => {}
        }
        if header.get("alg").and_then(Value::as_str) != Some("RS256")
            || header.get("crit").is_some()
        {
            return Err(SignatureFault::Wrong);
        }
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref())
            .verify(message.as_bytes(), &signature)
            .map_err(|_| SignatureFault::Wrong)?;
        decode_json(claims).ok_or(SignatureFault::Malformed)
    }

    pub(crate) fn jwk(&self) -> Value {
        let public = self.pair.public_key();
        json!({
            "use": "sig", "kty": "RSA", "kid": self.id, "alg": "RS256",
            "n": BASE64URL.encode(public.modulus().big_endian_without_leading_zero()),
            "e": BASE64URL.encode(public.exponent().big_endian_without_leading_zero()),
        })
    }
}

/// The claims of a token in compact form, unverified.
pub(crate) fn unverified_claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    decode_json(claims)
}

fn encode_json(value: &Value) -> String {
    BASE64URL.encode(value.to_string())
}

fn decode_json(part: &str) -> Option<Value> {
    let bytes = BASE64URL.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_own_message_and_key_only() {
        let key = SigningKey::generate().unwrap();
        let claims = json!({ "sub": "someone" });
        let token = key.sign(&claims).unwrap();
        assert_eq!(key.verify(&token).unwrap(), claims);

        let (header, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let other = encode_json(&json!({ "sub": "someone else" }));
        assert_eq!(
            key.verify(&format!("{header}.{other}.{signature}")),
            Err(SignatureFault::Wrong)
        );
        assert_eq!(
            key.verify(&format!("{header}.{other}.")),
            Err(SignatureFault::Wrong)
        );
        assert_eq!(key.verify("x.y.z"), Err(SignatureFault::Malformed));

        let none = encode_json(&json!({ "alg": "none" }));
        assert_eq!(
            key.verify(&format!("{none}.{other}.")),
            Err(SignatureFault::Wrong)
        );
        let stranger = SigningKey::generate().unwrap();
        assert_eq!(stranger.verify(&token), Err(SignatureFault::UnknownKey));
    }
}
