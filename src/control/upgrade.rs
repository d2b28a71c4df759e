//! A new version takes over from the running one: SIGUSR2 makes the process become the program that
//! is now at the place where its own was.
//!
//! The process stays the same for whoever watches it. What is open of pods' TUN devices and of the
//! management socket goes from the one to the other as it would by way of a service manager
//! ([`supervisor`]), so that devices keep their addresses and routes, and who asks the socket meanwhile
//! waits for the answer. Frames are not moved from the new program's start on until it has its
//! workers.
//!
//! Before anything ends, the new program is asked whether it takes the config. When it does not,
//! the running one goes on.

use super::supervisor::{self, Held};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is to be done when an upgrade is asked for.
pub struct Upgrade {
    signal: Signal,
    /// Where our program was when we were started.
    program: PathBuf,
    config: PathBuf,
}

impl Upgrade {
    /// Begins to catch the signal; `config` is the file that the new program must take.
    ///
    /// # Errors
    /// When the signal can't be caught, or it is not known what program we are.
    pub fn new(config: &Path) -> io::Result<Upgrade> {
        let signal = signal(SignalKind::user_defined2())?;
        Ok(Upgrade { signal, program: std::env::current_exe()?, config: config.to_owned() })
    }

    /// Waits until an upgrade is asked for, to a program that takes the config.
    pub async fn asked(&mut self) {
        loop {
            if self.signal.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            match self.check().await {
                Ok(()) => return,
                Err(error) => tracing::error!(
                    "SIGUSR2: {} does not take over: {error}; going on as before",
                    self.program.display()
                ),
            }
        }
    }

    async fn check(&self) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("check").arg(&self.config).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("`check` of the config says: {}", said.trim())))
    }

    /// Becomes the new program, which is run with our own arguments and begins with what is held.
    /// Returns only when that fails, and then there is nothing left to do but to end.
    pub fn go(&self, held: &[Held]) -> io::Error {
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        tracing::info!("SIGUSR2: {} takes over", self.program.display());
        supervisor::become_program(&self.program, arguments.iter().map(OsStr::new), held)
    }
}
