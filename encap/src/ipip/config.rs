//! What a user says of an IP-in-IP tunnel.

use crate::tos::Dscp;
use std::num::NonZeroU8;

/// One `[[tunnel.ipip]]`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// What peers and `show` call it.
    pub name: String,
    /// Time to live, or hop limit, of outer packets.
    pub ttl: NonZeroU8,
    /// What becomes of the DSCP. ECN always follows RFC 6040.
    pub dscp: Dscp,
    /// Over IPv6: how many more tunnels a packet may enter on its way, as Linux says it (there it is 4).
    /// None is said when absent. RFC 2473 §4.1.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encapsulation_limit: Option<u8>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            name: "ipip".into(),
            ttl: const { NonZeroU8::new(64).unwrap() },
            dscp: Dscp::default(),
            encapsulation_limit: None,
        }
    }
}

impl Config {
    /// Configs that between them use every option: what laws, fuzzing and benches run on.
    pub fn samples() -> Vec<Config> {
        let plain = Config::default();
        let limited = Config {
            name: "ipip-limited".into(),
            ttl: NonZeroU8::MAX,
            dscp: Dscp::Uniform,
            encapsulation_limit: Some(4),
        };
        vec![plain, limited]
    }
}
