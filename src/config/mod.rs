//! What a user says a node is: one TOML file, parsed once into types that can't hold nonsense.
//!
//! A file is checked in three steps, and every error of each is reported with its place:
//!
//! 1. its shape (`shape`): syntax, unknown keys and missing ones, against the very JSON schema that
//!    `cableway schema` prints;
//! 2. its values (`parse`): each by the type that it becomes;
//! 3. its sense (`sense`): what values say together, such as two ports of one name.
//!
//! Nothing here looks at the machine, so `cableway check` tells on a laptop what the node would
//! say. What does not exist there, `cableway run` finds out.

pub mod acl;
mod draft;
pub mod edit;
mod error;
mod parse;
mod place;
mod port;
mod remote;
mod sense;
mod shape;
#[cfg(test)]
mod tests;
mod text;
mod via;

pub use acl::{Acl, Endpoint, Labels, Policy, Set, Tier};
pub use error::{Errors, Fault, LoadError};
pub use place::Part;
pub use port::{IPV6_MIN_MTU, Kind, Port};
pub use remote::{DIRECT, Fragment, Peer, Route, TunnelMode};
pub use text::{Bounded, DeviceName, FileMode, Interface, Name, Netns, Prefix, Unicast};
pub use via::Via;

use encap::wire::Mac;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

/// The configuration of a Cableway node.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// The cores that move frames.
    #[serde(default)]
    pub workers: Workers,
    /// The memory that frames live in.
    #[serde(default)]
    pub memory: Memory,
    /// Devices of the underlay, on which the peers are reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uplink: Vec<Uplink>,
    /// Encapsulations, by kind.
    #[serde(default)]
    pub tunnel: encap::Configs,
    /// What pods see as their router.
    #[serde(default)]
    pub gateway: Gateway,
    /// Where pods, and the node itself, are attached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port: Vec<Port>,
    /// The other nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<Peer>,
    /// Routes besides those to the ports' addresses and to the peers' subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Route>,
    /// What holds for all policies.
    #[serde(default, skip_serializing_if = "Acl::is_default")]
    pub acl: Acl,
    /// Groups of policies, in the order in which they are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tier: Vec<Tier>,
    /// Prefixes that rules name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Set>,
    /// Who is elsewhere in the cluster, for rules that speak of labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoint: Vec<Endpoint>,
    /// Who may talk to whom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<Policy>,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Node {
    /// The node's name, as its peers know it: MAC addresses that are not configured are derived
    /// from it, here and there.
    pub name: Name,
    /// The management socket, where `cableway show` asks.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// Who may open it, as the octal digits of `chmod`: who may, may change the node. `"0600"`
    /// when absent, for the daemon's user alone.
    #[serde(default)]
    pub socket_mode: FileMode,
    /// The group that it belongs to, by name; the daemon's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_group: Option<String>,
}

/// `[workers]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Workers {
    /// The cores to run on, numbered as in `/proc/cpuinfo`; each gets one worker that is pinned to
    /// it.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub cores: Vec<Bounded<0, 65_535>>,
    /// What a worker does when there is nothing to do.
    pub mode: Mode,
    /// How long an adaptive worker looks for more frames before it sleeps, in microseconds. Longer
    /// costs more of the core and saves the wake-up, some 40 microseconds a frame.
    pub spin_us: Bounded<0, 1_000_000>,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Look again at once: the lowest latency, for a whole core.
    Poll,
    /// Look again for `spin-us`, then sleep until a frame arrives.
    #[default]
    Adaptive,
    /// Sleep until a frame arrives.
    Interrupt,
}

/// `[memory]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Memory {
    /// Number of chunks of 2 KiB, shared by all ports. A full-sized frame takes one, a 64 KiB
    /// super-frame of a TUN port 32.
    pub chunks: Bounded<1024, 4_194_304>,
    /// Use the kernel's huge pages as far as it has any free, ordinary ones otherwise.
    pub huge_pages: bool,
    /// Chunks that stand ready at each quiet port of kind `af_xdp`. A burst of more frames than that
    /// loses some; with the load more stand ready.
    pub standby: Bounded<8, 1024>,
}

/// `[[uplink]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Uplink {
    /// The name of the device. Its addresses and routes stay with the kernel, as does all of its
    /// traffic that is not a tunnel's.
    pub device: DeviceName,
    /// How the XDP program is attached to it.
    #[serde(default)]
    pub attach: Attach,
}

/// How an XDP program is attached to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    /// Native where the driver can, generic otherwise.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// Behind the driver: slower, and for every device.
    Generic,
}

/// `[gateway]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Gateway {
    /// The addresses that pods can use as their gateway, the same ones on every port: answered by
    /// ARP, neighbour discovery and ping. `169.254.1.1` and `fe80::1` when absent.
    pub addresses: Vec<Unicast>,
    /// The MAC behind them; derived from the node's name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The overlay's prefixes. When there are any, pods' packets to other destinations that are
    /// routed to a port of the node itself get an address of the node, by nftables, and the kernel
    /// forwards them. What stays within these prefixes keeps its source, and is unreachable where
    /// it is behind no port or peer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masquerade: Vec<Prefix>,
}

impl Config {
    /// The MAC of our VTEPs where a tunnel names none; what [`Peer::vtep`] is at the peers.
    pub fn vtep(&self) -> Mac {
        Mac::derive(self.node.name.as_str())
    }

    /// The MAC of the gateway: as configured, or derived from the node's name.
    pub fn gateway_mac(&self) -> Mac {
        self.gateway.mac.unwrap_or_else(|| Mac::derive(&format!("gateway {}", self.node.name)))
    }
}

impl Workers {
    /// [`spin_us`](Self::spin_us) as a duration.
    pub fn spin(&self) -> Duration {
        Duration::from_micros(self.spin_us.get().into())
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            cores: vec![Bounded::of::<0>()],
            mode: Mode::default(),
            spin_us: Bounded::of::<50>(),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { chunks: Bounded::of::<16_384>(), huge_pages: true, standby: Bounded::of::<64>() }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        let addresses = [
            IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
            IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
        ];
        let addresses = addresses.map(Unicast::constant).to_vec();
        Self { addresses, mac: None, masquerade: Vec::new() }
    }
}

fn default_socket() -> PathBuf {
    "/run/cableway/cableway.sock".into()
}
