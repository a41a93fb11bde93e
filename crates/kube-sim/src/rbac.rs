//! The few rules of RBAC that reviewers and discovery need.

use serde_json::{Value, json};

use crate::authn::User;
use crate::error::ApiError;
use crate::objects::{Objects, Resource, text};

/// What a request wants to do; `resource` is empty for paths that are no resource.
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
}

const PUBLIC_PATHS: [&str; 4] = ["/livez", "/readyz", "/healthz", "/version"];
const ISSUER_PATHS: [&str; 2] = ["/.well-known/openid-configuration", "/openid/v1/jwks"];

pub(crate) fn authorize(
    objects: &Objects,
    user: &User,
    wants: &Attributes<'_>,
) -> Result<(), ApiError> {
    let in_group = |group: &str| user.groups.iter().any(|of| of == group);
    let allowed = in_group("system:masters")
        || (wants.resource.is_empty() && wants.verb == "get" && PUBLIC_PATHS.contains(&wants.path))
        || (wants.resource.is_empty()
            && wants.verb == "get"
            && in_group("system:serviceaccounts")
            && ISSUER_PATHS.contains(&wants.path))
        || objects.all(Resource::ClusterRoleBindings).any(|binding| {
            binds(binding, user) && grants(objects, text(binding, "/roleRef/name"), wants)
        });
    if allowed {
        Ok(())
    } else {
        Err(forbidden(user, wants))
    }
}

fn grants(objects: &Objects, role: &str, wants: &Attributes<'_>) -> bool {
    if let Some(role) = objects.get(Resource::ClusterRoles, "", role) {
        let rules = role["rules"].as_array();
        return rules.is_some_and(|rules| rules.iter().any(|rule| allows(rule, wants)));
    }
    match role {
        "cluster-admin" => true,
        "system:auth-delegator" => {
            wants.verb == "create"
                && wants.group == "authentication.k8s.io"
                && wants.resource == "tokenreviews"
        }
        "system:service-account-issuer-discovery" => {
            wants.resource.is_empty() && wants.verb == "get" && ISSUER_PATHS.contains(&wants.path)
        }
        _ => false,
    }
}

/// Whether a rule of a role covers a request.
fn allows(rule: &Value, wants: &Attributes<'_>) -> bool {
    let lists = |field: &str, wanted: &str| {
        let values = rule[field].as_array().map(Vec::as_slice);
        values
            .unwrap_or_default()
            .iter()
            .any(|value| value == "*" || value == wanted)
    };
    if !lists("verbs", wants.verb) {
        return false;
    }
    if wants.resource.is_empty() {
        return lists("nonResourceURLs", wants.path);
    }
    let resource = match wants.subresource {
        "" => wants.resource.to_owned(),
        subresource => format!("{}/{subresource}", wants.resource),
    };
    let named = rule["resourceNames"]
        .as_array()
        .is_some_and(|n| !n.is_empty());
    lists("apiGroups", wants.group)
        && lists("resources", &resource)
        && (!named || lists("resourceNames", wants.name))
}

