//! Seals configs, and opens them only when the box says what its row says.

use postern_core::invalid::Invalid;
use postern_core::k8s_auth_config::K8sAuthConfig;
use postern_core::resource_id::GatewayName;
use postern_core::seal::{Keyring, OpenError, SealContext, SealError, SealKeyId};
use postern_core::sealed_config::{ConfigView, SealedConfig};
use postern_proto::convert::{k8s_auth_config as convert, sealed_config};
use postern_proto::{pb, sealed};
use prost::Message as _;
use zeroize::{Zeroize as _, Zeroizing};

use jiff::Timestamp;

/// One gateway's keys.
pub(crate) struct Sealer {
    gateway: GatewayName,
    keyring: Keyring,
}

/// Why a stored config isn't used. Never holds what is in a box.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The row isn't one that a gateway writes.
    #[error("its row is damaged: {0}")]
    Row(#[source] Invalid),
    #[error("its row is another gateway's")]
    OtherGateway,
    #[error("the box {0}")]
    Closed(#[source] OpenError),
    /// It opened, and holds what this version doesn't read.
    #[error("the box holds something that this gateway would not have sealed")]
    Inside,
    /// Somebody changed the row beside its box, or the box beside its row.
    #[error("the box says something else than its row about: {}", .0.join(", "))]
    Differs(Vec<&'static str>),
    /// An older box was put back.
    #[error("generation {generation} was put back; this gateway has seen {seen}")]
    RolledBack { generation: i64, seen: i64 },
}

/// What is in a box, wiped when it is dropped.
struct Inside(sealed::K8sAuthConfig);

// === impl Sealer ===

impl Sealer {
    pub(crate) fn new(gateway: GatewayName, keyring: Keyring) -> Self {
        Self { gateway, keyring }
    }

    pub(crate) fn gateway(&self) -> &GatewayName {
        &self.gateway
    }

    /// The key that seals.
    pub(crate) fn first_key(&self) -> &SealKeyId {
        self.keyring.first_id()
    }

    /// The box and the clear copy beside it, whose `meta` holds the UID alone.
    pub(crate) fn seal(
        &self,
        config: &K8sAuthConfig,
    ) -> Result<pb::SealedK8sAuthConfig, SealError> {
        let inside = Inside(convert::to_box(config));
        let content = Zeroizing::new(inside.0.encode_to_vec());
        let view = convert::view(config, self.first_key().to_string());
        let sealed = self.keyring.seal(&self.context(&view), &content)?;
        Ok(pb::SealedK8sAuthConfig {
            view: Some(sealed_config::view_to_pb(&view)),
            sealed: sealed.bytes,
        })
    }

    /// The config in the row's box, proven to be what the row says.
    pub(crate) fn open(
        &self,
        row: &pb::SealedK8sAuthConfig,
        now: Timestamp,
    ) -> Result<K8sAuthConfig, Broken> {
        let SealedConfig { view, sealed } = sealed_config::from_pb(row).map_err(Broken::Row)?;
        if view.name.gateway != self.gateway {
            return Err(Broken::OtherGateway);
        }
        let content = self
            .keyring
            .open(&view.seal_key_id, &self.context(&view), &sealed)
            .map_err(Broken::Closed)?;
        let inside = sealed::K8sAuthConfig::decode(content.as_slice())
            .map(Inside)
            .map_err(|_| Broken::Inside)?;
        // The faults' texts may hold values from the box.
        let config = convert::from_box(&inside.0, now).map_err(|_| Broken::Inside)?;
        match differences(&convert::view(&config, view.seal_key_id.clone()), &view) {
            differences if differences.is_empty() => Ok(config),
            differences => Err(Broken::Differs(differences)),
        }
    }

    fn context<'a>(&'a self, view: &'a ConfigView) -> SealContext<'a> {
        SealContext {
            gateway: self.gateway.as_str(),
            name: view.name.id.as_str(),
            access_id: view.access_id.as_str(),
            config_uid: view.uid,
            generation: view.generation,
        }
    }
}

/// Taken apart without `..`, so that a new field is compared too.
fn differences(inside: &ConfigView, row: &ConfigView) -> Vec<&'static str> {
    let ConfigView {
        name,
        uid,
        generation,
        access_id,
        k8s_host,
        k8s_ca_cert,
        tls_server_name,
        reviewer,
        timeouts,
        mode,
        jwks,
        issuers,
        disabled,
        token_exp,
        signing_key_id,
        seal_key_id,
        reviewer_credential_expire_time,
    } = inside;
    let compared = [
        ("name", *name == row.name),
        ("uid", *uid == row.uid),
        ("generation", *generation == row.generation),
        ("access_id", *access_id == row.access_id),
        ("k8s_host", *k8s_host == row.k8s_host),
        ("k8s_ca_cert", *k8s_ca_cert == row.k8s_ca_cert),
        ("tls_server_name", *tls_server_name == row.tls_server_name),
        ("reviewer", *reviewer == row.reviewer),
        ("timeouts", *timeouts == row.timeouts),
        ("mode", *mode == row.mode),
        ("jwks", *jwks == row.jwks),
        ("k8s_issuers", *issuers == row.issuers),
        ("disabled", *disabled == row.disabled),
        ("token_exp", *token_exp == row.token_exp),
        ("signing_key_id", *signing_key_id == row.signing_key_id),
        ("seal_key_id", *seal_key_id == row.seal_key_id),
        (
            "reviewer_credential_expire_time",
            *reviewer_credential_expire_time == row.reviewer_credential_expire_time,
        ),
    ];
    let different = compared.into_iter().filter(|(_, equal)| !equal);
    different.map(|(field, _)| field).collect()
}

// === impl Inside ===

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.signing_key.zeroize();
        self.0.token_reviewer_jwt.zeroize();
        self.0.k8s_client_key.zeroize();
        self.0.rancher_api_key.zeroize();
    }
}

#[cfg(test)]
mod tests;
