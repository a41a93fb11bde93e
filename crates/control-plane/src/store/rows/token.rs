//! `tokens`, joined with the method or gateway that the token stands on.

use jiff::Timestamp;
use postern_core::facts::SubClaims;
use postern_core::ip::{self, IpBlock};
use postern_core::permission::Permissions;

use super::{Inconsistent, KIND_ACCESS_KEY, KIND_KUBERNETES, RowOf, format};
use crate::store::time::micros;
use crate::store::{GatewayIdentity, Granted, Introspected, Session, Shown, Subject};

#[derive(sqlx::FromRow)]
pub(in crate::store) struct TokenRow {
    kind: String,
    format: String,
    access_id: String,
    accessor: String,
    narrowed_gateway_uid: Option<String>,
    method_uid: Option<String>,
    config_uid: Option<String>,
    service_account_uid: Option<String>,
    pod_uid: Option<String>,
    sub_claims: String,
    issue_time: i64,
    expire_time: i64,
    max_expire_time: Option<i64>,
    uses_left: Option<i64>,
    revoked: bool,
    // Perhaps in the past.
    blocked_until: Option<i64>,
    // Absent where what the token refers to is gone.
    method_kind: Option<String>,
    method_disabled: Option<bool>,
    method_access_expire_time: Option<i64>,
    method_bound_ips: Option<String>,
    method_force_sub_claims: Option<bool>,
    gateway_uid: Option<String>,
    gateway_name: Option<String>,
    gateway_disabled: Option<bool>,
    narrowed_to: Option<String>,
    /// Absent in a token of the version before, and in a workload's.
    access_key_hash: Option<Vec<u8>>,
    // Absent where the key is gone.
    key_create_time: Option<i64>,
    key_expire_time: Option<i64>,
}

/// Whom a workload's token was given to, and by what, never by names that others can take.
pub(in crate::store) struct TokenSubject {
    pub(in crate::store) method_uid: String,
    pub(in crate::store) config_uid: String,
    pub(in crate::store) service_account_uid: String,
    pub(in crate::store) pod_uid: Option<String>,
}

impl TokenRow {
    /// Whether the token counts at all: the one place that says so, for whoever asks about a token
    /// or calls with one. What was given by a method or a key, or to a gateway, ends with it.
    pub(in crate::store) fn counts(&self, now: Timestamp) -> Result<bool, Inconsistent> {
        Ok(self.stands(now)? && self.uses_left != Some(0))
    }

    /// The same for a call that was a use of it already.
    pub(in crate::store) fn stands(&self, now: Timestamp) -> Result<bool, Inconsistent> {
        let now_micros = micros(now);
        let blocked = self.blocked_until.is_some_and(|end| end > now_micros);
        let over = self.expire_time <= now_micros;
        if over || self.revoked || blocked || !self.key_stands(now) {
            return Ok(false);
        }
        let narrowing_stands = self.narrowed_gateway_uid.is_none() || self.narrowed_to.is_some();
        match self.kind.as_str() {
            "administrator" => Ok(self.method_is(KIND_ACCESS_KEY, now) && narrowing_stands),
            "kubernetes" => Ok(self.method_is(KIND_KUBERNETES, now)),
            "gateway" => Ok(self.gateway_disabled == Some(false)),
            _ => Err(self.at().fault("kind")),
        }
    }

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

    /// Whether each use of it has to be counted.
    pub(in crate::store) fn has_limited_uses(&self) -> bool {
        self.uses_left.is_some()
    }

    /// The most that a token which an access key was shown for may live. `None`: another is asked
    /// for instead, or it is renewed by a login.
    pub(in crate::store) fn renewable_until(&self) -> Result<Option<Timestamp>, Inconsistent> {
        if self.kind != "administrator" || self.narrowed_gateway_uid.is_some() {
            return Ok(None);
        }
        self.at()
            .time_or_none("max_expire_time", self.max_expire_time)
    }

    /// Whether it was given to that workload.
    pub(in crate::store) fn is_of(&self, subject: &TokenSubject) -> bool {
        self.kind == "kubernetes"
            && self.method_uid.as_ref() == Some(&subject.method_uid)
            && self.config_uid.as_ref() == Some(&subject.config_uid)
            && self.service_account_uid.as_ref() == Some(&subject.service_account_uid)
            && self.pod_uid == subject.pod_uid
    }

    /// Whether it is a signed JWT.
    pub(in crate::store) fn is_jwt(&self) -> bool {
        self.format == format(true)
    }

    pub(in crate::store) fn issue_time(&self) -> Result<Timestamp, Inconsistent> {
        self.at().time("issue_time", self.issue_time)
    }

