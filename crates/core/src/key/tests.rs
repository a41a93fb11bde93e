use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Header, Validation, decode, encode};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::*;

mod test_keys;
use test_keys::*;

const PAIRS: [(&str, &str, SigningAlgorithm); 5] = [
    (EC_PKCS8, EC_PUBLIC, SigningAlgorithm::Es256),
    (EC_SEC1, EC_PUBLIC, SigningAlgorithm::Es256),
    (ED25519_PKCS8, ED25519_PUBLIC, SigningAlgorithm::Ed25519),
    (RSA_PKCS8, RSA_PUBLIC, SigningAlgorithm::Rs256),
    (RSA_PKCS1, RSA_PUBLIC, SigningAlgorithm::Rs256),
];

fn verifies(signer: &SigningKey, verifier: &PublicKey) -> bool {
    let header = Header::new(signer.algorithm().jws());
    let token = encode(&header, &json!({"a": 1}), signer.encoding_key()).unwrap();
    let mut validation = Validation::new(verifier.algorithm().jws());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    decode::<serde_json::Value>(token, verifier.decoding_key(), &validation).is_ok()
}

#[test]
fn every_format_gives_the_key_that_its_public_half_verifies() {
    for (private, public, algorithm) in PAIRS {
        let signer = SigningKey::parse(private).unwrap();
        let verifier = PublicKey::parse(public).unwrap();
        assert_eq!(signer.algorithm(), algorithm);
        assert_eq!(signer.public(), &verifier);
        assert_eq!(verifier.to_pem(), public);
        assert_eq!(signer.public().to_pem(), public);
        assert!(verifies(&signer, &verifier));
    }
}

#[test]
fn formats_of_one_key_become_the_same_pkcs8() {
    for (formats, pkcs8) in [
        (vec![EC_PKCS8, EC_SEC1, EC_SEC1_WITH_PARAMETERS], EC_PKCS8),
        (vec![ED25519_PKCS8], ED25519_PKCS8),
        (vec![RSA_PKCS8, RSA_PKCS1], RSA_PKCS8),
    ] {
        for text in formats {
            for text in [
                text.to_owned(),
                STANDARD.encode(text),
                text.replace('\n', "\r\n"),
            ] {
                let key = SigningKey::parse(&text).unwrap();
                assert_eq!(key.to_pkcs8_pem().expose_secret(), pkcs8);
            }
        }
    }
}

#[test]
fn a_generated_key_survives_its_pem_and_verifies_nothing_of_another() {
    for algorithm in [
        SigningAlgorithm::Es256,
        SigningAlgorithm::Ed25519,
        SigningAlgorithm::Rs256,
    ] {
        let key = SigningKey::generate(algorithm).unwrap();
        let again = SigningKey::parse(key.to_pkcs8_pem().expose_secret()).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert!(verifies(&again, key.public()));
        for (private, public, _) in PAIRS {
            let (signer, verifier) = (SigningKey::parse(private), PublicKey::parse(public));
            assert!(!verifies(&key, &verifier.unwrap()));
            assert!(!verifies(&signer.unwrap(), key.public()));
        }
    }
}

