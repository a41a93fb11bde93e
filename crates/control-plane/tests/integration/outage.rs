//! The database goes away and comes back.

use std::fs;
use std::time::Duration;

use postern_control_plane::ServeError;
use postern_core::access_token::AccessToken;
use postern_proto::pb;
use postern_proto::pb::token_service_client::TokenServiceClient;
use postern_rpc::error::{Failure, Reason};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use test_support::chaos::ChaosProxy;
use test_support::fixtures::tempdir;
use test_support::postgres::{PrivatePostgres, StopMode, TestDatabase};
use tonic::Code;

use crate::messages::pod;
use crate::server::{get, get_text};
use crate::world::{PATIENCE, Persona, World, failed, opened, start_at};

/// What a call may take while nobody answers the control plane; its caller waits longer.
const BOUND: Duration = Duration::from_secs(12);

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

/// What the database's silence makes of each kind of call.
async fn all_at_once(
    world: &World,
    caller: &Persona,
    gateway: &Persona,
    token: &AccessToken,
    assertion: &pb::ExchangeAssertionRequest,
) -> Vec<(&'static str, Option<Failure>)> {
    let failure = |status: tonic::Status| Failure::from(status);
    let list = async {
        let request = caller.request(Default::default());
        world.methods().list_auth_methods(request).await.err()
    };
    let login = async { world.log_in(&world.admin, "").await.err() };
    let exchange = async {
        let request = gateway.request(assertion.clone());
        world.sync().exchange_assertion(request).await.err()
    };
    let introspect = async {
        let request = caller.request(pb::IntrospectRequest {
            token: token.expose().to_owned(),
            client_address: "10.2.3.4".to_owned(),
            caller_address: String::new(),
        });
        let mut client = TokenServiceClient::new(world.channel.clone());
        match client.introspect(request).await {
            Ok(answer) => {
                assert!(answer.into_inner().active, "never inactive");
                None
            }
            Err(status) => Some(status),
        }
    };
    let all = async { tokio::join!(list, login, exchange, introspect) };
    let (list, login, exchange, introspect) = tokio::time::timeout(BOUND, all)
        .await
        .expect("each ends in time");
    vec![
        ("an administrator's call", list.map(failure)),
        ("an administrator's login", login.map(failure)),
        ("a pod's login", exchange.map(failure)),
        ("an introspection", introspect.map(failure)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_answers_the_control_plane_calls_are_unavailable_in_time_and_it_isnt_ready() {
    let Some(postgres) = PrivatePostgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let proxy = ChaosProxy::start(postgres.upstream()).await;
    let url = postgres.url_via(&database, proxy.address());
    let world = World::start_on(tempdir(), url).await;
    let setup = world.setup().await;
    let (admin, gateway) = (world.administrator().await, world.gateway().await);
    let token = AccessToken::generate().unwrap();
    let assertion = world.assertion(&setup, &token, &pod("mypod1"));
    let all = || all_at_once(&world, &admin, &gateway, &token, &assertion);
    let exchanged = gateway.request(assertion.clone());
    world.sync().exchange_assertion(exchanged).await.unwrap();
    becomes(&world, 200).await;
    for (what, failure) in all().await {
        assert!(failure.is_none(), "{what}: {failure:?}");
    }

    proxy.blackhole();
    for (what, failure) in all().await {
        let failure = failure.expect(what);
        assert_eq!(failure.code, Code::Unavailable, "{what}: {failure}");
        assert_eq!(failure.reason, Some(Reason::Database), "{what}");
        assert!(failure.retry_after.is_some(), "{what}");
    }
    becomes(&world, 503).await;
    assert_eq!(get(&world, "/livez").await.0, 200);

    // What was open stays so and is never answered: only new connections are.
    proxy.strand();
    proxy.pass();
    becomes(&world, 200).await;
    let again = async { while all().await.iter().any(|(_, failure)| failure.is_some()) {} };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    let denied = world.events("").await;
    let denied = denied.iter().find(|event| event.event.ends_with(".denied"));
    assert_eq!(denied, None);
}

/// A server that asks for passwords, and the role that may log in.
struct Guarded {
    postgres: PrivatePostgres,
    database: TestDatabase,
}

impl Guarded {
    async fn start() -> Option<Self> {
        let postgres = PrivatePostgres::start().await?;
        let database = postgres.database().await;
        let file = postgres.data_dir().join("pg_hba.conf");
        let rules = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("local all clerk scram-sha-256\n{rules}")).unwrap();
        let this = Self { postgres, database };
        for statement in [
            "SELECT pg_reload_conf()",
            "CREATE ROLE clerk SUPERUSER LOGIN PASSWORD 'correct-horse'",
        ] {
            this.run(statement).await;
        }
        Some(this)
    }

    async fn run(&self, statement: &str) {
        let mut connection = PgConnection::connect(self.database.url()).await.unwrap();
        let statement = sqlx::query(AssertSqlSafe(statement.to_owned()));
        statement.execute(&mut connection).await.unwrap();
    }

    fn url(&self, user: &str, password: &str) -> String {
        let url = self
            .database
            .url()
            .replace("user=postgres", &format!("user={user}"));
        format!("{url}&password={password}")
    }
}

#[tokio::test]
async fn whom_the_database_never_lets_in_does_not_start_and_says_why_without_the_password() {
    let Some(guarded) = Guarded::start().await else {
        return;
    };
    let right = guarded.url("clerk", "correct-horse");
    let name = right.split(['/', '?']).nth(3).unwrap().to_owned();
    for (url, says) in [
        (
            guarded.url("clerk", "battery-staple"),
            "password authentication failed for user \"clerk\"",
        ),
        (
            guarded.url("nobody", "battery-staple"),
            "role \"nobody\" does not exist",
        ),
        (
            right.replace(&name, "elsewhere"),
            "database \"elsewhere\" does not exist",
        ),
    ] {
        let ended = tokio::time::timeout(PATIENCE, start_at(&url)).await;
        let error = ended.expect("it isn't waited for").unwrap_err();
        assert!(matches!(error, ServeError::NotAdmitted(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(says), "{text}");
        assert!(
            !text.contains("battery") && !text.contains("horse"),
            "{text}"
        );
    }
    start_at(&right).await.unwrap();
}

#[tokio::test]
async fn a_password_that_changes_while_it_runs_is_an_outage_until_it_is_right_again() {
    let Some(guarded) = Guarded::start().await else {
        return;
    };
    let world = World::start_on(tempdir(), guarded.url("clerk", "correct-horse")).await;
    becomes(&world, 200).await;
    let admin = world.administrator().await;
    guarded.run("ALTER ROLE clerk PASSWORD 'another'").await;
    guarded.postgres.stop(StopMode::Fast).await;
    guarded.postgres.start_again().await;
    becomes(&world, 503).await;
    let list = admin.request(Default::default());
    let list = world.methods().list_auth_methods(list).await;
    for failure in [failed(world.log_in(&world.admin, "").await), failed(list)] {
        assert_eq!(failure.code, Code::Unavailable, "{failure}");
        assert!(!failure.message.contains("clerk"), "{failure}");
    }
    guarded
        .run("ALTER ROLE clerk PASSWORD 'correct-horse'")
        .await;
    becomes(&world, 200).await;
    let list = admin.request(Default::default());
    assert!(world.methods().list_auth_methods(list).await.is_ok());
}
