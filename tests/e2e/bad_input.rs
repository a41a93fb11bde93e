//! Input that can't be taken: the error names the flag and the fault, and nothing is stored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_proto::pb;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient;
use postern_rpc::error::{Failure, Reason};
use serde_json::Value;

use crate::support::{Output, World};

/// Everything that is stored, as an administrator sees it.
fn stored(world: &World) -> (Value, Value) {
    (
        world.admin.json(&["list-auth-methods"]),
        world.admin.json(&["gateway-list-k8s-auth-config"]),
    )
}

#[track_caller]
fn refused(output: Output, parts: &[&str]) {
    output.fails(2, parts);
}

#[test]
fn a_method_that_cant_be_is_refused_by_flag_and_fault() {
    let world = World::start();
    let ns = "--bound-namespaces=my-namespace-a";
    let long = format!("--bound-pod-names={}", "a".repeat(254));
    let before = stored(&world);
    for (args, parts) in [
        (
            &[][..],
            &["--bound-namespaces", "restricts no namespace"][..],
        ),
        (
            &["--bound-pod-names=mypod1"],
            &["--bound-namespaces", "--any-namespace"],
        ),
        (
            &["--any-namespace"],
            &["--allow-any", "restricts nothing at all"],
        ),
        (
            &["--any-namespace", "--bound-pod-names=*"],
            &["--allow-any"],
        ),
        (&["--bound-namespaces=*"], &["--any-namespace"]),
        (
            &["--bound-namespaces=*,a"],
            &["--bound-namespaces", "nothing but wildcards"],
        ),
        (&["--allow-any"], &["--any-namespace"]),
        (
            &[ns, "--any-namespace"],
            &["--any-namespace", "contradicts"],
        ),
        (&["--bound-namespaces="], &["--bound-namespaces", "empty"]),
        (
            &["--bound-namespaces", " "],
            &["--bound-namespaces", "blank"],
        ),
        (&["--bound-namespaces=,"], &["--bound-namespaces", "empty"]),
        (&[ns, "--bound-pod-names="], &["--bound-pod-names", "empty"]),
        (
            &[ns, "--bound-sa-names", " "],
            &["--bound-sa-names", "blank"],
        ),
        (
            &[ns, "--bound-namespaced-sa-names="],
            &["--bound-namespaced-sa-names"],
        ),
        (
            &["--bound-namespaced-sa-names=default"],
            &["--bound-namespaced-sa-names", "`default`"],
        ),
        (
            &["--bound-namespaces=My-Namespace"],
            &["--bound-namespaces", "My-Namespace"],
        ),
        (&["--bound-namespaces=.."], &["--bound-namespaces", "`..`"]),
        (&["--bound-namespaces=a.b"], &["--bound-namespaces", "a.b"]),
        (
            &[ns, "--bound-pod-names=my_pod"],
            &["--bound-pod-names", "my_pod"],
        ),
        (&[ns, &long], &["--bound-pod-names", "253"]),
        (&[ns, "--jwt-ttl=-5"], &["--jwt-ttl"]),
        (&[ns, "--jwt-ttl=1441"], &["--jwt-ttl", "24"]),
        (&[ns, "--jwt-ttl=25h"], &["--jwt-ttl", "24"]),
        (&[ns, "--jwt-ttl=soon"], &["--jwt-ttl", "`soon`"]),
        (
            &[ns, "--access-expires=tomorrow"],
            &["--access-expires", "`tomorrow`"],
        ),
        (
            &[ns, "--bound-ips=10.0.0.256"],
            &["--bound-ips", "10.0.0.256"],
        ),
        (&[ns, "--gw-bound-ips=host"], &["--gw-bound-ips", "host"]),
        (&[ns, "--audience="], &["--audience"]),
        (&[ns, "--audience=a", "--allow-any-audience"], &["audience"]),
        (&[ns, "--public-key=nonsense"], &["--public-key"]),
        (&[ns, "--gen-key=false"], &["--public-key"]),
        (&[ns, "--gen-key=maybe"], &["--gen-key"]),
        (&[ns, "--unknown-flag"], &["--unknown-flag"]),
    ] {
        let create = ["create-auth-method-k8s", "-n", "bad"];
        refused(world.admin.run(&[&create[..], args].concat()), parts);
    }
    for name in [
        "..",
        "a//b",
        "%2e%2e",
        "a b",
        "a/../b",
        "ü",
        &"x/".repeat(9),
    ] {
        let create = ["create-auth-method-k8s", ns, "-n", name];
        refused(world.admin.run(&create), &["--name"]);
    }
    assert_eq!(stored(&world), before);
}

