//! TokenReview on the wire, and the verdict that an answer is. Absent means no.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;

use postern_core::pattern::{NameKind, Pattern};
use postern_core::reason::DenyReason;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::fault::ReviewFault;

const API_VERSION: &str = "authentication.k8s.io/v1";
const KIND: &str = "TokenReview";
/// The longest UID or credential ID that is taken, in bytes.
const MAX_ID: usize = 128;

/// What an API server says about a token.
pub(super) enum Verdict {
    Yes(Box<Reviewed>),
    No(DenyReason),
}

/// A service account that an API server, or its key's signature, vouched for.
pub(super) struct Reviewed {
    pub(super) namespace: String,
    pub(super) service_account_name: String,
    pub(super) service_account_uid: String,
    /// Name and UID, or neither: a name alone is no subject.
    pub(super) pod: Option<(String, String)>,
    pub(super) node_name: Option<String>,
    pub(super) credential_id: Option<String>,
    /// Those that were asked for; when none were, those that came back.
    pub(super) audiences: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    api_version: &'static str,
    kind: &'static str,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Spec<'a> {
    token: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    audiences: &'a [String],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenReview {
    api_version: Option<String>,
    kind: Option<String>,
    status: Option<Object<Status>>,
}

#[derive(Deserialize)]
struct Status {
    authenticated: Option<bool>,
    user: Option<Object<User>>,
    audiences: Option<Vec<String>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct User {
    username: Option<String>,
    uid: Option<String>,
    extra: Option<Extra>,
}

type Extra = BTreeMap<String, Option<Vec<String>>>;

/// A JSON object: a derived `Deserialize` takes a list of the fields' values as well.
pub(super) struct Object<T>(pub(super) T);

/// Writes the request.
pub(super) fn write(
    to: impl io::Write,
    token: &str,
    audiences: &[String],
) -> serde_json::Result<()> {
    let spec = Spec { token, audiences };
    serde_json::to_writer(
        to,
        &Request {
            api_version: API_VERSION,
            kind: KIND,
            spec,
        },
    )
}

/// Reads the answer to a review for the `asked` audiences.
///
/// # Errors
/// It isn't a TokenReview.
pub(super) fn verdict(answer: &[u8], asked: &[String]) -> Result<Verdict, ReviewFault> {
    // In members that are passed over, serde_json itself would take bytes that are no text.
    let answer = std::str::from_utf8(answer).map_err(|_| ReviewFault::NotATokenReview)?;
    let Object(review): Object<TokenReview> =
        serde_json::from_str(answer).map_err(|_| ReviewFault::NotATokenReview)?;
    // A type that isn't said is one more thing that isn't there; another type is another thing.
    let other = |said: Option<String>, expected| said.is_some_and(|said| said != expected);
    if other(review.api_version, API_VERSION) || other(review.kind, KIND) {
        return Err(ReviewFault::NotATokenReview);
    }
    let reviewed = review
        .status
        .ok_or(DenyReason::TokenNotAuthenticated)
        .and_then(|Object(status)| reviewed(status, asked));
    Ok(match reviewed {
        Ok(reviewed) => Verdict::Yes(Box::new(reviewed)),
        Err(reason) => Verdict::No(reason),
    })
}

fn reviewed(status: Status, asked: &[String]) -> Result<Reviewed, DenyReason> {
    let faulty = status.error.is_some_and(|error| !error.is_empty());
    if faulty || status.authenticated != Some(true) {
        return Err(DenyReason::TokenNotAuthenticated);
    }
    let Object(user) = status.user.ok_or(DenyReason::NotAServiceAccount)?;
    let username = user.username.as_deref().unwrap_or_default();
    let (namespace, name) = service_account(username).ok_or(DenyReason::NotAServiceAccount)?;
    let uid = user
        .uid
        .filter(|uid| is_id(uid))
        .ok_or(DenyReason::NotAServiceAccount)?;
    let audiences = confirmed(status.audiences.unwrap_or_default(), asked)?;
    let mut extra = user.extra.unwrap_or_default();
    let pod_name = single(&mut extra, "pod-name").filter(|name| is_name(name, NameKind::Subdomain));
    let pod_uid = single(&mut extra, "pod-uid").filter(|uid| is_id(uid));
    Ok(Reviewed {
        namespace: namespace.to_owned(),
        service_account_name: name.to_owned(),
        service_account_uid: uid,
        pod: pod_name.zip(pod_uid),
        node_name: single(&mut extra, "node-name")
            .filter(|name| is_name(name, NameKind::Subdomain)),
        credential_id: single(&mut extra, "credential-id").filter(|id| is_id(id)),
        audiences,
    })
}

/// Exactly `system:serviceaccount:<namespace>:<name>`.
pub(super) fn service_account(username: &str) -> Option<(&str, &str)> {
    let mut parts = username.split(':');
    let four = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let ("system", "serviceaccount", namespace, name) = four else {
        return None;
    };
    let valid = is_name(namespace, NameKind::Label) && is_name(name, NameKind::Subdomain);
    (valid && parts.next().is_none()).then_some((namespace, name))
}

/// Of what was asked for, at least one must come back. What wasn't asked for doesn't count.
fn confirmed(came_back: Vec<String>, asked: &[String]) -> Result<Vec<String>, DenyReason> {
    if asked.is_empty() {
        return Ok(came_back);
    }
    let confirmed: Vec<_> = asked
        .iter()
        .filter(|aud| came_back.contains(aud))
        .cloned()
        .collect();
    if confirmed.is_empty() {
        Err(DenyReason::AudienceNotConfirmed)
    } else {
        Ok(confirmed)
    }
}

/// A key's value when it has exactly one: of several none can be chosen.
fn single(extra: &mut Extra, key: &str) -> Option<String> {
    let values = extra.remove(&format!("authentication.kubernetes.io/{key}"))??;
    let [value] = <[String; 1]>::try_from(values).ok()?;
    Some(value)
}

pub(super) fn is_name(text: &str, kind: NameKind) -> bool {
    Pattern::parse(text, kind).is_ok() && !text.contains(['*', '?'])
}

pub(super) fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(ObjectVisitor(PhantomData))
            .map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
