use postern_core::access_token::AccessToken;
use postern_core::audit::EventKind;
use postern_core::auth_method::{AuthMethod, Settings};
use postern_core::reason::DenyReason;
use postern_core::subject::Subject;
use uuid::Uuid;

use super::batches::Route;
use super::bed::Bed;
use super::blocks;
use super::fixtures::{self, Login, cause, identity, kubernetes, later, noon, rule};
use crate::store::{Etag, Exchange, Exchanged, Granted, Intent, MethodRef, Session};

super::on_both_engines! {
    an_assertion_is_turned_into_a_token,
    the_same_request_gets_the_first_answer_again,
    what_is_a_replay_gets_nothing,
    every_refusal_is_on_record_with_its_reason,
    the_rules_in_the_database_decide,
    what_another_process_changes_holds_for_the_next_login,
    what_was_begun_and_never_ended_holds_up_nobody,
    what_expired_is_swept,
}

async fn exchange(bed: &Bed, request: &Exchange) -> Exchanged {
    bed.store.exchange(request).await.unwrap()
}

fn granted(answer: Exchanged) -> Granted {
    match answer {
        Exchanged::Granted(granted) => granted,
        refused => panic!("{refused:?}"),
    }
}

async fn an_assertion_is_turned_into_a_token(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let login = Login::new(&method, &key, &gateway, &config);
    let request = login.request("r1");
    let granted = granted(exchange(&bed, &request).await);
    assert_eq!(granted.accessor, request.accessor);
    assert_eq!(granted.expire_time, later(600));
    assert_eq!(granted.sub_claims["pod_name"], ["mypod1"]);
    assert_eq!(
        granted.sub_claims["config_name"],
        ["gateways/g/k8sAuthConfigs/c"]
    );
    let found = bed
        .store
        .session(&login.token.hash(), noon())
        .await
        .unwrap();
    assert!(matches!(found, Some(Session::Holder { permissions, .. }) if permissions.is_empty()));

    let record = bed.record("r1").await;
    assert_eq!(record.kind, EventKind::LoginGranted);
    assert_eq!(record.accessor, granted.accessor.as_str());
    assert_eq!((record.gateway.as_str(), record.rule), ("g", Some(0)));
    assert_eq!(record.k8s_auth_config, "gateways/g/k8sAuthConfigs/c");
    assert_eq!(record.caller_ip, login.facts.client_ip);
    assert_eq!(record.facts, Some(login.facts));
}

async fn the_same_request_gets_the_first_answer_again(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let login = Login::new(&method, &key, &gateway, &config);
    let request = login.request("r1");
    let first = exchange(&bed, &request).await;
    let again = Exchange {
        assertion: request.assertion.clone(),
        now: later(5),
        ..login.request("r1")
    };
    assert_ne!(again.accessor, request.accessor);
    assert_eq!(exchange(&bed, &again).await, first);
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 1);
    bed.record("r1").await;
}

async fn what_is_a_replay_gets_nothing(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let (gateway, other) = (bed.gateway("g").await, bed.gateway("other").await);
    let config = bed.config(&gateway, "c", &method).await.value;
    let login = Login::new(&method, &key, &gateway, &config);
    let request = login.request("r1");
    granted(exchange(&bed, &request).await);

    let refused = |reason| Exchanged::Refused(reason);
    // Signed again: other bytes under the same ID (an ECDSA signature is never the same twice).
    assert_eq!(
        exchange(&bed, &login.request("r2")).await,
        refused(DenyReason::AssertionReplayed)
    );
    let mut elsewhere = login.request("r3");
    (elsewhere.assertion, elsewhere.gateway) = (request.assertion.clone(), identity(&other));
    assert_eq!(
        exchange(&bed, &elsewhere).await,
        refused(DenyReason::AssertionGatewayMismatch)
    );
    // Another assertion for the token of the first.
    let mut second = Login::new(&method, &key, &gateway, &config);
    second.token = login.token.expose().parse().unwrap();
    let request = second.request("r4");
    assert_eq!(
        exchange(&bed, &request).await,
        refused(DenyReason::AssertionReplayed)
    );
    assert_eq!(
        exchange(&bed, &request).await,
        refused(DenyReason::AssertionReplayed)
    );
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 1);
    assert_eq!(bed.record("r2").await.reason, "ASSERTION_REPLAYED");
}

