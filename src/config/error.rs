//! What is wrong with a config, and where.

use std::fmt;
use std::io;

/// One error in a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1 on.
    pub line: usize,
    /// Column, from 1 on, in characters.
    pub column: usize,
    /// What was found and what is expected.
    pub message: String,
}

/// All errors of a config file, in the order of their places. As text a line for each,
/// `file:line:column: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// The file, as the user named it.
    pub file: String,
    /// Never empty.
    pub faults: Vec<Fault>,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Fault { line, column, message }) in self.faults.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{line}:{column}: {message}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("{file}: cannot be read: {source}; expected a TOML file, see configs/ for examples")]
    Read {
        /// The file, as the user named it.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// It is not a valid config.
    #[error(transparent)]
    Invalid(#[from] Errors),
}
