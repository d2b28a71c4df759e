//! What a user says of a VXLAN.

use crate::tos::Dscp;
use crate::vni::Vni;
use crate::wire::Mac;
use std::num::{NonZeroU8, NonZeroU16};

/// One `[[tunnel.vxlan]]`.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What peers and `show` call it.
    #[serde(default = "default_name")]
    pub name: String,
    /// VXLAN network identifier.
    pub vni: Vni,
    /// UDP port, ours and the peers'; flannel uses 8472.
    #[serde(default = "default_port")]
    pub port: NonZeroU16,
    /// Whether the outer UDP checksum is computed. When absent it is over IPv6, and is zero over
    /// IPv4; RFC 6935 lets tunnels send zero over IPv6 to receivers that are set up for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_checksum: Option<bool>,
    /// Our VTEP's MAC; derived from the node's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Time to live, or hop limit, of outer packets.
    #[serde(default = "default_ttl")]
    pub ttl: NonZeroU8,
    /// What becomes of the DSCP. ECN always follows RFC 6040.
    #[serde(default)]
    pub dscp: Dscp,
    /// What becomes of received packets that carry a group policy.
    #[serde(default)]
    pub group_policy: GroupPolicy,
}

/// What becomes of packets whose header names the group of their sender: the G bit and the sixteen bits of
/// draft-smith-vxlan-group-policy §2.1, which we have no use for, and send none of.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum GroupPolicy {
    /// They are taken as if there were none, as RFC 7348 §5 says of reserved bits.
    #[default]
    Ignore,
    /// They are dropped, as Linux does: who sends them expects a policy to be enforced.
    Refuse,
}

impl Config {
    /// A VXLAN of this network, everything else as it is when absent.
    pub fn new(vni: Vni) -> Config {
        Config {
            name: default_name(),
            vni,
            port: default_port(),
            udp_checksum: None,
            mac: None,
            ttl: default_ttl(),
            dscp: Dscp::default(),
            group_policy: GroupPolicy::default(),
        }
    }

    /// Configs that between them use every option: what laws, fuzzing and benches run on.
    pub fn samples() -> Vec<Config> {
        let plain = Config::new(Vni::ONE);
        let flannel = Config {
            name: "flannel".into(),
            port: const { NonZeroU16::new(8472).unwrap() },
            udp_checksum: Some(false),
            ..plain.clone()
        };
        let summed = Config {
            name: "summed".into(),
            vni: Vni::LAST,
            udp_checksum: Some(true),
            mac: Some(Mac([0x02, 0, 0x5e, 0x10, 0, 1])),
            ttl: NonZeroU8::MAX,
            dscp: Dscp::Uniform,
            group_policy: GroupPolicy::Refuse,
            ..plain.clone()
        };
        vec![plain, flannel, summed]
    }
}

fn default_name() -> String {
    "vxlan".into()
}

fn default_port() -> NonZeroU16 {
    const { NonZeroU16::new(super::PORT).unwrap() }
}

fn default_ttl() -> NonZeroU8 {
    const { NonZeroU8::new(64).unwrap() }
}
