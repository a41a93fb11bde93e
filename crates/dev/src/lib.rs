//! A whole Postern in one process: the folder that a deployment starts from, the servers, and a
//! simulated cluster beside them.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod deployment;
mod ports;
mod probe;
mod server;
pub mod stack;
pub mod state;

pub use ports::Port;
pub use stack::{Stack, StackOptions, StartError};
