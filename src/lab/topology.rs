//! A topology that can be built: every name and address in it is decided and valid.
//!
//! All that the lab, the nodes' configs and the checks need to know of each other stands here, so
//! nothing else derives a name or an address. Of a node's subnet the first host address is the
//! gateway's, pods follow from the second, and the last (IPv4) or `…::fe` (IPv6) is the node's own.

mod read;
#[cfg(test)]
mod tests;

use super::file::{Answer, Family, Io, Preset, Router, UnderlayKind};
use crate::config;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The topology that the lab builds when no file is given.
pub const DEFAULT: (&str, &str) =
    ("configs/lab/two-nodes.toml", include_str!("../../configs/lab/two-nodes.toml"));

/// The namespace of what is between the nodes.
pub const WIRE: &str = "wire";

/// A place in a topology file and what is wrong there.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Error {
    file: String,
    line: usize,
    column: usize,
    message: String,
}

/// What may be said on the command line instead of in the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Kind of tunnel.
    pub encap: Option<String>,
    /// Family of the outer packets.
    pub family: Option<Family>,
    /// Pods' kind of port.
    pub io: Option<Io>,
}

/// A validated topology.
#[derive(Debug)]
pub struct Topology {
    /// Where it was read from.
    pub file: String,
    /// Shape of the underlay.
    pub underlay: UnderlayKind,
    /// Largest IP packet of the underlay, in bytes.
    pub underlay_mtu: u16,
    /// Family of the outer packets.
    pub family: Family,
    /// Pods' kind of port on cableway nodes.
    pub io: Io,
    /// The tunnel between all nodes; without one packets go from node to node as they are.
    pub tunnel: Option<Tunnel>,
    /// What daemons do when there is nothing to do.
    pub workers: config::Workers,
    /// The memory of each daemon.
    pub memory: config::Memory,
    /// At least two.
    pub nodes: Vec<Node>,
    /// Who may talk to whom.
    pub policies: Policies,
    /// What must come of that.
    pub expectations: Vec<Expectation>,
}

/// The sections of a node's config that say who may talk to whom; the same on all nodes.
#[derive(Debug, Serialize)]
pub struct Policies {
    /// What holds for all policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl: Option<config::Acl>,
    /// Groups of policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tier: Vec<config::Tier>,
    /// Prefixes that rules name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<config::Set>,
    /// Who may talk to whom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<config::Policy>,
}

/// What must come of policies when one pod asks another.
#[derive(Debug)]
pub struct Expectation {
    /// The check's name.
    pub check: String,
    /// Name of the pod that asks.
    pub from: String,
    /// Name of the pod that is asked.
    pub to: String,
    /// How.
    pub question: Question,
    /// What it gets, if anything.
    pub answer: Answer,
    /// Why nobody answers; `None` if somebody does.
    pub drop: Option<String>,
}

/// What one pod asks another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it is there.
    Ping,
    /// A page, by HTTP at this port.
    Tcp(u16),
    /// A datagram to this port.
    Udp(u16),
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Question::Ping => f.write_str("an echo"),
            Question::Tcp(port) => write!(f, "TCP port {port}"),
            Question::Udp(port) => write!(f, "UDP port {port}"),
        }
    }
}

/// The tunnel between all nodes.
#[derive(Debug)]
pub struct Tunnel {
    /// The table of a node's config.
    pub table: toml::Table,
    /// Its name in configs.
    pub name: String,
    /// What it means.
    pub tunnel: encap::Tunnel,
}

impl Tunnel {
    /// Its kind's name, as in `[[tunnel.<kind>]]`.
    pub fn kind(&self) -> &'static str {
        self.tunnel.kind().name()
    }
}

/// A node, and what is derived from its place in the file.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its place in the file, from zero.
    pub index: usize,
    /// Its namespace.
    pub netns: String,
    /// Its addresses on the underlay.
    pub underlay: Dual<Ipv4Net, Ipv6Net>,
    /// Its pods' subnets.
    pub subnets: Dual<Ipv4Net, Ipv6Net>,
    /// What its pods send to that is not in their subnet.
    pub gateway: Dual<Ipv4Addr, Ipv6Addr>,
    /// Its own address in the overlay.
    pub host: Dual<Ipv4Addr, Ipv6Addr>,
    /// MAC of its VTEP.
    pub vtep_mac: String,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// What routes for it.
    pub router: Router,
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub netns: String,
    /// Its addresses.
    pub addresses: Dual<Ipv4Addr, Ipv6Addr>,
    /// What it is, to policies.
    pub labels: config::Labels,
    /// Its device's MTU, if not what the tunnel leaves.
    pub mtu: Option<u16>,
}

