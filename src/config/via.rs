//! Where a route leads: nowhere, to one next hop, or to several that share its flows.

use super::Name;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::slice;
use std::sync::Arc;

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// Nowhere, and the sender is told by an ICMP error.
    Unreachable,
    /// Nowhere, silently but for a counter.
    Blackhole,
    /// `{ peer = "name" }`
    Peer(Name),
    /// `{ port = "name" }`
    Port(Name),
    /// `[{ peer = "name" }, { port = "name" }, …]`: to one of these, chosen by the flow. Two at least, each
    /// once.
    Any(Arc<[Via]>),
}

/// How many next hops a route may have.
const MOST: usize = 128;

impl Via {
    /// The next hops, one by one; it is itself where it has but one, or none.
    pub fn each(&self) -> &[Via] {
        match self {
            Via::Any(members) => members,
            single => slice::from_ref(single),
        }
    }

    /// With the position of each in the list, where there is one.
    pub fn placed(&self) -> impl Iterator<Item = (Option<usize>, &Via)> {
        let is_list = matches!(self, Via::Any(_));
        self.each().iter().enumerate().map(move |(i, via)| (is_list.then_some(i), via))
    }

    /// What is left of several without one.
    pub fn without(&self, one: &Via) -> Option<Via> {
        let rest = self.each().iter().filter(|via| *via != one).cloned().collect();
        Via::of_several(rest).ok()
    }

    fn of_several(mut members: Vec<Via>) -> Result<Via, String> {
        let twice = (1..members.len()).find(|&i| members[..i].contains(&members[i]));
        match (members.len(), twice) {
            (_, Some(i)) => Err(format!("{} is named twice; expected each once", members[i])),
            (0, _) => Err("found no next hop; expected one at least".to_owned()),
            (1, _) => Ok(members.remove(0)),
            (2..=MOST, _) => Ok(Via::Any(members.into())),
            (n, _) => Err(format!("found {n} next hops; expected {MOST} at most")),
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Unreachable => f.write_str("unreachable"),
            Via::Blackhole => f.write_str("blackhole"),
            Via::Peer(name) => write!(f, "peer `{name}`"),
            Via::Port(name) => write!(f, "port `{name}`"),
            Via::Any(members) => {
                for (i, member) in members.iter().enumerate() {
                    write!(f, "{}{member}", if i > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// One place, as it is written.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Single {
    /// Nowhere, and the sender is told by an ICMP error.
    Unreachable,
    /// Nowhere, silently but for a counter.
    Blackhole,
    /// `{ peer = "name" }`
    Peer(Name),
    /// `{ port = "name" }`
    Port(Name),
}

/// One next hop of several, as it is written.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum NextHop {
    /// `{ peer = "name" }`
    Peer(Name),
    /// `{ port = "name" }`
    Port(Name),
}

impl From<Single> for Via {
    fn from(single: Single) -> Via {
        match single {
            Single::Unreachable => Via::Unreachable,
            Single::Blackhole => Via::Blackhole,
            Single::Peer(name) => Via::Peer(name),
            Single::Port(name) => Via::Port(name),
        }
    }
}

impl From<NextHop> for Via {
    fn from(next_hop: NextHop) -> Via {
        match next_hop {
            NextHop::Peer(name) => Via::Peer(name),
            NextHop::Port(name) => Via::Port(name),
        }
    }
}

impl Serialize for Via {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let single = match self {
            Via::Unreachable => Single::Unreachable,
            Via::Blackhole => Single::Blackhole,
            Via::Peer(name) => Single::Peer(name.clone()),
            Via::Port(name) => Single::Port(name.clone()),
            Via::Any(members) => return serializer.collect_seq(members.iter()),
        };
        single.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Via {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Via, D::Error> {
        // Not an untagged enum, whose errors don't say what is wrong.
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Via;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a place such as \"unreachable\" or { peer = \"…\" }, or a list of next hops",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Via, E> {
                Single::deserialize(StrDeserializer::new(text)).map(Via::from)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Via, A::Error> {
                Single::deserialize(MapAccessDeserializer::new(map)).map(Via::from)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Via, A::Error> {
                let mut members = Vec::new();
                while let Some(next_hop) = list.next_element::<NextHop>()? {
                    members.push(next_hop.into());
                }
                Via::of_several(members).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Via {
    fn schema_name() -> Cow<'static, str> {
        "Via".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Single::json_schema(generator);
        let several = json_schema!({
            "description": "`[{ peer = \"name\" }, { port = \"name\" }, …]`: one of these, chosen by the flow.",
            "type": "array",
            "items": NextHop::json_schema(generator),
            "minItems": 1,
            "maxItems": MOST,
            "uniqueItems": true,
        });
        let choices = schema.get_mut("oneOf").and_then(|choices| choices.as_array_mut());
        choices.expect("an enum's schema lists its variants").push(several.to_value());
        schema.insert("description".into(), "Where a route leads.".into());
        schema
    }
}
