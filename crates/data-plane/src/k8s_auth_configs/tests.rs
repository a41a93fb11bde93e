use postern_core::k8s_auth_config::Reviewer;
use postern_core::seal::Keyring;
use secrecy::ExposeSecret as _;

use super::update::differs;
use super::*;
use crate::sample::{ACCESS_ID, HOST, config, key_line, noon, set_reviewer};

/// Without a control plane: what is refused before it is asked.
fn service(api_servers: AllowedApiServers) -> K8sAuthConfigs {
    let target = postern_rpc::client::Target {
        url: "http://127.0.0.1:1".to_owned(),
        ca_pem: None,
    };
    let channel = postern_rpc::client::connect(&target).unwrap();
    let keyring = Keyring::parse(&key_line("k1")).unwrap();
    let snapshot = Arc::new(Snapshot::new(&crate::limits::Limits::default()));
    K8sAuthConfigs::new(
        Arc::new(Sealer::new("default".parse().unwrap(), keyring)),
        Arc::new(api_servers),
        crate::cluster::OwnCluster::none(),
        Arc::clone(&snapshot),
        Arc::new(ControlPlane::new(channel, crate::fixtures::own())),
        Arc::new(Health::new(
            snapshot,
            Clock::new(noon),
            "replica".to_owned(),
        )),
        Clock::new(noon),
    )
}

fn nowhere() -> OwnCluster {
    Err("nowhere".to_owned())
}

fn create() -> pb::CreateK8sAuthConfigRequest {
    let key = config("x", 1, 1).signing_key.to_pkcs8_pem();
    pb::CreateK8sAuthConfigRequest {
        parent: String::new(),
        k8s_auth_config_id: "k8s-conf".to_owned(),
        k8s_auth_config: Some(pb::K8sAuthConfig {
            access_id: Some(ACCESS_ID.to_owned()),
            k8s_host: Some(HOST.to_owned()),
            k8s_issuers: vec!["https://issuer".to_owned()],
            ..pb::K8sAuthConfig::default()
        }),
        secrets: Some(pb::K8sAuthConfigSecrets {
            signing_key: Some(key.expose_secret().to_owned()),
            token_reviewer_jwt: Some("aaa.bbb.ccc".to_owned()),
            ..pb::K8sAuthConfigSecrets::default()
        }),
        validate_only: false,
    }
}

fn fields(result: Result<Accepted, Invalid>) -> Vec<String> {
    let invalid = result.err().unwrap();
    let fields = invalid.violations().iter().map(|v| v.field.clone());
    fields.collect()
}

#[tokio::test]
async fn a_new_config_is_this_gateways_own_and_of_generation_one() {
    let service = service(AllowedApiServers::any());
    for parent in ["", "gateways/default"] {
        let request = pb::CreateK8sAuthConfigRequest {
            parent: parent.to_owned(),
            ..create()
        };
        let config = service
            .new_config(&request, &nowhere())
            .ok()
            .unwrap()
            .config;
        assert_eq!(
            config.name.to_string(),
            "gateways/default/k8sAuthConfigs/k8s-conf"
        );
        assert_eq!(config.generation, 1);
        assert_eq!(config.uid.get_version_num(), 7);
    }
}

#[tokio::test]
async fn everything_wrong_with_a_create_is_named_at_once() {
    let service = service(AllowedApiServers::any());
    let mut request = create();
    request.parent = "gateways/other".to_owned();
    request.k8s_auth_config_id = "../x".to_owned();
    request.k8s_auth_config.as_mut().unwrap().k8s_host = Some("http://a".to_owned());
    request.secrets = None;
    assert_eq!(
        fields(service.new_config(&request, &nowhere())),
        [
            "parent",
            "k8s_auth_config_id",
            "k8s_auth_config.k8s_host",
            "secrets.token_reviewer_jwt",
            "secrets.signing_key",
        ]
    );
}

#[tokio::test]
async fn an_api_server_outside_the_list_is_refused_with_what_to_do() {
    let list = AllowedApiServers::only(vec!["https://allowed".parse().unwrap()]);
    let invalid = service(list)
        .new_config(&create(), &nowhere())
        .err()
        .unwrap();
    assert_eq!(invalid.violations()[0].field, "k8s_auth_config.k8s_host");
    let text = invalid.to_string();
    assert!(
        text.contains("gateway.json") && text.contains("api_servers"),
        "{text}"
    );
    assert!(text.contains(HOST), "{text}");
}

#[test]
fn names_may_be_short_and_are_never_another_gateways() {
    let own = "default".parse().unwrap();
    let full = "gateways/default/k8sAuthConfigs/a/b";
    for name in [full, "k8sAuthConfigs/a/b"] {
        assert_eq!(names::config(&own, name, "name").unwrap().to_string(), full);
    }
    for name in [
        "",
        "a",
        "gateways/other/k8sAuthConfigs/a",
        "k8sAuthConfigs/",
        "k8sAuthConfigs/..",
    ] {
        let invalid = names::config(&own, name, "name").unwrap_err();
        assert_eq!(invalid.violations()[0].field, "name", "{name}");
    }
    assert!(names::parent(&own, "gateways/-").is_err());
    assert!(names::parent(&own, "default").is_err());
}

#[test]
fn nothing_but_a_change_is_a_change() {
    let (current, mut same) = (config("one", 1, 1), config("one", 1, 2));
    same.access.clone_from(&current.access);
    same.signing_key = current.signing_key.clone();
    assert!(!differs(&current, &same));
    same.disabled = true;
    assert!(differs(&current, &same));
    same.disabled = false;
    set_reviewer(&mut same, Reviewer::Token("ddd.eee.fff".parse().unwrap()));
    assert!(differs(&current, &same));
    same.access.clone_from(&current.access);
    same.signing_key = config("x", 1, 1).signing_key;
    assert!(differs(&current, &same));
}
