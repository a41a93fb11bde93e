//! TokenReview and TokenRequest: from the body of the request to the body of the answer.

use serde_json::{Map, Value, json};

use crate::authn::{User, bearer};
use crate::cluster::Cluster;
use crate::error::ApiError;
use crate::objects::{Resource, rfc3339, text, uid};
use crate::tokens::{TokenSpec, strings};

const API_VERSION: &str = "authentication.k8s.io/v1";

pub(crate) fn token_review(cluster: &Cluster, request: &Value) -> Result<Value, ApiError> {
    check_kind(request, "TokenReview")?;
    let token = text(request, "/spec/token");
    if token.is_empty() {
        return Err(ApiError::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let audiences = strings(&request["spec"]["audiences"]);
    let status = match bearer(&format!("Bearer {token}")) {
        Some(token) => match cluster.authenticate(token, &audiences) {
            Ok((user, audiences)) => positive(&user, &audiences),
            Err(why) => json!({ "user": {}, "error": why }),
        },
        // A token that starts with a blank reads as no token at all, and that is an anonymous user.
        None if audiences.is_empty() => {
            positive(&User::anonymous(), std::slice::from_ref(&cluster.issuer))
        }
        None => positive(&User::anonymous(), &audiences),
    };
    Ok(json!({
        "kind": "TokenReview",
        "apiVersion": API_VERSION,
        "metadata": {},
        "spec": request["spec"],
        "status": status,
    }))
}

fn positive(user: &User, audiences: &[String]) -> Value {
    let mut shown = json!({ "username": user.name, "groups": user.groups });
    if !user.uid.is_empty() {
        shown["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        let extra: Map<_, _> = user
            .extra
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!([value])))
            .collect();
        shown["extra"] = Value::Object(extra);
    }
    json!({ "authenticated": true, "user": shown, "audiences": audiences })
}

pub(crate) fn token_request(
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    request: &Value,
) -> Result<Value, ApiError> {
    check_kind(request, "TokenRequest")?;
    for (field, actual) in [("name", name), ("namespace", namespace)] {
        let says = text(request, &format!("/metadata/{field}"));
        if !says.is_empty() && says != actual {
            let body = format!(
                "Invalid value: {says:?}: must match the service account {field} if specified"
            );
            let (kind, field) = (
                "TokenRequest.authentication.k8s.io",
                format!("metadata.{field}"),
            );
            return Err(ApiError::invalid(
                kind,
                name,
                &field,
                "FieldValueInvalid",
                &body,
            ));
        }
    }
    let account = cluster.get(Resource::ServiceAccounts, namespace, name)?;
    let spec = TokenSpec::parse(&request["spec"])?;
    let (token, claims) = cluster.issue((namespace, name), &spec)?;
    let now = cluster.now();
    let expires = now
        .checked_add(jiff::SignedDuration::from_secs(spec.lifetime))
        .map_err(|_| ApiError::internal("the expiration is out of range"))?;
    Ok(json!({
        "kind": "TokenRequest",
        "apiVersion": API_VERSION,
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid(&account), "creationTimestamp": rfc3339(now),
        },
        "spec": {
            "audiences": claims["aud"],
            "expirationSeconds": spec.lifetime,
            "boundObjectRef": request["spec"]["boundObjectRef"],
        },
        "status": { "token": token, "expirationTimestamp": rfc3339(expires) },
    }))
}

/// The kind and version may be left out, and must be right where they are given.
fn check_kind(request: &Value, kind: &str) -> Result<(), ApiError> {
    let fits = |pointer, wanted| matches!(text(request, pointer), given if given.is_empty() || given == wanted);
    if request.is_object() && fits("/kind", kind) && fits("/apiVersion", API_VERSION) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind})"
    )))
}
