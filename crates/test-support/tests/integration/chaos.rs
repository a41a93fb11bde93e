use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use test_support::chaos::{ChaosProxy, Upstream};
use test_support::fixtures::tempdir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Long enough for a slow machine; nothing waits for it to pass.
const SOON: Duration = Duration::from_secs(20);
/// For what must not happen: nothing arrives for this long.
const QUIET: Duration = Duration::from_millis(150);

/// Answers `n` bytes for each request byte `n`, and reports the requests.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, requests: mpsc::Sender<u8>) {
    while let Ok(request) = stream.read_u8().await {
        requests.send(request).await.unwrap();
        if stream
            .write_all(&vec![request; request.into()])
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn upstream() -> (SocketAddr, mpsc::Receiver<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, received) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, requests.clone()));
        }
    });
    (address, received)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap()
}

async fn exchange(client: &mut TcpStream, request: u8) -> std::io::Result<Vec<u8>> {
    client.write_u8(request).await?;
    let mut answer = vec![0; request.into()];
    soon(client.read_exact(&mut answer)).await?;
    Ok(answer)
}

/// Whatever arrives until the connection is closed or reset.
async fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = soon(client.read_to_end(&mut rest)).await;
    rest
}

async fn connect(proxy: &ChaosProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

#[tokio::test]
async fn passes_both_ways_and_counts() {
    let (address, _requests) = upstream().await;
    let proxy = ChaosProxy::start(address).await;
    let mut client = connect(&proxy).await;

    assert_eq!(exchange(&mut client, 3).await.unwrap(), [3, 3, 3]);

    let counters = soon(proxy.wait_for(|now| now.bytes_to_client == 3)).await;
    assert_eq!(
        (counters.accepted, counters.open, counters.bytes_to_upstream),
        (1, 1, 1)
    );
    drop(client);
    soon(proxy.wait_for(|now| now.open == 0)).await;
}

#[tokio::test]
async fn reaches_a_unix_socket() {
    let folder = tempdir();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (requests, _received) = mpsc::channel(1);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, requests).await;
    });
    let proxy = ChaosProxy::start(Upstream::Unix(path)).await;

    assert_eq!(
        exchange(&mut connect(&proxy).await, 2).await.unwrap(),
        [2, 2]
    );
}

#[tokio::test]
async fn refusing_closes_new_connections_and_leaves_open_ones() {
    let (address, _requests) = upstream().await;
    let proxy = ChaosProxy::start(address).await;
    let mut open = connect(&proxy).await;
    exchange(&mut open, 1).await.unwrap();

    proxy.refuse();

    assert_eq!(rest(&mut connect(&proxy).await).await, b"");
    assert_eq!(proxy.counters().refused, 1);
    assert_eq!(exchange(&mut open, 1).await.unwrap(), [1]);
    proxy.pass();
    assert_eq!(
        exchange(&mut connect(&proxy).await, 2).await.unwrap(),
        [2, 2]
    );
}

#[tokio::test]
async fn stranded_connections_pass_nothing_on_and_stay_open_while_new_ones_are_served() {
    let (address, _requests) = upstream().await;
    let proxy = ChaosProxy::start(address).await;
    let mut open = connect(&proxy).await;
    exchange(&mut open, 1).await.unwrap();

    proxy.strand();

    let nothing = Duration::from_millis(100);
    let answer = tokio::time::timeout(nothing, exchange(&mut open, 1)).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(
        exchange(&mut connect(&proxy).await, 2).await.unwrap(),
        [2, 2]
    );
    proxy.pass();
    let answer = tokio::time::timeout(nothing, exchange(&mut open, 1)).await;
    assert!(answer.is_err(), "{answer:?}");
    proxy.cut();
    assert_eq!(rest(&mut open).await, b"");
}

#[tokio::test]
async fn a_cut_closes_open_connections_and_serves_new_ones() {
    let (address, _requests) = upstream().await;
    let proxy = ChaosProxy::start(address).await;
    let mut open = connect(&proxy).await;
    exchange(&mut open, 1).await.unwrap();

    proxy.cut();

    assert_eq!(rest(&mut open).await, b"");
    assert_eq!(
        exchange(&mut connect(&proxy).await, 2).await.unwrap(),
        [2, 2]
    );
}

