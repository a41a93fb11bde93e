//! What one workload may have is exact, whoever else logs in at the time.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use postern_core::subject::SubjectLimit;

use super::batches::Route;
use super::bed::Bed;
use super::fixtures::{Login, cause, later, noon};
use crate::limits::SubjectLimits;
use crate::store::{Exchange, Exchanged, Intent, Limited, TokenFilter};

super::on_both_engines! {
    fifty_parallel_logins_of_a_workload_at_a_limit_of_twenty_are_exactly_twenty,
    logins_come_back_at_their_pace_and_nobody_elses_are_counted,
    a_login_that_is_repeated_is_counted_once_and_one_that_was_turned_away_may_come_again,
    live_tokens_of_a_workload_are_counted_exactly,
    a_token_that_was_taken_away_makes_room,
    without_limits_nothing_is_kept_of_a_workload,
}

const LOGINS: SubjectLimits = SubjectLimits {
    logins_per_minute: 10,
    login_burst: 20,
    live_tokens: 0,
};
const TOKENS: SubjectLimits = SubjectLimits {
    logins_per_minute: 0,
    login_burst: 0,
    live_tokens: 5,
};

fn request(login: &Login<'_>, limits: SubjectLimits, now: Timestamp) -> Exchange {
    Exchange {
        limits,
        now,
        ..login.request("r")
    }
}

fn granted(answer: &Exchanged) -> bool {
    matches!(answer, Exchanged::Granted(_))
}

fn limited(answer: &Exchanged) -> Limited {
    match answer {
        Exchanged::Limited(limited) => *limited,
        other => panic!("{other:?}"),
    }
}

async fn one(bed: &Bed, request: &Exchange) -> Exchanged {
    bed.store.exchange(request).await.unwrap()
}

async fn fifty_parallel_logins_of_a_workload_at_a_limit_of_twenty_are_exactly_twenty(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    // Two processes, so that no lock of one of them helps.
    let other = bed.another().await;
    let stores = [&bed.store, &other];
    let logins: Vec<_> = (0..50).map(|_| route.login()).collect();
    let requests: Vec<_> = logins
        .iter()
        .map(|login| request(login, LOGINS, noon()))
        .collect();
    let calls = requests.iter().zip(stores.iter().cycle());
    let answers = join_all(calls.map(|(request, store)| store.exchange(request))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| granted(answer)).count(), 20);
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 20);
    for answer in answers.iter().filter(|answer| !granted(answer)) {
        let Limited { limit, retry_after } = limited(answer);
        assert_eq!(limit, SubjectLimit::Logins);
        assert_eq!(retry_after, Duration::from_secs(6));
    }
    assert_eq!(bed.count("SELECT COUNT(*) FROM assertions").await, 20);
    let records = "SELECT COUNT(*) FROM audit_events WHERE event = 'login.denied'";
    assert_eq!(bed.count(records).await, 0, "the gateway records those");
}

async fn logins_come_back_at_their_pace_and_nobody_elses_are_counted(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let logins: Vec<_> = (0..20).map(|_| route.login()).collect();
    let requests: Vec<_> = logins
        .iter()
        .map(|login| request(login, LOGINS, noon()))
        .collect();
    for answer in join_all(requests.iter().map(|request| one(&bed, request))).await {
        assert!(granted(&answer));
    }
    let at = async |seconds| one(&bed, &request(&route.login(), LOGINS, later(seconds))).await;
    assert_eq!(limited(&at(5).await).retry_after, Duration::from_secs(1));
    assert!(granted(&at(6).await));
    assert_eq!(limited(&at(6).await).retry_after, Duration::from_secs(6));
    assert!(granted(&at(18).await) && granted(&at(18).await));
    limited(&at(18).await);

    let mut other_pod = route.login();
    other_pod.facts.pod_uid = Some("another".to_owned());
    assert!(granted(
        &one(&bed, &request(&other_pod, LOGINS, later(18))).await
    ));
    let elsewhere = bed
        .config(&route.gateway, "elsewhere", &route.method)
        .await
        .value;
    let mut same_names = route.login();
    same_names.config_uid = elsewhere.view.uid;
    assert!(granted(
        &one(&bed, &request(&same_names, LOGINS, later(18))).await
    ));
}

