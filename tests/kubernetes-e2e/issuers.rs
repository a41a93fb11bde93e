//! Which issuers a config takes, also while a cluster moves from one to another.

use crate::bed::{Bed, control};

#[test]
fn an_issuer_is_compared_exactly_and_can_be_left_unchecked_on_purpose_only() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let token = bed.pod(&namespace, "mypod1");
    let bounds = ["--bound-namespaces", namespace.name()];
    let issuer = bed.server.issuer.clone();
    let longer = format!("{issuer}/");
    for (name, other) in [
        ("iss-slash", longer.as_str()),
        ("iss-other", "https://other"),
    ] {
        let method = bed.route_with(name, &bounds, &["--k8s-issuer", other]);
        bed.refuses(&method, &token, "TOKEN_ISSUER_NOT_TRUSTED");
    }
    let several = ["--k8s-issuer", "https://other", "--k8s-issuer", &issuer];
    bed.admits(&bed.route_with("iss-several", &bounds, &several), &token);
    let unchecked = ["--disable-issuer-validation"];
    bed.admits(
        &bed.route_with("iss-unchecked", &bounds, &unchecked),
        &token,
    );
}

#[test]
fn a_cluster_can_move_to_another_issuer_without_a_failed_login() {
    let Some(bed) = Bed::alone() else { return };
    let namespace = bed.namespace();
    let before = bed.pod(&namespace, "mypod1");
    let (old, new) = (bed.server.issuer.clone(), "https://new.example.com");
    let bounds = ["--bound-namespaces", namespace.name()];
    let both = ["--k8s-issuer", new, "--k8s-issuer", &old];
    let moving = bed.route_with("moving", &bounds, &both);
    let left_behind = bed.route_with("left-behind", &bounds, &["--k8s-issuer", &old]);
    bed.admits(&moving, &before);

    let issuers = [new, &old].map(|issuer| format!("--service-account-issuer={issuer}"));
    bed.restart_api_server(&[
        &issuers[0],
        &issuers[1],
        "--service-account-key-file=service-account.pub",
        "--service-account-signing-key-file=service-account.key",
    ]);
    let after = bed.pod_token(&namespace, "default", "mypod1");
    bed.admits(&moving, &before);
    bed.admits(&moving, &after);
    bed.admits(&left_behind, &before);
    bed.refuses(&left_behind, &after, "TOKEN_ISSUER_NOT_TRUSTED");
}

#[test]
fn a_cluster_can_change_its_signing_key_without_a_failed_login() {
    let Some(bed) = Bed::alone() else { return };
    let namespace = bed.namespace();
    let before = bed.pod(&namespace, "mypod1");
    let method = bed.route("new-key", &["--bound-namespaces", namespace.name()]);
    control(&["service-account-key", "second"]);
    let issuer = format!("--service-account-issuer={}", bed.server.issuer);
    let both = [
        &issuer,
        "--service-account-key-file=second.pub",
        "--service-account-key-file=service-account.pub",
        "--service-account-signing-key-file=second.key",
    ];
    bed.restart_api_server(&both);
    bed.admits(&method, &before);
    let after = bed.pod_token(&namespace, "default", "mypod1");
    bed.admits(&method, &after);

    let second = [
        &issuer,
        "--service-account-key-file=second.pub",
        "--service-account-signing-key-file=second.key",
    ];
    let reviewer = bed.reviewer_token();
    let update = ["gateway-update-k8s-auth-config", "-n", "new-key"];
    bed.world
        .admin
        .ok(&[&update[..], &["--token-reviewer-jwt", &reviewer]].concat());
    bed.restart_api_server(&second);
    bed.refuses(&method, &before, "TOKEN_NOT_AUTHENTICATED");
    bed.admits(&method, &after);
}
