//! `cableway lab`: an overlay of namespaces on this machine.

use crate::lab::file::{Family, Io};
use crate::lab::topology::Overrides;
use crate::lab::{self, demo};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Build a whole overlay on this machine: nodes and pods as network namespaces
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Build a lab to play with
    Up(Lab),
    /// Remove it, or what a crash left of one
    Down,
    /// Run a command in a pod, in a node or in the wire between the nodes
    Exec {
        /// Name of a pod, of a node, or "wire"
        pod: String,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Build a lab, prove that it works, tell what was measured, remove it
    Demo {
        #[command(flatten)]
        lab: Lab,
        /// Write the outcome as JSON to this file as well
        ///
        /// {"ok": whether no check failed, "lab": {"file", "encap", "underlay", "io"},
        /// "checks": [{"name", "ok", "applicable", "detail"}], "measured": [{"family",
        /// "tcp_bits_per_second", "round_trip_p50_ns", "round_trip_p99_ns"}]}; fields are added,
        /// never changed.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Lab {
    /// A topology, as in configs/lab/; two nodes with two pods each when absent
    file: Option<PathBuf>,
    /// Kind of tunnel, one that the topology configures
    #[arg(long, value_name = "KIND")]
    encap: Option<String>,
    /// Family of the outer packets
    #[arg(long)]
    underlay: Option<Family>,
    /// What the pods of cableway nodes are attached by
    #[arg(long)]
    io: Option<Io>,
}

impl Lab {
    fn read(self) -> lab::Result<lab::topology::Topology> {
        let overrides = Overrides { encap: self.encap, family: self.underlay, io: self.io };
        lab::read(self.file.as_deref(), &overrides)
    }
}

/// Does what was asked.
pub fn run(args: Args) -> ExitCode {
    let done = match args.command {
        Command::Up(lab) => lab.read().and_then(|topology| {
            lab::up(&topology)?;
            print!("{}", lab::guide(&topology));
            Ok(true)
        }),
        Command::Down => lab::down().map(|was_up| {
            println!("{}", if was_up { "the lab is removed" } else { "no lab was up" });
            true
        }),
        Command::Exec { pod, command } => lab::exec(&pod, &command).map(|never| match never {}),
        Command::Demo { lab, json } => {
            lab.read().and_then(|topology| demo::run(&topology, json.as_deref()))
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cableway lab: {error}");
            ExitCode::FAILURE
        }
    }
}
