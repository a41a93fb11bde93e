//! Domain types that can't be wrong, and the decision.
//!
//! Nothing here knows a runtime, a wire format or a database. Time enters as an argument.
//! Text from outside becomes one of these types once, at the edge; a function that takes
//! such a type needn't check it again.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod access_id;
pub mod access_token;
pub mod assertion;
pub mod association;
pub mod audit;
pub mod auth_method;
pub mod ca_bundle;
pub mod check;
pub mod clock;
pub mod condition;
pub mod facts;
#[cfg(test)]
mod fixtures;
pub mod invalid;
pub mod ip;
pub mod jwks;
pub mod jwt;
pub mod k8s_auth_config;
pub mod key;
pub mod meta;
pub mod own_keys;
pub mod pattern;
pub mod pem;
pub mod permission;
pub mod pod_scope;
pub mod policy;
pub mod reason;
pub mod resource_id;
pub mod role;
pub mod rule;
pub mod seal;
pub mod sealed_config;
pub mod seconds;
pub mod selector;
pub mod signing_key;
pub mod sub_claim;
pub mod subject;
