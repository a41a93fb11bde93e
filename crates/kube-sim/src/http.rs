//! From an HTTP request to a call on the cluster, in the order of a real API server: authentication, authorization,
//! then the resource.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::authn::{User, bearer};
use crate::cluster::Cluster;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::objects::{Resource, uid};
use crate::peer::{Connections, Peer};
use crate::pods;
use crate::rancher::Rancher;
use crate::rbac::authorize;
use crate::record::{Log, Recorded};
use crate::review::{token_request, token_review};
use crate::route::Target;
use crate::tls::Pki;

pub(crate) const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const JWK_SET: &str = "application/jwk-set+json";
const MAX_BODY: usize = 3 << 20;

pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// What every connection shares.
pub(crate) struct Api {
    pub(crate) cluster: Cluster,
    /// The URL without a path at which clients reach this server.
    pub(crate) host: String,
    /// Of TokenReviews.
    pub(crate) fault: Mutex<Fault>,
    /// By path, of everything else.
    pub(crate) faults: Mutex<HashMap<String, Fault>>,
    pub(crate) log: Mutex<Log>,
    pub(crate) pki: Pki,
    pub(crate) connections: Connections,
    /// Where it stands in for Rancher.
    pub(crate) rancher: Option<Rancher>,
    pub(crate) stopped: CancellationToken,
}

