//! Who may ask for a review, and how.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{BINDINGS, REVIEWS, ROLES, Reply, Server};
use crate::token;

async fn review_as(server: &Server, reviewer: Option<&str>, token: &str) -> Reply {
    server
        .as_bearer(
            reviewer,
            Method::POST,
            REVIEWS,
            json!({ "spec": { "token": token } }),
        )
        .await
}

/// As in the tutorial: a service account, its binding, and the token of its Secret.
pub(crate) async fn a_delegated_reviewer_reviews(server: &Server) {
    let namespace = server.namespace().await;
    server.service_account(&namespace, "reviewer").await;
    let (reviewer, _) = server
        .secret_token(&namespace, "reviewer", "reviewer-token")
        .await;
    let binding = server.name();
    let body = json!({
        "metadata": { "name": binding },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator" },
        "subjects": [{ "kind": "ServiceAccount", "name": "reviewer", "namespace": namespace }],
    });
    server.make(BINDINGS, body).await;
    server.remember(format!("{BINDINGS}/{binding}"));

    let token = server.token(&namespace, "default", json!({})).await;
    let allowed = async || review_as(server, Some(&reviewer), &token).await.code == 201;
    server.until("the permission", allowed).await;
    let reply = review_as(server, Some(&reviewer), &token).await;
    assert_eq!(
        reply.body["status"]["authenticated"], true,
        "{}",
        reply.text
    );
    assert_eq!(reply.body["spec"]["token"], token);

    // Nothing else is allowed.
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets/reviewer-token");
    let reply = server
        .as_bearer(Some(&reviewer), Method::GET, &secrets, Value::Null)
        .await;
    let message = format!(
        "secrets \"reviewer-token\" is forbidden: User \"system:serviceaccount:{namespace}:reviewer\" cannot get \
         resource \"secrets\" in API group \"\" in the namespace \"{namespace}\""
    );
    reply.assert_refusal(
        403,
        "Forbidden",
        &message,
        json!({ "name": "reviewer-token", "kind": "secrets" }),
    );

    server.delete(&format!("{BINDINGS}/{binding}")).await;
    let forbidden = async || review_as(server, Some(&reviewer), &token).await.code == 403;
    server.until("the loss of the permission", forbidden).await;
}

/// A role of one's own, made by server-side apply, which can be said again and again.
pub(crate) async fn a_reviewer_with_a_role_of_its_own_reviews(server: &Server) {
    let namespace = server.namespace().await;
    let name = server.name();
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
    let role = format!("{ROLES}/{name}");
    let binding = format!("{BINDINGS}/{name}");
    server.remember(role.clone());
    server.remember(binding.clone());
    let rbac = "rbac.authorization.k8s.io";
    let bound_to = |role: &str| {
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": name },
            "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
        })
    };
    let may = |verbs: &[&str]| {
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": { "name": name },
            "rules": [{ "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": verbs }],
        })
    };
    let object =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } });
    for (path, object) in [
        (&account, object),
        (&role, may(&["get"])),
        (&binding, bound_to(&name)),
    ] {
        let created = server.apply(path, object.clone()).await;
        assert_eq!(created.code, 201, "{}", created.text);
        let again = server.apply(path, object).await;
        assert_eq!(again.code, 200, "{}", again.text);
        let uid = &again.body["metadata"]["uid"];
        assert_eq!(*uid, created.body["metadata"]["uid"]);
    }
    let reviewer = server.token(&namespace, &name, json!({})).await;
    let token = server.token(&namespace, "default", json!({})).await;
    let reply = review_as(server, Some(&reviewer), &token).await;
    assert_eq!(reply.code, 403, "{}", reply.text);

    let changed = server.apply(&role, may(&["create"])).await;
    assert_eq!(changed.code, 200, "{}", changed.text);
    assert_eq!(changed.body["rules"][0]["verbs"], json!(["create"]));
    let allowed = async || review_as(server, Some(&reviewer), &token).await.code == 201;
    server.until("the permission", allowed).await;
    let other = server
        .apply(&binding, bound_to("system:auth-delegator"))
        .await;
    assert_eq!(other.code, 422, "{}", other.text);
}

pub(crate) async fn a_reviewer_without_permission_is_forbidden(server: &Server) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    let message = format!(
        "tokenreviews.authentication.k8s.io is forbidden: User \"system:serviceaccount:{namespace}:default\" cannot \
         create resource \"tokenreviews\" in API group \"authentication.k8s.io\" at the cluster scope"
    );
    let details = json!({ "group": "authentication.k8s.io", "kind": "tokenreviews" });
    review_as(server, Some(&token), &token)
        .await
        .assert_refusal(403, "Forbidden", &message, details);
}

pub(crate) async fn a_reviewer_with_a_bad_token_is_unauthorized(server: &Server) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    let other_audience = server
        .token(&namespace, "default", json!({ "audiences": ["vault"] }))
        .await;
    for bad in ["x", &token::with_wrong_signature(&token), &other_audience] {
        let reply = review_as(server, Some(bad), &token).await;
        reply.assert_refusal(401, "Unauthorized", "Unauthorized", Value::Null);
    }
}

pub(crate) async fn an_anonymous_reviewer_is_forbidden(server: &Server) {
    let message = "tokenreviews.authentication.k8s.io is forbidden: User \"system:anonymous\" cannot create resource \
                   \"tokenreviews\" in API group \"authentication.k8s.io\" at the cluster scope";
    let details = json!({ "group": "authentication.k8s.io", "kind": "tokenreviews" });
    review_as(server, None, "x")
        .await
        .assert_refusal(403, "Forbidden", message, details);
}

pub(crate) async fn bad_requests_are_refused(server: &Server) {
    let message = "token is required for TokenReview in authentication";
    let empty = server
        .post(REVIEWS, json!({ "spec": { "token": "" } }))
        .await;
    empty.assert_refusal(400, "BadRequest", message, Value::Null);
    let missing = server.post(REVIEWS, json!({ "kind": "TokenReview" })).await;
    assert_eq!(
        (missing.code, &missing.body["reason"]),
        (400, &json!("BadRequest")),
        "{}",
        missing.text
    );
    let other_kind = json!({ "kind": "Pod", "apiVersion": "v1", "spec": { "token": "x" } });
    let reply = server.post(REVIEWS, other_kind).await;
    assert_eq!(
        (reply.code, &reply.body["reason"]),
        (400, &json!("BadRequest")),
        "{}",
        reply.text
    );
}
