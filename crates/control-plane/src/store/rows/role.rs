//! `roles` and `associations`.

use jiff::Timestamp;
use postern_core::association::{Association, RequiredSubClaims};
use postern_core::meta::Stored;
use postern_core::permission::{Permission, Permissions};
use postern_core::role::{Capability, Given, Role, RoleRule, RoleSettings};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Inconsistent, RowOf, to_json};
use crate::store::StoreError;

#[derive(sqlx::FromRow)]
pub(in crate::store) struct RoleRow {
    uid: String,
    pub(in crate::store) id: String,
    description: String,
    rules: String,
    permissions: String,
    delete_protection: bool,
    revision: i64,
    create_time: i64,
    update_time: i64,
}

/// A rule as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDocument {
    path: String,
    capabilities: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expire_time: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
pub(in crate::store) struct AssociationRow {
    uid: String,
    auth_method: String,
    role: String,
    sub_claims: String,
    revision: i64,
    create_time: i64,
    update_time: i64,
}

/// What stands in a row beside its ID, UID and times.
pub(in crate::store) struct RoleColumns {
    pub(in crate::store) rules: String,
    pub(in crate::store) permissions: String,
}

impl RoleColumns {
    pub(in crate::store) fn of(settings: &RoleSettings) -> Result<Self, StoreError> {
        let rules: Vec<RuleDocument> = settings.rules.iter().map(document).collect();
        let permissions: Vec<&str> = settings
            .permissions
            .iter()
            .map(Permission::as_str)
            .collect();
        Ok(Self {
            rules: to_json(&rules)?,
            permissions: to_json(&permissions)?,
        })
    }
}

fn document(rule: &RoleRule) -> RuleDocument {
    RuleDocument {
        path: rule.path.to_string(),
        capabilities: rule.capabilities.iter().map(ToString::to_string).collect(),
        expire_time: rule.expire_time,
    }
}

impl RoleRow {
    /// What it weighs on a page, in bytes.
    pub(in crate::store) fn weight(&self) -> usize {
        self.rules.len() + self.permissions.len() + self.description.len() + 512
    }
}

impl TryFrom<RoleRow> for Stored<Role> {
    type Error = Inconsistent;

    fn try_from(row: RoleRow) -> Result<Self, Self::Error> {
        let at = RowOf {
            table: "roles",
            key: &row.uid,
        };
        let rules: Vec<RuleDocument> = at.json("rules", &row.rules)?;
        let rules = rules.into_iter().map(|rule| parsed(&at, rule));
        let permissions: Vec<Permission> = at.list("permissions", &row.permissions)?;
        Ok(Self {
            value: Role {
                id: at.parsed("id", &row.id)?,
                uid: at.parsed("uid", &row.uid)?,
                settings: RoleSettings {
                    description: row.description.clone(),
                    rules: rules.collect::<Result<_, _>>()?,
                    permissions: Permissions::from_iter(permissions),
                    delete_protection: row.delete_protection,
                },
            },
            revision: row.revision,
            create_time: at.time("create_time", row.create_time)?,
            update_time: at.time("update_time", row.update_time)?,
        })
    }
}

fn parsed(at: &RowOf<'_>, rule: RuleDocument) -> Result<RoleRule, Inconsistent> {
    let capabilities: Result<Vec<Capability>, _> =
        rule.capabilities.iter().map(|text| text.parse()).collect();
    let capabilities = at.some("rules", capabilities.ok())?;
    let path = at.parsed("rules", &rule.path)?;
    let rule = RoleRule::new(path, capabilities, rule.expire_time);
    at.some("rules", rule.ok())
}

impl TryFrom<AssociationRow> for Stored<Association> {
    type Error = Inconsistent;

    fn try_from(row: AssociationRow) -> Result<Self, Self::Error> {
        let at = RowOf {
            table: "associations",
            key: &row.uid,
        };
        Ok(Self {
            value: Association {
                uid: at.parsed("uid", &row.uid)?,
                auth_method: at.parsed("method_uid", &row.auth_method)?,
                role: at.parsed("role_uid", &row.role)?,
                sub_claims: required(&at, &row.sub_claims)?,
            },
            revision: row.revision,
            create_time: at.time("create_time", row.create_time)?,
            update_time: at.time("update_time", row.update_time)?,
        })
    }
}

fn required(at: &RowOf<'_>, text: &str) -> Result<RequiredSubClaims, Inconsistent> {
    let stored: RequiredSubClaims = at.json("sub_claims", text)?;
    // What the API refuses to write denies when found stored.
    let checked = RequiredSubClaims::new(stored.claims().clone(), stored.case_insensitive());
    at.some("sub_claims", checked.ok())
}

/// An association by its UID, and what it gives.
pub(in crate::store) fn given(
    association_uid: &str,
    condition: &str,
    role: RoleRow,
) -> Result<(Uuid, Given), Inconsistent> {
    let at = RowOf {
        table: "associations",
        key: association_uid,
    };
    let given = Given {
        required: required(&at, condition)?,
        role: Stored::<Role>::try_from(role)?.value,
    };
    Ok((at.parsed("uid", association_uid)?, given))
}

/// Whether a role with this condition is had by a token with these sub-claims. `forced`: its
/// method has no role for every token.
pub(in crate::store) fn held(
    association_uid: &str,
    condition: &str,
    token: &postern_core::facts::SubClaims,
    forced: bool,
) -> Result<bool, Inconsistent> {
    let at = RowOf {
        table: "associations",
        key: association_uid,
    };
    let required = required(&at, condition)?;
    Ok(required.hold(token) && !(forced && required.is_empty()))
}
