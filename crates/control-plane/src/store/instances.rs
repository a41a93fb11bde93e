//! Gateways' replicas, as they last said of themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use postern_core::seal::SealKeyId;
use uuid::Uuid;

/// How many replicas of one gateway are remembered: whoever has its credential can say anything.
pub(crate) const MAX_INSTANCES: usize = 100;

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) id: Uuid,
    pub(crate) version: String,
    /// As the control plane saw it.
    pub(crate) address: Option<IpAddr>,
    /// Of the configuration that it holds.
    pub(crate) revision: Option<i64>,
    /// The first one seals.
    pub(crate) seal_key_ids: Vec<SealKeyId>,
    pub(crate) start_time: Timestamp,
    pub(crate) last_contact_time: Timestamp,
}

/// By the gateway's UID; each one's latest first.
#[derive(Debug, Default)]
pub(crate) struct Instances(BTreeMap<String, Vec<Instance>>);

// === impl Instances ===

impl Instances {
    pub(crate) fn of(&self, gateway: Uuid) -> &[Instance] {
        self.0.get(&gateway.to_string()).map_or(&[], Vec::as_slice)
    }

    pub(super) fn add(&mut self, gateway: String, instance: Instance) {
        self.0.entry(gateway).or_default().push(instance);
    }
}
