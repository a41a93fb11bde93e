//! The control plane over real sockets, on SQLite.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test calls fails by panicking, as the test itself does"
)]

mod access_keys;
mod audit;
mod auth_method_changes;
mod auth_methods;
mod bootstrap;
mod certificates;
mod exchange;
mod gateways;
mod limits;
mod messages;
mod outage;
mod permissions;
mod reports;
mod sealed_configs;
mod server;
mod signing_keys;
mod watch;
mod world;
