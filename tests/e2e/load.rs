//! What a flood and a slow cluster leave to others, and what the metrics say of it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube_sim::{Fault, KubeSim};
use postern_dev::StackOptions;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_proto::pb::authenticate_request::Credential;
use postern_rpc::error::{Failure, Reason};
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::{Method, World, eventually, free_port, login, request};

type Connection = StreamOwned<ClientConnection, TcpStream>;

fn connect(world: &World, address: &str) -> Connection {
    let ca = world.stack().admin().ca_cert.clone();
    let config = postern_rpc::tls::client_config(Some(ca.as_bytes())).unwrap();
    let name = "localhost".try_into().unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(tls, TcpStream::connect(address).unwrap())
}

/// The text of a server's `/metrics`, and its status.
pub(crate) fn metrics(world: &World, address: &str) -> (u16, String) {
    let mut stream = connect(world, address);
    let ask = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    // A server may close without a goodbye.
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

pub(crate) fn of_gateway(world: &World) -> String {
    metrics(world, &authority(world.stack().gateway_url())).1
}

pub(crate) fn authority(url: &str) -> String {
    url.strip_prefix("https://").unwrap().to_owned()
}

/// Changes the gateway's file and starts it anew.
fn with_settings(world: &mut World, settings: Value) {
    let path = world.stack().deployment().gateway_config();
    let mut file = world.gateway_file();
    for (name, value) in settings.as_object().unwrap() {
        file[name] = value.clone();
    }
    std::fs::write(path, file.to_string()).unwrap();
    world.restart_gateway();
}

/// Each sample's name, its labels' names and values.
pub(crate) fn samples(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect(line);
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').expect(line);
            let labels = labels.split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (name, value) = label.split_once("=\"").expect(line);
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            });
            (name.to_owned(), labels.collect())
        })
        .collect()
}

#[test]
fn the_metrics_of_both_servers_parse_move_and_hold_no_secret_and_no_name_of_a_pod() {
    let world = World::start();
    let method = world.route("counted");
    let good = world.pod_token("mypod1");
    let token = world.log_in(&method.access_id, "counted", &good).success();
    world
        .log_in(&method.access_id, "counted", &world.pod_token("mypod3"))
        .refused();
    world
        .log_in(&method.access_id, "swapped-by-mistake", &good)
        .refused();
    let control_plane = authority(world.stack().control_plane_url());
    let texts = [of_gateway(&world), metrics(&world, &control_plane).1];
    let labels = BTreeSet::from([
        "cache",
        "cause",
        "code",
        "component",
        "config",
        "le",
        "method",
        "reason",
        "result",
        "scope",
        "service",
        "side",
        "sink",
        "stage",
        "state",
        "status",
        "version",
    ]);
    let admin = world.stack().admin();
    let secrets = [
        good.split('.').nth(1).unwrap(),
        "eyJ",
        "t-",
        token.lines().nth(1).unwrap().trim_start_matches("Token: "),
        &admin.access_id,
        "mypod",
        "my-namespace-a",
        "swapped",
        "127.0.0.1",
    ];
    for text in &texts {
        assert!(text.ends_with("# EOF\n"), "{text}");
        for (name, given) in samples(text) {
            assert!(name.starts_with("postern_"), "{name}");
            for (label, _) in given {
                assert!(labels.contains(label.as_str()), "{name} has {label}");
            }
        }
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
    }
    let [gateway, control_plane] = texts;
    for line in [
        "postern_logins_total{method=\"counted\",config=\"counted\",result=\"allow\",reason=\"OK\"} 1",
        "postern_logins_total{method=\"counted\",config=\"counted\",result=\"deny\",reason=\"POD_NAME_NOT_BOUND\"} 1",
        "postern_logins_total{method=\"counted\",config=\"unknown\",result=\"deny\",reason=\"CONFIG_UNKNOWN\"} 1",
        "postern_tokenreview_requests_total{config=\"counted\",code=\"201\"} 2",
        "postern_tokenreview_inflight{config=\"counted\"} 0",
        "postern_reviewer_up{config=\"counted\"} 1",
        "postern_verdict_cache_entries{cache=\"success\"} 2",
        "postern_login_duration_seconds_count{config=\"counted\",result=\"allow\",stage=\"exchange\"} 1",
    ] {
        assert!(gateway.contains(line), "{line}\n{gateway}");
    }
    for name in [
        "postern_snapshot_revision ",
        "postern_snapshot_age_seconds ",
        "postern_config_propagation_seconds_count ",
        "postern_build_info{",
        "postern_grpc_server_handled_total{service=\"postern.v1.AuthService\",method=\"Authenticate\",code=\"Ok\"} 1",
    ] {
        assert!(gateway.contains(name), "{name}\n{gateway}");
    }
    for name in [
        "postern_tokens_issued_total{cause=\"assertion\",result=\"issued\"} 1",
        "postern_tokens_issued_total{cause=\"access_key\",result=\"issued\"} ",
        "postern_audit_events_total{sink=\"database\"} ",
        "postern_audit_events_total{sink=\"stdout\"} ",
    ] {
        assert!(control_plane.contains(name), "{name}\n{control_plane}");
    }
}

