//! What must hold when several do it at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use postern_core::auth_method::{AuthMethod, Settings};
use postern_core::reason::DenyReason;

use super::bed::Bed;
use super::fixtures::{self, Login, cause, identity};
use crate::store::{Change, Changes, Etag, Exchange, Exchanged, Intent, MethodRef, WriteError};

super::on_both_engines! {
    one_assertion_presented_fifty_times_is_one_token,
    one_of_many_writers_with_the_same_etag_wins,
    one_of_many_sealers_of_the_same_generation_wins,
    revisions_have_no_gaps_and_a_reader_misses_nothing,
    nobody_logs_in_after_a_method_was_disabled,
}

async fn one_assertion_presented_fifty_times_is_one_token(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let login = Login::new(&method, &key, &gateway, &config);
    let assertion = login.assertion();
    let requests: Vec<_> = (0..50)
        .map(|i| Exchange {
            assertion: assertion.clone(),
            ..login.request(&format!("r{i}"))
        })
        .collect();
    // Two processes, so that no lock of one of them helps.
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
    assert!(matches!(answers[0], Exchanged::Granted(_)));
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "all get the one answer"
    );
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 1);
    assert_eq!(
        bed.count("SELECT COUNT(*) FROM audit_events WHERE event = 'login.granted'")
            .await,
        1
    );
}

async fn one_of_many_writers_with_the_same_etag_wins(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let name = MethodRef::Id(method.id.clone());
    let seen = bed
        .store
        .get_auth_method(&name)
        .await
        .unwrap()
        .unwrap()
        .revision;
    let cause = cause("r");
    let writes = (0..20).map(|i| {
        let edit = move |current: &AuthMethod| {
            Ok(Settings {
                description: format!("writer {i}"),
                ..current.settings.clone()
            })
        };
        bed.store
            .update_auth_method(&name, Etag::Revision(seen), edit, Intent::Write, &cause)
    });
    let results = join_all(writes).await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(
        lost.iter()
            .all(|lost| matches!(lost, Err(WriteError::Stale { .. }))),
        "{lost:?}"
    );
    let stored = bed.store.get_auth_method(&name).await.unwrap().unwrap();
    let won = won.into_iter().next().unwrap().unwrap();
    assert_eq!(
        stored.value.settings.description,
        won.value.settings.description
    );
}

async fn one_of_many_sealers_of_the_same_generation_wins(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let mut config = bed.config(&gateway, "c", &method).await.value;
    config.view.generation = 2;
    let cause = cause("r");
    let writes = (0..10).map(|_| {
        bed.store
            .update_config(&config, Etag::Any, Intent::Write, &cause)
    });
    let results = join_all(writes).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
}

async fn revisions_have_no_gaps_and_a_reader_misses_nothing(bed: Bed) {
    let (method, _) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let from = bed.store.current_revision().await.unwrap();
    let writers = (0..20).map(|i| {
        let config = fixtures::config(&gateway, &format!("c{i}"), &method);
        let store = bed.store.clone();
        tokio::spawn(async move {
            let wrong = fixtures::cause("refused");
            let mut refused = config.clone();
            refused.view.signing_key_id = "none".to_owned();
            store
                .create_config(&refused, Intent::Write, &wrong)
                .await
                .unwrap_err();
            store
                .create_config(&config, Intent::Write, &cause("r"))
                .await
                .unwrap();
        })
    });
    let writers: Vec<_> = writers.collect();
    let (mut known, mut seen) = (from, BTreeSet::new());
    while known < from + 20 {
        let changes = bed
            .store
            .changes_since(&identity(&gateway), known)
            .await
            .unwrap();
        let Changes::Since { revision, changes } = changes else {
            panic!("nothing was forgotten");
        };
        assert!(revision >= known);
        known = revision;
        seen.extend(changes.into_iter().filter_map(|change| match change {
            Change::Config(config) => Some(config.value.view.name.to_string()),
            Change::AuthMethod(_) | Change::Deleted(_) => None,
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(
        seen.len(),
        20,
        "each config was seen by the revision that made it"
    );
    assert_eq!(bed.store.current_revision().await.unwrap(), from + 20);
    assert_eq!(
        bed.count("SELECT COUNT(DISTINCT revision) FROM changes")
            .await,
        from + 20
    );
    assert_eq!(
        bed.count("SELECT MAX(revision) FROM changes").await,
        from + 20
    );
}

/// A login that read the rules before may still end well, but not after the answer to who
/// disabled the method.
async fn nobody_logs_in_after_a_method_was_disabled(bed: Bed) {
    let gateway = bed.gateway("g").await;
    let other = bed.another().await;
    for round in 0..5 {
        let (method, key) = bed.method(&format!("m{round}")).await;
        let config = bed
            .config(&gateway, &format!("c{round}"), &method)
            .await
            .value;
        let requests =
            (0..60).map(|i| Login::new(&method, &key, &gateway, &config).request(&format!("r{i}")));
        let requests = Arc::new(requests.collect::<Vec<_>>());
        let logins: Vec<_> = (0..3)
            .map(|part| {
                let (store, requests) = (other.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    let mut answers = Vec::new();
                    for chunk in requests.chunks(20).nth(part).unwrap().chunks(5) {
                        answers.extend(join_all(chunk.iter().map(|r| store.exchange(r))).await);
                    }
                    answers
                })
            })
            .collect();
        let name = MethodRef::Id(method.id.clone());
        let disable = |current: &AuthMethod| {
            Ok(Settings {
                disabled: true,
                ..current.settings.clone()
            })
        };
        bed.store
            .update_auth_method(&name, Etag::Any, disable, Intent::Write, &cause("r"))
            .await
            .unwrap();
        let tokens = bed.count("SELECT COUNT(*) FROM tokens").await;
        for answer in join_all(logins).await.into_iter().flat_map(Result::unwrap) {
            let answer = answer.unwrap();
            let fine = matches!(
                answer,
                Exchanged::Granted(_) | Exchanged::Refused(DenyReason::MethodDisabled)
            );
            assert!(fine, "{answer:?}");
        }
        assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, tokens);
    }
}
