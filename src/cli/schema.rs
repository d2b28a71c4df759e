//! `cableway schema`: the JSON schema of a config.

use crate::config::Config;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Print the JSON schema of a config, for editors and other tools
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints it. A reader that has seen enough, as `head` has, is no error.
pub fn run(_: &Args) -> ExitCode {
    match writeln!(std::io::stdout().lock(), "{:#}", Config::schema().as_value()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("cableway: the schema cannot be written to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
