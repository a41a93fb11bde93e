//! Files and folders that servers and the command line can't use.

use serde_json::{Value, json};

use crate::support::{Cli, free_port};

/// A folder that `postern init` made, with free ports.
fn initialised() -> Cli {
    let cli = Cli::new();
    let url = || format!("https://localhost:{}", free_port());
    let args = [
        "init",
        "d",
        "--control-plane-url",
        &url(),
        "--gateway-url",
        &url(),
    ];
    let output = cli.run(&[&args[..], &["--api-server", "https://10.0.0.1:6443"]].concat());
    assert!(!output.stderr.contains("warning"), "{}", output.stderr);
    output.success();
    cli
}

fn change(cli: &Cli, file: &str, change: impl FnOnce(&mut Value)) {
    let path = cli.home().join("d").join(file);
    let mut value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn a_gateways_file_is_refused_for_unknown_fields_and_wrong_values() {
    let cli = initialised();
    let serve = [
        "gateway",
        "serve",
        "--config",
        "d/gateway/gateway.json",
        "--listen",
        "127.0.0.1:0",
    ];
    let original = std::fs::read_to_string(cli.home().join("d/gateway/gateway.json")).unwrap();
    for (field, value, parts) in [
        (
            "api_server",
            json!(["https://x"]),
            &["gateway.json", "api_server", "unknown field"][..],
        ),
        ("gateway", json!("a/b"), &["gateway:"]),
        ("access_id", json!("nonsense"), &["access_id"]),
        ("access_key", json!("k-secret-but-short"), &["access_key"]),
        ("deployment_id", json!("x"), &["deployment_id"]),
        (
            "control_plane_url",
            json!("http://example.org"),
            &["control_plane_url"],
        ),
        ("ca_cert", json!("missing.pem"), &["ca_cert", "missing.pem"]),
        ("tls_key", json!("missing.pem"), &["tls_key", "missing.pem"]),
        ("seal_keys", json!("ca.pem"), &["seal_keys", "line 1"]),
        ("api_servers", json!(["http://x"]), &["api_servers[0]"]),
    ] {
        change(&cli, "gateway/gateway.json", |file| file[field] = value);
        let stderr = cli.run(&serve).fails(2, parts);
        assert!(!stderr.contains("secret-but-short"), "{stderr}");
        std::fs::write(cli.home().join("d/gateway/gateway.json"), &original).unwrap();
    }
    cli.run(&["gateway", "serve", "--config", "nowhere.json"])
        .fails(2, &["nowhere.json"]);
}

#[test]
fn a_first_start_needs_a_sound_bootstrap_file_and_a_safe_database() {
    let cli = initialised();
    let serve = |database: &str, more: &[&str]| {
        let args = [
            "control-plane",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--database-url",
            database,
        ];
        let tls = [
            "--key-file",
            "d/control-plane/keys",
            "--tls-cert",
            "d/control-plane/server.pem",
            "--tls-key",
            "d/control-plane/server-key.pem",
        ];
        cli.run(&[&args[..], &tls, more].concat())
    };
    let bootstrap = ["--bootstrap", "d/control-plane/bootstrap.json"];
    serve("sqlite:empty.db", &[]).fails(2, &["bootstrap"]);
    serve("mysql://x", &bootstrap).fails(2, &["--database-url"]);
    for (flag, value) in [
        ("--max-token-ttl", "25h"),
        ("--max-token-ttl", "0"),
        ("--max-token-ttl", "500ms"),
        ("--max-token-life", "169h"),
        ("--max-token-life", "a week"),
    ] {
        let more = [&bootstrap[..], &[flag, value]].concat();
        serve("sqlite:empty.db", &more).fails(2, &[flag, value]);
    }
    let remote = "postgres://user:pass-word@db.example.org/postern";
    let stderr = serve(remote, &bootstrap).fails(2, &["--database-url", "sslmode=verify-full"]);
    assert!(!stderr.contains("pass-word"), "{stderr}");
    serve("sqlite:x.db", &["--bootstrap", "nowhere.json"])
        .fails(2, &["--bootstrap", "nowhere.json"]);
    change(&cli, "control-plane/bootstrap.json", |file| {
        file["more"] = json!(1)
    });
    serve("sqlite:x.db", &bootstrap).fails(2, &["--bootstrap", "unknown field `more`"]);
    change(&cli, "control-plane/bootstrap.json", |file| {
        file.as_object_mut().unwrap().remove("more");
        file["admin"]["access_key_sha256"] = json!("x");
    });
    serve("sqlite:x.db", &bootstrap).fails(2, &["--bootstrap"]);
    let args = [
        "control-plane",
        "serve",
        "--database-url=sqlite:x.db",
        "--listen=0.0.0.0:0",
        "--key-file=d/control-plane/keys",
    ];
    cli.run(&[&args[..], &bootstrap].concat())
        .fails(2, &["--bootstrap"]);
}

#[test]
fn a_control_plane_without_its_own_keys_says_what_makes_them() {
    let cli = initialised();
    let serve = |more: &[&str]| {
        let args = [
            "control-plane",
            "serve",
            "--listen=127.0.0.1:0",
            "--database-url=sqlite:x.db",
            "--bootstrap=d/control-plane/bootstrap.json",
        ];
        cli.run(&[&args[..], more].concat())
    };
    serve(&[]).fails(2, &["--key-file is missing", "postern init DIR"]);
    serve(&["--key-file=nowhere"]).fails(2, &["--key-file", "nowhere", "postern init DIR"]);
    let file = cli.home().join("d/control-plane/keys");
    let made = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{made}k2:c2VjcmV0")).unwrap();
    let stderr = serve(&["--key-file=d/control-plane/keys"])
        .fails(2, &["--key-file", "line 2: the key has 6 bytes"]);
    assert!(!stderr.contains("c2VjcmV0"), "{stderr}");
    // A folder from before there were such keys is completed, and what is there stays.
    std::fs::remove_file(&file).unwrap();
    let admin = std::fs::read_to_string(cli.home().join("d/admin.json")).unwrap();
    let admin: Value = serde_json::from_str(&admin).unwrap();
    let url = |field: &str| admin[field].as_str().unwrap().to_owned();
    let urls = [url("control_plane_url"), url("gateway_url")];
    let again = ["init", "d", "--control-plane-url", &urls[0]];
    let stdout = cli.ok(&[&again[..], &["--gateway-url", &urls[1]]].concat());
    assert!(
        stdout.starts_with("made d/control-plane/keys\nNext:"),
        "{stdout}"
    );
    let anew = std::fs::read_to_string(&file).unwrap();
    let id = |text: &str| text.split(':').next().unwrap().to_owned();
    assert_ne!(id(&anew), id(&made), "it isn't taken for the lost one");
    cli.ok(&[
        "control-plane",
        "key",
        "generate",
        "--file=d/control-plane/keys",
        "--id=next",
    ]);
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.starts_with(&anew), "the old key still seals");
    assert!(after[anew.len()..].starts_with("next:"));
}

