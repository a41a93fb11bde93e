//! What service-account tokens say: the claims of bound and of legacy tokens.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::objects::{Objects, Resource, text, uid};

/// The issuer of tokens that live in a Secret. It is the same on every cluster.
pub(crate) const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

const TOKEN_REQUEST: &str = "TokenRequest.authentication.k8s.io";
const DEFAULT_LIFETIME: i64 = 3600;
/// What a kubelet asks for. A pod-bound token for the API server then lives a year, and warns from here on.
pub(crate) const PROJECTED_LIFETIME: i64 = 3607;
const EXTENDED_LIFETIME: i64 = 365 * 24 * 3600;

/// What [`KubeSim::create_token`](crate::KubeSim::create_token) puts into a token.
#[derive(Clone, Debug, Default)]
pub struct TokenOptions {
    /// The pod, of the same namespace and service account, that the token is bound to.
    pub pod: Option<String>,
    /// Empty: the API server's own audience, which is the issuer.
    pub audiences: Vec<String>,
    /// One hour by default; whole seconds. Lifetimes under ten minutes, which the HTTP API refuses, are possible.
    pub expiration: Option<Duration>,
}

/// The `spec` of a TokenRequest.
pub(crate) struct TokenSpec {
    pub(crate) audiences: Vec<String>,
    pub(crate) lifetime: i64,
    bound: Option<Bound>,
}

/// A reference to the object that a token is bound to; an empty UID matches any.
struct Bound {
    group: String,
    version: String,
    kind: String,
    name: String,
    uid: String,
}

impl TokenSpec {
    pub(crate) fn new(options: &TokenOptions) -> Self {
        let lifetime = options.expiration.map_or(DEFAULT_LIFETIME, |d| {
            i64::try_from(d.as_secs()).unwrap_or(i64::MAX)
        });
        let bound = options.pod.as_ref().map(|pod| Bound {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.clone(),
            uid: String::new(),
        });
        Self {
            audiences: options.audiences.clone(),
            lifetime,
            bound,
        }
    }

    /// Reads the `spec` of a request, with the limits of the real API.
    pub(crate) fn parse(spec: &Value) -> Result<Self, ApiError> {
        let lifetime = match &spec["expirationSeconds"] {
            Value::Null => DEFAULT_LIFETIME,
            seconds => seconds
                .as_i64()
                .ok_or_else(|| ApiError::bad_request("spec.expirationSeconds is not an integer"))?,
        };
        let fault = match lifetime {
            ..600 => Some("may not specify a duration less than 10 minutes"),
            4_294_967_297.. => Some("may not specify a duration larger than 2^32 seconds"),
            _ => None,
        };
        if let Some(fault) = fault {
            let body = format!("Invalid value: {lifetime}: {fault}");
            return Err(ApiError::invalid(
                TOKEN_REQUEST,
                "",
                "spec.expirationSeconds",
                "FieldValueInvalid",
                &body,
            ));
        }
        let reference = &spec["boundObjectRef"];
        let bound = reference.is_object().then(|| {
            let given = text(reference, "/apiVersion");
            let (group, version) = given.split_once('/').unwrap_or(("", given));
            Bound {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: text(reference, "/kind").to_owned(),
                name: text(reference, "/name").to_owned(),
                uid: text(reference, "/uid").to_owned(),
            }
        });
        Ok(Self {
            audiences: strings(&spec["audiences"]),
            lifetime,
            bound,
        })
    }
}

/// The strings of a JSON list; a lone string counts as a list of one, as in `aud`.
pub(crate) fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// The claims of a bound token for the account `name` of `namespace`.
pub(crate) fn bound_claims(
    objects: &Objects,
    (namespace, name): (&str, &str),
    spec: &TokenSpec,
    issuer: &str,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let account = objects
        .get(Resource::ServiceAccounts, namespace, name)
        .ok_or_else(|| ApiError::not_found(Resource::ServiceAccounts, name))?;
    let mut kubernetes = json!({
        "namespace": namespace,
        "serviceaccount": { "name": name, "uid": uid(account) },
    });
    if let Some(bound) = &spec.bound {
        bind(&mut kubernetes, objects, (namespace, name), bound)?;
    }

    let now = now.as_second();
    let mut lifetime = spec.lifetime;
    let for_api_server = spec.audiences.iter().all(|audience| audience == issuer);
    if !kubernetes["pod"].is_null() && for_api_server && lifetime == PROJECTED_LIFETIME {
        kubernetes["warnafter"] = json!(now.saturating_add(lifetime));
        lifetime = EXTENDED_LIFETIME;
    }
    let audiences = if spec.audiences.is_empty() {
        vec![issuer.to_owned()]
    } else {
        spec.audiences.clone()
    };
    Ok(json!({
        "iss": issuer,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "aud": audiences,
        "iat": now,
        "nbf": now,
        "exp": now.saturating_add(lifetime),
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": kubernetes,
    }))
}

/// Adds the claims about the object that a token is bound to.
fn bind(
    kubernetes: &mut Value,
    objects: &Objects,
    (namespace, account): (&str, &str),
    bound: &Bound,
) -> Result<(), ApiError> {
    let (resource, claim) = match (bound.group.as_str(), bound.kind.as_str()) {
        ("", "Pod") => (Resource::Pods, "pod"),
        ("", "Node") => (Resource::Nodes, "node"),
        ("", "Secret") => (Resource::Secrets, "secret"),
        (group, kind) => {
            let version = &bound.version;
            return Err(ApiError::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let of = if resource.namespaced() { namespace } else { "" };
    let object = objects
        .get(resource, of, &bound.name)
        .ok_or_else(|| ApiError::not_found(resource, &bound.name))?;
    if resource == Resource::Pods {
        if text(object, "/spec/serviceAccountName") != account {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        let node = text(object, "/spec/nodeName");
        if !node.is_empty() {
            kubernetes["node"] = json!({ "name": node });
            if let Some(node) = objects.get(Resource::Nodes, "", node) {
                kubernetes["node"]["uid"] = json!(uid(node));
            }
        }
    }
    if !bound.uid.is_empty() && bound.uid != uid(object) {
        return Err(ApiError::uid_conflict(&bound.kind, &bound.name, &bound.uid));
    }
    kubernetes[claim] = json!({ "name": bound.name, "uid": uid(object) });
    Ok(())
}

/// The claims of a token that lives in a Secret, and never expires.
pub(crate) fn legacy_claims(namespace: &str, account: &Value, secret: &str) -> Value {
    let name = text(account, "/metadata/name");
    json!({
        "iss": LEGACY_ISSUER,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": uid(account),
    })
}
