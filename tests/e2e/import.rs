//! A kubeconfig becomes a reviewer and a K8s auth config, in one step.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube_sim::KubeSim;
use serde_json::Value;

use crate::support::{Method, World};

/// The kubeconfig of whom the token belongs to.
pub(crate) fn kubeconfig(cluster: &KubeSim, token: &str) -> String {
    let ca = STANDARD.encode(cluster.ca_pem());
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         contexts:\n- name: test\n  context: {{cluster: test, user: admin}}\n\
         clusters:\n- name: test\n  cluster: {{server: '{}', certificate-authority-data: {ca}}}\n\
         users:\n- name: admin\n  user: {{token: {token}}}\n",
        cluster.host()
    )
}

fn import<'a>(file: &'a str, name: &'a str) -> Vec<&'a str> {
    vec![
        "k8s-auth-config",
        "import",
        "--kubeconfig",
        file,
        "-n",
        name,
    ]
}

fn with_method<'a>(args: &[&'a str], method: &'a Method) -> Vec<&'a str> {
    let key = [
        "--access-id",
        &method.access_id,
        "--signing-key",
        &method.prv_key,
    ];
    [args, &key].concat()
}

fn writes(cluster: &KubeSim) -> usize {
    let requests = cluster.recent_requests();
    let changing = |method: &str| matches!(method, "PATCH" | "PUT" | "DELETE");
    requests
        .iter()
        .filter(|request| changing(request.method.as_str()))
        .count()
}

