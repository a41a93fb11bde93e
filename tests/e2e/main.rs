//! The whole product from outside: the real command line, real sockets with TLS, a simulated cluster.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod administrators;
mod audit;
mod bad_files;
mod bad_input;
mod command_line;
mod dev;
mod doctor;
mod documents;
mod explain;
mod faults;
mod gateways;
mod hostile;
mod import;
mod jwt;
mod key_rotation;
mod leaks;
mod load;
mod matrix;
mod method_settings;
mod mutual_tls;
mod observability;
mod offline;
mod outages;
mod pods;
mod proxies;
mod reaching;
mod readme;
mod refusals;
mod resilience;
mod revocation;
mod roles;
mod rules;
mod seal_keys;
mod support;
mod thieves;
mod tokens;
mod tutorial;
mod writers;
