//! What is kept of a method beside its rules: protection, ends of keys and their use.

use postern_core::auth_method::AuthMethod;
use postern_core::reason::DenyReason;

use super::bed::Bed;
use super::fixtures::{self, Login, cause, kubernetes, later, method_key, noon};
use crate::store::{Etag, Exchanged, Intent, KeyUse, MethodRef, WriteError};

super::on_both_engines! {
    a_protected_method_is_not_deleted_by_force_either,
    what_an_expired_key_signed_is_refused,
    a_key_counts_from_the_first_login_after_it_was_added,
    a_keys_use_is_noted_once_a_minute_and_by_config,
    a_tokens_row_says_how_long_it_may_ever_live,
}

async fn a_protected_method_is_not_deleted_by_force_either(bed: Bed) {
    let (mut method, _) = fixtures::method("m");
    method.settings.delete_protection = true;
    bed.store
        .create_auth_method(&method, None, Intent::Write, &cause("setup"))
        .await
        .unwrap();
    let name = MethodRef::Id(method.id.clone());
    for force in [false, true] {
        let deleted = bed
            .store
            .delete_auth_method(&name, Etag::Any, force, &cause("r"))
            .await;
        assert!(matches!(deleted, Err(WriteError::Protected)));
    }
    let unprotect = |current: &AuthMethod| {
        let mut settings = current.settings.clone();
        settings.delete_protection = false;
        Ok(settings)
    };
    let (store, cause) = (&bed.store, cause("r"));
    store
        .update_auth_method(&name, Etag::Any, unprotect, Intent::Write, &cause)
        .await
        .unwrap();
    store
        .delete_auth_method(&name, Etag::Any, false, &cause)
        .await
        .unwrap();
}

async fn what_an_expired_key_signed_is_refused(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let ends = |end| {
        let name = MethodRef::Id(method.id.clone());
        let edit = move |current: &AuthMethod| {
            let mut settings = current.settings.clone();
            kubernetes(&mut settings).public_keys[0].expire_time = end;
            Ok(settings)
        };
        let store = bed.store.clone();
        async move {
            let cause = cause("r");
            let updated = store.update_auth_method(&name, Etag::Any, edit, Intent::Write, &cause);
            updated.await.unwrap()
        }
    };
    let stored = ends(Some(later(1))).await;
    let keys = &stored.value.kubernetes().unwrap().public_keys;
    assert_eq!(keys[0].expire_time, Some(later(1)));
    let login = || Login::new(&method, &key, &gateway, &config).request("x");
    let granted = bed.store.exchange(&login()).await.unwrap();
    assert!(matches!(granted, Exchanged::Granted(_)));
    ends(Some(noon())).await;
    let refused = Exchanged::Refused(DenyReason::AssertionKeyExpired);
    assert_eq!(bed.store.exchange(&login()).await.unwrap(), refused);
    // Nor does a config begin to sign with it.
    let other = fixtures::config(&gateway, "other", &method);
    let created = bed
        .store
        .create_config(&other, Intent::Write, &cause("r"))
        .await;
    let Err(WriteError::Invalid(invalid)) = created else {
        panic!("an expired key was taken");
    };
    assert_eq!(invalid.violations()[0].field, "signing_key_id");
}

async fn a_key_counts_from_the_first_login_after_it_was_added(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let added = fixtures::key();
    let login = |key| Login::new(&method, key, &gateway, &config).request("x");
    let unknown = bed.store.exchange(&login(&added)).await.unwrap();
    let refused = Exchanged::Refused(DenyReason::AssertionKeyUnknown);
    assert_eq!(unknown, refused);
    let edit = |current: &AuthMethod| {
        let mut settings = current.settings.clone();
        kubernetes(&mut settings)
            .public_keys
            .push(method_key(&added));
        Ok(settings)
    };
    let (name, cause) = (MethodRef::Id(method.id.clone()), cause("r"));
    let updated = bed
        .store
        .update_auth_method(&name, Etag::Any, edit, Intent::Write, &cause);
    updated.await.unwrap();
    for key in [&added, &key] {
        let granted = bed.store.exchange(&login(key)).await.unwrap();
        assert!(matches!(granted, Exchanged::Granted(_)));
    }
}

async fn a_keys_use_is_noted_once_a_minute_and_by_config(bed: Bed) {
    let (mut method, key) = fixtures::method("m");
    let idle = fixtures::key();
    kubernetes(&mut method.settings)
        .public_keys
        .push(method_key(&idle));
    bed.store
        .create_auth_method(&method, None, Intent::Write, &cause("setup"))
        .await
        .unwrap();
    let gateway = bed.gateway("g").await;
    bed.config(&gateway, "c", &method).await;
    let (access_id, id) = (&method.access_id, key.public().id());
    for (now, noted) in [(0, 0), (59, 0), (60, 60), (61, 60)] {
        let used = bed.store.key_used(access_id, id.as_str(), later(now));
        used.await.unwrap();
        let uses = bed.store.key_uses(&method.id, &method.id).await.unwrap();
        let expected = KeyUse {
            last_used_time: Some(later(noted)),
            used_by: vec!["gateways/g/k8sAuthConfigs/c".to_owned()],
        };
        assert_eq!(uses.of(method.uid, id), Some(&expected));
        let unused = uses.of(method.uid, idle.public().id());
        assert_eq!(unused, Some(&KeyUse::default()));
    }
}

async fn a_tokens_row_says_how_long_it_may_ever_live(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let login = Login::new(&method, &key, &gateway, &config);
    bed.store.exchange(&login.request("r")).await.unwrap();
    let life = "SELECT (max_expire_time - issue_time) / 1000000 FROM tokens";
    assert_eq!(bed.count(life).await, 7200);
}
