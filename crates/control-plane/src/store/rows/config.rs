//! `k8s_auth_configs`, joined with the names of its gateway and its method.

use std::str::FromStr;
use std::time::Duration;

use postern_core::k8s_auth_config::{Issuers, K8sHost, ReviewerView, Timeouts, TokenExp};
use postern_core::meta::Stored;
use postern_core::resource_id::ConfigName;
use postern_core::sealed_config::{ConfigView, SealedConfig};

use super::{Inconsistent, RowOf};

#[derive(sqlx::FromRow)]
pub(in crate::store) struct ConfigRow {
    pub(in crate::store) uid: String,
    gateway: String,
    pub(in crate::store) gateway_uid: String,
    id: String,
    access_id: String,
    pub(in crate::store) method_uid: String,
    k8s_host: String,
    k8s_ca_cert: String,
    tls_server_name: String,
    reviewer: String,
    reviewer_shown: String,
    mode: String,
    jwks: String,
    connect_timeout_millis: i64,
    total_timeout_millis: i64,
    issuers: String,
    disable_issuer_validation: bool,
    disabled: bool,
    token_exp_seconds: i64,
    signing_key_id: String,
    seal_key_id: String,
    reviewer_credential_expire_time: Option<i64>,
    generation: i64,
    sealed: Vec<u8>,
    revision: i64,
    create_time: i64,
    update_time: i64,
}

impl ConfigRow {
    /// What it weighs on a page.
    pub(in crate::store) fn weight(&self) -> usize {
        let shown = self.k8s_ca_cert.len() + self.reviewer_shown.len() + self.jwks.len();
        self.sealed.len() + shown + self.issuers.len() + 2048
    }

    fn view(&self, at: &RowOf<'_>) -> Result<ConfigView, Inconsistent> {
        let listed = at.json("issuers", &self.issuers)?;
        let issuers = Issuers::parse(listed, self.disable_issuer_validation).ok();
        let exp = TokenExp::parse(self.token_exp_seconds, 0).ok();
        let exp = exp.filter(|_| self.token_exp_seconds > 0);
        let expires = self.reviewer_credential_expire_time;
        let reviewer = ReviewerView::from_parts(&self.reviewer, &self.reviewer_shown);
        let reviewer = at.some("reviewer", reviewer)?;
        Ok(ConfigView {
            name: ConfigName {
                gateway: at.parsed("gateway_uid", &self.gateway)?,
                id: at.parsed("id", &self.id)?,
            },
            uid: at.parsed("uid", &self.uid)?,
            generation: self.generation,
            access_id: at.parsed("method_uid", &self.access_id)?,
            k8s_host: self.host(at, &reviewer)?,
            k8s_ca_cert: self.k8s_ca_cert.clone(),
            tls_server_name: parsed_unless_empty(at, "tls_server_name", &self.tls_server_name)?,
            reviewer,
            timeouts: at.some("total_timeout_millis", self.timeouts())?,
            mode: at.parsed("mode", &self.mode)?,
            jwks: self.jwks.clone(),
            issuers: at.some("issuers", issuers)?,
            disabled: self.disabled,
            token_exp: at.some("token_exp_seconds", exp)?,
            signing_key_id: self.signing_key_id.clone(),
            seal_key_id: self.seal_key_id.clone(),
            reviewer_credential_expire_time: at
                .time_or_none("reviewer_credential_expire_time", expires)?,
        })
    }

    /// `None` is the gateway's own cluster, and only that names none.
    fn host(
        &self,
        at: &RowOf<'_>,
        reviewer: &ReviewerView,
    ) -> Result<Option<K8sHost>, Inconsistent> {
        match reviewer {
            ReviewerView::GatewayServiceAccount(_) if self.k8s_host.is_empty() => Ok(None),
            _ => at.parsed("k8s_host", &self.k8s_host).map(Some),
        }
    }

    fn timeouts(&self) -> Option<Timeouts> {
        let millis = |millis| u64::try_from(millis).ok().map(Duration::from_millis);
        let connect = millis(self.connect_timeout_millis)?;
        let total = millis(self.total_timeout_millis)?;
        Timeouts::new(Some(connect), Some(total)).ok()
    }
}

fn parsed_unless_empty<T: FromStr>(
    at: &RowOf<'_>,
    column: &'static str,
    text: &str,
) -> Result<Option<T>, Inconsistent> {
    match text {
        "" => Ok(None),
        text => at.parsed(column, text).map(Some),
    }
}

impl TryFrom<ConfigRow> for Stored<SealedConfig> {
    type Error = Inconsistent;

    fn try_from(row: ConfigRow) -> Result<Self, Self::Error> {
        let at = RowOf {
            table: "k8s_auth_configs",
            key: &row.uid,
        };
        Ok(Self {
            revision: row.revision,
            create_time: at.time("create_time", row.create_time)?,
            update_time: at.time("update_time", row.update_time)?,
            value: SealedConfig {
                view: row.view(&at)?,
                sealed: row.sealed,
            },
        })
    }
}
