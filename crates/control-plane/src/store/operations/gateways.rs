//! Gateways, their replicas, and K8s auth configs.

use jiff::Timestamp;
use postern_core::access_token::TokenHash;
use postern_core::invalid::Invalid;
use postern_core::meta::Stored;
use postern_core::resource_id::{ConfigName, GatewayName};
use postern_core::sealed_config::SealedConfig;

use crate::store::{
    Cause, Engine, Etag, Gateway, GatewayIdentity, Instance, Instances, Intent, NewKey, Page, Read,
    Store, StoredKeys, Write, patience,
};

impl Store {
    pub(crate) async fn create_gateway(
        &self,
        gateway: &Gateway,
        key: &TokenHash,
        cause: &Cause,
    ) -> Write<Stored<Gateway>> {
        on_engine!(self.create_gateway(gateway, key, cause))
    }

    pub(crate) async fn get_gateway(&self, name: &GatewayName) -> Read<Option<Stored<Gateway>>> {
        on_engine!(self.get_gateway(name))
    }

    /// By name.
    pub(crate) async fn list_gateways(
        &self,
        after: Option<&GatewayName>,
        limit: u32,
    ) -> Read<Page<Stored<Gateway>>> {
        on_engine!(self.list_gateways(after, limit))
    }

    /// `edit` runs inside the transaction on the row as it is.
    pub(crate) async fn update_gateway<F>(
        &self,
        name: &GatewayName,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Gateway>>
    where
        F: FnOnce(&Gateway) -> Result<Gateway, Invalid> + Send,
    {
        on_engine!(self.update_gateway(name, etag, edit, intent, cause))
    }

    /// Another key for the gateway's credential.
    pub(crate) async fn rotate_gateway_key(
        &self,
        name: &GatewayName,
        etag: Etag,
        key: &NewKey,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Gateway>> {
        on_engine!(self.rotate_gateway_key(name, etag, key, intent, cause))
    }

    /// Names of the gateways that clients reach at that URL.
    pub(crate) async fn gateways_at(&self, url: &str) -> Read<Vec<GatewayName>> {
        on_engine!(self.gateways_at(url))
    }

    /// Of the credentials of all gateways from `first` to `last`, by name.
    pub(crate) async fn keys_of_gateways(
        &self,
        first: &GatewayName,
        last: &GatewayName,
    ) -> Read<StoredKeys> {
        on_engine!(self.keys_of_gateways(first, last))
    }

    /// What one replica of the gateway says of itself.
    pub(crate) async fn report_instance(
        &self,
        gateway: &GatewayIdentity,
        instance: &Instance,
    ) -> Read<()> {
        on_engine!(self.report_instance(gateway, instance))
    }

    /// Of all gateways from `first` to `last`, by name: the replicas that were heard of in the last
    /// 24 hours.
    pub(crate) async fn instances(
        &self,
        first: &GatewayName,
        last: &GatewayName,
        now: Timestamp,
    ) -> Read<Instances> {
        on_engine!(self.instances(first, last, now))
    }

    /// With its credential; with `force` its configs too.
    pub(crate) async fn delete_gateway(
        &self,
        name: &GatewayName,
        etag: Etag,
        force: bool,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_gateway(name, etag, force, cause))
    }

    /// Takes generation 1 under a UID that was never used, for a Kubernetes method and with one of
    /// its keys.
    pub(crate) async fn create_config(
        &self,
        config: &SealedConfig,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<SealedConfig>> {
        on_engine!(self.create_config(config, intent, cause))
    }

    pub(crate) async fn get_config(&self, name: &ConfigName) -> Read<Option<Stored<SealedConfig>>> {
        on_engine!(self.get_config(name))
    }

    /// By name; of all gateways where none is given.
    pub(crate) async fn list_configs(
        &self,
        gateway: Option<&GatewayName>,
        after: Option<&ConfigName>,
        limit: u32,
    ) -> Read<Page<Stored<SealedConfig>>> {
        on_engine!(self.list_configs(gateway, after, limit))
    }

    /// Replaces the config whole. Stale also where the generation isn't the next one.
    pub(crate) async fn update_config(
        &self,
        config: &SealedConfig,
        etag: Etag,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<SealedConfig>> {
        on_engine!(self.update_config(config, etag, intent, cause))
    }

    pub(crate) async fn delete_config(
        &self,
        name: &ConfigName,
        etag: Etag,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_config(name, etag, cause))
    }
}
