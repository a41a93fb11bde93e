//! `tokens`, joined with the method or gateway that the token stands on.

use jiff::Timestamp;

use super::{Inconsistent, KIND_ACCESS_KEY, KIND_KUBERNETES, RowOf};
use crate::store::time::micros;
use crate::store::{GatewayIdentity, Session};

#[derive(sqlx::FromRow)]
pub(in crate::store) struct SessionRow {
    kind: String,
    access_id: String,
    accessor: String,
    narrowed_gateway_uid: Option<String>,
    // Absent where what the token refers to is gone.
    method_kind: Option<String>,
    method_disabled: Option<bool>,
    method_access_expire_time: Option<i64>,
    method_bound_ips: Option<String>,
    gateway_uid: Option<String>,
    gateway_name: Option<String>,
    narrowed_to: Option<String>,
    expire_time: i64,
}

impl SessionRow {
    /// `None` when the token has expired, or what it stands on is gone, disabled or expired.
    pub(in crate::store) fn session(
        &self,
        now: Timestamp,
    ) -> Result<Option<Session>, Inconsistent> {
        if self.expire_time <= micros(now) {
            return Ok(None);
        }
        let at = RowOf {
            table: "tokens",
            key: &self.accessor,
        };
        match self.kind.as_str() {
            "administrator" if self.method_is(KIND_ACCESS_KEY, now) => self.administrator(&at),
            "kubernetes" if self.method_is(KIND_KUBERNETES, now) => Ok(Some(Session::Kubernetes)),
            "gateway" => self.gateway(&at),
            "administrator" | "kubernetes" => Ok(None),
            _ => Err(at.fault("kind")),
        }
    }

    fn administrator(&self, at: &RowOf<'_>) -> Result<Option<Session>, Inconsistent> {
        if self.narrowed_gateway_uid.is_some() && self.narrowed_to.is_none() {
            return Ok(None);
        }
        let narrowed_to = self.narrowed_to.as_deref();
        let narrowed_to = narrowed_to.map(|name| at.parsed("narrowed_gateway_uid", name));
        let bound_ips = at.some("method_uid", self.method_bound_ips.as_deref())?;
        Ok(Some(Session::Administrator {
            access_id: at.parsed("access_id", &self.access_id)?,
            accessor: at.parsed("accessor", &self.accessor)?,
            narrowed_to: narrowed_to.transpose()?,
            bound_ips: at.list("method_uid", bound_ips)?,
        }))
    }

    fn gateway(&self, at: &RowOf<'_>) -> Result<Option<Session>, Inconsistent> {
        let (Some(uid), Some(name)) = (&self.gateway_uid, &self.gateway_name) else {
            return Ok(None);
        };
        Ok(Some(Session::Gateway {
            identity: GatewayIdentity {
                name: at.parsed("gateway_uid", name)?,
                uid: at.parsed("gateway_uid", uid)?,
            },
        }))
    }

    fn method_is(&self, kind: &str, now: Timestamp) -> bool {
        let expired = self
            .method_access_expire_time
            .is_some_and(|end| end <= micros(now));
        self.method_kind.as_deref() == Some(kind) && self.method_disabled == Some(false) && !expired
    }
}
