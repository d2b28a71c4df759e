//! What lies beyond this node: peers, and routes to them.

use super::{Name, Prefix, Unicast, Via};
use encap::wire::Mac;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[[peer]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peer {
    /// The peer's name; if it runs Cableway the `node.name` there.
    pub name: Name,
    /// Its address on the underlay.
    pub address: Unicast,
    /// The name of the tunnel that leads there. With `mode = "never"` there need be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// Which packets to it go through the tunnel.
    #[serde(default)]
    pub mode: TunnelMode,
    /// By what else its packets may come than `tunnel`, and than directly if `mode` lets ours go so: names of
    /// tunnels, and `direct`. So a cluster passes from one to another, node after node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<String>,
    /// The prefixes behind it. They are routed to it.
    #[schemars(length(min = 1))]
    pub subnets: Vec<Prefix>,
    /// The MAC of its VTEP, for tunnels that carry Ethernet. When absent it is derived from the
    /// peer's name, as a peer that runs Cableway derives its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vtep_mac: Option<Mac>,
    /// Lower the segment size (MSS) that TCP connections to and from it agree on to what its way carries, so
    /// that pods which ICMP does not reach need not be told.
    #[serde(default)]
    pub clamp_mss: bool,
    /// Which packet is fragmented of those that are longer than the way to it carries.
    #[serde(default)]
    pub fragment: Fragment,
    /// Drop what the peer sends from inner addresses that are not routed to it, but for ICMP from its
    /// `address`.
    #[serde(default = "super::port::yes")]
    pub check_source: bool,
}

/// Which packets to a peer go through its tunnel; the others go to it as they are, as the next hop of the
/// underlay: flannel's host-gw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelMode {
    /// All.
    #[default]
    Always,
    /// All while the kernel's route to the peer has a gateway, else none: flannel's DirectRouting, Calico's
    /// CrossSubnet.
    CrossSubnet,
    /// None; there must not be a gateway.
    Never,
}

/// Which packet is fragmented where one is longer than its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fragment {
    /// The pod's, if that allows it; otherwise the pod is told. Only of IPv6 packets of 1,280 bytes or less the
    /// tunnel's are fragmented, since less nobody may be told.
    #[default]
    Inner,
    /// The tunnel's, whatever the pod's allows: pods may then have a larger MTU than the underlay, and the
    /// peer's kernel puts together what comes.
    Outer,
}

/// What `accept` of a peer calls packets without a tunnel.
pub const DIRECT: &str = "direct";

impl Peer {
    /// The names of all tunnels that it mentions.
    pub fn tunnels(&self) -> impl Iterator<Item = &str> {
        let accepted = self.accept.iter().filter(|name| *name != DIRECT);
        self.tunnel.iter().chain(accepted).map(String::as_str)
    }

    /// Whether its packets may come without a tunnel.
    pub fn accepts_direct(&self) -> bool {
        self.mode != TunnelMode::Always || self.accept.iter().any(|name| name == DIRECT)
    }

    /// The MAC of its VTEP: [`vtep_mac`](Self::vtep_mac), or derived from its name.
    pub fn vtep(&self) -> Mac {
        self.vtep_mac.unwrap_or_else(|| Mac::derive(self.name.as_str()))
    }
}

/// `[[route]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Route {
    /// The destinations.
    pub prefix: Prefix,
    /// Where they are.
    pub via: Via,
}
