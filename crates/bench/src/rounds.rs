//! Closed loops for a while, and what they took.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::client::{Called, Client};

/// What one round of one kind of call did.
#[derive(Default)]
pub(crate) struct Round {
    pub(crate) length: Duration,
    /// Of each call, in microseconds.
    pub(crate) latencies: Vec<u32>,
    /// The first error's text, and how many there were.
    pub(crate) errors: Option<(String, usize)>,
    /// It ended early for want of tokens.
    pub(crate) dry: bool,
}

/// How long a round may go on: whichever comes first.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) length: Duration,
    /// Of each client.
    pub(crate) calls: usize,
}

/// Lets the clients ask until the limits, and gives them back.
pub(crate) async fn round(clients: &mut Vec<Client>, limits: Limits) -> Result<Round> {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for client in clients.drain(..) {
        running.spawn(closed_loop(client, start + limits.length, limits.calls));
    }
    let mut round = Round::default();
    while let Some(done) = running.join_next().await {
        let (client, one) = done?;
        clients.push(client);
        round.add(one);
    }
    round.length = start.elapsed();
    Ok(round)
}

async fn closed_loop(mut client: Client, end: Instant, calls: usize) -> (Client, Round) {
    let mut round = Round::default();
    for _ in 0..calls {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        match client.call().await {
            Ok(Called::Answered) => round.latencies.push(micros(begun.elapsed())),
            Ok(Called::Dry) => {
                round.dry = true;
                break;
            }
            Err(error) => round.failed(format!("{error:#}"), 1),
        }
    }
    (client, round)
}

fn micros(length: Duration) -> u32 {
    u32::try_from(length.as_micros()).unwrap_or(u32::MAX)
}

impl Round {
    fn add(&mut self, mut other: Self) {
        self.latencies.append(&mut other.latencies);
        self.dry |= other.dry;
        if let Some((text, count)) = other.errors {
            self.failed(text, count);
        }
    }

    fn failed(&mut self, text: String, more: usize) {
        let (_, count) = self.errors.get_or_insert((text, 0));
        *count += more;
    }

    pub(crate) fn per_second(&self) -> f64 {
        let seconds = self.length.as_secs_f64().max(f64::EPSILON);
        count(self.latencies.len()) / seconds
    }
}

/// Counts here are far below where a float loses one.
pub(crate) fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::MAX, f64::from)
}
