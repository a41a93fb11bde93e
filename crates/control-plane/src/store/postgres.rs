//! What is PostgreSQL's own.

#[path = "sql/mod.rs"]
mod sql;

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use postern_rpc::batches::Limits;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};

use super::hooks::Hooks;
use super::patience::in_time;
use super::{AuditSink, StoreError};

pub(super) use sql::Engine as Postgres;

type Db = sqlx::Postgres;

macro_rules! begin_login {
    () => {
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock_shared(7306086897)"
    };
}

/// The advisory lock that stands between writers of configuration and logins. Logins share it from
/// before they read rules until they commit, a writer takes it whole right before its own commit:
/// no login that read the old rules is open when the writer is answered. A lock on the rules' rows
/// would do the same, but each login would write to them, and a stream of logins starve the writer.
/// Each statement sees what was committed before it began, so that the lock comes in one of its own.
const BEGIN_LOGIN: &str = begin_login!();
/// The same for an exchange, which also reads the revision, once it has the lock.
const BEGIN_EXCHANGE: &str = concat!(begin_login!(), "; SELECT value FROM revision");
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Also wakes the other processes, once the commit is done.
const BEFORE_CONFIG_COMMIT: Option<&str> =
    Some("SELECT pg_advisory_xact_lock(7306086897); NOTIFY postern_revision");

/// No login is open once this is done, until the transaction ends.
const BETWEEN_LOGINS: Option<&str> = Some("SELECT pg_advisory_xact_lock(7306086897)");

/// One batch under way: a second one beside it would be two halves, and each way to the database
/// and back costs more than the wait for the first one's commit.
const BATCHES: Limits = Limits {
    eager: 1,
    workers: 4,
    questions: 32,
};
/// One statement can write several tables.
const WRITES_AT_ONCE: bool = true;
/// Those of logins: there are enough for everybody else.
const KEEPS_CONNECTIONS: bool = true;

const CHANNEL: &str = "postern_revision";
const MAX_CONNECTIONS: u32 = 20;
/// How long a call waits for a connection, then it is unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection that rested may take to say that it is there; then there is time to make
/// another.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// The same for one that is given back, perhaps in the middle of a statement. Nobody waits for it.
const FREE_WITHIN: Duration = Duration::from_secs(10);
/// How long the start waits for a server that isn't up yet.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_secs(1);
/// How long a look at the revision may take: a connection that nobody answers says nothing of it.
const LOOK: Duration = Duration::from_secs(5);

pub(super) async fn connect(
    options: &PgConnectOptions,
    sink: AuditSink,
) -> Result<Arc<Postgres>, StoreError> {
    let options = options.clone().application_name("postern-control-plane");
    migrate(&options).await?;
    open(options, sink).await
}

/// Takes the schema as it is, which must be this version's.
pub(super) async fn connect_as_it_is(
    options: &PgConnectOptions,
    sink: AuditSink,
) -> Result<Arc<Postgres>, StoreError> {
    let options = options.clone().application_name("postern-recover-admin");
    let engine = open(options, sink).await?;
    engine.check_schema(&migrator()).await?;
    Ok(engine)
}

async fn open(options: PgConnectOptions, sink: AuditSink) -> Result<Arc<Postgres>, StoreError> {
    // A server that hangs must not hold a login beyond its deadline, nor a dead client the locks.
    let options = options.statement_cache_capacity(sql::STATEMENTS).options([
        ("statement_timeout", "5s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, _| answers(connection, ANSWERS_WITHIN))
        .after_release(|connection, _| is_free(connection, FREE_WITHIN))
        .connect_with(options)
        .await?;
    let engine = Arc::new(Postgres::new(pool.clone(), pool.clone(), Hooks::new(sink)));
    tokio::spawn(follow(Arc::downgrade(&engine), pool));
    Ok(engine)
}

/// Whether anybody does. The pool's own question waits for ever where nobody does, and keeps the
/// connection's place in the pool.
fn answers(
    connection: &mut PgConnection,
    patience: Duration,
) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
    Box::pin(async move {
        match in_time(patience, connection.ping()).await {
            Some(answer) => answer.map(|()| true),
            None => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())),
        }
    })
}

/// Whether it can be given to others. A `BEGIN` that was given up before its answer has opened a
/// transaction that the pool knows nothing of, and what others did in it would be undone. Without
/// one there is nothing to roll back but this transaction itself.
fn is_free(
    connection: &mut PgConnection,
    patience: Duration,
) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
    Box::pin(async move {
        match in_time(patience, connection.execute("BEGIN; ROLLBACK")).await {
            Some(answer) => answer.map(|_| true),
            None => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())),
        }
    })
}

/// Under sqlx's advisory lock, on a connection without the timeouts of daily work.
async fn migrate(options: &PgConnectOptions) -> Result<(), StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(START_TIMEOUT)
        .connect_with(options.clone())
        .await?;
    let mut connection = pool.acquire().await?.detach();
    // What `run` ends up in; its own future can't be shown to be `Send`.
    let done = migrator().run_direct(None, &mut connection, false).await;
    // Closing also lets go of the lock, whatever happened.
    let _ = connection.close().await;
    pool.close().await;
    Ok(done?)
}

/// A schema that a newer version has brought further still works with this one.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../../migrations/postgres");
    migrator.set_ignore_missing(true);
    migrator
}

/// Looks at the revision each second, and at once where another process says that it changed.
/// Ends with the engine.
async fn follow(engine: Weak<Postgres>, pool: PgPool) {
    let mut listener = None;
    loop {
        let Some(alive) = engine.upgrade() else {
            return;
        };
        if listener.is_none() {
            let listening = tokio::time::timeout(LOOK, listen(&pool)).await;
            listener = listening.ok().and_then(Result::ok);
        }
        // A failure is met by whoever asks the database for something. Here it says that the
        // listener may be dead, too.
        let looked = tokio::time::timeout(LOOK, alive.current_revision()).await;
        if !matches!(looked, Ok(Ok(_))) {
            listener = None;
        }
        drop(alive);
        let woken = async {
            match &mut listener {
                Some(listening) => listening.recv().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        if let Ok(false) = tokio::time::timeout(POLL, woken).await {
            listener = None;
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
