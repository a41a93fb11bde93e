//! The one place where wire messages and domain types meet.
//!
//! A request becomes a domain value or an [`Invalid`](postern_core::invalid::Invalid) with every
//! fault at once; nothing unchecked gets past here.

pub mod association;
pub mod audit;
pub mod auth_method;
pub mod gateway;
pub mod k8s_auth_config;
pub mod role;
pub mod rule;
pub mod sealed_config;
pub mod time;

mod mask;