    /// The token with a later end: never beyond its last, and never an earlier one.
    pub(in crate::store) fn renewed(&self, until: Timestamp) -> Result<Granted, Inconsistent> {
        let at = self.at();
        let longest = self.max_expire_time.unwrap_or(self.expire_time);
        let end = micros(until).min(longest).max(self.expire_time);
        Ok(Granted {
            jwt: None,
            accessor: at.parsed("accessor", &self.accessor)?,
            expire_time: at.time("expire_time", end)?,
            sub_claims: self.sub_claims()?,
            renewed: true,
        })
    }

    /// Whom a token that counts stands for. `permissions` are those of its roles.
    pub(in crate::store) fn session(
        &self,
        permissions: &Permissions,
    ) -> Result<Session, Inconsistent> {
        let at = self.at();
        if self.kind == "gateway" {
            let (uid, name) = (self.gateway_uid.as_deref(), self.gateway_name.as_deref());
            return Ok(Session::Gateway {
                identity: GatewayIdentity {
                    name: at.parsed("gateway_uid", at.some("gateway_uid", name)?)?,
                    uid: at.parsed("gateway_uid", at.some("gateway_uid", uid)?)?,
                },
            });
        }
        let narrowed_to = self.narrowed_to.as_deref();
        let narrowed_to = narrowed_to.map(|name| at.parsed("narrowed_gateway_uid", name));
        Ok(Session::Holder {
            access_id: at.parsed("access_id", &self.access_id)?,
            accessor: at.parsed("accessor", &self.accessor)?,
            permissions: permissions.clone(),
            narrowed_to: narrowed_to.transpose()?,
            bound_ips: self.bound_ips()?,
        })
    }

    /// Whether a token that counts is good there: from that address, and, if it is narrowed to a
    /// gateway, through that one.
    pub(in crate::store) fn is_good_for(&self, shown: &Shown) -> Result<bool, Inconsistent> {
        let through = shown.through.as_ref().map(|gateway| gateway.as_str());
        let narrowed_to = self.narrowed_to.as_deref();
        Ok((narrowed_to.is_none() || narrowed_to == through)
            && ip::allowed(&self.bound_ips()?, shown.client_ip))
    }

    /// What a token that counts says. `roles` are the IDs of its roles.
    pub(in crate::store) fn introspected(
        &self,
        roles: Vec<String>,
    ) -> Result<Introspected, Inconsistent> {
        let at = self.at();
        Ok(Introspected {
            accessor: at.parsed("accessor", &self.accessor)?,
            access_id: at.parsed("access_id", &self.access_id)?,
            subject: self.subject()?,
            issue_time: at.time("issue_time", self.issue_time)?,
            expire_time: at.time("expire_time", self.end())?,
            sub_claims: self.sub_claims()?,
            roles,
        })
    }

    fn subject(&self) -> Result<Subject, Inconsistent> {
        let at = self.at();
        if self.kind != "kubernetes" {
            return Ok(Subject::AccessKey);
        }
        let some = |column, value: &Option<String>| at.some(column, value.clone());
        Ok(Subject::Workload {
            config_uid: some("config_uid", &self.config_uid)?,
            service_account_uid: some("service_account_uid", &self.service_account_uid)?,
            pod_uid: self.pod_uid.clone(),
        })
    }

    /// Those of its method. A gateway's token has none.
    fn bound_ips(&self) -> Result<Vec<IpBlock>, Inconsistent> {
        let at = self.at();
        if self.kind == "gateway" {
            return Ok(Vec::new());
        }
        at.list(
            "method_uid",
            at.some("method_uid", self.method_bound_ips.as_deref())?,
        )
    }

    fn at(&self) -> RowOf<'_> {
        RowOf {
            table: "tokens",
            key: &self.accessor,
        }
    }

    /// Whether the access key that the token came by is there and good.
    /// Its own, or that of its method or key where this comes first by now.
    fn end(&self) -> i64 {
        let others = [self.method_access_expire_time, self.key_expire_time];
        let others = others.into_iter().flatten();
        others.fold(self.expire_time, i64::min)
    }

    fn key_stands(&self, now: Timestamp) -> bool {
        let ended = self.key_expire_time.is_some_and(|end| end <= micros(now));
        self.access_key_hash.is_none() || (self.key_create_time.is_some() && !ended)
    }

    fn method_is(&self, kind: &str, now: Timestamp) -> bool {
        let expired = self
            .method_access_expire_time
            .is_some_and(|end| end <= micros(now));
        self.method_kind.as_deref() == Some(kind) && self.method_disabled == Some(false) && !expired
    }
}
