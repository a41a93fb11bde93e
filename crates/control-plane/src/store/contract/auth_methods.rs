use postern_core::audit::EventKind;
use postern_core::auth_method::{AuthMethod, Kind, Settings};
use postern_core::invalid::Invalid;

use super::bed::Bed;
use super::fixtures::{self, cause, key, kubernetes, method_key, noon, rule};
use crate::store::{Etag, EventFilter, Intent, MethodRef, WriteError};

super::on_both_engines! {
    a_method_is_read_as_it_was_written,
    a_name_is_taken_once,
    an_update_needs_the_version_that_it_changes,
    a_field_that_an_update_does_not_name_is_never_lost,
    a_refused_edit_leaves_nothing,
    keys_that_configs_sign_with_stay,
    a_method_in_use_goes_by_force_only,
    validating_keeps_nothing,
    pages_have_each_method_once_in_order,
}

fn by_id(method: &AuthMethod) -> MethodRef {
    MethodRef::Id(method.id.clone())
}

fn described(text: &str) -> impl FnOnce(&AuthMethod) -> Result<Settings, Invalid> + Send {
    let text = text.to_owned();
    move |current| {
        Ok(Settings {
            description: text,
            ..current.settings.clone()
        })
    }
}

async fn a_method_is_read_as_it_was_written(bed: Bed) {
    let (method, _) = fixtures::method("team/my-method");
    let created = bed
        .store
        .create_auth_method(&method, None, Intent::Write, &cause("r1"))
        .await
        .unwrap();
    assert_eq!(created.create_time, noon());
    for name in [
        by_id(&method),
        MethodRef::AccessId(method.access_id.clone()),
    ] {
        let read = bed
            .store
            .get_auth_method(&name)
            .await
            .unwrap()
            .expect("it is there");
        assert_eq!(format!("{:?}", read.value), format!("{method:?}"));
        assert_eq!(read.revision, created.revision);
    }
    let unknown = MethodRef::Id("other".parse().unwrap());
    assert!(bed.store.get_auth_method(&unknown).await.unwrap().is_none());

    let record = bed.record("r1").await;
    assert_eq!(record.kind, EventKind::AuthMethodCreated);
    assert_eq!(record.resource, "authMethods/team/my-method");
    assert_eq!(record.revision, Some(created.revision));
    assert_eq!(record.caller_ip, Some("10.1.1.1".parse().unwrap()));
    let after = record.after.unwrap();
    assert!(
        after.contains("my-namespace-a") && after.contains(method.access_id.as_str()),
        "{after}"
    );
    assert!(record.before.is_none());
}

