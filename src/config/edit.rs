//! Parts of a config that come one by one and as JSON: the checks of a file, in the words of a file,
//! with JSON pointers where those have lines.
//!
//! JSON is not checked a second way. It is written as the TOML that means the same, with a note of
//! what stands where, and that goes through the checks of a file; a fault's place in the text is
//! looked up in the notes.

use super::draft::Draft;
use super::place::{Author, Path, Place, Step, at};
use super::{Config, parse, sense, shape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt::Write;
use std::sync::LazyLock;

pub use super::sense::{elsewhere, no_station, unknown};

/// Made once, since edits are many.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| Config::schema().to_value());

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Which part of the request: a JSON pointer (RFC 6901), empty for the whole.
    pub pointer: String,
    /// What was found and what is expected.
    pub message: String,
}

impl Problem {
    /// One with the whole request.
    pub fn whole(message: impl Into<String>) -> Problem {
        Problem { pointer: String::new(), message: message.into() }
    }
}

/// Reads sections of a config. What they say together is not judged yet; `[node]` need not be there.
///
/// # Errors
/// With everything that is wrong; the pointers begin with the sections' keys.
pub fn read(sections: &Map<String, Value>) -> Result<Config, Vec<Problem>> {
    let mut written = Written::default();
    written.text.push_str("node = { name = \"-\" }\n");
    for (key, value) in sections {
        written.member(key, value, "");
        written.text.push('\n');
    }
    if !written.problems.is_empty() {
        return Err(written.problems);
    }
    let mut draft = Draft::new(&written.text);
    let mut config = None;
    if draft.is_sound() {
        shape::check(&mut draft, &SCHEMA);
        config = parse::values(&mut draft);
    }
    match config {
        Some(config) if draft.is_sound() => Ok(config),
        _ => {
            Err(draft.take_faults().into_iter().map(|f| written.problem(f.0.start, f.1)).collect())
        }
    }
}

/// What does not hold together in a config, of which the element of a list is new: section and
/// index. Its pointers are relative to that element.
pub fn judge(config: &Config, subject: Option<(&'static str, usize)>) -> Vec<Problem> {
    let subject = subject.map(|(section, index)| at(section).index(index));
    let mut edited = Edited { config, subject, problems: Vec::new() };
    sense::check(&mut edited, config);
    edited.problems
}

/// TOML that was made of JSON.
#[derive(Default)]
struct Written {
    text: String,
    /// Where what stands, in the order of the text.
    notes: Vec<(usize, String)>,
    problems: Vec<Problem>,
}

impl Written {
    fn member(&mut self, key: &str, value: &Value, parent: &str) {
        let pointer = format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"));
        self.notes.push((self.text.len(), pointer.clone()));
        self.string(key);
        self.text.push_str(" = ");
        self.value(value, pointer);
    }

    fn value(&mut self, value: &Value, pointer: String) {
        self.notes.push((self.text.len(), pointer.clone()));
        match value {
            Value::Null => {
                let message = "found null; expected a value, or the key left out".into();
                self.problems.push(Problem { pointer, message });
            }
            Value::String(text) => self.string(text),
            Value::Array(list) => {
                self.text.push('[');
                for (i, element) in list.iter().enumerate() {
                    self.value(element, format!("{pointer}/{i}"));
                    self.text.push(',');
                }
                self.text.push(']');
            }
            Value::Object(map) => {
                self.text.push('{');
                for (i, (key, value)) in map.iter().enumerate() {
                    self.text.push_str(if i > 0 { ", " } else { "" });
                    self.member(key, value, &pointer);
                }
                self.text.push('}');
            }
            // Written alike in both.
            Value::Bool(_) | Value::Number(_) => {
                let _ = write!(self.text, "{value}");
            }
        }
    }

    /// A basic string, which may be a key too.
    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            let _ = match c {
                '"' | '\\' => write!(self.text, "\\{c}"),
                c if c.is_control() => write!(self.text, "\\U{:08X}", c as u32),
                c => write!(self.text, "{c}"),
            };
        }
        self.text.push('"');
    }

    fn problem(&self, at: usize, message: String) -> Problem {
        let after = self.notes.partition_point(|(start, _)| *start <= at);
        let note = after.checked_sub(1).map(|i| self.notes[i].1.clone());
        Problem { pointer: note.unwrap_or_default(), message }
    }
}

/// A config of which an element came by the API.
struct Edited<'c> {
    config: &'c Config,
    subject: Option<Path>,
    problems: Vec<Problem>,
}

