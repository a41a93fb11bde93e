//! What was measured, as a table for people and as JSON.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::rounds::{Round, count};

/// One kind of call.
#[derive(Serialize)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// At once.
    pub(crate) clients: usize,
    pub(crate) calls: usize,
    /// Absent where a call failed: then the others' time means nothing.
    pub(crate) figures: Option<Figures>,
    /// Of each round.
    pub(crate) per_second_by_round: Vec<f64>,
    pub(crate) errors: usize,
    pub(crate) first_error: Option<String>,
    /// Rounds that ended early for want of tokens.
    pub(crate) dry_rounds: usize,
}

#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// A throughput as a part of another one's of the same rounds.
#[derive(Serialize)]
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    /// The lowest and the highest of a round.
    pub(crate) between: (f64, f64),
}

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
    pub(crate) series: Vec<Series>,
    pub(crate) ratios: Vec<Ratio>,
    /// Of a login alone, beyond a review alone.
    pub(crate) added_alone_ms: Option<f64>,
    pub(crate) sign_us: f64,
    pub(crate) verify_us: f64,
    pub(crate) processor_time: Vec<Share>,
}

impl Series {
    pub(crate) fn new(name: &'static str, clients: usize, rounds: &[Round]) -> Self {
        let mut latencies: Vec<u32> = rounds
            .iter()
            .flat_map(|round| round.latencies.iter().copied())
            .collect();
        latencies.sort_unstable();
        let errors: Vec<_> = rounds
            .iter()
            .filter_map(|round| round.errors.as_ref())
            .collect();
        let seconds: f64 = rounds.iter().map(|round| round.length.as_secs_f64()).sum();
        Self {
            name,
            clients,
            calls: latencies.len(),
            figures: Figures::of(&latencies, seconds).filter(|_| errors.is_empty()),
            per_second_by_round: rounds.iter().map(Round::per_second).collect(),
            errors: errors.iter().map(|(_, count)| count).sum(),
            first_error: errors.first().map(|(text, _)| text.clone()),
            dry_rounds: rounds.iter().filter(|round| round.dry).count(),
        }
    }
}

impl Figures {
    /// Of sorted latencies; `None` of none.
    fn of(latencies: &[u32], seconds: f64) -> Option<Self> {
        let last = latencies.len().checked_sub(1)?;
        let at = |percent: usize| ms(latencies.get(last * percent / 100));
        Some(Self {
            per_second: count(latencies.len()) / seconds,
            p50_ms: at(50),
            p90_ms: at(90),
            p99_ms: at(99),
            max_ms: at(100),
        })
    }
}

fn ms(micros: Option<&u32>) -> f64 {
    micros.map_or(0.0, |micros| f64::from(*micros) / 1000.0)
}

impl Ratio {
    /// `None` where a figure is missing.
    pub(crate) fn of(name: &'static str, part: &Series, whole: &Series) -> Option<Self> {
        let value = part.figures.as_ref()?.per_second / whole.figures.as_ref()?.per_second;
        let rounds = part
            .per_second_by_round
            .iter()
            .zip(&whole.per_second_by_round)
            .map(|(part, whole)| part / whole);
        let between = rounds.fold((f64::MAX, 0.0_f64), |(low, high), ratio| {
            (low.min(ratio), high.max(ratio))
        });
        Some(Self {
            name,
            value,
            between,
        })
    }
}

impl Report {
    /// Whether all that was asked was answered well.
    pub(crate) fn is_clean(&self) -> bool {
        self.series.iter().all(|series| series.errors == 0)
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{}; {}; {} processors; {} rounds of {} s of each, in turn; {} tokens, none presented twice within {} s\n\n{}\n\n",
            self.api_server,
            self.database,
            self.processors,
            self.rounds,
            self.round_seconds,
            self.tokens,
            self.rest_seconds,
            self.calls(),
        );
        for Ratio {
            name,
            value,
            between: (low, high),
        } in &self.ratios
        {
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "{name}: {value:.2} ({low:.2} to {high:.2} in a round)"
            );
        }
        if let Some(added) = self.added_alone_ms {
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
        let _ = write!(text, "\nProcessor time\n{}", self.processor_times());
        for series in &self.series {
            if let Some(error) = &series.first_error {
                let _ = write!(
                    text,
                    "\n{}: {} errors; the first: {error}",
                    series.name, series.errors
                );
            }
            if series.dry_rounds > 0 {
                let _ = write!(
                    text,
                    "\n{}: {} rounds ended early, out of tokens",
                    series.name, series.dry_rounds
                );
            }
        }
        text
    }

    fn calls(&self) -> Table {
        let mut table = table(&[
            "",
            "at once",
            "per second",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
        ]);
        for series in &self.series {
            let mut row = vec![series.name.to_owned(), series.clients.to_string()];
            match &series.figures {
                Some(f) => {
                    row.push(format!("{:.0}", f.per_second));
                    let latencies = [f.p50_ms, f.p90_ms, f.p99_ms, f.max_ms];
                    row.extend(latencies.map(|ms| format!("{ms:.2}")));
                }
                None => row.push("no figure".to_owned()),
            }
            table.add_row(row);
        }
        table
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

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn round(latencies: &[u32]) -> Round {
        Round {
            length: Duration::from_secs(1),
            latencies: latencies.to_vec(),
            ..Round::default()
        }
    }

    #[test]
    fn a_series_has_percentiles_of_all_its_rounds() {
        let latencies: Vec<u32> = (1..=100).map(|i| i * 1000).collect();
        let (first, second) = latencies.split_at(30);
        let series = Series::new("x", 1, &[round(second), round(first)]);
        let figures = series.figures.unwrap();
        assert!((figures.per_second - 50.0).abs() < 0.01);
        assert!((figures.p50_ms - 50.0).abs() < 0.01);
        assert!((figures.p99_ms - 99.0).abs() < 0.01);
        assert!((figures.max_ms - 100.0).abs() < 0.01);
    }

    #[test]
    fn an_error_leaves_no_figure_and_no_ratio() {
        let mut bad = round(&[1, 2]);
        bad.errors = Some(("gone".to_owned(), 3));
        let (good, bad) = (
            Series::new("good", 1, &[round(&[1])]),
            Series::new("bad", 1, &[round(&[1]), bad]),
        );
        assert!(bad.figures.is_none());
        assert_eq!((bad.errors, bad.first_error.as_deref()), (3, Some("gone")));
        assert!(Ratio::of("r", &bad, &good).is_none());
        assert!(Ratio::of("r", &good, &bad).is_none());
    }
}
