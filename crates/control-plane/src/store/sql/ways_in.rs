//! By which auth methods somebody can come who may do everything.

use std::net::IpAddr;

use postern_core::ip::{self, IpBlock};
use postern_core::role::BuiltIn;

use super::Connection;

#[derive(sqlx::FromRow)]
struct WayIn {
    access_id: String,
    bound_ips: String,
    token_num_uses: Option<i64>,
}

/// Enabled, without an end, with a key without one, and whose holder may do everything.
pub(super) struct WaysIn(Vec<WayIn>);

impl WaysIn {
    pub(super) async fn of(connection: &mut Connection) -> Result<Self, sqlx::Error> {
        sqlx::query_as(
            "SELECT m.access_id, m.bound_ips, m.token_num_uses FROM auth_methods m
             WHERE m.kind = 'access_key' AND NOT m.disabled AND m.access_expire_time IS NULL
               AND NOT m.force_sub_claims
               AND EXISTS (SELECT 1 FROM access_keys k
                           WHERE k.method_uid = m.uid AND k.expire_time IS NULL)
               AND EXISTS (SELECT 1 FROM associations a
                           WHERE a.method_uid = m.uid AND a.role_uid = $1)",
        )
        .bind(BuiltIn::Admin.uid().to_string())
        .fetch_all(connection)
        .await
        .map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One that is good from any address, and for any number of calls.
    pub(super) fn has_open(&self) -> bool {
        let mut ways = self.0.iter();
        ways.any(|way| way.is_unlimited() && way.blocks().is_some_and(|blocks| blocks.is_empty()))
    }

    /// Whoever calls from that address by that method could do so again.
    pub(super) fn admits(&self, access_id: &str, address: Option<IpAddr>) -> bool {
        let own = self.0.iter().find(|way| way.access_id == access_id);
        own.is_some_and(|way| {
            way.is_unlimited()
                && way
                    .blocks()
                    .is_some_and(|blocks| ip::allowed(&blocks, address))
        })
    }
}

impl WayIn {
    fn is_unlimited(&self) -> bool {
        self.token_num_uses.is_none()
    }

    /// `None`: what nobody can read lets nobody in.
    fn blocks(&self) -> Option<Vec<IpBlock>> {
        let texts: Vec<String> = serde_json::from_str(&self.bound_ips).ok()?;
        texts.iter().map(|text| text.parse().ok()).collect()
    }
}
