//! What a user says of a Geneve tunnel.

use crate::tos::Dscp;
use crate::vni::Vni;
use crate::wire::Mac;
use std::num::{NonZeroU8, NonZeroU16};

/// One `[[tunnel.geneve]]`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What peers and `show` call it.
    #[serde(default = "default_name")]
    pub name: String,
    /// Virtual network identifier.
    pub vni: Vni,
    /// UDP port, ours and the peers'.
    #[serde(default = "default_port")]
    pub port: NonZeroU16,
    /// What packets are sent in. Received are both.
    #[serde(default)]
    pub inner: Inner,
    /// Whether the outer UDP checksum is computed. When absent it is over IPv6, and is zero over
    /// IPv4; RFC 6935 lets tunnels send zero over IPv6 to receivers that are set up for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_checksum: Option<bool>,
    /// The MAC that Ethernet frames to us carry; derived from the node's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Time to live, or hop limit, of outer packets.
    #[serde(default = "default_ttl")]
    pub ttl: NonZeroU8,
    /// What becomes of the DSCP. ECN always follows RFC 6040.
    #[serde(default)]
    pub dscp: Dscp,
}

/// What stands behind the Geneve header of what we send.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Inner {
    /// An Ethernet frame around the packet, which Linux and Open vSwitch expect unless told otherwise.
    #[default]
    Ethernet,
    /// The packet itself: for peers such as Linux' `geneve` with `innerprotoinherit`.
    Ip,
}

impl Config {
    /// A tunnel of this network, everything else as it is when absent.
    pub fn new(vni: Vni) -> Config {
        Config {
            name: default_name(),
            vni,
            port: default_port(),
            inner: Inner::default(),
            udp_checksum: None,
            mac: None,
            ttl: default_ttl(),
            dscp: Dscp::default(),
        }
    }

    /// Configs that between them use every option: what laws, fuzzing and benches run on.
    pub fn samples() -> Vec<Config> {
        let plain = Config::new(Vni::ONE);
        let summed = Config {
            name: "geneve-summed".into(),
            vni: Vni::LAST,
            udp_checksum: Some(true),
            mac: Some(Mac([0x02, 0, 0x5e, 0x10, 0, 2])),
            ttl: NonZeroU8::MAX,
            dscp: Dscp::Uniform,
            ..plain.clone()
        };
        let bare = Config {
            name: "geneve-bare".into(),
            port: const { NonZeroU16::new(6082).unwrap() },
            inner: Inner::Ip,
            udp_checksum: Some(false),
            ..plain.clone()
        };
        vec![plain, summed, bare]
    }
}

fn default_name() -> String {
    "geneve".into()
}

fn default_port() -> NonZeroU16 {
    const { NonZeroU16::new(super::PORT).unwrap() }
}

fn default_ttl() -> NonZeroU8 {
    const { NonZeroU8::new(64).unwrap() }
}