fn binds(binding: &Value, user: &User) -> bool {
    let subjects = binding["subjects"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    subjects.iter().any(|subject| {
        let name = text(subject, "/name");
        match text(subject, "/kind") {
            "User" => name == user.name,
            "Group" => user.groups.iter().any(|group| group == name),
            "ServiceAccount" => {
                user.name
                    == format!(
                        "system:serviceaccount:{}:{name}",
                        text(subject, "/namespace")
                    )
            }
            _ => false,
        }
    })
}

fn forbidden(user: &User, wants: &Attributes<'_>) -> ApiError {
    let (who, verb) = (&user.name, wants.verb);
    if wants.resource.is_empty() {
        let message = format!(
            "forbidden: User {who:?} cannot {verb} path {:?}",
            wants.path
        );
        return ApiError::forbidden(message, json!({}));
    }
    let qualified = match wants.group {
        "" => wants.resource.to_owned(),
        group => format!("{}.{group}", wants.resource),
    };
    let named = if wants.name.is_empty() {
        qualified
    } else {
        format!("{qualified} {:?}", wants.name)
    };
    let resource = match wants.subresource {
        "" => wants.resource.to_owned(),
        subresource => format!("{}/{subresource}", wants.resource),
    };
    let scope = match wants.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let group = wants.group;
    let message = format!(
        "{named} is forbidden: User {who:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}"
    );
    let mut details = json!({ "kind": wants.resource });
    for (key, value) in [("name", wants.name), ("group", group)] {
        if !value.is_empty() {
            details[key] = json!(value);
        }
    }
    ApiError::forbidden(message, details)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn review() -> Attributes<'static> {
        Attributes {
            verb: "create",
            group: "authentication.k8s.io",
            resource: "tokenreviews",
            subresource: "",
            namespace: "",
            name: "",
            path: "/apis/authentication.k8s.io/v1/tokenreviews",
        }
    }

    #[test]
    fn a_binding_to_the_delegator_allows_reviews_and_nothing_else() {
        let mut objects = Objects::default();
        let user = User {
            name: "system:serviceaccount:ns:sa".to_owned(),
            ..User::anonymous()
        };
        let refusal = authorize(&objects, &user, &review()).unwrap_err();
        assert_eq!(
            refusal.message,
            "tokenreviews.authentication.k8s.io is forbidden: User \"system:serviceaccount:ns:sa\" cannot create \
             resource \"tokenreviews\" in API group \"authentication.k8s.io\" at the cluster scope"
        );
        let binding = json!({
            "roleRef": { "name": "system:auth-delegator" },
            "subjects": [{ "kind": "ServiceAccount", "name": "sa", "namespace": "ns" }],
        });
        objects.insert(
            (Resource::ClusterRoleBindings, "", "b"),
            binding,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(authorize(&objects, &user, &review()), Ok(()));
        let secrets = Attributes {
            verb: "get",
            group: "",
            resource: "secrets",
            namespace: "ns",
            ..review()
        };
        assert!(authorize(&objects, &user, &secrets).is_err());
        let stranger = User {
            name: "system:serviceaccount:other:sa".to_owned(),
            ..User::anonymous()
        };
        assert!(authorize(&objects, &stranger, &review()).is_err());
    }

    #[test]
    fn a_role_of_ones_own_allows_what_its_rules_say() {
        let mut objects = Objects::default();
        let role = json!({ "rules": [
            { "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] },
            { "nonResourceURLs": ["/openid/v1/jwks"], "verbs": ["get"] },
        ]});
        let subject = json!({ "kind": "ServiceAccount", "name": "sa", "namespace": "ns" });
        let binding = json!({ "roleRef": { "name": "mine" }, "subjects": [subject] });
        let epoch = Timestamp::UNIX_EPOCH;
        objects.insert((Resource::ClusterRoles, "", "mine"), role, epoch);
        objects.insert((Resource::ClusterRoleBindings, "", "b"), binding, epoch);
        let user = User {
            name: "system:serviceaccount:ns:sa".to_owned(),
            ..User::anonymous()
        };
        let with = |change: fn(&mut Attributes<'static>)| {
            let mut wants = review();
            change(&mut wants);
            authorize(&objects, &user, &wants).is_ok()
        };
        assert!(with(|_| {}));
        assert!(!with(|wants| wants.verb = "get"));
        assert!(!with(|wants| wants.group = ""));
        assert!(!with(|wants| wants.subresource = "status"));
        let path = |path| Attributes {
            verb: "get",
            group: "",
            resource: "",
            path,
            ..review()
        };
        assert!(authorize(&objects, &user, &path("/openid/v1/jwks")).is_ok());
        assert!(authorize(&objects, &user, &path("/metrics")).is_err());
    }

    #[test]
    fn anonymous_callers_see_health_and_version_only() {
        let objects = Objects::default();
        let get = |path: &'static str| Attributes {
            verb: "get",
            group: "",
            resource: "",
            path,
            ..review()
        };
        assert_eq!(
            authorize(&objects, &User::anonymous(), &get("/version")),
            Ok(())
        );
        let refusal = authorize(&objects, &User::anonymous(), &get("/openid/v1/jwks")).unwrap_err();
        assert_eq!(
            refusal.message,
            "forbidden: User \"system:anonymous\" cannot get path \"/openid/v1/jwks\""
        );
    }
}
