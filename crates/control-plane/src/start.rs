//! The way to the database, which may come later than the server.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use postern_core::own_keys::OwnKeys;
use postern_rpc::http::Component;
use postern_rpc::server;
use uuid::Uuid;

use crate::bootstrap::{self, Bootstrap, BootstrapError};
use crate::context::Context;
use crate::signing_keys::{self, SigningKeysError};
use crate::store::{AuditSink, DatabaseUrl, Store, StoreError};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Why a control plane stopped other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Server(#[from] server::ServeError),
    /// What the database said: nothing of the URL.
    #[error("the database doesn't let the control plane in: {0}")]
    NotAdmitted(String),
    #[error("can't use the database")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    SigningKeys(#[from] SigningKeysError),
}

/// What a first connection needs.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(crate) url: DatabaseUrl,
    pub(crate) sink: AuditSink,
    pub(crate) bootstrap: Option<Bootstrap>,
}

/// Why a try came to nothing.
enum Failed {
    /// Another one may succeed.
    Away(StoreError),
    ForGood(ServeError),
}

// === impl Opening ===

impl Opening {
    /// Until the context's store is open: schema up to date, first start done if there was one to
    /// do. A database that is away is tried again, for as long as it takes.
    ///
    /// # Errors
    /// No other try could succeed.
    pub(crate) async fn run(self, context: Context, database: Component) -> Result<(), ServeError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self
                .clone()
                .once(Arc::clone(&context.keys), context.now())
                .await
            {
                Ok((store, deployment)) => {
                    // Nobody is answered from a database that has had no first start.
                    context.open(store, deployment);
                    return Ok(());
                }
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::Away(error)) if !self.url.may_be_away() => {
                    return Err(ServeError::Database(error.into()));
                }
                Err(Failed::Away(error)) => {
                    let cause = std::error::Error::source(&error);
                    tracing::warn!(%error, cause, "no database yet; trying again");
                    database.not_ready("the database has not been reached yet");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn once(self, keys: Arc<OwnKeys>, now: Timestamp) -> Result<(Store, Uuid), Failed> {
        let store = Store::connect(&self.url, self.sink).await?;
        let deployment = bootstrap::deployment(&store, self.bootstrap.as_ref(), now).await?;
        signing_keys::at_start(&store, &keys, deployment, now).await?;
        Ok((store, deployment))
    }
}

// === impl Failed ===

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        if let Some(said) = error.not_admitted() {
            return Self::ForGood(ServeError::NotAdmitted(said));
        }
        match error {
            StoreError::Unavailable(_) => Self::Away(error),
            error => Self::ForGood(ServeError::Database(error.into())),
        }
    }
}

impl From<BootstrapError> for Failed {
    fn from(error: BootstrapError) -> Self {
        match error {
            BootstrapError::Store(error) => match error.downcast::<StoreError>() {
                Ok(error) => (*error).into(),
                Err(error) => Self::ForGood(BootstrapError::Store(error).into()),
            },
            error => Self::ForGood(error.into()),
        }
    }
}

impl From<SigningKeysError> for Failed {
    fn from(error: SigningKeysError) -> Self {
        match error {
            SigningKeysError::Store(error) => match error.downcast::<StoreError>() {
                Ok(error) => (*error).into(),
                Err(error) => Self::ForGood(SigningKeysError::Store(error).into()),
            },
            error => Self::ForGood(error.into()),
        }
    }
}
