//! `cableway bench lab`.

use crate::bench::arena::{POD_MTU, Underlay};
use crate::bench::contender::{self, Contender, Mode};
use crate::bench::lab::{self, Case, Event, Field, Plan, Times};
use crate::bench::report::Report;
use crate::bench::traffic::{Generator, Kind, SIZES, Side};
use clap::builder::PossibleValuesParser;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measure one router between a sender and a sink, in namespaces on this machine
///
/// Builds a pod, a node with the router, and another node, and takes them away again. Frames come from a
/// sender within the kernel that can overload anything, and go to a sink of ours that checks, counts and
/// times them. For each side, size and number of flows it tells
///
/// * overloaded: frames offered and delivered a second when the sender sends all that it can;
///
/// * highest: the highest rate of which less than 0.5 % are lost, besides what this machine loses at a
///   low rate;
///
/// * latency at 10, 50 and 90 % of that, each frame timed from when it should have been sent;
///
/// * processor time a packet at 50 % of it: of the whole machine but for the sender, and of the router's
///   own threads.
///
/// It needs root and Linux 5.18, and takes about ten seconds a case, three minutes for a contender's
/// default ones; a third of that with --quick. Ctrl-C ends it and keeps what was measured.
#[derive(Debug, clap::Args)]
pub(super) struct Lab {
    /// Routers to measure, one after the other
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "cableway-af_xdp",
        value_parser = PossibleValuesParser::new(contender::ALL.iter().map(|one| one.name())))]
    contender: Vec<String>,
    /// Ways through the router
    #[arg(long, value_delimiter = ',', default_value = "encap,decap")]
    side: Vec<Side>,
    /// Bytes of the pods' Ethernet frames, or `mtu`
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "60,512,mtu",
        value_parser = size)]
    size: Vec<usize>,
    /// Numbers of flows (UDP source ports)
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,64,1000",
        value_parser = clap::value_parser!(u32).range(1..=60_000))]
    flows: Vec<u32>,
    /// Who sends
    #[arg(long, default_value = "live")]
    generator: Generator,
    /// What joins the nodes
    #[arg(long, default_value = "super")]
    underlay: Underlay,
    /// Whether the router's own threads may sleep
    #[arg(long, default_value = "adaptive")]
    mode: Mode,
    /// Shorter trials, for a first look
    #[arg(long)]
    quick: bool,
    /// Write all figures as JSON to this file as well; its format is stable
    ///
    /// {"schema": 1, "machine": {…}, "command": […], "complete": whether all was measured, "lab":
    /// [{"contender", "modes", "mode", "underlay", "side", "size", "flows", "generator", "cores",
    /// "notes", "overload": {"offered", "delivered"}, "highest": {"rate", "loss", "low_load_loss",
    /// "allowed", "sender_bound", "confirmed", "trials"}, "latency": [{"share", "rate", "offered",
    /// "frames", "loss", "min", "p50", "p90", "p99", "p999", "max"}], "cpu": {"rate", "machine_ns",
    /// "threads_ns", "threads": [{"name", "busy"}], "idle"}}], "lab_failures": [{"contender", "why"}]}.
    /// Rates are frames a second, latencies nanoseconds, losses and shares 0 to 1; fields are added,
    /// never changed.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Lab {
    pub(super) fn run(self) -> ExitCode {
        let mut report = Report::begin();
        // Now, so that a file that can't be written is told before anything is measured; and after each
        // case, so that nothing is lost by whatever ends us.
        let write =
            |report: &Report| self.json.as_ref().map_or(Ok(()), |path| report.write_json(path));
        if let Err(error) = write(&report) {
            eprintln!("cableway bench: {error}");
            return ExitCode::FAILURE;
        }
        let table = Table::new();
        let done = lab::run(&self.plan(), |event| match event {
            Event::Begin(field) => table.begin(field),
            Event::Doing(kind, what) => table.progress(kind, &what),
            Event::Done(case) => {
                table.row(&case);
                report.lab.push(*case);
                // The last time tells.
                let _ = write(&report);
            }
            Event::Failed(failure) => {
                table.clear();
                eprintln!("cableway bench: {}: {}", failure.contender, failure.why);
                report.lab_failures.push(failure);
            }
        });
        table.clear();
        report.end(done.is_ok() && report.lab_failures.is_empty());
        super::warn(&report);
        let written = write(&report);
        let errors = [done.err().map(|e| e.to_string()), written.err().map(|e| e.to_string())];
        for error in errors.iter().flatten() {
            eprintln!("cableway bench: {error}");
        }
        let is_well = report.complete && errors.iter().all(Option::is_none);
        if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn plan(&self) -> Plan {
        let named = |name: &String| -> &'static dyn Contender {
            contender::find(name).expect("only names that are known are accepted")
        };
        Plan {
            contenders: self.contender.iter().map(named).collect(),
            sides: self.side.clone(),
            sizes: self.size.clone(),
            flows: self.flows.clone(),
            generator: self.generator,
            underlay: self.underlay,
            mode: self.mode,
            times: if self.quick { Times::QUICK } else { Times::FULL },
        }
    }
}

