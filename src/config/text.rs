//! The values that a config is made of, each of which holds only what is valid.
//!
//! Those that are text in TOML have one form in both directions: `FromStr` and `Display`.

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not the value that is expected in its place; the message says both.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TextError(pub(super) String);

/// The name of a node, port or peer: 1 to 253 letters, digits and `. _ - : / @`, of ASCII. Copies
/// share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-:/@".contains(&b);
        if (1..=253).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.into()));
        }
        let found = match text.len() {
            0 => "the name is empty".into(),
            254.. => format!("the name has {} characters", text.len()),
            _ => format!("`{}` is not a name", text.escape_debug()),
        };
        Err(TextError(format!(
            "{found}; expected 1 to 253 letters, digits and `.`, `_`, `-`, `:`, `/`, `@`"
        )))
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of a network device: 1 to 15 bytes that the kernel takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

impl DeviceName {
    /// Longest name in bytes: `IFNAMSIZ` less the zero at its end.
    pub const MAX: usize = 15;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name of `prefix` (at most seven bytes) and `seed`, or a hash of it where that is no valid
    /// name.
    pub fn derive(prefix: &str, seed: &str) -> Self {
        format!("{prefix}{seed}").parse().unwrap_or_else(|_| {
            let [.., a, b, c, d] = encap::wire::Mac::derive(seed).0;
            Self(format!("{prefix:.7}{a:02x}{b:02x}{c:02x}{d:02x}"))
        })
    }
}

impl FromStr for DeviceName {
    type Err = TextError;

    /// As the kernel's `dev_valid_name` has it, but ASCII and printable, for the sake of logs.
    fn from_str(text: &str) -> Result<Self, TextError> {
        let allowed = |b: u8| b.is_ascii_graphic() && !b"/:%".contains(&b);
        let valid = !matches!(text, "" | "." | "..") && text.bytes().all(allowed);
        if valid && text.len() <= Self::MAX {
            return Ok(Self(text.into()));
        }
        let found = match text.len() {
            0 => "the device name is empty".into(),
            n if valid => format!("`{text}` has {n} characters"),
            _ => format!("`{}` is not a device name", text.escape_debug()),
        };
        Err(TextError(format!(
            "{found}; expected 1 to 15 printable characters without blanks, `/`, `:` and `%`"
        )))
    }
}

/// A network namespace: a name of `ip netns`, or the path of its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns(String);

impl Netns {
    /// The file to open.
    pub fn path(&self) -> PathBuf {
        if self.0.starts_with('/') {
            self.0.as_str().into()
        } else {
            PathBuf::from("/run/netns").join(&self.0)
        }
    }
}

impl FromStr for Netns {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let name = !text.contains('/') && !matches!(text, "" | "." | "..");
        if (name || text.starts_with('/')) && !text.contains('\0') {
            return Ok(Self(text.into()));
        }
        Err(TextError(format!(
            "`{}` is not a network namespace; expected a name that `ip netns` lists, or an absolute \
             path such as /proc/1234/ns/net",
            text.escape_debug()
        )))
    }
}

/// The address of one host, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unicast(IpAddr);

impl Unicast {
    /// The address.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// Of an address that the code knows to be one.
    pub(super) fn constant(ip: IpAddr) -> Self {
        Self(ip)
    }
}

impl FromStr for Unicast {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let expected = "expected the address of a host such as 192.0.2.1 or 2001:db8::1";
        let ip: IpAddr = text.parse().map_err(|_| match text.parse::<IpNet>() {
            Ok(net) => {
                TextError(format!("`{text}` is a prefix; expected an address, {}", net.addr()))
            }
            Err(_) => {
                TextError(format!("`{}` is not an IP address; {expected}", text.escape_debug()))
            }
        })?;
        match why_not_unicast(ip) {
            None => Ok(Self(ip)),
            Some(why) => Err(TextError(format!("`{ip}` {why}; {expected}"))),
        }
    }
}

/// A prefix without host bits, as of a route. An address alone is a host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

impl Prefix {
    /// The prefix; its address is the network's.
    pub fn net(&self) -> IpNet {
        self.0
    }
}

impl FromStr for Prefix {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let net = parse_net(text, "a prefix such as 10.244.2.0/24 or fd00:10:244:2::/64")?;
        if net != net.trunc() {
            let right = net.trunc();
            return Err(TextError(format!("`{text}` has host bits set; expected {right}")));
        }
        Ok(Self(net))
    }
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Self {
        Self(net.trunc())
    }
}

/// An address of a device with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface(IpNet);

