//! Roles: what a token may do, here (permissions) and elsewhere (rules of paths).

mod path;
mod who_can;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

use crate::auth_method::MAX_DESCRIPTION;
use crate::facts::SubClaims;
use crate::invalid::{Invalid, Violations};
use crate::permission::{Permission, Permissions};
use crate::resource_id::ResourceId;

pub use path::{Fillings, PathPattern, PathPatternError, ResourcePath, ResourcePathError};
pub use who_can::{Access, Given, MAX_FILLINGS, Question, who_can};

/// The most rules that a role can have.
pub const MAX_RULES: usize = 200;

/// A named set of rules and permissions, given to tokens by associations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub id: ResourceId,
    /// Drawn once, never reused.
    pub uid: Uuid,
    /// What administrators set.
    pub settings: RoleSettings,
}

/// What administrators set on a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleSettings {
    /// For people.
    pub description: String,
    /// What its holders may do elsewhere.
    pub rules: Vec<RoleRule>,
    /// What its holders may do here.
    pub permissions: Permissions,
    /// It can't be deleted while set.
    pub delete_protection: bool,
}

/// What may be done, or not, at the paths of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRule {
    /// Where.
    pub path: PathPattern,
    /// What, never empty; `deny` stands alone.
    pub capabilities: Vec<Capability>,
    /// From then on the rule counts for nothing. Unset: never.
    pub expire_time: Option<Timestamp>,
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What may be done at a path: the closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Capability { $($(#[$doc])* $name,)* }

        impl Capability {
            /// All capabilities.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As written in rules.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

capabilities! {
    /// See what is there.
    Read = "read",
    /// Make something new.
    Create = "create",
    /// Change what is there.
    Update = "update",
    /// Remove what is there.
    Delete = "delete",
    /// See which there are.
    List = "list",
    /// Nothing at all, whatever other rules say.
    Deny = "deny",
}

/// A text that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no capability; those are read, create, update, delete, list and deny")]
pub struct UnknownCapability(String);

/// A role that every deployment has, and nobody can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// May do everything.
    Admin,
    /// Keeps logins running: methods, configs, gateways, tokens; makes no administrators.
    Operator,
    /// Sees everything and changes nothing.
    Auditor,
    /// What gateways' own credentials have; no auth method can.
    Gateway,
}

/// What the rules of a token's roles say about one path and capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// A rule allows it and none denies.
    Allowed(Decider),
    /// A rule says `deny`.
    Denied(Decider),
    /// No rule speaks of it.
    NotAllowed,
}

/// The rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decider {
    /// The role's name.
    pub role: ResourceId,
    /// The rule's path as it was written.
    pub rule_path: String,
}

// === impl Role ===

impl Role {
    /// The built-in role that this one is, if it is one.
    pub fn built_in(&self) -> Option<BuiltIn> {
        BuiltIn::ALL
            .iter()
            .copied()
            .find(|built_in| built_in.uid() == self.uid)
    }

    /// What its holders may do here: of a built-in role, what this version says.
    pub fn permissions(&self) -> Permissions {
        match self.built_in() {
            Some(built_in) => built_in.permissions(),
            None => self.settings.permissions.clone(),
        }
    }
}

// === impl RoleSettings ===

impl RoleSettings {
    /// Checks what one field alone can't show; field names are those of the API's `Role`.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn check(&self) -> Result<(), Invalid> {
        let mut faults = Violations::default();
        if self.description.chars().count() > MAX_DESCRIPTION {
            faults.add(
                "description",
                format!("is longer than {MAX_DESCRIPTION} characters"),
            );
        }
        if self.rules.len() > MAX_RULES {
            faults.add("rules", format!("has more than {MAX_RULES} entries"));
        }
        for (i, rule) in self.rules.iter().enumerate() {
            if self.rules[..i].iter().any(|other| other.path == rule.path) {
                faults.add(
                    format!("rules[{i}].path"),
                    format!("`{}` has a rule already", rule.path),
                );
            }
        }
        faults.finish()
    }
}

// === impl RoleRule ===

impl RoleRule {
    /// # Errors
    /// No capability, one twice, or `deny` beside others.
    pub fn new(
        path: PathPattern,
        mut capabilities: Vec<Capability>,
        expire_time: Option<Timestamp>,
    ) -> Result<Self, Invalid> {
        const FIELD: &str = "capabilities";
        capabilities.sort_unstable();
        let count = capabilities.len();
        capabilities.dedup();
        let mut faults = Violations::default();
        if count == 0 {
            faults.add(FIELD, "is empty: a rule allows something, or says deny");
        }
        if count > capabilities.len() {
            faults.add(FIELD, "names one twice");
        }
        if count > 1 && capabilities.contains(&Capability::Deny) {
            faults.add(FIELD, "has deny beside others, which it makes meaningless");
        }
        faults.finish()?;
        Ok(Self {
            path,
            capabilities,
            expire_time,
        })
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.expire_time.is_some_and(|end| end <= now)
    }

    fn denies(&self) -> bool {
        self.capabilities.contains(&Capability::Deny)
    }
}

/// Whether a token with these sub-claims and roles may do something at a path. `deny` wins over
/// everything; no rule is a no.
pub fn authorize<'r>(
    roles: impl IntoIterator<Item = &'r Role>,
    sub_claims: &SubClaims,
    path: &ResourcePath,
    capability: Capability,
    now: Timestamp,
) -> Authorization {
    let mut allowed = None;
    for role in roles {
        for rule in role.settings.rules.iter().filter(|rule| !rule.is_over(now)) {
            let decider = || Decider {
                role: role.id.clone(),
                rule_path: rule.path.to_string(),
            };
            if rule.denies() {
                if rule.path.could_match(path, sub_claims) {
                    return Authorization::Denied(decider());
                }
            } else if allowed.is_none()
                && rule.capabilities.contains(&capability)
                && rule.path.matches(path, sub_claims)
            {
                allowed = Some(decider());
            }
        }
    }
    allowed.map_or(Authorization::NotAllowed, Authorization::Allowed)
}

// === impl Capability ===

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|capability| capability.as_str() == text)
            .ok_or_else(|| UnknownCapability(text.chars().take(64).collect()))
    }
}

// === impl BuiltIn ===

impl BuiltIn {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Admin, Self::Operator, Self::Auditor, Self::Gateway];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Gateway => "gateway",
        }
    }

    /// The same in every deployment, as the schema has it.
    pub const fn uid(self) -> Uuid {
        Uuid::from_u128(match self {
            Self::Admin => 1,
            Self::Operator => 2,
            Self::Auditor => 3,
            Self::Gateway => 4,
        })
    }

    /// What its holders may do.
    pub fn permissions(self) -> Permissions {
        let all = Permission::ALL
            .iter()
            .copied()
            .filter(|permission| *permission != Permission::GatewaySync);
        match self {
            Self::Gateway => Permissions::from_iter([Permission::GatewaySync]),
            Self::Admin => all.collect(),
            Self::Operator => all
                .filter(|permission| {
                    !matches!(
                        permission,
                        Permission::RolesWrite | Permission::SigningKeysWrite
                    )
                })
                .collect(),
            Self::Auditor => all.filter(|permission| permission.only_reads()).collect(),
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
