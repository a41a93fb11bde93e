//! `deployment`.

use postern_core::audit::EventKind;
use uuid::Uuid;

use super::{ConfigWrite, Connection, Engine, associations, auth_methods, gateways};
use crate::store::time::micros;
use crate::store::{Cause, FirstStart, Inconsistent, Intent, StoreError, WriteError};

async fn read(connection: &mut Connection) -> Result<Option<Uuid>, StoreError> {
    let id: Option<String> = sqlx::query_scalar("SELECT id FROM deployment")
        .fetch_optional(connection)
        .await?;
    let parsed = id.map(|id| {
        id.parse().map_err(|_| Inconsistent {
            table: "deployment",
            column: "id",
            key: id,
        })
    });
    Ok(parsed.transpose()?)
}

impl Engine {
    pub(in crate::store) async fn deployment_id(&self) -> Result<Option<Uuid>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        read(&mut connection).await
    }

    pub(in crate::store) async fn bootstrap(
        &self,
        start: &FirstStart,
        cause: &Cause,
    ) -> Result<Uuid, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        if let Some(there) = read(write.connection()).await? {
            return Ok(there);
        }
        sqlx::query("INSERT INTO deployment (only_one, id, create_time) VALUES (1, $1, $2)")
            .bind(start.deployment_id.to_string())
            .bind(micros(cause.now))
            .execute(write.connection())
            .await?;
        auth_methods::insert(&mut write, &start.admin, Some(&start.admin_key)).await?;
        let admin = &start.admin;
        associations::make_administrator(&mut write, &admin.id, &admin.uid).await?;
        gateways::insert(&mut write, &start.gateway, &start.gateway_key).await?;
        let resource = format!("deployments/{}", start.deployment_id);
        write.record(EventKind::DeploymentBootstrapped, resource, |_| {});
        write.commit(Intent::Write).await?;
        Ok(start.deployment_id)
    }
}
