//! Tokens whose pod, secret or service account goes away.
//!
//! A real server sees a deletion a moment later, and remembers a yes for ten seconds. So the tokens are made before the
//! deletion, and each is reviewed once.

use serde_json::Value;

use crate::server::{Server, assert_refused, bound_to, token_secret};

const MANY: usize = 40;

async fn tokens(server: &Server, namespace: &str, account: &str, spec: Value) -> Vec<String> {
    let first = server.token(namespace, account, spec.clone()).await;
    assert_eq!(
        server.review(&first, &[]).await["authenticated"],
        true,
        "good before the deletion"
    );
    let mut tokens = Vec::new();
    for _ in 0..MANY {
        tokens.push(server.token(namespace, account, spec.clone()).await);
    }
    tokens
}

pub(crate) async fn a_deleted_pod_ends_its_tokens(server: &Server) {
    let namespace = server.namespace().await;
    server.pod(&namespace, "mypod1", "default").await;
    let tokens = tokens(server, &namespace, "default", bound_to("Pod", "mypod1")).await;
    server
        .delete(&format!("/api/v1/namespaces/{namespace}/pods/mypod1"))
        .await;
    let error = "[invalid bearer token, service account token has been invalidated]";
    assert_refused(&server.first_refusal(tokens).await, error);
}

pub(crate) async fn a_recreated_pod_does_not_revive_its_tokens(server: &Server) {
    let namespace = server.namespace().await;
    let old = server.pod(&namespace, "mypod1", "default").await;
    let mut tokens = tokens(server, &namespace, "default", bound_to("Pod", "mypod1")).await;
    server
        .delete(&format!("/api/v1/namespaces/{namespace}/pods/mypod1"))
        .await;
    let new = server.pod(&namespace, "mypod1", "default").await;
    assert_ne!(old, new);
    let fresh = server.pod_token(&namespace, "default", "mypod1").await;
    server
        .until("a review that knows the new pod", async || {
            server.review(&fresh, &[]).await["authenticated"] == true
        })
        .await;
    let error = format!(
        "[invalid bearer token, pod UID ({new}) does not match service account pod ref claim ({old})]"
    );
    let unseen = tokens.pop().unwrap();
    assert_refused(&server.review(&unseen, &[]).await, &error);
}

pub(crate) async fn a_deleted_service_account_ends_its_tokens(server: &Server) {
    let namespace = server.namespace().await;
    server.service_account(&namespace, "robot").await;
    let tokens = tokens(server, &namespace, "robot", Value::Null).await;
    server
        .delete(&format!(
            "/api/v1/namespaces/{namespace}/serviceaccounts/robot"
        ))
        .await;
    let error = "[invalid bearer token, serviceaccounts \"robot\" not found]";
    assert_refused(&server.first_refusal(tokens).await, error);
}

pub(crate) async fn a_recreated_service_account_does_not_revive_its_tokens(server: &Server) {
    let namespace = server.namespace().await;
    let old = server.service_account(&namespace, "robot").await;
    let mut tokens = tokens(server, &namespace, "robot", Value::Null).await;
    server
        .delete(&format!(
            "/api/v1/namespaces/{namespace}/serviceaccounts/robot"
        ))
        .await;
    let new = server.service_account(&namespace, "robot").await;
    assert_ne!(old, new);
    let fresh = server.token(&namespace, "robot", Value::Null).await;
    server
        .until("a review that knows the new account", async || {
            server.review(&fresh, &[]).await["authenticated"] == true
        })
        .await;
    let error =
        format!("[invalid bearer token, service account UID ({new}) does not match claim ({old})]");
    assert_refused(&server.review(&tokens.pop().unwrap(), &[]).await, &error);
}

pub(crate) async fn a_deleted_bound_secret_ends_its_tokens(server: &Server) {
    let namespace = server.namespace().await;
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    server
        .make(&secrets, token_secret("default", "anchor"))
        .await;
    let tokens = tokens(server, &namespace, "default", bound_to("Secret", "anchor")).await;
    server.delete(&format!("{secrets}/anchor")).await;
    let error = "[invalid bearer token, service account token has been invalidated]";
    assert_refused(&server.first_refusal(tokens).await, error);
}
