//! Tokens that end with their pods.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::bed::{Bed, block_on};
use crate::support::eventually;

const IN_TIME: Duration = Duration::from_secs(5);

/// As its administrator does.
fn kubectl(bed: &Bed, verb: &str, manifests: &str) {
    let kubeconfig = std::env::var("POSTERN_TEST_KUBECONFIG").unwrap();
    let mut kubectl = Command::new("kubectl")
        .args([verb, "-f", "-", "--kubeconfig", &kubeconfig])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = kubectl.stdin.take().unwrap();
    stdin.write_all(manifests.as_bytes()).unwrap();
    drop(stdin);
    assert!(kubectl.wait().unwrap().success(), "{verb} for {}", bed.host);
}

fn events(bed: &Bed, kind: &str) -> Vec<Value> {
    let list = bed.world.admin.json(&["audit", "list", "--limit=500"]);
    let events = list["audit_events"].as_array().unwrap().clone();
    events.into_iter().filter(|e| e["event"] == kind).collect()
}

#[test]
fn a_pods_deletion_revokes_its_tokens_by_rights_in_its_namespace_alone() {
    if !kubectl_is_there() {
        return;
    }
    let Some(bed) = Bed::shared() else { return };
    let (namespace, reviewers) = (bed.namespace(), bed.namespace());
    let manifest = [
        "manifest",
        "reviewer",
        "--namespace",
        reviewers.name(),
        "--name=watcher",
        "--pods-of",
        namespace.name(),
    ];
    let manifests = bed.world.admin.ok(&manifest);
    kubectl(&bed, "apply", &manifests);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    for kind in ["clusterroles", "clusterrolebindings"] {
        let object = format!("{rbac}/{kind}/postern:{}:watcher", reviewers.name());
        bed.server.remember(object);
    }
    let reviewer = bed.token(&reviewers, "watcher", serde_json::json!({}));
    let method = ["--revoke-with-pod", "--bound-namespaces", namespace.name()];
    let config = [
        "--token-reviewer-jwt",
        &reviewer,
        "--k8s-issuer",
        &bed.server.issuer,
    ];
    let method = bed.route_by("ending", &method, &config);
    eventually("watched pods", Duration::from_secs(30), || {
        let shown = bed
            .world
            .admin
            .json(&["k8s-auth-config", "get", "-n", "ending"]);
        let conditions = shown["conditions"].as_array().unwrap();
        let watched = |c: &&Value| c["type"] == "CONDITION_TYPE_PODS_WATCHED";
        let condition = conditions.iter().find(watched)?;
        (condition["reason"] == "WATCHED").then_some(())
    });
    let uid_of = |pod: &str| {
        let token = bed.pod(&namespace, pod);
        bed.eventually_admits(&method, &token);
        bed.granted(&method)[0]["facts"]["pod_uid"].clone()
    };
    let (gone, stays) = (uid_of("goes"), uid_of("stays"));
    bed.delete(&namespace, "pods", "goes");
    let resource = format!("pods/{}", gone.as_str().unwrap());
    eventually("the revocation", IN_TIME, || {
        let revoked = events(&bed, "tokens.revoked_with_pod");
        revoked
            .iter()
            .any(|e| e["resource"] == *resource)
            .then_some(())
    });
    let others = format!("pods/{}", stays.as_str().unwrap());
    let revoked = events(&bed, "tokens.revoked_with_pod");
    assert!(!revoked.iter().any(|e| e["resource"] == *others));

    // Of other namespaces it sees no pods.
    let elsewhere = format!("/api/v1/namespaces/{}/pods", reviewers.name());
    let get = reqwest::Method::GET;
    let asked = bed
        .server
        .as_bearer(Some(&reviewer), get, &elsewhere, Value::Null);
    assert_eq!(block_on(asked).code, 403);
}

/// It is, in a cluster that `tests/kubernetes/cluster` started.
fn kubectl_is_there() -> bool {
    let version = Command::new("kubectl")
        .args(["version", "--client"])
        .output();
    version.is_ok_and(|output| output.status.success())
}
