//! The objects that tokens refer to.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, pod};

pub(crate) async fn creation_and_deletion(server: &Server) {
    let namespace = server.namespace().await;
    let found = server.get(&format!("/api/v1/namespaces/{namespace}")).await;
    assert_eq!(
        (found.code, &found.body["kind"]),
        (200, &json!("Namespace"))
    );
    assert_eq!(
        found.body["metadata"]["labels"]["kubernetes.io/metadata.name"],
        namespace
    );
    assert_eq!(found.body["status"]["phase"], "Active");

    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let mut bare = pod("mypod1", "");
    bare["spec"]
        .as_object_mut()
        .unwrap()
        .remove("serviceAccountName");
    let uid = server.make(&pods, bare).await;
    let found = server.get(&format!("{pods}/mypod1")).await.body;
    assert_eq!(
        (&found["kind"], &found["apiVersion"]),
        (&json!("Pod"), &json!("v1"))
    );
    assert_eq!(found["metadata"]["uid"], uid);
    assert_eq!(found["metadata"]["namespace"], namespace);
    assert_eq!(found["spec"]["serviceAccountName"], "default");
    server.delete(&format!("{pods}/mypod1")).await;
    let details = json!({ "name": "mypod1", "kind": "pods" });
    let gone = server.get(&format!("{pods}/mypod1")).await;
    gone.assert_refusal(404, "NotFound", "pods \"mypod1\" not found", details);

    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let before = server.get(&format!("{accounts}/default")).await.body["metadata"]["uid"].clone();
    server.delete(&format!("{accounts}/default")).await;
    let again = async || server.get(&format!("{accounts}/default")).await.code == 200;
    server.until("the default account's return", again).await;
    assert_ne!(
        server.get(&format!("{accounts}/default")).await.body["metadata"]["uid"],
        before
    );
}

pub(crate) async fn refusals_of_creation(server: &Server) {
    let namespace = server.namespace().await;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let nowhere = server.name();
    let details = json!({ "name": nowhere, "kind": "namespaces" });
    let message = format!("namespaces \"{nowhere}\" not found");
    let reply = server
        .post(
            &format!("/api/v1/namespaces/{nowhere}/pods"),
            pod("a", "default"),
        )
        .await;
    reply.assert_refusal(404, "NotFound", &message, details);

    let message = format!(
        "pods \"a\" is forbidden: error looking up service account {namespace}/nobody: serviceaccount \"nobody\" not found"
    );
    let details = json!({ "name": "a", "kind": "pods" });
    server.post(&pods, pod("a", "nobody")).await.assert_refusal(
        403,
        "Forbidden",
        &message,
        details,
    );

    server.pod(&namespace, "mypod1", "default").await;
    let details = json!({ "name": "mypod1", "kind": "pods" });
    let twice = server.post(&pods, pod("mypod1", "default")).await;
    twice.assert_refusal(
        409,
        "AlreadyExists",
        "pods \"mypod1\" already exists",
        details,
    );

    for name in ["", "Upper", "a/b", "..", &"a".repeat(254)] {
        let reply = server.post(&pods, pod(name, "default")).await;
        assert_eq!(
            (reply.code, &reply.body["reason"]),
            (422, &json!("Invalid")),
            "{name:?}: {}",
            reply.text
        );
        assert_eq!(
            reply.body["details"]["causes"][0]["field"], "metadata.name",
            "{name:?}"
        );
    }
    let mut elsewhere = pod("b", "default");
    elsewhere["metadata"]["namespace"] = json!("default");
    let message =
        "the namespace of the provided object does not match the namespace sent on the request";
    server
        .post(&pods, elsewhere)
        .await
        .assert_refusal(400, "BadRequest", message, Value::Null);

    let no_account =
        json!({ "metadata": { "name": "s" }, "type": "kubernetes.io/service-account-token" });
    let reply = server
        .post(
            &format!("/api/v1/namespaces/{namespace}/secrets"),
            no_account,
        )
        .await;
    assert_eq!(reply.code, 422, "{}", reply.text);
    let field = "metadata.annotations[kubernetes.io/service-account.name]";
    let causes =
        json!([{ "reason": "FieldValueRequired", "message": "Required value", "field": field }]);
    assert_eq!(reply.body["details"]["causes"], causes);
}

pub(crate) async fn public_paths(server: &Server) {
    let get = async |path: &str| server.as_bearer(None, Method::GET, path, Value::Null).await;
    for path in ["/livez", "/readyz", "/healthz"] {
        let reply = get(path).await;
        assert_eq!((reply.code, reply.text.as_str()), (200, "ok"), "{path}");
    }
    let version = get("/version").await;
    assert_eq!(version.code, 200);
    assert!(
        version.body["gitVersion"]
            .as_str()
            .unwrap()
            .starts_with("v1."),
        "{}",
        version.text
    );

    let namespace = get("/api/v1/namespaces/default").await;
    let message = "namespaces \"default\" is forbidden: User \"system:anonymous\" cannot get resource \"namespaces\" in \
                   API group \"\" in the namespace \"default\"";
    namespace.assert_refusal(
        403,
        "Forbidden",
        message,
        json!({ "name": "default", "kind": "namespaces" }),
    );
}
