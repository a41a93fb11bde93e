//! Addresses that are refused too often, and what is counted of a login.

use postern_rpc::metrics::Metrics as Registry;

use super::*;

fn route(tutorial: &Tutorial) -> Route {
    let config = fixtures::config(&tutorial.sim);
    Route {
        cluster: Arc::new(Cluster::new(config, &Shared::default()).unwrap()),
        method: Arc::new(tutorial.method.clone()),
    }
}

async fn run(login: &Login, route: &Route, token: &str) -> Stop {
    let token = fixtures::parse(token).unwrap_or_else(|_| panic!("a readable token"));
    let token = Arc::new(token);
    let attempt = Attempt {
        deadline: Deadline::after(Duration::from_millis(500)),
        ..attempt("")
    };
    let mut stopwatch = Stopwatch::start();
    let purpose = Purpose::Issue(AccessToken::generate().unwrap().hash());
    let done = login.through(route, &token, &attempt, purpose, &mut stopwatch);
    done.await
        .err()
        .unwrap_or_else(|| panic!("no control plane, no token"))
}

fn peer() -> Peer {
    Peer::from(attempt("").caller.ip)
}

#[tokio::test]
async fn pods_behind_one_address_dont_throttle_each_others_good_logins() {
    let tutorial = Tutorial::new().await;
    let (login, route) = (login(Clock::system()), route(&tutorial));
    let good = tutorial.pod("my-namespace-a", "mypod1");
    for _ in 0..3 {
        run(&login, &route, &good).await;
    }
    // Whom the policy refuses is no guesser: the token was good.
    for _ in 0..30 {
        let stop = run(&login, &route, &tutorial.pod("my-namespace-b", "mypod1")).await;
        assert_eq!(denied(stop).reason, DenyReason::NamespaceNotBound);
    }
    assert_eq!(login.standing(peer()), Standing::Unknown);
}

#[tokio::test]
async fn a_flooding_address_is_not_refused_for_that_and_only_gets_a_smaller_share() {
    let (tutorial, other) = (Tutorial::new().await, fixtures::sim().await);
    let mut login = login(Clock::system());
    let mut registry = Registry::new();
    login.metrics = Metrics::register(&mut registry);
    let route = route(&tutorial);
    for _ in 0..25 {
        let forged = other.pod_token("my-namespace-a", "mypod1").unwrap();
        let stop = run(&login, &route, &forged).await;
        assert_eq!(denied(stop).reason, DenyReason::TokenNotAuthenticated);
    }
    assert_eq!(login.standing(peer()), Standing::Suspect);
    let elsewhere = Peer::from(Some([10, 2, 3, 5].into()));
    assert_eq!(login.standing(elsewhere), Standing::Unknown);
    let limited = "postern_rate_limited_total{scope=\"peer_refusals\"}";
    assert!(registry.text().unwrap().contains(limited));

    let first = tutorial.pod("my-namespace-a", "mypod1");
    let stop = run(&login, &route, &first).await;
    assert!(matches!(stop, Stop::Fault(Fault::Exchange(_))), "{stop:?}");
}

#[tokio::test]
async fn a_login_is_counted_by_names_that_exist_and_by_nothing_that_was_sent() {
    let tutorial = Tutorial::new().await;
    let mut login = knowing(&tutorial.config, &tutorial.method, AllowedApiServers::any());
    let mut registry = Registry::new();
    login.metrics = Metrics::register(&mut registry);
    let forged = jwt(&json!({ "alg": "none" }), &json!({}));
    let sent = Attempt {
        config: "sent-by-a-stranger".parse().unwrap(),
        ..attempt(&forged)
    };
    login.login(&sent).await.err().unwrap();
    login.login(&attempt(&forged)).await.err().unwrap();
    login.login(&attempt("nonsense")).await.err().unwrap();
    let text = registry.text().unwrap();
    let counted = |config: &str, result: &str, reason: &str| {
        format!(
            "postern_logins_total{{method=\"my-k8s-auth-method\",config=\"{config}\",result=\"{result}\",reason=\"{reason}\"}} 1"
        )
    };
    for line in [
        counted("unknown", "deny", "TOKEN_ALGORITHM_NOT_ALLOWED"),
        counted("k8s-conf", "deny", "TOKEN_ALGORITHM_NOT_ALLOWED"),
        counted("k8s-conf", "invalid", "INVALID_ARGUMENT"),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    let stage = "postern_login_duration_seconds_count{config=\"k8s-conf\",result=\"deny\",stage=\"prefilter\"} 1";
    assert!(text.contains(stage), "{text}");
    assert!(
        !text.contains("stranger") && !text.contains("eyJ"),
        "{text}"
    );
}
