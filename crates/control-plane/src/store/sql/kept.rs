//! Connections that one kind of work keeps for itself.
//!
//! The pool asks the database whether a connection is there each time that it gives it out and each
//! time that it takes it back, and gives out the one that has rested longest, which knows none of
//! the statements. A batch of logins shouldn't pay for either.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Pool;
use sqlx::pool::PoolConnection;

use super::super::KEEPS_CONNECTIONS;
use super::Db;
use crate::store::StoreError;
use crate::store::patience::{in_time, timed_out};

/// How long work may take on a connection: a little longer than the database lets a statement.
const PATIENCE: Duration = Duration::from_secs(7);

pub(super) struct Kept {
    pool: Pool<Db>,
    resting: Mutex<Vec<PoolConnection<Db>>>,
}

/// A connection for a while. One that isn't given back goes to the pool, which rolls back and looks
/// whether it is good.
pub(super) struct Lent {
    pub(super) connection: PoolConnection<Db>,
    /// It was kept, and nobody has looked whether it is still there.
    pub(super) rested: bool,
}

// === impl Kept ===

impl Kept {
    pub(super) fn new(pool: Pool<Db>) -> Self {
        Self {
            pool,
            resting: Mutex::default(),
        }
    }

    /// Where work on a connection isn't done in time, the others that rest may be as dead.
    pub(super) fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let done = in_time(PATIENCE, work);
        async move {
            done.await.unwrap_or_else(|| {
                self.lock().clear();
                Err(timed_out())
            })
        }
    }

    pub(super) async fn take(&self) -> Result<Lent, StoreError> {
        let kept = self.lock().pop();
        match kept {
            Some(connection) => Ok(Lent {
                connection,
                rested: true,
            }),
            None => self.fresh().await,
        }
    }

    /// From the pool, which has looked whether it is there.
    pub(super) async fn fresh(&self) -> Result<Lent, StoreError> {
        Ok(Lent {
            connection: self.pool.acquire().await?,
            rested: false,
        })
    }

    /// After work that was done whole.
    pub(super) fn give_back(&self, lent: Lent) {
        if KEEPS_CONNECTIONS {
            self.lock().push(lent.connection);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PoolConnection<Db>>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
