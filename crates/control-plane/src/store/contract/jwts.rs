//! Logins of methods whose tokens are JWTs.

use futures::future::join_all;
use postern_core::access_token::TokenHash;
use postern_core::audit::EventKind;
use postern_core::auth_method::{Settings, TokenFormat, TokenMaxTtl};
use postern_core::jwt::Claims;
use postern_core::reason::DenyReason;
use postern_core::seal::{SealKeyId, Sealed};
use postern_core::signing_key::{PublishedKey, Stage};
use uuid::Uuid;

use super::batches::Route;
use super::bed::Bed;
use super::fixtures::{Login, cause, key, later, noon};
use super::revocations::{counts, revoke};
use super::roles;
use crate::store::{BoxedKey, CantSign, Exchange, Exchanged, Granted, MethodRef, StoreError};

super::on_both_engines! {
    a_method_of_jwts_is_read_as_it_was_written,
    a_login_whose_answer_was_lost_gets_the_same_claims_again,
    what_the_gateway_drew_is_nobodys_token_where_there_is_a_jwt,
    a_jwt_that_is_taken_away_in_bulk_counts_no_more,
    a_login_that_asks_for_another_audience_leaves_no_token,
    a_jwt_that_nobody_would_read_is_not_given,
    what_cant_be_signed_leaves_nothing_and_others_their_tokens,
    a_renewed_jwt_is_the_same_token_with_the_roles_of_now_and_a_later_end,
    a_renewal_of_a_jwt_that_is_repeated_gets_the_same_claims_again,
    a_jwt_is_renewed_by_showing_it_and_by_its_own_pod_only,
    a_jwt_isnt_renewed_for_an_audience_that_its_method_lists_no_more,
    an_opaque_token_stays_one_when_its_method_gives_jwts,
    logins_that_come_together_get_the_roles_of_their_own_methods_and_sub_claims,
}

fn jwts(settings: &mut Settings, audiences: &[&str]) {
    settings.token_num_uses = None;
    settings.bound_ips.clear();
    let audiences = audiences.iter().map(|text| (*text).to_owned()).collect();
    settings.token_format = TokenFormat::parse(true, audiences).unwrap();
}

/// Of a method that gives JWTs, and a key that signs them.
async fn route(bed: &Bed) -> Route {
    let route = Route::new(bed, "m").await;
    route
        .change(bed, |settings| jwts(settings, &["orders", "billing"]))
        .await;
    let stage = Stage::Active { since: noon() };
    let key = BoxedKey {
        published: PublishedKey {
            stage,
            ..PublishedKey::prepared(key().public().clone(), noon())
        },
        sealed: Sealed {
            key_id: "k1".parse().unwrap(),
            bytes: vec![1, 2, 3],
        },
    };
    let cause = cause("key");
    bed.store.first_signing_key(&key, &cause).await.unwrap();
    route
}

async fn granted(bed: &Bed, request: &Exchange) -> Granted {
    match bed.store.exchange(request).await.unwrap() {
        Exchanged::Granted(granted) => granted,
        refused => panic!("{refused:?}"),
    }
}

async fn a_method_of_jwts_is_read_as_it_was_written(bed: Bed) {
    let route = route(&bed).await;
    let name = MethodRef::Id(route.method.id.clone());
    let read = bed.store.get_auth_method(&name).await.unwrap().unwrap();
    let format = read.value.settings.token_format;
    assert_eq!(format.audiences(), ["orders", "billing"]);
    let records = bed.lines();
    let updated = records
        .iter()
        .find_map(|record| record.before.as_ref().zip(record.after.as_ref()));
    let (before, after) = updated.unwrap();
    let of = |text: &str| {
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        document["token_format"].as_str().unwrap().to_owned()
    };
    assert_eq!((of(before).as_str(), of(after).as_str()), ("opaque", "jwt"));
}

