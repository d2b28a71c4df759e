//! Where in a config something stands, and what its author calls that: a line of a file, or a thing
//! by its name where it came by the API.

use super::draft::{Draft, Span};
use super::{Fault, Name};
use std::fmt::{self, Display};
use toml::de::{DeTable, DeValue};

/// Where in a config something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

/// A step on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(&'static str),
    Index(usize),
}

/// The section or list of this name.
pub(super) fn at(key: &'static str) -> Path {
    Path(vec![Step::Key(key)])
}

impl Path {
    pub(super) fn key(mut self, key: &'static str) -> Self {
        self.0.push(Step::Key(key));
        self
    }

    pub(super) fn index(mut self, i: usize) -> Self {
        self.0.push(Step::Index(i));
        self
    }

    /// As a JSON pointer (RFC 6901); our keys need no escapes.
    pub(super) fn pointer(&self) -> String {
        let steps = self.0.iter().map(|step| match step {
            Step::Key(key) => format!("/{key}"),
            Step::Index(i) => format!("/{i}"),
        });
        steps.collect()
    }

    /// What is left of it behind `start`, if it begins so.
    pub(super) fn within(&self, start: &Path) -> Option<Path> {
        Some(Path(self.0.strip_prefix(&start.0[..])?.to_vec()))
    }

    /// The steps.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Its place in the text. What was left to its default has none, so the last step that has
    /// one counts.
    pub(super) fn span(&self, root: &DeTable<'_>) -> Span {
        let mut span = 0..0;
        let mut value: Option<&DeValue<'_>> = None;
        for step in &self.0 {
            let next = match (step, value) {
                (Step::Key(key), None) => root.get(*key),
                (Step::Key(key), Some(DeValue::Table(table))) => table.get(*key),
                (Step::Index(i), Some(DeValue::Array(list))) => list.get(*i),
                _ => None,
            };
            let Some(next) = next else { break };
            span = next.span();
            value = Some(next.get_ref());
        }
        span
    }
}

/// Who wrote a config: knows what its parts are called, and hears what is wrong with them.
pub(super) trait Author {
    /// Whether something below this key of the root is wrong already.
    fn is_faulty(&self, key: &str) -> bool;

    /// What stands at `path`, for a sentence about something else.
    fn place(&self, path: &Path) -> Place;

    /// Something is wrong with what stands at `path`.
    fn fault(&mut self, path: Path, message: String);

    /// What stands at `path` is valid, and hardly what was meant.
    fn warn(&mut self, path: Path, message: String);
}

/// A part of a config, as its author knows it.
pub(super) enum Place {
    /// A line of a file.
    Line(usize),
    /// A thing with a name, such as a port.
    Thing(String),
}

impl Place {
    /// As the place of something: `on line 3`.
    pub(super) fn at(&self) -> String {
        match self {
            Place::Line(line) => format!("on line {line}"),
            Place::Thing(name) => format!("in {name}"),
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Thing(name) => f.write_str(name),
        }
    }
}

impl Author for Draft<'_> {
    fn is_faulty(&self, key: &str) -> bool {
        Draft::is_faulty(self, key)
    }

    fn place(&self, path: &Path) -> Place {
        Place::Line(self.position(path.span(self.root()).start).0)
    }

    fn fault(&mut self, path: Path, message: String) {
        Draft::fault(self, path.span(self.root()), message);
    }

    fn warn(&mut self, path: Path, message: String) {
        Draft::warn(self, path.span(self.root()), message);
    }
}

/// A part of a config that something is said about after it was found to be valid.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A section, such as `workers`, or a key of one: `gateway.mac`.
    Section(&'a str),
    /// The port of a name.
    Port(&'a Name),
}

impl Part<'_> {
    /// What is said, with the part's place in the text of the file; the start of the file where it
    /// is not there.
    pub fn fault(&self, text: &str, message: &str) -> Fault {
        let mut draft = Draft::new(text);
        let span = self.find(draft.root()).unwrap_or(0..0);
        draft.fault(span, message.to_owned());
        draft.into_faults().pop().expect("a fault was noted")
    }

    fn find(&self, root: &DeTable<'_>) -> Option<Span> {
        match self {
            Part::Section(keys) => {
                let (section, key) = keys.split_once('.').unwrap_or((keys, ""));
                let section = root.get(section)?;
                let value = section.get_ref().get(key).unwrap_or(section);
                Some(value.span())
            }
            Part::Port(name) => {
                let ports = root.get("port")?.get_ref().as_array()?.iter();
                let names = ports.filter_map(|port| port.get_ref().get("name"));
                let mut own = names.filter(|n| n.get_ref().as_str() == Some(name.as_str()));
                own.next().map(|found| found.span())
            }
        }
    }
}
