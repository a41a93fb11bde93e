//! What a method can bind: namespaces, service accounts, pods, pairs, addresses.

use crate::bed::Bed;

#[test]
fn namespaces_service_accounts_pods_and_wildcards_are_bound() {
    let Some(bed) = Bed::shared() else { return };
    let (here, there) = (bed.namespace(), bed.namespace());
    bed.service_account(&here, "robot");
    let token = bed.pod_of(&here, "mypod-7", "robot");
    let of_default = bed.pod(&here, "mypod-8");
    let elsewhere = bed.pod(&there, "mypod-7");
    let unbound = bed.token(&here, "robot", serde_json::json!({}));
    let bounds = [
        "--bound-namespaces",
        here.name(),
        "--bound-sa-names",
        "ro?ot",
        "--bound-pod-names",
        "mypod-*",
    ];
    let method = bed.route("bounds", &bounds);
    bed.admits(&method, &token);
    bed.refuses(&method, &elsewhere, "NAMESPACE_NOT_BOUND");
    bed.refuses(&method, &of_default, "SERVICE_ACCOUNT_NOT_BOUND");
    bed.refuses(&method, &unbound, "POD_MISSING");
    let other = bed.pod_of(&here, "other", "robot");
    bed.refuses(&method, &other, "POD_NAME_NOT_BOUND");
}

#[test]
fn a_pair_binds_an_account_in_its_namespace_alone() {
    let Some(bed) = Bed::shared() else { return };
    let (a, b) = (bed.namespace(), bed.namespace());
    for namespace in [&a, &b] {
        bed.service_account(namespace, "one");
        bed.service_account(namespace, "two");
    }
    let pairs = format!("{}/one,{}/two", a.name(), b.name());
    let method = bed.route("pairs", &["--bound-namespaced-sa-names", &pairs]);
    bed.admits(&method, &bed.pod_of(&a, "p1", "one"));
    bed.admits(&method, &bed.pod_of(&b, "p2", "two"));
    for (namespace, account) in [(&a, "two"), (&b, "one")] {
        let token = bed.pod_of(namespace, "p3", account);
        let record = bed.world.audited(&bed.log_in(&method, &token).refused());
        assert!(
            record["reason"].as_str().unwrap().ends_with("NOT_BOUND"),
            "{record}"
        );
        assert_eq!(record["facts"]["service_account_name"], account);
    }
}

#[test]
fn the_clients_and_the_gateways_addresses_are_bound() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let token = bed.pod(&namespace, "mypod1");
    let bounds = ["--bound-namespaces", namespace.name()];
    for (name, flag, address, reason) in [
        ("ip-1", "--bound-ips", "127.0.0.1", None),
        ("ip-2", "--bound-ips", "::ffff:127.0.0.1", None),
        (
            "ip-3",
            "--bound-ips",
            "10.0.0.0/8",
            Some("CLIENT_IP_NOT_BOUND"),
        ),
        ("ip-4", "--gw-bound-ips", "127.0.0.0/8", None),
        (
            "ip-5",
            "--gw-bound-ips",
            "2001:db8::/32",
            Some("GATEWAY_IP_NOT_BOUND"),
        ),
    ] {
        let method = bed.route(name, &[&bounds[..], &[flag, address]].concat());
        match reason {
            None => bed.admits(&method, &token),
            Some(reason) => {
                bed.refuses(&method, &token, reason);
            }
        }
    }
}

#[test]
fn a_node_is_bound_by_what_the_review_says_of_the_pod() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let (here, there) = (bed.node(), bed.node());
    let on = |pod: &str, node: &str| bed.pod_on(&namespace, pod, node);
    let (token, elsewhere) = (on("mypod1", &here), on("mypod2", &there));
    let unscheduled = bed.pod(&namespace, "mypod3");
    let bounds = [
        "--bound-namespaces",
        namespace.name(),
        "--bound-node-names",
        &here,
    ];
    let method = bed.route("nodes", &bounds);
    bed.admits(&method, &token);
    let record = bed.refuses(&method, &elsewhere, "NODE_NAME_NOT_BOUND");
    assert_eq!(record["facts"]["node_name"], there.as_str());
    bed.refuses(&method, &unscheduled, "NODE_MISSING");
}

#[test]
fn a_condition_over_the_verified_facts_makes_exceptions() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let bounds = ["--bound-namespaces", namespace.name(), "--condition"];
    let condition =
        "!facts.pod_name.startsWith(\"debug-\") && facts.service_account_name != \"robot\"";
    let method = bed.route("condition", &[&bounds[..], &[condition]].concat());
    bed.service_account(&namespace, "robot");
    bed.admits(&method, &bed.pod(&namespace, "mypod1"));
    bed.refuses(
        &method,
        &bed.pod(&namespace, "debug-1"),
        "CONDITION_NOT_MET",
    );
    let robot = bed.pod_of(&namespace, "mypod2", "robot");
    bed.refuses(&method, &robot, "CONDITION_NOT_MET");
}
