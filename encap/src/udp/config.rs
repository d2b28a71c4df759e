//! What a user says of a UDP tunnel.

use crate::tos::Dscp;
use std::num::{NonZeroU8, NonZeroU16};

/// One `[[tunnel.udp]]`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// What peers and `show` call it.
    pub name: String,
    /// UDP port, ours and the peers'.
    pub port: NonZeroU16,
    /// Whether the outer UDP checksum is computed. When absent it is over IPv6, and is zero over
    /// IPv4; RFC 6935 lets tunnels send zero over IPv6 to receivers that are set up for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_checksum: Option<bool>,
    /// Time to live, or hop limit, of outer packets.
    pub ttl: NonZeroU8,
    /// What becomes of the DSCP. ECN always follows RFC 6040.
    pub dscp: Dscp,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            name: "udp".into(),
            port: const { NonZeroU16::new(super::PORT).unwrap() },
            udp_checksum: None,
            ttl: const { NonZeroU8::new(64).unwrap() },
            dscp: Dscp::default(),
        }
    }
}

impl Config {
    /// Configs that between them use every option: what laws, fuzzing and benches run on.
    pub fn samples() -> Vec<Config> {
        let plain = Config::default();
        let summed = Config {
            name: "udp-summed".into(),
            port: const { NonZeroU16::new(8286).unwrap() },
            udp_checksum: Some(true),
            ttl: NonZeroU8::MAX,
            dscp: Dscp::Uniform,
        };
        let unsummed = Config {
            name: "udp-unsummed".into(),
            port: const { NonZeroU16::new(8287).unwrap() },
            udp_checksum: Some(false),
            ..plain.clone()
        };
        vec![plain, summed, unsummed]
    }
}
