//! Addresses that proxies tell.

use postern_proto::pb::auth_service_client::AuthServiceClient;
use serde_json::json;

use crate::support::{Method, World, login, request};

/// A login from loopback with those headers.
fn log_in(world: &World, method: &Method, headers: &[(&'static str, &str)]) -> bool {
    let mut message = request(login(world, method));
    for (name, value) in headers {
        message.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let mut client = AuthServiceClient::new(world.gateway().channel());
    world.block_on(client.authenticate(message)).is_ok()
}

#[test]
fn forwarded_for_headers_count_only_from_configured_proxies() {
    let mut world = World::start();
    let bound = world.route("bound");
    let bind = ["update-auth-method-k8s", "-n", "bound", "--bound-ips"];
    world
        .admin
        .ok(&[&bind[..], &["192.0.2.0/24,2001:db8::/32"]].concat());
    let x = |value| [("x-forwarded-for", value)];
    let rfc = |value| [("forwarded", value)];

    // Nobody is a proxy: whatever the headers say, the login is loopback's.
    assert!(!log_in(&world, &bound, &x("192.0.2.7")));
    let file = world.stack().deployment().gateway_config();
    let mut config = world.gateway_file();
    config["trusted_proxies"] = json!(["127.0.0.0/8"]);
    std::fs::write(file, config.to_string()).unwrap();
    world.restart_gateway();

    assert!(log_in(&world, &bound, &x("192.0.2.7")));
    assert!(log_in(&world, &bound, &x("::ffff:192.0.2.7")));
    assert!(log_in(&world, &bound, &x("198.51.100.9, 192.0.2.7")));
    assert!(log_in(&world, &bound, &rfc("for=\"[2001:db8::7]:4711\"")));
    // What a stranger wrote stands on the left of what the proxy added.
    assert!(!log_in(&world, &bound, &x("192.0.2.7, 198.51.100.9")));
    for unclear in ["nonsense", "unknown", "192.0.2.7, nonsense"] {
        assert!(!log_in(&world, &bound, &x(unclear)), "{unclear}");
    }
    assert!(!log_in(&world, &bound, &[]));
    let differ = [
        ("x-forwarded-for", "192.0.2.7"),
        ("forwarded", "for=192.0.2.8"),
    ];
    assert!(!log_in(&world, &bound, &differ));

    // A limit of no addresses takes an unknown one, as ever.
    let unbound = world.route("unbound");
    assert!(log_in(&world, &unbound, &x("nonsense")));
}
