//! What lies beyond this node: peers, and routes to them.

use super::{Name, Prefix, Unicast};
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
    /// The name of the tunnel that leads there.
    pub tunnel: String,
    /// The prefixes behind it. They are routed to it.
    #[schemars(length(min = 1))]
    pub subnets: Vec<Prefix>,
    /// The MAC of its VTEP, for tunnels that carry Ethernet. When absent it is derived from the
    /// peer's name, as a peer that runs Cableway derives its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vtep_mac: Option<Mac>,
    /// Drop what the peer sends from inner addresses that are not routed to it.
    #[serde(default = "super::port::yes")]
    pub check_source: bool,
}

impl Peer {
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

/// Where a route leads.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// Nowhere, and the sender is told by an ICMP error.
    Unreachable,
    /// Nowhere, silently but for a counter.
    Blackhole,
    /// `{ peer = "name" }`
    Peer(Name),
    /// `{ port = "name" }`
    Port(Name),
}
