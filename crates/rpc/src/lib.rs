//! What both servers and every client share: errors on the wire, request IDs, deadlines,
//! authorization, TLS, calls that are answered together, and the server and client themselves.
//!
//! A server is started by [`server::bind`], then [`server::Bound::serve`] with an
//! [`server::App`]. Its handlers read a request through [`request::RequestExt`] and answer
//! [`error::Error`]; nothing else makes a `tonic::Status`.
#![forbid(unsafe_code)]

pub mod batches;
pub mod caller;
pub mod client;
pub mod deadline;
pub mod error;
pub mod forwarded;
mod gathered;
mod health;
pub mod http;
pub mod layers;
pub mod metrics;
pub mod peer;
mod reflection;
pub mod request;
pub mod request_id;
pub mod runtime;
pub mod server;
#[cfg(test)]
mod testing;
pub mod tls;
