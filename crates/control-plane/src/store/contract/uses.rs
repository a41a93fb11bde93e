//! What a token is worth, and how often.

use jiff::Timestamp;
use postern_core::access_token::AccessToken;
use postern_core::auth_method::{AuthMethod, Settings, TokenTtl, TokenUses};

use super::bed::Bed;
use super::fixtures::{self, Login, cause, later, noon};
use crate::store::{
    Etag, Exchanged, Inspection, Intent, Introspected, MethodRef, Shown, Store, Subject,
};

super::on_both_engines! {
    a_token_says_what_was_verified,
    a_token_says_that_it_ends_with_a_method_that_got_an_end_since,
    a_token_shown_from_elsewhere_is_inactive,
    one_use_and_fifty_calls_give_one_success,
    a_call_is_a_use_and_a_refused_question_is_none,
    a_call_from_elsewhere_and_a_look_at_a_stream_are_no_use,
    a_token_ends_with_what_was_presented_for_it,
    a_token_knows_the_revision_of_its_rules,
}

/// A token of a method with those settings.
async fn token(bed: &Bed, edit: impl FnOnce(&mut Settings) + Send) -> (AuthMethod, AccessToken) {
    let (method, key) = bed.method("m").await;
    let (by, cause) = (MethodRef::Id(method.id.clone()), cause("setup"));
    let edit = |current: &AuthMethod| {
        let mut settings = current.settings.clone();
        edit(&mut settings);
        Ok(settings)
    };
    let edited = bed
        .store
        .update_auth_method(&by, Etag::Any, edit, Intent::Write, &cause);
    let method = edited.await.unwrap().value;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await.value;
    let login = Login::new(&method, &key, &gateway, &config);
    let answer = bed.store.exchange(&login.request("login")).await.unwrap();
    assert!(matches!(answer, Exchanged::Granted(_)), "{answer:?}");
    let token = login.token;
    (method, token)
}

async fn ask(
    store: &Store,
    token: &AccessToken,
    client_ip: &str,
    now: Timestamp,
) -> Option<Introspected> {
    let inspection = Inspection {
        token: token.hash(),
        shown: Shown {
            client_ip: client_ip.parse().ok(),
            through: None,
        },
        now,
    };
    store.introspect(&inspection).await.unwrap()
}

async fn a_token_says_that_it_ends_with_a_method_that_got_an_end_since(bed: Bed) {
    let (method, token) = token(&bed, |_| ()).await;
    for (end, said) in [(30, 30), (3600, 600)] {
        let edit = |current: &AuthMethod| {
            Ok(Settings {
                access_expires: Some(later(end)),
                ..current.settings.clone()
            })
        };
        let (by, cause) = (MethodRef::Id(method.id.clone()), cause("ends"));
        let edited = bed
            .store
            .update_auth_method(&by, Etag::Any, edit, Intent::Write, &cause);
        edited.await.unwrap();
        let introspected = ask(&bed.store, &token, "10.2.3.4", noon()).await.unwrap();
        assert_eq!(introspected.expire_time, later(said));
    }
}

async fn a_token_says_what_was_verified(bed: Bed) {
    let (method, token) = token(&bed, |_| ()).await;
    let said = ask(&bed.store, &token, "10.2.3.4", noon()).await.unwrap();
    assert_eq!(said.access_id, method.access_id);
    assert_eq!(said.sub_claims["pod_name"], ["mypod1"]);
    assert_eq!(
        (said.issue_time, said.expire_time),
        (noon(), later(600)),
        "of the method's life"
    );
    let facts = fixtures::facts();
    assert!(
        matches!(said.subject, Subject::Workload { service_account_uid, pod_uid, .. }
        if service_account_uid == facts.service_account_uid && pod_uid == facts.pod_uid)
    );
    assert!(said.roles.is_empty());
    assert_eq!(ask(&bed.store, &token, "10.2.3.4", later(600)).await, None);
}

async fn a_token_shown_from_elsewhere_is_inactive(bed: Bed) {
    let (_, token) = token(&bed, |settings| {
        settings.token_num_uses = TokenUses::parse(1).unwrap();
    })
    .await;
    for elsewhere in ["11.0.0.1", "", "::ffff:11.0.0.1"] {
        let said = ask(&bed.store, &token, elsewhere, noon()).await;
        assert_eq!(said, None, "{elsewhere:?}");
    }
    // None of these was a use, and a mapped address is the address.
    let said = ask(&bed.store, &token, "::ffff:10.0.0.1", noon()).await;
    assert!(said.is_some());
}

async fn one_use_and_fifty_calls_give_one_success(bed: Bed) {
    let (_, token) = token(&bed, |settings| {
        settings.token_num_uses = TokenUses::parse(1).unwrap();
    })
    .await;
    let other = bed.another().await;
    let calls = (0..50).map(|i| {
        let store = if i % 2 == 0 { &bed.store } else { &other };
        ask(store, &token, "10.2.3.4", noon())
    });
    let answers = futures::future::join_all(calls).await;
    let active = answers.iter().filter(|answer| answer.is_some()).count();
    assert_eq!(active, 1);
    assert_eq!(
        bed.count("SELECT uses_left FROM tokens WHERE kind = 'kubernetes'")
            .await,
        0
    );
}

async fn a_call_is_a_use_and_a_refused_question_is_none(bed: Bed) {
    let (_, token) = token(&bed, |settings| {
        settings.token_num_uses = TokenUses::parse(2).unwrap();
    })
    .await;
    let session = async || bed.store.session(&token.hash(), noon()).await.unwrap();
    assert!(session().await.is_some());
    assert_eq!(ask(&bed.store, &token, "11.0.0.1", noon()).await, None);
    assert!(ask(&bed.store, &token, "10.2.3.4", noon()).await.is_some());
    assert!(session().await.is_none(), "two uses were two");
    assert!(ask(&bed.store, &token, "10.2.3.4", noon()).await.is_none());
}

async fn a_call_from_elsewhere_and_a_look_at_a_stream_are_no_use(bed: Bed) {
    let (_, token) = token(&bed, |settings| {
        settings.token_num_uses = TokenUses::parse(1).unwrap();
    })
    .await;
    let hash = token.hash();
    let call = async |ip: &str| {
        let session = bed.store.session_at(&hash, ip.parse().ok(), noon()).await;
        session.unwrap()
    };
    for elsewhere in ["11.0.0.1", ""] {
        // Said, so that it can be refused as what it is.
        assert!(call(elsewhere).await.is_some(), "{elsewhere:?}");
    }
    let standing = async || bed.store.standing(&hash, noon()).await.unwrap();
    assert!(standing().await.is_some());
    assert!(call("10.2.3.4").await.is_some(), "there was a use left");
    assert!(call("10.2.3.4").await.is_none());
    assert!(standing().await.is_none());
}

async fn a_token_ends_with_what_was_presented_for_it(bed: Bed) {
    let (_, token) = token(&bed, |settings| {
        settings.access_expires = None;
        settings.token_ttl = TokenTtl::parse(7200, 0).unwrap();
        settings.token_max_ttl = None;
    })
    .await;
    let said = ask(&bed.store, &token, "10.2.3.4", noon()).await.unwrap();
    assert_eq!(Some(said.expire_time), fixtures::facts().expire_time);
}

async fn a_token_knows_the_revision_of_its_rules(bed: Bed) {
    token(&bed, |_| ()).await;
    let known = bed.count("SELECT rules_revision FROM tokens").await;
    assert_eq!(known, bed.store.current_revision().await.unwrap());
}
