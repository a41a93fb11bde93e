use postern_core::seal::SealKeyId;

use super::*;

fn key_file() -> String {
    let id: SealKeyId = "2026".parse().unwrap();
    Keyring::generate_line(&id).unwrap().to_string()
}

fn written(dir: &Path) -> GatewayFile {
    fs::write(dir.join("seal-keys"), key_file()).unwrap();
    fs::write(dir.join("server.pem"), "certificate").unwrap();
    fs::write(dir.join("server-key.pem"), "key").unwrap();
    GatewayFile {
        gateway: "default".to_owned(),
        access_id: "p-abcdefghijklam".to_owned(),
        access_key: AccessKey::generate().unwrap().expose().into(),
        deployment_id: Uuid::from_u128(7).to_string(),
        control_plane_url: "https://localhost:8100".to_owned(),
        ca_cert: None,
        client_cert: None,
        client_key: None,
        tls_cert: "server.pem".into(),
        tls_key: "server-key.pem".into(),
        seal_keys: "seal-keys".into(),
        api_servers: Some(vec!["https://127.0.0.1:8443".to_owned()]),
        own_cluster: None,
        trusted_proxies: vec!["10.0.0.0/8".to_owned()],
        admin_listen: None,
        limits: Limits::default(),
    }
}

fn load(dir: &Path, json: &str) -> Result<Config, ConfigError> {
    let path = dir.join("gateway.json");
    fs::write(&path, json).unwrap();
    Config::load(&path, "127.0.0.1:0".parse().unwrap(), Clock::system())
}

fn fields(result: Result<Config, ConfigError>) -> Vec<String> {
    match result.err().unwrap() {
        ConfigError::Invalid { invalid, .. } => invalid
            .violations()
            .iter()
            .map(|v| v.field.clone())
            .collect(),
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_init_writes_is_read_and_paths_are_relative_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path());
    let config = load(dir.path(), &serde_json::to_string(&file).unwrap());
    let config = config.ok().unwrap();
    assert_eq!(config.gateway.as_str(), "default");
    assert_eq!(config.deployment, Uuid::from_u128(7));
    assert_eq!(config.keyring.first_id().as_str(), "2026");
    assert!(
        config
            .api_servers
            .allows(&"https://127.0.0.1:8443".parse().unwrap())
    );
    assert!(
        !config
            .api_servers
            .allows(&"https://127.0.0.1:9443".parse().unwrap())
    );
    let tls = config.server.tls.unwrap();
    assert_eq!(tls.certificate, dir.path().join("server.pem"));
}

#[tokio::test]
async fn an_absent_list_allows_any_and_an_empty_one_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = written(dir.path());
    let anywhere = "https://anywhere".parse().unwrap();
    for (list, allowed) in [(None, true), (Some(vec![]), false)] {
        file.api_servers = list;
        let config = load(dir.path(), &serde_json::to_string(&file).unwrap());
        assert_eq!(config.ok().unwrap().api_servers.allows(&anywhere), allowed);
    }
}

#[tokio::test]
async fn everything_that_is_missing_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        fields(load(dir.path(), "{}")),
        [
            "gateway",
            "access_id",
            "access_key",
            "deployment_id",
            "control_plane_url",
            "tls_cert",
            "tls_key",
            "seal_keys",
        ]
    );
}

#[tokio::test]
async fn everything_that_is_wrong_is_named_at_once_without_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = written(dir.path());
    fs::write(dir.path().join("seal-keys"), "SECRET").unwrap();
    file.gateway = "a/b".to_owned();
    file.access_id = "p-abcdefghijklkm".to_owned();
    file.access_key = "SECRET".into();
    file.control_plane_url = "http://control-plane:8100".to_owned();
    file.ca_cert = Some("absent.pem".into());
    file.api_servers = Some(vec!["https://a".to_owned(), "http://b".to_owned()]);
    file.trusted_proxies = vec!["::1".to_owned(), "10.0.0.1/8".to_owned()];
    let json = serde_json::to_string(&file).unwrap();
    let error = load(dir.path(), &json).err().unwrap().to_string();
    assert!(!error.contains("SECRET"), "{error}");
    assert_eq!(
        fields(load(dir.path(), &json)),
        [
            "gateway",
            "access_key",
            "access_id",
            "ca_cert",
            "control_plane_url",
            "trusted_proxies[1]",
            "seal_keys",
            "api_servers[1]",
        ]
    );
}

#[tokio::test]
async fn a_client_certificate_comes_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = written(dir.path());
    file.client_cert = Some("server.pem".into());
    let json = serde_json::to_string(&file).unwrap();
    assert_eq!(fields(load(dir.path(), &json)), ["client_key"]);
    file.client_key = Some("server-key.pem".into());
    let json = serde_json::to_string(&file).unwrap();
    assert_eq!(fields(load(dir.path(), &json)), ["client_cert"], "no PEM");
}

#[tokio::test]
async fn plain_http_is_for_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = written(dir.path());
    file.control_plane_url = "http://control-plane:8100".to_owned();
    let json = serde_json::to_string(&file).unwrap();
    assert_eq!(fields(load(dir.path(), &json)), ["control_plane_url"]);
}

#[tokio::test]
async fn an_unknown_field_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(dir.path(), r#"{"gatway": "default"}"#).err().unwrap();
    assert!(error.to_string().contains("gatway"), "{error}");
}

#[test]
fn the_pods_environment_names_the_api_server() {
    let of = |host: &str, port: &str| {
        let server = pods_api_server(Some(host.to_owned()), Some(port.to_owned()));
        server.map(|server| server.to_string())
    };
    assert_eq!(of("10.0.0.1", "443").as_deref(), Some("https://10.0.0.1"));
    assert_eq!(
        of("fd00::1", "6443").as_deref(),
        Some("https://[fd00::1]:6443")
    );
    assert_eq!(of("10.0.0.1", "x"), None);
    assert!(pods_api_server(None, None).is_none());
}
