use jiff::ToSpan as _;
use postern_core::auth_method::Audiences;
use postern_core::facts::{Facts, VerificationMode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{self, jwt, parse, raw_jwt, strings};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn header() -> Value {
    json!({ "alg": "RS256", "kid": "k" })
}

/// What kube-apiserver writes for a pod, an hour from noon.
fn claims() -> Value {
    let noon = noon().as_second();
    json!({
        "iss": ISSUER, "sub": "system:serviceaccount:my-namespace-a:default", "aud": [ISSUER],
        "iat": noon, "nbf": noon, "exp": noon + 3600, "jti": "j",
        "kubernetes.io": {
            "namespace": "my-namespace-a",
            "serviceaccount": { "name": "default", "uid": "u1" },
            "pod": { "name": "mypod1", "uid": "u2" },
            "warnafter": noon + 3607,
        },
    })
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[claim] = value;
    claims
}

fn without(claim: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

fn rejection(text: &str) -> Option<Rejection> {
    parse(text).err()
}

fn denied(text: &str) -> Option<DenyReason> {
    match rejection(text) {
        Some(Rejection::Denied(reason)) => Some(reason),
        _ => None,
    }
}

fn is_no_jwt(text: &str) -> bool {
    matches!(rejection(text), Some(Rejection::Shape(_)))
}

#[test]
fn a_pods_token_is_read() {
    let token = parse(&jwt(&header(), &claims())).unwrap_or_else(|_| panic!("a good token"));
    let claims = token.claims();
    assert_eq!(claims.issuer.as_deref(), Some(ISSUER));
    assert_eq!(claims.audiences, [ISSUER]);
    assert_eq!(claims.issue_time, Some(noon()));
    assert_eq!(claims.expire_time, Some(noon() + 1.hour()));
}

#[test]
fn what_is_no_jwt_is_the_callers_mistake() {
    let good = jwt(&header(), &claims());
    assert_eq!(rejection(""), Some(Rejection::Shape("is empty")));
    for text in [
        "x",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "....",
        "p-abcdefghijkl",
        "null",
        &format!("{good}\n"),
        &format!(" {good}"),
        &format!("{good}="),
        &format!("{good}.x"),
        &good.replace('.', "/"),
        &format!("{good}é"),
        &good.replacen('.', "+.", 1),
        &raw_jwt("[]", "{}"),
        &raw_jwt("{}", "[]"),
        &raw_jwt("{}", "x"),
        &raw_jwt("\"a\"", "{}"),
        // One character over is no byte, and bits behind the last byte would make two texts of one token.
        &format!("{good}A"),
        &format!("{good}YWJ"),
    ] {
        assert!(is_no_jwt(text), "{text}");
    }
}

#[test]
fn an_algorithm_that_no_cluster_uses_is_refused() {
    for alg in [
        "none", "None", "", "HS256", "HS512", "rs256", "RS256 ", "PS256", "EdDSA", "ES256K",
    ] {
        let token = jwt(&json!({ "alg": alg }), &claims());
        assert_eq!(
            denied(&token),
            Some(DenyReason::TokenAlgorithmNotAllowed),
            "{alg}"
        );
    }
    for header in [
        json!({}),
        json!({ "alg": null }),
        json!({ "alg": ["RS256"] }),
        json!({ "ALG": "RS256" }),
    ] {
        assert_eq!(
            denied(&jwt(&header, &claims())),
            Some(DenyReason::TokenAlgorithmNotAllowed)
        );
    }
    for alg in ALGORITHMS {
        assert!(
            parse(&jwt(&json!({ "alg": alg }), &claims())).is_ok(),
            "{alg}"
        );
    }
}

#[test]
fn a_header_that_brings_its_own_key_or_rules_is_refused() {
    for name in FORBIDDEN_HEADERS {
        let mut header = header();
        header[name] = json!(null);
        assert_eq!(
            denied(&jwt(&header, &claims())),
            Some(DenyReason::TokenHeaderNotAllowed),
            "{name}"
        );
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let token = jwt(&header(), &claims());
    let unsigned = &token[..=token.rfind('.').unwrap()];
    assert_eq!(denied(unsigned), Some(DenyReason::TokenSignatureEmpty));
}

#[test]
fn a_name_that_stands_twice_is_refused_in_header_and_payload() {
    let twice = r#"{"alg":"RS256","alg":"RS256"}"#;
    assert_eq!(
        denied(&raw_jwt(twice, "{}")),
        Some(DenyReason::TokenDuplicateClaim)
    );
    let nested = r#"{"kubernetes.io":{"pod":{"name":"a","name":"a"}}}"#;
    assert_eq!(
        denied(&raw_jwt(&header().to_string(), nested)),
        Some(DenyReason::TokenDuplicateClaim)
    );
}

#[test]
fn a_claim_of_another_type_is_refused() {
    for (claim, value) in [
        ("iss", json!(1)),
        ("iss", json!(null)),
        ("sub", json!([])),
        ("aud", json!(1)),
        ("aud", json!([1])),
        ("aud", json!({})),
        ("exp", json!("1")),
        ("exp", json!(null)),
        ("exp", json!(1.5)),
        ("exp", json!(true)),
        ("exp", json!(i64::MAX)),
        ("nbf", json!("0")),
        ("iat", json!([1])),
        ("kubernetes.io", json!("a")),
        ("kubernetes.io", json!({ "namespace": 1 })),
        ("kubernetes.io", json!({ "pod": [] })),
        ("kubernetes.io", json!({ "serviceaccount": { "uid": 1 } })),
    ] {
        let token = jwt(&header(), &with(claim, value.clone()));
        assert_eq!(
            denied(&token),
            Some(DenyReason::TokenClaimMalformed),
            "{claim} {value}"
        );
    }
}

#[test]
fn hostile_texts_are_refused() {
    let nested = |depth: usize| format!("{{\"a\":{}", "[".repeat(depth));
    let mut long = jwt(&header(), &claims());
    long.push_str(&"A".repeat(MAX_LENGTH + 1 - long.len()));
    let texts = [
        ".".repeat(1024 * 1024),
        "A".repeat(32 * 1024 * 1024),
        raw_jwt(&nested(100_000), "{}"),
        raw_jwt(&header().to_string(), &nested(10_000)),
        raw_jwt(&header().to_string(), &"[".repeat(12_000)),
        long,
    ];
    for text in texts {
        assert!(is_no_jwt(&text), "{text:.80}");
    }
    let wide = format!("{{\"a\":[{}1]}}", "[],".repeat(3_000));
    assert!(parse(&raw_jwt(&header().to_string(), &wide)).is_ok());
}

fn early(claims: &Value, change: impl FnOnce(&mut Kubernetes)) -> Result<(), DenyReason> {
    let mut method = fixtures::kubernetes(&fixtures::signing_key());
    change(&mut method);
    let issuers = Issuers::parse(strings(&["https://old", ISSUER]), false).unwrap();
    parse(&jwt(&header(), claims))
        .unwrap_or_else(|_| panic!("a readable token"))
        .check_early(&issuers, &method, noon())
}

#[test]
fn the_issuer_must_be_one_of_the_configs() {
    assert_eq!(early(&claims(), |_| {}), Ok(()));
    for claims in [
        without("iss"),
        with("iss", json!("https://other")),
        with("iss", json!(format!("{ISSUER}/"))),
    ] {
        assert_eq!(
            early(&claims, |_| {}),
            Err(DenyReason::TokenIssuerNotTrusted)
        );
    }
}

#[test]
fn times_have_a_minute_of_skew() {
    let at =
        |claim: &str, offset: i64| early(&with(claim, json!(noon().as_second() + offset)), |_| {});
    assert_eq!(at("exp", -60), Ok(()));
    assert_eq!(at("exp", -61), Err(DenyReason::TokenExpired));
    assert_eq!(at("exp", -(1 << 40) / 8), Err(DenyReason::TokenExpired));
    assert_eq!(at("nbf", 60), Ok(()));
    assert_eq!(at("nbf", 61), Err(DenyReason::TokenNotYetValid));
}

#[test]
fn a_token_without_expiry_is_refused() {
    assert_eq!(
        early(&without("exp"), |_| {}),
        Err(DenyReason::TokenWithoutExpiry)
    );
}

#[test]
fn a_listed_audience_must_be_among_the_tokens_as_string_or_list() {
    let listed = |aud: Value| {
        early(&with("aud", aud), |method| {
            method.audiences = Audiences::Listed(strings(&["a", "b"]))
        })
    };
    assert_eq!(listed(json!("a")), Ok(()));
    assert_eq!(listed(json!(["x", "b"])), Ok(()));
    for aud in [json!("x"), json!([]), json!(["A"]), json!("a,b")] {
        assert_eq!(
            listed(aud.clone()),
            Err(DenyReason::TokenAudienceNotAccepted),
            "{aud}"
        );
    }
    assert_eq!(
        early(&with("aud", json!("x")), |_| {}),
        Ok(()),
        "the API server decides"
    );
}

#[test]
fn claims_that_name_another_subject_are_noticed() {
    let facts = Facts {
        namespace: "my-namespace-a".to_owned(),
        service_account_name: "default".to_owned(),
        service_account_uid: "u1".to_owned(),
        pod_name: Some("mypod1".to_owned()),
        pod_uid: Some("u2".to_owned()),
        node_name: None,
        credential_id: None,
        client_ip: None,
        aud: vec![],
        for_api_server: true,
        legacy: false,
        issue_time: None,
        expire_time: None,
        mode: VerificationMode::Review,
        namespace_labels: None,
        cached: false,
        review_ms: None,
    };
    let agree = |claims: &Value| {
        let token = parse(&jwt(&header(), claims)).unwrap_or_else(|_| panic!("a readable token"));
        token.claims().agree_with(&facts)
    };
    assert!(agree(&claims()));
    assert!(agree(&json!({})), "nothing said is no contradiction");
    assert!(!agree(&with(
        "sub",
        json!("system:serviceaccount:my-namespace-a:other")
    )));
    for path in [
        "namespace",
        "serviceaccount/name",
        "serviceaccount/uid",
        "pod/name",
        "pod/uid",
    ] {
        let mut claims = claims();
        *claims
            .pointer_mut(&format!("/kubernetes.io/{path}"))
            .unwrap() = json!("other");
        assert!(!agree(&claims), "{path}");
    }
    for name in ["namespace", "service-account.name", "service-account.uid"] {
        let name = format!("kubernetes.io/serviceaccount/{name}");
        assert!(!agree(&json!({ name.as_str(): "other" })), "{name}");
    }
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_three_parts_get_an_answer(
        header in proptest::collection::vec(any::<u8>(), 0..64),
        payload in "[\\[\\]{}\",:a-c0-9.e\\\\u-]{0,64}",
        signature in "[A-Za-z0-9_-]{0,8}",
    ) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let text = format!("{}.{}.{signature}", part(&header), part(payload.as_bytes()));
        prop_assert!(parse(&text).is_err(), "no header of an allowed algorithm");
        let text = format!("{}.{}.{signature}", part(br#"{"alg":"RS256"}"#), part(payload.as_bytes()));
        let read: Result<Value, _> = serde_json::from_str(&payload);
        prop_assert!(parse(&text).is_err() || read.is_ok_and(|value| value.is_object()));
    }

    #[test]
    fn a_changed_token_is_never_read_as_the_same_text(at in 0usize..400, by in "[A-Za-z0-9_.-]") {
        let mut changed = jwt(&header(), &claims());
        let at = at % changed.len();
        changed.replace_range(at..=at, &by);
        if let Ok(token) = parse(&changed) {
            prop_assert_eq!(token.text().expose_secret(), changed.as_str());
        }
    }
}
