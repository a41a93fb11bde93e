//! What was measured, as a table for people and as JSON.

use std::fmt::Write as _;

use comfy_table::Table;
use serde::Serialize;

use crate::measured::{Measured, table};

/// Processor time of one part of the work.
#[derive(Serialize)]
pub(crate) struct Share {
    pub(crate) of: String,
    pub(crate) ms_per_login: f64,
    pub(crate) ms_per_review: f64,
}

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) api_server: String,
    pub(crate) database: String,
    pub(crate) processors: usize,
    pub(crate) rounds: usize,
    pub(crate) round_seconds: f64,
    pub(crate) tokens: usize,
    /// How long a token wasn't presented again.
    pub(crate) rest_seconds: u64,
    #[serde(flatten)]
    pub(crate) measured: Measured,
    /// Of a login alone, beyond a review alone.
    pub(crate) added_alone_ms: Option<f64>,
    pub(crate) sign_us: f64,
    pub(crate) verify_us: f64,
    pub(crate) processor_time: Vec<Share>,
}

impl Report {
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{}; {}; {} processors; {} rounds of {} s of each, in turn; {} tokens, none presented twice within {} s\n\n{}",
            self.api_server,
            self.database,
            self.processors,
            self.rounds,
            self.round_seconds,
            self.tokens,
            self.rest_seconds,
            self.measured.figures(),
        );
        if let Some(added) = self.added_alone_ms {
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "a login alone takes {added:.2} ms more than its review alone (medians)"
            );
        }
        let (sign, verify) = (self.sign_us, self.verify_us);
        let _ = writeln!(
            text,
            "decide and sign: {sign:.0} µs; verify: {verify:.0} µs"
        );
        let _ = writeln!(text, "\nProcessor time\n{}\n", self.processor_times());
        text.push_str(&self.measured.faults());
        text
    }

    fn processor_times(&self) -> Table {
        let mut table = table(&["", "ms a login", "ms a review"]);
        for share in &self.processor_time {
            let ms = |ms: f64| format!("{ms:.3}");
            let (login, review) = (ms(share.ms_per_login), ms(share.ms_per_review));
            table.add_row([share.of.clone(), login, review]);
        }
        table
    }
}
