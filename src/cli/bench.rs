//! `cableway bench`: measures Cableway, and what it is compared with.

mod compare;
mod lab;
mod pipeline;

use crate::bench::report::Report;
use std::process::ExitCode;

/// Measure how fast it is
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    Pipeline(pipeline::Pipeline),
    Lab(lab::Lab),
    Compare(compare::Compare),
}

/// Does what was asked.
pub fn run(args: Args) -> ExitCode {
    match args.bench {
        Bench::Pipeline(pipeline) => pipeline.run(),
        Bench::Lab(lab) => lab.run(),
        Bench::Compare(compare) => compare.run(),
    }
}

/// Says what must not be overlooked.
fn warn(report: &Report) {
    for caveat in report.caveats() {
        eprintln!("cableway bench: {caveat}");
    }
}
