//! A real PostgreSQL for tests, each test with its own database.
//!
//! [`Postgres::shared`] is one server a test process; [`PrivatePostgres::start`] is a server of the
//! test's own, to be stopped and started again. Both run on a unix socket in a folder of mode 0700,
//! with fsync on, and end with the test process, however that ends.

mod binaries;
mod cluster;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::chaos::Upstream;
use binaries::Binaries;
use cluster::Cluster;
pub use cluster::StopMode;

/// A server to use instead of a private one: `postgres://user:password@host:port/database`, whose
/// user may create databases.
pub const URL_VARIABLE: &str = "POSTERN_TEST_POSTGRES_URL";

/// Set to anything, it turns a missing PostgreSQL from a notice into a failure.
pub const REQUIRE_VARIABLE: &str = "POSTERN_TEST_REQUIRE_POSTGRES";

/// The server that all tests of a process share.
pub struct Postgres(Server);

enum Server {
    Given { url: String },
    Private(PrivatePostgres),
}

impl Postgres {
    /// The process's server, started at the first call (one to two seconds). `None` where none can
    /// be had: standard error then says that the test was left out, and with [`REQUIRE_VARIABLE`]
    /// it panics instead.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Postgres>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(Self::find).await.as_ref();
        if shared.is_none() {
            left_out("neither is POSTERN_TEST_POSTGRES_URL set nor is a server installed");
        }
        shared
    }

    async fn find() -> Option<Self> {
        if let Some(url) = std::env::var(URL_VARIABLE)
            .ok()
            .filter(|url| !url.is_empty())
        {
            return Some(Self::at(url));
        }
        let binaries = Binaries::find()?;
        Some(Self(Server::Private(PrivatePostgres::with(binaries).await)))
    }

    /// A server that runs already; see [`URL_VARIABLE`] for the form.
    pub fn at(url: impl Into<String>) -> Self {
        Self(Server::Given { url: url.into() })
    }

    /// A new, empty database. On a given server it is dropped with the value, with whatever is
    /// still connected to it; on a private one it goes with the server.
    pub async fn database(&self) -> TestDatabase {
        match &self.0 {
            Server::Private(private) => private.database().await,
            Server::Given { url } => {
                let mut database = create_database(url).await;
                database.drop_through = Some(url.clone());
                database
            }
        }
    }
}

/// A server of one test's own. Dropping it kills the server and removes its data.
pub struct PrivatePostgres {
    folder: PathBuf,
    cluster: Arc<Mutex<Cluster>>,
}

impl PrivatePostgres {
    /// Starts one from installed binaries, whatever [`URL_VARIABLE`] says. `None`, or a panic, as
    /// with [`Postgres::shared`].
    pub async fn start() -> Option<Self> {
        let Some(binaries) = Binaries::find() else {
            left_out("no server is installed, and it needs one of its own");
            return None;
        };
        Some(Self::with(binaries).await)
    }

    async fn with(binaries: Binaries) -> Self {
        let cluster = blocking(move || Cluster::create(binaries)).await;
        Self {
            folder: cluster.folder().to_owned(),
            cluster: Arc::new(Mutex::new(cluster)),
        }
    }

    /// A new, empty database that goes with the server.
    pub async fn database(&self) -> TestDatabase {
        let folder = self.folder.display();
        let url = format!("postgres:///postgres?host={folder}&port=5432&user=postgres");
        create_database(&url).await
    }

    /// Stops the server and waits until it is gone.
    pub async fn stop(&self, mode: StopMode) {
        let cluster = Arc::clone(&self.cluster);
        blocking(move || cluster.lock().expect("no panic while stopping").stop(mode)).await;
    }

    /// Starts the stopped server on the same data and the same socket, and waits until it answers.
    pub async fn start_again(&self) {
        let cluster = Arc::clone(&self.cluster);
        blocking(move || cluster.lock().expect("no panic while starting").start()).await;
    }

    /// Where a [`crate::chaos::ChaosProxy`] finds the server.
    pub fn upstream(&self) -> Upstream {
        Upstream::Unix(self.folder.join(".s.PGSQL.5432"))
    }

    /// The database's URL through a proxy that listens at `address`.
    pub fn url_via(&self, database: &TestDatabase, address: SocketAddr) -> String {
        format!(
            "postgres://postgres@{address}/{}?sslmode=disable",
            database.name
        )
    }

    /// The server's files: tables, indexes, write-ahead log.
    pub fn data_dir(&self) -> PathBuf {
        cluster::data_dir(&self.folder)
    }

    /// What the server logged, statements that failed included.
    pub fn log_file(&self) -> PathBuf {
        cluster::log_file(&self.folder)
    }

    /// The folder that holds the socket.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }
}

/// One test's database.
pub struct TestDatabase {
    name: String,
    url: String,
    drop_through: Option<String>,
}

impl TestDatabase {
    /// A URL that sqlx, and libpq's tools, take as it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every row of every table as text, for a search: bytes are in hexadecimal, and large values
    /// whole, while the files hold those compressed.
    pub async fn contents(&self) -> String {
        let mut connection = connect(&self.url).await;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
             WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        )
        .fetch_all(&mut connection)
        .await
        .expect("list tables");
        let mut contents = String::new();
        for table in tables {
            let rows = AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
            let rows: Vec<String> = sqlx::query_scalar(rows)
                .fetch_all(&mut connection)
                .await
                .expect("read table");
            contents.push_str(&format!("-- {table}\n{}\n", rows.join("\n")));
        }
        contents
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(url) = self.drop_through.take() else {
            return;
        };
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A thread, because a runtime can't be entered from within the test's own.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("runtime").block_on(execute(&url, statement));
        })
        .join();
        if dropped.is_err() && !std::thread::panicking() {
            panic!("the test database {} could not be dropped", self.name);
        }
    }
}

async fn create_database(admin_url: &str) -> TestDatabase {
    let name = format!("postern_test_{}", Uuid::new_v4().simple());
    // template0, since nobody can be connected to it, and copying a database in use fails.
    execute(
        admin_url,
        format!("CREATE DATABASE {name} TEMPLATE template0"),
    )
    .await;
    TestDatabase {
        url: with_database(admin_url, &name),
        name,
        drop_through: None,
    }
}

async fn execute(url: &str, statement: String) {
    let mut connection = connect(url).await;
    let done = connection.execute(AssertSqlSafe(statement)).await;
    done.expect("the test server's administrator may create and drop databases");
    connection.close().await.expect("close");
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url)
        .await
        .expect("connect to the test PostgreSQL")
}

fn with_database(url: &str, name: &str) -> String {
    let (base, query) = match url.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (url, String::new()),
    };
    let (scheme, rest) = base
        .split_once("://")
        .expect("a URL of the form postgres://…");
    let authority = rest.split('/').next().unwrap_or_default();
    format!("{scheme}://{authority}/{name}{query}")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

fn left_out(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    let notice = format!("*** PostgreSQL half of {test} LEFT OUT: {reason} ***\n");
    assert!(std::env::var_os(REQUIRE_VARIABLE).is_none(), "{notice}");
    // Not eprintln!, which the test harness swallows when the test passes.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), notice.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        let cases = [
            (
                "postgres://u:p@h:5433/main?sslmode=require",
                "postgres://u:p@h:5433/x?sslmode=require",
            ),
            ("postgres://u@h", "postgres://u@h/x"),
            (
                "postgres:///main?host=/run/pg",
                "postgres:///x?host=/run/pg",
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(with_database(given, "x"), expected);
        }
    }
}
