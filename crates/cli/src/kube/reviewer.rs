//! The service account that a gateway reviews tokens with, and nothing that it doesn't need.

use postern_core::pattern::{NameKind, Pattern};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::flags::present;

const RBAC: &str = "rbac.authorization.k8s.io";

/// A reviewer to be made.
#[derive(Debug)]
pub(crate) struct Reviewer {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// May read namespaces and service accounts, for namespace selectors.
    pub(crate) reads_namespaces: bool,
    /// May read the cluster's issuer and keys, where not every service account may.
    pub(crate) reads_keys: bool,
    pub(crate) watches_pods: WatchesPods,
}

/// Whose pods a reviewer may watch, for tokens that end with their pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum WatchesPods {
    #[default]
    Nobodys,
    /// Those of these namespaces.
    Of(Vec<String>),
    All,
}

/// One object, and where it is in the API.
pub(crate) struct Object {
    pub(crate) path: String,
    pub(crate) manifest: Value,
}

impl Reviewer {
    /// From two flags.
    pub(crate) fn named(
        (namespace_flag, namespace): (&str, &str),
        (name_flag, name): (&str, &str),
    ) -> Result<Self, Failure> {
        let namespace = kubernetes_name(namespace_flag, namespace, NameKind::Label)?;
        let name = kubernetes_name(name_flag, name, NameKind::Subdomain)?;
        Ok(Self {
            namespace,
            name,
            reads_namespaces: false,
            reads_keys: false,
            watches_pods: WatchesPods::Nobodys,
        })
    }

    /// Service account, role and binding. The role is its own: `system:auth-delegator` could ask
    /// for everybody's permissions as well.
    pub(crate) fn objects(&self) -> Vec<Object> {
        let role = format!("postern:{}:{}", self.namespace, self.name);
        let mut objects = vec![
            self.namespaced(
                "serviceaccounts",
                &self.name,
                json!({ "kind": "ServiceAccount", "automountServiceAccountToken": false }),
            ),
            cluster_wide(
                "clusterroles",
                &role,
                json!({ "kind": "ClusterRole", "rules": self.rules() }),
            ),
            cluster_wide(
                "clusterrolebindings",
                &role,
                json!({
                    "kind": "ClusterRoleBinding",
                    "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": role },
                    "subjects": [self.subject()],
                }),
            ),
        ];
        if let WatchesPods::Of(namespaces) = &self.watches_pods {
            for namespace in namespaces {
                objects.extend(self.pods_of(namespace, &role));
            }
        }
        objects
    }

    fn pods_of(&self, namespace: &str, role: &str) -> [Object; 2] {
        let bind = json!({ "apiGroup": RBAC, "kind": "Role", "name": role });
        [
            within(
                namespace,
                "roles",
                role,
                json!({ "kind": "Role", "rules": [watching_pods()] }),
            ),
            within(
                namespace,
                "rolebindings",
                role,
                json!({ "kind": "RoleBinding", "roleRef": bind, "subjects": [self.subject()] }),
            ),
        ]
    }

    fn subject(&self) -> Value {
        json!({ "kind": "ServiceAccount", "name": self.name, "namespace": self.namespace })
    }

    /// What the cluster puts a token without an expiry into.
    pub(crate) fn secret(&self) -> Object {
        let mut secret = self.namespaced(
            "secrets",
            &self.secret_name(),
            json!({ "kind": "Secret", "type": "kubernetes.io/service-account-token" }),
        );
        secret.manifest["metadata"]["annotations"] =
            json!({ "kubernetes.io/service-account.name": self.name });
        secret
    }

    pub(crate) fn secret_name(&self) -> String {
        format!("{}-token", self.name)
    }

    /// Where a token with an expiry is asked for.
    pub(crate) fn token_path(&self) -> String {
        format!(
            "/api/v1/namespaces/{}/serviceaccounts/{}/token",
            self.namespace, self.name
        )
    }

    fn rules(&self) -> Value {
        let mut rules = vec![json!({
            "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"],
        })];
        if self.reads_namespaces {
            rules.push(json!({
                "apiGroups": [""], "resources": ["namespaces", "serviceaccounts"], "verbs": ["get"],
            }));
        }
        if self.reads_keys {
            rules.push(json!({
                "nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"],
                "verbs": ["get"],
            }));
        }
        if self.watches_pods == WatchesPods::All {
            rules.push(watching_pods());
        }
        Value::from(rules)
    }

    fn namespaced(&self, plural: &str, name: &str, rest: Value) -> Object {
        let path = format!("/api/v1/namespaces/{}/{plural}/{name}", self.namespace);
        let mut manifest = object("v1", name, rest);
        manifest["metadata"]["namespace"] = json!(self.namespace);
        Object { path, manifest }
    }
}

