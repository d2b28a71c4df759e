//! Labels, what selects by them, and protocols, as they are written.

use super::super::text::{TextError, text};
use encap::wire::protocol;
use pipeline::tables::acl;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a port or endpoint is: values by their keys, as Kubernetes' labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let labels = BTreeMap::<String, String>::deserialize(deserializer)?;
        for (key, value) in &labels {
            if !acl::is_key(key) {
                let expected =
                    "up to 63 letters, digits, `-`, `_` and `.`, perhaps behind a domain and `/`";
                let message =
                    format!("`{}` is no label's key; expected {expected}", key.escape_debug());
                return Err(D::Error::custom(message));
            }
            if !acl::is_value(value) {
                let expected = "up to 63 letters, digits, `-`, `_` and `.`, or nothing";
                let value = value.escape_debug();
                return Err(D::Error::custom(format!(
                    "`{value}` is no label's value; expected {expected}"
                )));
            }
        }
        Ok(Labels(labels))
    }
}

impl JsonSchema for Labels {
    fn schema_name() -> Cow<'static, str> {
        "Labels".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "labels, as Kubernetes has them",
            "additionalProperties": { "type": "string" },
        })
    }
}

/// What selects by labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(pub acl::Selector);

impl FromStr for Selector {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        text.parse().map(Self).map_err(|error: acl::SelectorError| TextError(error.to_string()))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text! {
    Selector: "a selector of labels", "^[^\\n]*$";
}

/// A protocol above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(u8);

/// Those with a name.
const NAMED: [(&str, u8); 5] = [
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("sctp", protocol::SCTP),
    ("icmp", protocol::ICMPV4),
    ("icmpv6", protocol::ICMPV6),
];

impl Protocol {
    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Whether its packets have ports.
    pub fn has_ports(self) -> bool {
        matches!(self.0, protocol::TCP | protocol::UDP | protocol::SCTP)
    }

    /// Whether it is ICMP of either family.
    pub fn is_icmp(self) -> bool {
        matches!(self.0, protocol::ICMPV4 | protocol::ICMPV6)
    }
}

impl From<u8> for Protocol {
    fn from(number: u8) -> Self {
        Self(number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match NAMED.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => serializer.serialize_str(name),
            None => serializer.serialize_u8(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Protocol;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"tcp\", \"udp\", \"sctp\", \"icmp\", \"icmpv6\" or a number from 0 to 255",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Protocol, E> {
                let named = NAMED.iter().find(|(name, _)| *name == text);
                let named = named.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))?;
                Ok(Protocol(named.1))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Protocol, E> {
                let found = Unexpected::Signed(number);
                u8::try_from(number).map(Protocol).map_err(|_| E::invalid_value(found, &self))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Protocol, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Protocol {
    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = NAMED.iter().map(|(name, _)| *name).collect();
        json_schema!({
            "description": "the name or the number of a protocol above IP",
            "anyOf": [
                { "type": "string", "enum": names },
                { "type": "integer", "minimum": 0, "maximum": 255 },
            ],
        })
    }
}
