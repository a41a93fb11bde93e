//! [`authorize`](super::authorize), asked the other way round: whose tokens may do something at a path.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Capability, PathPattern, ResourcePath, Role, RoleRule};
use crate::association::RequiredSubClaims;
use crate::facts::SubClaims;

/// Ways to fill a rule's templates that are told of an association.
pub const MAX_FILLINGS: usize = 20;

/// A role that a method's tokens have, all of them or some.
#[derive(Debug, Clone)]
pub struct Given {
    /// Which tokens.
    pub required: RequiredSubClaims,
    /// Which role.
    pub role: Role,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Where.
    pub path: ResourcePath,
    /// What, other than `deny`.
    pub capability: Capability,
    /// When.
    pub now: Timestamp,
}

/// Tokens that may, of those that have a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The rule that allows it, as it was written.
    pub rule_path: String,
    /// What the sub-claims that fill the rule's templates must be.
    pub template_claims: BTreeMap<String, String>,
    /// Of this rule there are more ways to fill the templates than are told.
    pub more_fillings: bool,
    /// A `deny` takes it from some of them.
    pub may_be_denied: bool,
}

/// Some tokens of a method, by what they have in common.
struct Tokens<'r> {
    /// What they all fulfil.
    required: &'r RequiredSubClaims,
    /// Sub-claims of which each of them has this one value.
    known: SubClaims,
    /// Whether the method's tokens carry sub-claims at all.
    carry: bool,
}

/// From how many of some tokens a `deny` takes what a rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Denied {
    None,
    Some,
    All,
}

/// The tokens that may by `own`, one of `all` that a method's tokens are given; `carry` says whether those carry
/// sub-claims. Whoever is told of may, unless it `may_be_denied`; whom a `deny` catches for certain isn't told of.
pub fn who_can(own: &Given, all: &[Given], carry: bool, question: &Question) -> Vec<Access> {
    if !carry && !own.required.is_empty() {
        return Vec::new();
    }
    let rules = own.role.settings.rules.iter().filter(|rule| {
        !rule.is_over(question.now) && rule.capabilities.contains(&question.capability)
    });
    rules
        .flat_map(|rule| by_rule(rule, own, all, carry, question))
        .collect()
}

fn by_rule(
    rule: &RoleRule,
    own: &Given,
    all: &[Given],
    carry: bool,
    question: &Question,
) -> Vec<Access> {
    // The name of a config has slashes, and fills nothing.
    let accepts = |name: &str, value: &str| {
        carry && name != "config_name" && own.required.admits(name, value)
    };
    let fillings = rule.path.fillings(&question.path, accepts, MAX_FILLINGS);
    let more_fillings = fillings.more;
    let access = fillings.ways.into_iter().filter_map(|filled| {
        let tokens = Tokens::new(&own.required, &filled, carry);
        let denied = all.iter().map(|given| tokens.denied(given, question)).max();
        let denied = denied.unwrap_or(Denied::None);
        (denied != Denied::All).then(|| Access {
            rule_path: rule.path.to_string(),
            template_claims: filled,
            more_fillings,
            may_be_denied: denied == Denied::Some,
        })
    });
    access.collect()
}

// === impl Tokens ===

impl<'r> Tokens<'r> {
    fn new(
        required: &'r RequiredSubClaims,
        filled: &BTreeMap<String, String>,
        carry: bool,
    ) -> Self {
        let filled = filled
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let known = required.exact().chain(filled);
        Self {
            required,
            known: known
                .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
                .collect(),
            carry,
        }
    }

    fn denied(&self, given: &Given, question: &Question) -> Denied {
        if !self.some_have(&given.required) {
            return Denied::None;
        }
        let all_have = self.all_have(&given.required);
        let rules = given.role.settings.rules.iter();
        let rules = rules.filter(|rule| rule.denies() && !rule.is_over(question.now));
        let denied = rules.map(|rule| {
            if !rule.path.could_match(&question.path, &self.known) {
                Denied::None
            } else if all_have && self.is_settled(&rule.path) {
                Denied::All
            } else {
                Denied::Some
            }
        });
        denied.max().unwrap_or(Denied::None)
    }

    /// Whether all of them have what is given so. `false`: it can't be said.
    fn all_have(&self, other: &RequiredSubClaims) -> bool {
        other.claims().keys().all(|name| {
            self.known_as(name)
                .is_some_and(|value| other.admits(name, value))
                || self.required.implies(other, name)
        })
    }

    /// Whether any of them could have it.
    fn some_have(&self, other: &RequiredSubClaims) -> bool {
        other.claims().keys().all(|name| match self.known_as(name) {
            Some(value) => other.admits(name, value),
            None => self.carry,
        })
    }

    /// Whether the pattern means the same for all of them.
    fn is_settled(&self, pattern: &PathPattern) -> bool {
        !self.carry || pattern.claims().all(|name| self.known.contains_key(name))
    }

    fn known_as(&self, name: &str) -> Option<&str> {
        Some(self.known.get(name)?.first()?.as_str())
    }
}
