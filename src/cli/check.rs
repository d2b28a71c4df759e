//! `cableway check`: validates configs without touching the machine.

use crate::config::Config;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check config files, and list every error in them
///
/// Prints `FILE: ok` for a valid file, and each error as FILE:LINE:COLUMN, what was found and what
/// is expected. What is valid and hardly meant so is a warning. Nothing is looked up on the machine: a file can be checked anywhere.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The files to check
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Checks all of them; fails if one is not valid.
pub fn run(args: &Args) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        match Config::load_warned(file, |warnings| eprintln!("{warnings}")) {
            Ok(_) => println!("{}: ok", file.display()),
            Err(errors) => {
                eprintln!("{errors}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
