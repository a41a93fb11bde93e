//! The names of sub-claims: a closed list.

use std::fmt;
use std::str::FromStr;

use crate::facts::SubClaims;

/// The name of a sub-claim, as policies are written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubClaimName(&'static str);

/// A text that names no sub-claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no sub-claim; those are {list}", list = SubClaimName::ALL.join(", "))]
pub struct UnknownSubClaim(String);

// === impl SubClaimName ===

impl SubClaimName {
    /// All of them.
    pub const ALL: [&'static str; 9] = [
        "namespace",
        "service_account_name",
        "service_account_uid",
        "pod_name",
        "pod_uid",
        "node_name",
        "aud",
        "config_name",
        "gateway",
    ];

    /// Its text.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// Of `claims` those that have one of the names.
pub fn selected(claims: &SubClaims, names: &[SubClaimName]) -> SubClaims {
    let named = |name: &String| names.iter().any(|wanted| wanted.as_str() == name);
    claims
        .iter()
        .filter(|(name, _)| named(name))
        .map(|(name, values)| (name.clone(), values.clone()))
        .collect()
}

impl FromStr for SubClaimName {
    type Err = UnknownSubClaim;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|name| *name == text)
            .map(Self)
            .ok_or_else(|| UnknownSubClaim(text.chars().take(64).collect()))
    }
}

impl fmt::Display for SubClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn every_sub_claim_that_a_token_can_carry_is_in_the_list() {
        let mut facts = fixtures::facts();
        facts.node_name = Some("node-1".to_owned());
        let claims = facts.sub_claims("gateways/g/k8sAuthConfigs/c", "g");
        let carried: Vec<&str> = claims.keys().map(String::as_str).collect();
        let mut listed = SubClaimName::ALL;
        listed.sort_unstable();
        assert_eq!(carried, listed);
    }

    #[test]
    fn what_is_named_and_there_is_selected() {
        let claims = fixtures::facts().sub_claims("gateways/g/k8sAuthConfigs/c", "g");
        let names = ["gateway", "node_name"].map(|name| name.parse().unwrap());
        let selected = selected(&claims, &names);
        assert_eq!(selected.into_keys().collect::<Vec<_>>(), ["gateway"]);
        assert!("Namespace".parse::<SubClaimName>().is_err());
    }
}
