//! A parsed file on its way to a config: what turns out to be wrong is cut out of it, so that the
//! rest can be read and checked all the same.

use super::{Config, Fault};
use serde::Deserialize;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Bytes of the text from the first to behind the last.
pub(super) type Span = Range<usize>;

pub(super) struct Draft<'t> {
    text: &'t str,
    /// Byte at which each line starts.
    lines: Vec<usize>,
    root: DeTable<'t>,
    faults: Vec<(Span, String)>,
    warnings: Vec<(Span, String)>,
    /// Sections, and elements of lists of sections, that have lost something. What they say is not
    /// all that the user said, so they take no part in what is checked across sections.
    broken: HashSet<Span>,
    /// Keys of the root that have a fault somewhere below.
    faulty: BTreeSet<String>,
}

impl<'t> Draft<'t> {
    /// Parses the text. Where it is no TOML the draft is empty, as guessing what stands behind an
    /// open quote only makes up more errors.
    pub(super) fn new(text: &'t str) -> Self {
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let lines: Vec<usize> = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut draft = Self {
            text,
            lines,
            root: root.into_inner(),
            faults: Vec::new(),
            warnings: Vec::new(),
            broken: HashSet::new(),
            faulty: BTreeSet::new(),
        };
        let mut last = 0;
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let (line, _) = draft.position(span.start);
            if line != last {
                draft.fault(span, error.message().replacen(", expected", "; expected", 1));
            }
            last = line;
        }
        if !errors.is_empty() {
            draft.root = DeTable::new();
        }
        draft
    }

    pub(super) fn root(&self) -> &DeTable<'t> {
        &self.root
    }

    pub(super) fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether something below this key of the root is wrong.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        self.faulty.contains(key)
    }

    pub(super) fn fault(&mut self, span: Span, message: String) {
        self.faults.push((span, message));
    }

    pub(super) fn warn(&mut self, span: Span, message: String) {
        self.warnings.push((span, message));
    }

    /// The faults in the order of the text, with their spans.
    pub(super) fn take_faults(&mut self) -> Vec<(Span, String)> {
        self.faults.sort_by_key(|(span, _)| span.start);
        self.faults.dedup();
        std::mem::take(&mut self.faults)
    }

    /// The faults in the order of the text, with lines and columns.
    pub(super) fn into_faults(mut self) -> Vec<Fault> {
        let faults = self.take_faults();
        self.placed(faults)
    }

    /// The warnings likewise.
    pub(super) fn take_warnings(&mut self) -> Vec<Fault> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort_by_key(|(span, _)| span.start);
        warnings.iter_mut().for_each(|(_, message)| message.insert_str(0, "warning: "));
        self.placed(warnings)
    }

    fn placed(&self, faults: Vec<(Span, String)>) -> Vec<Fault> {
        let faults = faults.into_iter().map(|(span, message)| {
            let (line, column) = self.position(span.start);
            Fault { line, column, message }
        });
        faults.collect()
    }

    /// Line and column of a byte, both from 1 on.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= at);
        let before = self.text.get(self.lines[line - 1]..at).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// What the draft says so far.
    pub(super) fn read(&self) -> Result<Config, toml::de::Error> {
        Config::deserialize(toml::Deserializer::from(Spanned::new(0..0, self.root.clone())))
    }

    /// Takes out the innermost key or value that has this span, and returns the key it stood under;
    /// `None` where there is none.
    pub(super) fn cut(&mut self, span: &Span) -> Option<String> {
        self.broken.remove(span);
        let mut cut = Cut { span, broken: &mut self.broken };
        let keys = cut.table(&mut self.root, None)?;
        self.faulty.extend(keys.first().cloned());
        keys.last().cloned()
    }

    /// Notes that the section with this span lacks something.
    pub(super) fn set_broken(&mut self, section: Span) {
        self.broken.insert(section);
    }

    /// Notes that something below this key of the root is wrong.
    pub(super) fn set_faulty(&mut self, key: String) {
        self.faulty.insert(key);
    }

    /// Whether a section has lost something or lacks something.
    pub(super) fn is_broken(&self, section: &Span) -> bool {
        self.broken.contains(section)
    }

    /// Takes out all that has lost something.
    pub(super) fn prune(&mut self) {
        while let Some(span) = self.broken.iter().next().cloned() {
            self.cut(&span);
        }
    }

    /// Puts a section in the place of `[node]` where there is none, so that the rest can be read.
    pub(super) fn stand_in(&mut self) {
        const NOWHERE: Span = usize::MAX..usize::MAX;
        let name = Spanned::new(NOWHERE, DeValue::String("-".into()));
        let node = DeTable::from_iter([(Spanned::new(NOWHERE, "name".into()), name)]);
        let node = Spanned::new(NOWHERE, DeValue::Table(node));
        self.root.entry(Spanned::new(NOWHERE, "node".into())).or_insert(node);
    }
}

/// Looks for what has a span, innermost first, as a list of tables has the span of its first one.
struct Cut<'c> {
    span: &'c Span,
    broken: &'c mut HashSet<Span>,
}

impl Cut<'_> {
    /// Cuts below a table, which is part of `section`. Returns the keys that lead to what was cut.
    fn table(&mut self, table: &mut DeTable<'_>, section: Option<&Span>) -> Option<Vec<String>> {
        for (key, value) in table.iter_mut() {
            if let Some(mut keys) = self.value(value, section) {
                keys.insert(0, key.get_ref().to_string());
                return Some(keys);
            }
        }
        let is_it = |key: &Spanned<_>, value: &Spanned<_>| {
            key.span() == *self.span || value.span() == *self.span
        };
        let key = table.iter().find(|(key, value)| is_it(key, value))?.0.clone();
        table.remove(&key);
        self.broken.extend(section.cloned());
        Some(vec![key.get_ref().to_string()])
    }

    fn value(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        section: Option<&Span>,
    ) -> Option<Vec<String>> {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => self.table(table, Some(section.unwrap_or(&span))),
            DeValue::Array(list) => {
                for element in list.iter_mut() {
                    let own = element.span();
                    let section = if element.get_ref().is_table() { Some(&own) } else { section };
                    if let Some(keys) = self.value(element, section) {
                        return Some(keys);
                    }
                }
                let element = list.iter().find(|element| element.span() == *self.span)?;
                if !element.get_ref().is_table() {
                    self.broken.extend(section.cloned());
                }
                let rest = list.iter().filter(|element| element.span() != *self.span);
                *list = rest.cloned().collect();
                Some(Vec::new())
            }
            _ => None,
        }
    }
}
