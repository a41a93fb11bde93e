//! Tokens that are ended before their time, and tokens that live longer.

use std::time::Duration;

use jiff::Timestamp;
use postern_core::access_token::{AccessKey, AccessToken, Accessor};
use postern_core::audit::EventKind;
use postern_core::auth_method::{Settings, TokenMaxTtl, TokenMaxima, TokenTtl, TokenUses};
use postern_core::reason::DenyReason;
use uuid::Uuid;

use super::bed::Bed;
use super::fixtures::{self, Login, cause, later, noon};
use super::tokens::log_in;
use crate::store::{
    Cause, Etag, EventFilter, Exchange, Exchanged, Granted, Intent, LogIn, MethodRef, Prolonged,
    Renewal, Renewed, Revocation, Shown, SpeaksFor, WhichToken,
};

super::on_both_engines! {
    a_revoked_token_is_worth_nothing_and_revoking_again_is_no_fault,
    the_end_of_nothing_is_on_record_for_administrators_only,
    a_token_of_an_access_key_is_renewed_up_to_the_most_that_it_may_live,
    no_token_lives_longer_than_the_server_lets_it_whatever_its_method_says,
    what_isnt_renewed_says_so_and_what_is_dead_too,
    a_workloads_token_is_renewed_by_its_own_pod_only,
    a_renewal_is_repeated_and_gives_the_first_answer_again,
    nobody_renews_by_a_method_that_lets_nobody_in,
    a_revoked_token_isnt_brought_back_by_renewals_under_way,
}

fn at(now: Timestamp, request_id: &str) -> Cause {
    Cause {
        now,
        ..cause(request_id)
    }
}

fn own(token: &AccessToken, request_id: &str) -> Revocation {
    Revocation {
        which: WhichToken::Hash(token.hash()),
        own: true,
        cause: cause(request_id),
    }
}

async fn is_good(bed: &Bed, token: &AccessToken, now: Timestamp) -> bool {
    let session = bed.store.session(&token.hash(), now).await.unwrap();
    session.is_some()
}

/// A token of an access key whose method says that.
async fn administrator(bed: &Bed, edit: impl FnOnce(&mut Settings)) -> AccessToken {
    let (mut method, key) = (
        fixtures::administrator("admin"),
        AccessKey::generate().unwrap(),
    );
    method.settings.access_expires = None;
    edit(&mut method.settings);
    bed.store
        .create_auth_method(&method, Some(&key.hash()), Intent::Write, &cause("setup"))
        .await
        .unwrap();
    let token = AccessToken::generate().unwrap();
    let login = LogIn {
        access_id: method.access_id,
        key: key.hash(),
        narrow_to: None,
        token: token.hash(),
        accessor: Accessor::generate().unwrap(),
        speaks_for: SpeaksFor::Any,
        caller_ip: Some("10.1.1.1".parse().unwrap()),
        user_agent: "test".to_owned(),
        request_id: "login".to_owned(),
        now: noon(),
        maxima: TokenMaxima::default(),
    };
    bed.store.log_in(&login).await.unwrap();
    token
}

async fn renew(bed: &Bed, token: &AccessToken, now: Timestamp, request_id: &str) -> Renewed {
    let renewal = Renewal {
        token: token.hash(),
        shown: Shown {
            client_ip: Some("10.1.1.1".parse().unwrap()),
            through: None,
        },
        cause: at(now, request_id),
        maxima: TokenMaxima::default(),
    };
    bed.store.renew(&renewal).await.unwrap()
}

fn until(renewed: Renewed) -> Prolonged {
    match renewed {
        Renewed::Until(token) => token,
        other => panic!("{other:?}"),
    }
}

fn granted(answer: Exchanged) -> Granted {
    match answer {
        Exchanged::Granted(granted) => granted,
        refused => panic!("{refused:?}"),
    }
}

