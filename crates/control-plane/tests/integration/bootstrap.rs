//! The first start, and all later ones.

use postern_control_plane::ServeError;
use postern_control_plane::bootstrap::BootstrapError;
use test_support::fixtures::tempdir;
use uuid::Uuid;

use crate::messages::signing_key;
use crate::world::{World, a_key, bootstrap, start};

#[tokio::test]
async fn an_empty_database_without_a_bootstrap_file_refuses_to_serve() {
    let folder = tempdir();
    let error = start(folder.path(), None).await.unwrap_err();
    assert!(matches!(
        error,
        ServeError::Bootstrap(BootstrapError::Missing)
    ));
    assert!(error.to_string().contains("--bootstrap"), "{error}");
}

#[tokio::test]
async fn a_second_start_changes_nothing() {
    let mut world = World::start().await;
    world.create_method("x", &signing_key()).await;
    world.stop().await;
    // The same deployment, other keys: as if somebody had edited the file.
    let edited = bootstrap(world.deployment, &a_key(), &a_key());
    start(world.folder.path(), Some(edited)).await.unwrap();
    world.restart().await;
    assert!(
        world.log_in(&world.admin, "").await.is_ok(),
        "the first key is still the one"
    );
    assert!(world.log_in(&world.gateway, "").await.is_ok());
    let started = world.events("").await;
    let started = started
        .iter()
        .filter(|event| event.event == "deployment.bootstrapped");
    assert_eq!(started.count(), 1);
}

#[tokio::test]
async fn a_file_of_another_deployment_is_refused() {
    let mut world = World::start().await;
    world.stop().await;
    let foreign = bootstrap(Uuid::now_v7(), &world.admin, &world.gateway);
    let error = start(world.folder.path(), Some(foreign)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ServeError::Bootstrap(BootstrapError::OtherDeployment { .. })
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_restart_forgets_no_token() {
    let mut world = World::start().await;
    let admin = world.administrator().await;
    world.restart().await;
    let answer = world
        .methods()
        .list_auth_methods(admin.request(Default::default()))
        .await;
    assert_eq!(
        answer.unwrap().into_inner().auth_methods[0].name,
        "authMethods/admin"
    );
}
