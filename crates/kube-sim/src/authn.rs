//! Who a bearer token belongs to, with the error texts of the real server.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::keyring::KeyRing;
use crate::keys::{SignatureFault, unverified_claims};
use crate::objects::{Objects, Resource, is_dns_label, is_dns_subdomain, text, uid};
use crate::tokens::{LEGACY_ISSUER, strings};

/// Clocks may differ by this much in either direction: a token counts as valid for a minute after its `exp`.
const LEEWAY: SignedDuration = SignedDuration::from_mins(1);
const INVALID_TOKEN: &str = "invalid bearer token";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<&'static str, String>,
}

impl User {
    pub(crate) fn anonymous() -> Self {
        Self::plain("system:anonymous", "system:unauthenticated")
    }

    /// The administrator of the simulated cluster.
    pub(crate) fn admin() -> Self {
        let mut user = Self::plain("admin", "system:masters");
        user.groups.push("system:authenticated".to_owned());
        user
    }

    /// Whom a client's certificate names.
    pub(crate) fn of_certificate(name: &str, groups: Vec<String>) -> Self {
        Self {
            groups,
            ..Self::plain(name, "")
        }
    }

    fn plain(name: &str, group: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid: String::new(),
            groups: vec![group.to_owned()],
            extra: BTreeMap::new(),
        }
    }
}

/// What tokens are checked against.
pub(crate) struct Verifier<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) keys: &'a KeyRing,
    pub(crate) issuer: &'a str,
    pub(crate) admin_token: &'a str,
    pub(crate) now: Timestamp,
}

/// The token of an `Authorization` header, as the real server reads it: what follows a second blank is not looked
/// at, and what isn't a bearer token at all makes the caller anonymous.
pub(crate) fn bearer(header: &str) -> Option<&str> {
    let mut parts = header.trim().splitn(3, ' ');
    let scheme = parts.next()?;
    let token = parts.next()?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Verifier<'_> {
    /// The user, and those of the `requested` audiences that the token has; or the text that says why not.
    pub(crate) fn authenticate(
        &self,
        token: &str,
        requested: &[String],
    ) -> Result<(User, Vec<String>), String> {
        if token == self.admin_token {
            let audiences = intersect(&[self.issuer.to_owned()], requested);
            return if audiences.is_empty() {
                Err(INVALID_TOKEN.to_owned())
            } else {
                Ok((User::admin(), audiences))
            };
        }
        self.service_account(token, requested)
            .map_err(|fault| match fault {
                None => INVALID_TOKEN.to_owned(),
                Some(fault) => format!("[{INVALID_TOKEN}, {fault}]"),
            })
    }

    /// Fails with no text where the token isn't one of this cluster's at all.
    fn service_account(
        &self,
        token: &str,
        requested: &[String],
    ) -> Result<(User, Vec<String>), Option<String>> {
        let unverified = unverified_claims(token).ok_or(None)?;
        let issuer = text(&unverified, "/iss");
        if issuer != self.issuer && issuer != LEGACY_ISSUER {
            return Err(None);
        }
        let claims = self.keys.verify(token).map_err(|fault| match fault {
            SignatureFault::Malformed => None,
            SignatureFault::UnknownKey => Some("invalid signature, no keys found".to_owned()),
            SignatureFault::Wrong => {
                Some("go-jose/go-jose: error in cryptographic primitive".to_owned())
            }
        })?;
        let mut audiences = strings(&claims["aud"]);
        if audiences.is_empty() {
            audiences.push(self.issuer.to_owned());
        }
        let granted = intersect(&audiences, requested);
        if granted.is_empty() {
            let (has, wants) = (quoted(&audiences), quoted(requested));
            return Err(Some(format!(
                "token audiences {has} is invalid for the target audiences {wants}"
            )));
        }
        let user = if issuer == LEGACY_ISSUER {
            self.legacy(token, &claims)
        } else {
            self.bound(&claims)
        };
        Ok((user.map_err(Some)?, granted))
    }

    fn bound(&self, claims: &Value) -> Result<User, String> {
        self.check_times(claims)?;
        let kubernetes = &claims["kubernetes.io"];
        let namespace = text(kubernetes, "/namespace");
        let (name, claimed) = (
            text(kubernetes, "/serviceaccount/name"),
            text(kubernetes, "/serviceaccount/uid"),
        );
        let actual = self
            .uid_of(Resource::ServiceAccounts, namespace, name)
            .ok_or(no_account(name))?;
        if actual != claimed {
            return Err(format!(
                "service account UID ({actual}) does not match claim ({claimed})"
            ));
        }
        if !kubernetes["secret"].is_null() {
            self.check_bound(Resource::Secrets, namespace, &kubernetes["secret"])?;
        }
        if !kubernetes["pod"].is_null() {
            self.check_bound(Resource::Pods, namespace, &kubernetes["pod"])?;
        } else if !kubernetes["node"].is_null() {
            // A node beside a pod is information only.
            self.check_bound(Resource::Nodes, "", &kubernetes["node"])?;
        }

        let mut user = account_user(namespace, name, claimed);
        let jti = text(claims, "/jti");
        let credential = if jti.is_empty() {
            String::new()
        } else {
            format!("JTI={jti}")
        };
        for (key, value) in [
            (
                "authentication.kubernetes.io/pod-name",
                text(kubernetes, "/pod/name"),
            ),
            (
                "authentication.kubernetes.io/pod-uid",
                text(kubernetes, "/pod/uid"),
            ),
            (
                "authentication.kubernetes.io/node-name",
                text(kubernetes, "/node/name"),
            ),
            (
                "authentication.kubernetes.io/node-uid",
                text(kubernetes, "/node/uid"),
            ),
            ("authentication.kubernetes.io/credential-id", &credential),
        ] {
            if !value.is_empty() {
                user.extra.insert(key, value.to_owned());
            }
        }
        Ok(user)
    }

    fn check_times(&self, claims: &Value) -> Result<(), String> {
        let time = |claim: &str| {
            claims[claim]
                .as_f64()
                .map(|seconds| (seconds * 1e9) as i128)
        };
        let now = self.now.as_nanosecond();
        let leeway = LEEWAY.as_nanos();
        if time("nbf").is_some_and(|nbf| now + leeway < nbf) {
            return Err("service account token is not valid yet".to_owned());
        }
        if time("exp").is_some_and(|exp| now - leeway > exp) {
            return Err("service account token has expired".to_owned());
        }
        if time("iat").is_some_and(|iat| now + leeway < iat) {
            return Err("service account token is issued in the future".to_owned());
        }
        Ok(())
    }

    fn check_bound(
        &self,
        resource: Resource,
        namespace: &str,
        reference: &Value,
    ) -> Result<(), String> {
        let claimed = text(reference, "/uid");
        let actual = self
            .uid_of(resource, namespace, text(reference, "/name"))
            .ok_or("service account token has been invalidated")?;
        if actual != claimed {
            let kind = resource.kind().to_lowercase();
            return Err(format!(
                "{kind} UID ({actual}) does not match service account {kind} ref claim ({claimed})"
            ));
        }
        Ok(())
    }

    fn legacy(&self, token: &str, claims: &Value) -> Result<User, String> {
        let claim = |name: &str| text(claims, &format!("/kubernetes.io~1serviceaccount~1{name}"));
        let (namespace, secret_name) = (claim("namespace"), claim("secret.name"));
        let (name, claimed) = (claim("service-account.name"), claim("service-account.uid"));
        for (value, label) in [
            (text(claims, "/sub"), "sub"),
            (namespace, "namespace"),
            (secret_name, "secretName"),
            (name, "serviceAccountName"),
            (claimed, "serviceAccountUID"),
        ] {
            if value.is_empty() {
                return Err(format!("{label} claim is missing"));
            }
        }
        let valid_names = is_dns_label(namespace) && is_dns_subdomain(name);
        if !valid_names
            || text(claims, "/sub") != format!("system:serviceaccount:{namespace}:{name}")
        {
            return Err("sub claim is invalid".to_owned());
        }
        let secret = self
            .objects
            .get(Resource::Secrets, namespace, secret_name)
            .ok_or("Token has been invalidated")?;
        if text(secret, "/data/token") != crate::cluster::base64(token) {
            return Err("Token does not match server's copy".to_owned());
        }
        let actual = self
            .uid_of(Resource::ServiceAccounts, namespace, name)
            .ok_or(no_account(name))?;
        if actual != claimed {
            return Err(format!(
                "ServiceAccount UID ({actual}) does not match claim ({claimed})"
            ));
        }
        Ok(account_user(namespace, name, claimed))
    }

    fn uid_of(&self, resource: Resource, namespace: &str, name: &str) -> Option<&str> {
        self.objects.get(resource, namespace, name).map(uid)
    }
}