async fn every_refusal_is_on_record_with_its_reason(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let (other_method, other_key) = bed.method("other").await;
    let (gateway, other) = (bed.gateway("g").await, bed.gateway("other").await);
    let config = bed.config(&gateway, "c", &method).await.value;
    let foreign = bed.config(&other, "c", &method).await.value;
    let of_other_method = bed.config(&gateway, "o", &other_method).await.value;
    let mut off = fixtures::config(&gateway, "off", &method);
    off.view.disabled = true;
    bed.store
        .create_config(&off, Intent::Write, &cause("setup"))
        .await
        .unwrap();
    let login = || Login::new(&method, &key, &gateway, &config);
    let with = |edit: &dyn Fn(&mut Exchange)| {
        let mut request = login().request("");
        edit(&mut request);
        request
    };
    let through = |config_uid| {
        Login {
            config_uid,
            ..login()
        }
        .request("")
    };
    let mut stranger = login();
    stranger.facts.namespace = "other".to_owned();
    let mut from_afar = login();
    from_afar.facts.client_ip = Some("11.0.0.1".parse().unwrap());
    let stolen = Login {
        key: &other_key,
        ..login()
    };
    let (known, name) = (method.access_id.as_str(), "gateways/g/k8sAuthConfigs/c");
    let cases = [
        (
            with(&|r| r.access_id = "p-abcdefghijkl".parse().unwrap()),
            DenyReason::MethodUnknown,
            "unknown",
            "unknown",
        ),
        (
            with(&|r| r.assertion = "a.b.c".to_owned()),
            DenyReason::AssertionMalformed,
            known,
            "unknown",
        ),
        (
            with(&|r| r.access_id = other_method.access_id.clone()),
            DenyReason::AssertionKeyUnknown,
            other_method.access_id.as_str(),
            "unknown",
        ),
        (
            stolen.request(""),
            DenyReason::AssertionKeyUnknown,
            known,
            "unknown",
        ),
        (
            with(&|r| r.deployment = Uuid::from_u128(1)),
            DenyReason::AssertionAudienceMismatch,
            known,
            "unknown",
        ),
        (
            with(&|r| r.now = later(61)),
            DenyReason::AssertionStale,
            known,
            "unknown",
        ),
        (
            with(&|r| r.gateway = identity(&other)),
            DenyReason::AssertionGatewayMismatch,
            known,
            "unknown",
        ),
        (
            through(Uuid::now_v7()),
            DenyReason::AssertionConfigMismatch,
            known,
            "unknown",
        ),
        (
            through(foreign.view.uid),
            DenyReason::AssertionConfigMismatch,
            known,
            "unknown",
        ),
        (
            through(of_other_method.view.uid),
            DenyReason::AssertionConfigMismatch,
            known,
            "unknown",
        ),
        (
            through(off.view.uid),
            DenyReason::ConfigDisabled,
            known,
            "unknown",
        ),
        (
            with(&|r| r.gateway_ip = None),
            DenyReason::GatewayIpNotBound,
            known,
            name,
        ),
        (
            from_afar.request(""),
            DenyReason::ClientIpNotBound,
            known,
            name,
        ),
        (
            stranger.request(""),
            DenyReason::NamespaceNotBound,
            known,
            name,
        ),
    ];
    for (i, (mut request, reason, access_id, config)) in cases.into_iter().enumerate() {
        request.request_id = format!("r{i}");
        assert_eq!(exchange(&bed, &request).await, Exchanged::Refused(reason));
        let record = bed.record(&request.request_id).await;
        assert_eq!(
            (record.kind, record.reason.as_str()),
            (EventKind::LoginDenied, reason.as_str())
        );
        assert_eq!(
            (record.access_id.as_str(), record.k8s_auth_config.as_str()),
            (access_id, config)
        );
    }
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 0);
    assert_eq!(bed.count("SELECT COUNT(*) FROM assertions").await, 0);
}

