use std::collections::BTreeMap;

use postern_core::access_token::{AccessKey, AccessToken};
use postern_core::association::{Association, RequiredSubClaims};
use postern_core::audit::EventKind;
use postern_core::auth_method::{AuthMethod, Settings};
use postern_core::meta::Stored;
use postern_core::permission::{Permission, Permissions};
use postern_core::role::{BuiltIn, Capability, Role, RoleRule, RoleSettings};
use uuid::Uuid;

use super::bed::Bed;
use super::fixtures::{Login, cause, noon};
use super::tokens;
use crate::store::{
    AssociationFilter, Cause, Etag, EventFilter, Intent, MethodRef, NewAssociation, Session,
    WriteError,
};

super::on_both_engines! {
    a_role_is_read_as_it_was_written,
    every_deployment_has_the_built_in_roles_and_nobody_changes_them,
    nobody_gives_more_than_they_hold,
    nobody_changes_what_holds_more_than_they_do,
    a_role_in_use_goes_by_force_only_and_takes_its_associations_along,
    an_association_gives_permissions_at_once_and_takes_them_at_once,
    the_last_administrator_stays,
    a_role_that_cant_be_read_is_an_error_and_no_permission,
    under_force_sub_claims_only_associations_that_name_some_count,
    associations_are_listed_once_each_and_by_filter,
}

pub(super) fn role(id: &str, permissions: &[Permission]) -> Role {
    Role {
        id: id.parse().unwrap(),
        uid: Uuid::now_v7(),
        settings: RoleSettings {
            description: "for a test".to_owned(),
            rules: vec![
                RoleRule::new(
                    "/{{namespace}}/*".parse().unwrap(),
                    vec![Capability::Read, Capability::List],
                    Some(noon()),
                )
                .unwrap(),
            ],
            permissions: permissions.iter().copied().collect(),
            delete_protection: false,
        },
    }
}

/// Somebody who may write roles, and holds these permissions beside.
pub(super) fn cause_with(request_id: &str, permissions: &[Permission]) -> Cause {
    Cause {
        permissions: permissions.iter().copied().collect(),
        ..cause(request_id)
    }
}

fn associated(method: &AuthMethod, role: &str) -> NewAssociation {
    NewAssociation {
        uid: Uuid::now_v7(),
        auth_method: MethodRef::Id(method.id.clone()),
        role: role.parse().unwrap(),
        sub_claims: match method.settings.force_sub_claims {
            true => any_namespace(),
            false => RequiredSubClaims::default(),
        },
    }
}

fn any_namespace() -> RequiredSubClaims {
    let claims = BTreeMap::from([("namespace".to_owned(), vec!["*".to_owned()])]);
    RequiredSubClaims::new(claims, false).unwrap()
}

pub(super) async fn create(bed: &Bed, role: &Role) -> Stored<Role> {
    let created = bed
        .store
        .create_role(role, Intent::Write, &cause("setup"))
        .await;
    created.unwrap()
}

pub(super) async fn associate(bed: &Bed, method: &AuthMethod, role: &str) -> Stored<Association> {
    let new = associated(method, role);
    let created = bed
        .store
        .create_association(&new, Intent::Write, &cause("setup"))
        .await;
    created.unwrap()
}

/// An access-key method with its key.
pub(super) async fn administrator(bed: &Bed, id: &str) -> (AuthMethod, AccessKey) {
    let key = AccessKey::generate().unwrap();
    let method = AuthMethod {
        id: id.parse().unwrap(),
        ..super::fixtures::root()
    };
    let created = bed
        .store
        .create_auth_method(&method, Some(&key.hash()), Intent::Write, &cause("setup"))
        .await;
    (created.unwrap().value, key)
}

/// What a token that is drawn right now may do.
async fn permissions(bed: &Bed, method: &AuthMethod, key: &AccessKey) -> Permissions {
    let token = AccessToken::generate().unwrap();
    let login = tokens::log_in(&method.access_id, key, &token);
    bed.store.log_in(&login).await.unwrap();
    let Some(Session::Holder { permissions, .. }) =
        bed.store.session(&token.hash(), noon()).await.unwrap()
    else {
        panic!("a holder's session");
    };
    permissions
}