/// Something there may be one of for each IP version.
#[derive(Clone, Copy, Debug)]
pub struct Dual<A, B> {
    /// IPv4's.
    pub v4: Option<A>,
    /// IPv6's.
    pub v6: Option<B>,
}

impl<A, B> Default for Dual<A, B> {
    fn default() -> Self {
        Self { v4: None, v6: None }
    }
}

impl Dual<Ipv4Addr, Ipv6Addr> {
    /// Those there are.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// That of a family.
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }
}

impl Dual<Ipv4Net, Ipv6Net> {
    /// Those there are.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        self.v4.map(IpNet::V4).into_iter().chain(self.v6.map(IpNet::V6))
    }

    /// That of a family.
    pub fn of(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.v4.map(IpNet::V4),
            Family::V6 => self.v6.map(IpNet::V6),
        }
    }

    /// The host addresses with this number.
    fn hosts(&self, number: usize) -> Dual<Ipv4Addr, Ipv6Addr> {
        Dual {
            v4: self.v4.map(|net| Ipv4Addr::from_bits(net.network().to_bits() + number as u32)),
            v6: self.v6.map(|net| Ipv6Addr::from_bits(net.network().to_bits() + number as u128)),
        }
    }
}

impl Topology {
    /// Reads a topology file's text; `file` names it in errors.
    pub fn parse(file: &str, text: &str, overrides: &Overrides) -> Result<Self, Error> {
        read::Reader { file, text }.read(overrides)
    }

    /// What a pod's packet may measure, in bytes.
    pub fn pod_mtu(&self) -> u16 {
        self.underlay_mtu - self.overhead()
    }

    /// What the tunnel's kind is called in configs and on the command line.
    pub fn encap(&self) -> &'static str {
        self.tunnel.as_ref().map_or(config::DIRECT, Tunnel::kind)
    }

    /// Bytes that the tunnel adds to an IP packet: the same between any two nodes.
    fn overhead(&self) -> u16 {
        let Some(tunnel) = &self.tunnel else { return 0 };
        let [local, remote] = [0, 1].map(|i| self.nodes[i].underlay_address(self.family));
        let mac = encap::wire::Mac([0x02, 0, 0, 0, 0, 0]);
        let ends = encap::Ends { local, remote, local_mac: mac, remote_mac: mac };
        tunnel.tunnel.encap(&ends).overhead() as u16
    }

    /// All pods with their nodes.
    pub fn pods(&self) -> impl Iterator<Item = (&Node, &Pod)> {
        self.nodes.iter().flat_map(|node| node.pods.iter().map(move |pod| (node, pod)))
    }

    /// The pod of this name, with its node.
    pub fn pod(&self, name: &str) -> Option<(&Node, &Pod)> {
        self.pods().find(|(_, pod)| pod.name == name)
    }

    /// Whether some node is the kernel's.
    pub fn has_kernel_node(&self) -> bool {
        self.nodes.iter().any(|node| node.router != Router::Cableway)
    }

    /// Every namespace of the lab as (name, namespace), the wire's included.
    pub fn namespaces(&self) -> Vec<(String, String)> {
        let wire = (self.underlay != UnderlayKind::Veth).then(|| (WIRE.into(), netns(WIRE)));
        let nodes = self.nodes.iter().map(|node| (node.name.clone(), node.netns.clone()));
        let pods = self.pods().map(|(_, pod)| (pod.name.clone(), pod.netns.clone()));
        wire.into_iter().chain(nodes).chain(pods).collect()
    }
}

impl Node {
    /// Its address on the underlay, as the tunnel's end.
    pub fn underlay_address(&self, family: Family) -> IpAddr {
        self.underlay.of(family).expect("validated: an address of the tunnel's family").addr()
    }
}

/// The namespace of the node or pod of this name.
pub fn netns(name: &str) -> String {
    format!("cableway-{name}")
}

impl Preset {
    /// The VNI and the UDP port that it always uses.
    pub fn vni_and_port(self) -> (u32, u16) {
        match self {
            Self::Flannel => (1, 8472),
            Self::Calico => (4096, 4789),
        }
    }
}