impl Author for Edited<'_> {
    fn is_faulty(&self, _: &str) -> bool {
        false
    }

    fn place(&self, path: &Path) -> Place {
        let config = self.config;
        Place::Thing(match path.steps() {
            [Step::Key("port"), Step::Index(i), ..] => format!("port `{}`", config.port[*i].name),
            [Step::Key("peer"), Step::Index(i), ..] => format!("peer `{}`", config.peer[*i].name),
            [Step::Key("route"), Step::Index(i), ..] => {
                format!("the route to {}", config.route[*i].prefix)
            }
            [Step::Key("policy"), Step::Index(i), ..] => {
                format!("policy `{}`", config.policy[*i].name)
            }
            [Step::Key("set"), Step::Index(i), ..] => format!("set `{}`", config.set[*i].name),
            [Step::Key("endpoint"), Step::Index(i), ..] => {
                format!("endpoint `{}`", config.endpoint[*i].name)
            }
            [Step::Key(key), ..] => format!("`[{key}]`"),
            _ => "the config".to_owned(),
        })
    }

    fn fault(&mut self, path: Path, message: String) {
        let within = self.subject.as_ref().and_then(|subject| path.within(subject));
        self.problems.push(match within {
            Some(rest) => Problem { pointer: rest.pointer(), message },
            None => Problem::whole(format!("{}: {message}", self.place(&path))),
        });
    }

    /// An answer of the API says what was done or what is wrong.
    fn warn(&mut self, _: Path, _: String) {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(sections: Value) -> Vec<(String, String)> {
        let problems = read(sections.as_object().unwrap()).unwrap_err();
        problems.into_iter().map(|problem| (problem.pointer, problem.message)).collect()
    }

    fn port() -> Value {
        json!({ "name": "a1", "kind": "tun", "device": "eth0", "addresses": ["10.0.0.2/24"] })
    }

    #[test]
    fn json_is_read_like_a_file() {
        let sections = json!({ "port": [port()] });
        let config = read(sections.as_object().unwrap()).unwrap();
        assert_eq!(config.port[0].name.as_str(), "a1");
        assert_eq!(config.port[0].mtu, None);
    }

    #[test]
    fn every_problem_has_its_pointer_and_the_words_of_a_file() {
        let mut port = port();
        port["mtu"] = json!(12);
        port["adresses"] = json!([]);
        port["addresses"][0] = json!("10.0.0.0/24");
        port.as_object_mut().unwrap().remove("device");
        let found = problems(json!({ "port": [port] }));
        let expected = [
            ("/port/0", "`[[port]]` has no key `device`; expected one: the device's name in its"),
            ("/port/0/addresses/0", "`10.0.0.0/24` is the network address of 10.0.0.0/24"),
            ("/port/0/adresses", "unknown key `adresses`; did you mean `addresses`?"),
            ("/port/0/mtu", "`mtu`: found integer `12`; expected an integer from 68 to 65535"),
        ];
        for (pointer, message) in expected {
            let is_it = |(at, text): &(String, String)| at == pointer && text.contains(message);
            assert!(found.iter().any(is_it), "{pointer} {message}: {found:?}");
        }
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn odd_json_is_refused_with_its_pointer() {
        let found = problems(json!({ "port": [null] }));
        assert_eq!(found[0].0, "/port/0");
        let found = problems(json!({ "port": { "a/b~c": 1 } }));
        assert!(found[0].1.contains("expected a list"), "{found:?}");
        let found = problems(json!({ "gateway": { "a/\u{7}\"\\": 1 } }));
        assert_eq!(found[0].0, "/gateway/a~1\u{7}\"\\");
        let found = problems(json!({ "port": [{ "mtu": 18_446_744_073_709_551_615_u64 }] }));
        assert!(found.iter().any(|(at, _)| at == "/port/0/mtu"), "{found:?}");
        let found = problems(json!({ "nonsense": "text" }));
        assert!(found[0].1.contains("unknown section `nonsense`"), "{found:?}");
    }

    #[test]
    fn what_does_not_hold_together_names_the_other_by_its_name() {
        let other =
            json!({ "name": "a2", "kind": "tun", "device": "eth1", "addresses": ["10.0.0.2"] });
        let sections = json!({ "port": [other, port()] });
        let config = read(sections.as_object().unwrap()).unwrap();
        let found = judge(&config, Some(("port", 1)));
        let message = "10.0.0.2 is there twice, the first in port `a2`; expected each address on \
                       one port";
        assert_eq!(found, [Problem { pointer: "/addresses/0".into(), message: message.into() }]);
        assert_eq!(judge(&config, None)[0].message, format!("port `a1`: {message}"));
    }
}
