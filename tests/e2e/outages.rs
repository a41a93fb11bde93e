//! PostgreSQL, stopped and started again under load.

use std::time::Duration;

use postern_dev::StackOptions;
use test_support::postgres::{Postgres, PrivatePostgres, StopMode};
use tokio::runtime::Runtime;

use crate::resilience::known;
use crate::support::{Cli, Load, World};

#[test]
fn while_postgresql_is_away_a_login_succeeds_or_is_unavailable_and_leaves_no_token_behind() {
    let runtime = Runtime::new().unwrap();
    let Some(postgres) = runtime.block_on(PrivatePostgres::start()) else {
        return;
    };
    let database = runtime.block_on(postgres.database());
    let world = World::with(StackOptions {
        database_url: Some(database.url().to_owned()),
        ..StackOptions::default()
    });
    let method = world.route("outage");
    world.token(&method);
    let mut before = 1;
    for mode in [StopMode::Immediate, StopMode::Fast] {
        let load = Load::start(&world, &method, 3);
        std::thread::sleep(Duration::from_millis(300));
        runtime.block_on(postgres.stop(mode));
        let token = world.pod_token("mypod1");
        let login = [
            "auth",
            "-i",
            &method.access_id,
            "--k8s-auth-config-name",
            "outage",
            "--timeout=1s",
        ];
        let login = [&login[..], &["--k8s-service-account-token", &token]].concat();
        let stderr = world.pod.run(&login).fails(3, &[]);
        assert!(!stderr.contains("refused (request"), "{stderr}");
        runtime.block_on(postgres.start_again());
        world.token(&method);
        let tokens = load.stop();
        known(&world, &tokens);

        let mut rows = world.database();
        let mut count = |sql: &str| world.block_on(rows.count(sql));
        let issued = count("SELECT count(*) FROM tokens WHERE kind = 'kubernetes'");
        let granted = count("SELECT count(*) FROM audit_events WHERE event = 'login.granted'");
        assert_eq!(issued, granted, "a token and its record are one");
        assert!(issued >= before + 1 + i64::try_from(tokens.len()).unwrap());
        assert_eq!(
            count("SELECT count(*) FROM audit_events WHERE event = 'login.denied'"),
            0
        );
        before = issued;
    }
}

#[test]
fn a_database_that_isnt_there_is_a_fault_of_the_command_line_and_not_waited_for() {
    let runtime = Runtime::new().unwrap();
    let Some(postgres) = runtime.block_on(Postgres::shared()) else {
        return;
    };
    let database = runtime.block_on(postgres.database());
    let name = database.url().split(['/', '?']).nth(3).unwrap();
    let url = database.url().replace(name, "elsewhere");
    let cli = Cli::new();
    cli.ok(&["init", "d", "--api-server=https://10.0.0.1:6443"]);
    let serve = [
        "control-plane",
        "serve",
        "--listen=127.0.0.1:0",
        "--key-file=d/control-plane/keys",
        "--bootstrap=d/control-plane/bootstrap.json",
        "--database-url",
        &url,
    ];
    let output = cli.run(&serve);
    assert_eq!(output.code, 2, "{}", output.stderr);
    let says = "error: --database-url: the database doesn't let the control plane in: \
                database \"elsewhere\" does not exist";
    assert!(output.stderr.contains(says), "{}", output.stderr);
}