async fn a_role_is_read_as_it_was_written(bed: Bed) {
    let role = role("team/readers", &[Permission::AuditRead]);
    let created = bed
        .store
        .create_role(&role, Intent::Write, &cause("r1"))
        .await;
    let created = created.unwrap();
    let read = bed.store.get_role(&role.id).await.unwrap().unwrap();
    assert_eq!((&read.value, read.revision), (&role, created.revision));
    let record = bed.record("r1").await;
    assert_eq!(record.kind, EventKind::RoleCreated);
    assert!(record.after.unwrap().contains("/{{namespace}}/*"));

    let again = bed
        .store
        .create_role(&role, Intent::Write, &cause("r2"))
        .await;
    assert!(matches!(again, Err(WriteError::Exists)));
    let edit = |current: &Role| {
        Ok(RoleSettings {
            description: "changed".to_owned(),
            ..current.settings.clone()
        })
    };
    let stale = bed
        .store
        .update_role(
            &role.id,
            Etag::Revision(0),
            edit,
            Intent::Write,
            &cause("r3"),
        )
        .await;
    assert!(matches!(stale, Err(WriteError::Stale { .. })));
    let seen = Etag::Revision(created.revision);
    let updated = bed
        .store
        .update_role(&role.id, seen, edit, Intent::Write, &cause("r4"))
        .await;
    assert_eq!(updated.unwrap().value.settings.description, "changed");
    assert_eq!(bed.record("r4").await.kind, EventKind::RoleUpdated);
    let checked = bed
        .store
        .create_role(
            &super::roles::role("x", &[]),
            Intent::ValidateOnly,
            &cause("r5"),
        )
        .await;
    assert!(checked.is_ok());
    assert!(
        bed.store
            .get_role(&"x".parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
}

async fn every_deployment_has_the_built_in_roles_and_nobody_changes_them(bed: Bed) {
    let listed = bed.store.list_roles(None, 10).await.unwrap();
    let names: Vec<_> = listed
        .items
        .iter()
        .map(|role| role.value.id.as_str())
        .collect();
    assert_eq!(names, ["admin", "auditor", "gateway", "operator"]);
    for built_in in BuiltIn::ALL {
        let id = built_in.as_str().parse().unwrap();
        let role = bed.store.get_role(&id).await.unwrap().unwrap().value;
        assert_eq!(role.permissions(), built_in.permissions());
        let edit = |current: &Role| Ok(current.settings.clone());
        let updated = bed
            .store
            .update_role(&id, Etag::Any, edit, Intent::Write, &cause("r1"))
            .await;
        assert!(matches!(updated, Err(WriteError::BuiltIn)));
        let deleted = bed
            .store
            .delete_role(&id, Etag::Any, true, &cause("r2"))
            .await;
        assert!(matches!(deleted, Err(WriteError::BuiltIn)));
    }
}

async fn nobody_gives_more_than_they_hold(bed: Bed) {
    let few = cause_with("r", &[Permission::RolesWrite, Permission::AuditRead]);
    let own = role("own", &[Permission::AuditRead]);
    assert!(
        bed.store
            .create_role(&own, Intent::Write, &few)
            .await
            .is_ok()
    );
    let more = role("more", &[Permission::AuditRead, Permission::GatewaysWrite]);
    let refused = bed.store.create_role(&more, Intent::Write, &few).await;
    assert!(
        matches!(&refused, Err(WriteError::BeyondOwn(missing)) if missing == &[Permission::GatewaysWrite])
    );
    let edit = |current: &Role| {
        Ok(RoleSettings {
            permissions: Permissions::from_iter([Permission::AuthMethodsWrite]),
            ..current.settings.clone()
        })
    };
    let refused = bed
        .store
        .update_role(&own.id, Etag::Any, edit, Intent::Write, &few)
        .await;
    assert!(matches!(refused, Err(WriteError::BeyondOwn(_))));
    let (method, _) = bed.method("m").await;
    let refused = bed
        .store
        .create_association(&associated(&method, "admin"), Intent::Write, &few)
        .await;
    assert!(matches!(refused, Err(WriteError::BeyondOwn(_))));
    // Not even an administrator gives what is a gateway's own.
    let everything = cause("r");
    let refused = bed
        .store
        .create_association(&associated(&method, "gateway"), Intent::Write, &everything)
        .await;
    assert!(
        matches!(&refused, Err(WriteError::BeyondOwn(missing)) if missing == &[Permission::GatewaySync])
    );
    assert_eq!(bed.count("SELECT COUNT(*) FROM associations").await, 0);
}

async fn nobody_changes_what_holds_more_than_they_do(bed: Bed) {
    create(&bed, &role("strong", &[Permission::GatewaysWrite])).await;
    let (method, _) = bed.method("m").await;
    let given = associate(&bed, &method, "strong").await;
    let few = cause_with(
        "r",
        &[
            Permission::RolesWrite,
            Permission::AuthMethodsWrite,
            Permission::K8sAuthConfigsWrite,
        ],
    );
    let strong = "strong".parse().unwrap();
    let by_id = MethodRef::Id(method.id.clone());
    let weaker = |current: &Role| {
        Ok(RoleSettings {
            permissions: Permissions::default(),
            ..current.settings.clone()
        })
    };
    let store = &bed.store;
    let same = |current: &AuthMethod| Ok(current.settings.clone());
    let same_claims = |current: &Association| Ok(current.sub_claims.clone());
    let refusals = [
        store
            .update_role(&strong, Etag::Any, weaker, Intent::Write, &few)
            .await
            .map(|_| ()),
        store.delete_role(&strong, Etag::Any, true, &few).await,
        store
            .update_association(given.value.uid, Etag::Any, same_claims, Intent::Write, &few)
            .await
            .map(|_| ()),
        store
            .delete_association(given.value.uid, Etag::Any, &few)
            .await,
        store
            .update_auth_method(&by_id, Etag::Any, same, Intent::Write, &few)
            .await
            .map(|_| ()),
        store
            .delete_auth_method(&by_id, Etag::Any, true, &few)
            .await,
    ];
    for (i, refusal) in refusals.iter().enumerate() {
        assert!(matches!(refusal, Err(WriteError::BeyondOwn(_))), "{i}");
    }
    let gateway = bed.gateway("g").await;
    let config = super::fixtures::config(&gateway, "c", &method);
    let refused = store.create_config(&config, Intent::Write, &few).await;
    assert!(matches!(refused, Err(WriteError::BeyondOwn(_))));
}

async fn a_role_in_use_goes_by_force_only_and_takes_its_associations_along(bed: Bed) {
    let role = create(&bed, &role("r", &[])).await.value;
    let (method, _) = bed.method("m").await;
    let association = associate(&bed, &method, "r").await.value;
    let refused = bed
        .store
        .delete_role(&role.id, Etag::Any, false, &cause("r1"))
        .await;
    assert!(matches!(&refused, Err(WriteError::InUse(names)) if names == &[association.name()]));
    let by_id = MethodRef::Id(method.id.clone());
    let refused = bed
        .store
        .delete_auth_method(&by_id, Etag::Any, false, &cause("r2"))
        .await;
    assert!(matches!(&refused, Err(WriteError::InUse(names)) if names == &[association.name()]));
    bed.store
        .delete_role(&role.id, Etag::Any, true, &cause("r3"))
        .await
        .unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM associations").await, 0);
    let events = bed
        .store
        .list_events(&EventFilter::request("r3"), None, 10)
        .await
        .unwrap()
        .items;
    let mut kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["association.deleted", "role.deleted"]);
}

async fn an_association_gives_permissions_at_once_and_takes_them_at_once(bed: Bed) {
    let (method, key) = administrator(&bed, "clerk").await;
    assert!(permissions(&bed, &method, &key).await.is_empty());
    let given = associate(&bed, &method, "auditor").await;
    let held = permissions(&bed, &method, &key).await;
    assert_eq!(held, BuiltIn::Auditor.permissions());
    let twice = bed
        .store
        .create_association(&associated(&method, "auditor"), Intent::Write, &cause("r1"))
        .await;
    assert!(matches!(twice, Err(WriteError::Exists)));
    let (other, _) = administrator(&bed, "root").await;
    associate(&bed, &other, "admin").await;
    bed.store
        .delete_association(given.value.uid, Etag::Any, &cause("r2"))
        .await
        .unwrap();
    assert!(permissions(&bed, &method, &key).await.is_empty());
}

async fn the_last_administrator_stays(bed: Bed) {
    let (first, _) = administrator(&bed, "first").await;
    let given = associate(&bed, &first, "admin").await;
    let by_id = MethodRef::Id(first.id.clone());
    let store = &bed.store;
    let disable = |current: &AuthMethod| {
        Ok(Settings {
            disabled: true,
            ..current.settings.clone()
        })
    };
    let end = |current: &AuthMethod| {
        Ok(Settings {
            access_expires: Some(noon()),
            ..current.settings.clone()
        })
    };
    let refusals = [
        store
            .update_auth_method(&by_id, Etag::Any, disable, Intent::Write, &cause("r1"))
            .await
            .map(|_| ()),
        store
            .update_auth_method(&by_id, Etag::Any, end, Intent::Write, &cause("r2"))
            .await
            .map(|_| ()),
        store
            .delete_auth_method(&by_id, Etag::Any, true, &cause("r3"))
            .await,
        store
            .delete_association(given.value.uid, Etag::Any, &cause("r4"))
            .await,
    ];
    for (i, refusal) in refusals.iter().enumerate() {
        assert!(
            matches!(refusal, Err(WriteError::NoAdministratorLeft)),
            "{i}"
        );
    }
    let (second, _) = administrator(&bed, "second").await;
    associate(&bed, &second, "admin").await;
    store
        .delete_auth_method(&by_id, Etag::Any, true, &cause("r5"))
        .await
        .unwrap();
}

async fn under_force_sub_claims_only_associations_that_name_some_count(bed: Bed) {
    bed.root().await;
    let (method, key) = bed.method("m").await;
    let force = async |forced: bool| {
        let by_id = MethodRef::Id(method.id.clone());
        let edit = |current: &AuthMethod| {
            Ok(Settings {
                force_sub_claims: forced,
                ..current.settings.clone()
            })
        };
        bed.store
            .update_auth_method(&by_id, Etag::Any, edit, Intent::Write, &cause("setup"))
            .await
            .unwrap()
            .value
    };
    let everybodys = associated(&force(false).await, "auditor");
    let created = bed
        .store
        .create_association(&everybodys, Intent::Write, &cause("r1"))
        .await;
    let created = created.unwrap();
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let login = Login::new(&method, &key, &gateway, &config);
    bed.store.exchange(&login.request("r2")).await.unwrap();
    let held = async || {
        let token = login.token.hash();
        match bed.store.session(&token, noon()).await.unwrap() {
            Some(Session::Holder { permissions, .. }) => permissions,
            _ => panic!("a holder's session"),
        }
    };
    assert_eq!(held().await, BuiltIn::Auditor.permissions());

    force(true).await;
    assert!(held().await.is_empty(), "found, it counts for nothing");
    let another = NewAssociation {
        role: "operator".parse().unwrap(),
        ..everybodys
    };
    let refused = bed
        .store
        .create_association(&another, Intent::Write, &cause("r3"))
        .await;
    assert!(matches!(refused, Err(WriteError::Invalid(_))));
    let uid = created.value.uid;
    let cleared = |_: &Association| Ok(RequiredSubClaims::default());
    let refused = bed
        .store
        .update_association(uid, Etag::Any, cleared, Intent::Write, &cause("r4"))
        .await;
    assert!(matches!(refused, Err(WriteError::Invalid(_))));
    let named = |_: &Association| Ok(any_namespace());
    bed.store
        .update_association(uid, Etag::Any, named, Intent::Write, &cause("r5"))
        .await
        .unwrap();
    assert_eq!(held().await, BuiltIn::Auditor.permissions());
}

async fn a_role_that_cant_be_read_is_an_error_and_no_permission(bed: Bed) {
    create(&bed, &role("r", &[Permission::AuditRead])).await;
    let (method, key) = administrator(&bed, "clerk").await;
    associate(&bed, &method, "r").await;
    let token = AccessToken::generate().unwrap();
    let login = tokens::log_in(&method.access_id, &key, &token);
    bed.store.log_in(&login).await.unwrap();
    for statement in [
        "UPDATE associations SET sub_claims = '{}'",
        "UPDATE associations SET sub_claims = '{\"claims\":{\"email\":[\"a\"]},\"case_insensitive\":false}'",
        "UPDATE roles SET rules = '[{\"path\":\"/a\",\"capabilities\":[\"fly\"]}]' WHERE id = 'r'",
    ] {
        bed.store.raw(statement).await;
        let found = bed.store.session(&token.hash(), noon()).await;
        assert!(found.is_err(), "{statement}");
    }
}

async fn associations_are_listed_once_each_and_by_filter(bed: Bed) {
    let mut wanted = Vec::new();
    for id in ["a", "b", "c"] {
        let (method, _) = bed.method(id).await;
        for namespace in ["x", "y"] {
            let claims = BTreeMap::from([("namespace".to_owned(), vec![namespace.to_owned()])]);
            let new = NewAssociation {
                sub_claims: RequiredSubClaims::new(claims, true).unwrap(),
                ..associated(&method, "operator")
            };
            let created = bed
                .store
                .create_association(&new, Intent::Write, &cause("setup"))
                .await;
            wanted.push(created.unwrap().value);
        }
    }
    let everything = AssociationFilter::default();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = bed
            .store
            .list_associations(&everything, after.as_ref(), 4)
            .await
            .unwrap();
        after = page
            .items
            .last()
            .map(|last| crate::store::AssociationCursor {
                create_time: last.create_time,
                uid: last.value.uid,
            });
        seen.extend(page.items.into_iter().map(|stored| stored.value));
        if !page.more {
            break;
        }
    }
    seen.sort_by_key(|association| association.uid);
    wanted.sort_by_key(|association| association.uid);
    assert_eq!(seen, wanted);
    for (auth_method, role, count) in [("b", None, 2), ("b", Some("admin"), 0)] {
        let filter = AssociationFilter {
            auth_method: Some(MethodRef::Id(auth_method.parse().unwrap())),
            role: role.map(|role: &str| role.parse().unwrap()),
        };
        let page = bed.store.list_associations(&filter, None, 10).await;
        assert_eq!(page.unwrap().items.len(), count, "{auth_method} {role:?}");
    }
}