async fn a_name_is_taken_once(bed: Bed) {
    bed.method("m").await;
    let (second, _) = fixtures::method("m");
    let again = bed
        .store
        .create_auth_method(&second, None, Intent::Write, &cause("r1"))
        .await;
    assert!(matches!(again, Err(WriteError::Exists)), "{again:?}");
    assert!(
        bed.store
            .list_events(&EventFilter::request("r1"), None, 1)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

async fn an_update_needs_the_version_that_it_changes(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let name = by_id(&method);
    let seen = bed
        .store
        .get_auth_method(&name)
        .await
        .unwrap()
        .unwrap()
        .revision;
    let update = |etag, text: &'static str| {
        let edit = described(text);
        let (store, name) = (bed.store.clone(), name.clone());
        async move {
            store
                .update_auth_method(&name, etag, edit, Intent::Write, &cause("r1"))
                .await
        }
    };
    let first = update(Etag::Revision(seen), "first").await.unwrap();
    assert!(first.revision > seen);
    let stale = update(Etag::Revision(seen), "stale").await;
    assert!(matches!(stale, Err(WriteError::Stale { current }) if current == first.revision));
    assert_eq!(
        update(Etag::Any, "any")
            .await
            .unwrap()
            .value
            .settings
            .description,
        "any"
    );

    // A method made anew under the name isn't the one that was read.
    bed.store
        .delete_auth_method(&name, Etag::Any, false, &cause("r2"))
        .await
        .unwrap();
    let gone = update(Etag::Any, "gone").await;
    assert!(matches!(gone, Err(WriteError::NotFound)));
    bed.method("m").await;
    let stale = update(Etag::Revision(first.revision), "another's").await;
    assert!(matches!(stale, Err(WriteError::Stale { .. })));
}

async fn a_field_that_an_update_does_not_name_is_never_lost(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let name = by_id(&method);
    let disable = |current: &AuthMethod| {
        Ok(Settings {
            disabled: true,
            ..current.settings.clone()
        })
    };
    let (a, b) = (cause("a"), cause("b"));
    let (one, two) = tokio::join!(
        bed.store
            .update_auth_method(&name, Etag::Any, described("mine"), Intent::Write, &a),
        bed.store
            .update_auth_method(&name, Etag::Any, disable, Intent::Write, &b),
    );
    one.and(two).unwrap();
    let both = bed
        .store
        .get_auth_method(&name)
        .await
        .unwrap()
        .unwrap()
        .value
        .settings;
    assert_eq!((both.description.as_str(), both.disabled), ("mine", true));
}

async fn a_refused_edit_leaves_nothing(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let name = by_id(&method);
    let before = bed.store.current_revision().await.unwrap();
    let refuse = |_: &AuthMethod| Err(Invalid::field("token_ttl", "is negative"));
    let refused = bed
        .store
        .update_auth_method(&name, Etag::Any, refuse, Intent::Write, &cause("r1"))
        .await;
    assert!(matches!(refused, Err(WriteError::Invalid(_))));
    let other_kind = |current: &AuthMethod| {
        Ok(Settings {
            kind: Kind::AccessKey,
            ..current.settings.clone()
        })
    };
    let refused = bed
        .store
        .update_auth_method(&name, Etag::Any, other_kind, Intent::Write, &cause("r1"))
        .await;
    assert!(matches!(refused, Err(WriteError::Invalid(_))));
    assert_eq!(bed.store.current_revision().await.unwrap(), before);
    assert!(
        bed.store
            .list_events(&EventFilter::request("r1"), None, 1)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

async fn keys_that_configs_sign_with_stay(bed: Bed) {
    let (method, used) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    bed.config(&gateway, "c", &method).await;
    let (name, new) = (by_id(&method), key());
    let with_keys = |keys: Vec<_>| {
        move |current: &AuthMethod| {
            let mut settings = current.settings.clone();
            kubernetes(&mut settings).public_keys = keys;
            Ok(settings)
        }
    };
    let only_new = with_keys(vec![method_key(&new)]);
    let refused = bed
        .store
        .update_auth_method(&name, Etag::Any, only_new, Intent::Write, &cause("r1"))
        .await;
    let Err(WriteError::InUse(names)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(names, ["gateways/g/k8sAuthConfigs/c"]);

    let both = with_keys(vec![method_key(&new), method_key(&used)]);
    let updated = bed
        .store
        .update_auth_method(&name, Etag::Any, both, Intent::Write, &cause("r2"))
        .await
        .unwrap();
    let ids: Vec<_> = updated
        .value
        .kubernetes()
        .unwrap()
        .key_ids()
        .cloned()
        .collect();
    assert_eq!(ids, [new.public().id().clone(), used.public().id().clone()]);

    let used_only = with_keys(vec![method_key(&used)]);
    let updated = bed
        .store
        .update_auth_method(&name, Etag::Any, used_only, Intent::Write, &cause("r3"))
        .await
        .unwrap();
    assert!(
        updated
            .value
            .kubernetes()
            .unwrap()
            .key(new.public().id().as_str(), noon())
            .is_err()
    );
}

async fn a_method_in_use_goes_by_force_only(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await;
    let name = by_id(&method);
    let refused = bed
        .store
        .delete_auth_method(&name, Etag::Any, false, &cause("r1"))
        .await;
    assert!(
        matches!(&refused, Err(WriteError::InUse(names)) if names == &["gateways/g/k8sAuthConfigs/c"])
    );
    assert!(bed.store.get_auth_method(&name).await.unwrap().is_some());

    bed.store
        .delete_auth_method(&name, Etag::Any, true, &cause("r2"))
        .await
        .unwrap();
    assert!(bed.store.get_auth_method(&name).await.unwrap().is_none());
    assert!(
        bed.store
            .get_config(&config.value.view.name)
            .await
            .unwrap()
            .is_none()
    );
    let records = bed
        .store
        .list_events(&EventFilter::request("r2"), None, 10)
        .await
        .unwrap()
        .items;
    let mut kinds: Vec<_> = records.iter().map(|event| event.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["auth_method.deleted", "k8s_auth_config.deleted"]);
}

async fn validating_keeps_nothing(bed: Bed) {
    let (method, _) = fixtures::method("m");
    let (intent, before) = (
        Intent::ValidateOnly,
        bed.store.current_revision().await.unwrap(),
    );
    bed.store
        .create_auth_method(&method, None, intent, &cause("r1"))
        .await
        .unwrap();
    assert!(
        bed.store
            .get_auth_method(&by_id(&method))
            .await
            .unwrap()
            .is_none()
    );

    bed.method("m").await;
    let taken = bed
        .store
        .create_auth_method(&method, None, intent, &cause("r1"))
        .await;
    assert!(matches!(taken, Err(WriteError::Exists)));
    let name = by_id(&method);
    let edit = |current: &AuthMethod| {
        let mut settings = current.settings.clone();
        kubernetes(&mut settings).rules = vec![rule("other")];
        Ok(settings)
    };
    let seen = bed
        .store
        .update_auth_method(&name, Etag::Any, edit, intent, &cause("r1"))
        .await
        .unwrap();
    assert_eq!(seen.value.kubernetes().unwrap().rules, [rule("other")]);
    let stored = bed.store.get_auth_method(&name).await.unwrap().unwrap();
    assert_eq!(
        stored.value.kubernetes().unwrap().rules,
        [rule("my-namespace-a")]
    );
    assert_eq!(bed.store.current_revision().await.unwrap(), before + 1);
    assert!(bed.lines().iter().all(|line| line.request_id != "r1"));
}

async fn pages_have_each_method_once_in_order(bed: Bed) {
    let ids = ["B", "a", "a/b", "a0", "b.c", "z"];
    for id in ids.iter().rev() {
        bed.method(id).await;
    }
    let (mut walked, mut after) = (Vec::new(), None);
    loop {
        let page = bed
            .store
            .list_auth_methods(after.as_ref(), 2)
            .await
            .unwrap();
        after = page.items.last().map(|method| method.value.id.clone());
        walked.extend(page.items.iter().map(|method| method.value.id.to_string()));
        if !page.more {
            break;
        }
        assert_eq!(page.items.len(), 2);
    }
    assert_eq!(walked, ids);
}