fn account_user(namespace: &str, name: &str, uid: &str) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ],
        extra: BTreeMap::new(),
    }
}

fn no_account(name: &str) -> String {
    format!("serviceaccounts {name:?} not found")
}

/// In the order of the request, as the real server gives them back.
fn intersect(audiences: &[String], requested: &[String]) -> Vec<String> {
    requested
        .iter()
        .filter(|audience| audiences.contains(audience))
        .cloned()
        .collect()
}

fn quoted(list: &[String]) -> String {
    let items: Vec<_> = list.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn a_header_is_split_as_the_real_server_does() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc def"), Some("abc"));
        assert_eq!(bearer("Bearer  abc"), None);
        assert_eq!(bearer("Bearer "), None);
        assert_eq!(bearer("Basic abc"), None);
    }

    #[test]
    fn times_have_a_minute_of_leeway_in_both_directions() {
        let keys = KeyRing::new(SigningKey::generate().unwrap());
        let objects = Objects::default();
        let at = |second| Verifier {
            objects: &objects,
            keys: &keys,
            issuer: "https://issuer",
            admin_token: "admin",
            now: Timestamp::from_second(second).unwrap(),
        };
        let claims = json!({ "nbf": 1000, "iat": 1000, "exp": 2000 });
        assert_eq!(
            at(939).check_times(&claims).unwrap_err(),
            "service account token is not valid yet"
        );
        assert_eq!(at(940).check_times(&claims), Ok(()));
        assert_eq!(at(2060).check_times(&claims), Ok(()));
        assert_eq!(
            at(2061).check_times(&claims).unwrap_err(),
            "service account token has expired"
        );
        let future = json!({ "iat": 5000, "exp": 9000 });
        assert_eq!(
            at(1000).check_times(&future).unwrap_err(),
            "service account token is issued in the future"
        );
    }

    #[test]
    fn lists_in_errors_look_like_gos() {
        assert_eq!(quoted(&["a".to_owned(), "b".to_owned()]), r#"["a" "b"]"#);
    }
}
