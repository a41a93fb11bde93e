//! The helpers themselves, tried on real servers, sockets and files.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod capture;
mod chaos;
mod leaks;
mod postgres;
mod tls;
