//! Why something could not be measured.

use crate::io::netns::NetnsError;
use crate::lab::{self, shell};
use std::fmt::Display;
use std::io;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Namespaces, commands and daemons: what a bench shares with the labs.
    #[error(transparent)]
    Lab(#[from] lab::Error),
    /// A namespace of the arena is gone.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel took no program of ours, or did not run it.
    #[error("cannot {doing}: {why}")]
    Program {
        /// What, as in "load the sender".
        doing: String,
        /// What the kernel said.
        why: String,
    },
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What, as in "open a socket".
        doing: String,
        /// What it said.
        source: io::Error,
    },
    /// The way through the router is not open.
    #[error(
        "{contender} does not forward ({side:?} side): of {sent} frames at a low rate most were lost"
    )]
    NothingArrives {
        /// The router's name.
        contender: String,
        /// Frames sent.
        sent: u64,
        /// On which side.
        side: super::traffic::Side,
    },
}

impl Error {
    pub(super) fn program(doing: impl Into<String>, why: impl Display) -> Error {
        Error::Program { doing: doing.into(), why: why.to_string() }
    }

    pub(super) fn io(doing: impl Into<String>, source: io::Error) -> Error {
        Error::Io { doing: doing.into(), source }
    }

    /// Whether the user asked to stop.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Error::Lab(lab::Error::Command(shell::Error::Interrupted)))
    }
}

impl From<shell::Error> for Error {
    fn from(error: shell::Error) -> Error {
        Error::Lab(error.into())
    }
}

/// What this module's functions return.
pub type Result<T> = std::result::Result<T, Error>;
