//! Administrators who write at once, and names that are taken.

use std::time::Duration;

use postern_dev::StackOptions;
use postern_proto::pb;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient;
use postern_rpc::error::{Failure, Reason};
use sqlx::{Connection as _, PgConnection};
use test_support::postgres::Postgres;
use tokio::runtime::Runtime;
use tonic::Code;

use crate::support::{Caller, World, eventually};

#[test]
fn a_name_that_exists_is_not_taken_twice() {
    let world = World::shared();
    let method = world.route("taken");
    let create = [
        "create-auth-method-k8s",
        "-n",
        "taken",
        "--bound-namespaces=other",
    ];
    world
        .admin
        .run(&create)
        .fails(5, &["authMethods/taken", "exists"]);
    let args = world.config_args("taken", &method);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world
        .admin
        .run(&args)
        .fails(5, &["k8sAuthConfigs/taken", "exists"]);
    let stored = world.admin.json(&["get-auth-method", "-n", "taken"]);
    assert_eq!(stored["access_id"], method.access_id.as_str());
    assert_eq!(
        stored["kubernetes"]["rules"][0]["namespaces"][0],
        "my-namespace-a"
    );
    for gateway in ["default", "taken-gateway"] {
        let create = [
            "gateway",
            "create",
            "-n",
            gateway,
            "--url",
            "https://other:8000",
        ];
        let output = world.admin.run(&create);
        match gateway {
            "default" => drop(output.fails(5, &["gateways/default", "exists"])),
            _ => drop(output.success()),
        }
    }
}

#[test]
fn a_stale_etag_is_refused_and_says_what_is_there() {
    let world = World::shared();
    world.method("stale");
    let administrator = world.control_plane().with(&world.administrator_token(""));
    let mut client = AuthMethodServiceClient::new(administrator.channel());
    let get = pb::GetAuthMethodRequest {
        name: "authMethods/stale".to_owned(),
    };
    let read = world
        .block_on(client.get_auth_method(administrator.request(get)))
        .unwrap();
    let read = read.into_inner().auth_method.unwrap();
    let mut update = |description: &str| {
        let message = pb::UpdateAuthMethodRequest {
            auth_method: Some(pb::AuthMethod {
                description: Some(description.to_owned()),
                ..read.clone()
            }),
            ..pb::UpdateAuthMethodRequest::default()
        };
        world.block_on(client.update_auth_method(administrator.request(message)))
    };
    update("first").unwrap();
    let failure = Failure::from(update("second").unwrap_err());
    assert_eq!(
        (failure.code, failure.reason),
        (Code::Aborted, Some(Reason::EtagMismatch))
    );
    let etags = failure.etags.unwrap();
    assert_eq!(etags.yours, read.meta.unwrap().etag);
    let stored = world.admin.json(&["get-auth-method", "-n", "stale"]);
    assert_eq!(stored["description"], "first");
    assert_eq!(stored["meta"]["etag"], etags.current.as_str());
}