impl Api {
    /// The answer, with the cluster's own time.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Answer {
        let mut answer = self.undated(request, peer).await;
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&self.cluster.now());
        if let Some(date) = date.ok().and_then(|date| HeaderValue::from_str(&date).ok()) {
            answer.headers_mut().insert(header::DATE, date);
        }
        answer
    }

    async fn undated(self: &Arc<Self>, request: Request<Incoming>, peer: &Peer) -> Answer {
        let (mut head, body) = request.into_parts();
        if let Some(rancher) = &self.rancher
            && !rancher.enter(&mut head)
        {
            return error_answer(&ApiError::unauthorized());
        }
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(fault) if fault.is::<LengthLimitError>() => {
                return error_answer(&ApiError::too_large());
            }
            Err(_) => {
                return error_answer(&ApiError::bad_request("the request body could not be read"));
            }
        };
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let received = self.record(&head, &body);
        let (fault, success) = match received.is_review() {
            true => (
                self.fault
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone(),
                StatusCode::CREATED,
            ),
            false => (self.fault_at(received.bare_path()), StatusCode::OK),
        };
        if let Some(answer) = fault.answer(success, &self.stopped).await {
            return answer;
        }
        self.dispatch(&head, &body, &fault, peer)
            .unwrap_or_else(|refusal| error_answer(&refusal))
    }

    fn fault_at(&self, path: &str) -> Fault {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.get(path).cloned().unwrap_or_default()
    }

    fn record(&self, head: &Parts, body: &Value) -> Recorded {
        let path = head
            .uri
            .path_and_query()
            .map_or_else(String::new, ToString::to_string);
        let received = Recorded {
            method: head.method.clone(),
            path,
            headers: head.headers.clone(),
            body: body.clone(),
        };
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(received.clone());
        received
    }

    fn dispatch(
        self: &Arc<Self>,
        head: &Parts,
        body: &Value,
        fault: &Fault,
        peer: &Peer,
    ) -> Result<Answer, ApiError> {
        let user = self.caller(head, peer)?;
        let path = head.uri.path();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let target = Target::parse(&segments);
        authorize(
            &self.cluster.objects(),
            &user,
            &target.attributes(&head.method, path, pods::is_watch(head)),
        )?;
        match target {
            Target::Path => self.plain_path(head, path, fault),
            Target::Reviews => match head.method {
                Method::POST => {
                    let mut review = token_review(&self.cluster, body)?;
                    fault.spoil(&mut review["status"]);
                    Ok(json_answer(StatusCode::CREATED, &review))
                }
                _ => Err(ApiError::method_not_allowed()),
            },
            Target::Token { namespace, account } => match head.method {
                Method::POST => {
                    let request = token_request(&self.cluster, (namespace, account), body)?;
                    Ok(json_answer(StatusCode::CREATED, &request))
                }
                _ => Err(ApiError::method_not_allowed()),
            },
            Target::Object {
                resource: Resource::Pods,
                namespace,
                name: "",
            } if head.method == Method::GET => pods::answer(self, head, namespace),
            Target::Object {
                resource,
                namespace,
                name,
            } if head.method == Method::PATCH => {
                self.patch(head, (resource, namespace, name), body)
            }
            Target::Object {
                resource,
                namespace,
                name,
            } => self.object(&head.method, (resource, namespace, name), body, fault),
        }
    }

    /// By certificate first. One that isn't this cluster's is a reason to refuse, unless a token is good.
    fn caller(&self, head: &Parts, peer: &Peer) -> Result<User, ApiError> {
        if self.rancher.is_some() {
            return Ok(User::admin());
        }
        let certified = match peer.chain.as_slice() {
            [] => Ok(None),
            chain if self.pki.vouches(chain, self.cluster.now()) => Ok(peer.user()),
            _ => Err(ApiError::unauthorized()),
        };
        if let Ok(Some(user)) = certified {
            return Ok(user);
        }
        match self.bearer(head)? {
            Some(user) => Ok(user),
            None => certified.map(|_| User::anonymous()),
        }
    }

    /// `None` without a bearer token.
    fn bearer(&self, head: &Parts) -> Result<Option<User>, ApiError> {
        let Some(header) = head.headers.get(header::AUTHORIZATION) else {
            return Ok(None);
        };
        let header = header.to_str().map_err(|_| ApiError::unauthorized())?;
        let Some(token) = bearer(header) else {
            return Ok(None);
        };
        self.cluster
            .authenticate(token, &[])
            .map(|(user, _)| Some(user))
            .map_err(|_| ApiError::unauthorized())
    }

    fn plain_path(&self, head: &Parts, path: &str, fault: &Fault) -> Result<Answer, ApiError> {
        if head.method != Method::GET {
            return Err(ApiError::method_not_allowed());
        }
        let answer = match path {
            "/livez" | "/readyz" | "/healthz" => {
                text_answer(StatusCode::OK, "text/plain", "ok".to_owned())
            }
            "/version" => json_answer(StatusCode::OK, &version()),
            "/.well-known/openid-configuration" => {
                accepts(head, "application/json")?;
                let mut document = self.discovery();
                fault.spoil(&mut document);
                cached(json_answer(StatusCode::OK, &document))
            }
            "/openid/v1/jwks" => {
                accepts(head, JWK_SET)?;
                let mut jwks = self.cluster.keys().jwks();
                fault.spoil(&mut jwks);
                cached(text_answer(StatusCode::OK, JWK_SET, jwks.to_string()))
            }
            _ => return Err(ApiError::not_served()),
        };
        Ok(answer)
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.cluster.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.host),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    /// A merge patch or server-side apply, the only kinds of patch.
    fn patch(
        &self,
        head: &Parts,
        (resource, namespace, name): (Resource, &str, &str),
        body: &Value,
    ) -> Result<Answer, ApiError> {
        let kind = head.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match kind {
            "application/apply-patch+yaml" if !name.is_empty() => {}
            "application/merge-patch+json" if body.is_object() => {
                let changes = body.clone();
                let object = self.cluster.merge(resource, (namespace, name), changes)?;
                return Ok(json_answer(StatusCode::OK, &object));
            }
            _ => return Err(ApiError::of_code(415)),
        }
        let query = head.uri.query().unwrap_or_default();
        if !query
            .split('&')
            .any(|pair| pair.starts_with("fieldManager="))
        {
            return Err(ApiError::invalid(
                "PatchOptions.meta.k8s.io",
                "",
                "fieldManager",
                "FieldValueRequired",
                "Required value: is required for apply patch",
            ));
        }
        let (created, object) = self
            .cluster
            .apply(resource, (namespace, name), body.clone())?;
        let status = if created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        Ok(json_answer(status, &object))
    }

    fn object(
        &self,
        method: &Method,
        (resource, namespace, name): (Resource, &str, &str),
        body: &Value,
        fault: &Fault,
    ) -> Result<Answer, ApiError> {
        match (method.as_str(), name) {
            ("POST", "") if resource.namespaced() != namespace.is_empty() => Ok(json_answer(
                StatusCode::CREATED,
                &self.cluster.create(resource, namespace, body.clone())?,
            )),
            ("GET", name) if !name.is_empty() => {
                let mut object = self.cluster.get(resource, namespace, name)?;
                fault.spoil(&mut object);
                Ok(json_answer(StatusCode::OK, &object))
            }
            ("DELETE", name) if !name.is_empty() => {
                let removed = self.cluster.delete(resource, namespace, name)?;
                Ok(json_answer(
                    StatusCode::OK,
                    &deleted(resource, name, removed),
                ))
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }
}

/// The documents about the issuer have one media type each. Weights and parameters aren't looked at.
fn accepts(head: &Parts, media_type: &str) -> Result<(), ApiError> {
    let Some(accept) = head.headers.get(header::ACCEPT) else {
        return Ok(());
    };
    let accept = accept.to_str().unwrap_or_default();
    let accepted =
        |range: &str| matches!(range.trim(), "*/*" | "application/*") || range.trim() == media_type;
    match accept.split(',').any(accepted) {
        true => Ok(()),
        false => Err(ApiError::not_acceptable(media_type)),
    }
}

/// Some resources answer a deletion with the object, the others with a `Status`.
fn deleted(resource: Resource, name: &str, removed: Value) -> Value {
    if matches!(
        resource,
        Resource::Namespaces | Resource::Pods | Resource::ServiceAccounts
    ) {
        return removed;
    }
    let mut details = resource.details(name);
    details["uid"] = json!(uid(&removed));
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.3+kube-sim", "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
    })
}

fn cached(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    answer
}

fn error_answer(error: &ApiError) -> Answer {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_answer(status, &error.body())
}

pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    text_answer(status, "application/json", body.to_string())
}

pub(crate) fn text_answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
