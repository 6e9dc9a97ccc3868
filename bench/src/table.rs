//! The one table: medians, spread, ratios, in Markdown.

use std::fmt::Write as _;

/// One measured run of one server. What a scenario does not measure is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// In which round: ratios are those of one round.
    pub(crate) round: usize,
    /// Acknowledged, or end to end delivered, a second.
    pub(crate) per_second: Option<f64>,
    /// Latency: median, 99th and 99.9th percentile.
    pub(crate) p50_ms: Option<f64>,
    /// See `p50_ms`.
    pub(crate) p99_ms: Option<f64>,
    /// See `p50_ms`.
    pub(crate) p999_ms: Option<f64>,
    /// Processor seconds of the server's processes per 10,000 requests.
    pub(crate) cpu_per_10k: Option<f64>,
    /// Memory of all of the server's processes when the load stopped; pages that they share count once.
    pub(crate) memory_mib: Option<f64>,
    /// Bytes the server wrote towards the disk per request.
    pub(crate) written_per_request: Option<f64>,
    /// The same server's rate while nothing is owed from before, where that is what its rate is compared with.
    pub(crate) unburdened_per_second: Option<f64>,
    /// Requests that were not answered 2xx.
    pub(crate) failed: u64,
    /// Share of the machine that was neither the server's nor the bench's.
    pub(crate) others: Option<f64>,
    /// What else is to be said.
    pub(crate) note: Option<String>,
}

/// One line: a server under a load, over all rounds.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The load.
    pub(crate) scenario: String,
    /// The server.
    pub(crate) peer: String,
    /// Its rounds, in order: round by round they ran next to those of its rivals.
    pub(crate) samples: Vec<Sample>,
    /// Servers of the same scenario that it is compared with.
    pub(crate) against: Vec<String>,
    /// The load's rate is fixed, so that rates say nothing and latencies are compared.
    pub(crate) paced: bool,
}

const HEADINGS: [&str; 12] = [
    "scenario",
    "server",
    "per second",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "CPU s/10k",
    "against",
    "memory MiB",
    "written B/webhook",
    "failed",
    "others %",
];

/// The table of these rows, with their notes below.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = format!("| {} |\n|{}\n", HEADINGS.join(" | "), " --- |".repeat(HEADINGS.len()));
    for row in rows {
        let cells = [
            row.scenario.clone(),
            row.peer.clone(),
            row.spread(|sample| sample.per_second),
            row.spread(|sample| sample.p50_ms),
            row.spread(|sample| sample.p99_ms),
            row.spread(|sample| sample.p999_ms),
            row.spread(|sample| sample.cpu_per_10k),
            row.comparisons(rows),
            row.spread(|sample| sample.memory_mib),
            row.spread(|sample| sample.written_per_request),
            row.samples.iter().map(|sample| sample.failed).sum::<u64>().to_string(),
            row.spread(|sample| sample.others.map(|share| share * 100.0)),
        ];
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let notes = rows
        .iter()
        .flat_map(|row| row.samples.iter().filter_map(move |sample| Some((row, sample.note.as_ref()?))));
    for (index, (row, note)) in notes.enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}- {}, {}: {note}", row.scenario, row.peer);
    }
    text
}

impl Row {
    /// Median and range of a figure: `median (min–max)`.
    fn spread(&self, figure: impl Fn(&Sample) -> Option<f64>) -> String {
        let mut values: Vec<f64> = self.samples.iter().filter_map(figure).collect();
        let Some(median) = median(&mut values) else { return "–".into() };
        match values.as_slice() {
            [only] => number(*only),
            [low, .., high] => format!("{} ({}–{})", number(median), number(*low), number(*high)),
            [] => "–".into(),
        }
    }

    fn comparisons(&self, rows: &[Self]) -> String {
        let mut own: Vec<f64> = self
            .samples
            .iter()
            .filter_map(|sample| Some(sample.per_second? / sample.unburdened_per_second?))
            .collect();
        let own = median(&mut own).map(|ratio| format!("rate {ratio:.2}× of its own with none owed"));
        let rivals = self.against.iter().filter_map(|peer| {
            let rival = rows.iter().find(|row| row.scenario == self.scenario && row.peer == *peer)?;
            self.comparison(rival)
        });
        let texts: Vec<_> = own.into_iter().chain(rivals).collect();
        if texts.is_empty() { "–".into() } else { texts.join("; ") }
    }