impl Interface {
    /// The address.
    pub fn ip(&self) -> IpAddr {
        self.0.addr()
    }

    /// Length of the prefix in bits.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// The address with the length of its prefix.
    pub fn net(&self) -> IpNet {
        self.0
    }

    /// The prefix of the address alone, `/32` or `/128`.
    pub fn host(&self) -> IpNet {
        self.ip().into()
    }
}

impl FromStr for Interface {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let expected = "an address such as 10.244.1.2/24, 10.244.1.2 or fd00:10:244:1::2/64";
        let net = parse_net(text, expected)?;
        let IpNet::V4(v4) = net else { return host(net, text, expected) };
        if v4.prefix_len() < 31 && (v4.addr() == v4.network() || v4.addr() == v4.broadcast()) {
            let which = if v4.addr() == v4.network() { "network" } else { "broadcast" };
            return Err(TextError(format!(
                "`{text}` is the {which} address of {}; expected the address of a host in it",
                v4.trunc()
            )));
        }
        host(net, text, expected)
    }
}

fn host(net: IpNet, text: &str, expected: &str) -> Result<Interface, TextError> {
    match why_not_unicast(net.addr()) {
        None => Ok(Interface(net)),
        Some(why) => Err(TextError(format!("`{text}` {why}; expected {expected}"))),
    }
}

fn parse_net(text: &str, expected: &str) -> Result<IpNet, TextError> {
    let net = match text.parse::<IpAddr>() {
        Ok(ip) => Some(IpNet::from(ip)),
        Err(_) => text.parse().ok(),
    };
    net.ok_or_else(|| match text.split_once('/').and_then(|(ip, _)| ip.parse::<IpAddr>().ok()) {
        Some(ip) => {
            let max = IpNet::from(ip).max_prefix_len();
            TextError(format!("`{text}` has no valid prefix length; expected 0 to {max}"))
        }
        None => {
            let text = text.escape_debug();
            TextError(format!("`{text}` is not an IP prefix; expected {expected}"))
        }
    })
}

/// What an address is that no single host can have.
fn why_not_unicast(ip: IpAddr) -> Option<&'static str> {
    let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    [
        (ip.is_unspecified(), "is the unspecified address"),
        (ip.is_loopback(), "is a loopback address"),
        (ip.is_multicast(), "is a multicast address"),
        (broadcast, "is the broadcast address"),
        (mapped, "is an IPv4 address written as IPv6"),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}

/// Who may read and write a file: the nine bits of `chmod`, without those to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Default for FileMode {
    fn default() -> Self {
        FileMode(0o600)
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for FileMode {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match u32::from_str_radix(text, 8) {
            Ok(bits) if bits & !0o666 == 0 && bits & 0o600 == 0o600 => Ok(Self(bits)),
            _ => Err(TextError(format!(
                "`{}` is not a socket's mode; expected octal digits that let its owner read and \
                 write, such as \"0600\" or \"0660\"",
                text.escape_debug()
            ))),
        }
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// `N`, which the compiler checks.
    pub fn of<const N: u32>() -> Self {
        const { assert!(MIN <= N && N <= MAX, "out of range") }
        Self(N)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const MIN: u32, const MAX: u32>;

        impl<const MIN: u32, const MAX: u32> Visitor<'_> for Number<MIN, MAX> {
            type Value = Bounded<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an integer from {MIN} to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                match u32::try_from(number) {
                    Ok(number) if (MIN..=MAX).contains(&number) => Ok(Bounded(number)),
                    _ => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }

        deserializer.deserialize_i64(Number)
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Bounded<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("From{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// Gives a type that is text its serde and schema; `what` is said where something else
/// than text was found.
macro_rules! text {
    ($($type:ident: $what:literal, $pattern:literal;)+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                text.deserialize_str(Text)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $what, "pattern": $pattern })
            }
        }
    )+};
}
pub(super) use text;

text! {
    Name: "a name", "^[A-Za-z0-9._:/@-]{1,253}$";
    DeviceName: "the name of a network device", "^[^\\s/:%]{1,15}$";
    Netns: "the name or the path of a network namespace", "^(/.*|[^/]+)$";
    Unicast: "an IP address", "^[0-9a-fA-F:.]+$";
    Prefix: "an IP prefix", "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$";
    Interface: "an IP address with the length of its prefix", "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$";
    FileMode: "the mode of a file", "^0?[0-7]{3}$";
}

/// Displays a type as what it holds.
macro_rules! display {
    ($($type:ident)+) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

display! { Name DeviceName Netns Unicast Prefix Interface }
