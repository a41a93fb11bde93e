//! Logins that come together share a transaction, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use postern_core::auth_method::{AuthMethod, Settings};
use postern_core::key::SigningKey;
use postern_core::reason::DenyReason;
use postern_core::sealed_config::SealedConfig;
use test_support::postgres::{PrivatePostgres, StopMode};

use super::bed::Bed;
use super::fixtures::{Login, cause, kubernetes, later, noon};
use crate::store::{
    DatabaseUrl, Etag, Exchange, Exchanged, Gateway, Intent, MethodRef, Store, StoreError,
};

super::on_both_engines! {
    each_of_those_that_come_together_gets_its_own_answer,
    each_of_a_batch_is_judged_by_its_own_method_and_gateway,
    a_presented_token_that_is_good_once_is_good_once_among_those_that_come_together,
    a_row_that_cant_be_read_stops_its_own_logins_only,
    sessions_asked_for_together_are_each_their_own,
}

/// One of each, in the middle of many that are good.
async fn each_of_those_that_come_together_gets_its_own_answer(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let off = Route::new(&bed, "off").await;
    off.change(&bed, |settings| settings.disabled = true).await;
    let granted_before = route.login().request("first");
    let first = bed.store.exchange(&granted_before).await.unwrap();
    let (signed_twice, sent_twice, mut stranger) = (route.login(), route.login(), route.login());
    stranger.facts.namespace = "other".to_owned();
    let sent = sent_twice.request("sent twice");
    let sent_again = Exchange {
        assertion: sent.assertion.clone(),
        ..sent_twice.request("sent twice")
    };
    let special = [
        granted_before,
        signed_twice.request("original"),
        signed_twice.request("replay"),
        sent,
        sent_again,
        stranger.request("stranger"),
        off.login().request("disabled"),
    ];
    let good: Vec<_> = (0..20).map(|_| route.login().request("good")).collect();
    let (before, after) = good.split_at(10);
    let requests = [before, &special, after].concat();
    let answers = all(&bed.store, &requests).await;

    let (before, rest) = answers.split_at(10);
    let (special, after) = rest.split_at(special.len());
    assert!(before.iter().chain(after).all(is_granted), "{answers:?}");
    assert_eq!(special[0], first, "the first answer again");
    let replayed = Exchanged::Refused(DenyReason::AssertionReplayed);
    let one_of_two = [&special[1], &special[2]];
    assert_eq!(
        one_of_two
            .iter()
            .filter(|answer| is_granted(answer))
            .count(),
        1
    );
    assert!(one_of_two.contains(&&replayed), "{one_of_two:?}");
    assert!(is_granted(&special[3]));
    assert_eq!(special[3], special[4], "the same bytes are a retry");
    let refused = [
        ("stranger", DenyReason::NamespaceNotBound),
        ("disabled", DenyReason::MethodDisabled),
    ];
    for (answer, (request_id, reason)) in special[5..].iter().zip(refused) {
        assert_eq!(*answer, Exchanged::Refused(reason));
        assert_eq!(bed.record(request_id).await.reason, reason.as_str());
    }
    let logins = 1 + 20 + 1 + 1;
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, logins);
    let records = "SELECT COUNT(*) FROM audit_events WHERE event = 'login.granted'";
    assert_eq!(bed.count(records).await, logins);
    let accessors: BTreeSet<_> = answers.iter().filter_map(accessor).collect();
    assert_eq!(
        i64::try_from(accessors.len()).unwrap(),
        logins,
        "each has its own"
    );
}

/// At a server that knows none of them yet, and at one that does.
async fn each_of_a_batch_is_judged_by_its_own_method_and_gateway(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let (method, key) = bed.method("other").await;
    let config = bed.config(&route.gateway, "other", &method).await.value;
    let off = bed.gateway("off").await;
    let off_config = bed.config(&off, "c", &route.method).await.value;
    bed.switch(&off, true, "off").await;
    let store = bed.another().await;
    for known in [false, true] {
        let requests = vec![
            route.login().request("on"),
            Login::new(&route.method, &route.key, &off, &off_config).request("off"),
            Login::new(&method, &key, &route.gateway, &config).request("other"),
        ];
        let answers = store.exchange_all(requests).await.unwrap();
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let refused = Exchanged::Refused(DenyReason::GatewayDisabled);
        assert!(is_granted(&answers[0]), "{known}: {answers:?}");
        assert_eq!(answers[1], refused, "{known}");
        assert!(is_granted(&answers[2]), "{known}: {answers:?}");
    }
}

