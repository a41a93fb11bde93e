//! What isn't the caller's fault is never a refusal: its own text, and exit code 3.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kube_sim::Fault;
use postern_dev::StackOptions;
use postern_proto::pb;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_rpc::error::{Failure, Reason};
use tonic::Code;

use crate::support::{Cli, Method, Output, World, eventually, free_port, request};

fn auth(cli: &Cli, url: &str, token: &str) -> Output {
    let args = [
        "auth",
        "-i",
        "p-AAAAAAAAAAkA",
        "--k8s-auth-config-name",
        "c",
        "--timeout=2s",
    ];
    let token = ["--gateway-url", url, "--k8s-service-account-token", token];
    cli.run(&[&args[..], &token].concat())
}

/// Something that listens, answers everybody with `answer`, and remembers what it got.
fn stranger(answer: &'static [u8]) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let got = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let log = Arc::clone(&log);
            let (mut stream, mut buffer) = (stream.unwrap(), vec![0; 4096]);
            std::thread::spawn(move || {
                let read = stream.read(&mut buffer).unwrap_or_default();
                log.lock().unwrap().extend_from_slice(&buffer[..read]);
                let _ = stream.write_all(answer);
            });
        }
    });
    (address, got)
}

#[test]
fn a_wrong_address_an_untrusted_ca_and_other_servers_get_their_own_errors_and_no_token() {
    let world = World::shared();
    let token = world.pod_token("mypod1");
    let nobody = format!("https://127.0.0.1:{}", free_port());
    auth(&world.pod, &nobody, &token).fails(3, &["nothing listens on", "check the URL"]);
    auth(&world.pod, "https://gateway.invalid:8000", &token)
        .fails(3, &["gateway.invalid", "isn't known"]);

    let untrusting = Cli::new();
    auth(&untrusting, world.stack().gateway_url(), &token)
        .fails(3, &["isn't trusted", "--ca-cert"]);

    let control_plane = world.stack().control_plane_url();
    auth(&world.pod, control_plane, &token).fails(
        3,
        &["a Postern control plane, not a gateway", "check the URL"],
    );

    let ca = untrusting.file("cluster-ca.pem", world.cluster().ca_pem());
    let trusting = Cli::new().with_env("POSTERN_CA_CERT", ca);
    auth(&trusting, world.cluster().host(), &token)
        .fails(3, &["isn't a Postern server", "check the URL"]);
    let bearer = format!("Bearer {token}");
    let saw = |recorded: &kube_sim::Recorded| {
        let headers = recorded.headers.get("authorization");
        headers.is_some_and(|h| h == bearer.as_str()) || recorded.body.to_string().contains(&token)
    };
    assert!(!world.cluster().recent_requests().iter().any(saw));

    for answer in [
        &b"220 mail\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ] {
        let (address, got) = stranger(answer);
        let stderr =
            auth(&world.pod, &format!("https://{address}"), &token).fails(3, &["TLS", "check"]);
        assert!(!stderr.contains("refused"), "{stderr}");
        let stderr =
            auth(&world.pod, &format!("http://{address}"), &token).fails(3, &["check the URL"]);
        assert!(!stderr.contains("login refused"), "{stderr}");
        let got = String::from_utf8_lossy(&got.lock().unwrap()).into_owned();
        assert!(!got.is_empty() && !got.contains(&token[..40]));
    }
    auth(&world.pod, "http://gateway.example:8000", &token).fails(2, &["http", "loopback"]);
}

#[test]
fn an_administrators_command_at_the_wrong_server_says_so() {
    let world = World::shared();
    let gateway = world.stack().gateway_url();
    let args = [
        "list-auth-methods",
        "--control-plane-url",
        gateway,
        "--timeout=2s",
    ];
    world
        .admin
        .run(&args)
        .fails(3, &["a Postern gateway, not a control plane"]);
    let control_plane = world.stack().control_plane_url();
    let args = [
        "gateway-list-k8s-auth-config",
        "--gateway-url",
        control_plane,
    ];
    world
        .admin
        .run(&args)
        .fails(4, &["knows no gateway at", "--gateway-name"]);
    let args = [&args[..], &["--gateway-name", "default"]].concat();
    world
        .admin
        .run(&args)
        .fails(3, &["a Postern control plane, not a gateway"]);
    let args = ["gateway-list-k8s-auth-config", "--gateway-name", "another"];
    world
        .admin
        .run(&args)
        .fails(3, &["says that it is `default`, not `another`"]);
}

fn log_in(
    world: &World,
    method: &Method,
    token: &str,
) -> Result<pb::AuthenticateResponse, Failure> {
    let mut client = AuthServiceClient::new(world.gateway().channel());
    let message = pb::AuthenticateRequest {
        token_audiences: Vec::new(),
        access_id: method.access_id.clone(),
        k8s_auth_config: method.name.clone(),
        credential: Some(pb::authenticate_request::Credential::ServiceAccountToken(
            token.to_owned(),
        )),
    };
    let mut request = request(message);
    request.set_timeout(std::time::Duration::from_secs(2));
    let answer = world.block_on(client.authenticate(request));
    answer
        .map(tonic::Response::into_inner)
        .map_err(Failure::from)
}

