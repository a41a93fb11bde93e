//! What TokenRequest gives, and what verifies it.

use std::collections::BTreeSet;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, bound_to};
use crate::token;

fn keys(object: &Value) -> BTreeSet<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

pub(crate) async fn claims_have_the_layout_of_bound_tokens(server: &Server) {
    let namespace = server.namespace().await;
    let account_uid = server.service_account(&namespace, "robot").await;
    let pod_uid = server.pod(&namespace, "mypod1", "robot").await;
    let mut spec = bound_to("Pod", "mypod1");
    spec["audiences"] = json!(["vault"]);
    spec["expirationSeconds"] = json!(1200);
    let reply = server.request_token(&namespace, "robot", spec).await;
    assert_eq!(
        (reply.code, &reply.body["kind"]),
        (201, &json!("TokenRequest")),
        "{}",
        reply.text
    );
    assert_eq!(reply.body["apiVersion"], "authentication.k8s.io/v1");
    assert_eq!(reply.body["metadata"]["name"], "robot");
    assert_eq!(reply.body["spec"]["expirationSeconds"], 1200);
    assert_eq!(reply.body["spec"]["audiences"], json!(["vault"]));

    let (header, claims) = token::decode(reply.body["status"]["token"].as_str().unwrap());
    assert_eq!(keys(&header), BTreeSet::from(["alg", "kid"]));
    assert_eq!(header["alg"], "RS256");
    assert_eq!(
        keys(&claims),
        BTreeSet::from([
            "aud",
            "exp",
            "iat",
            "iss",
            "jti",
            "kubernetes.io",
            "nbf",
            "sub"
        ])
    );
    assert_eq!(claims["iss"], server.issuer);
    assert_eq!(
        claims["sub"],
        format!("system:serviceaccount:{namespace}:robot")
    );
    assert_eq!(claims["aud"], json!(["vault"]));
    let issued = claims["iat"].as_i64().unwrap();
    assert_eq!(
        (claims["nbf"].as_i64(), claims["exp"].as_i64()),
        (Some(issued), Some(issued + 1200))
    );
    let expires: jiff::Timestamp = reply.body["status"]["expirationTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (issued + 1200 - expires.as_second()).abs() <= 1,
        "{expires}"
    );
    assert_eq!(
        claims["kubernetes.io"],
        json!({
            "namespace": namespace,
            "serviceaccount": { "name": "robot", "uid": account_uid },
            "pod": { "name": "mypod1", "uid": pod_uid },
        })
    );
}

/// A kubelet asks for 3607 seconds, and for the server's own audience gets a year.
pub(crate) async fn projected_tokens_are_extended_for_the_api_server_only(server: &Server) {
    let namespace = server.namespace().await;
    server.pod(&namespace, "mypod1", "default").await;
    let mut spec = bound_to("Pod", "mypod1");
    spec["expirationSeconds"] = json!(3607);
    let (_, claims) = token::decode(&server.token(&namespace, "default", spec.clone()).await);
    let issued = claims["iat"].as_i64().unwrap();
    assert_eq!(claims["exp"], issued + 365 * 24 * 3600);
    assert_eq!(claims["kubernetes.io"]["warnafter"], issued + 3607);

    spec["audiences"] = json!(["vault"]);
    let (_, claims) = token::decode(&server.token(&namespace, "default", spec).await);
    assert_eq!(claims["exp"], claims["iat"].as_i64().unwrap() + 3607);
    assert_eq!(claims["kubernetes.io"]["warnafter"], Value::Null);
}

pub(crate) async fn a_pod_on_a_node_names_it(server: &Server) {
    let (namespace, node) = (server.namespace().await, server.name());
    let mut pod = crate::server::pod("mypod1", "default");
    pod["spec"]["nodeName"] = json!(node);
    server
        .make(&format!("/api/v1/namespaces/{namespace}/pods"), pod)
        .await;
    let before = server.pod_token(&namespace, "default", "mypod1").await;
    let extra = server.review(&before, &[]).await["user"]["extra"].clone();
    assert_eq!(
        extra["authentication.kubernetes.io/node-name"],
        json!([node])
    );
    assert_eq!(
        extra["authentication.kubernetes.io/node-uid"],
        Value::Null,
        "there is no such node"
    );

    let node_uid = server
        .make("/api/v1/nodes", json!({ "metadata": { "name": node } }))
        .await;
    server.remember(format!("/api/v1/nodes/{node}"));
    let after = server.pod_token(&namespace, "default", "mypod1").await;
    assert_eq!(
        token::decode(&after).1["kubernetes.io"]["node"],
        json!({ "name": node, "uid": node_uid })
    );
    let extra = server.review(&after, &[]).await["user"]["extra"].clone();
    assert_eq!(
        extra["authentication.kubernetes.io/node-uid"],
        json!([node_uid])
    );
}

