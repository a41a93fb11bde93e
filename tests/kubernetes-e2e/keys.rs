//! Tokens that nobody issued.

use serde_json::json;

use crate::bed::Bed;
use crate::token;

#[test]
fn a_token_that_the_cluster_did_not_sign_is_refused() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let method = bed.route("forged", &["--bound-namespaces", namespace.name()]);
    let good = bed.pod(&namespace, "mypod1");
    let (header, claims) = token::decode(&good);
    let signature = good.rsplit('.').next().unwrap();
    let altered =
        |header: &serde_json::Value, signature: &str| token::encode(header, &claims, signature);
    let with = |name: &str, value: serde_json::Value| {
        let mut header = header.clone();
        header[name] = value;
        header
    };
    for (forged, reason) in [
        (
            token::with_wrong_signature(&good),
            "TOKEN_NOT_AUTHENTICATED",
        ),
        (
            altered(&with("kid", json!("other")), signature),
            "TOKEN_NOT_AUTHENTICATED",
        ),
        (
            altered(&with("alg", json!("none")), ""),
            "TOKEN_ALGORITHM_NOT_ALLOWED",
        ),
        (
            altered(&with("alg", json!("HS256")), signature),
            "TOKEN_ALGORITHM_NOT_ALLOWED",
        ),
        (altered(&header, ""), "TOKEN_SIGNATURE_EMPTY"),
        (
            altered(&with("jku", json!("https://evil")), signature),
            "TOKEN_HEADER_NOT_ALLOWED",
        ),
    ] {
        bed.refuses(&method, &forged, reason);
    }
    bed.admits(&method, &good);
}
