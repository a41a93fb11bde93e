use std::time::Duration;

use super::*;

#[test]
fn every_server_says_its_version_and_what_it_handled_and_limited() {
    let metrics = Metrics::new();
    let took = Duration::from_millis(3);
    metrics
        .calls()
        .handled("/postern.v1.AuthService/Authenticate", Code::Ok, took);
    metrics.limited().count(Scope::PeerCalls);
    let text = metrics.text().unwrap();
    for line in [
        concat!(
            "postern_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
        "postern_grpc_server_handled_total{service=\"postern.v1.AuthService\",method=\"Authenticate\",code=\"Ok\"} 1",
        "postern_grpc_server_handling_seconds_count{service=\"postern.v1.AuthService\",method=\"Authenticate\",code=\"Ok\"} 1",
        "postern_rate_limited_total{scope=\"peer_calls\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}

#[test]
fn a_pattern_of_a_route_is_no_name() {
    assert_eq!(split("/a.S/M"), ("a.S", "M"));
    assert_eq!(
        split("/grpc.health.v1.Health/{*rest}"),
        ("grpc.health.v1.Health", UNKNOWN)
    );
    for path in ["unknown", "/livez"] {
        assert_eq!(split(path), (UNKNOWN, UNKNOWN));
    }
}
