//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address (EUI-48); as text six pairs of hexadecimal digits, `02:00:5e:10:00:01`.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$"))]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station of a link.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// No address.
    pub const ZERO: Mac = Mac([0; 6]);

    /// The address as a number below 2^48, its first byte the least significant: what a processor of
    /// that order reads and writes at once.
    #[inline(always)]
    pub fn to_bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The address whose number is the lower 48 bits of `bits`.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Mac {
        let [bytes @ .., _, _] = bits.to_le_bytes();
        Mac(bytes)
    }

    /// The group bit is set; true of the broadcast address too.
    #[inline]
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// `ff:ff:ff:ff:ff:ff`.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == Mac::BROADCAST
    }

    /// Can be a station's own address: neither a group's nor zero.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Mac::ZERO
    }

    /// A locally administered unicast address that depends on `seed` alone.
    ///
    /// Nodes derive each other's addresses from names without talking, so this is a wire format of
    /// its own: FNV-1a of 64 bits over the UTF-8 bytes, its upper 16 bits xored into its lower 48,
    /// these in network order, then the local bit set and the group bit cleared.
    pub fn derive(seed: &str) -> Mac {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let hash = seed.bytes().fold(OFFSET_BASIS, |h, b| (h ^ u64::from(b)).wrapping_mul(PRIME));
        let [_, _, mut bytes @ ..] = (hash ^ (hash >> 48)).to_be_bytes();
        bytes[0] = bytes[0] & 0b1111_1100 | 0b10;
        Mac(bytes)
    }
}

/// A text is not an Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a MAC address; expected six pairs of hexadecimal digits such as 02:00:5e:10:00:01"
)]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Mac, MacError> {
        let error = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or_else(error)?;
            // `from_str_radix` would take a sign.
            if pair.len() != 2 || !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        if pairs.next().is_some() { Err(error()) } else { Ok(Mac(bytes)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;

    fn try_from(text: String) -> Result<Mac, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_are_no_addresses_are_refused() {
        for text in [
            "",
            "02",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "02:00:5e:10:00:1",
            "02:00:5e:10:00:001",
            "02-00-5e-10-00-01",
            "02:00:5e:10:00:+1",
            "02:00:5e:10:00:0g",
            "02:00:5e:10:00:01 ",
        ] {
            let error = text.parse::<Mac>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a MAC address")), "{error}");
        }
    }

    /// Nodes of different versions must derive the same.
    #[test]
    fn derived_addresses_never_change() {
        assert_eq!(Mac::derive("a").to_string(), "de:4c:86:01:43:ef");
        assert_eq!(Mac::derive("node-1.example").to_string(), "82:53:9b:47:2e:f9");
    }

    #[test]
    fn kinds_of_address() {
        assert!(Mac::BROADCAST.is_broadcast() && Mac::BROADCAST.is_multicast());
        assert!(!Mac::ZERO.is_unicast() && !Mac::BROADCAST.is_unicast());
        let group = Mac([0x33, 0x33, 0, 0, 0, 1]);
        assert!(group.is_multicast() && !group.is_broadcast() && !group.is_unicast());
    }

    proptest! {
        #[test]
        fn text_and_back(bytes: [u8; 6]) {
            let text = Mac(bytes).to_string();
            prop_assert_eq!(text.parse(), Ok(Mac(bytes)));
            prop_assert_eq!(text.to_uppercase().parse(), Ok(Mac(bytes)));
            let json = serde_json::to_string(&Mac(bytes)).unwrap();
            prop_assert_eq!(&json, &format!("\"{text}\""));
            prop_assert_eq!(serde_json::from_str::<Mac>(&json).unwrap(), Mac(bytes));
        }

        #[test]
        fn derived_addresses_are_local_unicast(seed in ".*") {
            let mac = Mac::derive(&seed);
            prop_assert!(mac.is_unicast() && mac.0[0] & 2 != 0);
        }
    }
}