#[test]
fn the_id_is_the_thumbprint_of_rfc_7638() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
             hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ\
             vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK\
             nqDKgw";
    let components = RsaPublicKeyComponents {
        n: URL_SAFE_NO_PAD.decode(n).unwrap(),
        e: vec![1, 0, 1],
    };
    let key = PublicKey::from_spki(components.as_der().unwrap().as_ref()).unwrap();
    assert_eq!(
        key.id().as_str(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    assert_eq!(key.id().as_str().parse(), Ok(key.id().clone()));
}

#[test]
fn the_id_of_an_ed25519_key_is_the_thumbprint_of_rfc_8037() {
    let prefix = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    let x = URL_SAFE_NO_PAD
        .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
        .unwrap();
    let key = PublicKey::from_spki(&[&prefix[..], &x].concat()).unwrap();
    assert_eq!(
        key.id().as_str(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

#[test]
fn what_is_no_usable_private_key_is_refused_with_its_reason() {
    let openssh = pem::encode("OPENSSH PRIVATE KEY", b"x");
    let damaged = pem::encode("PRIVATE KEY", b"x");
    let two = format!("{EC_PKCS8}{RSA_PKCS8}");
    let with_certificate = format!("{EC_PKCS8}{CERTIFICATE}");
    for (text, error) in [
        ("", KeyError::Pem(PemError::Empty)),
        ("-n", KeyError::Pem(PemError::NotPem)),
        (EC_ENCRYPTED_PKCS8, KeyError::Encrypted),
        (EC_ENCRYPTED_SEC1, KeyError::Pem(PemError::Encrypted(1))),
        (EC_PUBLIC, KeyError::Public),
        (CERTIFICATE, KeyError::Certificate),
        (&openssh, KeyError::Label("OPENSSH PRIVATE KEY".to_owned())),
        (&two, KeyError::Several(2)),
        (&with_certificate, KeyError::Several(2)),
        (P384_PKCS8, KeyError::Curve),
        (P384_SEC1, KeyError::Curve),
        (X25519_PKCS8, KeyError::Algorithm),
        (RSA_1024, KeyError::RsaSize(1024)),
        (&damaged, KeyError::Malformed),
    ] {
        assert_eq!(SigningKey::parse(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn what_is_no_usable_public_key_is_refused_with_its_reason() {
    for private in [
        EC_PKCS8,
        EC_SEC1,
        EC_SEC1_WITH_PARAMETERS,
        RSA_PKCS1,
        ED25519_PKCS8,
        EC_ENCRYPTED_PKCS8,
        EC_ENCRYPTED_SEC1,
    ] {
        assert_eq!(
            PublicKey::parse(private),
            Err(KeyError::Private),
            "{private}"
        );
        assert_eq!(
            PublicKey::parse(&STANDARD.encode(private)),
            Err(KeyError::Private)
        );
    }
    let pkcs1 = pem::encode("RSA PUBLIC KEY", b"x");
    for (text, error) in [
        (CERTIFICATE, KeyError::Certificate),
        (P384_PUBLIC, KeyError::Curve),
        (RSA_1024_PUBLIC, KeyError::RsaSize(1024)),
        (&pkcs1, KeyError::Label("RSA PUBLIC KEY".to_owned())),
    ] {
        assert_eq!(PublicKey::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_changed_private_key_is_refused_or_another_key_and_a_cut_one_is_refused() {
    for text in [EC_PKCS8, ED25519_PKCS8] {
        let original = SigningKey::parse(text).unwrap();
        let der = pem::blocks(text).unwrap().remove(0).der;
        for position in 0..der.len() {
            let mut changed = der.to_vec();
            changed[position] ^= 0x10;
            if let Ok(key) = SigningKey::parse(&pem::encode("PRIVATE KEY", &changed)) {
                assert!(verifies(&key, key.public()));
                let same =
                    key.to_pkcs8_pem().expose_secret() == original.to_pkcs8_pem().expose_secret();
                assert_eq!(same, key.public() == original.public(), "byte {position}");
            }
            let cut = SigningKey::parse(&pem::encode("PRIVATE KEY", &der[..position]));
            assert!(cut.is_err(), "{position} bytes");
        }
        let longer = [&der[..], &[0]].concat();
        assert!(SigningKey::parse(&pem::encode("PRIVATE KEY", &longer)).is_err());
    }
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let mut der = pem::blocks(EC_PUBLIC).unwrap().remove(0).der.to_vec();
    *der.last_mut().unwrap() ^= 1;
    let text = pem::encode("PUBLIC KEY", &der);
    assert_eq!(PublicKey::parse(&text), Err(KeyError::Malformed));
}

#[test]
fn nothing_secret_is_printed() {
    let key = SigningKey::parse(EC_PKCS8).unwrap();
    let printed = format!("{key:?}");
    assert_eq!(
        printed,
        format!("SigningKey(PublicKey(Es256, {}))", key.public().id())
    );
    for text in [P384_PKCS8, RSA_1024, EC_ENCRYPTED_PKCS8, X25519_PKCS8] {
        let error = SigningKey::parse(text).unwrap_err();
        let body = text.lines().nth(1).unwrap();
        assert!(!format!("{error} {error:?}").contains(&body[..10]));
    }
}

#[test]
fn a_key_id_has_43_characters_of_base64url() {
    for text in ["", "abc", &"a".repeat(44), &"+".repeat(43)] {
        assert_eq!(text.parse::<KeyId>(), Err(KeyIdError));
    }
}
