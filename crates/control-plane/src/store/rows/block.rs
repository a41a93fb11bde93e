//! `blocks`.

use postern_core::subject::Subject;

use super::{Inconsistent, RowOf};
use crate::store::{Block, BlockCursor, Blocked};

#[derive(sqlx::FromRow)]
pub(in crate::store) struct BlockRow {
    key: String,
    config_uid: String,
    config: String,
    reason: String,
    access_id: String,
    end_time: Option<i64>,
    create_time: i64,
}

impl BlockRow {
    /// Of its texts, about.
    pub(in crate::store) fn weight(&self) -> usize {
        self.key.len() + self.config.len() + self.reason.len() + 100
    }

    pub(in crate::store) fn cursor(&self) -> BlockCursor {
        BlockCursor {
            key: self.key.clone(),
            config_uid: self.config_uid.clone(),
        }
    }
}

impl TryFrom<BlockRow> for Block {
    type Error = Inconsistent;

    fn try_from(row: BlockRow) -> Result<Self, Self::Error> {
        let at = RowOf {
            table: "blocks",
            key: &row.key,
        };
        let config = Some(row.config.as_str()).filter(|config| !config.is_empty());
        Ok(Self {
            blocked: Blocked {
                subject: at.some("key", subject(&row.key))?,
                config: config
                    .map(|config| at.parsed("config", config))
                    .transpose()?,
            },
            reason: row.reason.clone(),
            end_time: at.time_or_none("end_time", row.end_time)?,
            create_time: at.time("create_time", row.create_time)?,
            access_id: row.access_id.clone(),
        })
    }
}

fn subject(key: &str) -> Option<Subject> {
    let (kind, named) = key.split_once(':')?;
    match kind {
        "pod" => named.parse().ok().map(Subject::Pod),
        "service_account" => named.parse().ok().map(Subject::ServiceAccount),
        "service_account_uid" => named.parse().ok().map(Subject::ServiceAccountUid),
        _ => None,
    }
}