#[test]
fn administrators_who_write_at_once_lose_no_write_silently() {
    let world = World::shared();
    world.route("busy");
    let update = ["update-auth-method-k8s", "-n", "busy", "--bound-ips"];
    let config = [
        "gateway-update-k8s-auth-config",
        "-n",
        "busy",
        "--token-exp",
    ];
    for args in [&update[..], &config[..]] {
        let outputs: Vec<_> = std::thread::scope(|scope| {
            let world = &world;
            let writer = |i: usize| {
                let value = if args[0] == update[0] {
                    format!("10.0.0.{i}")
                } else {
                    (100 + i).to_string()
                };
                scope.spawn(move || (value.clone(), world.admin.run(&[args, &[&value]].concat())))
            };
            let writers: Vec<_> = (0..6).map(writer).collect();
            writers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        let mut written = Vec::new();
        for (value, output) in outputs {
            match output.code {
                0 => written.push(value),
                5 => drop(output.fails(5, &["somebody else changed it meanwhile"])),
                code => panic!("{code}: {}", output.stderr),
            }
        }
        assert!(!written.is_empty());
        let get = if args[0] == update[0] {
            "get-auth-method"
        } else {
            "gateway-get-k8s-auth-config"
        };
        let stored = world.admin.json(&[get, "-n", "busy"]).to_string();
        assert_eq!(
            written
                .iter()
                .filter(|value| stored.contains(value.as_str()))
                .count(),
            1
        );
        let events = world.admin.json(&["audit", "list", "--limit", "500"]);
        let events = events["audit_events"].as_array().unwrap();
        let has = |value: &&String| {
            events
                .iter()
                .any(|e| e["after_json"].as_str().unwrap().contains(value.as_str()))
        };
        assert_eq!(
            written.iter().filter(has).count(),
            written.len(),
            "each write is in the audit"
        );
    }
}

async fn disable(caller: &Caller, etag: &str) -> Result<pb::K8sAuthConfig, Failure> {
    let message = pb::UpdateK8sAuthConfigRequest {
        k8s_auth_config: Some(pb::K8sAuthConfig {
            name: "k8sAuthConfigs/race".to_owned(),
            meta: Some(pb::ResourceMeta {
                etag: etag.to_owned(),
                ..pb::ResourceMeta::default()
            }),
            disabled: Some(true),
            ..pb::K8sAuthConfig::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["disabled".to_owned()],
        }),
        ..pb::UpdateK8sAuthConfigRequest::default()
    };
    let mut client = K8sAuthConfigServiceClient::new(caller.channel());
    let answer = client.update_k8s_auth_config(caller.request(message)).await;
    let answer = answer.map_err(Failure::from)?.into_inner();
    Ok(answer.k8s_auth_config.unwrap_or_default())
}

const PUT_BACK: [&str; 2] = [
    "DELETE FROM k8s_auth_configs",
    "INSERT INTO k8s_auth_configs SELECT * FROM older",
];

fn put_back(world: &World) {
    for statement in PUT_BACK {
        world.sql(statement);
    }
}

/// The gateway reads what is stored; before it hears the answer, it hears of a newer box.
#[test]
fn a_config_that_another_wrote_meanwhile_is_aborted_or_written_anew_and_only_one_put_back_is_broken()
 {
    let runtime = Runtime::new().unwrap();
    let Some(postgres) = runtime.block_on(Postgres::shared()) else {
        return;
    };
    let database = runtime.block_on(postgres.database());
    let world = World::with(StackOptions {
        database_url: Some(database.url().to_owned()),
        ..StackOptions::default()
    });
    world.route("race");
    let etag = || {
        let get = ["gateway-get-k8s-auth-config", "-n", "race"];
        world.admin.json(&get)["meta"]["etag"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = etag();
    world.sql("CREATE TABLE older AS SELECT * FROM k8s_auth_configs");
    let update = ["gateway-update-k8s-auth-config", "-n", "race"];
    world
        .admin
        .ok(&[&update[..], &["--token-exp=100"]].concat());
    let second = etag();
    world.sql("CREATE TABLE newer AS SELECT * FROM k8s_auth_configs");
    put_back(&world);
    let caller = world.gateway().with(&world.administrator_token("default"));
    let broken = world.block_on(disable(&caller, "*")).unwrap_err();
    assert_eq!(broken.reason, Some(Reason::SealBroken), "{broken}");

    let overtaken = |etag: &str| {
        put_back(&world);
        let mut other = world
            .block_on(PgConnection::connect(database.url()))
            .unwrap();
        let mut run = |sql: &'static str| {
            world
                .block_on(sqlx::raw_sql(sql).execute(&mut other))
                .unwrap();
        };
        // The record of the gateway's read waits, and its answer for that.
        run("BEGIN; LOCK TABLE audit_events IN SHARE MODE");
        let (handle, caller, etag) = (world.handle(), caller.clone(), etag.to_owned());
        let writer = std::thread::spawn(move || handle.block_on(Box::pin(disable(&caller, &etag))));
        let mut looks = world.database();
        eventually("the read", Duration::from_secs(10), || {
            let reading = "SELECT COUNT(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'
                           AND query LIKE 'INSERT INTO audit_events%'";
            (world.block_on(looks.count(reading)) == 1).then_some(())
        });
        run(
            "DELETE FROM k8s_auth_configs; INSERT INTO k8s_auth_configs SELECT * FROM newer; COMMIT",
        );
        writer.join().unwrap()
    };
    let aborted = overtaken(&first).unwrap_err();
    assert_eq!(aborted.code, Code::Aborted, "{aborted}");
    let etags = aborted.etags.unwrap();
    assert_eq!((etags.yours, etags.current), (first, second));
    let written = overtaken("*").unwrap();
    assert_eq!(written.disabled, Some(true));
    assert_eq!(
        written.token_exp.map(|exp| exp.seconds),
        Some(100),
        "on what the other wrote"
    );
}
