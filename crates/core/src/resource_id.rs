//! Names of resources: `authMethods/{id}`, `gateways/{gateway}/k8sAuthConfigs/{id}`.

use std::fmt;
use std::str::FromStr;

use crate::access_id::AccessId;

const MAX_SEGMENTS: usize = 8;
const MAX_LENGTH: usize = 255;
/// What stands before IDs in full names.
const COLLECTIONS: [&str; 5] = [
    "authMethods",
    "roles",
    "associations",
    "gateways",
    "k8sAuthConfigs",
];

/// 1 to 8 segments of `[A-Za-z0-9._-]+` joined by `/`, at most 255 bytes.
///
/// A leading `/` is dropped; `.`, `..` and what looks like an access ID or a full name are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(String);

/// A gateway's name: one segment of a [`ResourceId`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayName(String);

/// The full name of a K8s auth config: `gateways/{gateway}/k8sAuthConfigs/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigName {
    /// The gateway that it belongs to.
    pub gateway: GatewayName,
    /// Its name at that gateway.
    pub id: ResourceId,
}

/// Why a text isn't a resource's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceIdError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Longer than 255 bytes.
    #[error("is longer than 255 characters")]
    TooLong,
    /// More than 8 segments, or more than one where one is wanted.
    #[error("has more than {0} segment(s)")]
    TooManySegments(usize),
    /// An empty segment, `.` or `..`.
    #[error("has a segment that is empty, `.` or `..`")]
    Segment,
    /// A character outside `[A-Za-z0-9._-]`.
    #[error("has a character outside `A-Z a-z 0-9 . _ -`")]
    Character,
    /// What looks like an access ID would be mistaken for one.
    #[error("looks like an access ID")]
    LooksLikeAccessId,
    /// What begins as full names do would be mistaken for one.
    #[error("begins as a full name does: leave `{0}/` out")]
    LooksLikeFullName(&'static str),
    /// A full name with the wrong collection.
    #[error("must be of the form `{0}`")]
    Form(&'static str),
}

fn check(text: &str, max_segments: usize) -> Result<&str, ResourceIdError> {
    let text = text.strip_prefix('/').unwrap_or(text);
    if text.is_empty() {
        return Err(ResourceIdError::Empty);
    }
    if text.len() > MAX_LENGTH {
        return Err(ResourceIdError::TooLong);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    if !text.bytes().all(allowed) {
        return Err(ResourceIdError::Character);
    }
    if text.split('/').any(|s| matches!(s, "" | "." | "..")) {
        return Err(ResourceIdError::Segment);
    }
    if text.split('/').count() > max_segments {
        return Err(ResourceIdError::TooManySegments(max_segments));
    }
    let first = text.split_once('/').map(|(first, _)| first);
    if let Some(collection) = COLLECTIONS.into_iter().find(|name| Some(*name) == first) {
        return Err(ResourceIdError::LooksLikeFullName(collection));
    }
    if text.parse::<AccessId>().is_ok() {
        return Err(ResourceIdError::LooksLikeAccessId);
    }
    Ok(text)
}

macro_rules! text_newtype {
    ($type:ty, $max:expr) => {
        impl $type {
            /// Its text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = ResourceIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                check(text, $max).map(|text| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_newtype!(ResourceId, MAX_SEGMENTS);
text_newtype!(GatewayName, 1);

// === impl ResourceId ===

impl ResourceId {
    /// The full name of an auth method.
    pub fn auth_method_name(&self) -> String {
        format!("authMethods/{self}")
    }

    /// The ID within `authMethods/{id}`.
    ///
    /// # Errors
    /// When the text is of another form.
    pub fn of_auth_method(name: &str) -> Result<Self, ResourceIdError> {
        name.strip_prefix("authMethods/")
            .ok_or(ResourceIdError::Form("authMethods/{id}"))?
            .parse()
    }

    /// The full name of a role.
    pub fn role_name(&self) -> String {
        format!("roles/{self}")
    }

    /// The ID within `roles/{id}`.
    ///
    /// # Errors
    /// When the text is of another form.
    pub fn of_role(name: &str) -> Result<Self, ResourceIdError> {
        name.strip_prefix("roles/")
            .ok_or(ResourceIdError::Form("roles/{id}"))?
            .parse()
    }
}

// === impl GatewayName ===

impl GatewayName {
    /// The full name, `gateways/{gateway}`.
    pub fn full(&self) -> String {
        format!("gateways/{self}")
    }

    /// The name within `gateways/{gateway}`.
    ///
    /// # Errors
    /// When the text is of another form.
    pub fn of_full(name: &str) -> Result<Self, ResourceIdError> {
        name.strip_prefix("gateways/")
            .ok_or(ResourceIdError::Form("gateways/{gateway}"))?
            .parse()
    }
}

// === impl ConfigName ===

impl FromStr for ConfigName {
    type Err = ResourceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: ResourceIdError =
            ResourceIdError::Form("gateways/{gateway}/k8sAuthConfigs/{id}");
        let rest = text.strip_prefix("gateways/").ok_or(FORM)?;
        let (gateway, id) = rest.split_once("/k8sAuthConfigs/").ok_or(FORM)?;
        Ok(Self {
            gateway: gateway.parse()?,
            id: id.parse()?,
        })
    }
}

impl fmt::Display for ConfigName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gateways/{}/k8sAuthConfigs/{}", self.gateway, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_in_the_tutorial_are_names() {
        let id: ResourceId = "/my-folder/my-k8s-auth-method".parse().unwrap();
        assert_eq!(id.as_str(), "my-folder/my-k8s-auth-method");
        let name: ConfigName = "gateways/default/k8sAuthConfigs/a/b".parse().unwrap();
        assert_eq!(name.to_string(), "gateways/default/k8sAuthConfigs/a/b");
    }

    #[test]
    fn names_that_confuse_paths_are_refused() {
        for text in [
            "", "/", "..", "a/../b", "a//b", "%2e%2e", "a b", "ä", "a/.", "//a", "a/",
        ] {
            assert!(text.parse::<ResourceId>().is_err(), "{text}");
        }
        assert_eq!(
            "p-abcdefghijkl".parse::<ResourceId>(),
            Err(ResourceIdError::LooksLikeAccessId)
        );
        assert_eq!(
            "/roles/a".parse::<ResourceId>(),
            Err(ResourceIdError::LooksLikeFullName("roles"))
        );
        assert!("roles".parse::<ResourceId>().is_ok());
        assert!("a/roles/b".parse::<ResourceId>().is_ok());
        assert!("1/2/3/4/5/6/7/8/9".parse::<ResourceId>().is_err());
        assert!("a/b".parse::<GatewayName>().is_err());
        assert!("gateways/default".parse::<ConfigName>().is_err());
    }
}