async fn a_revoked_token_is_worth_nothing_and_revoking_again_is_no_fault(bed: Bed) {
    let token = administrator(&bed, |_| ()).await;
    assert!(is_good(&bed, &token, noon()).await);
    assert!(bed.store.revoke(&own(&token, "first")).await.unwrap());
    assert!(!is_good(&bed, &token, noon()).await);
    assert!(!bed.store.revoke(&own(&token, "second")).await.unwrap());
    let record = bed.record("first").await;
    assert_eq!(record.kind, EventKind::TokenRevoked);
    assert_eq!(record.resource, format!("tokens/{}", record.accessor));
    let login = bed.record("login").await;
    assert_eq!(record.accessor, login.accessor);
}

async fn the_end_of_nothing_is_on_record_for_administrators_only(bed: Bed) {
    let unknown = AccessToken::generate().unwrap();
    assert!(!bed.store.revoke(&own(&unknown, "own")).await.unwrap());
    let by_administrator = Revocation {
        which: WhichToken::Accessor(Accessor::generate().unwrap()),
        own: false,
        cause: cause("another's"),
    };
    assert!(!bed.store.revoke(&by_administrator).await.unwrap());
    assert_eq!(bed.record("another's").await.resource, "unknown");
    let own = bed
        .store
        .list_events(&EventFilter::request("own"), None, 10)
        .await
        .unwrap();
    assert!(own.items.is_empty());
}

async fn a_token_of_an_access_key_is_renewed_up_to_the_most_that_it_may_live(bed: Bed) {
    let token = administrator(&bed, |settings| {
        settings.token_ttl = TokenTtl::parse(600, 0).unwrap();
        settings.token_max_ttl = TokenMaxTtl::parse(1000, 0).unwrap();
    })
    .await;
    let first = until(renew(&bed, &token, later(300), "first").await);
    assert_eq!(first.expire_time, later(900));
    assert_eq!(first.max_expire_time, later(1000));
    let last = until(renew(&bed, &token, later(899), "last").await);
    assert_eq!(last.expire_time, later(1000));
    assert!(is_good(&bed, &token, later(999)).await);
    assert!(!is_good(&bed, &token, later(1000)).await);
    let late = renew(&bed, &token, later(1000), "late").await;
    assert_eq!(late, Renewed::Dead);
    let record = bed.record("first").await;
    assert_eq!(record.kind, EventKind::TokenRenewed);
    assert_eq!(record.accessor, first.accessor.as_str());
}

/// 5 minutes, and 7½ in all.
fn few() -> TokenMaxima {
    TokenMaxima {
        ttl: Duration::from_secs(300),
        life: Duration::from_secs(450),
    }
}

