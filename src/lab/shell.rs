//! Commands of the system's own tools.
//!
//! The lab is built by `ip`, `bridge` and the like rather than by netlink, so that what it does can
//! be read, and repeated by hand: a command that fails is reported as the line it was.

use crate::interrupt;
use std::io;
use std::process::{Command, Output, Stdio};

/// Why a command did not do its job.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("`{line}`: cannot be started: {source}; `make setup` installs what the lab uses")]
    Start {
        /// The whole line.
        line: String,
        /// What the system said.
        source: io::Error,
    },
    /// It failed.
    #[error("`{line}`: {status}: {stderr}")]
    Failed {
        /// The whole line.
        line: String,
        /// Its exit code or signal.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Fails when the user asked to stop.
pub(crate) fn check_interrupt() -> Result<(), Error> {
    if interrupt::is_raised() { Err(Error::Interrupted) } else { Ok(()) }
}

/// Runs a line, split at white space; its standard output.
pub(crate) fn run(line: &str) -> Result<String, Error> {
    check_interrupt()?;
    attempt(line)
}

/// The same, also after an interrupt: for what cleans up.
pub(crate) fn attempt(line: &str) -> Result<String, Error> {
    let output = output(line)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(Error::Failed { line: line.into(), status: output.status, stderr })
}

/// Runs a line whatever comes of it.
pub(crate) fn output(line: &str) -> Result<Output, Error> {
    command(line)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Start { line: line.into(), source })
}

/// A line as a command.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Formats a line, runs it, and fails with its text.
macro_rules! sh {
    ($($line:tt)+) => { $crate::lab::shell::run(&format!($($line)+)) };
}
pub(crate) use sh;