#[test]
fn a_config_that_cant_be_is_refused_by_flag_and_fault() {
    let world = World::start();
    let method = world.method("bad-config");
    let (other, cluster) = (world.method("bad-config-other"), world.cluster());
    let reviewer = world.reviewer_token();
    let before = stored(&world);
    let good: Vec<(&str, &str)> = vec![
        ("--access-id", &method.access_id),
        ("--signing-key", &method.prv_key),
        ("--k8s-host", cluster.host()),
        ("--token-reviewer-jwt", &reviewer),
        ("--k8s-ca-cert", cluster.ca_pem()),
        ("--k8s-issuer", cluster.issuer()),
    ];
    let key_as_ca = String::from_utf8(STANDARD.decode(&method.prv_key).unwrap()).unwrap();
    let ca_as_key = STANDARD.encode(cluster.ca_pem());
    let user_info = cluster
        .host()
        .replace("https://", "https://user:secret-word@");
    let query = format!("{}?a=b", cluster.host());
    let http = cluster.host().replace("https", "http");
    for (flag, value, fault) in [
        ("--k8s-host", http.as_str(), "https"),
        ("--k8s-host", "cluster", "is not a URL"),
        ("--k8s-host", &user_info, "user"),
        ("--k8s-host", &query, "query"),
        ("--k8s-host", "https://10.9.9.9", "api_servers"),
        ("--k8s-ca-cert", "nonsense", ""),
        ("--k8s-ca-cert", "bm9uc2Vuc2U=", ""),
        ("--k8s-ca-cert", &key_as_ca, "private key"),
        ("--signing-key", "nonsense", ""),
        ("--signing-key", &ca_as_key, ""),
        (
            "--signing-key",
            &other.prv_key,
            "doesn't belong to auth method",
        ),
        ("--access-id", "nonsense", ""),
        ("--access-id", "p-AAAAAAAAAAkA", ""),
        ("--k8s-issuer", " ", ""),
        ("--token-reviewer-jwt", "two words", ""),
    ] {
        let flags = good
            .iter()
            .map(|(f, v)| if *f == flag { (*f, value) } else { (*f, *v) });
        let args: Vec<&str> = flags.flat_map(|(f, v)| [f, v]).collect();
        let create = ["gateway-create-k8s-auth-config", "--name", "bad"];
        let stderr = world
            .admin
            .run(&[&create[..], &args].concat())
            .fails(2, &[flag, fault]);
        let secret = [
            &key_as_ca,
            &method.prv_key,
            &other.prv_key,
            &reviewer,
            "secret-word",
        ];
        assert!(
            !secret
                .iter()
                .any(|s| stderr.contains(s.lines().nth(1).unwrap_or(s))),
            "{stderr}"
        );
    }
    let all: Vec<&str> = good.iter().flat_map(|(f, v)| [*f, *v]).collect();
    for (args, parts) in [
        (
            &["--name", "bad", "--token-exp=301"][..],
            &["--token-exp", "300"][..],
        ),
        (&["--name", "bad", "--token-exp=-1"], &["--token-exp"]),
        (&["--name", "bad", "--token-exp=x"], &["--token-exp", "`x`"]),
        (
            &["--name", "bad", "--disable-issuer-validation"],
            &["issuer"],
        ),
        (&["--name", "..", "--token-exp=0"], &["--name"]),
        (&["--name", "a//b"], &["--name"]),
    ] {
        let create = ["gateway-create-k8s-auth-config"];
        refused(world.admin.run(&[&create[..], args, &all].concat()), parts);
    }
    let without_issuer = &all[..10];
    let create = ["gateway-create-k8s-auth-config", "--name", "bad"];
    let output = world.admin.run(&[&create[..], without_issuer].concat());
    refused(output, &["--k8s-issuer", "--disable-issuer-validation"]);
    assert_eq!(stored(&world), before);
}

