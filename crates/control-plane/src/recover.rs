//! A way in for whoever has the database and nothing else: lost keys, or an administrator who shut
//! everybody out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_core::access_id::{AccessId, AccessType, NoRandomness};
use postern_core::access_token::AccessKey;
use postern_core::clock::Clock;
use postern_core::permission::Permissions;
use postern_core::resource_id::ResourceId;
use postern_rpc::request_id::RequestId;
use uuid::Uuid;

use crate::store::{AuditSink, Cause, MethodRef, Recovery, Store, StoreError, WriteError};
use crate::{DatabaseUrl, audit};

/// Which administrator.
#[derive(Debug, Clone)]
pub enum Administrator {
    /// Made where there is none of that name.
    Named(ResourceId),
    /// Must be there.
    WithAccessId(AccessId),
}

/// A way in. Holds a secret: no `Debug`.
pub struct Recovered {
    /// The auth method's.
    pub name: ResourceId,
    pub access_id: AccessId,
    /// The only one that it has.
    pub access_key: AccessKey,
    /// It wasn't there before.
    pub created: bool,
    /// Finds the audit record.
    pub request_id: String,
    /// The audit records, as lines of a control plane's log.
    pub records: Vec<String>,
}

/// Why nobody was let in. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The database can't be used, or is another version's.
    #[error("{0}")]
    Database(
        String,
        #[source] Option<Box<dyn std::error::Error + Send + Sync>>,
    ),
    #[error("there is no auth method with that access ID")]
    NotFound,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// Makes the administrator, or opens the one that is there: enabled, without an end or bound
/// addresses, with a new key and no other. On record in the same transaction. Control planes may run
/// meanwhile.
///
/// # Errors
/// The database isn't there, isn't of this version, or has no such administrator.
pub async fn recover(
    database: &DatabaseUrl,
    administrator: &Administrator,
    clock: &Clock,
) -> Result<Recovered, RecoverError> {
    let records = Arc::new(Mutex::new(Vec::new()));
    let sink: AuditSink = {
        let records = Arc::clone(&records);
        Arc::new(move |event| lock(&records).extend(audit::text(event)))
    };
    let store = Store::connect_as_it_is(database, sink).await?;
    if store.deployment_id().await?.is_none() {
        let empty = "the database is empty: start a control plane with its bootstrap file first";
        return Err(RecoverError::Refused(empty.to_owned()));
    }
    let key = AccessKey::generate()?;
    let recovery = Recovery {
        method: match administrator {
            Administrator::Named(id) => MethodRef::Id(id.clone()),
            Administrator::WithAccessId(id) => MethodRef::AccessId(id.clone()),
        },
        new: (Uuid::now_v7(), AccessId::generate(AccessType::AccessKey)?),
        key: key.hash(),
    };
    let request_id = RequestId::generate().to_string();
    // Nobody called: whoever has the database did it.
    let cause = Cause {
        now: clock.now(),
        request_id: request_id.clone(),
        access_id: String::new(),
        accessor: String::new(),
        gateway: String::new(),
        caller_ip: None,
        user_agent: "postern recover-admin".to_owned(),
        permissions: Permissions::default(),
    };
    let (stored, created) = store.recover_admin(&recovery, &cause).await?;
    let records = std::mem::take(&mut *lock(&records));
    Ok(Recovered {
        name: stored.value.id,
        access_id: stored.value.access_id,
        access_key: key,
        created,
        request_id,
        records,
    })
}

fn lock(records: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<StoreError> for RecoverError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Schema(_) => Self::Database(error.to_string(), None),
            error => Self::Database("can't use the database".to_owned(), Some(error.into())),
        }
    }
}

impl From<WriteError> for RecoverError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NotFound => Self::NotFound,
            WriteError::Invalid(invalid) => Self::Refused(invalid.to_string()),
            WriteError::Store(error) => error.into(),
            error => Self::Refused(error.to_string()),
        }
    }
}
