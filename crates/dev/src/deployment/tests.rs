use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use postern_control_plane::bootstrap::Bootstrap;
use postern_core::clock::Clock;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use secrecy::ExposeSecret as _;

use super::*;

const FILES: [&str; 15] = [
    "admin.json",
    "ca-key.pem",
    "ca.pem",
    "control-plane/bootstrap.json",
    "control-plane/ca.pem",
    "control-plane/keys",
    "control-plane/server-key.pem",
    "control-plane/server.pem",
    "gateway/ca.pem",
    "gateway/client-key.pem",
    "gateway/client.pem",
    "gateway/gateway.json",
    "gateway/seal-keys",
    "gateway/server-key.pem",
    "gateway/server.pem",
];

fn options() -> InitOptions {
    InitOptions {
        control_plane_url: "https://cp.example.com:8100".to_owned(),
        gateway_url: "https://gw.example.com:8000/".to_owned(),
        gateway_name: "edge".to_owned(),
        api_servers: vec!["https://cluster:6443".to_owned()],
    }
}

fn init(dir: &Path) -> Deployment {
    Deployment::init(dir, &options()).unwrap()
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in ["", "control-plane", "gateway"] {
        for entry in fs::read_dir(dir.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

fn fault(dir: &Path, options: &InitOptions) -> String {
    Deployment::init(dir, options).unwrap_err().to_string()
}

/// Whether a client that trusts the folder's CA believes the certificate for a host at a time.
fn believed(dir: &Path, service: &str, host: &str, days_from_now: i64) -> bool {
    let pem = |name: &str| fs::read(dir.join(name)).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem("ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let certificate = pem(&format!("{service}/server.pem"));
    let certificate = CertificateDer::from_pem_slice(&certificate).unwrap();
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap() + days_from_now * 86_400;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.unsigned_abs()));
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let verifier = verifier.build().unwrap();
    verifier
        .verify_server_cert(&certificate, &[], &host, &[], now)
        .is_ok()
}

#[test]
fn everything_is_made_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("deployment");
    let deployment = init(&dir);
    assert!(contents(&dir).keys().eq(FILES.iter()));
    assert_eq!(deployment.created().len(), FILES.len());
    assert!(deployment.absent().is_empty());
    for name in FILES {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for name in ["", "control-plane", "gateway"] {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
}

#[test]
fn a_second_time_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let before = contents(dir.path());
    let again = init(dir.path());
    assert!(again.created().is_empty());
    assert_eq!(contents(dir.path()), before);
}

#[tokio::test]
async fn both_servers_read_what_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let deployment = init(dir.path());
    let bootstrap = Bootstrap::read(&deployment.bootstrap()).unwrap();
    let admin = AdminFile::read(&deployment.admin()).unwrap();
    let config = postern_data_plane::config::Config::load(
        &deployment.gateway_config(),
        "127.0.0.1:0".parse().unwrap(),
        Clock::system(),
    );
    let config = config.ok().unwrap();
    assert_eq!(config.deployment, bootstrap.deployment_id);
    assert_eq!(config.gateway, bootstrap.gateway.name);
    assert_eq!(bootstrap.gateway.url, "https://gw.example.com:8000");
    assert_eq!(config.credential.access_id, bootstrap.gateway.access_id);
    assert_eq!(
        config.credential.access_key.hash(),
        bootstrap.gateway.access_key_sha256
    );
    let key: postern_core::access_token::AccessKey =
        admin.access_key.expose_secret().parse().unwrap();
    assert_eq!(key.hash(), bootstrap.admin.access_key_sha256);
    assert_eq!(admin.access_id, bootstrap.admin.access_id.as_str());
    assert_ne!(admin.access_id, bootstrap.gateway.access_id.as_str());
    assert_eq!(
        admin.ca_cert,
        fs::read_to_string(deployment.ca_cert()).unwrap()
    );
    assert!(
        config
            .api_servers
            .allows(&"https://cluster:6443".parse().unwrap())
    );
    assert!(
        !config
            .api_servers
            .allows(&"https://elsewhere:6443".parse().unwrap())
    );
}

#[test]
fn the_control_planes_folder_has_no_key_of_anybody_else() {
    let dir = tempfile::tempdir().unwrap();
    let deployment = init(dir.path());
    let admin = AdminFile::read(&deployment.admin()).unwrap();
    let seal_key = fs::read_to_string(dir.path().join("gateway/seal-keys")).unwrap();
    let (_, seal_key) = seal_key.trim().split_once(':').unwrap();
    for (name, content) in contents(dir.path()) {
        if name.starts_with("control-plane/") {
            let content = String::from_utf8(content).unwrap();
            assert!(
                !content.contains(&admin.access_key.expose_secret()[2..]),
                "{name}"
            );
            assert!(!content.contains(seal_key), "{name}");
        }
    }
}

#[test]
fn certificates_are_believed_for_their_hosts_and_time() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    for (service, own, other) in [
        ("control-plane", "cp.example.com", "gw.example.com"),
        ("gateway", "gw.example.com", "cp.example.com"),
    ] {
        for host in [own, "localhost", "127.0.0.1"] {
            assert!(believed(dir.path(), service, host, 0), "{service} {host}");
        }
        assert!(believed(dir.path(), service, own, 396));
        assert!(!believed(dir.path(), service, own, 398));
        assert!(!believed(dir.path(), service, own, -1));
        assert!(!believed(dir.path(), service, other, 0));
    }
}

