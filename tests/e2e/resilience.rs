//! Servers that are stopped and started, and answers that are lost.

use std::time::Duration;

use postern_core::access_token::AccessToken;
use serde_json::json;
use test_support::chaos::ChaosProxy;
use tonic::Code;

use crate::load::{authority, metrics};
use crate::support::{Load, World, eventually, log_in, login};

#[test]
fn a_restarted_gateway_needs_no_configuration() {
    let mut world = World::start();
    let method = world.route("again");
    world.token(&method);
    world.restart_gateway();
    assert!(world.token(&method).starts_with("t-"));
}

#[test]
fn a_gateway_without_a_control_plane_is_unavailable_and_gets_ready_when_it_comes() {
    let mut world = World::start();
    let method = world.route("alone");
    world.stop_control_plane();
    let token = world.pod_token("mypod1");
    let short = [
        "auth",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name",
        "alone",
        "--timeout=1s",
    ];
    let short = [&short[..], &["--k8s-service-account-token", &token]].concat();
    world.pod.run(&short).fails(3, &["control plane"]);
    world.stop_gateway();
    world.start_gateway();
    world.pod.run(&short).fails(3, &["gateway"]);
    world.start_control_plane();
    world.ready();
    assert!(world.token(&method).starts_with("t-"));
}

#[test]
fn logins_during_a_restart_of_the_control_plane_succeed_or_are_unavailable() {
    let mut world = World::start();
    let method = world.route("restart");
    let load = Load::start(&world, &method, 3);
    for _ in 0..2 {
        world.stop_control_plane();
        world.start_control_plane();
        world.token(&method);
    }
    let tokens = load.stop();
    assert!(!tokens.is_empty());
    known(&world, &tokens);
}

#[test]
fn with_time_to_retry_a_login_outlives_the_control_planes_restart() {
    let mut world = World::start();
    let method = world.route("patient");
    let token = world.pod_token("mypod1");
    world.stop_control_plane();
    let args = [
        "auth",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name",
        "patient",
        "--timeout=30s",
    ];
    let mut command = world.pod.command();
    command
        .args(args)
        .args(["--k8s-service-account-token", &token]);
    let waiting = std::thread::spawn(move || command.output().unwrap());
    let briefly = Duration::from_millis(500);
    let seen = world.block_on(log_in(
        &world.gateway().channel(),
        &login(&world, &method),
        briefly,
    ));
    assert_eq!(seen.unwrap_err().code, Code::Unavailable);
    world.start_control_plane();
    let output = waiting.join().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_exchange_whose_answer_was_lost_is_repeated_and_gives_one_token() {
    let mut world = World::start();
    let method = world.route("lost");
    let proxy = behind_proxy(&mut world);
    world.token(&method);

    let mut database = world.database();
    let mut count = |sql: &str| world.block_on(database.count(sql));
    let tokens = "SELECT count(*) FROM tokens WHERE kind = 'kubernetes'";
    for round in 1..=3 {
        let (channel, message, handle) = (
            world.gateway().channel(),
            login(&world, &method),
            world.handle(),
        );
        proxy.lose_answers(0, u64::MAX);
        let login = std::thread::spawn(move || {
            handle.block_on(Box::pin(log_in(
                &channel,
                &message,
                Duration::from_secs(10),
            )))
        });
        eventually("a committed token", Duration::from_secs(5), || {
            (count(tokens) == 1 + round).then_some(())
        });
        proxy.pass();
        proxy.cut();
        let token = login.join().unwrap().unwrap();
        assert_eq!(count(tokens), 1 + round, "one token a login");
        assert_eq!(count("SELECT count(*) FROM assertions"), 1 + round);
        assert_eq!(
            count("SELECT count(*) FROM audit_events WHERE event = 'login.granted'"),
            1 + round
        );
        known(&world, &[token]);
    }
}

#[test]
fn logins_that_come_together_share_calls_to_the_control_plane() {
    let mut world = World::start();
    let method = world.route("together");
    let proxy = behind_proxy(&mut world);
    world.token(&method);
    let control_plane = authority(world.stack().control_plane_url());
    let calls = |world: &World| -> u64 {
        let text = metrics(world, &control_plane).1;
        let handled = text.lines().filter(|line| {
            line.starts_with("postern_grpc_server_handled_total{")
                && line.contains("BatchExchangeAssertions")
        });
        let counts = handled.map(|line| line.rsplit_once(' ').unwrap().1);
        counts.map(|count| count.parse::<u64>().unwrap()).sum()
    };
    let (reviews, before) = (world.cluster().reviews(), calls(&world));
    let messages: Vec<_> = (0..10).map(|_| login(&world, &method)).collect();
    proxy.blackhole();
    let channel = world.gateway().channel();
    let logins: Vec<_> = messages
        .into_iter()
        .map(|message| {
            let (channel, handle) = (channel.clone(), world.handle());
            handle.spawn(async move { log_in(&channel, &message, Duration::from_secs(20)).await })
        })
        .collect();
    eventually("ten reviews", Duration::from_secs(10), || {
        (world.cluster().reviews() == reviews + 10).then_some(())
    });
    proxy.pass();
    let tokens: Vec<_> = logins
        .into_iter()
        .map(|login| world.block_on(login).unwrap().unwrap())
        .collect();
    known(&world, &tokens);
    let calls = calls(&world) - before;
    assert!((1..10).contains(&calls), "{calls} calls");
}

/// The gateway reaches its control plane through a proxy.
fn behind_proxy(world: &mut World) -> ChaosProxy {
    let control_plane = world.stack().control_plane_url().replace("https://", "");
    let upstream: std::net::SocketAddr = control_plane.parse().unwrap();
    let proxy = world.block_on(ChaosProxy::start(upstream));
    let mut file = world.gateway_file();
    file["control_plane_url"] = json!(format!("https://{}", proxy.address()));
    std::fs::write(
        world.stack().deployment().gateway_config(),
        file.to_string(),
    )
    .unwrap();
    world.restart_gateway();
    proxy
}

/// The control plane knows each token: as a pod's, it may do nothing there.
pub(crate) fn known(world: &World, tokens: &[String]) {
    let path = "/postern.v1.AuthMethodService/ListAuthMethods";
    let ask = |token: &str| world.block_on(world.control_plane().with(token).send(path, ()));
    for token in tokens {
        assert_eq!(ask(token).unwrap_err().code, Code::PermissionDenied);
    }
    let unknown = AccessToken::generate().unwrap();
    assert_eq!(
        ask(unknown.expose()).unwrap_err().code,
        Code::Unauthenticated
    );
}
