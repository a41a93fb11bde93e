use postern_core::access_token::AccessKey;

use super::*;

fn file(key: &AccessKey) -> Bootstrap {
    Bootstrap {
        deployment_id: Uuid::from_u128(7),
        control_plane_url: None,
        admin: BootstrapAdmin {
            access_id: "p-abcdefghijkla0".parse().unwrap(),
            access_key_sha256: key.hash(),
        },
        gateway: BootstrapGateway {
            name: "default".parse().unwrap(),
            url: "https://localhost:8000".to_owned(),
            access_id: "p-abcdefghijkla1".parse().unwrap(),
            access_key_sha256: key.hash(),
        },
    }
}

fn read(text: &str) -> Result<Bootstrap, BootstrapFileError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bootstrap.json");
    fs::write(&path, text).unwrap();
    Bootstrap::read(&path)
}

#[test]
fn what_is_written_is_read_again_and_holds_no_key() {
    let key = AccessKey::generate().unwrap();
    let text = serde_json::to_string(&file(&key)).unwrap();
    assert!(!text.contains(&key.expose()[2..]));
    let read = read(&text).unwrap();
    assert_eq!(read.admin.access_key_sha256, key.hash());
    assert_eq!(read.gateway.name.as_str(), "default");
}

#[test]
fn faults_are_named() {
    let key = AccessKey::generate().unwrap();
    let good = serde_json::to_value(file(&key)).unwrap();
    let fault = |pointer: &str, value: serde_json::Value| {
        let mut json = good.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        read(&json.to_string()).unwrap_err().to_string()
    };
    assert!(fault("/deployment_id", "x".into()).contains("UUID"));
    assert!(fault("/admin/access_id", "p-x".into()).contains("`p-x` is not an access ID"));
    assert!(fault("/admin/access_id", "p-abcdefghijklk0".into()).contains("access-key type"));
    assert!(fault("/gateway/url", "http://example.com".into()).contains("gateway.url"));
    let hash = fault("/admin/access_key_sha256", key.expose().into());
    assert!(hash.contains("64 hexadecimal digits") && !hash.contains(key.expose()));
    let mut unknown = good.clone();
    unknown["admin"]["acess_key"] = "k-".into();
    assert!(
        read(&unknown.to_string())
            .unwrap_err()
            .to_string()
            .contains("acess_key")
    );
}
