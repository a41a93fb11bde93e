//! How a gateway gets to ask for reviews.

use serde_json::json;

use crate::bed::Bed;

#[test]
fn a_reviewer_that_may_not_review_is_a_fault_with_its_own_condition_and_no_refusal() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let pod = bed.pod(&namespace, "mypod1");
    let bounds = ["--bound-namespaces", namespace.name()];
    let unauthorised = bed.token(&namespace, "default", json!({}));
    let issuer = ["--k8s-issuer", &bed.server.issuer];
    let by = |name: &str, token: &str| {
        let reviewer = [&["--token-reviewer-jwt", token], &issuer[..]].concat();
        bed.route_by(name, &bounds, &reviewer)
    };
    let forbidden = by("reviewer-403", &unauthorised);
    bed.log_in(&forbidden, &pod).fails(3, &["reviewer"]);
    let for_others = bed.token(&namespace, "default", json!({ "audiences": ["vault"] }));
    let unknown = by("reviewer-401", &for_others);
    bed.log_in(&unknown, &pod).fails(3, &["reviewer"]);

    // Replaced without a word about anything else, it works.
    let update = ["gateway-update-k8s-auth-config", "-n", "reviewer-403"];
    let token = bed.reviewer_token();
    let replaced = [&update[..], &["--token-reviewer-jwt", &token]].concat();
    bed.world.admin.ok(&replaced);
    bed.admits(&forbidden, &pod);
    bed.world
        .admin
        .ok(&[&update[..], &["--token-exp", "60"]].concat());
    bed.admits(&forbidden, &pod);
}
