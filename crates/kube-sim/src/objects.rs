//! The objects of the cluster, as the JSON that the API shows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::error::ApiError;
use crate::pods::History;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    Namespaces,
    Nodes,
    Pods,
    Secrets,
    ServiceAccounts,
    ClusterRoleBindings,
    ClusterRoles,
}

impl Resource {
    const ALL: [Self; 7] = [
        Self::Namespaces,
        Self::Nodes,
        Self::Pods,
        Self::Secrets,
        Self::ServiceAccounts,
        Self::ClusterRoleBindings,
        Self::ClusterRoles,
    ];

    pub(crate) fn parse(group: &str, plural: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|resource| resource.group() == group && resource.plural() == plural)
    }

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Secrets => "secrets",
            Self::ServiceAccounts => "serviceaccounts",
            Self::ClusterRoleBindings => "clusterrolebindings",
            Self::ClusterRoles => "clusterroles",
        }
    }

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespace",
            Self::Nodes => "Node",
            Self::Pods => "Pod",
            Self::Secrets => "Secret",
            Self::ServiceAccounts => "ServiceAccount",
            Self::ClusterRoleBindings => "ClusterRoleBinding",
            Self::ClusterRoles => "ClusterRole",
        }
    }

    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::ClusterRoleBindings | Self::ClusterRoles => "rbac.authorization.k8s.io",
            _ => "",
        }
    }

    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::ClusterRoleBindings | Self::ClusterRoles => "rbac.authorization.k8s.io/v1",
            _ => "v1",
        }
    }

    pub(crate) fn namespaced(self) -> bool {
        matches!(self, Self::Pods | Self::Secrets | Self::ServiceAccounts)
    }

    /// `pods`, or `clusterrolebindings.rbac.authorization.k8s.io`.
    pub(crate) fn qualified(self) -> String {
        qualify(self.plural(), self.group())
    }

    /// `Pod`, or `ClusterRoleBinding.rbac.authorization.k8s.io`.
    pub(crate) fn qualified_kind(self) -> String {
        qualify(self.kind(), self.group())
    }

    pub(crate) fn details(self, name: &str) -> Value {
        let mut details = json!({ "name": name, "kind": self.plural() });
        if !self.group().is_empty() {
            details["group"] = json!(self.group());
        }
        details
    }

    /// Namespaces are DNS labels, everything else here DNS subdomains.
    pub(crate) fn check_name(self, name: &str) -> Result<(), ApiError> {
        let fault = match self {
            _ if name.is_empty() => Some((
                "FieldValueRequired",
                "Required value: a name is required".to_owned(),
            )),
            Self::Namespaces if !is_dns_label(name) => {
                Some(("FieldValueInvalid", "not a DNS label".to_owned()))
            }
            Self::ClusterRoleBindings | Self::ClusterRoles => None,
            _ if !is_dns_subdomain(name) => {
                Some(("FieldValueInvalid", "not a DNS subdomain".to_owned()))
            }
            _ => None,
        };
        match fault {
            None => Ok(()),
            Some((fault, why)) => {
                let body = if name.is_empty() {
                    why
                } else {
                    format!("Invalid value: {name:?}: {why}")
                };
                Err(ApiError::invalid(
                    &self.qualified_kind(),
                    name,
                    "metadata.name",
                    fault,
                    &body,
                ))
            }
        }
    }
}

fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

pub(crate) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_name_part(name)
}

pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    // A single part may be longer than 63 here, unlike in a real host name.
    name.len() <= 253 && name.split('.').all(is_name_part)
}

fn is_name_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('-')
        && !part.ends_with('-')
        && part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

type Key = (Resource, String, String);

/// All objects by resource, namespace (empty where there is none) and name.
#[derive(Default)]
pub(crate) struct Objects {
    by_key: BTreeMap<Key, Value>,
    last_version: u64,
    history: History,
    changes: watch::Sender<()>,
    watches: watch::Sender<()>,
}

impl Objects {
    pub(crate) fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<&Value> {
        self.by_key
            .get(&(resource, namespace.to_owned(), name.to_owned()))
    }

