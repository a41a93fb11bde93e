//! `postern k8s-auth-config import` from a real kubeconfig.

use reqwest::Method;
use serde_json::{Value, json};

use crate::bed::{Bed, block_on};

#[test]
fn an_import_makes_a_reviewer_of_least_privilege_and_a_config_that_pods_log_in_by() {
    let Some(bed) = Bed::shared() else { return };
    let (namespace, reviewers) = (bed.namespace(), bed.namespace());
    let token = bed.pod(&namespace, "mypod1");
    let method = bed
        .world
        .method_with("least-privilege", &["--bound-namespaces", namespace.name()]);
    let kubeconfig = std::env::var("POSTERN_TEST_KUBECONFIG").unwrap();
    let import = [
        "k8s-auth-config",
        "import",
        "--kubeconfig",
        &kubeconfig,
        "-n",
        "least-privilege",
        "--access-id",
        &method.access_id,
        "--signing-key",
        &method.prv_key,
        "--reviewer-namespace",
        reviewers.name(),
    ];
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = format!("{roles}/postern:{}:postern-reviewer", reviewers.name());
    bed.world.admin.ok(&[&import[..], &["--dry-run"]].concat());
    assert_eq!(
        block_on(bed.server.get(&role)).code,
        404,
        "a dry run makes nothing"
    );

    let said = bed.world.admin.ok(&import);
    assert!(
        said.contains("K8s auth config least-privilege created"),
        "{said}"
    );
    for kind in ["clusterroles", "clusterrolebindings"] {
        let path = role.replace("clusterroles", kind);
        assert_eq!(block_on(bed.server.get(&path)).code, 200, "{path}");
        bed.server.remember(path);
    }
    bed.eventually_admits(&method, &token);
    let config = bed
        .world
        .admin
        .json(&["k8s-auth-config", "get", "-n", "least-privilege"]);
    assert_eq!(config["k8s_issuers"], json!([bed.server.issuer]));
    assert_eq!(config["k8s_host"], bed.host.as_str());

    // The reviewer may review, and read nothing.
    let spec = json!({});
    let reviewer = block_on(bed.server.token(reviewers.name(), "postern-reviewer", spec));
    for path in ["/api/v1/secrets", "/api/v1/namespaces", "/api/v1/pods"] {
        let read = bed
            .server
            .as_bearer(Some(&reviewer), Method::GET, path, Value::Null);
        assert_eq!(block_on(read).code, 403, "{path}");
    }
    // Run again, it changes what is there.
    let again = [&import[..], &["--token-duration", "1h"]].concat();
    let again = bed.world.admin.json(&again);
    assert_eq!(again["applied"][1]["result"], "updated", "{again}");
    assert!(again["reviewer_expire_time"].is_string(), "{again}");
    bed.eventually_admits(&method, &token);

    // Its token ends within a week, and that alone is found.
    let output = bed
        .world
        .admin
        .run(&["doctor", "least-privilege", "--json"]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    let doctor: Value = serde_json::from_str(&output.stdout).unwrap();
    let conditions = doctor["conditions"].as_array().unwrap();
    for (kind, reason) in [
        ("CREDENTIAL_FRESH", "EXPIRES_SOON"),
        ("REVIEWER_AUTHORIZED", "AUTHORIZED"),
        ("ISSUER_MATCHES", "MATCHES"),
        ("AUDIENCE_ACCEPTED", "ACCEPTED"),
        ("CLOCK_SYNCHRONISED", "SYNCHRONISED"),
    ] {
        let kind = format!("CONDITION_TYPE_{kind}");
        let found = conditions.iter().find(|c| c["type"] == *kind).unwrap();
        assert_eq!(found["reason"], reason, "{doctor}");
    }
}
