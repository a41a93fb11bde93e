use postern_core::audit::EventKind;
use uuid::Uuid;

use super::bed::Bed;
use super::fixtures::{identity, later};
use crate::store::Instance;
use crate::store::instances::MAX_INSTANCES;

super::on_both_engines! {
    a_replica_is_shown_as_it_last_said_and_forgotten_after_a_day,
    the_replicas_of_one_gateway_are_bounded,
}

fn instance(n: u128, seconds: i64) -> Instance {
    Instance {
        id: Uuid::from_u128(n),
        version: "1.2.3".to_owned(),
        address: Some("10.1.1.1".parse().unwrap()),
        revision: Some(7),
        seal_key_ids: vec!["k2".parse().unwrap(), "k1".parse().unwrap()],
        start_time: later(0),
        last_contact_time: later(seconds),
    }
}

async fn a_replica_is_shown_as_it_last_said_and_forgotten_after_a_day(bed: Bed) {
    let (one, other) = (bed.gateway("a").await, bed.gateway("b").await);
    let revision = bed.store.current_revision().await.unwrap();
    let report = async |gateway, instance: &Instance| {
        let gateway = identity(gateway);
        bed.store.report_instance(&gateway, instance).await.unwrap();
    };
    report(&one, &instance(1, 0)).await;
    report(&one, &instance(2, 5)).await;
    let unknown = Instance {
        address: None,
        revision: None,
        seal_key_ids: Vec::new(),
        ..instance(1, 1)
    };
    report(&other, &unknown).await;
    let later_on = Instance {
        revision: Some(8),
        ..instance(1, 10)
    };
    report(&one, &later_on).await;
    let shown = async |seconds| {
        let (first, last) = (&one.name, &other.name);
        bed.store
            .instances(first, last, later(seconds))
            .await
            .unwrap()
    };
    let now = shown(10).await;
    assert_eq!(now.of(one.uid), [later_on.clone(), instance(2, 5)]);
    assert_eq!(now.of(other.uid), [unknown]);
    // No configuration: nobody is woken, and nothing is on record.
    assert_eq!(bed.store.current_revision().await.unwrap(), revision);
    assert!(
        bed.lines()
            .iter()
            .all(|line| line.kind == EventKind::GatewayCreated)
    );

    let day = 24 * 60 * 60;
    assert_eq!(shown(day + 5).await.of(one.uid), [later_on]);
    bed.store.sweep(later(day + 5)).await.unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM gateway_instances").await, 1);
}

async fn the_replicas_of_one_gateway_are_bounded(bed: Bed) {
    let (one, other) = (bed.gateway("a").await, bed.gateway("b").await);
    let (of_one, of_other) = (identity(&one), identity(&other));
    let quiet = instance(1, 0);
    bed.store.report_instance(&of_other, &quiet).await.unwrap();
    let most = i64::try_from(MAX_INSTANCES).unwrap();
    for n in 0..most + 5 {
        let instance = instance(u128::try_from(n).unwrap(), n);
        bed.store.report_instance(&of_one, &instance).await.unwrap();
    }
    let shown = bed
        .store
        .instances(&one.name, &other.name, later(most + 5))
        .await;
    let shown = shown.unwrap();
    assert_eq!(shown.of(one.uid).len(), MAX_INSTANCES);
    assert_eq!(
        shown.of(one.uid)[0],
        instance(u128::try_from(most + 4).unwrap(), most + 4)
    );
    assert_eq!(shown.of(other.uid).len(), 1, "another's stay");
}