#[test]
fn an_empty_shell_variable_is_named_by_its_flag() {
    let world = World::start();
    let before = stored(&world);
    let empty = "probably empty";
    let create = "gateway-create-k8s-auth-config";
    for (args, flag) in [
        (
            &[
                create,
                "--name",
                "x",
                "--access-id",
                "--signing-key",
                "k",
                "--k8s-issuer",
                "i",
            ][..],
            "--access-id",
        ),
        (
            &[
                create,
                "--name",
                "x",
                "--signing-key",
                "--k8s-host=https://h",
                "--k8s-issuer",
                "i",
            ],
            "--signing-key",
        ),
        (
            &[
                create,
                "--name",
                "x",
                "--token-reviewer-jwt",
                "",
                "--k8s-issuer",
                "i",
            ],
            "--token-reviewer-jwt",
        ),
        (
            &[create, "--name", "x", "--k8s-ca-cert", "--k8s-issuer", "i"],
            "--k8s-ca-cert",
        ),
        (
            &[create, "--name", "x", "--k8s-host=", "--k8s-issuer", "i"],
            "--k8s-host",
        ),
        (&[create, "--name", "x", "--k8s-issuer"], "--k8s-issuer"),
        (&[create, "--name", "x", "--k8s-issuer", ""], "--k8s-issuer"),
        (
            &[
                "auth",
                "--access-id",
                "--access-type",
                "k8s",
                "--k8s-auth-config-name",
                "c",
            ],
            "--access-id",
        ),
        (
            &["auth", "--access-id", "", "--k8s-auth-config-name", "c"],
            "--access-id",
        ),
        (
            &["create-auth-method-k8s", "-n", "--bound-namespaces", "a"],
            "--name",
        ),
        (
            &[
                "create-auth-method-k8s",
                "-n",
                "x",
                "--bound-namespaces",
                "-x",
            ],
            "--bound-namespaces",
        ),
        (
            &["list-auth-methods", "--control-plane-url="],
            "--control-plane-url",
        ),
        (&["configure", "--access-key-file", ""], "--access-key-file"),
    ] {
        refused(world.admin.run(args), &[flag, empty]);
    }
    let stray = [
        create,
        "--name",
        "x",
        "--signing-key",
        "k",
        "very-secret",
        "--k8s-issuer",
        "i",
    ];
    let stderr = world
        .admin
        .run(&stray)
        .fails(2, &["belongs to no flag", "quotes"]);
    assert!(!stderr.contains("very-secret"));
    assert_eq!(stored(&world), before);
}

#[test]
fn over_grpc_every_fault_is_a_field_violation() {
    let world = World::start();
    let method = world.method("violations");
    let before = stored(&world);
    let administrator = world.control_plane().with(&world.administrator_token(""));
    let mut methods = AuthMethodServiceClient::new(administrator.channel());
    let message = pb::CreateAuthMethodRequest {
        auth_method_id: "a//b".to_owned(),
        auth_method: Some(pb::AuthMethod {
            token_ttl: Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            }),
            bound_ips: vec!["x".to_owned()],
            r#type: Some(pb::auth_method::Type::Kubernetes(
                pb::KubernetesAuthMethod {
                    rules: vec![pb::Rule {
                        namespaces: vec![String::new()],
                        ..pb::Rule::default()
                    }],
                    ..pb::KubernetesAuthMethod::default()
                },
            )),
            ..pb::AuthMethod::default()
        }),
        validate_only: false,
        roles: Vec::new(),
    };
    let answer = world.block_on(methods.create_auth_method(administrator.request(message)));
    let fields = violations(answer.unwrap_err());
    for field in [
        "auth_method_id",
        "auth_method.token_ttl",
        "auth_method.bound_ips[0]",
        "auth_method.kubernetes.rules[0].namespaces[0]",
    ] {
        assert!(
            fields.contains(&field.to_owned()),
            "no {field} in {fields:?}"
        );
    }
    let administrator = world.gateway().with(&world.administrator_token("default"));
    let mut configs = K8sAuthConfigServiceClient::new(administrator.channel());
    let message = pb::CreateK8sAuthConfigRequest {
        k8s_auth_config_id: "../x".to_owned(),
        k8s_auth_config: Some(pb::K8sAuthConfig {
            access_id: Some(method.access_id),
            k8s_host: Some("http://h".to_owned()),
            token_exp: Some(prost_types::Duration {
                seconds: 301,
                nanos: 0,
            }),
            ..pb::K8sAuthConfig::default()
        }),
        ..pb::CreateK8sAuthConfigRequest::default()
    };
    let answer = world.block_on(configs.create_k8s_auth_config(administrator.request(message)));
    let fields = violations(answer.unwrap_err());
    assert!(
        fields.contains(&"k8s_auth_config_id".to_owned()),
        "{fields:?}"
    );
    let message = pb::UpdateAuthMethodRequest {
        auth_method: Some(pb::AuthMethod {
            name: "authMethods/violations".to_owned(),
            ..pb::AuthMethod::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["nonsense".to_owned()],
        }),
        validate_only: false,
    };
    let administrator = world.control_plane().with(&world.administrator_token(""));
    let answer = world.block_on(methods.update_auth_method(administrator.request(message)));
    let fields = violations(answer.unwrap_err());
    assert!(
        fields
            .iter()
            .any(|f| f.contains("etag") || f.contains("update_mask")),
        "{fields:?}"
    );
    assert_eq!(stored(&world), before);
}

fn violations(status: tonic::Status) -> Vec<String> {
    let failure = Failure::from(status);
    assert_eq!(failure.reason, Some(Reason::InvalidArgument), "{failure}");
    failure.violations.into_iter().map(|v| v.field).collect()
}