#[test]
fn a_failing_api_server_is_a_fault_and_never_a_refusal() {
    let world = World::start();
    let method = world.route("failing");
    let token = world.pod_token("mypod1");
    let (elsewhere, got) = stranger(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let redirect = Fault::Redirect(format!("http://{elsewhere}/"));
    for (fault, reason, text) in [
        (
            Fault::Status(500),
            Reason::ClusterError,
            "failed with HTTP 500",
        ),
        (
            Fault::Status(503),
            Reason::ClusterError,
            "failed with HTTP 503",
        ),
        (
            Fault::Status(403),
            Reason::ReviewerRefused,
            "let the reviewer create TokenReviews",
        ),
        (
            Fault::Status(401),
            Reason::ReviewerRefused,
            "accept the reviewer's token",
        ),
        (
            Fault::Status(429),
            Reason::ClusterError,
            "too many requests",
        ),
        (Fault::Status(404), Reason::ClusterError, "HTTP 404"),
        (redirect, Reason::ClusterError, "redirect (HTTP 307)"),
        (Fault::Html, Reason::ClusterError, "wasn't a TokenReview"),
        (
            Fault::Body("[]".to_owned()),
            Reason::ClusterError,
            "wasn't a TokenReview",
        ),
        (
            Fault::EndlessBody,
            Reason::ClusterError,
            "longer than 1 MiB",
        ),
    ] {
        let shown = format!("{fault:?}");
        world.cluster().set_fault(fault);
        let failure = log_in(&world, &method, &token).unwrap_err();
        assert_eq!(
            (failure.code, failure.reason),
            (Code::Unavailable, Some(reason)),
            "{shown}"
        );
        assert!(
            failure.message.contains(text),
            "{shown}: {}",
            failure.message
        );
    }
    for fault in [Fault::Hang, Fault::StallBody] {
        world.cluster().set_fault(fault);
        let failure = log_in(&world, &method, &token).unwrap_err();
        assert!(
            matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded),
            "{failure}"
        );
    }
    world.cluster().set_fault(Fault::Status(403));
    let output = world.pod.run(&[
        "auth",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name",
        "failing",
        "--timeout=1s",
        "--k8s-service-account-token",
        &token,
    ]);
    output.fails(3, &["let the reviewer create TokenReviews", "request ID"]);
    assert!(got.lock().unwrap().is_empty(), "the redirect was followed");
    world.cluster().set_fault(Fault::None);
    assert!(log_in(&world, &method, &token).is_ok());
    let events = world.admin.json(&["audit", "list", "--limit", "500"]);
    let events = events["audit_events"].as_array().unwrap();
    assert!(
        events.iter().all(|e| e["event"] != "login.denied"),
        "{events:?}"
    );
}

#[test]
fn an_unreachable_cluster_and_one_with_another_ca_are_faults() {
    let nowhere = format!("https://127.0.0.1:{}", free_port());
    let world = World::with(StackOptions {
        api_servers: vec![nowhere.clone()],
        ..StackOptions::default()
    });
    let token = world.pod_token("mypod1");
    let method = world.route("moved");
    let reviewer = world.reviewer_token();
    let update = [
        "gateway-update-k8s-auth-config",
        "-n",
        "moved",
        "--token-reviewer-jwt",
        &reviewer,
    ];
    world
        .admin
        .ok(&[&update[..], &["--k8s-host", &nowhere]].concat());
    let failure = log_in(&world, &method, &token).unwrap_err();
    assert_eq!(failure.reason, Some(Reason::ClusterUnreachable));
    assert!(
        failure.message.contains("no connection"),
        "{}",
        failure.message
    );

    let ca = &world.stack().admin().ca_cert;
    let host = world.cluster().host();
    world
        .admin
        .ok(&[&update[..], &["--k8s-host", host, "--k8s-ca-cert", ca]].concat());
    let failure = eventually("the change", std::time::Duration::from_secs(2), || {
        let failure = log_in(&world, &method, &token).unwrap_err();
        failure.message.contains("isn't trusted").then_some(failure)
    });
    assert_eq!(failure.reason, Some(Reason::ClusterUnreachable));
}

#[test]
fn what_is_no_token_is_named_and_never_shown() {
    let world = World::shared();
    let method = world.route("shapes");
    let before = world.cluster().reviews();
    let long = format!("{}.e30.e30", "A".repeat(20_000));
    let nested = format!("e30.{}.e30", URL_SAFE_NO_PAD.encode("[".repeat(10_000)));
    let dots = ".".repeat(10_000);
    for (token, fault) in [
        ("not-a-token", "three parts"),
        ("a.b", "three parts"),
        ("e30.e30.e30.e30", "three parts"),
        ("W10.e30.e30", "header that is not a JSON object"),
        ("e30.bnVsbA.e30", "payload that is not a JSON object"),
        ("e30.e30.e30 x", "a character that no JWT has"),
        (&long, "longer than 16 KiB"),
        (&nested, "payload that is not a JSON object"),
        (&dots, "three parts"),
    ] {
        let output = world.log_in(&method.access_id, "shapes", token);
        assert_eq!(output.code, 2, "{fault}: {}", output.stderr);
        let stderr = output.fails(2, &["--k8s-service-account-token", fault]);
        assert!(!stderr.contains(token), "{stderr}");
    }
    for (access_id, config, field) in [
        ("nonsense", "shapes", "--access-id"),
        (&method.access_id, "../x", "--k8s-auth-config-name"),
        (&method.access_id, " ", "--k8s-auth-config-name"),
    ] {
        world
            .log_in(access_id, config, "e30.e30.e30")
            .fails(2, &[field]);
    }
    assert_eq!(world.cluster().reviews(), before);
}
