//! What a demo tells: a table for people, JSON for programs.

use super::super::file::{Family, Io};
use super::super::topology::Topology;
use super::super::{Error, Result};
use super::{Fault, MEASURED_FOR, Scene, Verdict, explanation, traffic};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// The outcome so far. Its JSON form is stable: fields are added, never changed.
#[derive(Serialize)]
pub(super) struct Report {
    /// Whether no check failed.
    ok: bool,
    lab: Lab,
    checks: Vec<Line>,
    measured: Vec<Measured>,
    #[serde(skip)]
    explanation: Option<String>,
}

#[derive(Serialize)]
struct Lab {
    file: String,
    encap: &'static str,
    underlay: Family,
    io: Io,
}

#[derive(Serialize)]
struct Line {
    name: String,
    ok: bool,
    /// Whether there was something to check.
    applicable: bool,
    detail: String,
}

/// Between the first pods of the first two nodes.
#[derive(Serialize)]
struct Measured {
    family: Family,
    /// One TCP stream.
    tcp_bits_per_second: f64,
    /// Round trips of 64 bytes over TCP, one at a time.
    round_trip_p50_ns: u64,
    round_trip_p99_ns: u64,
}

impl Report {
    pub(super) fn new(topology: &Topology) -> Self {
        Self {
            ok: true,
            lab: Lab {
                file: topology.file.clone(),
                encap: topology.encap(),
                underlay: topology.family,
                io: topology.io,
            },
            checks: Vec::new(),
            measured: Vec::new(),
            explanation: None,
        }
    }

    /// Whether no check failed.
    pub(super) fn ok(&self) -> bool {
        self.ok
    }

    /// Adds a check.
    pub(super) fn check(&mut self, name: &str, verdict: Verdict) {
        let (ok, applicable, detail) = match verdict {
            Ok(detail) => (true, true, detail),
            Err(Fault::Failed(detail)) => (false, true, detail),
            Err(Fault::NotApplicable(why)) => (true, false, why),
        };
        self.ok &= ok;
        self.checks.push(Line { name: name.to_owned(), ok, applicable, detail });
    }

    /// Measures each family; one that does not work has failed its checks already.
    pub(super) fn measure(&mut self, scene: &Scene) {
        let Ok([from, to]) = scene.pods() else { return };
        for address in to.addresses.iter() {
            let (from, to) = (&from.netns, &to.netns);
            let stream = traffic::throughput(from, to, address, MEASURED_FOR);
            let trips = traffic::ping_pong(from, to, address, MEASURED_FOR / 2);
            let (Ok(tcp_bits_per_second), Ok(trips)) = (stream, trips) else { continue };
            self.measured.push(Measured {
                family: Family::from(address),
                tcp_bits_per_second,
                round_trip_p50_ns: trips.value_at_quantile(0.5),
                round_trip_p99_ns: trips.value_at_quantile(0.99),
            });
        }
    }

    /// Asks the daemons for what explains a failure, while they are still there.
    pub(super) fn explain(&mut self, topology: &Topology) {
        if !self.ok {
            self.explanation = Some(explanation(topology));
        }
    }

    /// Prints the table to standard output, and what explains failures to standard error.
    pub(super) fn print(&self) {
        let Lab { file, encap, underlay, io } = &self.lab;
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["CHECK", "", "DETAIL"]);
        for Line { name, ok, applicable, detail } in &self.checks {
            let word = match (ok, applicable) {
                (true, true) => "ok",
                (true, false) => "n/a",
                (false, _) => "FAILED",
            };
            table.add_row([name.as_str(), word, detail]);
        }
        for Measured { family, tcp_bits_per_second, round_trip_p50_ns, round_trip_p99_ns } in
            &self.measured
        {
            let rate = format!("{:.2} Gbit/s", tcp_bits_per_second / 1e9);
            let micros = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1e6;
            let (p50, p99) = (micros(*round_trip_p50_ns), micros(*round_trip_p99_ns));
            table.add_row([&format!("{family} TCP, 1 stream"), "", &rate]);
            let trip = format!("p50 {p50:.0} µs, p99 {p99:.0} µs");
            table.add_row([&format!("{family} TCP round trip"), "", &trip]);
        }
        println!("{file}: {encap} over {underlay}, pods by {}\n\n{}", io.name(), table.trim_fmt());
        if let Some(text) = &self.explanation {
            eprintln!("\n{text}");
        }
    }

    /// Writes it as JSON.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("no map with keys other than strings");
        std::fs::write(path, text + "\n").map_err(|source| Error::io("write", path, source))
    }
}
