use std::time::Duration;

use kube_sim::Fault;
use postern_core::k8s_auth_config::DEFAULT_CONNECT_TIMEOUT;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

/// Waits in real time until `happened`, then lets the clock run ahead.
async fn then_at(happened: impl Fn() -> bool, time: Duration) {
    while !happened() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::pause();
    tokio::time::advance(time).await;
}

#[tokio::test]
async fn a_review_takes_at_most_ten_seconds_however_long_the_caller_would_wait() {
    let sim = sim().await;
    let cluster = cluster(&sim);
    sim.set_fault(Fault::Hang);
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let token = Arc::new(parse(&token).unwrap_or_else(|_| panic!("a readable token")));
    let patient = Deadline::after(Duration::from_secs(60));
    let review = cluster.verify(&token, question(&Audiences::ApiServer, patient));
    let (answer, ()) = tokio::join!(
        review,
        then_at(|| sim.reviews() == 1, Duration::from_secs(10))
    );
    assert!(matches!(
        answer.as_ref().map_err(AsRef::as_ref),
        Err(ReviewFault::Timeout)
    ));
    assert!(patient.remaining() > Duration::from_secs(45));
}

#[tokio::test]
async fn a_server_that_says_nothing_to_a_new_connection_is_given_up_after_three_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = fixtures::config(&sim().await);
    endpoint(&mut config).host = format!("https://{}", silent.local_addr().unwrap())
        .parse()
        .unwrap();
    let cluster = made(config);
    let token = parse(&fixtures::jwt(&json!({ "alg": "RS256" }), &json!({})));
    let token = Arc::new(token.unwrap_or_else(|_| panic!("a readable token")));
    let patient = Deadline::after(Duration::from_secs(60));
    let review = cluster.verify(&token, question(&Audiences::ApiServer, patient));
    let (answer, _connection) = tokio::join!(review, async {
        let connection = silent.accept().await;
        then_at(|| true, DEFAULT_CONNECT_TIMEOUT).await;
        connection
    });
    assert!(
        matches!(
            answer.as_ref().map_err(AsRef::as_ref),
            Err(ReviewFault::Connect(_))
        ),
        "{answer:?}"
    );
    assert!(patient.remaining() > Duration::from_secs(50));
}
