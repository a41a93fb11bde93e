//! Tokens that are taken away in bulk.

use postern_core::access_token::TokenHash;
use postern_core::audit::EventKind;

use super::batches::Route;
use super::bed::Bed;
use super::fixtures::{cause, later, noon};
use crate::store::{Exchanged, Intent, LiveToken, MethodRef, TokenFilter, WriteError};

super::on_both_engines! {
    a_bulk_revocation_takes_what_matches_all_of_it_and_nothing_else,
    counting_takes_nothing_and_revoking_again_changes_nothing,
    a_login_after_a_revocation_is_good,
    tokens_that_were_taken_away_are_swept_and_their_revocation_after_them,
    a_disabled_methods_tokens_dont_come_back_with_it,
    live_tokens_are_listed_by_what_they_say,
}

/// A token of a workload that differs from the fixtures' in what is said.
pub(super) async fn token(bed: &Bed, route: &Route, edit: &[(&str, &str)]) -> TokenHash {
    let mut login = route.login();
    for (fact, value) in edit {
        let value = (*value).to_owned();
        match *fact {
            "namespace" => login.facts.namespace = value,
            "service_account" => login.facts.service_account_name = value,
            "service_account_uid" => login.facts.service_account_uid = value,
            "pod_uid" => login.facts.pod_uid = Some(value),
            other => panic!("no fact {other}"),
        }
    }
    let answer = bed.store.exchange(&login.request("login")).await.unwrap();
    assert!(matches!(answer, Exchanged::Granted(_)), "{answer:?}");
    login.token.hash()
}

pub(super) async fn counts(bed: &Bed, token: &TokenHash) -> bool {
    bed.store.session(token, noon()).await.unwrap().is_some()
}

/// What `service_account=…` and the like name.
fn filter(fields: &[(&str, &str)]) -> TokenFilter {
    let mut filter = TokenFilter::default();
    for (field, value) in fields {
        match *field {
            "method" => filter.method = Some(MethodRef::Id(value.parse().unwrap())),
            "namespace" => filter.namespace = Some(value.parse().unwrap()),
            "service_account" => filter.service_account = Some(value.parse().unwrap()),
            "service_account_uid" => filter.service_account_uid = Some(value.parse().unwrap()),
            "pod_uid" => filter.pod_uid = Some(value.parse().unwrap()),
            other => panic!("no field {other}"),
        }
    }
    filter
}

pub(super) async fn revoke(bed: &Bed, fields: &[(&str, &str)]) -> i64 {
    let (filter, cause) = (filter(fields), cause("revoke"));
    let revoked = bed.store.revoke_tokens(&filter, Intent::Write, &cause);
    revoked.await.unwrap()
}

async fn a_bulk_revocation_takes_what_matches_all_of_it_and_nothing_else(bed: Bed) {
    // Whose service account has which name is said twice: by the names and by the UID.
    let everybody = |settings: &mut _| {
        let kubernetes = super::fixtures::kubernetes(settings);
        kubernetes.rules = vec![super::fixtures::rule("*-namespace-*")];
    };
    let (here, there) = (
        Route::new(&bed, "here").await,
        Route::new(&bed, "there").await,
    );
    here.change(&bed, everybody).await;
    there.change(&bed, everybody).await;
    let kinds: [&[(&str, &str)]; 5] = [
        &[("pod_uid", "pod-1")],
        &[("service_account_uid", "account-1")],
        &[("service_account", "my-namespace-a/api")],
        &[("namespace", "my-namespace-b")],
        &[("method", "here"), ("namespace", "my-namespace-a")],
    ];
    for (i, fields) in kinds.into_iter().enumerate() {
        let all = [
            token(&bed, &here, &[("pod_uid", "pod-1")]).await,
            token(&bed, &there, &[("service_account_uid", "account-1")]).await,
            token(&bed, &there, &[("service_account", "api")]).await,
            token(
                &bed,
                &here,
                &[("namespace", "my-namespace-b"), ("service_account", "api")],
            )
            .await,
            token(&bed, &here, &[]).await,
            token(&bed, &there, &[("namespace", "my-namespace-c")]).await,
        ];
        let taken: &[usize] = if i == 4 { &[0, 4] } else { &[i] };
        let count = revoke(&bed, fields).await;
        for (j, token) in all.iter().enumerate() {
            assert_eq!(
                !counts(&bed, token).await,
                taken.contains(&j),
                "{fields:?} {j}"
            );
        }
        let records = bed.lines();
        let record = records.last().unwrap();
        assert_eq!(record.kind, EventKind::TokensRevoked);
        let said: serde_json::Value = serde_json::from_str(record.after.as_ref().unwrap()).unwrap();
        assert_eq!(said["tokens"], count);
        assert!(count >= i64::try_from(taken.len()).unwrap(), "{count}");
        bed.store.raw("DELETE FROM tokens").await;
    }
}

