//! `signing_keys`.

use jiff::Timestamp;
use postern_core::audit::EventKind;
use postern_core::key::KeyId;
use postern_core::signing_key::{MAX_KEYS, Stage, StepRefused};

use super::{ConfigWrite, Connection, Engine};
use crate::store::rows::{SignerRow, SigningKeyRow};
use crate::store::signing::name;
use crate::store::time::micros;
use crate::store::{BoxedKey, Cause, Intent, Signer, StoreError, WriteError, document};

/// Those that can still verify something.
async fn all(connection: &mut Connection, now: Timestamp) -> Result<Vec<BoxedKey>, StoreError> {
    let rows: Vec<SigningKeyRow> = sqlx::query_as(
        "SELECT * FROM signing_keys WHERE remove_time IS NULL OR remove_time > $1
         ORDER BY CASE state WHEN 'active' THEN 0 ELSE 1 END, create_time DESC, key_id",
    )
    .bind(micros(now))
    .fetch_all(connection)
    .await?;
    let keys: Result<_, _> = rows.into_iter().map(BoxedKey::try_from).collect();
    Ok(keys?)
}

/// The key that signs.
pub(super) async fn signer(connection: &mut Connection) -> Result<Option<Signer>, StoreError> {
    let row: Option<SignerRow> = sqlx::query_as(
        "SELECT key_id, sealed, seal_key_id FROM signing_keys WHERE state = 'active'",
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Signer::try_from).transpose()?)
}

impl Engine {
    pub(in crate::store) async fn signing_keys(
        &self,
        now: Timestamp,
    ) -> Result<Vec<BoxedKey>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        all(&mut connection, now).await
    }

    pub(in crate::store) async fn signing_key(
        &self,
        id: &KeyId,
        now: Timestamp,
    ) -> Result<Option<BoxedKey>, StoreError> {
        let row: Option<SigningKeyRow> = sqlx::query_as(
            "SELECT * FROM signing_keys
             WHERE key_id = $1 AND (remove_time IS NULL OR remove_time > $2)",
        )
        .bind(id.as_str())
        .bind(micros(now))
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(BoxedKey::try_from).transpose()?)
    }

    pub(in crate::store) async fn first_signing_key(
        &self,
        key: &BoxedKey,
        cause: &Cause,
    ) -> Result<(), WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        if signer(write.connection()).await?.is_some() {
            return Ok(());
        }
        insert(&mut write, key).await?;
        record(&mut write, EventKind::SigningKeyActivated, None, Some(key));
        write.commit(Intent::Write).await
    }

    pub(in crate::store) async fn prepare_signing_key(
        &self,
        key: &BoxedKey,
        cause: &Cause,
    ) -> Result<Result<(), StepRefused>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let now = write.now();
        if all(write.connection(), now).await?.len() >= MAX_KEYS {
            return Ok(Err(StepRefused::TooMany));
        }
        insert(&mut write, key).await?;
        record(&mut write, EventKind::SigningKeyPrepared, None, Some(key));
        write.commit(Intent::Write).await.map(Ok)
    }

    pub(in crate::store) async fn activate_signing_key(
        &self,
        id: &KeyId,
        force: bool,
        cause: &Cause,
    ) -> Result<Result<BoxedKey, StepRefused>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let now = write.now();
        let keys = all(write.connection(), now).await?;
        let before = of(&keys, id)?.clone();
        let mut after = before.clone();
        if let Err(refused) = after.published.activate(force, now) {
            return Ok(Err(refused));
        }
        if after == before {
            return Ok(Ok(after));
        }
        // The one before first: two that sign are refused by the database.
        for signing in keys {
            let mut retired = signing.clone();
            retired.published.replaced(now);
            if retired != signing {
                update(&mut write, &retired).await?;
                write.touch_signing_key(name(retired.published.key.id()));
            }
        }
        update(&mut write, &after).await?;
        let kind = EventKind::SigningKeyActivated;
        record(&mut write, kind, Some(&before), Some(&after));
        write.commit(Intent::Write).await?;
        Ok(Ok(after))
    }

    pub(in crate::store) async fn retire_signing_key(
        &self,
        id: &KeyId,
        force: bool,
        cause: &Cause,
    ) -> Result<Result<(), StepRefused>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let now = write.now();
        let keys = all(write.connection(), now).await?;
        let key = of(&keys, id)?;
        if let Err(refused) = key.published.remove(force) {
            return Ok(Err(refused));
        }
        sqlx::query("DELETE FROM signing_keys WHERE key_id = $1")
            .bind(id.as_str())
            .execute(write.connection())
            .await?;
        record(&mut write, EventKind::SigningKeyRetired, Some(key), None);
        write.commit(Intent::Write).await.map(Ok)
    }
}

fn of<'k>(keys: &'k [BoxedKey], id: &KeyId) -> Result<&'k BoxedKey, WriteError> {
    let found = keys.iter().find(|key| key.published.key.id() == id);
    found.ok_or(WriteError::NotFound)
}

/// Its change and its record.
fn record(
    write: &mut ConfigWrite<'_>,
    kind: EventKind,
    before: Option<&BoxedKey>,
    after: Option<&BoxedKey>,
) {
    let Some(key) = after.or(before) else {
        return;
    };
    let name = name(key.published.key.id());
    write.touch_signing_key(name.clone());
    write.record(kind, name, |event| {
        event.before = before.and_then(document::signing_key);
        event.after = after.and_then(document::signing_key);
    });
}

async fn insert(write: &mut ConfigWrite<'_>, key: &BoxedKey) -> Result<(), WriteError> {
    let Times {
        activate,
        retire,
        remove,
    } = Times::of(key);
    let BoxedKey { published, sealed } = key;
    sqlx::query(
        "INSERT INTO signing_keys
             (key_id, state, public_key, sealed, seal_key_id, create_time, activate_time,
              retire_time, remove_time)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(published.key.id().as_str())
    .bind(published.stage.state().as_str())
    .bind(published.key.to_pem())
    .bind(&sealed.bytes)
    .bind(sealed.key_id.as_str())
    .bind(micros(published.create_time))
    .bind(activate)
    .bind(retire)
    .bind(remove)
    .execute(write.connection())
    .await?;
    Ok(())
}

async fn update(write: &mut ConfigWrite<'_>, key: &BoxedKey) -> Result<(), WriteError> {
    let Times {
        activate,
        retire,
        remove,
    } = Times::of(key);
    sqlx::query(
        "UPDATE signing_keys
         SET state = $2, activate_time = $3, retire_time = $4, remove_time = $5
         WHERE key_id = $1",
    )
    .bind(key.published.key.id().as_str())
    .bind(key.published.stage.state().as_str())
    .bind(activate)
    .bind(retire)
    .bind(remove)
    .execute(write.connection())
    .await?;
    Ok(())
}

/// As columns.
struct Times {
    activate: Option<i64>,
    retire: Option<i64>,
    remove: Option<i64>,
}

impl Times {
    fn of(key: &BoxedKey) -> Self {
        let (activate, retire, remove) = match key.published.stage {
            Stage::Prepared => (None, None, None),
            Stage::Active { since } => (Some(since), None, None),
            Stage::Retired {
                activated,
                at,
                until,
            } => (Some(activated), Some(at), Some(until)),
        };
        Self {
            activate: activate.map(micros),
            retire: retire.map(micros),
            remove: remove.map(micros),
        }
    }
}