fn watching_pods() -> Value {
    json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] })
}

fn within(namespace: &str, plural: &str, name: &str, rest: Value) -> Object {
    let mut manifest = object(&format!("{RBAC}/v1"), name, rest);
    manifest["metadata"]["namespace"] = json!(namespace);
    Object {
        path: format!("/apis/{RBAC}/v1/namespaces/{namespace}/{plural}/{name}"),
        manifest,
    }
}

fn cluster_wide(plural: &str, name: &str, rest: Value) -> Object {
    Object {
        path: format!("/apis/{RBAC}/v1/{plural}/{name}"),
        manifest: object(&format!("{RBAC}/v1"), name, rest),
    }
}

fn object(api_version: &str, name: &str, mut rest: Value) -> Value {
    rest["apiVersion"] = json!(api_version);
    rest["metadata"] = json!({
        "name": name, "labels": { "app.kubernetes.io/part-of": "postern" },
    });
    rest
}

pub(crate) fn kubernetes_name(flag: &str, value: &str, kind: NameKind) -> Result<String, Failure> {
    let value = present(flag, value)?;
    let fault = |fault: String| Failure::usage(format!("{flag}: {fault}"));
    Pattern::parse(&value, kind).map_err(|error| fault(error.to_string()))?;
    if value.contains(['*', '?']) {
        return Err(fault(format!("`{value}` is a pattern, not a name")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviewer() -> Reviewer {
        Reviewer::named(("--namespace", "default"), ("--name", "postern-reviewer")).unwrap()
    }

    #[test]
    fn a_reviewer_may_create_token_reviews_and_nothing_else() {
        let rules = &reviewer().objects()[1].manifest["rules"];
        assert_eq!(
            *rules,
            json!([{ "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] }])
        );
        let text = serde_json::to_string(&reviewer().objects()[2].manifest).unwrap();
        assert!(!text.contains("auth-delegator"), "{text}");
    }

    #[test]
    fn more_is_there_when_asked_for() {
        let reviewer = Reviewer {
            reads_namespaces: true,
            reads_keys: true,
            ..reviewer()
        };
        let rules = reviewer.objects()[1].manifest["rules"].clone();
        assert_eq!(rules.as_array().unwrap().len(), 3);
        assert_eq!(rules[1]["verbs"], json!(["get"]));
        assert_eq!(rules[2]["verbs"], json!(["get"]));
    }

    #[test]
    fn pods_are_watched_only_when_asked_for_and_only_where() {
        let manifests = |watches_pods| {
            let reviewer = Reviewer {
                watches_pods,
                ..reviewer()
            };
            let objects = reviewer.objects().into_iter();
            objects.map(|object| object.manifest).collect::<Vec<_>>()
        };
        let text = json!(manifests(WatchesPods::Nobodys)).to_string();
        assert!(!text.contains("pods"), "{text}");
        let all = manifests(WatchesPods::All);
        assert_eq!(all[1]["rules"][1], watching_pods());
        let some = manifests(WatchesPods::Of(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(some.len(), 7);
        assert!(
            !some[1].to_string().contains("pods"),
            "not of all: {}",
            some[1]
        );
        assert_eq!(some[5]["metadata"]["namespace"], "b");
        assert_eq!(some[5]["rules"], json!([watching_pods()]));
        assert_eq!(some[6]["subjects"][0]["namespace"], "default");
    }

    #[test]
    fn names_that_would_lead_elsewhere_are_refused() {
        for name in ["", "..", "a/b", "A", "*", "a b"] {
            assert!(
                Reviewer::named(("--namespace", "default"), ("--name", name)).is_err(),
                "{name}"
            );
            assert!(
                Reviewer::named(("--namespace", name), ("--name", "a")).is_err(),
                "{name}"
            );
        }
    }
}
