//! What a review says of tokens that are fine, and of what isn't a token for this server.

use serde_json::json;

use crate::server::{Server, assert_refused};
use crate::token;

pub(crate) async fn a_pod_bound_token(server: &Server) {
    let namespace = server.namespace().await;
    let account_uid = server.service_account(&namespace, "robot").await;
    let pod_uid = server.pod(&namespace, "mypod1", "robot").await;
    let token = server.pod_token(&namespace, "robot", "mypod1").await;
    let (_, claims) = token::decode(&token);
    let expected = json!({
        "authenticated": true,
        "user": {
            "username": format!("system:serviceaccount:{namespace}:robot"),
            "uid": account_uid,
            "groups": [
                "system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated",
            ],
            "extra": {
                "authentication.kubernetes.io/credential-id": [format!("JTI={}", claims["jti"].as_str().unwrap())],
                "authentication.kubernetes.io/pod-name": ["mypod1"],
                "authentication.kubernetes.io/pod-uid": [pod_uid],
            },
        },
        "audiences": [server.issuer],
    });
    assert_eq!(server.review(&token, &[]).await, expected);
}

pub(crate) async fn a_token_without_a_pod(server: &Server) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    let status = server.review(&token, &[]).await;
    assert_eq!(status["authenticated"], true);
    assert_eq!(
        status["user"]["username"],
        format!("system:serviceaccount:{namespace}:default")
    );
    let (_, claims) = token::decode(&token);
    let credential = format!("JTI={}", claims["jti"].as_str().unwrap());
    assert_eq!(
        status["user"]["extra"],
        json!({ "authentication.kubernetes.io/credential-id": [credential] })
    );
}

pub(crate) async fn audiences_are_intersected(server: &Server) {
    let namespace = server.namespace().await;
    let token = server
        .token(
            &namespace,
            "default",
            json!({ "audiences": ["a", "b", "c"] }),
        )
        .await;
    let status = server.review(&token, &["c", "x", "b"]).await;
    assert_eq!(status["authenticated"], true);
    assert_eq!(
        status["audiences"],
        json!(["c", "b"]),
        "in the order of the request"
    );

    let own = server
        .token(
            &namespace,
            "default",
            json!({ "audiences": ["a", server.issuer] }),
        )
        .await;
    assert_eq!(
        server.review(&own, &[]).await["audiences"],
        json!([server.issuer])
    );
}

pub(crate) async fn a_token_for_another_audience_is_refused(server: &Server) {
    let namespace = server.namespace().await;
    let token = server
        .token(
            &namespace,
            "default",
            json!({ "audiences": ["vault", "other"] }),
        )
        .await;
    let issuer = &server.issuer;
    let prefix = "[invalid bearer token, token audiences [\"vault\" \"other\"] is invalid for the target audiences";
    assert_refused(
        &server.review(&token, &[]).await,
        &format!("{prefix} [\"{issuer}\"]]"),
    );
    assert_refused(
        &server.review(&token, &["postern", "x"]).await,
        &format!("{prefix} [\"postern\" \"x\"]]"),
    );
}

pub(crate) async fn what_is_no_token_is_refused(server: &Server) {
    for garbage in [
        "x",
        "a.b.c",
        "..",
        "eyJhbGciOiJSUzI1NiJ9.e30.",
        "{\"payload\":\"\"}",
        "é",
    ] {
        assert_refused(&server.review(garbage, &[]).await, "invalid bearer token");
    }
}

/// The review of a blank token is a yes, for a user who is no service account.
pub(crate) async fn a_token_after_a_blank_is_an_anonymous_user(server: &Server) {
    let anonymous = |audiences| {
        json!({
            "authenticated": true,
            "user": { "username": "system:anonymous", "groups": ["system:unauthenticated"] },
            "audiences": audiences,
        })
    };
    assert_eq!(
        server.review(" x", &[]).await,
        anonymous(json!([server.issuer]))
    );
    assert_eq!(server.review(" ", &["a"]).await, anonymous(json!(["a"])));
}

pub(crate) async fn what_follows_a_blank_is_not_looked_at(server: &Server) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    assert_eq!(
        server.review(&format!("{token} and more"), &[]).await["authenticated"],
        true
    );
}
