//! What a login writes.

use postern_core::audit::Event;
use sqlx::query_builder::Separated;

use super::super::super::Db;
use super::super::Allowed;
use super::Login;
use crate::store::rows::{format, to_json};
use crate::store::time::micros;
use crate::store::{Granted, StoreError};

pub(super) const ASSERTIONS: &str =
    "INSERT INTO assertions (method_uid, jti, sha256, gateway_uid, accessor, expire_time) ";
pub(super) const TOKENS: &str = "INSERT INTO tokens
     (hash, accessor, kind, access_id, method_uid, gateway_uid, config_uid,
      service_account_uid, pod_uid, namespace, instance, sub_claims, issue_time,
      expire_time, max_expire_time, rules_revision, uses_left, service_account_name,
      format, jwt_claims) ";

/// A row to be.
pub(super) struct Token<'l> {
    pub(super) login: &'l Login<'l>,
    granted: Granted,
    sub_claims: String,
    jwt: Option<String>,
}

// === impl Token ===

impl<'l> Token<'l> {
    pub(super) fn of(login: &'l Login<'l>) -> Result<Self, StoreError> {
        let granted = login.granted();
        Ok(Self {
            login,
            sub_claims: to_json(&granted.sub_claims)?,
            granted,
            jwt: login.jwt.as_ref().map(to_json).transpose()?,
        })
    }

    pub(super) fn event(&self) -> Event {
        let Login {
            request, allowed, ..
        } = self.login;
        allowed.event(request, &self.granted)
    }

    pub(super) fn bind(&self, mut row: Separated<'_, Db, &str>, rules_revision: i64) {
        let Self { login, granted, .. } = self;
        let Allowed {
            method,
            claims,
            grant,
            ..
        } = &login.allowed;
        let facts = grant.facts();
        let uses = method.settings.token_num_uses;
        row.push_bind(login.token())
            .push_bind(granted.accessor.as_str())
            .push_bind("kubernetes")
            .push_bind(grant.access_id().as_str())
            .push_bind(method.uid.to_string())
            .push_bind(login.request.gateway.uid.to_string())
            .push_bind(claims.config_uid.to_string())
            .push_bind(&facts.service_account_uid)
            .push_bind(&facts.pod_uid)
            .push_bind(&facts.namespace)
            .push_bind(&claims.instance)
            .push_bind(&self.sub_claims)
            .push_bind(micros(login.request.now))
            .push_bind(micros(granted.expire_time))
            .push_bind(micros(method.max_expire_time(login.request.now)))
            .push_bind(rules_revision)
            .push_bind(uses.map(|uses| i64::from(uses.get())))
            .push_bind(&facts.service_account_name)
            .push_bind(format(self.jwt.is_some()))
            .push_bind(&self.jwt);
    }
}

impl Login<'_> {
    pub(super) fn bind_assertion(&self, mut row: Separated<'_, Db, &str>) {
        let (method_uid, jti) = self.assertion();
        row.push_bind(method_uid)
            .push_bind(jti)
            .push_bind(self.sha256.as_ref())
            .push_bind(self.request.gateway.uid.to_string())
            .push_bind(self.granted().accessor.as_str().to_owned())
            .push_bind(micros(self.allowed.claims.expire_time));
    }
}