    pub(crate) fn get_mut(
        &mut self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Option<&mut Value> {
        self.by_key
            .get_mut(&(resource, namespace.to_owned(), name.to_owned()))
    }

    /// Stores `object` under `name`, with a new UID. The caller has checked that the name is free.
    pub(crate) fn insert(
        &mut self,
        (resource, namespace, name): (Resource, &str, &str),
        mut object: Value,
        now: Timestamp,
    ) -> Value {
        self.last_version += 1;
        object["kind"] = json!(resource.kind());
        object["apiVersion"] = json!(resource.api_version());
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(name);
        if resource.namespaced() {
            metadata["namespace"] = json!(namespace);
        }
        metadata["uid"] = json!(uuid::Uuid::new_v4().to_string());
        metadata["resourceVersion"] = json!(self.last_version.to_string());
        metadata["creationTimestamp"] = json!(rfc3339(now));
        self.by_key.insert(
            (resource, namespace.to_owned(), name.to_owned()),
            object.clone(),
        );
        self.happened(resource, "ADDED", &object);
        object
    }

    /// Lays `changes` over an object that is there; its identity stays.
    pub(crate) fn change(
        &mut self,
        (resource, namespace, name): (Resource, &str, &str),
        mut changes: Value,
    ) -> Option<Value> {
        let version = self.last_version + 1;
        let object = self.get_mut(resource, namespace, name)?;
        if let Some(metadata) = changes["metadata"].as_object_mut() {
            for identity in ["uid", "creationTimestamp", "resourceVersion"] {
                metadata.remove(identity);
            }
        }
        merge(object, &changes);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let changed = object.clone();
        self.last_version = version;
        self.happened(resource, "MODIFIED", &changed);
        Some(changed)
    }

    pub(crate) fn remove(
        &mut self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Value> {
        let key = (resource, namespace.to_owned(), name.to_owned());
        let removed = self.by_key.remove(&key)?;
        self.last_version += 1;
        self.happened(resource, "DELETED", &removed);
        Some(removed)
    }

    pub(crate) fn remove_namespace(&mut self, namespace: &str) {
        let within = self.by_key.keys().filter(|(_, of, _)| of == namespace);
        for (resource, of, name) in within.cloned().collect::<Vec<_>>() {
            self.remove(resource, &of, &name);
        }
    }

    fn happened(&mut self, resource: Resource, kind: &'static str, object: &Value) {
        if resource == Resource::Pods {
            self.history.add(self.last_version, kind, object.clone());
            self.changes.send_replace(());
        }
    }

    /// That of the last write.
    pub(crate) fn version(&self) -> u64 {
        self.last_version
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Says when something happened to a pod.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Says when watches are to end.
    pub(crate) fn watches_end(&self) -> watch::Receiver<()> {
        self.watches.subscribe()
    }

    /// Ends all watches.
    pub(crate) fn end_watches(&self) {
        self.watches.send_replace(());
    }

    /// Forgets what happened, so that a watch from before is too old.
    pub(crate) fn compact(&mut self) {
        self.last_version += 1;
        self.history.forget(self.last_version);
    }

    pub(crate) fn remove_secrets_of(&mut self, namespace: &str, service_account: &str) {
        self.by_key.retain(|(resource, of, _), object| {
            *resource != Resource::Secrets
                || of != namespace
                || token_account(object) != Some(service_account)
        });
    }

    pub(crate) fn all(&self, resource: Resource) -> impl Iterator<Item = &Value> {
        self.by_key
            .iter()
            .filter(move |((of, ..), _)| *of == resource)
            .map(|(_, object)| object)
    }
}

/// As RFC 7386 says: null removes a key, lists are replaced.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(entries) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (key, value) in entries {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// The string at a JSON pointer; empty where there is none, as in the Go types of Kubernetes.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The account that a secret of type `kubernetes.io/service-account-token` is for.
pub(crate) fn token_account(secret: &Value) -> Option<&str> {
    let is_token = text(secret, "/type") == "kubernetes.io/service-account-token";
    let account = text(
        secret,
        "/metadata/annotations/kubernetes.io~1service-account.name",
    );
    (is_token && !account.is_empty()).then_some(account)
}

/// A time of an object's metadata, in whole seconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_kubernetes() {
        for good in ["a", "my-namespace-a", "0", &"a".repeat(63)] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "..",
            "a_b",
            "é",
            &"a".repeat(64),
        ] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        for good in ["a.b", "mypod1", &"a".repeat(253)] {
            assert!(is_dns_subdomain(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "a.",
            "-a.b",
            "a.-b",
            "My",
            &"a".repeat(254),
        ] {
            assert!(!is_dns_subdomain(bad), "{bad}");
        }
    }

    #[test]
    fn a_recreated_object_has_another_uid() {
        let mut objects = Objects::default();
        let key = (Resource::Pods, "ns", "pod");
        let first = objects.insert(key, json!({}), Timestamp::UNIX_EPOCH);
        objects.remove(Resource::Pods, "ns", "pod");
        let second = objects.insert(key, json!({}), Timestamp::UNIX_EPOCH);
        assert_ne!(uid(&first), uid(&second));
        assert_eq!(
            text(&first, "/metadata/creationTimestamp"),
            "1970-01-01T00:00:00Z"
        );
    }
}
