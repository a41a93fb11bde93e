//! Nobody comes, by a method, a config or a gateway, to what they don't hold themselves.

use postern_core::access_token::AccessKey;
use postern_core::auth_method::{AuthMethod, Settings};
use postern_core::invalid::Invalid;
use postern_core::permission::Permission;
use postern_core::role::BuiltIn;

use super::bed::Bed;
use super::fixtures;
use super::roles::{administrator, associate, create, role};
use crate::store::{Cause, Etag, Gateway, Intent, MethodRef, NewKey, WriteError};

super::on_both_engines! {
    giving_a_role_with_a_new_method_needs_the_right_to_write_roles,
    a_method_with_rules_of_paths_is_changed_by_whoever_may_write_roles,
    a_method_without_roles_is_changed_by_an_operator,
    a_config_stays_with_a_method_that_holds_more,
    no_role_is_taken_by_force_from_a_method_that_holds_more,
    a_gateway_for_a_method_that_holds_more_is_left_alone,
    a_gateway_for_methods_that_hold_no_more_is_kept_by_an_operator,
}

fn operator() -> Cause {
    Cause {
        permissions: BuiltIn::Operator.permissions(),
        ..fixtures::cause("operator")
    }
}

fn name(method: &AuthMethod) -> MethodRef {
    MethodRef::Id(method.id.clone())
}

fn new_key() -> NewKey {
    NewKey {
        hash: AccessKey::generate().unwrap().hash(),
        overlap: None,
    }
}

#[track_caller]
fn needs<T: std::fmt::Debug>(answer: Result<T, WriteError>, permission: Permission) {
    assert!(
        matches!(&answer, Err(WriteError::BeyondOwn(missing)) if missing == &[permission]),
        "{answer:?}"
    );
}

async fn giving_a_role_with_a_new_method_needs_the_right_to_write_roles(bed: Bed) {
    create(&bed, &role("paths", &[])).await;
    let mut bare = role("bare", &[]);
    bare.settings.rules.clear();
    create(&bed, &bare).await;
    let make = async |roles: &[&str], cause: &Cause| {
        let roles: Vec<_> = roles.iter().map(|role| role.parse().unwrap()).collect();
        let (method, key) = (fixtures::administrator("clerk"), new_key());
        let intent = Intent::ValidateOnly;
        let store = &bed.store;
        store
            .create_auth_method_with(&method, Some(&key.hash), &roles, intent, cause)
            .await
    };
    for role in ["paths", "bare", "auditor"] {
        needs(make(&[role], &operator()).await, Permission::RolesWrite);
        make(&[role], &fixtures::cause("r")).await.unwrap();
    }
    make(&[], &operator()).await.unwrap();
}

/// All that is done to an access-key method.
async fn all_writes(bed: &Bed, method: &AuthMethod) -> Vec<Result<(), WriteError>> {
    let (store, by, any) = (&bed.store, operator(), Etag::Any);
    let (current, write) = (name(method), Intent::Write);
    let described = |current: &AuthMethod| {
        Ok(Settings {
            description: "changed".to_owned(),
            ..current.settings.clone()
        })
    };
    let keys = store.keys_of_methods(&method.id, &method.id).await.unwrap();
    let old = &keys.of(method.uid)[0].id;
    let overlapping = NewKey {
        overlap: super::access_keys::overlap(60),
        ..new_key()
    };
    let (new_name, key) = ("renamed".parse().unwrap(), overlapping);
    let updated = store.update_auth_method(&current, any, described, write, &by);
    let updated = updated.await.map(|_| ());
    let rotated = store.rotate_access_key(&current, any, &key, write, &by);
    let rotated = rotated.await.map(|_| ());
    let revoked = store.revoke_access_key(&current, any, (old, None), write, &by);
    let revoked = revoked.await.map(|_| ());
    let renamed = store.rename_auth_method(&current, any, &new_name, write, &by);
    let renamed = renamed.await.map(|method| method.value);
    let last = renamed.as_ref().map_or(current.clone(), name);
    let deleted = store.delete_auth_method(&last, any, true, &by).await;
    vec![updated, rotated, revoked, renamed.map(|_| ()), deleted]
}

async fn a_method_with_rules_of_paths_is_changed_by_whoever_may_write_roles(bed: Bed) {
    bed.root().await;
    create(&bed, &role("paths", &[])).await;
    let (method, _) = administrator(&bed, "reader").await;
    associate(&bed, &method, "paths").await;
    for answer in all_writes(&bed, &method).await {
        needs(answer, Permission::RolesWrite);
    }
    let (by_id, key, by) = (name(&method), new_key(), fixtures::cause("r"));
    let rotated = bed
        .store
        .rotate_access_key(&by_id, Etag::Any, &key, Intent::Write, &by);
    rotated.await.unwrap();
}

