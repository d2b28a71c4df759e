//! From text to a [`Config`], or to all of its errors.

use super::draft::Draft;
use super::shape::either;
use super::{Config, Errors, LoadError, sense, shape};
use std::path::Path;

/// Errors of values after which the rest of a file is not looked at.
const LIMIT: usize = 100;

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, LoadError> {
        Config::load_warned(path, |_| {})
    }

    /// Reads and checks a file, and tells `warn` of what is valid and hardly meant so.
    pub fn load_warned(path: &Path, warn: impl FnMut(Errors)) -> Result<Config, LoadError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Config::parse_warned(&text, &file, warn)?),
            Err(source) => Err(LoadError::Read { file, source }),
        }
    }

    /// Checks the text of a file, which errors call `file`.
    pub fn parse(text: &str, file: &str) -> Result<Config, Errors> {
        Config::parse_warned(text, file, |_| {})
    }

    /// Reads a file that has these sections alone. What they say together with others is not judged.
    pub fn load_sections(path: &Path, known: &[&str]) -> Result<Config, LoadError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| LoadError::Read { file: file.clone(), source })?;
        let mut draft = Draft::new(&text);
        let keys = draft.root().keys().map(|key| (key.span(), key.get_ref().to_string()));
        let others: Vec<_> = keys.filter(|(_, key)| !known.contains(&key.as_str())).collect();
        for (span, key) in others {
            let known: Vec<_> = known.iter().map(|known| format!("`[[{known}]]`")).collect();
            let message = format!("found section `{key}`; expected {} only", either(known));
            draft.fault(span, message);
        }
        if draft.is_sound() {
            draft.stand_in();
            shape::check(&mut draft, Config::schema().as_value());
            if let Some(config) = values(&mut draft).filter(|_| draft.is_sound()) {
                return Ok(config);
            }
        }
        Err(Errors { file, faults: draft.into_faults() }.into())
    }

    fn parse_warned(
        text: &str,
        file: &str,
        mut warn: impl FnMut(Errors),
    ) -> Result<Config, Errors> {
        let mut draft = Draft::new(text);
        if draft.is_sound() {
            shape::check(&mut draft, Config::schema().as_value());
            if let Some(config) = values(&mut draft) {
                sense::check(&mut draft, &config);
                if draft.is_sound() {
                    let faults = draft.take_warnings();
                    if !faults.is_empty() {
                        warn(Errors { file: file.into(), faults });
                    }
                    return Ok(config);
                }
            }
        }
        Err(Errors { file: file.into(), faults: draft.into_faults() })
    }

    /// The JSON schema of a config.
    pub fn schema() -> schemars::Schema {
        schemars::schema_for!(Config)
    }

    /// The config as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a config is tables, lists, texts, integers and booleans")
    }
}

/// Reads the draft, and where it has errors what is left when all that is wrong is cut out; `None`
/// when that leads nowhere.
pub(super) fn values(draft: &mut Draft<'_>) -> Option<Config> {
    let mut errors = 0;
    loop {
        draft.stand_in();
        let error = match draft.read() {
            Ok(config) if draft.is_sound() => return Some(config),
            Ok(_) => break,
            Err(error) => error,
        };
        // A section that lost a key was reported when it did. All that it says was read before
        // the reader found that the key is not there.
        let span = error.span().unwrap_or(0..0);
        let known = draft.is_broken(&span);
        let key = draft.cut(&span);
        if !known {
            draft.fault(span, message(key.as_deref(), error.message()));
            errors += 1;
        }
        if errors == LIMIT || key.is_none() {
            return None;
        }
    }
    draft.prune();
    draft.stand_in();
    draft.read().ok()
}

/// An error of serde in our words.
fn message(key: Option<&str>, serde: &str) -> String {
    let text = ["invalid type: ", "invalid value: "].iter().find_map(|p| serde.strip_prefix(p));
    let text = match text.and_then(|text| text.split_once(", expected ")) {
        Some((found, expected)) => format!("found {}; expected {}", plain(found), plain(expected)),
        None => serde.to_owned(),
    };
    match key {
        Some(key) => format!("`{key}`: {text}"),
        None => text,
    }
}

/// What serde calls a thing, as a reader of TOML knows it.
fn plain(name: &str) -> &str {
    match name {
        "map" => "a table",
        "sequence" | "a sequence" => "a list",
        "i64" | "u64" => "an integer",
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "a nonzero u8" => "an integer from 1 to 255",
        "a nonzero u16" => "an integer from 1 to 65535",
        "path string" => "a path",
        _ if name.starts_with("struct ") => "a table",
        _ => name,
    }
}