async fn a_login_whose_answer_was_lost_gets_the_same_claims_again(bed: Bed) {
    let route = route(&bed).await;
    let login = route.login();
    let request = login.request("r1");
    let first = granted(&bed, &request).await;
    let said = first.jwt.clone().unwrap();
    assert_eq!(said.claims.aud, ["orders", "billing"]);
    assert_eq!(said.claims.jti, request.accessor.to_string());
    assert_eq!(said.claims.exp, first.expire_time.as_second());
    assert!(said.signer.is_some());
    // Whatever the method gives meanwhile.
    route
        .change(&bed, |settings| jwts(settings, &["payroll"]))
        .await;
    let again = Exchange {
        assertion: request.assertion.clone(),
        now: later(5),
        ..login.request("r1")
    };
    assert_eq!(granted(&bed, &again).await, first);
    route
        .change(&bed, |settings| settings.token_format = TokenFormat::Opaque)
        .await;
    assert_eq!(granted(&bed, &again).await, first);
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 1);
}

async fn what_the_gateway_drew_is_nobodys_token_where_there_is_a_jwt(bed: Bed) {
    let route = route(&bed).await;
    let login = route.login();
    let granted = granted(&bed, &login.request("r1")).await;
    assert!(!counts(&bed, &login.token.hash()).await);
    assert!(counts(&bed, &TokenHash::of_jwt(&granted.accessor)).await);
}

async fn a_jwt_that_is_taken_away_in_bulk_counts_no_more(bed: Bed) {
    let route = route(&bed).await;
    let before = granted(&bed, &route.login().request("r1")).await;
    assert_eq!(revoke(&bed, &[("method", "m")]).await, 1);
    assert!(!counts(&bed, &TokenHash::of_jwt(&before.accessor)).await);
    let after = granted(&bed, &route.login().request("r2")).await;
    assert!(counts(&bed, &TokenHash::of_jwt(&after.accessor)).await);
}

async fn a_login_that_asks_for_another_audience_leaves_no_token(bed: Bed) {
    let route = route(&bed).await;
    let asking = |audience: &str| Exchange {
        token_audiences: vec![audience.to_owned()],
        ..route.login().request("r1")
    };
    let refused = bed.store.exchange(&asking("payroll")).await.unwrap();
    let reason = DenyReason::TokenAudienceNotAllowed;
    assert_eq!(refused, Exchanged::Refused(reason));
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 0);
    let granted = granted(&bed, &asking("billing")).await;
    assert_eq!(granted.jwt.unwrap().claims.aud, ["billing"]);
}

async fn what_cant_be_signed_leaves_nothing_and_others_their_tokens(bed: Bed) {
    let route = route(&bed).await;
    let opaque = Route::new(&bed, "opaque").await;
    let other: SealKeyId = "k2".parse().unwrap();
    for (signs, fault) in [
        (None, CantSign::NoIssuer),
        (Some([other].into()), CantSign::Sealed),
    ] {
        let unsigned = Exchange {
            signs,
            ..route.login().request("r1")
        };
        let requests = vec![unsigned, opaque.login().request("r2")];
        let mut answers = bed.store.exchange_all(requests).await.unwrap();
        assert!(matches!(answers.pop(), Some(Ok(Exchanged::Granted(_)))));
        let failed = answers.pop().unwrap().unwrap_err();
        assert!(
            matches!(failed, StoreError::CantSign(it) if it == fault),
            "{failed}"
        );
    }
    let tokens = "SELECT COUNT(*) FROM tokens WHERE format = 'jwt'";
    assert_eq!(bed.count(tokens).await, 0);
    let records = "SELECT COUNT(*) FROM audit_events WHERE request_id = 'r1'";
    assert_eq!(bed.count(records).await, 0);
}

