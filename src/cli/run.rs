//! `cableway run`: the daemon.

use crate::config::{Config, LoadError};
use crate::control::daemon::{self, DaemonError};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// Run the daemon of this node
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's config
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What to log on standard error: a level, or directives such as `info,cableway::control=debug`
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = parse_filter)]
    log: EnvFilter,
}

/// Why a daemon did not run, or no longer does.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The config is not valid.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The machine is not as it must be.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
}

/// Runs until a signal ends it.
///
/// # Errors
/// When the config is not valid or the daemon fails.
pub fn run(args: Args) -> Result<(), RunError> {
    let config = Config::load_warned(&args.config, |warnings| eprintln!("{warnings}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(args.log)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        // A log that can't be written is no reason to end; to say so there would be one.
        .log_internal_errors(false)
        .init();
    Ok(daemon::run(config, &args.config)?)
}

/// Strict, unlike the filter's own conversion from text, which overlooks what it can't read.
fn parse_filter(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    text.parse()
}
