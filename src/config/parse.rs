//! From text to a [`Config`], or to all of its errors.

use super::{Config, Errors, Fault, LoadError};
use std::path::Path;

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, LoadError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Config::parse(&text, &file)?),
            Err(source) => Err(LoadError::Read { file, source }),
        }
    }

    /// Checks the text of a file, which errors call `file`.
    pub fn parse(text: &str, file: &str) -> Result<Config, Errors> {
        toml::from_str(text).map_err(|error| {
            let before = &text[..error.span().map_or(0, |span| span.start)];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            Errors {
                file: file.into(),
                faults: vec![Fault {
                    line: before.matches('\n').count() + 1,
                    column: before[line_start..].chars().count() + 1,
                    message: error.message().into(),
                }],
            }
        })
    }

    /// The config as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a config is tables, lists, texts, integers and booleans")
    }
}