#[test]
fn an_import_makes_a_reviewer_and_a_config_that_pods_log_in_by_and_can_be_run_again() {
    let world = World::start();
    let cluster = world.cluster();
    let method = world.method("m");
    let file = world
        .admin
        .file("kubeconfig", &kubeconfig(cluster, cluster.admin_token()));
    let output = world
        .admin
        .run(&with_method(&import(&file, "imported"), &method));
    assert!(
        output.stderr.contains("is this machine"),
        "{}",
        output.stderr
    );
    let said = output.success();
    for part in [
        "ServiceAccount postern-reviewer created",
        "ClusterRole postern:default:postern-reviewer created",
        "K8s auth config imported created",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let config = world
        .admin
        .json(&["k8s-auth-config", "get", "-n", "imported"]);
    assert_eq!(config["k8s_host"], cluster.host());
    assert_eq!(config["k8s_issuers"][0], cluster.issuer());
    let logs_in = || {
        let token = world.pod_token("mypod1");
        world
            .log_in(&method.access_id, "imported", &token)
            .success()
    };
    logs_in();

    // Neither key nor access ID is needed again, and a token with an expiry takes the old one's place.
    let again = [&import(&file, "imported")[..], &["--token-duration", "24h"]].concat();
    let output = world.admin.run(&[&again[..], &["--json"]].concat());
    assert!(output.stderr.contains("expires at"), "{}", output.stderr);
    let document = output.document();
    let results = document["applied"].as_array().unwrap();
    assert!(
        results.iter().all(|object| object["result"] == "updated"),
        "{document}"
    );
    assert_eq!(results.len(), 3);
    let config = &document["k8s_auth_config"];
    assert_eq!(config["generation"], 2);
    assert!(config["reviewer_credential_expire_time"].is_string());
    assert!(document["reviewer_expire_time"].is_string());
    logs_in();
}

#[test]
fn the_imported_reviewer_may_review_tokens_and_nothing_else() {
    let world = World::start();
    let cluster = world.cluster();
    let method = world.method("m");
    let file = world
        .admin
        .file("kubeconfig", &kubeconfig(cluster, cluster.admin_token()));
    world
        .admin
        .ok(&with_method(&import(&file, "imported"), &method));
    let reviewer = cluster
        .legacy_token("default", "postern-reviewer", "postern-reviewer-token")
        .unwrap();
    // As a kubeconfig of its own it can't even do what made it.
    let own = world
        .admin
        .file("reviewer", &kubeconfig(cluster, &reviewer));
    world
        .admin
        .run(&with_method(&import(&own, "another"), &method))
        .fails(1, &["cannot patch", "cluster-admin"]);
}

#[test]
fn a_dry_run_shows_what_would_be_applied_and_changes_nothing() {
    let world = World::start();
    let cluster = world.cluster();
    let file = world
        .admin
        .file("kubeconfig", &kubeconfig(cluster, cluster.admin_token()));
    let dry = [&import(&file, "imported")[..], &["--dry-run"]].concat();
    let text = world.admin.ok(&dry);
    let objects = yaml(&text);
    let kinds: Vec<_> = objects
        .iter()
        .map(|o| o["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "Secret"
        ]
    );
    assert!(text.contains(cluster.issuer()), "{text}");
    let list = world.admin.json(&dry);
    assert_eq!(list["items"].as_array().unwrap().len(), 4);
    assert_eq!(writes(cluster), 0);
    let configs = world.admin.json(&["k8s-auth-config", "list"]);
    assert_eq!(configs["k8s_auth_configs"].as_array().unwrap().len(), 0);
}

fn yaml(text: &str) -> Vec<Value> {
    let documents = text.split("---\n");
    documents
        .map(|document| serde_norway::from_str(document).unwrap())
        .collect()
}

#[test]
fn what_an_import_lacks_is_said_before_anything_is_made() {
    let world = World::start();
    let cluster = world.cluster();
    let file = world
        .admin
        .file("kubeconfig", &kubeconfig(cluster, cluster.admin_token()));
    let import = import(&file, "imported");
    world
        .admin
        .run(&import)
        .fails(2, &["--access-id", "--signing-key"]);
    let short = [&import[..], &["--token-duration", "1m"]].concat();
    world.admin.run(&short).fails(2, &["less than 10 minutes"]);
    let context = [&import[..], &["--context", "other"]].concat();
    world
        .admin
        .run(&context)
        .fails(2, &["no context `other`; it has test"]);
    let method = world.method("m");
    let wrong = world
        .admin
        .file("wrong", &kubeconfig(cluster, "no-such-token"));
    world
        .admin
        .run(&with_method(&self::import(&wrong, "imported"), &method))
        .fails(1, &["doesn't accept the kubeconfig's credential"]);
    assert_eq!(writes(cluster), 0);
}

#[test]
fn a_reviewers_manifest_is_what_kubectl_takes_and_grants_the_least() {
    let admin = crate::support::Cli::new();
    let objects = yaml(&admin.ok(&["manifest", "reviewer", "--namespace", "postern"]));
    assert_eq!(objects.len(), 4);
    assert_eq!(objects[0]["metadata"]["namespace"], "postern");
    let rules = objects[1]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0]["resources"], serde_json::json!(["tokenreviews"]));
    let all = [
        "manifest",
        "reviewer",
        "--with-namespaces",
        "--with-discovery",
        "--token=token-request",
    ];
    let text = admin.ok(&all);
    assert!(
        text.contains("kubectl create token postern-reviewer"),
        "{text}"
    );
    assert_eq!(yaml(&text).len(), 3, "no Secret");
    admin
        .run(&["manifest", "reviewer", "--namespace", "a/b"])
        .fails(2, &["--namespace"]);
}

#[test]
fn an_answer_without_an_end_is_a_fault_of_an_import_and_is_not_cut() {
    let world = World::start();
    let cluster = world.cluster();
    let method = world.method("m");
    let file = kubeconfig(cluster, cluster.admin_token());
    let file = world.admin.file("kubeconfig", &file);
    let issuer = "/.well-known/openid-configuration";
    cluster.set_fault_at(issuer, kube_sim::Fault::EndlessBody);
    let output = world
        .admin
        .run(&with_method(&import(&file, "endless"), &method));
    output.fails(3, &["answers with more than 1048576 bytes"]);
}
