//! An import that is run again, and explanations.

use serde_json::Value;

use crate::bed::Bed;

/// The kubeconfig with a client certificate that the bed was given.
fn kubeconfig() -> String {
    std::env::var("POSTERN_TEST_KUBECONFIG").unwrap()
}

fn conditions(document: &Value) -> Vec<(String, String)> {
    let text = |c: &Value, field: &str| c[field].as_str().unwrap().to_owned();
    let all = document["conditions"].as_array().unwrap().iter();
    all.map(|c| (text(c, "type"), text(c, "reason"))).collect()
}

/// The import's objects are cluster-wide: they go when the test does.
fn import(bed: &Bed, name: &str, reviewer: &str, more: &[&str]) -> Value {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    for kind in ["clusterroles", "clusterrolebindings"] {
        let object = format!("{rbac}/{kind}/postern:default:{reviewer}");
        bed.server.remember(object);
    }
    let account = format!("/api/v1/namespaces/default/serviceaccounts/{reviewer}");
    bed.server.remember(account);
    let kubeconfig = kubeconfig();
    let args = [
        "k8s-auth-config",
        "import",
        "--kubeconfig",
        &kubeconfig,
        "--name",
        name,
        "--reviewer-name",
        reviewer,
    ];
    bed.world.admin.json(&[&args[..], more].concat())
}

#[test]
fn a_cluster_is_imported_twice_and_pods_log_in_by_the_reviewer_that_it_got() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let pod = bed.pod(&namespace, "mypod1");
    let bounds = ["--bound-namespaces", namespace.name()];
    let method = bed.world.method_with("imported", &bounds);
    let key = [
        "--access-id",
        &method.access_id,
        "--signing-key",
        &method.prv_key,
    ];
    let reviewer = bed.server.name();
    let created = import(&bed, "imported", &reviewer, &key);
    assert_eq!(created["applied"][1]["result"], "created", "{created}");
    let config = &created["k8s_auth_config"];
    assert_eq!(config["k8s_issuers"][0], bed.server.issuer);
    bed.admits(&method, &pod);

    let again = import(&bed, "imported", &reviewer, &["--token-duration", "1h"]);
    assert_eq!(again["applied"][1]["result"], "updated", "{again}");
    assert!(again["reviewer_expire_time"].is_string());
    bed.admits(&method, &pod);

    // Its token ends within a week, and that alone is found.
    let output = bed.world.admin.run(&["doctor", "imported", "--json"]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    let found = conditions(&serde_json::from_str(&output.stdout).unwrap());
    let has = |kind: &str, reason: &str| {
        let kind = format!("CONDITION_TYPE_{kind}");
        assert!(found.contains(&(kind, reason.to_owned())), "{found:?}");
    };
    has("CREDENTIAL_FRESH", "EXPIRES_SOON");
    has("REVIEWER_AUTHORIZED", "AUTHORIZED");
    has("ISSUER_MATCHES", "MATCHES");
    has("AUDIENCE_ACCEPTED", "ACCEPTED");
    has("CLOCK_SYNCHRONISED", "SYNCHRONISED");
}

#[test]
fn an_explanation_says_what_the_login_records() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let pod = bed.pod(&namespace, "mypod1");
    let bounds = [
        "--bound-namespaces",
        namespace.name(),
        "--bound-pod-names=mypod2",
    ];
    let method = bed.route("explained", &bounds);
    let record = bed.refuses(&method, &pod, "POD_NAME_NOT_BOUND");
    let args = [
        "explain",
        "--config",
        "explained",
        "--token-file",
        "-",
        "--json",
    ];
    let output = bed.world.admin.run_with_stdin(&args, &pod);
    assert_eq!(output.code, 1, "{}", output.stderr);
    let explained: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(explained["reason"], record["reason"]);
    assert_eq!(explained["rule"], record["rule"]);
    let uid = |of: &Value| of["facts"]["pod_uid"].clone();
    assert_eq!(uid(&explained), uid(&record));
}
