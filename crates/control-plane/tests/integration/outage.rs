//! The database goes away and comes back.

use postern_core::access_token::AccessToken;
use postern_rpc::error::Reason;
use test_support::fixtures::tempdir;
use test_support::postgres::{PrivatePostgres, StopMode};
use tonic::Code;

use crate::messages::pod;
use crate::server::{get, get_text};
use crate::world::{PATIENCE, Persona, World, failed, opened};

async fn becomes(world: &World, status: u16) {
    let wait = async {
        while get(world, "/readyz").await.0 != status {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn before_its_database_comes_a_control_plane_serves_pages_and_calls_are_unavailable() {
    let Some(postgres) = PrivatePostgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let url = database.url().to_owned();
    postgres.stop(StopMode::Immediate).await;
    let (world, readiness) = World::start_before(tempdir(), url).await;
    assert_eq!(get(&world, "/livez").await.0, 200);
    assert_eq!(get(&world, "/readyz").await.0, 503);
    let (status, metrics) = get_text(&world, "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("postern_build_info{"), "{metrics}");
    let nobody = Persona::bearer(AccessToken::generate().unwrap().expose());
    let list = world
        .methods()
        .list_auth_methods(nobody.request(Default::default()))
        .await;
    for failure in [failed(world.log_in(&world.admin, "").await), failed(list)] {
        assert_eq!(failure.code, Code::Unavailable);
        assert_eq!(failure.reason, Some(Reason::Database));
        assert!(failure.retry_after.is_some());
    }
    postgres.start_again().await;
    opened(&readiness).await;
    becomes(&world, 200).await;
    assert!(world.log_in(&world.admin, "").await.is_ok());
}

#[tokio::test]
async fn an_outage_is_unavailable_and_counts_as_nobodys_bad_credential() {
    let Some(postgres) = PrivatePostgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let world = World::start_on(tempdir(), database.url().to_owned()).await;
    let setup = world.setup().await;
    let (admin, gateway) = (world.administrator().await, world.gateway().await);
    let assertion = world.assertion(&setup, &AccessToken::generate().unwrap(), &pod("mypod1"));
    becomes(&world, 200).await;
    postgres.stop(StopMode::Immediate).await;
    becomes(&world, 503).await;
    assert_eq!(get(&world, "/livez").await.0, 200);
    let list = world
        .methods()
        .list_auth_methods(admin.request(Default::default()))
        .await;
    let login = world.log_in(&world.admin, "").await;
    let exchange = world
        .sync()
        .exchange_assertion(gateway.request(assertion.clone()))
        .await;
    for failure in [failed(list), failed(login), failed(exchange)] {
        assert_eq!(failure.code, Code::Unavailable);
        assert_eq!(failure.reason, Some(Reason::Database));
        assert!(failure.retry_after.is_some());
    }
    postgres.start_again().await;
    becomes(&world, 200).await;
    let again = world
        .sync()
        .exchange_assertion(gateway.request(assertion.clone()))
        .await;
    assert!(again.is_ok(), "the same login, repeated");
    let denied = world
        .events("")
        .await
        .into_iter()
        .find(|event| event.event.ends_with(".denied"));
    assert_eq!(denied, None);
}
