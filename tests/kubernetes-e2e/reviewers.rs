//! How a gateway gets to ask for reviews.

use serde_json::json;

use crate::bed::{Bed, client_certificate};

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

#[test]
fn a_client_certificate_reviews_once_its_user_may_and_another_replaces_it() {
    let Some(bed) = Bed::shared() else { return };
    let user = bed.server.name();
    let Some((certificate, key)) = client_certificate(&user, &format!("/CN={user}")) else {
        return;
    };
    let namespace = bed.namespace();
    let pod = bed.pod(&namespace, "mypod1");
    let by = [
        "--k8s-auth-type=certificate",
        "--k8s-issuer",
        &bed.server.issuer,
        "--k8s-client-certificate",
        &certificate,
        "--k8s-client-key",
        &key,
    ];
    let method = bed.route_by(
        "certificate",
        &["--bound-namespaces", namespace.name()],
        &by,
    );
    bed.log_in(&method, &pod).fails(3, &["reviewer"]);
    bed.delegate(json!({ "kind": "User", "name": user }));
    bed.eventually_admits(&method, &pod);

    // Another pair takes effect without a restart; a pair that is none is refused when it is written.
    let other = bed.server.name();
    let (certificate, other_key) = client_certificate(&other, &format!("/CN={other}")).unwrap();
    let update = ["gateway-update-k8s-auth-config", "-n", "certificate"];
    let pair = |key: &str| {
        let pair = [
            "--k8s-client-certificate",
            &certificate,
            "--k8s-client-key",
            key,
        ];
        bed.world.admin.run(&[&update[..], &pair].concat())
    };
    pair(&key).fails(2, &["--k8s-client"]);
    pair(&other_key).success();
    bed.log_in(&method, &pod).fails(3, &["reviewer"]);
    bed.delegate(json!({ "kind": "User", "name": other }));
    bed.eventually_admits(&method, &pod);
}

#[test]
fn the_presented_token_reviews_itself_only_when_that_is_said_and_the_pod_may() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let pod = bed.pod(&namespace, "mypod1");
    let by = [
        "--k8s-auth-type=presented-token",
        "--k8s-issuer",
        &bed.server.issuer,
    ];
    let method = bed.route_by("presented", &["--bound-namespaces", namespace.name()], &by);
    // An API server answers 403 to a pod that it knows and that may not review: no verdict.
    bed.log_in(&method, &pod).fails(3, &[]);
    bed.delegate(json!({
        "kind": "ServiceAccount", "name": "default", "namespace": namespace.name(),
    }));
    bed.eventually_admits(&method, &pod);
}
