//! A login under way doesn't outlive what takes its token away, and no database's death does either.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use postern_core::access_token::TokenHash;
use postern_core::auth_method::{AuthMethod, Settings};
use postern_core::subject::Subject;
use sqlx::{Connection as _, PgConnection};
use test_support::postgres::{PrivatePostgres, StopMode};

use super::batches::Route;
use super::bed::Bed;
use super::fixtures::{Login, cause, noon};
use super::revocations::counts;
use crate::store::{
    Block, Blocked, DatabaseUrl, Etag, Exchange, Exchanged, Gateway, Intent, MethodRef, Store,
    StoreError, TokenFilter, WriteError,
};

super::on_both_engines! {
    no_token_of_a_login_that_began_before_a_revocation_counts_after_it,
}

/// What takes tokens away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Revocation,
    Block,
    Disabling,
    Deletion,
    ConfigDisabling,
    ConfigDeletion,
    GatewayDisabling,
    GatewayDeletion,
}

const ALL: [Means; 8] = [
    Means::Revocation,
    Means::Block,
    Means::Disabling,
    Means::Deletion,
    Means::ConfigDisabling,
    Means::ConfigDeletion,
    Means::GatewayDisabling,
    Means::GatewayDeletion,
];

impl Means {
    /// Whether it is taken back at once, which revives nothing.
    fn is_taken_back(self) -> bool {
        matches!(
            self,
            Self::Block | Self::Disabling | Self::ConfigDisabling | Self::GatewayDisabling
        )
    }
}

fn pod(login: &Login<'_>) -> TokenFilter {
    TokenFilter {
        pod_uid: login.facts.pod_uid.as_ref().map(|uid| uid.parse().unwrap()),
        ..TokenFilter::default()
    }
}

async fn take_away(store: &Store, route: &Route, means: Means) {
    let (method, cause) = (MethodRef::Id(route.method.id.clone()), cause("take away"));
    let filter = pod(&route.login());
    match means {
        Means::Revocation => {
            store
                .revoke_tokens(&filter, Intent::Write, &cause)
                .await
                .unwrap();
        }
        Means::Block => {
            let block = Block {
                blocked: Blocked {
                    subject: Subject::Pod(filter.pod_uid.unwrap()),
                    config: None,
                },
                reason: String::new(),
                end_time: None,
                create_time: noon(),
                access_id: String::new(),
            };
            store.block(&block, &cause).await.unwrap();
            store.unblock(&block.blocked, &cause).await.unwrap();
        }
        Means::Disabling => {
            for disabled in [true, false] {
                let edit = move |current: &AuthMethod| {
                    Ok(Settings {
                        disabled,
                        ..current.settings.clone()
                    })
                };
                let write =
                    store.update_auth_method(&method, Etag::Any, edit, Intent::Write, &cause);
                write.await.unwrap();
            }
        }
        Means::Deletion => {
            store
                .delete_auth_method(&method, Etag::Any, true, &cause)
                .await
                .unwrap();
        }
        Means::ConfigDisabling => {
            for (disabled, generation) in [(true, 2), (false, 3)] {
                let mut config = route.config.clone();
                (config.view.disabled, config.view.generation) = (disabled, generation);
                let write = store.update_config(&config, Etag::Any, Intent::Write, &cause);
                write.await.unwrap();
            }
        }
        Means::ConfigDeletion => {
            let name = &route.config.view.name;
            store.delete_config(name, Etag::Any, &cause).await.unwrap();
        }
        Means::GatewayDisabling => {
            for disabled in [true, false] {
                let edit = move |current: &Gateway| {
                    Ok(Gateway {
                        disabled,
                        ..current.clone()
                    })
                };
                let name = &route.gateway.name;
                let write = store.update_gateway(name, Etag::Any, edit, Intent::Write, &cause);
                write.await.unwrap();
            }
        }
        Means::GatewayDeletion => {
            let name = &route.gateway.name;
            let write = store.delete_gateway(name, Etag::Any, true, &cause);
            write.await.unwrap();
        }
    }
}

/// Whatever came first: a token that was granted counts only if its login began afterwards.
async fn no_token_of_a_login_that_began_before_a_revocation_counts_after_it(bed: Bed) {
    let other = bed.another().await;
    for means in ALL {
        let route = Route::new(&bed, &format!("{means:?}").to_lowercase()).await;
        let logins: Vec<_> = (0..40).map(|_| route.login()).collect();
        let requests: Vec<_> = logins.iter().map(|login| login.request("r")).collect();
        let (first, second) = tokio::join!(
            join_all(requests.iter().map(|request| other.exchange(request))),
            take_away(&bed.store, &route, means),
        );
        let ((), granted) = (second, first.into_iter().map(Result::unwrap));
        let granted: Vec<_> = granted
            .map(|a| matches!(a, Exchanged::Granted(_)))
            .collect();
        let last = bed.store.current_revision().await.unwrap();
        let floor = last - i64::from(means.is_taken_back());
        // Those that read the rules as they are since then.
        let since = bed.revisions(&logins).await;
        for ((login, granted), rules) in logins.iter().zip(granted).zip(since) {
            let counts = counts(&bed, &login.token.hash()).await;
            let began_after = rules.is_some_and(|rules| rules >= floor);
            assert!(
                !counts || (granted && began_after),
                "{means:?}: {rules:?} of {floor}"
            );
        }
    }
}

