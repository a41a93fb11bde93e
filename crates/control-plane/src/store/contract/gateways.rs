use postern_core::access_token::AccessKey;
use postern_core::audit::EventKind;

use super::bed::Bed;
use super::fixtures::{cause, gateway};
use crate::store::{Etag, Gateway, WriteError};

super::on_both_engines! {
    a_gateway_is_read_as_it_was_written,
    a_gateway_with_configs_goes_by_force_only,
    pages_have_each_gateway_once,
}

async fn a_gateway_is_read_as_it_was_written(bed: Bed) {
    let key = AccessKey::generate().unwrap();
    let gateway = Gateway {
        disabled: true,
        description: "of a test".to_owned(),
        ..gateway("default")
    };
    let created = bed
        .store
        .create_gateway(&gateway, &key.hash(), &cause("r1"))
        .await
        .unwrap();
    let read = bed.store.get_gateway(&gateway.name).await.unwrap().unwrap();
    assert_eq!(
        (read.value, read.revision),
        (gateway.clone(), created.revision)
    );
    let record = bed.record("r1").await;
    assert_eq!(
        (record.kind, record.resource.as_str()),
        (EventKind::GatewayCreated, "gateways/default")
    );

    let again = super::fixtures::gateway("default");
    let other = AccessKey::generate().unwrap();
    let again = bed
        .store
        .create_gateway(&again, &other.hash(), &cause("r2"))
        .await;
    assert!(matches!(again, Err(WriteError::Exists)));
    assert!(
        bed.store
            .get_gateway(&"other".parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_gateway_with_configs_goes_by_force_only(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await;
    let stale = bed
        .store
        .delete_gateway(&gateway.name, Etag::Revision(0), true, &cause("r0"))
        .await;
    assert!(matches!(stale, Err(WriteError::Stale { .. })));
    let refused = bed
        .store
        .delete_gateway(&gateway.name, Etag::Any, false, &cause("r1"))
        .await;
    assert!(
        matches!(&refused, Err(WriteError::InUse(names)) if names == &["gateways/g/k8sAuthConfigs/c"])
    );
    bed.store
        .delete_gateway(&gateway.name, Etag::Any, true, &cause("r2"))
        .await
        .unwrap();
    assert!(
        bed.store
            .get_gateway(&gateway.name)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        bed.store
            .get_config(&config.value.view.name)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(bed.count("SELECT COUNT(*) FROM access_keys").await, 0);
    let gone = bed
        .store
        .delete_gateway(&gateway.name, Etag::Any, true, &cause("r3"))
        .await;
    assert!(matches!(gone, Err(WriteError::NotFound)));
}

async fn pages_have_each_gateway_once(bed: Bed) {
    for name in ["c", "a", "b"] {
        bed.gateway(name).await;
    }
    let first = bed.store.list_gateways(None, 2).await.unwrap();
    let names: Vec<_> = first
        .items
        .iter()
        .map(|gateway| gateway.value.name.as_str())
        .collect();
    assert_eq!((names, first.more), (vec!["a", "b"], true));
    let after = &first.items[1].value.name;
    let second = bed.store.list_gateways(Some(after), 2).await.unwrap();
    assert_eq!(
        (second.items[0].value.name.as_str(), second.more),
        ("c", false)
    );
}