#[test]
fn a_host_may_be_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let options = InitOptions {
        control_plane_url: "https://[::1]:8100".to_owned(),
        gateway_url: "https://10.1.2.3:8000".to_owned(),
        ..InitOptions::default()
    };
    Deployment::init(dir.path(), &options).unwrap();
    assert!(believed(dir.path(), "control-plane", "::1", 0));
    assert!(believed(dir.path(), "gateway", "10.1.2.3", 0));
}

#[test]
fn a_deleted_certificate_is_made_again_by_the_same_ca() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let before = contents(dir.path());
    fs::remove_file(dir.path().join("gateway/server.pem")).unwrap();
    let again = init(dir.path());
    let renewed = ["gateway/server-key.pem", "gateway/server.pem"];
    assert_eq!(again.created(), renewed.map(|name| dir.path().join(name)));
    assert!(believed(dir.path(), "gateway", "gw.example.com", 0));
    for (name, content) in contents(dir.path()) {
        assert_eq!(
            before[&name] == content,
            !renewed.contains(&name.as_str()),
            "{name}"
        );
    }
}

#[test]
fn a_gateways_client_certificate_is_for_its_name_and_folders_without_one_get_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(init(dir.path()).mutual_tls());
    let pem = fs::read(dir.path().join("gateway/client.pem")).unwrap();
    let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
    let name = b"postern://gateway/edge";
    assert!(certificate.windows(name.len()).any(|part| part == name));

    let config = dir.path().join("gateway/gateway.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let fields = file.as_object_mut().unwrap();
    assert_eq!(fields.remove("client_cert").unwrap(), "client.pem");
    assert_eq!(fields.remove("client_key").unwrap(), "client-key.pem");
    fs::write(&config, file.to_string()).unwrap();
    fs::remove_file(dir.path().join("gateway/client.pem")).unwrap();
    let again = init(dir.path());
    assert!(again.created().is_empty() && !again.mutual_tls());
}

#[test]
fn the_cas_key_may_be_kept_elsewhere_until_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    fs::remove_file(dir.path().join("ca-key.pem")).unwrap();
    assert!(init(dir.path()).created().is_empty());
    fs::remove_file(dir.path().join("gateway/server.pem")).unwrap();
    assert!(fault(dir.path(), &options()).contains("ca-key.pem is missing"));
    fs::remove_file(dir.path().join("ca.pem")).unwrap();
    assert!(fault(dir.path(), &options()).contains("ca.pem is missing"));
}

#[test]
fn what_was_moved_away_is_not_made_a_second_time() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    fs::remove_file(dir.path().join("admin.json")).unwrap();
    fs::remove_dir_all(dir.path().join("gateway")).unwrap();
    let again = init(dir.path());
    assert!(again.created().is_empty());
    assert_eq!(again.absent(), [again.admin(), again.gateway_config()]);
    assert!(!dir.path().join("gateway").exists());
}

#[test]
fn hashes_that_are_missing_are_made_from_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    let deployment = init(dir.path());
    let before = contents(dir.path());
    fs::remove_file(deployment.bootstrap()).unwrap();
    assert_eq!(init(dir.path()).created(), [deployment.bootstrap()]);
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn another_purpose_than_before_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let before = contents(dir.path());
    let other = |change: fn(&mut InitOptions)| {
        let mut options = options();
        change(&mut options);
        fault(dir.path(), &options)
    };
    let text = other(|o| o.control_plane_url = "https://other:8100".to_owned());
    assert!(
        text.contains("control_plane_url `https://cp.example.com:8100`"),
        "{text}"
    );
    let text = other(|o| o.gateway_url = "https://other:8000".to_owned());
    assert!(
        text.contains("gateway.url `https://gw.example.com:8000`"),
        "{text}"
    );
    let text = other(|o| o.gateway_name = "other".to_owned());
    assert!(text.contains("gateway.name `edge`"), "{text}");
    let text = other(|o| o.api_servers.push("https://other:6443".to_owned()));
    assert!(text.contains("doesn't list https://other:6443"), "{text}");
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn wrong_options_are_named_at_once_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("deployment");
    let options = InitOptions {
        control_plane_url: "http://localhost:8100".to_owned(),
        gateway_url: "https://user@localhost:8000".to_owned(),
        gateway_name: "a/b".to_owned(),
        api_servers: vec!["https://a".to_owned(), "http://b".to_owned()],
    };
    let InitError::Invalid(invalid) = Deployment::init(&dir, &options).unwrap_err() else {
        panic!("not by field");
    };
    let fields: Vec<&str> = invalid
        .violations()
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    let wrong = [
        "control_plane_url",
        "gateway_url",
        "gateway_name",
        "api_servers[1]",
    ];
    assert_eq!(fields, wrong);
    assert!(!dir.exists());
}

#[test]
fn a_file_that_is_something_else_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let deployment = init(dir.path());
    fs::write(deployment.admin(), r#"{"acess_id": "p-"}"#).unwrap();
    let text = fault(dir.path(), &options());
    assert!(
        text.contains("admin.json") && text.contains("acess_id"),
        "{text}"
    );
}
