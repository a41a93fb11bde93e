//! Reads the namespace of a verified service account, and then makes sure that the account is still the same.
//!
//! A namespace has no UID in a token: one that was deleted and made again since has other labels, and other accounts.
//! So the account is read last, and must have the UID that was verified.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use postern_core::facts::{Facts, NamespaceLabels};
use postern_core::reason::DenyReason;
use postern_rpc::deadline::Deadline;
use secrecy::SecretString;
use serde::Deserialize;

use super::connection::{Connection, JSON};
use super::fault::ReviewFault;
use super::review::Object;

/// A namespace or a service account, as far as it is looked at.
#[derive(Deserialize)]
struct KubeObject {
    kind: Option<String>,
    metadata: Option<Object<Metadata>>,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    uid: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// Reads for one login.
pub(super) struct Reader<'a> {
    pub(super) connection: &'a Connection,
    /// The token that was presented.
    pub(super) presented: &'a SecretString,
    pub(super) deadline: Deadline,
}

impl Reader<'_> {
    /// What the namespace of the service account that was `verified` has of the labels `keys`. The inner error is a no.
    ///
    /// # Errors
    /// The API server didn't say.
    pub(super) async fn labels(
        &self,
        verified: &Facts,
        keys: &BTreeSet<String>,
    ) -> Result<Result<NamespaceLabels, DenyReason>, ReviewFault> {
        let path = format!("/api/v1/namespaces/{}", escaped(&verified.namespace));
        let Some(namespace) = self.get(&path).await? else {
            return Ok(Err(DenyReason::NamespaceGone));
        };
        let namespace = read(&namespace, "Namespace", &verified.namespace)?;

        let name = &verified.service_account_name;
        let path = format!("{path}/serviceaccounts/{}", escaped(name));
        let Some(account) = self.get(&path).await? else {
            return Ok(Err(DenyReason::ServiceAccountGone));
        };
        let account = read(&account, "ServiceAccount", name)?;
        if account.uid.as_ref() != Some(&verified.service_account_uid) {
            return Ok(Err(DenyReason::ServiceAccountGone));
        }
        let all = namespace.labels.unwrap_or_default();
        let keys = keys.iter().map(String::as_str);
        Ok(Ok(NamespaceLabels::read(keys, &all)))
    }

    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, ReviewFault> {
        let answer = self
            .connection
            .get(path, JSON, Some(self.presented), self.deadline);
        answer.await.map_err(ReviewFault::of_read)
    }
}

fn read(answer: &[u8], kind: &str, name: &str) -> Result<Metadata, ReviewFault> {
    let Object(object): Object<KubeObject> =
        serde_json::from_slice(answer).map_err(|_| ReviewFault::NotTheObject)?;
    let metadata = object.metadata.map(|Object(metadata)| metadata);
    let asked_for = object.kind.as_deref() == Some(kind);
    metadata
        .filter(|metadata| asked_for && metadata.name.as_deref() == Some(name))
        .ok_or(ReviewFault::NotTheObject)
}

/// As a path's segment. Verified names have nothing to escape, and nothing here relies on that.
fn escaped(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => segment.push(byte.into()),
            // A dot is safe between others; a segment of dots alone would be another path.
            b'.' if name.bytes().any(|other| other != b'.') => segment.push('.'),
            _ => {
                let _ = write!(segment, "%{byte:02X}");
            }
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube_sim::Fault;
    use postern_core::auth_method::Audiences;
    use postern_core::k8s_auth_config::Reviewer;
    use tokio::sync::Notify;

    use super::super::Ask;
    use super::super::tests::{made, question, soon};
    use super::*;
    use crate::fixtures;
    use crate::sample::set_reviewer;

    #[tokio::test]
    async fn an_account_made_again_between_review_and_read_is_refused() {
        let sim = fixtures::sim().await;
        let mut config = fixtures::config(&sim);
        let token = sim.admin_token().parse().unwrap();
        set_reviewer(&mut config, Reviewer::Token(token));
        let cluster = made(config);
        let path = "/api/v1/namespaces/my-namespace-a";
        let release = Arc::new(Notify::new());
        sim.set_fault_at(path, Fault::Hold(Arc::clone(&release)));
        let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
        let token = fixtures::parse(&token).unwrap_or_else(|_| panic!("a readable token"));
        let ask = Ask {
            label_keys: BTreeSet::from(["team"]),
            ..question(&Audiences::ApiServer, soon())
        };
        let token = Arc::new(token);
        let verdict = cluster.verify(&token, ask);
        let (verdict, ()) = tokio::join!(verdict, async {
            while sim.requests(path) == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(sim.reviews(), 1);
            // `default` comes back by itself, with another UID.
            sim.delete_service_account("my-namespace-a", "default")
                .unwrap();
            release.notify_one();
        });
        assert_eq!(
            verdict.unwrap().verdict,
            Err(DenyReason::ServiceAccountGone)
        );
    }

    #[tokio::test]
    async fn nothing_is_looked_up_for_who_was_not_verified() {
        let (sim, other) = (fixtures::sim().await, fixtures::sim().await);
        let cluster = made(fixtures::config(&sim));
        sim.pod_token("my-namespace-a", "mypod1").unwrap();
        let foreign = other.pod_token("my-namespace-a", "mypod1").unwrap();
        let foreign = fixtures::parse(&foreign).unwrap_or_else(|_| panic!("a readable token"));
        let ask = Ask {
            label_keys: BTreeSet::from(["team"]),
            ..question(&Audiences::ApiServer, soon())
        };
        let verdict = cluster.verify(&Arc::new(foreign), ask).await;
        assert_eq!(
            verdict.unwrap().verdict,
            Err(DenyReason::TokenNotAuthenticated)
        );
        assert_eq!(sim.requests("/api/v1/namespaces/my-namespace-a"), 0);
    }

    #[test]
    fn names_are_escaped_in_urls() {
        for (name, segment) in [
            ("my-namespace-a", "my-namespace-a"),
            ("a.b", "a.b"),
            ("..", "%2E%2E"),
            ("a/../b?c#d%2e", "a%2F..%2Fb%3Fc%23d%252e"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(escaped(name), segment);
        }
    }

    #[test]
    fn an_object_is_the_one_that_was_asked_for_or_a_fault() {
        let good = r#"{"kind":"Namespace","metadata":{"name":"a","labels":{"x":"y"}}}"#;
        assert!(read(good.as_bytes(), "Namespace", "a").is_ok());
        for (answer, kind, name) in [
            (good, "ServiceAccount", "a"),
            (good, "Namespace", "b"),
            (r#"{"kind":"Namespace"}"#, "Namespace", "a"),
            (r#"{"metadata":{"name":"a"}}"#, "Namespace", "a"),
            (r#"["Namespace",{"name":"a"}]"#, "Namespace", "a"),
            ("{}", "Namespace", "a"),
            ("<html>", "Namespace", "a"),
        ] {
            assert!(read(answer.as_bytes(), kind, name).is_err(), "{answer}");
        }
    }
}
