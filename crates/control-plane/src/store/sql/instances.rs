//! `gateway_instances`.

use jiff::{SignedDuration, Timestamp};
use postern_core::resource_id::GatewayName;

use super::Engine;
use crate::store::instances::MAX_INSTANCES;
use crate::store::rows::{InstanceRow, to_json};
use crate::store::time::micros;
use crate::store::{GatewayIdentity, Instance, Instances, StoreError};

/// How long a silent replica is remembered.
pub(super) const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

impl Engine {
    /// No write of configuration: it takes no revision and keeps no login waiting.
    pub(in crate::store) async fn report_instance(
        &self,
        gateway: &GatewayIdentity,
        instance: &Instance,
    ) -> Result<(), StoreError> {
        let uid = gateway.uid.to_string();
        let ids = instance.seal_key_ids.iter().map(ToString::to_string);
        let ids = to_json(&ids.collect::<Vec<_>>())?;
        let mut tx = self.begin_write().await?;
        sqlx::query(
            "INSERT INTO gateway_instances
                 (gateway_uid, instance, version, address, revision, seal_key_ids, start_time,
                  last_contact_time)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (gateway_uid, instance) DO UPDATE SET
                 version = excluded.version, address = excluded.address,
                 revision = excluded.revision, seal_key_ids = excluded.seal_key_ids,
                 start_time = excluded.start_time, last_contact_time = excluded.last_contact_time",
        )
        .bind(&uid)
        .bind(instance.id.to_string())
        .bind(&instance.version)
        .bind(instance.address.map(|ip| ip.to_string()))
        .bind(instance.revision)
        .bind(ids)
        .bind(micros(instance.start_time))
        .bind(micros(instance.last_contact_time))
        .execute(&mut *tx)
        .await?;
        // Those that were silent for longest make room.
        sqlx::query(
            "DELETE FROM gateway_instances WHERE gateway_uid = $1 AND instance NOT IN
                 (SELECT instance FROM gateway_instances WHERE gateway_uid = $1
                  ORDER BY last_contact_time DESC, instance LIMIT $2)",
        )
        .bind(&uid)
        .bind(i64::try_from(MAX_INSTANCES).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn instances(
        &self,
        first: &GatewayName,
        last: &GatewayName,
        now: Timestamp,
    ) -> Result<Instances, StoreError> {
        let since = now.saturating_sub(REMEMBERED).unwrap_or(now);
        let rows: Vec<InstanceRow> = sqlx::query_as(
            "SELECT i.* FROM gateway_instances i JOIN gateways g ON g.uid = i.gateway_uid
             WHERE g.name >= $1 AND g.name <= $2 AND i.last_contact_time > $3
             ORDER BY i.last_contact_time DESC, i.instance",
        )
        .bind(first.as_str())
        .bind(last.as_str())
        .bind(micros(since))
        .fetch_all(&self.readers)
        .await?;
        let mut instances = Instances::default();
        for row in rows {
            let (gateway, instance) = row.instance()?;
            instances.add(gateway, instance);
        }
        Ok(instances)
    }
}
