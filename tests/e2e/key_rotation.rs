//! Keys of a method: which are taken, and how they are replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{World, eventually, log_in, login};

fn keys(world: &World, name: &str) -> Vec<Value> {
    let listed = world
        .admin
        .json(&["auth-method", "key", "list", "-n", name]);
    listed["public_keys"].as_array().unwrap().clone()
}

#[test]
fn logins_go_on_without_one_refusal_during_a_whole_rotation() {
    let world = World::start();
    let method = world.route("m");
    let second = [
        world.config_args("second", &method),
        vec!["--json".to_owned()],
    ]
    .concat();
    world
        .admin
        .ok(&second.iter().map(String::as_str).collect::<Vec<_>>());
    let old = keys(&world, "m")[0]["key_id"].clone();

    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let (handle, channel) = (world.handle(), world.gateway().channel());
            let message = login(&world, &method);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let patience = Duration::from_secs(10);
                    let login = Box::pin(log_in(&channel, &message, patience));
                    handle.block_on(login).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more_logins = || {
        let before = done.load(Ordering::Relaxed);
        eventually("more logins", Duration::from_secs(10), || {
            (done.load(Ordering::Relaxed) > before + 3).then_some(())
        });
    };
    more_logins();
    let rotated = world
        .admin
        .json(&["auth-method", "rotate-key", "-n", "m", "--overlap", "1h"]);
    more_logins();
    let again = world.admin.json(&[
        "auth-method",
        "rotate-key",
        "-n",
        "m",
        "--key-algorithm",
        "ed25519",
        "--overlap",
        "1h",
    ]);
    more_logins();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }

    assert_eq!(rotated["changed_over"].as_array().unwrap().len(), 2);
    assert_eq!(
        rotated["prv_key"],
        Value::Null,
        "nobody sees the private key"
    );
    let keys = keys(&world, "m");
    let by_id = |id: &Value| keys.iter().find(|key| key["key_id"] == *id).unwrap();
    assert_eq!(keys.len(), 3);
    for retired in [&old, &rotated["key_id"]] {
        assert!(by_id(retired)["expire_time"].is_string());
        assert_eq!(by_id(retired)["used_by"], serde_json::json!([]));
    }
    let current = by_id(&again["key_id"]);
    assert_eq!(current["algorithm"], "SIGNING_ALGORITHM_ED25519");
    assert_eq!(current["expire_time"], Value::Null);
    assert_eq!(
        current["used_by"],
        serde_json::json!([
            "gateways/default/k8sAuthConfigs/m",
            "gateways/default/k8sAuthConfigs/second"
        ])
    );
    assert!(current["last_used_time"].is_string());
}

#[test]
fn a_key_that_has_expired_signs_no_login() {
    let world = World::start();
    let method = world.route("m");
    let id = keys(&world, "m")[0]["key_id"].as_str().unwrap().to_owned();
    let remove = ["auth-method", "key", "remove", "-n", "m", "--key-id", &id];
    // It is the only one, and a config signs with it.
    world.admin.run(&remove).fails(2, &["only key"]);
    let added = world.admin.json(&["auth-method", "key", "add", "-n", "m"]);
    assert!(added["prv_key"].is_string());
    world
        .admin
        .run(&remove)
        .fails(1, &["gateways/default/k8sAuthConfigs/m", "overlap"]);
    let ending = world
        .admin
        .run(&[&remove[..], &["--overlap", "30s"]].concat());
    assert!(
        ending.stderr.contains("KEY_EXPIRES_IN_USE"),
        "{}",
        ending.stderr
    );
    world.token(&method);
    world.advance(31);
    let refused = world.log_in(&method.access_id, "m", &world.pod_token("mypod1"));
    let record = world.audited(&refused.refused());
    assert_eq!(record["reason"], "ASSERTION_KEY_EXPIRED");
    // The other key's private half ends that.
    let key = added["prv_key"].as_str().unwrap();
    world.admin.ok(&[
        "gateway-update-k8s-auth-config",
        "-n",
        "m",
        "--signing-key",
        key,
    ]);
    world.token(&method);
    world.admin.ok(&remove);
}

#[test]
fn every_kind_of_key_signs_logins() {
    let world = World::shared();
    for algorithm in ["es256", "ed25519", "rsa2048", "rsa3072", "rsa4096"] {
        let name = format!("kind-{algorithm}");
        let bounds = [
            "--bound-namespaces",
            "my-namespace-a",
            "--key-algorithm",
            algorithm,
        ];
        let method = world.method_with(&name, &bounds);
        world.config(&name, &method);
        world.token(&method);
    }
}

#[test]
fn a_private_key_or_a_weak_one_is_no_public_key_and_is_sent_nowhere() {
    let world = World::shared();
    let method = world.method("private");
    let private = world.admin.file("private", &method.prv_key);
    let create = [
        "create-auth-method-k8s",
        "-n",
        "wrong",
        "--bound-namespaces",
        "a",
    ];
    let with = |flags: &[&str]| world.admin.run(&[&create[..], flags].concat());
    let text = with(&["--gen-key=false", "--public-key", &method.prv_key]).fails(
        2,
        &[
            "--public-key is a private key",
            "Nothing was sent",
            "openssl",
        ],
    );
    assert!(!text.contains(&method.prv_key));
    with(&["--public-key-file-path", &private])
        .fails(2, &["--public-key-file-path is a private key"]);
    with(&["--public-key", "nonsense"]).fails(2, &["--public-key"]);
    with(&["--gen-key=false"]).fails(2, &["--public-key-file-path"]);
    with(&["--key-algorithm", "es512"]).fails(2, &["es256"]);
}
