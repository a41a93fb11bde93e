//! Rows that somebody edited, or a newer version wrote: an error, never a value, and nobody gets
//! in by them.

use super::bed::Bed;
use super::fixtures::{Login, cause};
use crate::store::{Etag, Intent, MethodRef, StoreError, WriteError};

super::on_both_engines! {
    a_method_that_could_not_be_written_lets_nobody_in,
    a_config_that_could_not_be_written_is_an_error,
    a_login_that_cant_be_recorded_leaves_no_token,
}

async fn a_method_that_could_not_be_written_lets_nobody_in(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let name = MethodRef::Id(method.id.clone());
    let faults = [
        "UPDATE auth_methods SET rules = '[]'",
        "UPDATE auth_methods SET rules = '[{}]'",
        "UPDATE auth_methods SET rules = 'null'",
        "UPDATE auth_methods SET rules = '[{\"namespaces\":[\"*\"]}]'",
        "UPDATE auth_methods SET rules = '[{\"namespaces\":[\"my-namespace-a\"],\"pods\":[\"\"]}]'",
        "UPDATE auth_methods SET rules = '[{\"namespaces\":[\"my-namespace-a\"],\"unless\":1}]'",
        "UPDATE auth_methods SET bound_ips = 'null'",
        "UPDATE auth_methods SET gw_bound_ips = '[\"\"]'",
        "UPDATE auth_methods SET audiences = '[\"\"]'",
        "UPDATE auth_methods SET allow_any_audience = TRUE, audiences = '[\"a\"]'",
        "UPDATE auth_method_keys SET public_key = 'x'",
    ];
    for fault in faults {
        bed.store
            .raw("UPDATE auth_methods SET disabled = FALSE")
            .await;
        bed.store.raw(fault).await;
        let read = bed.store.get_auth_method(&name).await;
        assert!(
            matches!(read, Err(StoreError::Inconsistent(_))),
            "{fault}: {read:?}"
        );
        assert!(
            bed.store.list_auth_methods(None, 10).await.is_err(),
            "{fault}"
        );
        let login = Login::new(&method, &key, &gateway, &config);
        let answer = bed.store.exchange(&login.request("r")).await;
        assert!(
            matches!(answer, Err(StoreError::Inconsistent(_))),
            "{fault}: {answer:?}"
        );
        bed.store
            .raw(
                "UPDATE auth_methods SET bound_ips = '[]', gw_bound_ips = '[]', audiences = '[]',
                     allow_any_audience = FALSE, rules = '[{\"namespaces\":[\"my-namespace-a\"]}]'",
            )
            .await;
    }
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 0);
}

async fn a_config_that_could_not_be_written_is_an_error(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let mut config = bed.config(&gateway, "c", &method).await.value;
    config.view.generation = 2;
    for fault in [
        "UPDATE k8s_auth_configs SET issuers = '[]'",
        "UPDATE k8s_auth_configs SET issuers = '[\"a\"]', k8s_host = 'http://cluster'",
    ] {
        bed.store.raw(fault).await;
        let read = bed.store.get_config(&config.view.name).await;
        let Err(StoreError::Inconsistent(inconsistent)) = read else {
            panic!("{fault}: {read:?}");
        };
        assert_eq!(
            (inconsistent.table, inconsistent.key),
            ("k8s_auth_configs", config.view.uid.to_string())
        );
        let update = bed
            .store
            .update_config(&config, Etag::Any, Intent::Write, &cause("r"))
            .await;
        assert!(
            matches!(update, Err(WriteError::Store(StoreError::Inconsistent(_)))),
            "{update:?}"
        );
    }
}

async fn a_login_that_cant_be_recorded_leaves_no_token(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    bed.store
        .raw("ALTER TABLE audit_events RENAME TO lost")
        .await;
    let login = Login::new(&method, &key, &gateway, &config);
    bed.store.exchange(&login.request("r")).await.unwrap_err();
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 0);
    bed.store
        .raw("ALTER TABLE lost RENAME TO audit_events")
        .await;
    bed.store.exchange(&login.request("r")).await.unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 1);
}
