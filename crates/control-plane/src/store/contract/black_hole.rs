//! Connections that nobody answers and nobody closes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use postern_core::access_id::AccessId;
use postern_core::access_token::{AccessKey, AccessToken, TokenHash};
use postern_core::audit::chain::Chain;
use postern_core::own_keys::OwnKeys;
use postern_core::permission::Permission;
use postern_core::role::Role;
use sqlx::{Connection as _, PgConnection};
use test_support::chaos::ChaosProxy;
use test_support::postgres::{PrivatePostgres, TestDatabase};
use uuid::Uuid;

use super::batches::Route;
use super::bed::Bed;
use super::fixtures::{self, Login, cause, noon};
use super::revoked_meanwhile::waiting;
use super::roles::{administrator, role};
use super::tokens::log_in;
use crate::store::{
    DatabaseUrl, Exchange, Inspection, Intent, Shown, Store, StoreError, WriteError,
};

/// What any operation may take, with a second for a busy machine.
const BOUND: Duration = Duration::from_secs(11);
const CHAIN: Chain = Chain(Uuid::from_u128(7));

/// A store whose way to its database goes through a proxy, with what it takes to use it.
struct Far {
    proxy: ChaosProxy,
    store: Store,
    near: Bed,
    /// An administrator's access ID and key.
    clerk: (AccessId, AccessKey),
    exchange: Exchange,
    token: TokenHash,
    role: Role,
    keys: OwnKeys,
    // Go with the test, after the stores.
    _database: TestDatabase,
    _server: PrivatePostgres,
}

type Work<'f> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'f>>;

fn of_write(error: WriteError) -> StoreError {
    match error {
        WriteError::Store(error) => error,
        other => panic!("{other:?}"),
    }
}

impl Far {
    async fn new() -> Option<Self> {
        let server = PrivatePostgres::start().await?;
        let database = server.database().await;
        let proxy = ChaosProxy::start(server.upstream()).await;
        let near = Bed::at(database.url()).await;
        let url: DatabaseUrl = server.url_via(&database, proxy.address()).parse().unwrap();
        let store = Store::connect(&url, Arc::new(|_| {})).await.unwrap();
        let (method, key) = administrator(&near, "clerk").await;
        let route = Route::new(&near, "m").await;
        let login = Login::new(&route.method, &route.key, &route.gateway, &route.config);
        let line = OwnKeys::generate_line(&"k1".parse().unwrap()).unwrap();
        let far = Self {
            clerk: (method.access_id, key),
            exchange: login.request("login"),
            token: login.token.hash(),
            role: role("new", &[Permission::AuditRead]),
            keys: OwnKeys::parse(&line).unwrap(),
            proxy,
            store,
            near,
            _database: database,
            _server: server,
        };
        far.near.store.exchange(&far.exchange).await.unwrap();
        // Every kind of connection is open and has rested.
        for (what, done) in far.everything().await {
            done.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        }
        Some(far)
    }

    /// One of each, none of which leaves anything that another would notice.
    fn work(&self) -> Vec<(&'static str, Work<'_>)> {
        let store = &self.store;
        vec![
            (
                "a login",
                Box::pin(async { store.exchange(&self.exchange).await.map(drop) }),
            ),
            (
                "a login with a key",
                Box::pin(async {
                    let (access_id, key) = &self.clerk;
                    let login = log_in(access_id, key, &AccessToken::generate().unwrap());
                    store.log_in(&login).await.map(drop)
                }),
            ),
            (
                "a caller's token",
                Box::pin(async {
                    let session = store.session(&self.token, noon()).await?;
                    assert!(session.is_some(), "never as if it didn't count");
                    Ok(())
                }),
            ),
            (
                "an introspection",
                Box::pin(async {
                    let inspection = Inspection {
                        token: self.token,
                        shown: Shown {
                            client_ip: "10.2.3.4".parse().ok(),
                            through: None,
                        },
                        now: noon(),
                    };
                    let said = store.introspect(&inspection).await?;
                    assert!(said.is_some(), "never inactive");
                    Ok(())
                }),
            ),
            (
                "an administrator's write",
                Box::pin(async {
                    let cause = cause("write");
                    let write = store.create_role(&self.role, Intent::ValidateOnly, &cause);
                    write.await.map(drop).map_err(of_write)
                }),
            ),
            (
                "the feed",
                Box::pin(async {
                    let gateway = &self.exchange.gateway;
                    store.changes_since(gateway, 0).await.map(drop)
                }),
            ),
            (
                "the sealer",
                Box::pin(async {
                    store.close_refusals(Some(noon())).await?;
                    store.seal_events(CHAIN, &self.keys, noon()).await.map(drop)
                }),
            ),
            (
                "retention",
                Box::pin(async {
                    store
                        .prune_events(CHAIN, &self.keys, noon())
                        .await
                        .map(drop)
                }),
            ),
            (
                "the sweeper",
                Box::pin(async { store.sweep(noon()).await.map(drop) }),
            ),
            ("a look", Box::pin(async { store.ping().await })),
        ]
    }