async fn a_jwt_that_nobody_would_read_is_not_given(bed: Bed) {
    let route = route(&bed).await;
    let give = async |names: std::ops::Range<usize>| {
        for name in names {
            let id = format!("{name:02}{}", "x".repeat(253));
            roles::create(&bed, &roles::role(&id, &[])).await;
            roles::associate(&bed, &route.method, &id).await;
        }
    };
    give(0..40).await;
    let fits = granted(&bed, &route.login().request("r1")).await;
    assert_eq!(fits.jwt.unwrap().claims.roles.len(), 40);
    give(40..45).await;
    let request = route.login().request("r2");
    let too_long = refused(&bed, &request).await;
    assert_eq!(too_long, DenyReason::JwtTooLong);
    assert_eq!(bed.record("r2").await.reason, "JWT_TOO_LONG");
    let again = Exchange {
        request_id: "r3".to_owned(),
        ..request
    };
    let replayed = refused(&bed, &again).await;
    assert_eq!(replayed, DenyReason::AssertionReplayed);
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 1);
}

/// As the same pod would ask some time later, showing its JWT.
fn renewal<'r>(route: &'r Route, jwt: &Granted, seconds: i64) -> Login<'r> {
    let mut login = route.login();
    login.renews = true;
    login.jwt = Some(jwt.accessor.clone());
    login.now = later(seconds);
    login.facts.issue_time = Some(login.now);
    login.facts.expire_time = Some(later(seconds + 3600));
    login
}

