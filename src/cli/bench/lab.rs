//! `cableway bench lab`.

use crate::bench::arena::{POD_MTU, Underlay};
use crate::bench::contender::{self, Contender, Mode};
use crate::bench::lab::{self, Case, Plan, Times};
use crate::bench::report::Report;
use crate::bench::traffic::{SIZES, Side};
use clap::builder::PossibleValuesParser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measure one router between a sender and a sink, in namespaces on this machine
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
    /// What joins the nodes
    #[arg(long, default_value = "super")]
    underlay: Underlay,
    /// Whether the router's own threads may sleep
    #[arg(long, default_value = "adaptive")]
    mode: Mode,
    /// Take a minute, for a first look
    #[arg(long)]
    quick: bool,
    /// Write all figures as JSON to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Lab {
    pub(super) fn run(self) -> ExitCode {
        let mut report = Report::begin();
        let done = lab::run(&self.plan(), |case| {
            print(&case);
            report.lab.push(case);
        });
        report.complete = done.is_ok();
        let written = self.json.map_or(Ok(()), |path| report.write_json(&path));
        for error in [done.map_err(|e| e.to_string()), written.map_err(|e| e.to_string())] {
            if let Err(error) = error {
                eprintln!("cableway bench: {error}");
                report.complete = false;
            }
        }
        if report.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

fn print(case: &Case) {
    let Some(rates) = case.overload else { return };
    println!(
        "{} {:?} {} bytes, {} flows: overloaded with {:.3} Mpps, delivers {:.3} Mpps",
        case.contender,
        case.side,
        case.size,
        case.flows,
        rates.offered / 1e6,
        rates.delivered / 1e6
    );
}