async fn no_token_lives_longer_than_the_server_lets_it_whatever_its_method_says(bed: Bed) {
    // Before the server's maxima were lowered.
    let long = |settings: &mut Settings| {
        settings.token_ttl = TokenTtl::parse(3600, 0).unwrap();
        settings.token_max_ttl = TokenMaxTtl::parse(7200, 0).unwrap();
    };
    let old = administrator(&bed, long).await;
    let renewal = |now: Timestamp| Renewal {
        token: old.hash(),
        shown: Shown {
            client_ip: Some("10.1.1.1".parse().unwrap()),
            through: None,
        },
        cause: at(now, "renewal"),
        maxima: few(),
    };
    let renewed = until(bed.store.renew(&renewal(later(300))).await.unwrap());
    assert_eq!(renewed.expire_time, later(3600), "no renewal takes away");
    assert_eq!(renewed.max_expire_time, later(3600));

    let mut method = fixtures::administrator("long");
    long(&mut method.settings);
    let (key, token) = (
        AccessKey::generate().unwrap(),
        AccessToken::generate().unwrap(),
    );
    bed.store
        .create_auth_method(&method, Some(&key.hash()), Intent::Write, &cause("setup"))
        .await
        .unwrap();
    let login = LogIn {
        maxima: few(),
        ..log_in(&method.access_id, &key, &token)
    };
    bed.store.log_in(&login).await.unwrap();
    assert!(is_good(&bed, &token, later(299)).await);
    assert!(!is_good(&bed, &token, later(300)).await);

    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let mut login = Login::new(&method, &key, &gateway, &config);
    let request = Exchange {
        maxima: few(),
        ..login.request("pod")
    };
    let first = granted(bed.store.exchange(&request).await.unwrap());
    assert_eq!(first.expire_time, later(300));
    let renewal = Exchange {
        maxima: few(),
        ..again(&mut login, "renewed", later(250))
    };
    let renewed = granted(bed.store.exchange(&renewal).await.unwrap());
    assert_eq!(renewed.expire_time, later(450), "in all");

    let mut login = Login::new(&method, &key, &gateway, &config);
    let given = granted(bed.store.exchange(&login.request("more")).await.unwrap());
    assert_eq!(given.expire_time, later(600));
    let renewal = Exchange {
        maxima: few(),
        ..again(&mut login, "capped", later(500))
    };
    let renewed = granted(bed.store.exchange(&renewal).await.unwrap());
    assert_eq!(
        renewed.expire_time,
        later(600),
        "neither taken away nor given"
    );
}

async fn what_isnt_renewed_says_so_and_what_is_dead_too(bed: Bed) {
    let token = administrator(&bed, |settings| {
        settings.token_num_uses = TokenUses::parse(1).unwrap();
    })
    .await;
    until(renew(&bed, &token, noon(), "its one use").await);
    let spent = renew(&bed, &token, noon(), "spent").await;
    assert_eq!(spent, Renewed::Dead);
    let unknown = AccessToken::generate().unwrap();
    assert_eq!(
        renew(&bed, &unknown, noon(), "unknown").await,
        Renewed::Dead
    );
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let login = Login::new(&method, &key, &gateway, &config);
    granted(bed.store.exchange(&login.request("pod")).await.unwrap());
    let workload = renew(&bed, &login.token, noon(), "workload").await;
    assert_eq!(workload, Renewed::NotRenewable);
}

/// As the same pod would ask some time later, with what the test changes.
fn again(login: &mut Login<'_>, request_id: &str, now: Timestamp) -> Exchange {
    login.renews = true;
    login.jti = Uuid::new_v4();
    login.now = now;
    login.request(request_id)
}

async fn a_workloads_token_is_renewed_by_its_own_pod_only(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let twin = bed.config(&gateway, "twin", &method).await.value;
    let mut login = Login::new(&method, &key, &gateway, &config);
    let first = granted(bed.store.exchange(&login.request("login")).await.unwrap());
    let renewed = again(&mut login, "renewed", later(300));
    let renewed = granted(bed.store.exchange(&renewed).await.unwrap());
    assert_eq!(renewed.accessor, first.accessor);
    assert_eq!(renewed.sub_claims, first.sub_claims);
    assert_eq!(renewed.expire_time, later(900));
    assert_eq!(bed.record("renewed").await.kind, EventKind::TokenRenewed);
    assert_eq!(bed.count("SELECT count(*) FROM tokens").await, 1);

    let refused = async |request: &Exchange| match bed.store.exchange(request).await.unwrap() {
        Exchanged::Refused(reason) => reason,
        other => panic!("{other:?}"),
    };
    let other = DenyReason::RenewedTokenOfAnother;
    let uid = || Some(Uuid::new_v4().to_string());
    login.facts.pod_uid = uid();
    let request = again(&mut login, "another pod", later(300));
    assert_eq!(refused(&request).await, other);
    let record = bed.record("another pod").await;
    assert_eq!(record.kind, EventKind::LoginDenied);
    assert_eq!(record.reason, other.as_str());
    login.facts = fixtures::facts();
    login.facts.service_account_uid = uid().unwrap();
    let request = again(&mut login, "another account", later(300));
    assert_eq!(refused(&request).await, other);
    login.facts = fixtures::facts();
    login.config_uid = twin.view.uid;
    let request = again(&mut login, "another config", later(300));
    assert_eq!(refused(&request).await, other);
    login.config_uid = config.view.uid;
    bed.store.revoke(&own(&login.token, "end")).await.unwrap();
    let request = again(&mut login, "revoked", later(300));
    assert_eq!(refused(&request).await, DenyReason::RenewedTokenUnknown);
    assert_eq!(bed.count("SELECT count(*) FROM tokens").await, 0);
}

