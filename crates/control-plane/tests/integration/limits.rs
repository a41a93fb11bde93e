//! What limits turn away, and what is on record of it.

use jiff::SignedDuration;
use postern_rpc::error::Reason;
use postern_rpc::peer::REFUSAL_BURST;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::{World, a_key, failed};

/// A question that has its place among its address's calls, and keeps it until it is dropped.
async fn place(world: &World) -> TcpStream {
    let head = "POST /v1/introspect HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer t-x\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\n\
                expect: 100-continue\r\n\r\n";
    let socket = TcpSocket::new_v4().unwrap();
    let mut stream = socket.connect(world.addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn of_calls_that_a_limit_turns_away_ten_a_minute_are_records_and_the_rest_is_one() {
    let world = World::start_limited(|server| server.max_calls_per_peer = 1).await;
    let taken = place(&world).await;
    let mut request_ids = Vec::new();
    for _ in 0..13 {
        let failure = failed(world.log_in(&world.admin, "").await);
        assert_eq!(failure.reason, Some(Reason::RateLimited));
        request_ids.push(failure.request_id.unwrap());
    }
    drop(taken);
    let free = async { while world.log_in(&world.admin, "").await.is_err() {} };
    let free = tokio::time::timeout(crate::world::PATIENCE, free);
    free.await.unwrap();

    let records = world.events_of("call.limited", 10).await;
    let known = |id: &String| {
        records
            .iter()
            .filter(|record| record.request_id == *id)
            .count()
    };
    let (own, rest) = request_ids.split_at(10);
    assert!(own.iter().all(|id| known(id) == 1), "{records:?}");
    assert!(rest.iter().all(|id| known(id) == 0), "{records:?}");
    let record = &records[0];
    assert_eq!(record.reason, "PEER_CALLS");
    assert_eq!(
        record.resource,
        "/postern.v1.AccessKeyAuthService/AuthenticateAccessKey"
    );
    assert_eq!(
        (&*record.caller_ip, &*record.component),
        ("127.0.0.1", "control-plane")
    );
    let lines = world.audit.contents();
    assert!(
        lines.contains("\"result\":\"limit\",\"reason\":\"PEER_CALLS\""),
        "{lines}"
    );

    world.clock.advance(SignedDuration::from_mins(1));
    let records = world.events_of("call.limited", 11).await;
    let counted = records.iter().find(|record| record.count > 1).unwrap();
    // Those that tried whether the place was free again are among them.
    assert!(counted.count >= 3);
    assert_eq!(counted.request_id, rest[0]);
}

#[tokio::test]
async fn an_address_whose_keys_are_wrong_too_often_is_on_record_as_limited() {
    let world = World::start().await;
    let stranger = a_key();
    for _ in 0..REFUSAL_BURST {
        failed(world.log_in(&stranger, "").await);
    }
    let slowed = failed(world.log_in(&stranger, "").await);
    assert_eq!(
        slowed.reason,
        Some(Reason::LoginRefused),
        "late, not refused for it"
    );
    let records = world.events_of("call.limited", 1).await;
    let [record] = &records[..] else {
        panic!("one attempt waited: {records:?}");
    };
    assert_eq!(record.reason, "PEER_REFUSALS");
    assert_eq!(record.access_id, "", "nothing was verified");
    assert_eq!(Some(&record.request_id), slowed.request_id.as_ref());
}