async fn a_method_without_roles_is_changed_by_an_operator(bed: Bed) {
    bed.root().await;
    let (method, _) = administrator(&bed, "reader").await;
    for (i, answer) in all_writes(&bed, &method).await.into_iter().enumerate() {
        answer.unwrap_or_else(|fault| panic!("{i}: {fault:?}"));
    }
}

async fn a_config_stays_with_a_method_that_holds_more(bed: Bed) {
    create(&bed, &role("paths", &[])).await;
    let gateway = bed.gateway("g").await;
    let (strong, _) = bed.method("strong").await;
    let (weak, _) = bed.method("weak").await;
    let config = bed.config(&gateway, "c", &strong).await.value;
    associate(&bed, &strong, "paths").await;
    let mut moved = fixtures::config(&gateway, "c", &weak);
    (moved.view.uid, moved.view.generation) = (config.view.uid, 2);
    let (store, by, any) = (&bed.store, operator(), Etag::Any);
    let refused = store.update_config(&moved, any, Intent::Write, &by).await;
    needs(refused, Permission::RolesWrite);
    let deleted = store.delete_config(&config.view.name, any, &by).await;
    needs(deleted, Permission::RolesWrite);

    let by_administrator = fixtures::cause("r");
    let done = store.update_config(&moved, any, Intent::Write, &by_administrator);
    done.await.unwrap();
    let deleted = store.delete_config(&config.view.name, any, &by).await;
    deleted.unwrap();
}

async fn no_role_is_taken_by_force_from_a_method_that_holds_more(bed: Bed) {
    create(&bed, &role("denies", &[])).await;
    let (method, _) = administrator(&bed, "keeper").await;
    associate(&bed, &method, "denies").await;
    associate(&bed, &method, "auditor").await;
    let mut by = operator();
    by.permissions = BuiltIn::Admin
        .permissions()
        .iter()
        .filter(|held| *held != Permission::AuditRead)
        .collect();
    let (store, denies) = (&bed.store, "denies".parse().unwrap());
    let refused = store.delete_role(&denies, Etag::Any, true, &by).await;
    needs(refused, Permission::AuditRead);
    assert_eq!(bed.count("SELECT COUNT(*) FROM associations").await, 2);
    by.permissions = BuiltIn::Admin.permissions();
    let deleted = store.delete_role(&denies, Etag::Any, true, &by).await;
    deleted.unwrap();
}

/// All that is done to a gateway by which somebody could stand in its place, or close it.
async fn all_gateway_writes(bed: &Bed, gateway: &Gateway) -> Vec<Result<(), WriteError>> {
    let (store, by, any) = (&bed.store, operator(), Etag::Any);
    let (name, write) = (&gateway.name, Intent::Write);
    let moved = |current: &Gateway| -> Result<Gateway, Invalid> {
        Ok(Gateway {
            url: "https://elsewhere.example:8000".to_owned(),
            ..current.clone()
        })
    };
    let disabled = |current: &Gateway| -> Result<Gateway, Invalid> {
        Ok(Gateway {
            disabled: true,
            ..current.clone()
        })
    };
    let key = new_key();
    let rotated = store.rotate_gateway_key(name, any, &key, write, &by);
    vec![
        rotated.await.map(|_| ()),
        store
            .update_gateway(name, any, moved, write, &by)
            .await
            .map(|_| ()),
        store
            .update_gateway(name, any, disabled, write, &by)
            .await
            .map(|_| ()),
        store.delete_gateway(name, any, true, &by).await,
    ]
}

async fn a_gateway_for_a_method_that_holds_more_is_left_alone(bed: Bed) {
    let gateway = bed.gateway("g").await;
    let (method, _) = bed.method("m").await;
    bed.config(&gateway, "c", &method).await;
    let mut strong = role("strong", &[Permission::SigningKeysWrite]);
    strong.settings.rules.clear();
    create(&bed, &strong).await;
    associate(&bed, &method, "strong").await;
    for answer in all_gateway_writes(&bed, &gateway).await {
        needs(answer, Permission::SigningKeysWrite);
    }
    let described = |current: &Gateway| -> Result<Gateway, Invalid> {
        Ok(Gateway {
            description: "in the cellar".to_owned(),
            ..current.clone()
        })
    };
    let (name, by) = (&gateway.name, operator());
    let update = bed
        .store
        .update_gateway(name, Etag::Any, described, Intent::Write, &by);
    update.await.unwrap();
}

async fn a_gateway_for_methods_that_hold_no_more_is_kept_by_an_operator(bed: Bed) {
    let gateway = bed.gateway("g").await;
    let (method, _) = bed.method("m").await;
    bed.config(&gateway, "c", &method).await;
    associate(&bed, &method, "auditor").await;
    for (i, answer) in all_gateway_writes(&bed, &gateway)
        .await
        .into_iter()
        .enumerate()
    {
        answer.unwrap_or_else(|fault| panic!("{i}: {fault:?}"));
    }
}