async fn refused(bed: &Bed, request: &Exchange) -> DenyReason {
    match bed.store.exchange(request).await.unwrap() {
        Exchanged::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn claims(granted: &Granted) -> Claims {
    granted.jwt.as_ref().unwrap().claims.clone()
}

async fn a_renewed_jwt_is_the_same_token_with_the_roles_of_now_and_a_later_end(bed: Bed) {
    let route = route(&bed).await;
    route
        .change(&bed, |settings| {
            settings.token_max_ttl = TokenMaxTtl::parse(1000, 0).unwrap();
        })
        .await;
    roles::create(&bed, &roles::role("reader", &[])).await;
    let first = granted(&bed, &route.login().request("login")).await;
    roles::associate(&bed, &route.method, "reader").await;
    let renewed = granted(&bed, &renewal(&route, &first, 500).request("renewed")).await;
    assert!(renewed.renewed);
    assert!(renewed.jwt.as_ref().unwrap().signer.is_some());
    let expected = Claims {
        exp: later(1000).as_second(),
        roles: vec!["reader".to_owned()],
        ..claims(&first)
    };
    assert_eq!(claims(&renewed), expected);
    assert_eq!(renewed.accessor, first.accessor);
    assert_eq!(
        renewed.expire_time,
        later(1000),
        "the most that it may live"
    );
    let record = bed.record("renewed").await;
    assert_eq!(record.kind, EventKind::TokenRenewed);
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 1);
    let hash = TokenHash::of_jwt(&first.accessor);
    let stands = async |at| bed.store.session(&hash, at).await.unwrap().is_some();
    assert!(stands(later(999)).await);
    assert!(!stands(later(1000)).await);
}

async fn a_renewal_of_a_jwt_that_is_repeated_gets_the_same_claims_again(bed: Bed) {
    let route = route(&bed).await;
    let login = route.login().request("login");
    let first = granted(&bed, &login).await;
    let (one, two) = (renewal(&route, &first, 20), renewal(&route, &first, 40));
    let (one, two) = (one.request("one"), two.request("two"));
    let renewed = [granted(&bed, &one).await, granted(&bed, &two).await];
    assert!(claims(&renewed[0]).exp < claims(&renewed[1]).exp);
    // Whatever became of the token since.
    roles::create(&bed, &roles::role("reader", &[])).await;
    roles::associate(&bed, &route.method, "reader").await;
    for (request, answer) in [(&login, &first), (&one, &renewed[0]), (&two, &renewed[1])] {
        let again = Exchange {
            now: later(50),
            ..request.clone()
        };
        let again = granted(&bed, &again).await;
        assert_eq!(claims(&again), claims(answer));
        assert_eq!(again.expire_time, answer.expire_time);
    }
}

async fn a_jwt_is_renewed_by_showing_it_and_by_its_own_pod_only(bed: Bed) {
    let route = route(&bed).await;
    let first = granted(&bed, &route.login().request("login")).await;
    // A gateway that knows an accessor and hasn't seen the token, or was shown another one.
    let login = renewal(&route, &first, 300);
    let unshown = Exchange {
        renewed_jwt: None,
        ..login.request("unshown")
    };
    let unknown = DenyReason::RenewedTokenUnknown;
    assert_eq!(refused(&bed, &unshown).await, unknown);
    assert_eq!(refused(&bed, &unshown).await, unknown, "nor again");
    let other = granted(&bed, &route.login().request("other")).await;
    let another = Exchange {
        renewed_jwt: Some(TokenHash::of_jwt(&other.accessor)),
        ..login.request("another")
    };
    assert_eq!(refused(&bed, &another).await, unknown);
    let mut stranger = renewal(&route, &first, 300);
    stranger.facts.pod_uid = Some("11111111-2222-4333-8444-555555555555".to_owned());
    let stranger = stranger.request("stranger");
    let of_another = DenyReason::RenewedTokenOfAnother;
    assert_eq!(refused(&bed, &stranger).await, of_another);
    let expire_time = "SELECT MAX(expire_time) FROM tokens";
    let end = first.expire_time.as_microsecond();
    assert_eq!(bed.count(expire_time).await, end, "no life was given");
    revoke(&bed, &[("method", "m")]).await;
    let late = renewal(&route, &first, 300).request("late");
    assert_eq!(refused(&bed, &late).await, unknown);
}

async fn a_jwt_isnt_renewed_for_an_audience_that_its_method_lists_no_more(bed: Bed) {
    let route = route(&bed).await;
    let first = granted(&bed, &route.login().request("login")).await;
    let not_allowed = DenyReason::TokenAudienceNotAllowed;
    for (i, format) in [
        TokenFormat::parse(true, vec!["orders".to_owned()]).unwrap(),
        TokenFormat::Opaque,
    ]
    .into_iter()
    .enumerate()
    {
        route
            .change(&bed, |settings| settings.token_format = format)
            .await;
        let name = format!("r{i}");
        let request = renewal(&route, &first, 300).request(&name);
        assert_eq!(refused(&bed, &request).await, not_allowed);
        assert_eq!(bed.record(&name).await.reason, not_allowed.as_str());
    }
}

async fn an_opaque_token_stays_one_when_its_method_gives_jwts(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let mut login = route.login();
    granted(&bed, &login.request("login")).await;
    route.change(&bed, |settings| jwts(settings, &["a"])).await;
    (login.renews, login.jti) = (true, Uuid::new_v4());
    let renewed = granted(&bed, &login.request("renewed")).await;
    assert!(renewed.renewed);
    assert_eq!(renewed.jwt, None);
    assert!(counts(&bed, &login.token.hash()).await);
}

async fn logins_that_come_together_get_the_roles_of_their_own_methods_and_sub_claims(bed: Bed) {
    let one = route(&bed).await;
    let two = Route::new(&bed, "two").await;
    two.change(&bed, |settings| jwts(settings, &["a"])).await;
    for (id, method) in [("r-one", &one.method), ("r-two", &two.method)] {
        roles::create(&bed, &roles::role(id, &[])).await;
        roles::associate(&bed, method, id).await;
    }
    let requests: Vec<_> = (0..10)
        .map(|i| if i % 2 == 0 { &one } else { &two })
        .map(|route| route.login().request("r"))
        .collect();
    let answers = join_all(requests.iter().map(|request| granted(&bed, request))).await;
    for (i, answer) in answers.iter().enumerate() {
        let expected = if i % 2 == 0 { "r-one" } else { "r-two" };
        assert_eq!(claims(answer).roles, [expected], "{i}");
    }
}
