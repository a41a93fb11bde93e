//! Associations: which tokens of an auth method have a role.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::facts::{SUB_CLAIMS, SubClaims};
use crate::invalid::{Invalid, Violations};
use crate::pattern::wildcards_match;
use crate::resource_id::ResourceId;

const MAX_VALUES: usize = 100;
const MAX_VALUE_LENGTH: usize = 512;

/// An auth method's tokens, or some of them, have a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// Its name, and drawn once.
    pub uid: Uuid,
    /// Whose tokens.
    pub auth_method: ResourceId,
    /// Which role.
    pub role: ResourceId,
    /// Which of the tokens.
    pub sub_claims: RequiredSubClaims,
}

/// What a token's sub-claims must be: every name that stands here, with one of its values.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredSubClaims {
    /// Patterns with `*` and `?`. Empty: every token.
    claims: BTreeMap<String, Vec<String>>,
    case_insensitive: bool,
}

/// A text that names no association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be of the form `associations/{{uid}}`")]
pub struct AssociationNameError;

// === impl Association ===

impl Association {
    /// The full name, `associations/{uid}`.
    pub fn name(&self) -> String {
        format!("associations/{}", self.uid)
    }

    /// The UID within `associations/{uid}`.
    ///
    /// # Errors
    /// When the text is of another form.
    pub fn uid_of_name(name: &str) -> Result<Uuid, AssociationNameError> {
        let uid = name.strip_prefix("associations/");
        uid.and_then(|uid| uid.parse().ok())
            .ok_or(AssociationNameError)
    }
}

// === impl RequiredSubClaims ===

impl RequiredSubClaims {
    /// Field names are those of the API's `Association`.
    ///
    /// # Errors
    /// Names that no token carries; lists that are empty, over-long or hold blanks.
    pub fn new(
        claims: BTreeMap<String, Vec<String>>,
        case_insensitive: bool,
    ) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        for (name, values) in &claims {
            let shown: String = name.chars().take(64).collect();
            let field = format!("sub_claims[{shown}]");
            if !SUB_CLAIMS.contains(&name.as_str()) {
                faults.add(
                    &field,
                    format!("is no sub-claim; those are {}", SUB_CLAIMS.join(", ")),
                );
            }
            if values.is_empty() {
                faults.add(&field, "is empty: it would match nobody");
            }
            if values.len() > MAX_VALUES {
                faults.add(&field, format!("has more than {MAX_VALUES} values"));
            }
            if values.iter().any(|value| value.trim().is_empty()) {
                faults.add(&field, "has an empty or blank value");
            }
            if values.iter().any(|value| value.len() > MAX_VALUE_LENGTH) {
                faults.add(
                    &field,
                    format!("has a value longer than {MAX_VALUE_LENGTH} bytes"),
                );
            }
        }
        faults.finish()?;
        Ok(Self {
            claims,
            case_insensitive,
        })
    }

    /// Whether a token with these sub-claims has the role. A claim that the token lacks is a no.
    pub fn hold(&self, token: &SubClaims) -> bool {
        self.claims.keys().all(|name| {
            let values = token.get(name).map_or(&[][..], Vec::as_slice);
            values.iter().any(|value| self.admits(name, value))
        })
    }

    /// Whether nothing that is asked of that claim speaks against the value.
    pub fn admits(&self, name: &str, value: &str) -> bool {
        let folded = |text: &str| match self.case_insensitive {
            true => text.to_ascii_lowercase(),
            false => text.to_owned(),
        };
        let value = folded(value);
        self.claims.get(name).is_none_or(|patterns| {
            patterns
                .iter()
                .any(|pattern| wildcards_match(&folded(pattern), &value))
        })
    }

    /// Names and values of the claims that can only be the one that stands here.
    pub fn exact(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_one = |(name, values): &(&String, &Vec<String>)| {
            // A token can have several audiences, of which one is asked for.
            !self.case_insensitive
                && *name != "aud"
                && values.len() == 1
                && !values[0].contains(['*', '?'])
        };
        self.claims
            .iter()
            .filter(of_one)
            .map(|(name, values)| (name.as_str(), values[0].as_str()))
    }

    /// Whether who has these has, for that name, what `other` asks for, since it says the same or less.
    pub fn implies(&self, other: &Self, name: &str) -> bool {
        let (Some(own), Some(wanted)) = (self.claims.get(name), other.claims.get(name)) else {
            return !other.claims.contains_key(name);
        };
        (other.case_insensitive || !self.case_insensitive)
            && own.iter().all(|pattern| wanted.contains(pattern))
    }

    /// Whether every token of the method has the role.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Names and patterns.
    pub fn claims(&self) -> &BTreeMap<String, Vec<String>> {
        &self.claims
    }

    /// Whether upper and lower case are one.
    pub fn case_insensitive(&self) -> bool {
        self.case_insensitive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), list(v)))
            .collect()
    }

    fn required(pairs: &[(&str, &[&str])]) -> RequiredSubClaims {
        RequiredSubClaims::new(map(pairs), false).unwrap()
    }

    #[test]
    fn names_are_and_ed_and_values_are_or_ed() {
        let both = required(&[("namespace", &["a", "b"]), ("pod_name", &["web-*"])]);
        assert!(both.hold(&map(&[("namespace", &["b"]), ("pod_name", &["web-1"])])));
        assert!(!both.hold(&map(&[("namespace", &["b"]), ("pod_name", &["db-1"])])));
        assert!(!both.hold(&map(&[("namespace", &["c"]), ("pod_name", &["web-1"])])));
        assert!(!both.hold(&map(&[("namespace", &["b"])])));
        assert!(required(&[]).hold(&map(&[])));
    }

    #[test]
    fn case_counts_unless_said_otherwise() {
        let claims = map(&[("namespace", &["Pay"])]);
        let token = map(&[("namespace", &["pay"])]);
        assert!(
            !RequiredSubClaims::new(claims.clone(), false)
                .unwrap()
                .hold(&token)
        );
        assert!(RequiredSubClaims::new(claims, true).unwrap().hold(&token));
    }

    #[test]
    fn what_could_only_be_a_mistake_is_refused() {
        for pairs in [
            &[("email", &["a"] as &[&str])],
            &[("namespace", &[])],
            &[("namespace", &[" "])],
        ] {
            assert!(
                RequiredSubClaims::new(map(pairs), false).is_err(),
                "{pairs:?}"
            );
        }
    }
}
