//! Gateways: their administration, and what they themselves ask for.

mod admin;
mod certificate;
mod feed;
mod shown;
mod sync;
pub(crate) mod url;

pub(crate) use admin::Gateways;
pub(crate) use certificate::GatewayCertificates;
pub(crate) use sync::{GatewaySync, KeyNotes};
