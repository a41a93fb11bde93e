//! `tokens`, as administrators see them.

use postern_core::resource_id::ConfigName;

use super::{Inconsistent, RowOf};
use crate::store::LiveToken;

#[derive(sqlx::FromRow)]
pub(in crate::store) struct LiveTokenRow {
    accessor: String,
    kind: String,
    access_id: String,
    namespace: Option<String>,
    service_account_name: Option<String>,
    service_account_uid: Option<String>,
    pod_uid: Option<String>,
    sub_claims: String,
    issue_time: i64,
    expire_time: i64,
    max_expire_time: Option<i64>,
    // Absent where what the token refers to is gone.
    config: Option<String>,
    gateway: Option<String>,
}

impl LiveTokenRow {
    /// Of its texts, about.
    pub(in crate::store) fn weight(&self) -> usize {
        self.sub_claims.len() + 600
    }
}

impl TryFrom<LiveTokenRow> for LiveToken {
    type Error = Inconsistent;

    fn try_from(row: LiveTokenRow) -> Result<Self, Self::Error> {
        let at = RowOf {
            table: "tokens",
            key: &row.accessor,
        };
        let gateway = row.gateway.as_deref();
        let gateway = gateway
            .map(|name| at.parsed("gateway_uid", name))
            .transpose()?;
        let config = match (&row.config, &gateway) {
            (Some(id), Some(gateway)) => Some(ConfigName {
                gateway: Clone::clone(gateway),
                id: at.parsed("config_uid", id)?,
            }),
            _ => None,
        };
        Ok(Self {
            accessor: at.parsed("accessor", &row.accessor)?,
            config,
            gateway,
            sub_claims: at.json("sub_claims", &row.sub_claims)?,
            issue_time: at.time("issue_time", row.issue_time)?,
            expire_time: at.time("expire_time", row.expire_time)?,
            max_expire_time: at.time_or_none("max_expire_time", row.max_expire_time)?,
            kind: row.kind,
            access_id: row.access_id,
            namespace: row.namespace.unwrap_or_default(),
            service_account_name: row.service_account_name.unwrap_or_default(),
            service_account_uid: row.service_account_uid.unwrap_or_default(),
            pod_uid: row.pod_uid.unwrap_or_default(),
        })
    }
}