#[test]
fn init_changes_nothing_that_exists_and_says_what_differs() {
    let cli = initialised();
    let read = |file: &str| std::fs::read_to_string(cli.home().join("d").join(file)).unwrap();
    let files = [
        "ca-key.pem",
        "admin.json",
        "gateway/seal-keys",
        "control-plane/keys",
        "gateway/gateway.json",
        "control-plane/bootstrap.json",
    ];
    let before = files.map(read);
    let admin: Value = serde_json::from_str(&before[1]).unwrap();
    let url = |field: &str| admin[field].as_str().unwrap().to_owned();
    let (control_plane, gateway) = (url("control_plane_url"), url("gateway_url"));
    let again = [
        "init",
        "d",
        "--control-plane-url",
        &control_plane,
        "--gateway-url",
        &gateway,
    ];
    cli.ok(&again);
    let other = [
        "--control-plane-url",
        &control_plane,
        "--gateway-url",
        "https://other:8000",
    ];
    cli.run(&[&["init", "d"][..], &other].concat())
        .fails(2, &["gateway.url", "other"]);
    assert_eq!(files.map(read), before);
    let bad = cli.run(&[
        "init",
        "e",
        "--gateway-url",
        "http://x",
        "--api-server",
        "nonsense",
    ]);
    bad.fails(2, &["gateway_url"]);
    assert!(!cli.home().join("e/ca-key.pem").exists());
    let warned = cli.run(&["init", "f"]);
    assert!(
        warned.stderr.contains("no list of API servers"),
        "{}",
        warned.stderr
    );
}

#[test]
fn a_profile_that_cant_be_read_is_named() {
    let cli = Cli::new();
    std::fs::create_dir(cli.home().join("config")).unwrap();
    std::fs::write(cli.profile("default"), r#"{"nonsense": 1}"#).unwrap();
    cli.run(&["list-auth-methods"])
        .fails(2, &["default.json", "unknown field `nonsense`"]);
    cli.run(&["list-auth-methods", "--profile", "../x"])
        .fails(2, &["--profile"]);
}
