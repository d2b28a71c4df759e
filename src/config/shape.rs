//! Whether a file has the shape of a config: the keys it may have and those it must have, tables
//! where tables belong, and of a choice one that exists.
//!
//! What the shape is the JSON schema says, and the schema is derived from the types: there is one
//! list of keys. Values are left to the types.

use super::draft::{Draft, Span};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reports what is out of shape, and cuts it out of the draft.
pub(super) fn check(draft: &mut Draft<'_>, schema: &Value) {
    let mut walk = Walk { schema, findings: Vec::new() };
    walk.table(schema, draft.root(), &Place { title: "", root_key: "", key: 0..0, span: 0..0 });
    for Finding { span, message, lacks, root_key } in walk.findings {
        draft.fault(span.clone(), message);
        draft.set_faulty(root_key);
        if lacks {
            draft.set_broken(span);
        } else {
            draft.cut(&span);
        }
    }
}

/// The edit distance up to which one key may have been meant for another, for its length.
fn tolerance(key: &str) -> usize {
    1 + key.chars().count() / 4
}

struct Finding {
    span: Span,
    message: String,
    /// Whether the section at `span` lacks something; otherwise what is at `span` is too much.
    lacks: bool,
    /// The key of the root that this is about.
    root_key: String,
}

/// Where the walk is.
#[derive(Clone)]
struct Place<'a> {
    /// The header as the user would write it, such as `[[port]]`; empty for the root.
    title: &'a str,
    /// The first key on the way here.
    root_key: &'a str,
    /// The key under which it stands.
    key: Span,
    span: Span,
}

struct Walk<'s> {
    schema: &'s Value,
    findings: Vec<Finding>,
}

impl<'s> Walk<'s> {
    fn table(&mut self, schema: &'s Value, table: &DeTable<'_>, place: &Place<'_>) {
        let Some(known) = schema["properties"].as_object() else { return };
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let mut misspelt = Vec::new();
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            let root_key = if place.root_key.is_empty() { name } else { place.root_key };
            match known.get(name) {
                Some(schema) => {
                    let title = match place.title.trim_matches(['[', ']']) {
                        "" => name.to_owned(),
                        outer => format!("{outer}.{name}"),
                    };
                    let (key, span) = (key.span(), value.span());
                    let place = Place { title: &title, root_key, key, span };
                    self.value(self.resolve(schema), value, &place);
                }
                None => {
                    let meant = nearest(name, &names);
                    misspelt.extend(meant);
                    let (what, root_key) = match place.root_key {
                        "" => ("section", meant.unwrap_or(name)),
                        root_key => ("key", root_key),
                    };
                    let message = format!("unknown {what} `{name}`; {}", suggest(name, &names));
                    self.too_much(key.span(), root_key, message);
                }
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if table.get(name).is_none() && !misspelt.contains(&name) {
                let what = first_clause(&schema["properties"][name]["description"]);
                let (message, root_key) = match place.title {
                    "" => (format!("no section `[{name}]`; expected one: {what}"), name),
                    title => {
                        let message =
                            format!("`{title}` has no key `{name}`; expected one: {what}");
                        (message, place.root_key)
                    }
                };
                let (span, root_key) = (place.span.clone(), root_key.to_owned());
                self.findings.push(Finding { span, message, lacks: true, root_key });
            }
        }
    }

    fn value(&mut self, schema: &'s Value, value: &Spanned<DeValue<'_>>, place: &Place<'_>) {
        let element = self.resolve(&schema["items"]);
        let is_table = schema["properties"].is_object();
        let is_list_of_tables = element["properties"].is_object();
        let title = place.title;
        match value.get_ref() {
            DeValue::Table(table) if is_table => {
                let title = format!("[{title}]");
                self.table(schema, table, &Place { title: &title, ..place.clone() });
            }
            found if is_table => {
                let found = kind(found);
                let message = format!("`{title}` is {found}; expected one table: `[{title}]`");
                self.too_much(place.key.clone(), place.root_key, message);
            }
            DeValue::Array(list) if is_list_of_tables => {
                let title = format!("[[{title}]]");
                for item in list.iter() {
                    let place = Place { title: &title, span: item.span(), ..place.clone() };
                    match item.get_ref() {
                        DeValue::Table(table) => self.table(element, table, &place),
                        found => {
                            let message = format!("found {}; expected a table", kind(found));
                            self.too_much(item.span(), place.root_key, message);
                        }
                    }
                }
            }
            found if is_list_of_tables => {
                let found = kind(found);
                let message = format!("`{title}` is {found}; expected a list: `[[{title}]]`");
                self.too_much(place.key.clone(), place.root_key, message);
            }
            found => self.choice(schema, found, place),
        }
    }

