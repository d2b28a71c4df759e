//! `cableway bench compare`.

use crate::bench::compare::measure::MEASURES;
use crate::bench::compare::rows::Outcome;
use crate::bench::compare::schedule::Schedule;
use crate::bench::compare::{self, Plan, Progress, Times, trial};
use crate::bench::contender;
use crate::bench::page;
use crate::bench::report::{self, Report, Row};
use clap::builder::PossibleValuesParser;
use comfy_table::{Table, presets};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Compare it with the kernel's tunnels and others in its place, in turn
#[derive(Debug, clap::Args)]
pub(super) struct Compare {
    /// Who is compared; all are when it is left out
    #[arg(long, value_name = "NAME", value_delimiter = ',',
        value_parser = PossibleValuesParser::new(contender::ALL.iter().map(|one| one.name())))]
    contender: Vec<String>,
    /// What is measured; everything is when it is left out
    #[arg(long, value_name = "ID", value_delimiter = ',',
        value_parser = PossibleValuesParser::new(MEASURES.iter().map(|one| one.id)))]
    only: Vec<String>,
    /// Rounds, in each of which every contender has a turn [default: 10, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// How long a trial takes [default: 2, or 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: Option<u16>,
    /// A quarter of an hour at most, for a first look
    #[arg(long)]
    quick: bool,
    /// Write all figures as JSON to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page for people to this file as well
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Compare {
    pub(super) fn run(self) -> ExitCode {
        let mut report = Report::begin();
        let plan = self.plan();
        let done = compare::run(&plan, &mut report, |progress| tell(&plan, progress));
        report.end(matches!(done, Ok(true)));
        println!("{}", table(&report));
        super::warn(&report);
        let done = done.map(drop).map_err(|error| error.to_string());
        let written = self.write(&report).map_err(|error| error.to_string());
        let errors: Vec<_> = [done, written].into_iter().filter_map(Result::err).collect();
        for error in &errors {
            eprintln!("cableway bench: {error}");
        }
        let is_well = report.complete && errors.is_empty();
        if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn write(&self, report: &Report) -> io::Result<()> {
        if let Some(path) = &self.json {
            report.write_json(path)?;
        }
        if let Some(path) = &self.html {
            report::write(path, &page::render(report))?;
        }
        Ok(())
    }

    fn plan(&self) -> Plan {
        let is_wanted = |name: &str, wanted: &[String]| {
            wanted.is_empty() || wanted.iter().any(|one| one == name)
        };
        let contenders = contender::ALL.iter().copied();
        let ids = MEASURES.iter().map(|measure| measure.id);
        let ids = ids.filter(|id| is_wanted(id, &self.only)).collect();
        let (rounds, seconds) = if self.quick { (3, 1) } else { (10, 2) };
        Plan {
            contenders: contenders.filter(|one| is_wanted(one.name(), &self.contender)).collect(),
            schedule: Schedule {
                trials: trial::for_measures(&ids),
                rounds: self.rounds.map_or(rounds, usize::from),
            },
            times: Times {
                warm_up: Duration::from_millis(200),
                trial: Duration::from_secs(self.seconds.unwrap_or(seconds).into()),
            },
        }
    }
}

fn tell(plan: &Plan, progress: Progress<'_>) {
    match progress {
        Progress::Qualified(name, None) => eprintln!("{name}: carries what it is given"),
        Progress::Qualified(name, Some(why)) => eprintln!("{name}: left out: {why}"),
        Progress::Failed(name, id, why) => eprintln!("{id}: {name} failed: {why}"),
        Progress::LeftOut(id, why) => eprintln!("{id}: left out: {why}"),
        Progress::Round(id, rounds) => {
            eprintln!("{id}: round {rounds} of {}", plan.schedule.rounds);
        }
    }
}

/// A line for each comparison.
fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["measure", "contender", "against", "value", "theirs", "unit", "ratio", ""]);
    for row in &report.results {
        let ratio = row.ratio.map_or("-".to_owned(), |ratio| {
            format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.low, ratio.high)
        });
        let Row { id, contender, baseline, unit, value, baseline_value, .. } = row;
        let outcome = match row.outcome() {
            Outcome::Better => "better",
            Outcome::Worse => "worse",
            Outcome::Open => "open",
        };
        let (value, theirs) = (page::figure(*value), page::figure(*baseline_value));
        table.add_row([id, contender, baseline, &value, &theirs, unit, &ratio, outcome]);
    }
    table
}
