//! What is SQLite's own.

#[path = "sql/mod.rs"]
mod sql;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};

use super::hooks::Hooks;
use super::{AuditSink, StoreError};
use postern_rpc::batches::Limits;

pub(super) use sql::Engine as Sqlite;

type Db = sqlx::Sqlite;

/// A transaction that writes takes the write lock before it reads: what it read still holds when it
/// commits, and it can't fail halfway because another one wrote.
const BEGIN_LOGIN: &str = "BEGIN IMMEDIATE";
const BEGIN_EXCHANGE: &str = "BEGIN IMMEDIATE; SELECT value FROM revision";
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
const BEGIN_READ: &str = "BEGIN DEFERRED";
const BEFORE_CONFIG_COMMIT: Option<&str> = None;

/// There is one writer at a time anyway.
const BETWEEN_LOGINS: Option<&str> = None;
const BATCHES: Limits = Limits {
    eager: 1,
    workers: 1,
    questions: 32,
};
const WRITES_AT_ONCE: bool = false;
/// There is only one to write with, and administrators must have their turn.
const KEEPS_CONNECTIONS: bool = false;

const READERS: u32 = 8;
/// How long a call waits for its turn, then it is unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it waits for another process's writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_secs(1);
/// How long a look at the revision may take.
const LOOK: Duration = Duration::from_secs(5);

pub(super) async fn connect(path: &Path, sink: AuditSink) -> Result<Arc<Sqlite>, StoreError> {
    prepare(path, &options(path)).await?;
    open(path, sink).await
}

/// Takes the schema as it is, which must be this version's, and makes no file.
pub(super) async fn connect_as_it_is(
    path: &Path,
    sink: AuditSink,
) -> Result<Arc<Sqlite>, StoreError> {
    let engine = open(path, sink).await?;
    engine.check_schema(&migrator()).await?;
    Ok(engine)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(sql::STATEMENTS)
}

async fn open(path: &Path, sink: AuditSink) -> Result<Arc<Sqlite>, StoreError> {
    let options = options(path);
    // SQLite has one writer at a time: waiting for the one connection is fair and costs nothing,
    // waiting for the file's lock is neither.
    let writer = pool(1)
        .after_release(|connection, _| Box::pin(async { Ok(is_free(connection).await) }))
        .connect_with(options.clone())
        .await?;
    let readers = pool(READERS).connect_with(options).await?;
    let engine = Arc::new(Sqlite::new(readers, writer, Hooks::new(sink)));
    tokio::spawn(follow(Arc::downgrade(&engine)));
    Ok(engine)
}

/// Whether it can be given to others, who would go on with what somebody began and never ended.
async fn is_free(connection: &mut SqliteConnection) -> bool {
    const NOTHING_TO_ROLL_BACK: &str = "no transaction is active";
    match connection.execute("ROLLBACK").await {
        Ok(_) => true,
        Err(error) => error
            .as_database_error()
            .is_some_and(|error| error.message().contains(NOTHING_TO_ROLL_BACK)),
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A connection is a file handle: there is nothing to lose by keeping it.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Makes the file and its schema, under a lock of our own: SQLite's can't be waited for while the
/// journal mode changes.
async fn prepare(path: &Path, options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let lock = lock(path.to_owned()).await.map_err(StoreError::Setup)?;
    create(path).map_err(StoreError::Setup)?;
    let options = options.clone().journal_mode(SqliteJournalMode::Wal);
    let mut connection = options.connect().await?;
    // What `run` ends up in; its own future can't be shown to be `Send`.
    let done = migrator().run_direct(None, &mut connection, false).await;
    connection.close().await?;
    drop(lock);
    Ok(done?)
}

/// A schema that a newer version has brought further still works with this one.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../../migrations/sqlite");
    migrator.set_ignore_missing(true);
    migrator
}

async fn lock(database: PathBuf) -> io::Result<File> {
    let mut path = database.into_os_string();
    path.push("-lock");
    let locked = tokio::task::spawn_blocking(move || {
        let file = private().create(true).truncate(false).open(path)?;
        file.lock()?;
        Ok(file)
    });
    locked.await.map_err(io::Error::other)?
}

/// SQLite gives the files that it makes beside this one the same mode. One that exists isn't even
/// opened: closing it would drop the locks that this process holds on it.
fn create(path: &Path) -> io::Result<()> {
    match private().create_new(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// The database holds hashes of tokens and who logs in where: for its owner only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Sees what another process wrote. Ends with the engine.
async fn follow(engine: Weak<Sqlite>) {
    while let Some(alive) = engine.upgrade() {
        // A failure is met by whoever asks the database for something.
        let _ = tokio::time::timeout(LOOK, alive.current_revision()).await;
        drop(alive);
        tokio::time::sleep(POLL).await;
    }
}
