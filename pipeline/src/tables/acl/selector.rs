//! Label selectors, in the text form of Kubernetes: `app=web,tier in (a, b),env notin
//! (dev),!legacy,zone`.
//!
//! Requirements stand between commas, and all must be met; an empty selector selects everything. A
//! value may be empty, as it may in a label.

use super::model::Labels;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What labels must be like; see the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Test {
    Exists,
    Missing,
    In(BTreeSet<String>),
    /// Also where there is no such label.
    NotIn(BTreeSet<String>),
}

/// A text that is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at} of selector {text:?}: found {found}, expected {expected}")]
pub struct SelectorError {
    /// The whole text.
    pub text: String,
    /// Where it is wrong, counted in characters from 1.
    pub at: usize,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub expected: &'static str,
}

impl Selector {
    /// Whether labels meet all requirements.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.is_met(labels.get(&requirement.key)))
    }
}

impl Requirement {
    fn is_met(&self, value: Option<&String>) -> bool {
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.0.iter().enumerate() {
            write!(f, "{}{requirement}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.test {
            Test::Exists => write!(f, "{key}"),
            Test::Missing => write!(f, "!{key}"),
            Test::In(values) => write_test(f, key, ["=", "in"], values),
            Test::NotIn(values) => write_test(f, key, ["!=", "notin"], values),
        }
    }
}

fn write_test(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    [of_one, of_several]: [&str; 2],
    values: &BTreeSet<String>,
) -> fmt::Result {
    let list = values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    match values.len() {
        1 => write!(f, "{key}{of_one}{list}"),
        _ => write!(f, "{key} {of_several} ({list})"),
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        let mut reader = Reader { text, rest: text.trim_start() };
        let mut requirements = Vec::new();
        while requirements.is_empty() && !reader.rest.is_empty() || reader.take(",") {
            requirements.push(reader.requirement()?);
        }
        match reader.rest {
            "" => Ok(Selector(requirements)),
            _ => Err(reader.error("`,` or the end")),
        }
    }
}

/// A selector's text, of which the rest is not read yet. The rest never begins with a space.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let is_missing = self.take("!");
        let key = self.word("a label's key", is_key)?;
        let test = match () {
            () if is_missing => Test::Missing,
            () if self.take("!=") => Test::NotIn([self.value()?].into()),
            () if self.take("==") || self.take("=") => Test::In([self.value()?].into()),
            () => match self.peek() {
                "in" => Test::In(self.values("in")?),
                "notin" => Test::NotIn(self.values("notin")?),
                "" => Test::Exists,
                _ => return Err(self.error("`=`, `!=`, `in`, `notin`, `,` or the end")),
            },
        };
        Ok(Requirement { key, test })
    }

    /// The list behind `operator`, which comes next.
    fn values(&mut self, operator: &str) -> Result<BTreeSet<String>, SelectorError> {
        self.take(operator);
        if !self.take("(") {
            return Err(self.error("`(`"));
        }
        let mut values = BTreeSet::from([self.value()?]);
        while self.take(",") {
            values.insert(self.value()?);
        }
        if !self.take(")") {
            return Err(self.error("`,` or `)`"));
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        self.word("a label's value", is_value)
    }

    /// The word that comes next, if it is as it should be.
    fn word(
        &mut self,
        expected: &'static str,
        is_valid: impl Fn(&str) -> bool,
    ) -> Result<String, SelectorError> {
        let word = self.peek();
        if !is_valid(word) {
            return Err(self.error(expected));
        }
        self.take(word);
        Ok(word.to_owned())
    }

    /// The word that comes next; empty if something else does.
    fn peek(&self) -> &'a str {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        &self.rest[..end]
    }

    /// Takes what comes next, if it is this.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest).trim_start();
        rest.is_some()
    }

    fn error(&self, expected: &'static str) -> SelectorError {
        let read = &self.text[..self.text.len() - self.rest.len()];
        let found = match (self.peek(), self.rest.chars().next()) {
            ("", None) => "the end".to_owned(),
            ("", Some(other)) => format!("`{other}`"),
            (word, _) => format!("`{word}`"),
        };
        SelectorError { text: self.text.to_owned(), at: read.chars().count() + 1, found, expected }
    }
}

/// Whether a label may have such a key. Kubernetes: a name, before which may stand a DNS domain and a slash.
pub fn is_key(word: &str) -> bool {
    let is_domain = |domain: &str| domain.len() <= 253 && domain.split('.').all(is_name);
    match word.split_once('/') {
        None => is_name(word),
        Some((domain, name)) => is_domain(domain) && is_name(name),
    }
}

/// Whether a label may have such a value: a name, or nothing.
pub fn is_value(word: &str) -> bool {
    word.is_empty() || is_name(word)
}

