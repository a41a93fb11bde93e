//! `tokens`, as administrators see them: those that are good.

use jiff::Timestamp;
use postern_core::access_token::Accessor;
use sqlx::QueryBuilder;

use super::blocks::blocked_until;
use super::revocations::{Marks, revoked};
use super::{Db, Engine};
use crate::store::page::Room;
use crate::store::rows::LiveTokenRow;
use crate::store::time::micros;
use crate::store::{LiveToken, Page, StoreError, TokenFilter, WriteError};

impl Engine {
    pub(in crate::store) async fn get_token(
        &self,
        accessor: &Accessor,
        now: Timestamp,
    ) -> Result<Option<LiveToken>, StoreError> {
        let mut select = select(now);
        select
            .push(" AND t.accessor = ")
            .push_bind(accessor.as_str());
        let row: Option<LiveTokenRow> = select
            .build_query_as()
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(LiveToken::try_from).transpose()?)
    }

    /// # Errors
    /// A method that doesn't exist.
    pub(in crate::store) async fn list_tokens(
        &self,
        filter: &TokenFilter,
        after: Option<&Accessor>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Page<LiveToken>, WriteError> {
        let mut connection = self.readers.acquire().await?;
        let marks = Marks::of(&mut connection, filter).await?;
        let mut select = select(now);
        select.push(" AND ");
        marks.push_to(&mut select, "t");
        select
            .push(" AND t.accessor > ")
            .push_bind(after.map_or("", Accessor::as_str))
            .push(" ORDER BY t.accessor LIMIT ")
            .push_bind(i64::from(limit) + 1);
        let rows: Vec<LiveTokenRow> = select.build_query_as().fetch_all(&mut *connection).await?;
        let (mut page, mut room) = (Page::new(), Room::new(limit));
        for row in rows {
            let weight = row.weight();
            page.take(row.try_into()?, &mut room, weight);
            if page.more {
                break;
            }
        }
        Ok(page)
    }
}

/// Tokens that haven't expired, weren't taken away, and whose method, key and gateway stand: those
/// that `TokenRow::counts` speaks for.
fn select(now: Timestamp) -> QueryBuilder<Db> {
    let now = micros(now);
    let mut select = QueryBuilder::new(
        "SELECT t.accessor, t.kind, t.access_id, t.namespace, t.service_account_name,
                t.service_account_uid, t.pod_uid, t.sub_claims, t.issue_time, t.expire_time,
                t.max_expire_time, c.id AS config, g.name AS gateway
         FROM tokens t
         LEFT JOIN auth_methods m ON m.uid = t.method_uid
         LEFT JOIN gateways g ON g.uid = COALESCE(t.gateway_uid, t.narrowed_gateway_uid)
         LEFT JOIN k8s_auth_configs c ON c.uid = t.config_uid
         LEFT JOIN access_keys k ON k.key_hash = t.access_key_hash
         WHERE (t.narrowed_gateway_uid IS NULL OR g.uid IS NOT NULL)
           AND (t.access_key_hash IS NULL OR k.key_hash IS NOT NULL)
           AND t.expire_time > ",
    );
    select.push_bind(now);
    select.push(" AND (k.expire_time IS NULL OR k.expire_time > ");
    select.push_bind(now);
    select.push(") AND (t.kind = 'gateway' AND NOT g.disabled OR NOT m.disabled AND (m.access_expire_time IS NULL OR m.access_expire_time > ");
    select.push_bind(now);
    select
        .push(")) AND COALESCE(t.uses_left, 1) > 0 AND NOT ")
        .push(revoked!());
    select
        .push(" AND COALESCE(")
        .push(blocked_until!())
        .push(", 0) <= ");
    select.push_bind(now);
    select
}
