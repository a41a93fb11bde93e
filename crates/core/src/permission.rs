//! Permissions: what a token may do at Postern's own services.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One thing that a role can let its holders do here: the closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission { $($(#[$doc])* $name,)* }

        impl Permission {
            /// All permissions.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As written in roles.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

permissions! {
    /// See auth methods.
    AuthMethodsRead = "auth_methods.read",
    /// Create, change and delete auth methods, and their keys.
    AuthMethodsWrite = "auth_methods.write",
    /// See K8s auth configs, never a secret of theirs.
    K8sAuthConfigsRead = "k8s_auth_configs.read",
    /// Create, change and delete K8s auth configs.
    K8sAuthConfigsWrite = "k8s_auth_configs.write",
    /// Explain, simulate and check logins at a gateway.
    Diagnose = "diagnose",
    /// See gateways.
    GatewaysRead = "gateways.read",
    /// Create, change and delete gateways, and rotate their credentials.
    GatewaysWrite = "gateways.write",
    /// See roles and associations.
    RolesRead = "roles.read",
    /// Create, change and delete roles and associations.
    RolesWrite = "roles.write",
    /// Ask what somebody else's token is worth and what it may do.
    TokensCheck = "tokens.check",
    /// See live tokens and blocks.
    TokensRead = "tokens.read",
    /// Revoke tokens, and block subjects.
    TokensRevoke = "tokens.revoke",
    /// Read the audit log.
    AuditRead = "audit.read",
    /// See the keys that token signatures are made with.
    SigningKeysRead = "signing_keys.read",
    /// Prepare, activate and retire them.
    SigningKeysWrite = "signing_keys.write",
    /// What a gateway's own credential may do, and nobody can be given.
    GatewaySync = "gateway.sync",
}

/// A set of permissions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions(BTreeSet<Permission>);

/// A text that names no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no permission; `postern describe-permissions` lists them")]
pub struct UnknownPermission(String);

// === impl Permission ===

impl Permission {
    /// Whether it changes nothing.
    pub const fn only_reads(self) -> bool {
        match self {
            Self::AuthMethodsRead
            | Self::K8sAuthConfigsRead
            | Self::GatewaysRead
            | Self::RolesRead
            | Self::TokensRead
            | Self::AuditRead
            | Self::SigningKeysRead => true,
            Self::AuthMethodsWrite
            | Self::K8sAuthConfigsWrite
            | Self::Diagnose
            | Self::GatewaysWrite
            | Self::RolesWrite
            | Self::TokensCheck
            | Self::TokensRevoke
            | Self::SigningKeysWrite
            | Self::GatewaySync => false,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|permission| permission.as_str() == text)
            .ok_or_else(|| UnknownPermission(text.chars().take(64).collect()))
    }
}

// === impl Permissions ===

impl Permissions {
    /// Whether the permission is among them.
    pub fn has(&self, permission: Permission) -> bool {
        self.0.contains(&permission)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = Permission> + '_ {
        self.0.iter().copied()
    }

    /// Those of `other` that aren't here.
    pub fn missing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Permission> + 'a {
        other.iter().filter(|permission| !self.has(*permission))
    }

    /// Takes `other`'s in too.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_its_text() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(*permission));
        }
        assert!("admin".parse::<Permission>().is_err());
        assert!("".parse::<Permission>().is_err());
    }

    #[test]
    fn what_is_missing_is_said() {
        let few = Permissions::from_iter([Permission::AuditRead]);
        let more = Permissions::from_iter([Permission::AuditRead, Permission::RolesWrite]);
        assert_eq!(
            few.missing(&more).collect::<Vec<_>>(),
            [Permission::RolesWrite]
        );
        assert_eq!(more.missing(&few).count(), 0);
    }
}
