//! `gateway_instances`.

use super::{Inconsistent, RowOf};
use crate::store::Instance;

#[derive(sqlx::FromRow)]
pub(in crate::store) struct InstanceRow {
    gateway_uid: String,
    instance: String,
    version: String,
    address: Option<String>,
    revision: Option<i64>,
    seal_key_ids: String,
    start_time: i64,
    last_contact_time: i64,
}

impl InstanceRow {
    /// With the UID of its gateway.
    pub(in crate::store) fn instance(self) -> Result<(String, Instance), Inconsistent> {
        let at = RowOf {
            table: "gateway_instances",
            key: &self.instance,
        };
        let address = self.address.as_deref();
        let instance = Instance {
            id: at.parsed("instance", &self.instance)?,
            version: self.version.clone(),
            address: address.map(|ip| at.parsed("address", ip)).transpose()?,
            revision: self.revision,
            seal_key_ids: at.list("seal_key_ids", &self.seal_key_ids)?,
            start_time: at.time("start_time", self.start_time)?,
            last_contact_time: at.time("last_contact_time", self.last_contact_time)?,
        };
        Ok((self.gateway_uid, instance))
    }
}
