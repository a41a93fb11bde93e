use postern_core::audit::EventKind;
use postern_core::facts::VerificationMode;
use postern_core::k8s_auth_config::{PinnedCluster, ReviewerView};
use postern_core::sealed_config::SealedConfig;
use uuid::Uuid;

use super::bed::Bed;
use super::fixtures::{self, cause};
use crate::store::{Etag, Intent, WriteError};

super::on_both_engines! {
    a_config_is_read_as_it_was_written,
    every_kind_of_reviewer_is_read_as_it_was_written,
    a_config_must_fit_what_is_there,
    a_uid_is_never_taken_again,
    an_update_is_the_next_generation_of_the_same_config,
    pages_have_each_config_once_and_stay_small,
}

fn faults(error: WriteError) -> Vec<String> {
    match error {
        WriteError::Invalid(invalid) => invalid
            .violations()
            .iter()
            .map(|violation| violation.field.clone())
            .collect(),
        other => panic!("{other:?}"),
    }
}

async fn a_config_is_read_as_it_was_written(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = fixtures::config(&gateway, "clusters/c", &method);
    let name = config.view.name.clone();
    let created = bed
        .store
        .create_config(&config, Intent::Write, &cause("r1"))
        .await
        .unwrap();
    let read = bed.store.get_config(&name).await.unwrap().unwrap();
    assert_eq!(read.value.view, config.view);
    assert_eq!(read.value.sealed, config.sealed);
    assert_eq!(read.revision, created.revision);
    let record = bed.record("r1").await;
    assert_eq!(record.kind, EventKind::ConfigCreated);
    assert_eq!(
        record.k8s_auth_config,
        "gateways/g/k8sAuthConfigs/clusters/c"
    );
    assert!(
        record
            .after
            .unwrap()
            .contains("https://cluster.example:8443")
    );

    bed.store
        .delete_config(&name, Etag::Revision(created.revision), &cause("r2"))
        .await
        .unwrap();
    assert!(bed.store.get_config(&name).await.unwrap().is_none());
    assert_eq!(bed.record("r2").await.kind, EventKind::ConfigDeleted);
    let gone = bed
        .store
        .delete_config(&name, Etag::Any, &cause("r3"))
        .await;
    assert!(matches!(gone, Err(WriteError::NotFound)));
}

