//! `k8s_auth_configs`, joined with the names of its gateway and its method.

use postern_core::k8s_auth_config::{Issuers, TokenExp};
use postern_core::meta::Stored;
use postern_core::resource_id::ConfigName;
use postern_core::sealed_config::{ConfigView, SealedConfig};

use super::{Inconsistent, RowOf};

#[derive(sqlx::FromRow)]
pub(in crate::store) struct ConfigRow {
    uid: String,
    gateway: String,
    pub(in crate::store) gateway_uid: String,
    id: String,
    access_id: String,
    pub(in crate::store) method_uid: String,
    k8s_host: String,
    k8s_ca_cert: String,
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
        self.sealed.len() + self.k8s_ca_cert.len() + self.issuers.len() + 2048
    }

    fn view(&self, at: &RowOf<'_>) -> Result<ConfigView, Inconsistent> {
        let listed = at.json("issuers", &self.issuers)?;
        let issuers = Issuers::parse(listed, self.disable_issuer_validation).ok();
        let exp = TokenExp::parse(self.token_exp_seconds, 0).ok();
        let exp = exp.filter(|_| self.token_exp_seconds > 0);
        let expires = self.reviewer_credential_expire_time;
        Ok(ConfigView {
            name: ConfigName {
                gateway: at.parsed("gateway_uid", &self.gateway)?,
                id: at.parsed("id", &self.id)?,
            },
            uid: at.parsed("uid", &self.uid)?,
            generation: self.generation,
            access_id: at.parsed("method_uid", &self.access_id)?,
            k8s_host: at.parsed("k8s_host", &self.k8s_host)?,
            k8s_ca_cert: self.k8s_ca_cert.clone(),
            issuers: at.some("issuers", issuers)?,
            disabled: self.disabled,
            token_exp: at.some("token_exp_seconds", exp)?,
            signing_key_id: self.signing_key_id.clone(),
            seal_key_id: self.seal_key_id.clone(),
            reviewer_credential_expire_time: at
                .time_or_none("reviewer_credential_expire_time", expires)?,
        })
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
