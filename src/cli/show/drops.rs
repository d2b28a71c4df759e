//! `cableway show drops`: the counters; with `--watch` how fast they grow; with `--samples` the latest
//! frames.

use super::{Columns, ShowError, or_dash, print};
use crate::control::management::client;
use crate::control::report;
use crate::control::samples::{DropSample, DropSamples};
use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Back to the first line of the terminal, and all below it cleared.
const AGAIN: &str = "\x1b[H\x1b[J";

/// What `show drops` can do that other `show` commands can't.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Of drops: again and again, with what was added each time, until Ctrl-C
    #[arg(long, conflicts_with_all = ["json", "samples"])]
    pub(super) watch: bool,
    /// Seconds from one time to the next
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds, requires = "watch")]
    interval: Duration,
    /// Of drops: the latest frames of each reason, or of this one
    #[arg(long, value_name = "REASON", num_args = 0..=1)]
    pub(super) samples: Option<Option<String>>,
    /// Their first bytes, too
    #[arg(short = 'x', requires = "samples")]
    hex: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let expected = || format!("found `{text}`; expected seconds, from 0.1 to 3600");
    let seconds: f64 = text.parse().map_err(|_| expected())?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(expected())
    }
}

/// Everything that was dropped, and the law.
pub(super) fn totals(report: &report::Drops, all: bool) -> String {
    let mut table = Columns::new(["reason", "frames", "what happened"]);
    for row in rows(report).filter(|row| all || row.count > 0) {
        table.row([row.reason, row.count.to_string(), row.text]);
    }
    let none = table.is_empty();
    let table = table.right(&["frames"]).text();
    let drops = if none { "no frame was dropped".to_owned() } else { table };
    format!("{drops}\n\n{}", law(&report.conservation))
}

/// A counter, ours or the kernel's.
struct Row {
    reason: String,
    count: u64,
    text: String,
}

fn rows(report: &report::Drops) -> impl Iterator<Item = Row> {
    let ours = report.drops.iter().map(|drop| Row {
        reason: drop.reason.clone(),
        count: drop.count,
        text: drop.text.clone(),
    });
    let kernel = report.kernel.iter().map(|drop| Row {
        reason: format!("kernel.{}", drop.reason),
        count: drop.count,
        text: format!("by the kernel, at port {}", drop.port),
    });
    ours.chain(kernel)
}

fn law(law: &report::Conservation) -> String {
    let report::Conservation { received, generated, split, replicated, .. } = law;
    let report::Conservation { emitted, held, merged, dropped, .. } = law;
    let sign = if law.balanced { "=" } else { "≠ (yet)" };
    format!(
        "received {received} + generated {generated} + split {split} + replicated {replicated}\n  \
         {sign} emitted {emitted} + held {held} + merged {merged} + dropped {dropped}"
    )
}

/// Asks and prints until nobody reads it any more, or the daemon does not answer.
pub(super) fn watch(socket: &Path, options: &Options, all: bool) -> Result<(), ShowError> {
    let mut rates = Rates::default();
    let front = if io::stdout().is_terminal() { AGAIN } else { "" };
    loop {
        let report: report::Drops = client::get(socket, "/v1/show/drops")?;
        let table = rates.table(&report, Instant::now(), all);
        if !print(&format!("{front}{table}\n"))? {
            return Ok(());
        }
        std::thread::sleep(options.interval);
    }
}

/// What was counted at the last look.
#[derive(Default)]
struct Rates {
    last: Option<(Instant, HashMap<[String; 2], u64>)>,
}

impl Rates {
    fn table(&mut self, report: &report::Drops, now: Instant, all: bool) -> String {
        let mut table = Columns::new(["reason", "frames", "more", "per second", "what happened"]);
        let mut counts = HashMap::new();
        for Row { reason, count, text } in rows(report) {
            let key = [reason.clone(), text.clone()];
            let (more, rate) = match &self.last {
                None => ("-".to_owned(), "-".to_owned()),
                Some((then, counts)) => {
                    // Fewer than before are those of another life of the daemon.
                    let before = counts.get(&key).copied().unwrap_or_default();
                    let more = count.checked_sub(before).unwrap_or(count);
                    let rate = more as f64 / (now - *then).as_secs_f64().max(0.001);
                    (more.to_string(), format!("{rate:.0}"))
                }
            };
            if all || count > 0 {
                table.row([reason, count.to_string(), more, rate, text]);
            }
            counts.insert(key, count);
        }
        self.last = Some((now, counts));
        if table.is_empty() {
            return "no frame was dropped\n".to_owned();
        }
        table.right(&["frames", "more", "per second"]).text() + "\n"
    }
}

/// The latest frames, the latest last.
pub(super) fn samples(report: &DropSamples, options: &Options) -> String {
    if report.samples.is_empty() {
        return "no frame was dropped".to_owned();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = |sample: &DropSample| ago(now.saturating_sub(Duration::from_millis(sample.unix_ms)));
    let mut table = Columns::new(["ago", "reason", "port", "peer", "frame", "packet"]);
    for sample in &report.samples {
        table.row([
            age(sample),
            sample.reason.clone(),
            sample.port.clone(),
            or_dash(&sample.peer),
            sample.len.to_string(),
            sample.packet.clone(),
        ]);
    }
    let text = table.right(&["ago", "frame"]).text();
    if !options.hex {
        return text;
    }
    let mut lines = text.lines();
    // The head of the table, and its line if it has one.
    let head = text.lines().count() - report.samples.len();
    let head: Vec<_> = lines.by_ref().take(head).collect();
    let each = lines.zip(&report.samples).map(|(line, sample)| {
        let dump = sample.bytes.as_bytes().chunks(64).map(|line| {
            let pairs = line.chunks(2).map(String::from_utf8_lossy);
            format!("\n    {}", pairs.collect::<Vec<_>>().join(" "))
        });
        format!("\n{line}{}", dump.collect::<String>())
    });
    head.join("\n") + &each.collect::<String>()
}

/// `350 ms`, `4.2 s`, `12 min`, `3 h`, `5 d`
fn ago(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..120 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
