//! `cableway bench pipeline`.

use crate::bench::pipeline::{self, Case, Figure, Plan, Scope, table};
use crate::bench::report::Report;
use crate::interrupt;
use clap::builder::RangedU64ValueParser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Measure what packets take in memory, without devices
///
/// Two nodes are made from configs as `cableway run` makes them, with ports in memory. Packets go through one
/// (encap: from a pod into a tunnel; decap: out of it to a pod; route: from pod to pod) or through both (path), on
/// threads that are pinned to a core each.
///
/// Timed is, for each batch of up to 64 frames, all from the batch that was received to free memory: every stage, the
/// port's queue, and the port that lets go of the frames; on the path also their way from one node to the other. Not
/// timed is what makes the frames and puts them into the batch, just before: they are in the cache, as a NIC with DDIO
/// leaves them. The two looks at the clock for each batch are included, about half a nanosecond a packet.
///
/// A round is sixteen batches; the median is that of twenty slices of the time, with the interval that holds it by 95 %
/// as the slices differ. All routes lead to one peer, or one pod; their prefixes are as long as those of an Internet
/// routing table, and each flow goes to one of them. Stages are timed in a pass of their own, in which the clock is
/// read after each; what that takes is taken off. With several cores all work at a time on one set of tables,
/// each with packet memory, stages and flows of its own.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Pipeline {
    /// Work on so many cores at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    cores: usize,
    /// Measure every combination of routes, flows, mixes and sizes: ten minutes or so, 600 MB of memory
    #[arg(long, conflicts_with = "quick")]
    all: bool,
    /// Measure next to nothing, only to show that it works: figures of that mean little
    #[arg(long)]
    quick: bool,
    /// Measure only cases whose name contains this; may be given several times
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// List the names of the cases, and measure none
    #[arg(long)]
    list: bool,
    /// Milliseconds for each case, besides preparation and the pass for the stages
    #[arg(long, value_name = "MS", default_value = "500", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    time: u64,
    /// Write the report as JSON to this file as well
    ///
    /// {"schema": 1, "machine": {...}, "command": [...], "complete": false when it was interrupted,
    /// "pipeline": [{"id": "encap/vxlan/1-route/1-flow/64B", "action", "tunnel", "routes", "flows", "mix", "size",
    /// "packets_per_frame", "bytes_per_frame", "ns_per_packet": {"median", "low", "high"}, "least_ns_per_packet",
    /// "mpps", "gbit_per_second", "allocations_per_packet", "cores": [{"core", "ns_per_packet", "mpps", "rounds",
    /// "packets"}], "stages": [{"name", "share", "ns_per_packet"}]}]}; fields are added, never renamed or removed.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    json: Option<PathBuf>,
}

impl Pipeline {
    /// Does what was asked.
    pub(super) fn run(&self) -> ExitCode {
        let cases = match self.cases() {
            Ok(cases) => cases,
            Err(error) => {
                eprintln!("cableway bench pipeline: {error}");
                return ExitCode::from(2);
            }
        };
        if self.list {
            cases.iter().for_each(|case| println!("{case}"));
            return ExitCode::SUCCESS;
        }
        crate::cli::finish(self.measure(cases).map_err(|e| format!("cableway bench pipeline: {e}")))
    }

    /// What is asked for.
    fn cases(&self) -> Result<Vec<Case>, String> {
        let scope = match (self.quick, self.all) {
            (true, _) => Scope::Quick,
            (false, true) => Scope::All,
            (false, false) => Scope::Usual,
        };
        let wanted = |case: &Case| {
            let name = case.to_string();
            self.only.is_empty() || self.only.iter().any(|text| name.contains(text))
        };
        let of = |scope: Scope| scope.cases(&pipeline::tunnels()).into_iter().filter(wanted);
        let cases: Vec<_> = of(scope).collect();
        if !cases.is_empty() {
            return Ok(cases);
        }
        let only = self.only.join("` or `");
        let help = match of(Scope::All).count() {
            0 => "--list --all lists all cases".to_owned(),
            others => format!("with --all there are {others}"),
        };
        Err(format!("no case's name contains `{only}`; {help}"))
    }

    fn measure(&self, cases: Vec<Case>) -> Result<(), String> {
        interrupt::catch().map_err(|error| format!("signals cannot be caught: {error}"))?;
        let mut report = Report::begin();
        let time = if self.quick { 10.min(self.time) } else { self.time };
        let count = cases.len();
        let plan = Plan { cases, cores: self.cores, duration: Duration::from_millis(time) };
        let outcome = pipeline::run(&plan, |figure| {
            report.pipeline.push(figure);
            progress(&report.pipeline, count);
        });
        report.end(matches!(outcome, Ok(true)));
        // Also what was measured before it failed.
        print(&report);
        super::warn(&report);
        if let Some(path) = &self.json {
            report.write_json(path).map_err(|error| error.to_string())?;
        }
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(format!("interrupted after {} of {count} cases", report.pipeline.len()))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Shows people how far it is.
fn progress(figures: &[Figure], count: usize) {
    if let Some(Figure { id, ns_per_packet, .. }) = figures.last() {
        eprintln!("{:>3} of {count}  {id}: {:.1} ns", figures.len(), ns_per_packet.median);
    }
}

/// Prints the report for people.
fn print(report: &Report) {
    let (figures, machine) = (&report.pipeline, &report.machine);
    if figures.is_empty() {
        return;
    }
    let build = if machine.is_release { "release build" } else { "debug build" };
    let kind = if machine.is_virtual { "virtual machine" } else { "machine" };
    println!(
        "{} ({kind}, {} cores, load {:.1}), Linux {}; {build}\n\n{}\n\n{}\n\n{}",
        machine.processor,
        machine.cores,
        machine.load,
        machine.kernel,
        table::figures(figures),
        table::LEGEND,
        table::shares(figures)
    );
    if figures.iter().any(|figure| figure.cores.len() > 1) {
        println!("\n{}", table::cores(figures));
    }
}