#[test]
fn a_reviewer_that_is_refused_shows_in_the_metrics() {
    let world = World::start();
    let method = world.route("refused");
    world.cluster().set_fault(Fault::Status(403));
    let token = world.pod_token("mypod1");
    let args = [
        "auth",
        "--timeout=1s",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name",
        "refused",
    ];
    let args = [&args[..], &["--k8s-service-account-token", &token]].concat();
    world.pod.run(&args).fails(3, &["TokenReviews"]);
    let text = of_gateway(&world);
    assert!(
        text.contains("postern_reviewer_up{config=\"refused\"} 0"),
        "{text}"
    );
    let counted = "postern_tokenreview_requests_total{config=\"refused\",code=\"403\"}";
    assert!(text.contains(counted), "{text}");
}

#[test]
fn whether_a_reviewer_is_let_in_and_until_when_shows_without_any_login() {
    const HOUR: Duration = Duration::from_secs(3600);
    let world = World::checked_every(Duration::from_millis(200));
    world.route("by-token");
    world.cluster().let_review("reviewer").unwrap();
    let pair = world.cluster().client_certificate("reviewer", &[], HOUR);
    let (certificate, key) = pair.unwrap();
    world.route("by-certificate");
    world.admin.ok(&[
        "k8s-auth-config",
        "update",
        "--name=by-certificate",
        "--k8s-auth-type=certificate",
        "--k8s-client-certificate",
        &certificate,
        "--k8s-client-key",
        &key,
    ]);
    let shows = |line: &'static str| {
        eventually(line, Duration::from_secs(10), || {
            of_gateway(&world).contains(line).then_some(())
        });
    };
    shows("postern_reviewer_up{config=\"by-token\"} 1");
    shows("postern_reviewer_up{config=\"by-certificate\"} 1");
    shows("postern_reviewer_credential_expiry_timestamp_seconds{config=\"by-certificate\"} ");
    world.cluster().set_fault(Fault::Status(401));
    shows("postern_reviewer_up{config=\"by-token\"} 0");
    shows("postern_reviewer_up{config=\"by-certificate\"} 0");
}

#[test]
fn with_an_admin_port_pods_reach_neither_metrics_nor_administrators_calls() {
    let mut world = World::start();
    let port = free_port();
    let admin = format!("127.0.0.1:{port}");
    with_settings(&mut world, json!({ "admin_listen": admin }));
    let main = authority(world.stack().gateway_url());
    assert_eq!(metrics(&world, &main).0, 404);
    let (status, text) = metrics(&world, &admin);
    assert_eq!(status, 200);
    assert!(text.contains("postern_build_info"), "{text}");
    let list = ["k8s-auth-config", "list"];
    world.admin.run(&list).fails(1, &["admin_listen"]);
    let there = format!("--gateway-url=https://localhost:{port}");
    world
        .admin
        .ok(&[&list[..], &["--gateway-name=default", &there]].concat());
}

/// Logs in once, without another try.
fn once(world: &World, method: &Method, token: &str) -> Result<(), Failure> {
    let mut message = login(world, method);
    message.credential = Some(Credential::ServiceAccountToken(token.to_owned()));
    let mut client = AuthServiceClient::new(world.gateway().channel());
    let answer = world.block_on(client.authenticate(request(message)));
    answer.map(drop).map_err(Failure::from)
}