async fn every_kind_of_reviewer_is_read_as_it_was_written(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    for (i, reviewer) in [
        ReviewerView::Token,
        ReviewerView::PresentedToken,
        ReviewerView::GatewayServiceAccount(PinnedCluster::CaKey([7; 32])),
        ReviewerView::RancherApiKey("c-m-abcdefgh".parse().unwrap()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut config = fixtures::config(&gateway, &format!("c{i}"), &method);
        let own = matches!(reviewer, ReviewerView::GatewayServiceAccount(_));
        config.view.k8s_host = config.view.k8s_host.filter(|_| !own);
        config.view.reviewer = reviewer;
        config.view.tls_server_name = None;
        config.view.mode = VerificationMode::Review;
        bed.store
            .create_config(&config, Intent::Write, &cause("r1"))
            .await
            .unwrap();
        let read = bed.store.get_config(&config.view.name).await.unwrap();
        assert_eq!(read.unwrap().value.view, config.view);
    }
}

async fn a_config_must_fit_what_is_there(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let (other, _) = bed.method("other").await;
    let gateway = bed.gateway("g").await;
    let stranger = fixtures::gateway("stranger");
    let create = |config: SealedConfig| {
        let store = bed.store.clone();
        async move {
            store
                .create_config(&config, Intent::Write, &cause("r1"))
                .await
        }
    };
    let good = || fixtures::config(&gateway, "c", &method);

    let elsewhere = create(fixtures::config(&stranger, "c", &method)).await;
    assert!(matches!(elsewhere, Err(WriteError::NotFound)));
    let mut config = good();
    config.view.access_id = "p-abcdefghijkl".parse().unwrap();
    assert_eq!(faults(create(config).await.unwrap_err()), ["access_id"]);
    let administrator = fixtures::administrator("admin");
    let key = postern_core::access_token::AccessKey::generate()
        .unwrap()
        .hash();
    bed.store
        .create_auth_method(&administrator, Some(&key), Intent::Write, &cause("r0"))
        .await
        .unwrap();
    let mut config = good();
    config.view.access_id = administrator.access_id;
    assert_eq!(faults(create(config).await.unwrap_err()), ["access_id"]);
    let mut config = good();
    config.view.signing_key_id = fixtures::config(&gateway, "c", &other).view.signing_key_id;
    assert_eq!(
        faults(create(config).await.unwrap_err()),
        ["signing_key_id"]
    );
    let mut config = good();
    config.view.generation = 2;
    assert_eq!(faults(create(config).await.unwrap_err()), ["generation"]);
    assert!(
        bed.store
            .list_configs(None, None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );

    create(good()).await.unwrap();
    assert!(matches!(create(good()).await, Err(WriteError::Exists)));
}

async fn a_uid_is_never_taken_again(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    bed.store
        .delete_config(&config.view.name, Etag::Any, &cause("r1"))
        .await
        .unwrap();
    let again = bed
        .store
        .create_config(&config, Intent::Write, &cause("r2"))
        .await;
    assert_eq!(faults(again.unwrap_err()), ["meta.uid"]);
    let fresh = fixtures::config(&gateway, "c", &method);
    bed.store
        .create_config(&fresh, Intent::Write, &cause("r3"))
        .await
        .unwrap();
}

async fn an_update_is_the_next_generation_of_the_same_config(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let (other, _) = bed.method("other").await;
    let gateway = bed.gateway("g").await;
    let created = bed.config(&gateway, "c", &method).await;
    let update = |edit: &dyn Fn(&mut SealedConfig), etag| {
        let mut config = created.value.clone();
        edit(&mut config);
        let store = bed.store.clone();
        async move {
            store
                .update_config(&config, etag, Intent::Write, &cause("r1"))
                .await
        }
    };
    for stale in [
        update(
            &|c| c.view.generation = 2,
            Etag::Revision(created.revision - 1),
        )
        .await,
        update(&|c| c.view.generation = 1, Etag::Any).await,
        update(&|c| c.view.generation = 3, Etag::Any).await,
        update(
            &|c| (c.view.generation, c.view.uid) = (2, Uuid::now_v7()),
            Etag::Any,
        )
        .await,
    ] {
        assert!(matches!(stale, Err(WriteError::Stale { current }) if current == created.revision));
    }
    let foreign_key = |c: &mut SealedConfig| {
        (c.view.generation, c.view.signing_key_id) = (2, "no-such-key".to_owned());
    };
    let refused = update(&foreign_key, Etag::Any).await;
    assert_eq!(faults(refused.unwrap_err()), ["signing_key_id"]);

    let moved = |c: &mut SealedConfig| {
        c.view = fixtures::config(&gateway, "c", &other).view;
        (c.view.uid, c.view.generation) = (created.value.view.uid, 2);
        c.sealed = vec![9; 1000];
    };
    let updated = update(&moved, Etag::Revision(created.revision))
        .await
        .unwrap();
    assert_eq!(
        (updated.value.view.generation, updated.value.sealed.len()),
        (2, 1000)
    );
    assert_eq!(updated.value.view.access_id, other.access_id);
    let record = bed.record("r1").await;
    assert!(record.before.unwrap().contains(method.access_id.as_str()));
    assert!(record.after.unwrap().contains(other.access_id.as_str()));
}

async fn pages_have_each_config_once_and_stay_small(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let (a, b) = (bed.gateway("a").await, bed.gateway("b").await);
    for (gateway, id) in [(&b, "x"), (&a, "y"), (&a, "x"), (&a, "z")] {
        let mut config = fixtures::config(gateway, id, &method);
        config.sealed = vec![7; 400 * 1024];
        bed.store
            .create_config(&config, Intent::Write, &cause("setup"))
            .await
            .unwrap();
    }
    let (mut walked, mut after, mut sizes) = (Vec::new(), None, Vec::new());
    loop {
        let page = bed
            .store
            .list_configs(None, after.as_ref(), 500)
            .await
            .unwrap();
        after = page
            .items
            .last()
            .map(|config| config.value.view.name.clone());
        sizes.push(page.items.len());
        walked.extend(
            page.items
                .iter()
                .map(|config| config.value.view.name.to_string()),
        );
        if !page.more {
            break;
        }
    }
    assert_eq!(sizes, [2, 2], "a page stays under 1 MiB");
    let names = [
        "a/k8sAuthConfigs/x",
        "a/k8sAuthConfigs/y",
        "a/k8sAuthConfigs/z",
        "b/k8sAuthConfigs/x",
    ];
    assert_eq!(walked, names.map(|name| format!("gateways/{name}")));
    let of_b = bed
        .store
        .list_configs(Some(&b.name), None, 500)
        .await
        .unwrap();
    assert_eq!(of_b.items.len(), 1);
}