async fn a_login_that_is_repeated_is_counted_once_and_one_that_was_turned_away_may_come_again(
    bed: Bed,
) {
    let route = Route::new(&bed, "m").await;
    let limits = SubjectLimits {
        login_burst: 2,
        ..LOGINS
    };
    let first = request(&route.login(), limits, noon());
    let answer = one(&bed, &first).await;
    for _ in 0..3 {
        assert_eq!(one(&bed, &first).await, answer);
    }
    assert!(granted(
        &one(&bed, &request(&route.login(), limits, noon())).await
    ));
    let late = request(&route.login(), limits, noon());
    limited(&one(&bed, &late).await);
    limited(&one(&bed, &late).await);
    let again = Exchange {
        now: later(6),
        ..late.clone()
    };
    assert!(
        granted(&one(&bed, &again).await),
        "its assertion wasn't used up"
    );
    // Both at once: what is turned away is no replay of itself.
    let twice = request(&route.login(), limits, later(6));
    let answers = join_all((0..6).map(|_| one(&bed, &twice))).await;
    for answer in &answers {
        limited(answer);
    }
}

async fn live_tokens_of_a_workload_are_counted_exactly(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    for seconds in [0, 600] {
        let logins: Vec<_> = (0..12).map(|_| route.login()).collect();
        let now = later(seconds.min(50));
        let requests: Vec<_> = logins
            .iter()
            .map(|login| request(login, TOKENS, now))
            .collect();
        let answers = join_all(requests.iter().map(|request| one(&bed, request))).await;
        let got = answers.iter().filter(|answer| granted(answer)).count();
        assert_eq!(got, if seconds == 0 { 5 } else { 0 });
        let turned_away = answers.iter().find(|answer| !granted(answer)).unwrap();
        let Limited { limit, retry_after } = limited(turned_away);
        assert_eq!(limit, SubjectLimit::Tokens);
        let first_end = Duration::from_secs(if seconds == 0 { 600 } else { 550 });
        assert_eq!(retry_after, first_end, "until the first of them ends");
    }
    bed.store.raw("UPDATE tokens SET expire_time = expire_time - 600000000 WHERE accessor IN (SELECT accessor FROM tokens LIMIT 2)").await;
    let logins: Vec<_> = (0..4).map(|_| route.login()).collect();
    let requests: Vec<_> = logins
        .iter()
        .map(|login| request(login, TOKENS, noon()))
        .collect();
    let answers = join_all(requests.iter().map(|request| one(&bed, request))).await;
    assert_eq!(answers.iter().filter(|answer| granted(answer)).count(), 2);
}

async fn a_token_that_was_taken_away_makes_room(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let log_in = async || one(&bed, &request(&route.login(), TOKENS, noon())).await;
    for _ in 0..5 {
        assert!(granted(&log_in().await));
    }
    limited(&log_in().await);
    let filter = TokenFilter {
        pod_uid: Some(route.login().facts.pod_uid.unwrap().parse().unwrap()),
        ..TokenFilter::default()
    };
    let revoked = bed
        .store
        .revoke_tokens(&filter, Intent::Write, &cause("r"))
        .await;
    assert_eq!(revoked.unwrap(), 5);
    assert!(granted(&log_in().await));
}

async fn without_limits_nothing_is_kept_of_a_workload(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    for _ in 0..3 {
        let login = request(&route.login(), SubjectLimits::OFF, noon());
        assert!(granted(&one(&bed, &login).await));
    }
    assert_eq!(bed.count("SELECT COUNT(*) FROM subjects").await, 0);
    one(
        &bed,
        &request(&route.login(), SubjectLimits::default(), noon()),
    )
    .await;
    assert_eq!(bed.count("SELECT COUNT(*) FROM subjects").await, 1);
    for (seconds, left) in [(7200 + 599, 1), (7200 + 600, 0)] {
        bed.store.sweep(later(seconds)).await.unwrap();
        assert_eq!(bed.count("SELECT COUNT(*) FROM subjects").await, left);
    }
}
