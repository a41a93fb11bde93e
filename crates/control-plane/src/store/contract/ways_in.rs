//! Which administrator counts as the one that must be left.

use postern_core::auth_method::{AuthMethod, Settings, TokenUses};

use super::bed::Bed;
use super::fixtures::cause;
use super::roles::{administrator, associate};
use crate::store::{Cause, Etag, Intent, MethodRef, WriteError};

super::on_both_engines! {
    a_way_in_with_bounds_isnt_the_last_one_left,
    ones_own_way_in_may_be_bound_to_where_one_calls_from,
    where_all_ways_in_have_bounds_writes_go_on,
}

async fn admin(bed: &Bed, id: &str) -> AuthMethod {
    let (method, _) = administrator(bed, id).await;
    associate(bed, &method, "admin").await;
    method
}

async fn bind(bed: &Bed, method: &AuthMethod, ips: &str, by: &Cause) -> Result<(), WriteError> {
    let edit = |current: &AuthMethod| {
        Ok(Settings {
            bound_ips: vec![ips.parse().unwrap()],
            ..current.settings.clone()
        })
    };
    write(bed, method, edit, by).await
}

async fn write<F>(bed: &Bed, method: &AuthMethod, edit: F, by: &Cause) -> Result<(), WriteError>
where
    F: FnOnce(&AuthMethod) -> Result<Settings, postern_core::invalid::Invalid> + Send,
{
    let by_id = MethodRef::Id(method.id.clone());
    let written = bed
        .store
        .update_auth_method(&by_id, Etag::Any, edit, Intent::Write, by);
    written.await.map(|_| ())
}

async fn delete(bed: &Bed, method: &AuthMethod) -> Result<(), WriteError> {
    let by_id = MethodRef::Id(method.id.clone());
    bed.store
        .delete_auth_method(&by_id, Etag::Any, true, &cause("r"))
        .await
}

async fn a_way_in_with_bounds_isnt_the_last_one_left(bed: Bed) {
    let (open, limited) = (admin(&bed, "open").await, admin(&bed, "limited").await);
    let few = |current: &AuthMethod| {
        Ok(Settings {
            token_num_uses: TokenUses::parse(1).unwrap(),
            ..current.settings.clone()
        })
    };
    write(&bed, &limited, few, &cause("r")).await.unwrap();
    let bound = admin(&bed, "bound").await;
    bind(&bed, &bound, "10.1.1.1", &cause("r")).await.unwrap();
    for refused in [
        delete(&bed, &open).await,
        bind(&bed, &open, "10.1.1.1", &cause("r")).await,
        write(&bed, &open, few, &cause("r")).await,
    ] {
        assert!(
            matches!(refused, Err(WriteError::NoAdministratorLeft)),
            "{refused:?}"
        );
    }
}

async fn ones_own_way_in_may_be_bound_to_where_one_calls_from(bed: Bed) {
    let own = admin(&bed, "own").await;
    let by = Cause {
        access_id: own.access_id.to_string(),
        ..cause("r")
    };
    let refused = bind(&bed, &own, "192.0.2.0/24", &by).await;
    assert!(
        matches!(refused, Err(WriteError::NoAdministratorLeft)),
        "{refused:?}"
    );
    bind(&bed, &own, "10.0.0.0/8", &by).await.unwrap();
}

async fn where_all_ways_in_have_bounds_writes_go_on(bed: Bed) {
    let own = admin(&bed, "own").await;
    let by = Cause {
        access_id: own.access_id.to_string(),
        ..cause("r")
    };
    bind(&bed, &own, "10.0.0.0/8", &by).await.unwrap();
    let (clerk, _) = administrator(&bed, "clerk").await;
    delete(&bed, &clerk).await.unwrap();
    let refused = delete(&bed, &own).await;
    assert!(
        matches!(refused, Err(WriteError::NoAdministratorLeft)),
        "{refused:?}"
    );
}