async fn counting_takes_nothing_and_revoking_again_changes_nothing(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let (first, second) = (
        token(&bed, &route, &[]).await,
        token(&bed, &route, &[]).await,
    );
    let other = token(&bed, &route, &[("pod_uid", "other")]).await;
    let pod = route.login().facts.pod_uid.unwrap();
    let fields = [("pod_uid", pod.as_str())];
    let (filter, before) = (filter(&fields), bed.store.current_revision().await.unwrap());
    let counted = bed
        .store
        .revoke_tokens(&filter, Intent::ValidateOnly, &cause("count"))
        .await;
    assert_eq!(counted.unwrap(), 2);
    assert!(counts(&bed, &first).await && counts(&bed, &second).await);
    assert_eq!(bed.store.current_revision().await.unwrap(), before);
    assert_eq!(revoke(&bed, &fields).await, 2);
    assert_eq!(revoke(&bed, &fields).await, 0, "they are gone");
    assert!(!counts(&bed, &first).await && !counts(&bed, &second).await);
    assert!(counts(&bed, &other).await);
    let unknown = TokenFilter {
        method: Some(MethodRef::Id("nope".parse().unwrap())),
        ..TokenFilter::default()
    };
    let refused = bed
        .store
        .revoke_tokens(&unknown, Intent::Write, &cause("r"))
        .await;
    assert!(matches!(refused, Err(WriteError::NotFound)), "{refused:?}");
}

async fn a_login_after_a_revocation_is_good(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let before = token(&bed, &route, &[]).await;
    revoke(&bed, &[("namespace", "my-namespace-a")]).await;
    let after = token(&bed, &route, &[]).await;
    assert!(!counts(&bed, &before).await && counts(&bed, &after).await);
}

async fn tokens_that_were_taken_away_are_swept_and_their_revocation_after_them(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    for _ in 0..3 {
        token(&bed, &route, &[]).await;
    }
    revoke(&bed, &[("service_account", "my-namespace-a/default")]).await;
    let after = token(&bed, &route, &[]).await;
    assert_eq!(bed.store.sweep(noon()).await.unwrap(), 3);
    assert!(counts(&bed, &after).await);
    let revocations = "SELECT COUNT(*) FROM revocations";
    bed.store.sweep(later(599)).await.unwrap();
    assert_eq!(
        bed.count(revocations).await,
        1,
        "whoever asked before gets the same answer"
    );
    bed.store.sweep(later(600)).await.unwrap();
    assert_eq!(bed.count(revocations).await, 0);
}

async fn a_disabled_methods_tokens_dont_come_back_with_it(bed: Bed) {
    let (route, other) = (Route::new(&bed, "m").await, Route::new(&bed, "other").await);
    let (before, others) = (
        token(&bed, &route, &[]).await,
        token(&bed, &other, &[]).await,
    );
    route
        .change(&bed, |settings| settings.disabled = true)
        .await;
    assert!(!counts(&bed, &before).await);
    route
        .change(&bed, |settings| settings.disabled = false)
        .await;
    assert!(!counts(&bed, &before).await);
    let after = token(&bed, &route, &[]).await;
    assert!(counts(&bed, &after).await && counts(&bed, &others).await);
}

async fn live_tokens_are_listed_by_what_they_say(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    for i in 0..5 {
        token(&bed, &route, &[("pod_uid", &format!("pod-{i}"))]).await;
    }
    revoke(&bed, &[("pod_uid", "pod-3")]).await;
    let all = list(&bed, &[]).await;
    let mut pods: Vec<_> = all.iter().map(|token| token.pod_uid.as_str()).collect();
    pods.sort_unstable();
    assert_eq!(pods, ["pod-0", "pod-1", "pod-2", "pod-4"]);
    let [one] = <[LiveToken; 1]>::try_from(list(&bed, &[("pod_uid", "pod-2")]).await).unwrap();
    assert_eq!(one.namespace, "my-namespace-a");
    assert_eq!(one.service_account_name, "default");
    assert_eq!(one.config.as_ref().unwrap(), &route.config.view.name);
    assert_eq!(one.sub_claims["pod_name"], ["mypod1"]);
    assert_eq!(one.expire_time, later(600));
    let got = bed.store.get_token(&one.accessor, noon()).await.unwrap();
    assert_eq!(got.as_ref(), Some(&one));
    assert_eq!(
        bed.store
            .get_token(&one.accessor, later(600))
            .await
            .unwrap(),
        None
    );
    revoke(&bed, &[("pod_uid", "pod-2")]).await;
    assert_eq!(
        bed.store.get_token(&one.accessor, noon()).await.unwrap(),
        None
    );
    route
        .change(&bed, |settings| settings.disabled = true)
        .await;
    assert_eq!(list(&bed, &[]).await, []);
}

/// Page by page.
pub(super) async fn list(bed: &Bed, fields: &[(&str, &str)]) -> Vec<LiveToken> {
    let filter = filter(fields);
    let mut all: Vec<LiveToken> = Vec::new();
    loop {
        let after = all.last().map(|token| token.accessor.clone());
        let page = bed.store.list_tokens(&filter, after.as_ref(), 2, noon());
        let page = page.await.unwrap();
        let more = page.more;
        all.extend(page.items);
        if !more {
            return all;
        }
    }
}
