//! Verification by the cluster's own keys, and what is read of a namespace.

use serde_json::json;

use crate::bed::{Bed, block_on, control};
use crate::objects::Namespace;
use crate::support::Method;
use crate::token;

const MODES: [&str; 2] = ["offline", "jwks_then_review"];

/// A method for tokens that are for Postern, and a config with this mode.
fn route(bed: &Bed, mode: &str, bounds: &[&str], config: &[&str]) -> Method {
    let issuer = bed.server.issuer.clone();
    let method = [&["--audience", "postern"], bounds].concat();
    let config = [&["--k8s-issuer", &issuer, "--mode", mode], config].concat();
    bed.route_with(&bed.server.name(), &method, &config)
}

fn pods_token(bed: &Bed, namespace: &Namespace) -> String {
    let spec = json!({ "audiences": ["postern"], "expirationSeconds": 3600 });
    bed.pod_token_with(namespace, "mypod1", spec)
}

#[test]
fn a_token_is_verified_by_the_keys_that_the_cluster_publishes() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    bed.pod(&namespace, "mypod1");
    let good = pods_token(&bed, &namespace);
    let (mut header, claims) = token::decode(&good);
    header["kid"] = json!("another");
    let signature = good.rsplit('.').next().unwrap();
    let unknown = token::encode(&header, &claims, signature);
    for mode in MODES {
        let method = route(&bed, mode, &["--bound-namespaces", namespace.name()], &[]);
        bed.admits(&method, &good);
        let facts = &bed.granted(&method)[0]["facts"];
        assert_eq!(
            facts["mode"],
            format!("VERIFICATION_MODE_{}", mode.to_uppercase()),
            "{facts}"
        );
        let forged = token::with_wrong_signature(&good);
        bed.refuses(&method, &forged, "TOKEN_SIGNATURE_INVALID");
        bed.refuses(&method, &unknown, "TOKEN_KEY_UNKNOWN");
    }
}

#[test]
fn a_rotated_service_account_key_is_found_and_old_tokens_go_on() {
    let Some(bed) = Bed::alone() else { return };
    let namespace = bed.namespace();
    bed.pod(&namespace, "mypod1");
    let before = pods_token(&bed, &namespace);
    let bounds = ["--bound-namespaces", namespace.name()];
    let published = block_on(bed.server.get("/openid/v1/jwks")).text;
    let given = route(&bed, "offline", &bounds, &["--jwks", &published]);
    let asked = MODES.map(|mode| route(&bed, mode, &bounds, &[]));
    for method in asked.iter().chain([&given]) {
        bed.admits(method, &before);
    }

    control(&["service-account-key", "third"]);
    let issuer = format!("--service-account-issuer={}", bed.server.issuer);
    bed.restart_api_server(&[
        &issuer,
        "--service-account-key-file=third.pub",
        "--service-account-key-file=service-account.pub",
        "--service-account-signing-key-file=third.key",
    ]);
    let after = pods_token(&bed, &namespace);
    // Before the others' waiting makes so many such refusals that they are counted instead of recorded.
    bed.refuses(&given, &after, "TOKEN_KEY_UNKNOWN");
    for method in &asked {
        bed.eventually_admits(method, &after);
        bed.admits(method, &before);
    }
    bed.admits(&given, &before);
}

#[test]
fn a_selector_sees_the_namespace_as_it_is_and_the_account_that_was_verified() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    bed.pod(&namespace, "mypod1");
    let good = pods_token(&bed, &namespace);
    let selector = ["--bound-namespace-selector", "team in (a,b)"];
    let method = route(&bed, "review", &selector, &[]);
    let output = bed.log_in(&method, &good);
    output.fails(3, &["read namespaces and service accounts"]);
    bed.let_reviewer_read();
    let path = format!("/api/v1/namespaces/{}", namespace.name());
    let labels = json!({ "metadata": { "labels": { "team": "a" } } });
    assert_eq!(block_on(bed.server.merge(&path, labels)).code, 200);
    bed.eventually_admits(&method, &good);

    let offline = route(&bed, "offline", &selector, &[]);
    bed.admits(&offline, &good);
    bed.delete(&namespace, "serviceaccounts", "default");
    // No cache knows this one yet.
    let again = route(&bed, "offline", &selector, &[]);
    bed.refuses(&again, &good, "SERVICE_ACCOUNT_GONE");
}
