//! What the stories share: a running deployment, the command line, and raw calls.

mod assertions;
mod cli;
mod database;
mod load;
mod process;
mod rpc;
mod world;

pub(crate) use assertions::Forgery;
pub(crate) use cli::{Cli, Output};
pub(crate) use database::Database;
pub(crate) use load::{Load, log_in, login};
pub(crate) use process::{Process, free_port};
pub(crate) use rpc::{Caller, encoded, request};
pub(crate) use world::{Method, World};

use std::time::{Duration, Instant};

/// Asks until there is an answer; panics after `limit`.
pub(crate) fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