    /// Medians of the ratios within each round, which cancel what changed between rounds.
    fn comparison(&self, rival: &Self) -> Option<String> {
        type Figure = fn(&Sample) -> Option<f64>;
        let cpu: (&str, Figure) = ("CPU", |sample| sample.cpu_per_10k);
        let figures: Vec<(&str, Figure)> = if self.paced {
            vec![("p50", |sample| sample.p50_ms), ("p99", |sample| sample.p99_ms), cpu]
        } else {
            vec![("rate", |sample| sample.per_second), cpu]
        };
        let parts: Vec<_> = figures
            .into_iter()
            .filter_map(|(name, figure)| {
                let mut ratios: Vec<f64> = self
                    .samples
                    .iter()
                    .filter_map(|ours| {
                        let theirs = rival.samples.iter().find(|theirs| theirs.round == ours.round)?;
                        Some(figure(ours)? / figure(theirs)?)
                    })
                    .filter(|ratio| ratio.is_finite())
                    .collect();
                Some(format!("{name} {:.2}×", median(&mut ratios)?))
            })
            .collect();
        (!parts.is_empty()).then(|| format!("{} of {}", parts.join(", "), rival.peer))
    }
}

/// Sorts the values; the middle one, or the mean of the middle two.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[half]),
        _ => Some(f64::midpoint(values[half - 1], values[half])),
    }
}

/// Three digits that count, thousands set apart.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 || size == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, rates: &[f64], cpu: f64) -> Row {
        let sample = |(round, rate): (usize, &f64)| Sample {
            round,
            per_second: Some(*rate),
            cpu_per_10k: Some(cpu),
            ..Sample::default()
        };
        Row {
            scenario: "relay".into(),
            peer: peer.into(),
            samples: rates.iter().enumerate().map(sample).collect(),
            against: vec!["slow".into(), "absent".into()],
            paced: false,
        }
    }

    #[test]
    fn figures_are_medians_with_their_range() {
        let text = markdown(&[row("slow", &[3_000.0, 1_000.0, 2_000.0], 4.0)]);
        assert!(text.contains("| 2,000 (1,000–3,000) |"), "{text}");
        assert!(text.contains("| 4.00 (4.00–4.00) |"), "{text}");
    }

    #[test]
    fn ratios_are_medians_of_the_ratios_of_each_round() {
        let slow = row("slow", &[1_000.0, 2_000.0, 4_000.0], 4.0);
        let fast = row("fast", &[10_000.0, 22_000.0, 48_000.0], 1.0);
        let text = markdown(&[slow, fast]);
        assert!(text.contains("rate 11.00×, CPU 0.25× of slow |"), "{text}");
    }

    #[test]
    fn a_round_that_only_one_of_two_finished_counts_in_no_ratio() {
        let mut slow = row("slow", &[1_000.0, 2_000.0, 4_000.0], 4.0);
        slow.samples.remove(0);
        let fast = row("fast", &[10_000.0, 22_000.0, 44_000.0], 1.0);
        let text = markdown(&[slow, fast]);
        assert!(text.contains("rate 11.00×, CPU 0.25× of slow |"), "{text}");
    }

    #[test]
    fn a_rate_is_compared_with_its_own_where_it_has_one() {
        let mut drained = row("drained", &[900.0], 1.0);
        drained.samples[0].unburdened_per_second = Some(1_000.0);
        let text = markdown(&[drained]);
        assert!(text.contains("rate 0.90× of its own with none owed |"), "{text}");
    }

    #[test]
    fn every_line_has_every_cell_and_what_was_not_measured_is_a_dash() {
        let mut empty = row("empty", &[], 0.0);
        empty.samples.push(Sample { note: Some("said".into()), ..Sample::default() });
        let text = markdown(&[empty]);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(lines.len(), 3);
        for line in lines {
            assert_eq!(line.matches('|').count(), HEADINGS.len() + 1, "{line}");
        }
        assert!(text.contains("- relay, empty: said"), "{text}");
    }

    #[test]
    fn numbers_keep_the_digits_that_count() {
        let cases =
            [(0.0, "0.00"), (0.1234, "0.123"), (12.34, "12.3"), (999.6, "1,000"), (1_234_567.0, "1,234,567")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