async fn the_rules_in_the_database_decide(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let name = MethodRef::Id(method.id.clone());
    let change = |edit: fn(&mut Settings)| {
        let (store, name) = (bed.store.clone(), name.clone());
        let edit = move |current: &AuthMethod| {
            let mut settings = current.settings.clone();
            edit(&mut settings);
            Ok(settings)
        };
        async move {
            store
                .update_auth_method(&name, Etag::Any, edit, Intent::Write, &cause("r"))
                .await
                .unwrap()
        }
    };
    let ask = async || {
        exchange(
            &bed,
            &Login::new(&method, &key, &gateway, &config).request("x"),
        )
        .await
    };
    granted(ask().await);
    change(|s| s.disabled = true).await;
    assert_eq!(ask().await, Exchanged::Refused(DenyReason::MethodDisabled));
    change(|s| (s.disabled, s.access_expires) = (false, Some(noon()))).await;
    assert_eq!(ask().await, Exchanged::Refused(DenyReason::AccessExpired));
    change(|s| s.access_expires = Some(later(30))).await;
    assert_eq!(
        granted(ask().await).expire_time,
        later(30),
        "no token outlives its method's access"
    );
    change(|s| kubernetes(s).rules = vec![rule("elsewhere")]).await;
    assert_eq!(
        ask().await,
        Exchanged::Refused(DenyReason::NamespaceNotBound)
    );
    bed.store
        .delete_auth_method(&name, Etag::Any, true, &cause("r"))
        .await
        .unwrap();
    assert_eq!(ask().await, Exchanged::Refused(DenyReason::MethodUnknown));
}

async fn what_another_process_changes_holds_for_the_next_login(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let store = bed.another().await;
    let login = async |login: &Login<'_>| store.exchange(&login.request("r")).await.unwrap();
    let (refused, cause) = (Exchanged::Refused, cause("change"));
    granted(login(&route.login()).await);

    route
        .change(&bed, |settings| settings.disabled = true)
        .await;
    let answer = login(&route.login()).await;
    assert_eq!(answer, refused(DenyReason::MethodDisabled));
    route
        .change(&bed, |settings| settings.disabled = false)
        .await;
    granted(login(&route.login()).await);

    bed.switch(&route.gateway, true, "off").await;
    let answer = login(&route.login()).await;
    assert_eq!(answer, refused(DenyReason::GatewayDisabled));
    bed.switch(&route.gateway, false, "on").await;
    granted(login(&route.login()).await);

    let pod = route.login().facts.pod_uid.unwrap();
    let block = blocks::block(Subject::Pod(pod.parse().unwrap()));
    bed.store.block(&block, &cause).await.unwrap();
    let answer = login(&route.login()).await;
    assert_eq!(answer, refused(DenyReason::SubjectBlocked));
    bed.store.unblock(&block.blocked, &cause).await.unwrap();
    granted(login(&route.login()).await);

    let mut config = route.config.clone();
    config.view.generation += 1;
    let updated = bed
        .store
        .update_config(&config, Etag::Any, Intent::Write, &cause);
    updated.await.unwrap();
    let answer = login(&route.login()).await;
    assert_eq!(answer, refused(DenyReason::AssertionConfigMismatch));
}

async fn what_was_begun_and_never_ended_holds_up_nobody(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    bed.store.raw("BEGIN").await;
    granted(exchange(&bed, &route.login().request("r")).await);
}

#[tokio::test]
async fn what_was_read_of_one_server_is_forgotten_for_another() {
    let Some(bed) = Bed::postgres().await else {
        return;
    };
    let route = Route::new(&bed, "m").await;
    granted(exchange(&bed, &route.login().request("r")).await);
    // As after a failover to a replica that missed a change, and was given another one in its place.
    bed.store
        .raw("UPDATE auth_methods SET disabled = TRUE")
        .await;
    bed.store
        .raw(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    let answer = exchange(&bed, &route.login().request("r")).await;
    assert_eq!(answer, Exchanged::Refused(DenyReason::MethodDisabled));
}

async fn what_expired_is_swept(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let login = Login::new(&method, &key, &gateway, &config);
    granted(exchange(&bed, &login.request("r1")).await);
    // Ten minutes beyond their ends: other clocks judge by the rows.
    for (seconds, swept) in [(60 + 599, 0), (60 + 600, 1), (600 + 599, 0), (600 + 600, 1)] {
        assert_eq!(bed.store.sweep(later(seconds)).await.unwrap(), swept);
    }
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 0);
    assert_eq!(bed.count("SELECT COUNT(*) FROM assertions").await, 0);
    let token: AccessToken = login.token;
    assert!(
        bed.store
            .session(&token.hash(), noon())
            .await
            .unwrap()
            .is_none()
    );
}