async fn a_presented_token_that_is_good_once_is_good_once_among_those_that_come_together(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    route
        .change(&bed, |settings| {
            kubernetes(settings).tokens.single_use = true
        })
        .await;
    let with = |credential_id: Option<&str>| {
        let mut login = route.login();
        login.facts.credential_id = credential_id.map(str::to_owned);
        login.facts.expire_time = Some(later(3600));
        login.request("r")
    };
    let mut requests: Vec<_> = (0..10).map(|_| with(Some("JTI=same"))).collect();
    requests.push(with(None));
    requests.extend((0..5).map(|i| with(Some(&format!("JTI={i}")))));
    let other = bed.another().await;
    let stores = [&bed.store, &other];
    let calls = requests
        .iter()
        .zip(stores.iter().cycle())
        .map(|(request, store)| store.exchange(request));
    let answers: Vec<_> = join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let (same, rest) = answers.split_at(10);
    assert_eq!(same.iter().filter(|answer| is_granted(answer)).count(), 1);
    let used = Exchanged::Refused(DenyReason::TokenUsedBefore);
    assert_eq!(same.iter().filter(|answer| **answer == used).count(), 9);
    assert_eq!(rest[0], Exchanged::Refused(DenyReason::CredentialIdMissing));
    assert!(rest[1..].iter().all(is_granted), "{rest:?}");
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 6);
}

async fn a_row_that_cant_be_read_stops_its_own_logins_only(bed: Bed) {
    let (route, broken) = (
        Route::new(&bed, "m").await,
        Route::new(&bed, "broken").await,
    );
    bed.store
        .raw("UPDATE auth_methods SET rules = 'null' WHERE id = 'broken'")
        .await;
    let (good, bad): (Vec<_>, Vec<_>) = (0..10).map(|_| (route.login(), broken.login())).unzip();
    let pairs = good.iter().zip(&bad);
    let requests: Vec<_> = pairs
        .flat_map(|(good, bad)| [good.request("good"), bad.request("bad")])
        .collect();
    let answers = join_all(requests.iter().map(|request| bed.store.exchange(request))).await;
    for pair in answers.chunks(2) {
        assert!(pair[0].as_ref().is_ok_and(is_granted), "{pair:?}");
        assert!(
            matches!(pair[1], Err(StoreError::Inconsistent(_))),
            "{pair:?}"
        );
    }
}