async fn a_renewal_is_repeated_and_gives_the_first_answer_again(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let mut login = Login::new(&method, &key, &gateway, &config);
    granted(bed.store.exchange(&login.request("login")).await.unwrap());
    let request = again(&mut login, "renewal", later(30));
    let first = granted(bed.store.exchange(&request).await.unwrap());
    let later_on = Exchange {
        now: later(50),
        ..request
    };
    let second = granted(bed.store.exchange(&later_on).await.unwrap());
    assert_eq!(first, second);
    bed.record("renewal").await;
    // Beyond the most that it may live there is nothing to be had.
    for minutes in 1..20 {
        let now = later(minutes * 540);
        if !is_good(&bed, &login.token, now).await {
            assert!(now >= later(7200), "{now}");
            return;
        }
        login.facts.expire_time = Some(now + Duration::from_secs(3600));
        login.facts.issue_time = Some(now);
        let request = again(&mut login, "on", now);
        let renewed = granted(bed.store.exchange(&request).await.unwrap());
        assert!(renewed.expire_time <= later(7200));
    }
    panic!("it lives for ever");
}

async fn nobody_renews_by_a_method_that_lets_nobody_in(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let mut login = Login::new(&method, &key, &gateway, &config);
    granted(bed.store.exchange(&login.request("login")).await.unwrap());
    let (by, cause) = (MethodRef::Id(method.id.clone()), cause("setup"));
    let edit = |current: &postern_core::auth_method::AuthMethod| {
        let mut settings = current.settings.clone();
        fixtures::kubernetes(&mut settings).rules = vec![fixtures::rule("other")];
        Ok(settings)
    };
    bed.store
        .update_auth_method(&by, Etag::Any, edit, Intent::Write, &cause)
        .await
        .unwrap();
    let request = again(&mut login, "renewal", later(30));
    let answer = bed.store.exchange(&request).await.unwrap();
    assert_eq!(answer, Exchanged::Refused(DenyReason::NamespaceNotBound));
}

async fn a_revoked_token_isnt_brought_back_by_renewals_under_way(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let mut login = Login::new(&method, &key, &gateway, &config);
    granted(bed.store.exchange(&login.request("login")).await.unwrap());
    let requests: Vec<_> = (0..20)
        .map(|_| again(&mut login, "renewal", later(30)))
        .collect();
    let other = bed.another().await;
    let renewals = requests.iter().enumerate().map(|(i, request)| {
        let store = if i % 2 == 0 { &bed.store } else { &other };
        store.exchange(request)
    });
    let revocation = own(&login.token, "end");
    let revoked = async {
        // Behind some of them.
        bed.store.exchange(&requests[0]).await.unwrap();
        bed.store.revoke(&revocation).await.unwrap()
    };
    let (answers, revoked) = futures::join!(futures::future::join_all(renewals), revoked);
    assert!(revoked);
    for answer in answers {
        answer.unwrap();
    }
    assert!(!is_good(&bed, &login.token, later(30)).await);
    let late = again(&mut login, "late", later(30));
    let late = bed.store.exchange(&late).await.unwrap();
    assert_eq!(late, Exchanged::Refused(DenyReason::RenewedTokenUnknown));
    assert_eq!(bed.count("SELECT count(*) FROM tokens").await, 0);
}
