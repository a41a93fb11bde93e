use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use postern_core::access_token::AccessKey;
use postern_core::audit::EventKind;
use test_support::postgres::{PrivatePostgres, StopMode};
use uuid::Uuid;

use super::bed::Bed;
use super::fixtures::{self, DEPLOYMENT, cause};
use crate::store::{DatabaseUrl, FirstStart, MethodRef, Store, StoreError};

super::on_both_engines! {
    processes_that_start_at_once_find_one_schema,
    a_first_start_happens_once,
    another_process_sees_a_change_within_moments,
    the_version_before_works_on_a_newer_schema,
}

fn start(deployment_id: Uuid) -> FirstStart {
    FirstStart {
        deployment_id,
        admin: fixtures::administrator("admin"),
        admin_key: AccessKey::generate().unwrap().hash(),
        gateway: fixtures::gateway("default"),
        gateway_key: AccessKey::generate().unwrap().hash(),
    }
}

async fn processes_that_start_at_once_find_one_schema(bed: Bed) {
    let others: Vec<_> = futures::future::join_all((0..4).map(|_| bed.another())).await;
    bed.gateway("g").await;
    for other in others {
        other.ping().await.unwrap();
        assert!(
            other
                .get_gateway(&"g".parse().unwrap())
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_make_one_database() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("new.db");
    let url: DatabaseUrl = format!("sqlite:{}", file.display()).parse().unwrap();
    let connect = || Store::connect(&url, Arc::new(|_| {}));
    let stores = futures::future::join_all((0..4).map(|_| connect())).await;
    for store in stores {
        store.unwrap().ping().await.unwrap();
    }
    let Some(server) = test_support::postgres::Postgres::shared().await else {
        return;
    };
    let database = server.database().await;
    let url: DatabaseUrl = database.url().parse().unwrap();
    let connect = || Store::connect(&url, Arc::new(|_| {}));
    let stores = futures::future::join_all((0..4).map(|_| connect())).await;
    for store in stores {
        store.unwrap().ping().await.unwrap();
    }
}

async fn a_first_start_happens_once(bed: Bed) {
    assert_eq!(bed.store.deployment_id().await.unwrap(), None);
    let starts: Vec<_> = (0..4).map(|_| start(Uuid::new_v4())).collect();
    let cause = cause("r1");
    let ids = futures::future::join_all(
        starts
            .iter()
            .map(|start| bed.store.bootstrap(start, &cause)),
    )
    .await;
    let stored = bed
        .store
        .deployment_id()
        .await
        .unwrap()
        .expect("one of them");
    assert!(ids.into_iter().all(|id| id.unwrap() == stored));
    assert_eq!(
        bed.store
            .list_auth_methods(None, 10)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(
        bed.store.list_gateways(None, 10).await.unwrap().items.len(),
        1
    );
    let lines = bed.lines();
    let made = lines
        .iter()
        .filter(|line| line.kind == EventKind::DeploymentBootstrapped);
    assert_eq!(made.count(), 1);

    // Whoever deleted the administrator gets none back from an old file.
    bed.root().await;
    let admin = MethodRef::Id("admin".parse().unwrap());
    bed.store
        .delete_auth_method(&admin, crate::store::Etag::Any, true, &cause)
        .await
        .unwrap();
    assert_eq!(
        bed.store
            .bootstrap(&start(DEPLOYMENT), &cause)
            .await
            .unwrap(),
        stored
    );
    assert!(bed.store.get_auth_method(&admin).await.unwrap().is_none());
}

async fn another_process_sees_a_change_within_moments(bed: Bed) {
    let other = bed.another().await;
    let mut news = other.subscribe().unwrap();
    bed.gateway("g").await;
    let revision = bed.store.current_revision().await.unwrap();
    assert_eq!(
        *bed.store.subscribe().unwrap().borrow(),
        revision,
        "its own process knows at once"
    );
    let seen = news.wait_for(|known| *known >= revision);
    tokio::time::timeout(Duration::from_secs(5), seen)
        .await
        .expect("within a poll")
        .unwrap();
}

async fn the_version_before_works_on_a_newer_schema(bed: Bed) {
    bed.store
        .raw(
            "INSERT INTO _sqlx_migrations
                 (version, description, success, checksum, execution_time)
             SELECT 9999, 'of a newer version', success, checksum, execution_time
             FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    bed.another().await.ping().await.unwrap();
}

#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    let bed = Bed::sqlite().await;
    bed.gateway("g").await;
    let mut seen = 0;
    for entry in std::fs::read_dir(bed.folder.as_ref().unwrap().path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert!(seen >= 3, "database, log and lock");
}

#[tokio::test]
async fn a_missing_folder_is_said() {
    let url: DatabaseUrl = "sqlite:/nonexistent/folder/x.db".parse().unwrap();
    let refused = Store::connect(&url, Arc::new(|_| {}))
        .await
        .err()
        .expect("no such folder");
    assert!(matches!(refused, StoreError::Setup(_)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_goes_and_comes_is_unavailable_meanwhile() {
    let Some(server) = PrivatePostgres::start().await else {
        return;
    };
    let database = server.database().await;
    let url: DatabaseUrl = database.url().parse().unwrap();
    let store = Store::connect(&url, Arc::new(|_| {})).await.unwrap();
    store.ping().await.unwrap();
    server.stop(StopMode::Immediate).await;
    let refused = store.ping().await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    let key = AccessKey::generate().unwrap().hash();
    let write = store
        .create_gateway(&fixtures::gateway("g"), &key, &cause("r1"))
        .await;
    assert!(
        matches!(
            write,
            Err(crate::store::WriteError::Store(StoreError::Unavailable(_)))
        ),
        "{write:?}"
    );
    server.start_again().await;
    store.ping().await.unwrap();
    assert_eq!(store.current_revision().await.unwrap(), 0);
}
