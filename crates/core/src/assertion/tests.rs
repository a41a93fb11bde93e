use proptest::prelude::*;

use super::*;
use crate::auth_method::AuthMethod;
use crate::fixtures::{facts, kubernetes, method, noon};
use crate::key::SigningAlgorithm;
use crate::policy;

struct World {
    key: SigningKey,
    method: AuthMethod,
    terms: Terms,
}

fn world() -> World {
    let key = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
    World {
        method: method(vec![key.public().clone()]),
        key,
        terms: Terms {
            token: TokenHash::try_from([7u8; 32].as_slice()).unwrap(),
            renews: false,
            config_uid: Uuid::from_u128(2),
            generation: 5,
            gateway: "default".parse().unwrap(),
            instance: "replica-1".to_owned(),
            deployment: Uuid::from_u128(3),
            now: noon(),
            life: TokenExp::default(),
            jti: Uuid::from_u128(4),
        },
    }
}

impl World {
    fn sign_with(&self, key: &SigningKey) -> String {
        let admission = policy::admit(&self.method, facts().client_ip, noon()).unwrap();
        let grant = policy::decide(admission, facts(), noon()).unwrap();
        sign(grant, &self.terms, key).unwrap()
    }

    fn verify_at(&self, jws: &str, now: Timestamp) -> Result<Claims, DenyReason> {
        verify(
            jws,
            &self.method.access_id,
            self.method.kubernetes().unwrap(),
            Uuid::from_u128(3),
            now,
        )
    }

    fn refused(&self, jws: &str) -> DenyReason {
        self.verify_at(jws, noon()).unwrap_err()
    }
}

/// The JWS with its header or payload edited; the signature stays.
fn edited(jws: &str, part: usize, edit: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut parts: Vec<String> = jws.split('.').map(str::to_owned).collect();
    let bytes = URL_SAFE_NO_PAD.decode(&parts[part]).unwrap();
    let mut json = serde_json::from_slice(&bytes).unwrap();
    edit(&mut json);
    parts[part] = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&json).unwrap());
    parts.join(".")
}

#[test]
fn what_was_signed_is_what_is_read() {
    let world = world();
    let claims = world
        .verify_at(&world.sign_with(&world.key), noon())
        .unwrap();
    assert_eq!(claims.facts, facts());
    assert_eq!(claims.token.as_bytes(), &[7u8; 32]);
    assert_eq!(claims.config_uid, world.terms.config_uid);
    assert_eq!(claims.generation, 5);
    assert_eq!(claims.gateway, world.terms.gateway);
    assert_eq!(claims.expire_time.to_string(), "2026-11-23T12:05:00Z");
}

#[test]
fn another_key_is_refused_even_under_a_known_key_id() {
    let world = world();
    let other = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
    let jws = world.sign_with(&other);
    assert_eq!(world.refused(&jws), DenyReason::AssertionKeyUnknown);
    let known = world.key.public().id().as_str().to_owned();
    let forged = edited(&jws, 0, |header| header["kid"] = known.into());
    assert_eq!(
        world.refused(&forged),
        DenyReason::AssertionSignatureInvalid
    );
}

#[test]
fn a_removed_key_is_refused() {
    let mut world = world();
    let jws = world.sign_with(&world.key);
    kubernetes(&mut world.method).public_keys.clear();
    assert_eq!(world.refused(&jws), DenyReason::AssertionKeyUnknown);
}

#[test]
fn an_edited_payload_is_refused() {
    let world = world();
    let jws = world.sign_with(&world.key);
    let forged = edited(&jws, 1, |claims| {
        claims["facts"]["pod_name"] = "mypod2".into()
    });
    assert_eq!(
        world.refused(&forged),
        DenyReason::AssertionSignatureInvalid
    );
}

