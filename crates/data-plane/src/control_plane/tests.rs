use std::cell::Cell;

use postern_rpc::error::Error;

use super::*;

fn failure(error: Error) -> Failure {
    Failure::from(Status::from(error))
}

async fn attempts(deadline: Deadline, error: impl Fn() -> Error) -> u32 {
    let attempts = Cell::new(0);
    let result: Result<(), Failure> = repeat(deadline, |_| {
        attempts.set(attempts.get() + 1);
        std::future::ready(Err(failure(error())))
    })
    .await;
    assert!(result.is_err());
    attempts.get()
}

#[tokio::test(start_paused = true)]
async fn what_is_away_is_asked_again_until_the_deadline() {
    let deadline = Deadline::after(Duration::from_secs(10));
    let outage = || Error::unavailable(postern_rpc::error::Outage::Database, "away", "test");
    assert!(attempts(deadline, outage).await > 5);
    assert!(deadline.remaining() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final() {
    for error in [
        || Error::LoginRefused,
        || Error::Unauthenticated,
        || Error::permission_denied("no"),
        || Error::invalid("assertion", "is wrong"),
    ] {
        assert_eq!(
            attempts(Deadline::after(Duration::from_secs(10)), error).await,
            1
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_in_a_call_is_no_answer() {
    let broken = Failure {
        reason: None,
        ..away(Code::Unknown, "transport error")
    };
    assert!(repeatable(&broken));
    assert!(repeatable(&no_answer()));
}

#[tokio::test]
async fn a_gateway_that_is_not_accepted_is_an_outage_and_no_refusal() {
    let relayed = away(Code::Unauthenticated, "not accepted").relay();
    assert!(matches!(relayed, Error::Unavailable { .. }), "{relayed}");
}

#[tokio::test(start_paused = true)]
async fn without_a_control_plane_a_call_waits_for_its_deadline_and_no_longer() {
    let target = client::Target {
        url: "http://127.0.0.1:1".to_owned(),
        ca_pem: None,
    };
    let control_plane =
        ControlPlane::new(client::connect(&target).unwrap(), crate::fixtures::own());
    let deadline = Deadline::after(Duration::from_secs(3));
    let failure = control_plane.get_revision(deadline).await.unwrap_err();
    assert_eq!(failure.code, Code::Unavailable);
    assert!(matches!(failure.relay(), Error::Unavailable { .. }));
}