#[tokio::test]
async fn a_blackhole_holds_old_and_new_connections_until_it_ends() {
    let (address, mut requests) = upstream().await;
    let proxy = ChaosProxy::start(address).await;
    let mut old = connect(&proxy).await;
    exchange(&mut old, 1).await.unwrap();
    assert_eq!(requests.recv().await, Some(1));

    proxy.blackhole();
    let mut new = connect(&proxy).await;
    old.write_u8(2).await.unwrap();
    new.write_u8(3).await.unwrap();

    assert!(
        timeout(QUIET, requests.recv()).await.is_err(),
        "a request got through"
    );
    assert!(
        timeout(QUIET, old.read_u8()).await.is_err(),
        "an answer or an end came"
    );
    proxy.pass();
    let mut answers = [0; 5];
    soon(old.read_exact(&mut answers[..2])).await.unwrap();
    soon(new.read_exact(&mut answers[2..])).await.unwrap();
    assert_eq!(answers, [2, 2, 3, 3, 3]);
}

#[tokio::test]
async fn a_lost_answer_was_given_and_the_retry_is_answered() {
    let (address, mut requests) = upstream().await;
    let proxy = ChaosProxy::start(address).await;
    let mut client = connect(&proxy).await;
    exchange(&mut client, 1).await.unwrap();
    assert_eq!(requests.recv().await, Some(1));

    proxy.lose_answers(0, 1);
    client.write_u8(50).await.unwrap();

    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(soon(requests.recv()).await, Some(50));
    let counters = soon(proxy.wait_for(|now| now.answers_lost == 1)).await;
    assert_eq!(
        (counters.bytes_swallowed, counters.bytes_to_client),
        (50, 1)
    );
    assert_eq!(
        exchange(&mut connect(&proxy).await, 2).await.unwrap(),
        [2, 2]
    );
}

#[tokio::test]
async fn an_answer_can_be_lost_in_the_middle() {
    let (address, _requests) = upstream().await;
    let proxy = ChaosProxy::start(address).await;
    let mut client = connect(&proxy).await;

    proxy.lose_answers(10, 20);
    client.write_u8(30).await.unwrap();

    assert_eq!(rest(&mut client).await, [30; 10]);
}

#[tokio::test]
async fn answers_can_be_swallowed_until_the_test_has_seen_enough() {
    let (address, mut requests) = upstream().await;
    let proxy = ChaosProxy::start(address).await;
    let mut client = connect(&proxy).await;

    proxy.lose_answers(0, u64::MAX);
    client.write_all(&[7, 8]).await.unwrap();

    assert_eq!(
        (soon(requests.recv()).await, soon(requests.recv()).await),
        (Some(7), Some(8))
    );
    soon(proxy.wait_for(|now| now.bytes_swallowed == 15)).await;
    assert!(
        timeout(QUIET, client.read_u8()).await.is_err(),
        "an answer or an end came"
    );
    proxy.cut();
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn an_upstream_may_move() {
    let (first, _first_requests) = upstream().await;
    let (second, mut requests) = upstream().await;
    let proxy = ChaosProxy::start(first).await;

    proxy.set_upstream(second);

    exchange(&mut connect(&proxy).await, 1).await.unwrap();
    assert_eq!(requests.recv().await, Some(1));
}

#[tokio::test]
async fn an_unreachable_upstream_closes_the_connection() {
    let folder = tempdir();
    let proxy = ChaosProxy::start(Upstream::Unix(folder.path().join("nobody"))).await;

    assert_eq!(rest(&mut connect(&proxy).await).await, b"");
    soon(proxy.wait_for(|now| now.unreachable == 1 && now.open == 0)).await;
}

#[tokio::test]
async fn dropping_it_closes_everything() {
    let (address, _requests) = upstream().await;
    let proxy = ChaosProxy::start(address).await;
    let mut client = connect(&proxy).await;
    exchange(&mut client, 1).await.unwrap();
    let address = proxy.address();

    drop(proxy);

    assert_eq!(rest(&mut client).await, b"");
    assert!(TcpStream::connect(address).await.is_err());
}
