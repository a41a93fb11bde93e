//! What a verifier reads after a review: the namespace and the service account.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{BINDINGS, ROLES, Reply, Server};

/// The token of a service account that may read namespaces and service accounts.
async fn a_reader(server: &Server) -> (String, String) {
    let namespace = server.namespace().await;
    server.service_account(&namespace, "reader").await;
    let name = server.name();
    let role = json!({
        "metadata": { "name": name },
        "rules": [{ "apiGroups": [""], "resources": ["namespaces", "serviceaccounts"], "verbs": ["get"] }],
    });
    server.make(ROLES, role).await;
    server.remember(format!("{ROLES}/{name}"));
    let binding = json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": "reader", "namespace": namespace }],
    });
    server.make(BINDINGS, binding).await;
    server.remember(format!("{BINDINGS}/{name}"));
    let token = server.token(&namespace, "reader", json!({})).await;
    (namespace, token)
}

async fn get(server: &Server, token: &str, path: &str) -> Reply {
    server
        .as_bearer(Some(token), Method::GET, path, Value::Null)
        .await
}

pub(crate) async fn a_reader_reads_namespaces_and_accounts_and_nothing_else(server: &Server) {
    let (namespace, reader) = a_reader(server).await;
    let path = format!("/api/v1/namespaces/{namespace}");
    let allowed = async || get(server, &reader, &path).await.code == 200;
    server.until("the permission", allowed).await;
    let found = get(server, &reader, &path).await.body;
    assert_eq!(found["kind"], "Namespace");
    assert_eq!(found["metadata"]["name"], namespace);
    let labels = json!({ "kubernetes.io/metadata.name": namespace });
    assert_eq!(found["metadata"]["labels"], labels);

    let account = get(server, &reader, &format!("{path}/serviceaccounts/default")).await;
    assert_eq!(
        (account.code, &account.body["kind"]),
        (200, &json!("ServiceAccount"))
    );
    assert_eq!(account.body["metadata"]["name"], "default");
    assert_eq!(account.body["metadata"]["namespace"], namespace);
    assert!(account.body["metadata"]["uid"].is_string());

    let missing = get(server, &reader, &format!("{path}/serviceaccounts/nobody")).await;
    let details = json!({ "name": "nobody", "kind": "serviceaccounts" });
    missing.assert_refusal(
        404,
        "NotFound",
        "serviceaccounts \"nobody\" not found",
        details,
    );
    let nowhere = server.name();
    let missing = get(server, &reader, &format!("/api/v1/namespaces/{nowhere}")).await;
    let message = format!("namespaces \"{nowhere}\" not found");
    let details = json!({ "name": nowhere, "kind": "namespaces" });
    missing.assert_refusal(404, "NotFound", &message, details);

    for other in ["/secrets/a", "/pods/a"] {
        let reply = get(server, &reader, &format!("{path}{other}")).await;
        assert_eq!(reply.code, 403, "{other}: {}", reply.text);
    }
}

pub(crate) async fn who_may_only_review_reads_neither(server: &Server) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    let who = format!("system:serviceaccount:{namespace}:default");
    let path = format!("/api/v1/namespaces/{namespace}");
    let message = format!(
        "namespaces \"{namespace}\" is forbidden: User \"{who}\" cannot get resource \"namespaces\" in API group \"\" \
         in the namespace \"{namespace}\""
    );
    let details = json!({ "name": namespace, "kind": "namespaces" });
    get(server, &token, &path)
        .await
        .assert_refusal(403, "Forbidden", &message, details);
    let message = format!(
        "serviceaccounts \"default\" is forbidden: User \"{who}\" cannot get resource \"serviceaccounts\" in API \
         group \"\" in the namespace \"{namespace}\""
    );
    let details = json!({ "name": "default", "kind": "serviceaccounts" });
    get(server, &token, &format!("{path}/serviceaccounts/default"))
        .await
        .assert_refusal(403, "Forbidden", &message, details);
}

pub(crate) async fn a_namespaces_labels_change(server: &Server) {
    let namespace = server.namespace().await;
    let path = format!("/api/v1/namespaces/{namespace}");
    let own = json!({ "kubernetes.io/metadata.name": namespace });
    for (change, expected) in [
        (
            json!({ "team": "a", "env": "dev" }),
            json!({ "team": "a", "env": "dev" }),
        ),
        (json!({ "team": "b", "env": null }), json!({ "team": "b" })),
        (json!({ "team": null }), json!({})),
    ] {
        let patch = json!({ "metadata": { "labels": change } });
        let reply = server.merge(&path, patch).await;
        assert_eq!(reply.code, 200, "{}", reply.text);
        let mut labels = server.get(&path).await.body["metadata"]["labels"].clone();
        assert_eq!(reply.body["metadata"]["labels"], labels);
        let name = labels
            .as_object_mut()
            .unwrap()
            .remove("kubernetes.io/metadata.name");
        assert_eq!(name.as_ref(), own.get("kubernetes.io/metadata.name"));
        assert_eq!(labels, expected);
    }
}

/// A verifier that follows nothing but its own API server's host finds the keys there.
pub(crate) async fn a_reviewer_reads_the_keys_on_the_api_servers_own_host(server: &Server) {
    let namespace = server.namespace().await;
    server.service_account(&namespace, "reviewer").await;
    let (legacy, _) = server
        .secret_token(&namespace, "reviewer", "reviewer-token")
        .await;
    let bound = server.token(&namespace, "reviewer", json!({})).await;
    for token in [&legacy, &bound] {
        let document = get(server, token, "/.well-known/openid-configuration").await;
        assert_eq!(document.code, 200, "{}", document.text);
        assert_eq!(document.body["issuer"], server.issuer);
        let keys = get(server, token, "/openid/v1/jwks").await;
        assert_eq!(keys.code, 200, "{}", keys.text);
        assert!(!keys.body["keys"].as_array().unwrap().is_empty());
    }
    for (path, own, other) in [
        (
            "/.well-known/openid-configuration",
            "application/json",
            "application/jwk-set+json",
        ),
        (
            "/openid/v1/jwks",
            "application/jwk-set+json",
            "application/json",
        ),
    ] {
        let reply = get(server, "eyJ.wrong.token", path).await;
        assert_eq!(reply.code, 401, "{}", reply.text);
        for accept in [own, "*/*", "application/json, application/jwk-set+json"] {
            let reply = server.accepting(&bound, accept, path).await;
            assert_eq!(
                (reply.code, reply.content_type.as_str()),
                (200, own),
                "{accept}"
            );
        }
        let message = format!("406: Not Acceptable\n\nAvailable representations: {own}");
        let reply = server.accepting(&bound, other, path).await;
        reply.assert_refusal(406, "NotAcceptable", &message, json!({}));
    }
}
