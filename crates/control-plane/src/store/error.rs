//! What can go wrong between us and a database.

use std::sync::Arc;

use postern_core::invalid::Invalid;
use postern_core::permission::Permission;
use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;

use postern_rpc::batches::Gone;

use super::CantSign;

/// A database that didn't do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Unreachable, starting, stopping, overloaded or out of space. Nothing was kept, or it isn't
    /// known whether it was: the same call can be made again.
    #[error("the database is unavailable")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The server has started, and never reached its database so far.
    #[error("the database has not been reached yet")]
    NotOpen,
    /// A row that isn't a valid value.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
    /// A statement that the database refused: a fault of ours.
    #[error("the database refused a statement")]
    Driver(#[source] Arc<sqlx::Error>),
    /// The schema couldn't be brought up to date, or is newer than this program.
    #[error("the database's schema can't be used")]
    Migration(#[source] MigrateError),
    /// The schema isn't this version's, and was not to be changed.
    #[error("the database's schema {0}")]
    Schema(SchemaFault),
    /// The SQLite file couldn't be made.
    #[error("the database's file can't be used")]
    Setup(#[source] std::io::Error),
    /// A token that would have to be signed. Nothing was kept.
    #[error(transparent)]
    CantSign(#[from] CantSign),
}

/// How a schema differs from this version's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SchemaFault {
    #[error("isn't there: start a control plane on the database first")]
    Missing,
    #[error("is an older version's: start a control plane of this version first")]
    Older,
    #[error("is a newer version's: use that version's `postern`")]
    Newer,
}

/// A row that isn't a valid value: edited by hand, or written by a newer version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the row `{key}` of table `{table}` has no valid `{column}`")]
pub(crate) struct Inconsistent {
    /// Where it stands.
    pub(crate) table: &'static str,
    /// What is wrong.
    pub(crate) column: &'static str,
    /// Which row.
    pub(crate) key: String,
}

/// A write that didn't happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// What was to be changed, or what the new one belongs to, doesn't exist.
    #[error("not found")]
    NotFound,
    /// The name or the UID is taken.
    #[error("exists already")]
    Exists,
    /// Written by somebody else since it was read.
    #[error("was changed meanwhile")]
    Stale {
        /// Its revision now.
        current: i64,
    },
    /// Needed by these K8s auth configs, full names, 20 at most.
    #[error("is used by {}", .0.join(", "))]
    InUse(Vec<String>),
    /// A built-in role.
    #[error("is built in")]
    BuiltIn,
    /// Not to be deleted, with or without force.
    #[error("is protected from deletion")]
    Protected,
    /// It holds, or would give, what whoever asks doesn't hold.
    #[error("needs permissions that aren't held")]
    BeyondOwn(Vec<Permission>),
    /// The token of whoever asks ended before the write began.
    #[error("the caller's token doesn't count any more")]
    CallerGone {
        /// By a gateway, whose own token is another.
        relayed: bool,
    },
    /// Nobody would be left who can administer.
    #[error("leaves no administrator")]
    NoAdministratorLeft,
    /// As many access keys as can be good at a time.
    #[error("has two good access keys already")]
    KeyLimit,
    /// Doesn't fit what is stored.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The database's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// PostgreSQL's classes of SQLSTATE for credentials and the database's name.
const NOT_ADMITTED: [&str; 2] = ["28", "3D"];

// === impl StoreError ===

impl StoreError {
    /// The same for another call that it has failed.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Unavailable(fault) => Self::Unavailable(Arc::clone(fault)),
            Self::Driver(fault) => Self::Driver(Arc::clone(fault)),
            Self::Inconsistent(fault) => Self::Inconsistent(fault.clone()),
            Self::NotOpen => Self::NotOpen,
            Self::CantSign(why) => Self::CantSign(*why),
            Self::Migration(_) | Self::Schema(_) | Self::Setup(_) => {
                sqlx::Error::WorkerCrashed.into()
            }
        }
    }

    /// A row that can be there only once is there.
    pub(super) fn is_taken(&self) -> bool {
        let Self::Driver(error) = self else {
            return false;
        };
        error
            .as_database_error()
            .is_some_and(|error| error.is_unique_violation())
    }

    /// What the database says to whom it lets in under no circumstances: wrong password, no such
    /// role or database. Goes on until somebody changes it there or in the URL.
    pub(crate) fn not_admitted(&self) -> Option<String> {
        let Self::Unavailable(error) = self else {
            return None;
        };
        let error = error.as_database_error()?;
        let code = error.code()?;
        let admission = code.len() == 5 && NOT_ADMITTED.contains(&&code[..2]);
        admission.then(|| error.message().to_owned())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if may_pass(&error) {
            Self::Unavailable(Arc::new(error))
        } else {
            Self::Driver(Arc::new(error))
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
                if may_pass(&error) =>
            {
                Self::Unavailable(Arc::new(error))
            }
            error => Self::Migration(error),
        }
    }
}

impl From<Gone> for StoreError {
    fn from(_: Gone) -> Self {
        sqlx::Error::WorkerCrashed.into()
    }
}

fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(e) => is_temporary(e.as_ref()),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::BeginFailed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// By PostgreSQL's SQLSTATE (five characters) or SQLite's extended result code (decimal).
fn is_temporary(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else {
        return false;
    };
    if code.len() == 5 {
        // Connection, rollback by a conflict, resources, operator, system; a standby that can't be
        // written to; a lock not had in time.
        return NOT_ADMITTED.contains(&&code[..2])
            || ["08", "40", "53", "57", "58"].contains(&&code[..2])
            || ["25006", "55P03"].contains(&&*code);
    }
    // PERM, BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN: the low byte is the primary code.
    let primary = code.parse::<u32>().map(|code| code & 0xff);
    matches!(primary, Ok(3 | 5 | 6 | 8 | 10 | 13 | 14))
}

// === impl WriteError ===

impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            // Names are looked up first: this is whoever came second in the same moment.
            sqlx::Error::Database(e) if e.is_unique_violation() => Self::Exists,
            _ => Self::Store(error.into()),
        }
    }
}

impl From<Inconsistent> for WriteError {
    fn from(error: Inconsistent) -> Self {
        Self::Store(error.into())
    }
}
