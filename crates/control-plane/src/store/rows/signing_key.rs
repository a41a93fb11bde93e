//! `signing_keys`.

use postern_core::key::PublicKey;
use postern_core::seal::Sealed;
use postern_core::signing_key::{PublishedKey, Stage, State};

use super::{Inconsistent, RowOf};
use crate::store::{BoxedKey, Signer};

#[derive(sqlx::FromRow)]
pub(in crate::store) struct SigningKeyRow {
    key_id: String,
    state: String,
    public_key: String,
    sealed: Vec<u8>,
    seal_key_id: String,
    create_time: i64,
    activate_time: Option<i64>,
    retire_time: Option<i64>,
    remove_time: Option<i64>,
}

#[derive(sqlx::FromRow)]
pub(in crate::store) struct SignerRow {
    key_id: String,
    sealed: Vec<u8>,
    seal_key_id: String,
}

impl TryFrom<SigningKeyRow> for BoxedKey {
    type Error = Inconsistent;

    fn try_from(row: SigningKeyRow) -> Result<Self, Self::Error> {
        let at = at(&row.key_id);
        let key = PublicKey::parse(&row.public_key).map_err(|_| at.fault("public_key"))?;
        // The ID is what a token names the key by: it must be this key's and no other's.
        if key.id().as_str() != row.key_id {
            return Err(at.fault("key_id"));
        }
        let time = |column, micros: Option<i64>| {
            at.some(column, micros)
                .and_then(|micros| at.time(column, micros))
        };
        let stage = match at.parsed("state", &row.state)? {
            State::Prepared => Stage::Prepared,
            State::Active => Stage::Active {
                since: time("activate_time", row.activate_time)?,
            },
            State::Retired => Stage::Retired {
                activated: time("activate_time", row.activate_time)?,
                at: time("retire_time", row.retire_time)?,
                until: time("remove_time", row.remove_time)?,
            },
        };
        Ok(Self {
            published: PublishedKey {
                key,
                stage,
                create_time: at.time("create_time", row.create_time)?,
            },
            sealed: Sealed {
                key_id: at.parsed("seal_key_id", &row.seal_key_id)?,
                bytes: row.sealed,
            },
        })
    }
}

impl TryFrom<SignerRow> for Signer {
    type Error = Inconsistent;

    fn try_from(row: SignerRow) -> Result<Self, Self::Error> {
        let at = at(&row.key_id);
        Ok(Self {
            key_id: at.parsed("key_id", &row.key_id)?,
            sealed: Sealed {
                key_id: at.parsed("seal_key_id", &row.seal_key_id)?,
                bytes: row.sealed,
            },
        })
    }
}

fn at(key_id: &str) -> RowOf<'_> {
    RowOf {
        table: "signing_keys",
        key: key_id,
    }
}
