//! What was measured, as a table for people and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::TokensArgs;
use crate::measured::{Measured, Ratio, Series};
use crate::rounds::Round;

const GIB: f64 = 1_073_741_824.0;

/// Rounds of each kind, as [`super::turn`] takes them.
#[derive(Default)]
pub(super) struct Turns([Vec<Round>; 4]);

#[derive(Serialize)]
pub(super) struct Report {
    processors: usize,
    rounds: usize,
    round_seconds: f64,
    live_tokens: u64,
    /// Of the table with its indexes.
    table_gib: f64,
    fill_seconds: f64,
    #[serde(flatten)]
    measured: Measured,
    expired_tokens: u64,
    /// From the first that went to the last; absent: nothing was swept.
    sweep_seconds: Option<f64>,
    revocation: Revocation,
}

/// Of all live tokens by one call, until it was acknowledged.
#[derive(Serialize)]
pub(super) struct Revocation {
    /// The control plane counts no further than a million.
    pub(super) counted: i64,
    pub(super) seconds: f64,
}

impl Turns {
    pub(super) fn add(&mut self, rounds: [Round; 4]) {
        for (kind, round) in self.0.iter_mut().zip(rounds) {
            kind.push(round);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    fn compared(
        &self,
        names: [&'static str; 4],
        ratios: [&'static str; 2],
        clients: usize,
    ) -> Measured {
        let named = names.into_iter().zip(&self.0);
        let series: Vec<_> = named
            .map(|(name, rounds)| Series::new(name, clients, rounds))
            .collect();
        let pairs = series.chunks_exact(2).zip(ratios);
        let ratios = pairs.filter_map(|(pair, name)| match pair {
            [empty, full] => Ratio::of(name, full, empty),
            _ => None,
        });
        let ratios = ratios.collect();
        Measured { series, ratios }
    }
}

impl Report {
    pub(super) fn new(
        args: &TokensArgs,
        bytes: i64,
        fill_seconds: f64,
        turns: &Turns,
        swept: &Turns,
        sweep_seconds: Option<f64>,
        revocation: Revocation,
    ) -> Self {
        let mut measured = turns.compared(
            [
                "exchange, empty",
                "exchange, full",
                "introspect, empty",
                "introspect, full",
            ],
            ["exchange, full / empty", "introspect, full / empty"],
            args.clients,
        );
        if !swept.is_empty() {
            let names = [
                "exchange, empty, meanwhile",
                "exchange, sweeping",
                "introspect, empty, meanwhile",
                "introspect, sweeping",
            ];
            let compared = ["exchange, sweeping / empty", "introspect, sweeping / empty"];
            measured.extend(swept.compared(names, compared, args.clients));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a size in GiB needs no precision"
        )]
        let table_gib = bytes as f64 / GIB;
        Self {
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            rounds: args.rounds,
            round_seconds: args.seconds,
            live_tokens: args.live,
            table_gib,
            fill_seconds,
            measured,
            expired_tokens: args.expired,
            sweep_seconds,
            revocation,
        }
    }

    /// Whether all that was asked was answered well.
    pub(super) fn is_clean(&self) -> bool {
        self.measured.is_clean()
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} live tokens ({:.1} GiB with indexes, filled in {:.0} s); {} processors; {} rounds of {} s of each, in turn\n\n{}",
            self.live_tokens,
            self.table_gib,
            self.fill_seconds,
            self.processors,
            self.rounds,
            self.round_seconds,
            self.measured.figures(),
        );
        if let Some(seconds) = self.sweep_seconds {
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "{} expired tokens were swept in {seconds:.0} s",
                self.expired_tokens
            );
        }
        let _ = writeln!(
            text,
            "all were revoked by one call in {:.2} s, {} of them counted",
            self.revocation.seconds, self.revocation.counted
        );
        text.push_str(&self.measured.faults());
        text
    }
}
