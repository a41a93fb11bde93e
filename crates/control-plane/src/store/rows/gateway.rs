//! `gateways`.

use postern_core::meta::Stored;

use super::{Inconsistent, RowOf};
use crate::store::Gateway;

#[derive(sqlx::FromRow)]
pub(in crate::store) struct GatewayRow {
    uid: String,
    name: String,
    access_id: String,
    url: String,
    description: String,
    disabled: bool,
    revision: i64,
    create_time: i64,
    update_time: i64,
}

impl TryFrom<GatewayRow> for Stored<Gateway> {
    type Error = Inconsistent;

    fn try_from(row: GatewayRow) -> Result<Self, Self::Error> {
        let at = RowOf {
            table: "gateways",
            key: &row.uid,
        };
        Ok(Self {
            value: Gateway {
                name: at.parsed("name", &row.name)?,
                uid: at.parsed("uid", &row.uid)?,
                access_id: at.parsed("access_id", &row.access_id)?,
                url: row.url.clone(),
                description: row.description.clone(),
                disabled: row.disabled,
            },
            revision: row.revision,
            create_time: at.time("create_time", row.create_time)?,
            update_time: at.time("update_time", row.update_time)?,
        })
    }
}
