//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 the thing asked for failed, 2 wrong usage.

pub mod bench;
pub mod check;
pub mod cleanup;
pub mod edit;
pub mod lab;
pub mod run;
pub mod schema;
pub mod show;
pub mod trace;

use clap::Parser;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// A userspace overlay router for Linux nodes
#[derive(Debug, Parser)]
#[command(name = "cableway", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Check(check::Args),
    Cleanup(cleanup::Args),
    Add(edit::Add),
    Del(edit::Del),
    Apply(edit::Apply),
    Dump(edit::Dump),
    Show(show::Args),
    Trace(trace::Args),
    Lab(lab::Args),
    Bench(bench::Args),
    Schema(schema::Args),
}

/// Parses the command line and does what it says. Wrong usage ends the process here, with code 2.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => finish(run::run(*args)),
        Command::Check(args) => check::run(&args),
        Command::Cleanup(args) => finish(cleanup::run(&args)),
        Command::Add(args) => finish(args.run()),
        Command::Del(args) => finish(args.run()),
        Command::Apply(args) => finish(args.run()),
        Command::Dump(args) => finish(args.run()),
        Command::Show(args) => finish(show::run(&args)),
        Command::Trace(args) => finish(trace::run(&args)),
        Command::Lab(args) => lab::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Schema(args) => schema::run(&args),
    }
}

/// Reports an error and turns the result into the exit code.
fn finish(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever would read it may be gone.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
