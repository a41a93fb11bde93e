//! Series of calls and their ratios, as every report shows them.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::rounds::{Round, count};

/// What was measured in turn, and how it compares.
#[derive(Default, Serialize)]
pub(crate) struct Measured {
    pub(crate) series: Vec<Series>,
    pub(crate) ratios: Vec<Ratio>,
}

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

impl Measured {
    /// Whether all that was asked was answered well.
    pub(crate) fn is_clean(&self) -> bool {
        self.series.iter().all(|series| series.errors == 0)
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.series.extend(more.series);
        self.ratios.extend(more.ratios);
    }

    /// The table of calls, and a line for each ratio.
    pub(crate) fn figures(&self) -> String {
        let mut text = format!("{}\n\n", self.calls());
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
        text
    }

    /// A line for each thing that went wrong.
    pub(crate) fn faults(&self) -> String {
        let mut text = String::new();
        for series in &self.series {
            let Series {
                name,
                errors,
                dry_rounds,
                ..
            } = series;
            if let Some(error) = &series.first_error {
                let _ = writeln!(text, "{name}: {errors} errors; the first: {error}");
            }
            if *dry_rounds > 0 {
                let _ = writeln!(
                    text,
                    "{name}: {dry_rounds} rounds ended early, out of tokens"
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
