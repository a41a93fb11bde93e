//! Whatever is presented gets an answer, and what is taken is what a second reader finds there.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{jwt, parse, raw_jwt};

/// JSON of any shape, with the names that are read among the keys.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("iss"),
        Just("sub"),
        Just("aud"),
        Just("exp"),
        Just("nbf"),
        Just("iat"),
        Just("kubernetes.io"),
        Just("namespace"),
        Just("serviceaccount"),
        Just("pod"),
        Just("name"),
        Just("uid"),
        Just("kubernetes.io/serviceaccount/namespace"),
        Just("ISS"),
        Just("ſub"),
        Just(""),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..4_102_444_800i64).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|members| {
                Value::Object(
                    members
                        .into_iter()
                        .map(|(k, v)| (k.to_owned(), v))
                        .collect(),
                )
            }),
        ]
    })
}

fn good() -> String {
    let claims = json!({
        "iss": "https://issuer", "sub": "system:serviceaccount:a:b", "aud": ["x"],
        "iat": 1_700_000_000, "nbf": 1_700_000_000, "exp": 1_700_003_600,
        "kubernetes.io": { "namespace": "a", "serviceaccount": { "name": "b", "uid": "u" } },
    });
    jwt(&json!({ "alg": "RS256", "kid": "k" }), &claims)
}

/// The header and the payload, read as anybody reads a JWT.
fn read(text: &str) -> (Value, Value) {
    let mut parts = text
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut json = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (json(), json())
}

fn seconds(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_second)
}

/// Panics if a token that was taken isn't one by a second reading, or says something else there.
fn holds(token: &PresentedToken, text: &str) {
    assert_eq!(token.text().expose_secret(), text);
    assert!(text.len() <= MAX_LENGTH);
    let parts: Vec<&str> = text.split('.').collect();
    assert!(parts.len() == 3 && parts.iter().all(|part| !part.is_empty()));
    let (header, payload) = read(text);
    assert!(ALGORITHMS.contains(&header["alg"].as_str().unwrap()));
    assert!(
        FORBIDDEN_HEADERS
            .iter()
            .all(|name| header.get(name).is_none())
    );
    let claims = token.claims();
    let said = |name: &str| payload.get(name).cloned();
    assert_eq!(claims.issuer.clone().map(Value::from), said("iss"));
    assert_eq!(seconds(claims.expire_time).map(Value::from), said("exp"));
    assert_eq!(seconds(claims.not_before).map(Value::from), said("nbf"));
    assert_eq!(seconds(claims.issue_time).map(Value::from), said("iat"));
    match said("aud") {
        None => assert!(claims.audiences.is_empty()),
        Some(Value::String(one)) => assert_eq!(claims.audiences, [one]),
        Some(list) => assert_eq!(json!(claims.audiences), list),
    }
}

fn check(text: &str) {
    match parse(text) {
        Ok(token) => holds(&token, text),
        // What is told to the caller is never a part of what was presented.
        Err(Rejection::Shape(fault)) => assert!(!fault.contains("eyJ")),
        Err(Rejection::Denied(_)) => {}
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        check(&String::from_utf8_lossy(&bytes));
        // The same bytes where JSON is expected.
        let part = URL_SAFE_NO_PAD.encode(&bytes);
        check(&format!("{part}.{part}.{part}"));
        let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"ES256"}"#);
        check(&format!("{header}.{part}.{part}"));
    }

    #[test]
    fn a_good_token_with_changed_bytes_is_read_as_it_stands_or_not_at_all(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let mut bytes = good().into_bytes();
        for (at, by, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = by,
                1 => bytes.insert(at, by),
                _ => { bytes.remove(at); }
            }
        }
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_payload_with_changed_bytes_is_read_as_it_stands_or_not_at_all(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let text = good();
        let mut parts: Vec<Vec<u8>> = text
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
            .collect();
        for (at, by) in edits {
            let at = at.index(parts[0].len() + parts[1].len());
            match at.checked_sub(parts[0].len()) {
                Some(at) => parts[1][at] = by,
                None => parts[0][at] = by,
            }
        }
        let parts: Vec<String> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
        check(&parts.join("."));
    }

    #[test]
    fn claims_of_any_shape_are_read_as_they_stand_or_not_at_all(header in any_json(), payload in any_json()) {
        check(&jwt(&header, &payload));
        check(&jwt(&json!({ "alg": "RS256" }), &payload));
    }

    #[test]
    fn a_claim_that_stands_twice_is_refused_wherever_it_stands(
        name in "[a-z]{1,6}", value in any_json(), other in any_json(), depth in 0..20usize,
    ) {
        let twice = format!("{{{n}:{value},\"between\":1,{n}:{other}}}", n = json!(name));
        let payload = format!("{}{twice}{}", "{\"a\":[".repeat(depth), "]}".repeat(depth));
        prop_assert_eq!(
            parse(&raw_jwt(r#"{"alg":"RS256"}"#, &payload)).err(),
            Some(Rejection::Denied(DenyReason::TokenDuplicateClaim))
        );
    }
}
