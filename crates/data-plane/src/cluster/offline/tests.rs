use postern_core::k8s_auth_config::Issuers;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{self, strings};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "system:serviceaccount:a:b", "aud": ["postern", "x"],
        "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_003_600, "jti": "one",
        "kubernetes.io": {
            "namespace": "a", "serviceaccount": { "name": "b", "uid": "u" },
            "pod": { "name": "p", "uid": "v" }, "node": { "name": "n", "uid": "w" },
        },
    })
}

fn vouched_for(claims: &Value, asked: &[&str]) -> Result<Reviewed, DenyReason> {
    let issuers = Issuers::parse(strings(&[ISSUER]), false).unwrap();
    let token = fixtures::parse(&fixtures::jwt(&json!({ "alg": "RS256" }), claims));
    let token = token.unwrap_or_else(|_| panic!("a readable token"));
    vouched(&token, &strings(asked), &issuers)
}

#[test]
fn a_token_says_whose_it_is() {
    let reviewed = vouched_for(&claims(), &["other", "postern"]).ok().unwrap();
    assert_eq!(reviewed.namespace, "a");
    assert_eq!(reviewed.service_account_name, "b");
    assert_eq!(reviewed.service_account_uid, "u");
    assert_eq!(reviewed.pod, Some(("p".to_owned(), "v".to_owned())));
    assert_eq!(reviewed.node_name.as_deref(), Some("n"));
    assert_eq!(reviewed.credential_id.as_deref(), Some("JTI=one"));
    assert_eq!(reviewed.audiences, ["postern"]);
}

#[test]
fn absent_or_different_means_no() {
    for (path, value, reason) in [
        ("/iss", json!(null), DenyReason::TokenIssuerNotTrusted),
        (
            "/iss",
            json!("https://other"),
            DenyReason::TokenIssuerNotTrusted,
        ),
        (
            "/iss",
            json!(format!("{ISSUER}/")),
            DenyReason::TokenIssuerNotTrusted,
        ),
        ("/iat", json!(null), DenyReason::TokenWithoutExpiry),
        ("/exp", json!(null), DenyReason::TokenWithoutExpiry),
        ("/aud", json!(null), DenyReason::TokenAudienceNotAccepted),
        ("/aud", json!(ISSUER), DenyReason::TokenAudienceNotAccepted),
        ("/sub", json!(null), DenyReason::NotAServiceAccount),
        (
            "/sub",
            json!("system:serviceaccount:a"),
            DenyReason::NotAServiceAccount,
        ),
        (
            "/sub",
            json!("system:serviceaccount:a:b:c"),
            DenyReason::NotAServiceAccount,
        ),
        (
            "/sub",
            json!("system:serviceaccount::b"),
            DenyReason::NotAServiceAccount,
        ),
        (
            "/sub",
            json!("other:serviceaccount:a:b"),
            DenyReason::NotAServiceAccount,
        ),
        (
            "/sub",
            json!("system:serviceaccount:..:b"),
            DenyReason::NotAServiceAccount,
        ),
        (
            "/sub",
            json!("system:serviceaccount:c:b"),
            DenyReason::TokenClaimsDiffer,
        ),
        (
            "/sub",
            json!("system:serviceaccount:a:c"),
            DenyReason::TokenClaimsDiffer,
        ),
        ("/kubernetes.io", json!(null), DenyReason::TokenClaimsDiffer),
        (
            "/kubernetes.io/namespace",
            json!(null),
            DenyReason::TokenClaimsDiffer,
        ),
        (
            "/kubernetes.io/serviceaccount",
            json!(null),
            DenyReason::TokenClaimsDiffer,
        ),
        (
            "/kubernetes.io/serviceaccount/uid",
            json!(null),
            DenyReason::NotAServiceAccount,
        ),
        (
            "/kubernetes.io/serviceaccount/uid",
            json!(""),
            DenyReason::NotAServiceAccount,
        ),
        ("/kubernetes.io/pod", json!(null), DenyReason::PodRequired),
        (
            "/kubernetes.io/pod/name",
            json!(null),
            DenyReason::PodRequired,
        ),
        (
            "/kubernetes.io/pod/name",
            json!("../x"),
            DenyReason::PodRequired,
        ),
        (
            "/kubernetes.io/pod/uid",
            json!(null),
            DenyReason::PodRequired,
        ),
    ] {
        let mut claims = claims();
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = claims.pointer_mut(parent).unwrap();
        if value.is_null() {
            parent.as_object_mut().unwrap().remove(name);
        } else {
            parent[name] = value.clone();
        }
        let refused = vouched_for(&claims, &["postern"]).err();
        assert_eq!(refused, Some(reason), "{path} {value}");
    }
    let none = vouched_for(&claims(), &[]).err();
    assert_eq!(none, Some(DenyReason::TokenAudienceNotAccepted));
}

#[test]
fn a_config_that_lists_no_issuer_takes_none() {
    let token = fixtures::parse(&fixtures::jwt(&json!({ "alg": "RS256" }), &claims()));
    let token = token.unwrap_or_else(|_| panic!("a readable token"));
    let refused = vouched(&token, &strings(&["postern"]), &Issuers::NotValidated).err();
    assert_eq!(refused, Some(DenyReason::TokenIssuerNotTrusted));
}

#[test]
fn one_audience_may_stand_alone() {
    let mut alone = claims();
    alone["aud"] = json!("postern");
    assert!(vouched_for(&alone, &["postern"]).is_ok());
}
