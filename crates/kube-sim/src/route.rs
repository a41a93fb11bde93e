//! What the path of a request names, and what RBAC is asked about it.

use http::Method;

use crate::objects::Resource;
use crate::rbac::Attributes;

/// What a path names. Names are as in the URL; none that is valid needs an escape.
pub(crate) enum Target<'a> {
    Path,
    Reviews,
    Token {
        namespace: &'a str,
        account: &'a str,
    },
    Object {
        resource: Resource,
        namespace: &'a str,
        name: &'a str,
    },
}

impl<'a> Target<'a> {
    pub(crate) fn parse(segments: &[&'a str]) -> Self {
        let (group, rest) = match segments {
            ["apis", "authentication.k8s.io", "v1", "tokenreviews"] => return Self::Reviews,
            [
                "api",
                "v1",
                "namespaces",
                namespace,
                "serviceaccounts",
                account,
                "token",
            ] => {
                return Self::Token { namespace, account };
            }
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, "v1", rest @ ..] => (*group, rest),
            _ => return Self::Path,
        };
        let (namespace, plural, name) = match rest {
            ["namespaces", namespace, plural, name] => (*namespace, plural, *name),
            ["namespaces", namespace, plural] => (*namespace, plural, ""),
            [plural, name] => ("", plural, *name),
            [plural] => ("", plural, ""),
            _ => return Self::Path,
        };
        match Resource::parse(group, plural) {
            Some(resource)
                if resource.namespaced() != namespace.is_empty() || all(resource, name) =>
            {
                Self::Object {
                    resource,
                    namespace,
                    name,
                }
            }
            _ => Self::Path,
        }
    }

    pub(crate) fn attributes(&self, method: &Method, path: &'a str, watch: bool) -> Attributes<'a> {
        let base = Attributes {
            verb: "",
            group: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path,
        };
        let verb = |named: bool| match (method.as_str(), named) {
            ("POST", _) => "create",
            ("GET", true) => "get",
            ("GET", false) if watch => "watch",
            ("GET", false) => "list",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            ("PUT", _) => "update",
            _ => "patch",
        };
        match *self {
            Self::Path => Attributes {
                verb: plain_verb(method),
                ..base
            },
            Self::Reviews => Attributes {
                verb: verb(false),
                group: "authentication.k8s.io",
                resource: "tokenreviews",
                ..base
            },
            Self::Token { namespace, account } => Attributes {
                verb: verb(true),
                resource: "serviceaccounts",
                subresource: "token",
                namespace,
                name: account,
                ..base
            },
            Self::Object {
                resource,
                namespace,
                name,
            } => Attributes {
                verb: verb(!name.is_empty()),
                group: resource.group(),
                resource: resource.plural(),
                // A namespace is its own namespace to the authorizer.
                namespace: if resource == Resource::Namespaces {
                    name
                } else {
                    namespace
                },
                name,
                ..base
            },
        }
    }
}

/// Those of all namespaces, which there are of pods alone.
fn all(resource: Resource, name: &str) -> bool {
    resource == Resource::Pods && name.is_empty()
}

fn plain_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "POST" => "post",
        "PUT" => "put",
        "DELETE" => "delete",
        "HEAD" => "head",
        _ => "patch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(method: Method, path: &str) -> String {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let wants = Target::parse(&segments).attributes(&method, path, false);
        let resource = [wants.group, wants.resource, wants.subresource].join("/");
        format!(
            "{} {resource} {} {}",
            wants.verb, wants.namespace, wants.name
        )
    }

    #[test]
    fn paths_name_resources() {
        assert_eq!(
            asks(Method::GET, "/api/v1/namespaces/ns/pods/a"),
            "get /pods/ ns a"
        );
        assert_eq!(
            asks(Method::POST, "/api/v1/namespaces/ns/pods"),
            "create /pods/ ns "
        );
        assert_eq!(
            asks(Method::GET, "/api/v1/namespaces/ns"),
            "get /namespaces/ ns ns"
        );
        assert_eq!(asks(Method::GET, "/api/v1/pods"), "list /pods/  ");
        let token = "/api/v1/namespaces/ns/serviceaccounts/sa/token";
        assert_eq!(
            asks(Method::POST, token),
            "create /serviceaccounts/token ns sa"
        );
        let binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/b";
        assert_eq!(
            asks(Method::DELETE, binding),
            "delete rbac.authorization.k8s.io/clusterrolebindings/  b"
        );
    }

    #[test]
    fn everything_else_is_a_path() {
        for path in [
            "/version",
            "/api/v1/pods/a",
            "/api/v1/namespaces/ns/nodes/n",
            "/",
            "//",
            "/apis",
        ] {
            assert_eq!(asks(Method::GET, path), "get //  ", "{path}");
        }
    }
}
