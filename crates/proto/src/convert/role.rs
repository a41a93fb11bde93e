//! `Role` and what stands in it.

use postern_core::invalid::{Invalid, Violations};
use postern_core::permission::{Permission, Permissions};
use postern_core::role::{Capability, PathPattern, Role, RoleRule, RoleSettings};
use prost_types::FieldMask;

use super::mask::{Mask, take};
use super::time;
use crate::pb;

const UPDATABLE: &[&str] = &["description", "rules", "permissions", "delete_protection"];

/// The settings that a create asks for.
///
/// # Errors
/// Every fault at once, by field.
pub fn settings(wire: &pb::Role) -> Result<RoleSettings, Invalid> {
    let mut faults = Violations::default();
    let rules: Vec<_> = (0..)
        .zip(&wire.rules)
        .filter_map(|(i, wire): (usize, _)| {
            faults.absorb(rule(wire).map_err(|invalid| invalid.within(&format!("rules[{i}]"))))
        })
        .collect();
    let permissions: Permissions = (0..)
        .zip(&wire.permissions)
        .filter_map(|(i, text): (usize, _)| {
            faults.check(format!("permissions[{i}]"), text.parse::<Permission>())
        })
        .collect();
    let settings = RoleSettings {
        description: wire.description.clone().unwrap_or_default(),
        rules,
        permissions,
        delete_protection: wire.delete_protection.unwrap_or_default(),
    };
    faults.absorb(settings.check());
    faults.finish()?;
    Ok(settings)
}

fn rule(wire: &pb::RoleRule) -> Result<RoleRule, Invalid> {
    let mut faults = Violations::default();
    let path = faults.check("path", wire.path.parse::<PathPattern>());
    let mut capabilities = Vec::with_capacity(wire.capabilities.len());
    // The generated iterator leaves out what it doesn't know: a newer one would be lost, not refused.
    for (i, number) in wire.capabilities.iter().enumerate() {
        match pb::Capability::try_from(*number).ok().and_then(capability) {
            Some(capability) => capabilities.push(capability),
            None => faults.add(
                format!("capabilities[{i}]"),
                "is none that this server knows",
            ),
        }
    }
    let expire_time = wire
        .expire_time
        .as_ref()
        .map(time::from_timestamp)
        .transpose();
    let expire_time = faults.check("expire_time", expire_time);
    let (Some(path), Some(expire_time)) = (path, expire_time) else {
        return Err(faults.into_invalid());
    };
    let rule = faults.absorb(RoleRule::new(path, capabilities, expire_time));
    faults.finish()?;
    rule.ok_or_else(|| Invalid::field("", "incomplete"))
}

/// `None` for what isn't said, or only a newer version knows.
pub fn capability(wire: pb::Capability) -> Option<Capability> {
    match wire {
        pb::Capability::Unspecified => None,
        pb::Capability::Read => Some(Capability::Read),
        pb::Capability::Create => Some(Capability::Create),
        pb::Capability::Update => Some(Capability::Update),
        pb::Capability::Delete => Some(Capability::Delete),
        pb::Capability::List => Some(Capability::List),
        pb::Capability::Deny => Some(Capability::Deny),
    }
}

fn capability_to_pb(capability: Capability) -> pb::Capability {
    match capability {
        Capability::Read => pb::Capability::Read,
        Capability::Create => pb::Capability::Create,
        Capability::Update => pb::Capability::Update,
        Capability::Delete => pb::Capability::Delete,
        Capability::List => pb::Capability::List,
        Capability::Deny => pb::Capability::Deny,
    }
}

/// The settings after an update: `current` with what `patch` changes under `mask`.
///
/// # Errors
/// Every fault at once, by field; a mask that names an unknown or output-only field.
pub fn updated_settings(
    current: &Role,
    patch: &pb::Role,
    mask: Option<&FieldMask>,
) -> Result<RoleSettings, Invalid> {
    let mut faults = Violations::default();
    let mask = Mask::parse(mask, UPDATABLE, &mut faults);
    faults.finish()?;
    let mut merged = to_pb(current);
    take!(
        mask,
        "description",
        merged.description,
        patch.description.clone(),
        patch.description.is_some()
    );
    take!(
        mask,
        "rules",
        merged.rules,
        patch.rules.clone(),
        !patch.rules.is_empty()
    );
    take!(
        mask,
        "permissions",
        merged.permissions,
        patch.permissions.clone(),
        !patch.permissions.is_empty()
    );
    take!(
        mask,
        "delete_protection",
        merged.delete_protection,
        patch.delete_protection,
        patch.delete_protection.is_some()
    );
    settings(&merged)
}

/// On the wire, without `meta`.
pub fn to_pb(role: &Role) -> pb::Role {
    let settings = &role.settings;
    pb::Role {
        name: role.id.role_name(),
        meta: None,
        description: Some(settings.description.clone()),
        rules: settings.rules.iter().map(rule_to_pb).collect(),
        permissions: role.permissions().iter().map(|p| p.to_string()).collect(),
        delete_protection: Some(settings.delete_protection),
        built_in: role.built_in().is_some(),
    }
}

fn rule_to_pb(rule: &RoleRule) -> pb::RoleRule {
    pb::RoleRule {
        path: rule.path.to_string(),
        capabilities: rule
            .capabilities
            .iter()
            .map(|capability| capability_to_pb(*capability).into())
            .collect(),
        expire_time: rule.expire_time.map(time::timestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_role_is_named_by_its_field() {
        let wire = pb::Role {
            rules: vec![
                pb::RoleRule {
                    path: "/a//b".to_owned(),
                    capabilities: vec![pb::Capability::Read.into()],
                    expire_time: None,
                },
                pb::RoleRule {
                    path: "/a".to_owned(),
                    capabilities: vec![99],
                    expire_time: None,
                },
            ],
            permissions: vec!["audit.read".to_owned(), "everything".to_owned()],
            ..pb::Role::default()
        };
        let invalid = settings(&wire).unwrap_err();
        let fields: Vec<_> = invalid
            .violations()
            .iter()
            .map(|v| v.field.as_str())
            .collect();
        assert_eq!(
            fields,
            [
                "rules[0].path",
                "rules[1].capabilities[0]",
                "rules[1].capabilities",
                "permissions[1]"
            ]
        );
    }

    #[test]
    fn a_role_reads_as_it_was_written() {
        let wire = pb::Role {
            name: "roles/a/b".to_owned(),
            description: Some("x".to_owned()),
            rules: vec![pb::RoleRule {
                path: "/{{namespace}}/*".to_owned(),
                capabilities: vec![pb::Capability::Read.into(), pb::Capability::List.into()],
                expire_time: Some(prost_types::Timestamp {
                    seconds: 5,
                    nanos: 0,
                }),
            }],
            permissions: vec!["audit.read".to_owned()],
            delete_protection: Some(true),
            ..pb::Role::default()
        };
        let role = Role {
            id: "a/b".parse().unwrap(),
            uid: uuid::Uuid::from_u128(77),
            settings: settings(&wire).unwrap(),
        };
        assert_eq!(to_pb(&role), wire);
    }
}
