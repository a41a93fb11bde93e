//! Tokens that live in Secrets, and never expire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::server::{Server, assert_refused, token_secret};
use crate::token;

pub(crate) async fn a_secret_token_is_reviewed_without_a_credential_id(server: &Server) {
    let namespace = server.namespace().await;
    let uid = server.service_account(&namespace, "robot").await;
    let (token, secret) = server
        .secret_token(&namespace, "robot", "robot-token")
        .await;
    let data = |key: &str| {
        String::from_utf8(
            STANDARD
                .decode(secret["data"][key].as_str().unwrap())
                .unwrap(),
        )
        .unwrap()
    };
    assert_eq!(data("namespace"), namespace);
    assert!(data("ca.crt").starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(
        secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"],
        uid
    );

    let (_, claims) = token::decode(&token);
    assert_eq!(
        claims,
        json!({
            "iss": "kubernetes/serviceaccount",
            "sub": format!("system:serviceaccount:{namespace}:robot"),
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": "robot-token",
            "kubernetes.io/serviceaccount/service-account.name": "robot",
            "kubernetes.io/serviceaccount/service-account.uid": uid,
        })
    );
    let expected = json!({
        "authenticated": true,
        "user": {
            "username": format!("system:serviceaccount:{namespace}:robot"),
            "uid": uid,
            "groups": [
                "system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated",
            ],
        },
        "audiences": [server.issuer],
    });
    assert_eq!(server.review(&token, &[]).await, expected);
    let issuer = &server.issuer;
    let error = format!(
        "[invalid bearer token, token audiences [\"{issuer}\"] is invalid for the target audiences [\"vault\"]]"
    );
    assert_refused(&server.review(&token, &["vault"]).await, &error);
}

pub(crate) async fn a_deleted_secret_ends_its_token(server: &Server) {
    let namespace = server.namespace().await;
    let (token, _) = server
        .secret_token(&namespace, "default", "old-token")
        .await;
    server
        .delete(&format!("/api/v1/namespaces/{namespace}/secrets/old-token"))
        .await;
    let refused = async || server.review(&token, &[]).await["authenticated"] == Value::Null;
    server.until("the refusal", refused).await;
    let error = "[invalid bearer token, Token has been invalidated]";
    assert_refused(&server.review(&token, &[]).await, error);
}

pub(crate) async fn a_secret_of_a_missing_account_goes_away(server: &Server) {
    let namespace = server.namespace().await;
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    server
        .make(&secrets, token_secret("nobody", "orphan"))
        .await;
    let orphan = format!("{secrets}/orphan");
    server
        .until("the removal of the secret", async || {
            server.get(&orphan).await.code == 404
        })
        .await;
}