/// Kubernetes: up to 63 letters, digits, `-`, `_` and `.`, at both ends a letter or a digit.
fn is_name(word: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let ends = [word.chars().next(), word.chars().next_back()];
    word.len() <= 63 && ends.into_iter().all(is_end) && !word.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(text: &str) -> Labels {
        let pairs = text.split_whitespace().map(|pair| pair.split_once('=').expect("key=value"));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn every_operator_selects_what_kubectl_says() {
        // Selector, labels that meet it, labels that don't.
        let cases: [(&str, &[&str], &[&str]); 11] = [
            ("", &["", "app=web"], &[]),
            ("app=web", &["app=web", "app=web zone=a"], &["", "app=db", "zone=web"]),
            (" app == web ", &["app=web"], &["", "app=db"]),
            ("app!=web", &["", "app=db", "app="], &["app=web"]),
            ("app in (web, db)", &["app=web", "app=db"], &["", "app=dns"]),
            ("app notin (web,db)", &["", "app=dns"], &["app=web", "app=db"]),
            ("app", &["app=web", "app="], &["", "zone=a"]),
            ("!app", &["", "zone=a"], &["app=web", "app="]),
            ("app=", &["app="], &["", "app=web"]),
            ("in in (in,notin)", &["in=in", "in=notin"], &["", "in=out"]),
            (
                "app=web,tier in (a, b),env notin (dev),!legacy,example.com/zone",
                &["app=web tier=b example.com/zone=1", "app=web tier=a env=x example.com/zone="],
                &["app=web tier=b", "app=web tier=b env=dev example.com/zone=1"],
            ),
        ];
        for (text, met, unmet) in cases {
            let selector: Selector = text.parse().unwrap_or_else(|error| panic!("{error}"));
            for case in met {
                assert!(selector.matches(&labels(case)), "{text:?} should select {case:?}");
            }
            for case in unmet {
                assert!(!selector.matches(&labels(case)), "{text:?} should not select {case:?}");
            }
        }
    }

    #[test]
    fn an_error_says_where_it_is_and_what_may_stand_there() {
        let long = "x".repeat(64);
        let cases = [
            ("app=web,", 9, "the end", "a label's key"),
            (",app", 1, "`,`", "a label's key"),
            ("app web", 5, "`web`", "`=`, `!=`, `in`, `notin`, `,` or the end"),
            ("app=web zone", 9, "`zone`", "`,` or the end"),
            ("app in web", 8, "`web`", "`(`"),
            ("app in (web", 12, "the end", "`,` or `)`"),
            ("app in (web db)", 13, "`db`", "`,` or `)`"),
            ("app=-web", 5, "`-web`", "a label's value"),
            ("app=a/b", 5, "`a/b`", "a label's value"),
            ("a/b/c", 1, "`a/b/c`", "a label's key"),
            ("!app=web", 5, "`=`", "`,` or the end"),
            ("app=wéb", 6, "`é`", "`,` or the end"),
            ("app>3", 4, "`>`", "`,` or the end"),
            (&long, 1, &format!("`{long}`"), "a label's key"),
        ];
        for (text, at, found, expected) in cases {
            let error = text.parse::<Selector>().expect_err(text);
            assert_eq!(
                (error.at, &*error.found, error.expected),
                (at, found, expected),
                "{text:?}"
            );
        }
        assert_eq!(
            "app=web,".parse::<Selector>().expect_err("ends with a comma").to_string(),
            "at character 9 of selector \"app=web,\": found the end, expected a label's key"
        );
    }

    fn requirement() -> impl Strategy<Value = String> {
        let key = "([a-z]([a-z.]{0,3}[a-z])?/)?[a-z]([-a-z_.]{0,3}[a-z])?";
        let value = "([a-z0-9]([-a-z_.]{0,3}[a-z0-9])?)?";
        let list = prop::collection::vec(value, 1..4).prop_map(|values| values.join(" , "));
        prop_oneof![
            key.prop_map(|key| key),
            key.prop_map(|key| format!("! {key}")),
            (key, "=|==|!=", value).prop_map(|(key, op, value)| format!("{key} {op} {value}")),
            (key, "in|notin", list).prop_map(|(key, op, list)| format!("{key} {op} ( {list} )")),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_means_what_was_read(parts in prop::collection::vec(requirement(), 0..4)) {
            // Dots side by side are no domain; who writes them is told so above.
            let text = parts.join(",");
            prop_assume!(!text.contains(".."));
            let selector: Selector = text.parse()?;
            let shown = selector.to_string();
            prop_assert_eq!(shown.parse::<Selector>()?, selector, "{:?} was shown as {:?}", text, shown);
        }

        #[test]
        fn no_text_panics(text in "[a-z!=,() é/.-]{0,12}") {
            let _ = text.parse::<Selector>();
        }
    }
}