/// The login has read rules and revision, and waits in the middle of its writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_stopped_in_the_middle_yields_nothing_after_its_token_was_taken_away() {
    let Some(bed) = Bed::postgres().await else {
        return;
    };
    for means in ALL {
        let route = Route::new(&bed, &format!("{means:?}").to_lowercase()).await;
        let (login, other) = (route.login(), bed.another().await);
        let mut barrier = PgConnection::connect(&bed.url).await.unwrap();
        let mut barrier = barrier.begin().await.unwrap();
        sqlx::query("INSERT INTO assertions (method_uid, jti, sha256, gateway_uid, accessor, expire_time) VALUES ($1, $2, $3, '', '', 0)")
            .bind(route.method.uid.to_string())
            .bind(login.jti.to_string())
            .bind([0_u8; 32].as_slice())
            .execute(&mut *barrier)
            .await
            .unwrap();
        let request = login.request("r");
        let under_way = tokio::spawn(async move { other.exchange(&request).await });
        waiting(&bed, 1).await;
        let taken = take_away(&bed.store, &route, means);
        let let_go = async {
            waiting(&bed, 2).await;
            barrier.rollback().await.unwrap();
        };
        tokio::join!(taken, let_go);
        let answer = under_way.await.unwrap().unwrap();
        assert!(
            matches!(answer, Exchanged::Granted(_)),
            "it came first: {answer:?}"
        );
        assert!(!counts(&bed, &login.token.hash()).await, "{means:?}");
    }
}

/// Until so many transactions wait for another.
pub(super) async fn waiting(bed: &Bed, count: i64) {
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while bed.count(waiting).await < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_under_revocations_and_logins_loses_none_that_was_acknowledged() {
    let Some(server) = PrivatePostgres::start().await else {
        return;
    };
    let database = server.database().await;
    let bed = Bed::at(database.url()).await;
    let route = Route::new(&bed, "m").await;
    let acknowledged = AtomicUsize::new(0);
    let workers =
        join_all((0..8).map(|worker| until_it_dies(&bed.store, &route, worker, &acknowledged)));
    let kill = async {
        while acknowledged.load(Ordering::Relaxed) < 40 {
            tokio::task::yield_now().await;
        }
        server.stop(StopMode::Immediate).await;
    };
    let (revoked, ()) = tokio::join!(workers, kill);
    server.start_again().await;
    let url: DatabaseUrl = database.url().parse().unwrap();
    let store = Store::connect(&url, Arc::new(|_| {})).await.unwrap();
    let revoked: Vec<TokenHash> = revoked.into_iter().flatten().collect();
    assert!(revoked.len() >= 40);
    for token in &revoked {
        assert!(store.session(token, noon()).await.unwrap().is_none());
    }
    let records = store.scalar("SELECT COUNT(*) FROM audit_events WHERE event = 'tokens.revoked'");
    assert!(records.await >= i64::try_from(revoked.len()).unwrap());
}

/// Logs one pod after another in and takes its token away. The tokens whose end was acknowledged.
async fn until_it_dies(
    store: &Store,
    route: &Route,
    worker: usize,
    acknowledged: &AtomicUsize,
) -> Vec<TokenHash> {
    let mut revoked = Vec::new();
    for i in 0.. {
        let mut login = route.login();
        login.facts.pod_uid = Some(format!("pod-{worker}-{i}"));
        let request: Exchange = login.request("r");
        match store.exchange(&request).await {
            Ok(answer) => assert!(matches!(answer, Exchanged::Granted(_)), "{answer:?}"),
            Err(StoreError::Unavailable(_)) => break,
            Err(error) => panic!("{error:?}"),
        }
        match store
            .revoke_tokens(&pod(&login), Intent::Write, &cause("r"))
            .await
        {
            Ok(count) => assert_eq!(count, 1),
            Err(WriteError::Store(StoreError::Unavailable(_))) => break,
            Err(error) => panic!("{error:?}"),
        }
        revoked.push(login.token.hash());
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    revoked
}

/// Another replica sweeps the same batch at the same time, and dies after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_stays_until_its_last_token_is_really_gone() {
    let Some(bed) = Bed::postgres().await else {
        return;
    };
    let route = Route::new(&bed, "m").await;
    let login = route.login();
    bed.store.exchange(&login.request("r")).await.unwrap();
    let (filter, cause) = (pod(&login), cause("r"));
    let revoked = bed
        .store
        .revoke_tokens(&filter, Intent::Write, &cause)
        .await;
    assert_eq!(revoked.unwrap(), 1);
    bed.store
        .raw(
            "INSERT INTO tokens (hash, accessor, kind, access_id, method_uid, config_uid, pod_uid,
                                 sub_claims, issue_time, expire_time, rules_revision)
             SELECT sha256(i::text::bytea), i::text, kind, access_id, method_uid, config_uid, pod_uid,
                    sub_claims, issue_time, expire_time, rules_revision
             FROM tokens, generate_series(1, 599) AS i",
        )
        .await;
    let mut replica = PgConnection::connect(&bed.url).await.unwrap();
    let mut replica = replica.begin().await.unwrap();
    // A batch of its own, of the same rows: whoever comes second finds none of them left.
    sqlx::query("DELETE FROM tokens WHERE hash IN (SELECT hash FROM tokens LIMIT 500)")
        .execute(&mut *replica)
        .await
        .unwrap();
    let first = async {
        waiting(&bed, 1).await;
        replica.commit().await.unwrap();
    };
    let (swept, ()) = tokio::join!(bed.store.sweep(noon()), first);
    swept.unwrap();
    bed.store.sweep(noon()).await.unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 0);
}