fn size(text: &str) -> Result<usize, String> {
    let size = if text == "mtu" { Some(POD_MTU + 14) } else { text.parse().ok() };
    size.filter(|size| SIZES.contains(size))
        .ok_or_else(|| format!("expected {} to {} bytes, or `mtu`", SIZES.start(), SIZES.end()))
}

/// What people see: a row for each case on standard output, and on a terminal what is being done.
struct Table {
    progress: bool,
}

impl Table {
    fn new() -> Table {
        Table { progress: std::io::stderr().is_terminal() }
    }

    fn begin(&self, field: &Field) {
        self.clear();
        let contender = field.contender();
        println!("{}: {}", contender.name(), contender.about());
        for mode in field.router().describe() {
            println!("  {mode}");
        }
        let cores = field.cores();
        println!("  sender on core {}, router on core {}\n", cores.sender, cores.routers[0]);
        println!(
            "{:>37} {:>15}   {:^36}  {:>17}",
            "overloaded, Mpps",
            "highest, Mpps",
            "latency p50 / p99 / p99.9, µs, at",
            "CPU, ns a packet"
        );
        println!(
            "{:>6} {:>5} {:>6} {:>8} {:>8} {:>8} {:>6} {:>14} {:>14} {:>14} {:>8} {:>8}",
            "side",
            "bytes",
            "flows",
            "offered",
            "deliv.",
            "rate",
            "loss",
            "10 %",
            "50 %",
            "90 %",
            "machine",
            "threads"
        );
    }

    fn row(&self, case: &Case) {
        self.clear();
        let mpps = |rate: f64| format!("{:.3}", rate / 1e6);
        let highest = &case.highest;
        let bound = if highest.sender_bound { "≥" } else { "" };
        let latency = |index: usize| {
            let micros = |time: u64| match time as f64 / 1e3 {
                long if long >= 100.0 => format!("{long:.0}"),
                short => format!("{short:.1}"),
            };
            let told = case.latency.get(index);
            told.map_or("-".into(), |l| {
                format!("{}/{}/{}", micros(l.p50), micros(l.p99), micros(l.p999))
            })
        };
        let cpu = |of: fn(&crate::bench::cpu::Cpu) -> f64| {
            case.cpu.as_ref().map_or("-".into(), |cpu| format!("{:.0}", of(cpu)))
        };
        println!(
            "{:>6} {:>5} {:>6} {:>8} {:>8} {:>8} {:>6} {:>14} {:>14} {:>14} {:>8} {:>8}",
            format!("{:?}", case.side).to_lowercase(),
            case.size,
            case.flows,
            mpps(case.overload.offered),
            mpps(case.overload.delivered),
            format!("{bound}{}", mpps(highest.rate)),
            format!("{:.2}%", highest.loss * 100.0),
            latency(0),
            latency(1),
            latency(2),
            cpu(|cpu| cpu.machine_ns),
            cpu(|cpu| cpu.threads_ns),
        );
        for note in &case.notes {
            println!("         {note}");
        }
    }

    fn progress(&self, kind: &Kind, what: &str) {
        if self.progress {
            let side = format!("{:?}", kind.side).to_lowercase();
            eprint!("\r{side}, {} bytes, {} flows: {what}\x1b[K", kind.size, kind.flows);
            let _ = std::io::stderr().flush();
        }
    }

    fn clear(&self) {
        if self.progress {
            eprint!("\r\x1b[K");
        }
    }
}