    /// Everything at once, each within its bound.
    async fn everything(&self) -> Vec<(&'static str, Result<(), StoreError>)> {
        let all = self.work().into_iter().map(|(what, work)| async move {
            let done = tokio::time::timeout(BOUND, work).await;
            (what, done.unwrap_or_else(|_| panic!("{what} hangs")))
        });
        join_all(all).await
    }

    /// Until everything succeeds again.
    async fn recovers(&self) {
        let begun = Instant::now();
        loop {
            let failed: Vec<_> = self
                .everything()
                .await
                .into_iter()
                .filter(|(_, done)| done.is_err())
                .collect();
            if failed.is_empty() {
                return;
            }
            assert!(begun.elapsed() < 3 * BOUND, "{failed:?}");
        }
    }

    /// What the follower is for: another process's write is known here soon.
    async fn follows(&self) {
        let mut news = self.store.subscribe().unwrap();
        let key = AccessKey::generate().unwrap().hash();
        let gateway = fixtures::gateway(&format!("g{}", Uuid::new_v4().simple()));
        let cause = cause("r");
        let made = self.near.store.create_gateway(&gateway, &key, &cause);
        let revision = made.await.unwrap().revision;
        let seen = news.wait_for(|known| *known >= revision);
        tokio::time::timeout(2 * BOUND, seen)
            .await
            .expect("the follower follows")
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_a_black_hole_everything_ends_in_time_as_unavailable_and_then_goes_on()
 {
    let Some(far) = Far::new().await else {
        return;
    };
    far.proxy.blackhole();
    for (what, done) in far.everything().await {
        assert!(
            matches!(done, Err(StoreError::Unavailable(_))),
            "{what}: {done:?}"
        );
    }
    far.proxy.pass();
    far.recovers().await;
    far.follows().await;
}

/// A firewall that forgot them: whoever waits for the old connections waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_nobody_answers_any_more_are_given_up_and_replaced() {
    let Some(far) = Far::new().await else {
        return;
    };
    far.proxy.strand();
    for (what, done) in far.everything().await {
        assert!(
            matches!(done, Ok(()) | Err(StoreError::Unavailable(_))),
            "{what}: {done:?}"
        );
    }
    far.recovers().await;
    far.follows().await;
}

/// Callers go away in the middle of statements, as many as there are connections.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_in_the_middle_takes_no_connections_place_for_ever() {
    let Some(far) = Far::new().await else {
        return;
    };
    let mut barrier = PgConnection::connect(&far.near.url).await.unwrap();
    let mut barrier = barrier.begin().await.unwrap();
    sqlx::query("LOCK TABLE gateways IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *barrier)
        .await
        .unwrap();
    {
        let calls = join_all((0..40).map(|_| far.store.list_gateways(None, 10)));
        // All of the pool's, some of which are kept for logins.
        let stuck = async {
            far.proxy.wait_for(|now| now.open >= 20).await;
            waiting(&far.near, 14).await;
        };
        tokio::select! {
            _ = calls => panic!("nobody can be answered"),
            () = stuck => far.proxy.strand(),
        }
    }
    barrier.rollback().await.unwrap();
    far.recovers().await;
}

/// A caller goes away while its transaction begins, and the database begins it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_given_up_at_its_beginning_leaves_no_open_transaction_to_others() {
    let Some(far) = Far::new().await else {
        return;
    };
    let mut barrier = PgConnection::connect(&far.near.url).await.unwrap();
    let hold = "SELECT pg_advisory_lock(7306086897)";
    sqlx::query(hold).execute(&mut barrier).await.unwrap();
    {
        let (access_id, key) = &far.clerk;
        let login = log_in(access_id, key, &AccessToken::generate().unwrap());
        tokio::select! {
            done = far.store.log_in(&login) => panic!("it waits for the lock: {done:?}"),
            () = waiting(&far.near, 1) => {}
        }
    }
    let release = "SELECT pg_advisory_unlock(7306086897)";
    sqlx::query(release).execute(&mut barrier).await.unwrap();
    // It waits for every login that is open.
    let cause = cause("write");
    let write = far.store.create_role(&far.role, Intent::Write, &cause);
    write.await.unwrap();
}
