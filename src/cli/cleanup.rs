//! `cableway cleanup`: after a daemon that was killed and is not started again.

use crate::config::{Config, LoadError};
use crate::control::cleanup::{self, CleanupError};
use std::io;
use std::path::PathBuf;

/// Remove what a killed daemon left in this network namespace, and what came to it through its API
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's config, for its management socket
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Management socket of the daemon
    #[arg(long, value_name = "PATH", default_value = crate::control::DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Why something may still be there.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] LoadError),
    #[error(transparent)]
    Cleanup(#[from] CleanupError),
    #[error("starting tokio: {0}")]
    Runtime(#[from] io::Error),
}

/// Removes it and says what it was.
///
/// # Errors
/// When a daemon is running, or something can't be removed.
pub fn run(args: &Args) -> Result<(), RunError> {
    let socket = match &args.config {
        Some(file) => Config::load(file)?.node.socket,
        None => args.socket.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let removed = runtime.block_on(cleanup::cleanup(&socket))?;
    match removed.as_slice() {
        [] => println!("nothing was left"),
        removed => removed.iter().for_each(|what| println!("removed: {what}")),
    }
    Ok(())
}