async fn sessions_asked_for_together_are_each_their_own(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let logins: Vec<_> = (0..10).map(|_| route.login()).collect();
    let requests: Vec<_> = logins.iter().map(|login| login.request("r")).collect();
    all(&bed.store, &requests[..5]).await;
    let now = noon();
    let hashes: Vec<_> = logins.iter().map(|login| login.token.hash()).collect();
    let asked = hashes.iter().map(|hash| bed.store.session(hash, now));
    let found = join_all(asked).await.into_iter().map(Result::unwrap);
    let good: Vec<bool> = found.map(|session| session.is_some()).collect();
    assert_eq!(good, [[true; 5], [false; 5]].concat());
    let end = later(600);
    let (before, after) = tokio::join!(
        bed.store.session(&hashes[0], now),
        bed.store.session(&hashes[0], end)
    );
    assert!(before.unwrap().is_some() && after.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_come_together_share_a_commit() {
    let Some(bed) = Bed::postgres().await else {
        return;
    };
    let route = Route::new(&bed, "m").await;
    let logins: Vec<_> = (0..100).map(|_| route.login()).collect();
    let requests: Vec<_> = logins.iter().map(|login| login.request("r")).collect();
    all(&bed.store, &requests).await;
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 100);
    let commits = bed
        .count("SELECT COUNT(DISTINCT xmin::text) FROM tokens")
        .await;
    assert!(commits < 20, "{commits} commits");
    let torn = "SELECT COUNT(*) FROM tokens t
                WHERE NOT EXISTS (SELECT 1 FROM assertions a
                                  WHERE a.accessor = t.accessor AND a.xmin = t.xmin)
                   OR NOT EXISTS (SELECT 1 FROM audit_events e
                                  WHERE e.accessor = t.accessor AND e.xmin = t.xmin)";
    assert_eq!(
        bed.count(torn).await,
        0,
        "a token comes with assertion and record"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_cant_take_of_one_login_costs_the_others_nothing() {
    let Some(bed) = Bed::postgres().await else {
        return;
    };
    let route = Route::new(&bed, "m").await;
    let mut logins: Vec<_> = (0..20).map(|_| route.login()).collect();
    // No text of this database holds such a character.
    logins[10].facts.service_account_uid = "a\0b".to_owned();
    let requests: Vec<_> = logins.iter().map(|login| login.request("r")).collect();
    let answers = join_all(requests.iter().map(|request| bed.store.exchange(request))).await;
    for (i, answer) in answers.iter().enumerate() {
        match i {
            10 => assert!(matches!(answer, Err(StoreError::Driver(_))), "{answer:?}"),
            _ => assert!(answer.as_ref().is_ok_and(is_granted), "{answer:?}"),
        }
    }
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 19);
    assert_eq!(bed.count("SELECT COUNT(*) FROM assertions").await, 19);
}

/// A token that is in the database was answered for, or its answer is lost and can be had by asking again;
/// one that was answered for is in the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_under_a_batch_leaves_no_token_that_cant_be_asked_for_again() {
    let Some(server) = PrivatePostgres::start().await else {
        return;
    };
    let database = server.database().await;
    let bed = Bed::at(database.url()).await;
    let route = Route::new(&bed, "m").await;
    let logins: Vec<_> = (0..400).map(|_| route.login()).collect();
    let requests: Arc<Vec<_>> = Arc::new(logins.iter().map(|login| login.request("r")).collect());
    let (store, asked) = (bed.store.clone(), Arc::clone(&requests));
    let first =
        tokio::spawn(
            async move { join_all(asked.iter().map(|request| store.exchange(request))).await },
        );
    while bed.count("SELECT COUNT(*) FROM tokens").await == 0 {
        tokio::task::yield_now().await;
    }
    server.stop(StopMode::Immediate).await;
    let first = first.await.unwrap();
    server.start_again().await;
    let url: DatabaseUrl = database.url().parse().unwrap();
    let store = Store::connect(&url, Arc::new(|_| {})).await.unwrap();
    let kept = store.scalar("SELECT COUNT(*) FROM tokens").await;
    let granted = first
        .iter()
        .flatten()
        .filter(|answer| is_granted(answer))
        .count();
    assert!(
        kept >= i64::try_from(granted).unwrap(),
        "{kept} of {granted}"
    );
    for answer in &first {
        let fine = matches!(
            answer,
            Ok(Exchanged::Granted(_)) | Err(StoreError::Unavailable(_))
        );
        assert!(fine, "{answer:?}");
    }
    let again = all(&store, &requests).await;
    assert!(again.iter().all(is_granted));
    for (first, again) in first.iter().zip(&again) {
        if let Ok(first) = first {
            assert_eq!(first, again, "what was answered is durable");
        }
    }
    assert_eq!(store.scalar("SELECT COUNT(*) FROM tokens").await, 400);
}

/// A way to log in.
pub(super) struct Route {
    pub(super) method: AuthMethod,
    pub(super) key: SigningKey,
    pub(super) gateway: Gateway,
    pub(super) config: SealedConfig,
}

impl Route {
    pub(super) async fn new(bed: &Bed, name: &str) -> Self {
        let (method, key) = bed.method(name).await;
        let gateway = bed.gateway(&format!("g-{name}")).await;
        let config = bed.config(&gateway, "c", &method).await.value;
        Self {
            method,
            key,
            gateway,
            config,
        }
    }

    pub(super) fn login(&self) -> Login<'_> {
        Login::new(&self.method, &self.key, &self.gateway, &self.config)
    }

    pub(super) async fn change(&self, bed: &Bed, edit: impl FnOnce(&mut Settings) + Send) {
        let edit = |current: &AuthMethod| {
            let mut settings = current.settings.clone();
            edit(&mut settings);
            Ok(settings)
        };
        let name = MethodRef::Id(self.method.id.clone());
        let cause = cause("r");
        bed.store
            .update_auth_method(&name, Etag::Any, edit, Intent::Write, &cause)
            .await
            .unwrap();
    }
}

async fn all(store: &Store, requests: &[Exchange]) -> Vec<Exchanged> {
    let answers = join_all(requests.iter().map(|request| store.exchange(request))).await;
    answers.into_iter().map(Result::unwrap).collect()
}

fn is_granted(answer: &Exchanged) -> bool {
    matches!(answer, Exchanged::Granted(_))
}

fn accessor(answer: &Exchanged) -> Option<String> {
    match answer {
        Exchanged::Granted(granted) => Some(granted.accessor.to_string()),
        Exchanged::Refused(_) | Exchanged::Limited(_) => None,
    }
}