/// Two clusters, of which the second hangs with as many logins as may wait for it.
#[test]
fn one_slow_api_server_delays_neither_another_clusters_logins_nor_an_administrators_write() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let slow = runtime.block_on(KubeSim::start(kube_sim::Options::default()));
    let slow = slow.unwrap();
    let mut world = World::with(StackOptions {
        api_servers: vec![slow.host().to_owned()],
        ..StackOptions::default()
    });
    with_settings(
        &mut world,
        json!({ "limits": { "reviews_per_cluster": 8, "logins_per_cluster": 16 } }),
    );
    let (quick, stuck) = (world.route("quick"), world.method("stuck"));
    let reviewer = slow.reviewer_token("default", "reviewer").unwrap();
    let args = [
        "gateway-create-k8s-auth-config",
        "--name=stuck",
        "--access-id",
        &stuck.access_id,
        "--signing-key",
        &stuck.prv_key,
        "--k8s-host",
        slow.host(),
        "--token-reviewer-jwt",
        &reviewer,
        "--k8s-ca-cert",
        slow.ca_pem(),
        "--k8s-issuer",
        slow.issuer(),
    ];
    world.admin.ok(&args);
    slow.set_fault(Fault::Hang);
    let (channel, handle) = (world.gateway().channel(), world.handle());
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let token = slow.pod_token("my-namespace-a", "mypod1").unwrap();
            let mut message = login(&world, &stuck);
            message.credential = Some(Credential::ServiceAccountToken(token));
            let mut client = AuthServiceClient::new(channel.clone());
            handle.spawn(async move { client.authenticate(request(message)).await.map(drop) })
        })
        .collect();
    let inflight = "postern_tokenreview_inflight{config=\"stuck\"} 4";
    eventually("reviews in flight", Duration::from_secs(10), || {
        of_gateway(&world).contains(inflight).then_some(())
    });

    // Its ninth login finds no place, and hears so at once with a time to come back.
    let begun = Instant::now();
    let token = slow.pod_token("my-namespace-a", "mypod1").unwrap();
    let full = once(&world, &stuck, &token).unwrap_err();
    assert_eq!(full.reason, Some(Reason::RateLimited), "{full:?}");
    assert_eq!(full.retry_after, Some(Duration::from_secs(1)));
    let args = [
        "auth",
        "--timeout=1s",
        "-i",
        &stuck.access_id,
        "--k8s-auth-config-name=stuck",
    ];
    let args = [&args[..], &["--k8s-service-account-token", &token]].concat();
    world.pod.run(&args).fails(3, &["too many requests"]);

    let record = world.audited(&full.request_id.unwrap());
    for (field, value) in [
        ("event", "call.limited"),
        ("reason", "CLUSTER_QUEUE"),
        ("k8s_auth_config", "gateways/default/k8sAuthConfigs/stuck"),
        ("access_id", stuck.access_id.as_str()),
        ("gateway", "default"),
        ("caller_ip", "127.0.0.1"),
    ] {
        assert_eq!(record[field], value, "{record}");
    }

    // Others go on meanwhile.
    for _ in 0..5 {
        once(&world, &quick, &world.pod_token("mypod1")).unwrap();
    }
    let update = [
        "gateway-update-k8s-auth-config",
        "-n",
        "quick",
        "--token-exp=60",
    ];
    world.admin.ok(&update);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        waiting.iter().all(|login| !login.is_finished()),
        "it still hangs"
    );
    let text = of_gateway(&world);
    let rejected = "postern_tokenreview_rejected_total{config=\"stuck\"}";
    assert!(text.contains(rejected), "{text}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Asks about a token over plain HTTP, without saying yet which.
fn ask(world: &World, expect: &str) -> Connection {
    let mut stream = connect(world, &authority(world.stack().gateway_url()));
    let head = format!(
        "POST /v1/introspect HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer t-x\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\n\
         connection: close\r\n{expect}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn answer(mut stream: Connection) -> String {
    stream.write_all(b"token=t-x").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn what_a_gateways_limit_turned_away_is_found_in_the_audit_whichever_way_it_came() {
    let mut world = World::start();
    with_settings(&mut world, json!({ "limits": { "max_calls_per_peer": 1 } }));
    let method = world.route("m");
    // It has its place when the server asks for the rest of it, and keeps it until that comes.
    let mut first = ask(&world, "expect: 100-continue\r\n");
    let mut line = [0; 25];
    first.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");

    let refused = once(&world, &method, &world.pod_token("mypod1")).unwrap_err();
    assert_eq!(refused.reason, Some(Reason::RateLimited), "{refused:?}");
    let page = answer(ask(&world, ""));
    assert!(page.starts_with("HTTP/1.1 429"), "{page}");
    assert!(page.contains("temporarily_unavailable"), "{page}");
    let id = page
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "));
    for (id, resource) in [
        (
            refused.request_id.as_deref(),
            "/postern.v1.AuthService/Authenticate",
        ),
        (id, "/v1/introspect"),
    ] {
        let record = world.audited(id.unwrap());
        assert_eq!(record["event"], "call.limited", "{record}");
        assert_eq!(record["reason"], "PEER_CALLS");
        assert_eq!(record["resource"], resource);
        assert_eq!(record["gateway"], "default");
        assert_eq!(record["caller_ip"], "127.0.0.1");
    }
    let listed = [
        "audit",
        "list",
        "--event",
        "call.limited",
        "--reason",
        "PEER_CALLS",
    ];
    let listed = world.admin.json(&listed);
    assert_eq!(listed["audit_events"].as_array().unwrap().len(), 2);
    let first = answer(first);
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
}
