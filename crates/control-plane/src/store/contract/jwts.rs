//! Logins of methods whose tokens are JWTs.

use postern_core::access_token::TokenHash;
use postern_core::auth_method::{Settings, TokenFormat};
use postern_core::reason::DenyReason;
use postern_core::seal::Sealed;
use postern_core::signing_key::{PublishedKey, Stage};

use super::batches::Route;
use super::bed::Bed;
use super::fixtures::{cause, key, later, noon};
use super::revocations::{counts, revoke};
use crate::store::{BoxedKey, Exchange, Exchanged, Granted, MethodRef};

super::on_both_engines! {
    a_method_of_jwts_is_read_as_it_was_written,
    a_login_whose_answer_was_lost_gets_the_same_claims_again,
    what_the_gateway_drew_is_nobodys_token_where_there_is_a_jwt,
    a_jwt_that_is_taken_away_in_bulk_counts_no_more,
    a_login_that_asks_for_another_audience_leaves_no_token,
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
