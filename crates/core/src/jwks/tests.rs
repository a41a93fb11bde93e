use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

use super::*;

const MESSAGE: &[u8] = b"header.payload";

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(size: KeySize) -> (RsaKeyPair, Value) {
    let pair = RsaKeyPair::generate(size).unwrap();
    let (_, public) = RSAPublicKey::from_der(pair.public_key().as_ref()).unwrap();
    // DER puts a zero before a number whose first bit is set.
    let number = |der: &[u8]| encode(der.strip_prefix(&[0]).unwrap_or(der));
    let jwk = json!({
        "kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256",
        "n": number(public.modulus), "e": number(public.exponent),
    });
    (pair, jwk)
}

fn sign_rsa(pair: &RsaKeyPair, algorithm: &str) -> Vec<u8> {
    let padding: &'static dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
        "RS256" => &RSA_PKCS1_SHA256,
        "RS384" => &RSA_PKCS1_SHA384,
        _ => &RSA_PKCS1_SHA512,
    };
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), MESSAGE, &mut signature)
        .unwrap();
    signature
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> (EcdsaKeyPair, Value) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({ "kty": "EC", "kid": "ec", "crv": curve, "x": encode(x), "y": encode(y) });
    (pair, jwk)
}

fn set(keys: &[&Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn parse(keys: &[&Value]) -> Result<Jwks, JwksError> {
    Jwks::given(&set(keys))
}

fn p256() -> Value {
    ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256").1
}

#[test]
fn each_algorithm_that_clusters_sign_with_is_verified() {
    let (pair, jwk) = rsa(KeySize::Rsa2048);
    for algorithm in ["RS256", "RS384", "RS512"] {
        let mut jwk = jwk.clone();
        jwk["alg"] = json!(algorithm);
        let signature = sign_rsa(&pair, algorithm);
        let keys = parse(&[&jwk]).unwrap();
        assert_eq!(keys.verify("rsa", algorithm, MESSAGE, &signature), Ok(()));
        assert_eq!(
            keys.verify("rsa", algorithm, b"other", &signature),
            Err(SignatureFault::Wrong)
        );
    }
    for (signing, curve, algorithm) in [
        (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", "ES256"),
        (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", "ES384"),
        (&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521", "ES512"),
    ] {
        let (pair, jwk) = ec(signing, curve);
        let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
        let keys = parse(&[&jwk]).unwrap();
        let verify = |message| keys.verify("ec", algorithm, message, signature.as_ref());
        assert_eq!(verify(MESSAGE), Ok(()), "{algorithm}");
        assert_eq!(verify(b"other"), Err(SignatureFault::Wrong), "{algorithm}");
    }
}

#[test]
fn a_key_verifies_its_own_algorithm_and_no_other() {
    let (pair, mut jwk) = rsa(KeySize::Rsa2048);
    jwk.as_object_mut().unwrap().remove("alg");
    let keys = parse(&[&jwk]).unwrap();
    assert_eq!(
        keys.verify("rsa", "RS256", MESSAGE, &sign_rsa(&pair, "RS256")),
        Ok(())
    );
    for algorithm in ["RS384", "RS512", "PS256", "ES256", "HS256", "none", ""] {
        let signature = sign_rsa(&pair, algorithm);
        assert_eq!(
            keys.verify("rsa", algorithm, MESSAGE, &signature),
            Err(SignatureFault::OtherAlgorithm),
            "{algorithm}"
        );
    }
}

#[test]
fn a_key_is_found_by_its_id_alone() {
    let (first, mut jwk) = rsa(KeySize::Rsa2048);
    let (second, other) = rsa(KeySize::Rsa2048);
    jwk["kid"] = json!("first");
    let keys = parse(&[&jwk, &other]).unwrap();
    let signature = sign_rsa(&first, "RS256");
    assert_eq!(keys.verify("first", "RS256", MESSAGE, &signature), Ok(()));
    let verify = |id| keys.verify(id, "RS256", MESSAGE, &signature);
    assert_eq!(verify("rsa"), Err(SignatureFault::Wrong));
    assert_eq!(verify("third"), Err(SignatureFault::UnknownKey));
    assert_eq!(verify(""), Err(SignatureFault::UnknownKey));

    jwk["kid"] = json!("rsa");
    let twice = parse(&[&jwk, &other]).unwrap();
    for pair in [first, second] {
        let signature = sign_rsa(&pair, "RS256");
        assert_eq!(twice.verify("rsa", "RS256", MESSAGE, &signature), Ok(()));
    }
}

#[test]
fn what_cant_verify_tokens_is_passed_over_while_one_key_can() {
    let good = p256();
    let (_, mut weak) = rsa(KeySize::Rsa2048);
    weak["n"] = json!(encode(&[0xff; 128]));
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    let useless = [
        json!({ "kty": "OKP", "kid": "a", "crv": "Ed25519", "x": "AAAA" }),
        json!({ "kty": "AKP", "kid": "a", "alg": "ML-DSA-44", "pub": "AAAA" }),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("crv", json!("secp256k1")),
        with("kid", json!("")),
        with("kid", json!(null)),
        weak,
    ];
    for key in useless {
        assert_eq!(parse(&[&key]), Err(JwksError::NoUsableKey), "{key}");
        assert_eq!(parse(&[&key, &good]).unwrap().usable(), 1, "{key}");
    }
    assert_eq!(parse(&[]), Err(JwksError::NoUsableKey));
}

#[test]
fn one_damaged_key_spoils_the_set() {
    let good = p256();
    let (_, rsa) = rsa(KeySize::Rsa2048);
    let damages = [
        (&rsa, "n", json!("!")),
        (&rsa, "n", json!(null)),
        (&rsa, "e", json!("")),
        (&good, "x", json!("AA")),
        (&good, "y", json!(encode(&[7; 32]))),
        (&good, "alg", json!("ES384")),
    ];
    for (key, name, value) in damages {
        let mut damaged = key.clone();
        damaged[name] = value;
        let fault = parse(&[&good, &damaged]).unwrap_err();
        assert!(
            matches!(fault, JwksError::Malformed { key: 1, .. }),
            "{name}: {fault:?}"
        );
    }
}

#[test]
fn a_private_key_is_refused() {
    let good = p256();
    for (name, value) in [("d", "AA"), ("p", "AA"), ("k", "AA"), ("kty", "oct")] {
        let mut secret = good.clone();
        secret[name] = json!(value);
        assert_eq!(
            parse(&[&good, &secret]),
            Err(JwksError::Private(1)),
            "{name}"
        );
    }
}

#[test]
fn what_is_no_set_is_said_to_be_none() {
    assert_eq!(Jwks::given(" \n"), Err(JwksError::Empty));
    let long = " ".repeat(MAX_GIVEN + 1);
    assert_eq!(Jwks::given(&long), Err(JwksError::TooLong));
    for text in [
        "x",
        "{}",
        "[]",
        "null",
        r#"{"keys":{}}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[{"kid":"a"}]}"#,
        r#"{"keys":[],"keys":[]}"#,
        "-----BEGIN PUBLIC KEY-----",
    ] {
        assert_eq!(Jwks::given(text), Err(JwksError::NotAJwkSet), "{text}");
    }
    let many = vec![json!({ "kty": "OKP" }); MAX_KEYS + 1];
    let many: Vec<&Value> = many.iter().collect();
    assert_eq!(parse(&many), Err(JwksError::TooManyKeys));
}

proptest! {
    #[test]
    fn arbitrary_text_is_a_set_or_an_error_and_never_a_panic(text in ".*") {
        let _ = Jwks::given(&text);
    }

    #[test]
    fn arbitrary_members_are_a_key_or_an_error_and_never_a_panic(
        kty in "RSA|EC|OKP|oct", alg in "(RS|ES|PS|HS)(256|384|512)", crv in "P-(256|384|521)",
        bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let text = encode(&bytes);
        let key = json!({ "kty": kty, "kid": "a", "alg": alg, "crv": crv, "n": text, "e": text, "x": text, "y": text });
        if let Ok(keys) = parse(&[&key]) {
            prop_assert!(keys.verify("a", &alg, MESSAGE, &bytes).is_err());
        }
    }
}