    /// A value of a schema that lists what there is to choose from: texts, and tables of one key.
    fn choice(&mut self, schema: &'s Value, found: &DeValue<'_>, place: &Place<'_>) {
        let Some(variants) = schema["oneOf"].as_array() else { return };
        let element = variants.iter().find_map(|variant| variant.get("items"));
        if let (DeValue::Array(list), Some(element)) = (found, element) {
            for item in list.iter() {
                let place = Place { span: item.span(), ..place.clone() };
                self.choice(element, item.get_ref(), &place);
            }
            return;
        }
        let texts: Vec<&str> = variants.iter().filter_map(|v| v["const"].as_str()).collect();
        let tables = variants.iter().filter_map(|v| v["properties"].as_object());
        let keys: Vec<&str> = tables.flat_map(|keys| keys.keys()).map(String::as_str).collect();
        let hint = match found {
            DeValue::String(text) if texts.contains(&&**text) => return,
            DeValue::String(text) => nearest(text, &texts).map(|near| format!("\"{near}\"")),
            DeValue::Table(table) if table.len() == 1 => {
                let given = || table.keys().map(|key| &**key.get_ref());
                if given().any(|key| keys.contains(&key)) {
                    return;
                }
                let near = given().find_map(|key| nearest(key, &keys));
                near.map(|near| format!("{{ {near} = \"…\" }}"))
            }
            _ => None,
        };
        let found = match found {
            DeValue::String(text) => format!("\"{}\"", text.escape_debug()),
            found => kind(found),
        };
        let expected = match hint {
            Some(hint) => format!("did you mean {hint}?"),
            None => {
                let texts = texts.iter().map(|text| format!("\"{text}\""));
                let tables = keys.iter().map(|key| format!("{{ {key} = \"…\" }}"));
                let list = element.map(|_| "a list of next hops".to_owned());
                format!("expected {}", either(texts.chain(tables).chain(list).collect()))
            }
        };
        self.too_much(place.span.clone(), place.root_key, format!("found {found}; {expected}"));
    }

    fn too_much(&mut self, span: Span, root_key: &str, message: String) {
        let root_key = root_key.to_owned();
        self.findings.push(Finding { span, message, lacks: false, root_key });
    }

    /// Follows a reference, and leaves out that a value can be absent.
    fn resolve(&self, schema: &'s Value) -> &'s Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
            return &self.schema["$defs"][name];
        }
        let options = schema["anyOf"].as_array().into_iter().flatten();
        let mut real = options.filter(|option| option["type"] != "null");
        real.next().map_or(schema, |option| self.resolve(option))
    }
}

/// What may have been meant by `name`, or all that there is.
fn suggest(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected {}", either(known.iter().map(|k| format!("`{k}`")).collect())),
    }
}

fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|k| (strsim::damerau_levenshtein(name, k), *k));
    let near = distances.filter(|&(distance, _)| distance <= tolerance(name));
    near.min().map(|(_, key)| key)
}

/// `a, b or c`
pub(super) fn either(mut choices: Vec<String>) -> String {
    match (choices.pop(), choices.len()) {
        (None, _) => "nothing".into(),
        (Some(only), 0) => only,
        (Some(last), _) => format!("{} or {last}", choices.join(", ")),
    }
}

/// What a value is, for one who reads TOML.
fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".into(),
        DeValue::Integer(number) => format!("the integer {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(table) => {
            let keys: Vec<_> = table.keys().map(|key| format!("`{}`", key.get_ref())).collect();
            match &keys[..] {
                [] => "an empty table".into(),
                _ => format!("a table of {}", keys.join(", ")),
            }
        }
    }
}

/// How a description begins, to stand within a sentence.
fn first_clause(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default().replace('\n', " ");
    let end = [". ", ": ", "; ", ", "].iter().filter_map(|mark| text.find(mark)).min();
    let text = text[..end.unwrap_or(text.len())].trim_end_matches('.');
    match text.split_at_checked(1) {
        Some((first, rest)) if !rest.starts_with(char::is_uppercase) => first.to_lowercase() + rest,
        _ => text.to_owned(),
    }
}
