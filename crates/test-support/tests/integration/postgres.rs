use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use test_support::chaos::ChaosProxy;
use test_support::leaks::LeakSearch;
use test_support::postgres::{Postgres, PrivatePostgres, StopMode};

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn notes(url: &str) -> Vec<String> {
    let query = sqlx::query_scalar("SELECT note FROM notes ORDER BY note");
    query.fetch_all(&mut connect(url).await).await.unwrap()
}

async fn with_note(url: &str, note: &str) {
    let mut connection = connect(url).await;
    connection
        .execute("CREATE TABLE notes (note text, bytes bytea)")
        .await
        .unwrap();
    let insert = sqlx::query("INSERT INTO notes VALUES ($1, $2)")
        .bind(note)
        .bind(note.as_bytes());
    insert.execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn each_test_has_its_own_database() {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let (first, second) = (postgres.database().await, postgres.database().await);

    with_note(first.url(), "first").await;
    with_note(second.url(), "second").await;

    assert_eq!(notes(first.url()).await, ["first"]);
    assert_eq!(notes(second.url()).await, ["second"]);
}

#[tokio::test]
async fn writes_are_durable() {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let database = postgres.database().await;

    let fsync: String = sqlx::query_scalar("SHOW fsync")
        .fetch_one(&mut connect(database.url()).await)
        .await
        .unwrap();

    assert_eq!(fsync, "on");
}

#[tokio::test]
async fn contents_show_every_table_for_a_search() {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let database = postgres.database().await;
    with_note(database.url(), "a-secret-that-must-not-be-stored").await;
    let mut search = LeakSearch::new();
    search.secret("secret", "a-secret-that-must-not-be-stored");

    let leaks = search.search("database", database.contents().await);

    assert_eq!(leaks.len(), 2, "once as text, once as bytes: {leaks:?}");
}

#[tokio::test]
async fn a_database_on_a_given_server_is_dropped_though_it_is_in_use() {
    let Some(private) = PrivatePostgres::start().await else {
        return;
    };
    let home = private.database().await;
    let given = Postgres::at(home.url());
    let database = given.database().await;
    let url = database.url().to_owned();
    let _in_use = connect(&url).await;

    drop(database);

    let error = PgConnection::connect(&url).await.unwrap_err().to_string();
    assert!(error.contains("does not exist"), "{error}");
    connect(home.url()).await;
}

#[tokio::test]
async fn a_stopped_server_keeps_what_was_committed() {
    let Some(postgres) = PrivatePostgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    with_note(database.url(), "committed").await;

    for mode in [StopMode::Fast, StopMode::Immediate] {
        let mut open = connect(database.url()).await;
        open.execute("BEGIN; INSERT INTO notes VALUES ('not committed')")
            .await
            .unwrap();
        postgres.stop(mode).await;

        assert!(PgConnection::connect(database.url()).await.is_err());
        assert!(open.execute("COMMIT").await.is_err());
        postgres.start_again().await;

        assert_eq!(notes(database.url()).await, ["committed"], "{mode:?}");
    }
    let log = std::fs::read_to_string(postgres.log_file()).unwrap();
    assert!(log.contains("was not properly shut down"), "{log}");
}

#[tokio::test]
async fn a_proxy_reaches_the_server() {
    let Some(postgres) = PrivatePostgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    with_note(database.url(), "note").await;
    let proxy = ChaosProxy::start(postgres.upstream()).await;
    let url = postgres.url_via(&database, proxy.address());

    assert_eq!(notes(&url).await, ["note"]);
    let mut connection = connect(&url).await;
    proxy.cut();

    assert!(connection.execute("SELECT 1").await.is_err());
}

#[tokio::test]
async fn dropping_a_server_removes_it() {
    let Some(postgres) = PrivatePostgres::start().await else {
        return;
    };
    let (folder, pid) = (postgres.socket_dir().to_owned(), server_pid(&postgres));
    assert!(is_running(&pid));

    drop(postgres);

    assert!(!folder.exists() && !is_running(&pid));
}

/// The server's PID as it says itself.
fn server_pid(postgres: &PrivatePostgres) -> String {
    let file = std::fs::read_to_string(postgres.data_dir().join("postmaster.pid")).unwrap();
    file.lines().next().unwrap().to_owned()
}

/// Whether the process can still do anything: one that waits to be reaped can't.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| !state.starts_with('Z'))
}

const VICTIM_VARIABLE: &str = "TEST_SUPPORT_VICTIM";

/// Does nothing unless the test below runs it in a process of its own, to be killed.
#[tokio::test]
async fn victim_with_a_server() {
    if std::env::var_os(VICTIM_VARIABLE).is_none() {
        return;
    }
    let Some(postgres) = PrivatePostgres::start().await else {
        return;
    };
    let folder = postgres.socket_dir().display();
    let said = format!(
        "
victim {folder} {}
",
        server_pid(&postgres)
    );
    std::io::stdout().write_all(said.as_bytes()).unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_killed_test_process_takes_its_server_along() {
    let test = ["--exact", "postgres::victim_with_a_server", "--nocapture"];
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(test)
        .env(VICTIM_VARIABLE, "1")
        .env_remove("POSTERN_TEST_REQUIRE_POSTGRES")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let said = lines
        .map(|line| line.trim().to_owned())
        .find(|line| line.starts_with("victim "));
    let Some(said) = said else {
        // No server is installed: the other tests say so.
        victim.wait().unwrap();
        return;
    };
    let [_, folder, pid] = said.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{said}");
    };
    assert!(Path::new(folder).exists() && is_running(pid));

    victim.kill().unwrap();
    victim.wait().unwrap();

    let deadline = Instant::now() + Duration::from_secs(20);
    while Path::new(folder).exists() || is_running(pid) {
        assert!(
            Instant::now() < deadline,
            "{folder} or process {pid} is left"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
