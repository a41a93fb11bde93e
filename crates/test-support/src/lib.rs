//! What several crates' tests need and no shipped code does: a private PostgreSQL, a proxy that
//! breaks connections on purpose, the search for leaked secrets, a log buffer and a test CA.
//!
//! Everything here panics with a reason instead of returning errors: a test can do nothing else
//! with them.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "only tests use this crate: a panic with its reason is how they fail"
)]

pub mod capture;
pub mod chaos;
pub mod fixtures;
pub mod leaks;
pub mod postgres;