pub(crate) async fn refusals_of_token_requests(server: &Server) {
    let namespace = server.namespace().await;
    server.service_account(&namespace, "robot").await;
    server.pod(&namespace, "mypod1", "default").await;
    let request =
        async |account: &str, spec: Value| server.request_token(&namespace, account, spec).await;

    let body = "Invalid value: 599: may not specify a duration less than 10 minutes";
    let details = json!({
        "group": "authentication.k8s.io",
        "kind": "TokenRequest",
        "causes": [{ "reason": "FieldValueInvalid", "message": body, "field": "spec.expirationSeconds" }],
    });
    let message = format!(
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: {body}"
    );
    let short = request("robot", json!({ "expirationSeconds": 599 })).await;
    short.assert_refusal(422, "Invalid", &message, details);

    let details = json!({ "name": "nobody", "kind": "serviceaccounts" });
    let nobody = request("nobody", json!({})).await;
    nobody.assert_refusal(
        404,
        "NotFound",
        "serviceaccounts \"nobody\" not found",
        details,
    );

    let details = json!({ "name": "mypod9", "kind": "pods" });
    let no_pod = request("robot", bound_to("Pod", "mypod9")).await;
    no_pod.assert_refusal(404, "NotFound", "pods \"mypod9\" not found", details);

    let message = "cannot bind token for serviceaccount \"robot\" to pod running with different serviceaccount name.";
    request("robot", bound_to("Pod", "mypod1"))
        .await
        .assert_refusal(400, "BadRequest", message, Value::Null);

    let message = "Operation cannot be fulfilled on Pod \"mypod1\": the UID in the bound object reference (other) does \
                   not match the UID in record. The object might have been deleted and then recreated";
    let mut spec = bound_to("Pod", "mypod1");
    spec["boundObjectRef"]["uid"] = json!("other");
    let details = json!({ "name": "mypod1", "kind": "Pod" });
    request("default", spec)
        .await
        .assert_refusal(409, "Conflict", message, details);

    let strange = request("robot", bound_to("ConfigMap", "x")).await;
    let message = "cannot bind token to object of type /v1, Kind=ConfigMap";
    strange.assert_refusal(400, "BadRequest", message, Value::Null);
}

pub(crate) async fn discovery_and_jwks_verify_a_token(server: &Server) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    let get = async |who: Option<&str>, path: &str| {
        server.as_bearer(who, Method::GET, path, Value::Null).await
    };

    let discovery = get(Some(&token), "/.well-known/openid-configuration").await;
    assert_eq!(
        (discovery.code, discovery.content_type.as_str()),
        (200, "application/json")
    );
    let expected = ["https://", "/openid/v1/jwks"];
    let jwks_uri = discovery.body["jwks_uri"].as_str().unwrap();
    assert!(
        jwks_uri.starts_with(expected[0]) && jwks_uri.ends_with(expected[1]),
        "{jwks_uri}"
    );
    assert_eq!(discovery.body["issuer"], server.issuer);
    assert_eq!(
        discovery.body["response_types_supported"],
        json!(["id_token"])
    );
    assert_eq!(discovery.body["subject_types_supported"], json!(["public"]));
    assert_eq!(
        discovery.body["id_token_signing_alg_values_supported"],
        json!(["RS256"])
    );

    let jwks = get(Some(&token), "/openid/v1/jwks").await;
    assert_eq!(
        (jwks.code, jwks.content_type.as_str()),
        (200, "application/jwk-set+json")
    );
    let (header, _) = token::decode(&token);
    let listed = jwks.body["keys"].as_array().unwrap();
    let key = listed
        .iter()
        .find(|key| key["kid"] == header["kid"])
        .expect("the key of the token");
    assert_eq!(
        keys(key),
        BTreeSet::from(["alg", "e", "kid", "kty", "n", "use"])
    );
    assert_eq!(
        (&key["kty"], &key["use"], &key["alg"]),
        (&json!("RSA"), &json!("sig"), &json!("RS256"))
    );
    let key =
        DecodingKey::from_rsa_components(key["n"].as_str().unwrap(), key["e"].as_str().unwrap())
            .unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_issuer(&[&server.issuer]);
    rules.set_audience(&[&server.issuer]);
    jsonwebtoken::decode::<Value>(&token, &key, &rules).unwrap();
    let altered = token::with_wrong_signature(&token);
    assert!(jsonwebtoken::decode::<Value>(&altered, &key, &rules).is_err());

    for path in ["/.well-known/openid-configuration", "/openid/v1/jwks"] {
        let message = format!("forbidden: User \"system:anonymous\" cannot get path \"{path}\"");
        get(None, path)
            .await
            .assert_refusal(403, "Forbidden", &message, json!({}));
    }
}
