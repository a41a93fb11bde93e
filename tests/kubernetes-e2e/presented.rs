//! What a method may ask of the token that is presented.

use serde_json::json;

use crate::bed::{Bed, block_on};

#[test]
fn a_legacy_token_is_refused_unless_the_method_allows_it() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let (token, _) = block_on(bed.server.secret_token(namespace.name(), "default", "old"));
    let bounds = ["--bound-namespaces", namespace.name()];
    let any_issuer = ["--disable-issuer-validation"];
    let method = bed.route_with("legacy", &bounds, &any_issuer);
    bed.refuses(&method, &token, "TOKEN_WITHOUT_EXPIRY");
    let allowed = [&bounds[..], &["--allow-legacy-tokens"]].concat();
    let method = bed.route_with("legacy-allowed", &allowed, &any_issuer);
    bed.admits(&method, &token);
    assert_eq!(bed.granted(&method)[0]["facts"]["legacy"], true);
    bed.admits(&method, &bed.pod(&namespace, "mypod1"));
}

#[test]
fn a_token_can_be_too_old_or_good_for_too_long() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let token = bed.pod(&namespace, "mypod1");
    let bounds = ["--bound-namespaces", namespace.name()];
    let long = bed.pod_token_with(&namespace, "mypod1", json!({ "expirationSeconds": 7200 }));
    let lifetime = [&bounds[..], &["--max-presented-lifetime", "1h"]].concat();
    let method = bed.route("lifetime", &lifetime);
    let short = bed.pod_token_with(&namespace, "mypod1", json!({ "expirationSeconds": 600 }));
    bed.admits(&method, &short);
    bed.refuses(&method, &long, "TOKEN_LIFETIME_TOO_LONG");
    let age = [&bounds[..], &["--max-presented-age", "5"]].concat();
    let method = bed.route("age", &age);
    bed.admits(&method, &token);
    // The same token as if it had been issued earlier, signed with the cluster's own key.
    let (_, claims) = crate::token::decode(&token);
    let left = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    if let Some(older) = block_on(bed.server.expired(&token, 600 - left)) {
        bed.refuses(&method, &older, "TOKEN_TOO_OLD");
    }
}

#[test]
fn a_method_that_wants_a_pod_refuses_a_token_of_none() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let bounds = ["--bound-namespaces", namespace.name(), "--require-pod"];
    let method = bed.route("require-pod", &bounds);
    bed.admits(&method, &bed.pod(&namespace, "mypod1"));
    let of_no_pod = bed.token(&namespace, "default", json!({}));
    bed.refuses(&method, &of_no_pod, "POD_REQUIRED");
}

#[test]
fn a_token_of_single_use_is_good_once_and_its_successor_too() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let token = bed.pod(&namespace, "mypod1");
    let bounds = ["--bound-namespaces", namespace.name(), "--single-use"];
    let method = bed.route("single-use", &bounds);
    bed.admits(&method, &token);
    bed.refuses(&method, &token, "TOKEN_USED_BEFORE");
    let next = bed.pod_token(&namespace, "default", "mypod1");
    bed.admits(&method, &next);
    bed.refuses(&method, &next, "TOKEN_USED_BEFORE");
}
