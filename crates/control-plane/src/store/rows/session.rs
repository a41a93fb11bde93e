//! `tokens`, joined with the method or gateway that the token stands on.

use jiff::Timestamp;
use postern_core::facts::SubClaims;
use postern_core::permission::Permissions;

use super::{Inconsistent, KIND_ACCESS_KEY, KIND_KUBERNETES, RowOf};
use crate::store::time::micros;
use crate::store::{GatewayIdentity, Session};

#[derive(sqlx::FromRow)]
pub(in crate::store) struct SessionRow {
    kind: String,
    access_id: String,
    accessor: String,
    narrowed_gateway_uid: Option<String>,
    method_uid: Option<String>,
    sub_claims: String,
    // Absent where what the token refers to is gone.
    method_kind: Option<String>,
    method_disabled: Option<bool>,
    method_access_expire_time: Option<i64>,
    method_bound_ips: Option<String>,
    method_force_sub_claims: Option<bool>,
    gateway_uid: Option<String>,
    gateway_name: Option<String>,
    narrowed_to: Option<String>,
    expire_time: i64,
}

impl SessionRow {
    /// The UID of the auth method that it came by. A gateway's token came by none.
    pub(in crate::store) fn method_uid(&self) -> Option<&str> {
        self.method_uid.as_deref()
    }

    /// Whether its method has given up to give roles to all of its tokens.
    pub(in crate::store) fn force_sub_claims(&self) -> bool {
        self.method_force_sub_claims != Some(false)
    }

    pub(in crate::store) fn sub_claims(&self) -> Result<SubClaims, Inconsistent> {
        self.at().json("sub_claims", &self.sub_claims)
    }

    /// `None` when the token has expired, or what it stands on is gone, disabled or expired.
    /// `permissions` are those of its roles.
    pub(in crate::store) fn session(
        &self,
        permissions: &Permissions,
        now: Timestamp,
    ) -> Result<Option<Session>, Inconsistent> {
        if self.expire_time <= micros(now) {
            return Ok(None);
        }
        match self.kind.as_str() {
            "administrator" if self.method_is(KIND_ACCESS_KEY, now) => self.holder(permissions),
            "kubernetes" if self.method_is(KIND_KUBERNETES, now) => self.holder(permissions),
            "gateway" => self.gateway(&self.at()),
            "administrator" | "kubernetes" => Ok(None),
            _ => Err(self.at().fault("kind")),
        }
    }

    fn at(&self) -> RowOf<'_> {
        RowOf {
            table: "tokens",
            key: &self.accessor,
        }
    }

    fn holder(&self, permissions: &Permissions) -> Result<Option<Session>, Inconsistent> {
        if self.narrowed_gateway_uid.is_some() && self.narrowed_to.is_none() {
            return Ok(None);
        }
        let at = self.at();
        let narrowed_to = self.narrowed_to.as_deref();
        let narrowed_to = narrowed_to.map(|name| at.parsed("narrowed_gateway_uid", name));
        let bound_ips = at.some("method_uid", self.method_bound_ips.as_deref())?;
        Ok(Some(Session::Holder {
            access_id: at.parsed("access_id", &self.access_id)?,
            accessor: at.parsed("accessor", &self.accessor)?,
            permissions: permissions.clone(),
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