#[test]
fn the_header_is_exactly_ours() {
    let world = world();
    let jws = world.sign_with(&world.key);
    for (name, value) in [
        ("crit", "x"),
        ("jku", "https://x"),
        ("jwk", "{}"),
        ("x5u", "x"),
    ] {
        let forged = edited(&jws, 0, |header| header[name] = value.into());
        assert_eq!(
            world.refused(&forged),
            DenyReason::AssertionMalformed,
            "{name}"
        );
    }
    for alg in ["none", "HS256", "RS256", ""] {
        let forged = edited(&jws, 0, |header| header["alg"] = alg.into());
        assert_eq!(
            world.refused(&forged),
            DenyReason::AssertionSignatureInvalid,
            "{alg}"
        );
    }
    let other_type = edited(&jws, 0, |header| header["typ"] = "JWT".into());
    assert_eq!(world.refused(&other_type), DenyReason::AssertionMalformed);
    for garbage in ["", ".", "..", "a.b.c", &"x".repeat(MAX_LENGTH + 1)] {
        assert_eq!(world.refused(garbage), DenyReason::AssertionMalformed);
    }
}

#[test]
fn another_deployment_and_another_method_are_refused() {
    let mut world = world();
    let jws = world.sign_with(&world.key);
    let kubernetes = world.method.kubernetes().unwrap();
    let elsewhere = verify(
        &jws,
        &world.method.access_id,
        kubernetes,
        Uuid::nil(),
        noon(),
    );
    assert_eq!(
        elsewhere.unwrap_err(),
        DenyReason::AssertionAudienceMismatch
    );
    world.method.access_id = "p-zzzzzzzzzzkl".parse().unwrap();
    assert_eq!(world.refused(&jws), DenyReason::AssertionIssuerMismatch);
}

#[test]
fn an_assertion_is_good_for_its_life_and_within_the_skew() {
    let world = world();
    let jws = world.sign_with(&world.key);
    for (offset, good) in [
        (-61, false),
        (-60, true),
        (60, true),
        (61, false),
        (301, false),
    ] {
        let now = noon() + SignedDuration::from_secs(offset);
        assert_eq!(world.verify_at(&jws, now).is_ok(), good, "{offset}");
    }
    for (iat, exp) in [(0, 301), (0, 0), (0, -1), (-30, -1)] {
        let at = |offset: i64| noon().as_second() + offset;
        assert_eq!(
            check_times(at(iat), at(exp), noon()),
            Err(DenyReason::AssertionStale)
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_assertion(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let world = world();
        prop_assert!(world.verify_at(&String::from_utf8_lossy(&bytes), noon()).is_err());
        let part = URL_SAFE_NO_PAD.encode(&bytes);
        let parts = format!("{part}.{part}.{part}");
        prop_assert!(world.verify_at(&parts, noon()).is_err());
        // Behind a header that names a key which is known.
        let jws = world.sign_with(&world.key);
        let header = jws.split('.').next().unwrap();
        let behind = format!("{header}.{part}.{part}");
        prop_assert!(world.verify_at(&behind, noon()).is_err());
    }

    #[test]
    fn an_assertion_with_any_byte_changed_is_refused(
        at in any::<prop::sample::Index>(), by in any::<char>(), length in 0..3usize,
    ) {
        let world = world();
        let jws = world.sign_with(&world.key);
        let at = at.index(jws.len());
        let mut changed = jws.clone();
        changed.replace_range(at..(at + length).min(jws.len()), &by.to_string());
        prop_assume!(changed != jws);
        prop_assert!(world.verify_at(&changed, noon()).is_err(), "{changed}");
    }
}

#[test]
fn an_assertion_says_whether_it_renews_and_one_that_doesnt_says_nothing() {
    let mut world = world();
    let payload = |jws: &str| {
        let payload = jws.split('.').nth(1).unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    };
    let issues = world.sign_with(&world.key);
    assert!(!world.verify_at(&issues, noon()).unwrap().renews);
    assert!(!payload(&issues).contains("renews"));
    world.terms.renews = true;
    let renews = world.sign_with(&world.key);
    assert!(world.verify_at(&renews, noon()).unwrap().renews);
}
