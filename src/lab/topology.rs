//! A topology that can be built: every name and address in it is decided and valid.
//!
//! All that the lab, the nodes' configs and the checks need to know of each other stands here, so
//! nothing else derives a name or an address. Of a node's subnet the first host address is the
//! gateway's, pods follow from the second, and the last (IPv4) or `…::fe` (IPv6) is the node's own.

use super::file::{Family, File, Io, Preset, Router, UnderlayKind};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use toml::Spanned;

/// The topology that the lab builds when no file is given.
pub const DEFAULT: (&str, &str) =
    ("configs/lab/two-nodes.toml", include_str!("../../configs/lab/two-nodes.toml"));

/// The namespace of what is between the nodes.
pub const WIRE: &str = "wire";

/// Bounded by `wire-<name>`, the longest device name made of one (15 bytes, `IFNAMSIZ` - 1).
const NAME_MAX: usize = 10;

/// IPv6 needs 1,280 bytes (RFC 8200 §5), tunnels at most 100 more.
const UNDERLAY_MTU_MIN: u16 = 1380;

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
    /// The tunnel between all nodes.
    pub tunnel: Tunnel,
    /// At least two.
    pub nodes: Vec<Node>,
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
        Reader { file, text }.read(overrides)
    }

    /// What a pod's packet may measure, in bytes.
    pub fn pod_mtu(&self) -> u16 {
        self.underlay_mtu - self.overhead()
    }

    /// Bytes that the tunnel adds to an IP packet: the same between any two nodes.
    fn overhead(&self) -> u16 {
        let [local, remote] = [0, 1].map(|i| self.nodes[i].underlay_address(self.family));
        let mac = encap::wire::Mac([0x02, 0, 0, 0, 0, 0]);
        let ends = encap::Ends { local, remote, local_mac: mac, remote_mac: mac };
        self.tunnel.tunnel.encap(&ends).overhead() as u16
    }

    /// All pods with their nodes.
    pub fn pods(&self) -> impl Iterator<Item = (&Node, &Pod)> {
        self.nodes.iter().flat_map(|node| node.pods.iter().map(move |pod| (node, pod)))
    }

    /// Whether some node is the kernel's.
    pub fn has_kernel_node(&self) -> bool {
        self.nodes.iter().any(|node| node.router != Router::Cableway)
    }

    /// Whether some node is ours.
    pub fn has_cableway_node(&self) -> bool {
        self.nodes.iter().any(|node| node.router == Router::Cableway)
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

/// A file under judgement.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn error(&self, span: Range<usize>, message: impl Into<String>) -> Error {
        let before = &self.text[..span.start.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        Error { file: self.file.into(), line, column, message: message.into() }
    }

    fn read(&self, overrides: &Overrides) -> Result<Topology, Error> {
        let file: File = toml::from_str(self.text)
            .map_err(|e| self.error(e.span().unwrap_or(0..0), e.message().replace('\n', "; ")))?;
        let family = overrides.family.unwrap_or(file.overlay.family);
        let tunnel = self.tunnel(&file, overrides)?;
        let nodes = self.nodes(&file, family)?;
        for node in file.nodes.get_ref() {
            self.router(node, &tunnel)?;
        }
        let kind = *file.underlay.kind.get_ref();
        if kind == UnderlayKind::Veth && nodes.len() != 2 {
            let message = format!("a veth joins two nodes, found {}", nodes.len());
            return Err(self.error(file.underlay.kind.span(), message));
        }
        let mtu = *file.underlay.mtu.get_ref();
        if mtu < UNDERLAY_MTU_MIN {
            let message = format!("an MTU of {UNDERLAY_MTU_MIN} or more is needed, found {mtu}");
            return Err(self.error(file.underlay.mtu.span(), message));
        }
        Ok(Topology {
            file: self.file.into(),
            underlay: kind,
            underlay_mtu: mtu,
            family,
            io: overrides.io.unwrap_or(file.overlay.io),
            tunnel,
            nodes,
        })
    }

    /// The tunnel that the overlay uses: that of the kind asked for, or the only one.
    fn tunnel(&self, file: &File, overrides: &Overrides) -> Result<Tunnel, Error> {
        let default;
        let (span, tunnels) = match &file.tunnel {
            Some(tunnels) => (tunnels.span(), tunnels.get_ref()),
            None => {
                default = default_tunnels();
                (0..0, &default)
            }
        };
        let wanted = overrides.encap.as_ref().or(file.overlay.encap.as_ref());
        let chosen = match wanted {
            Some(kind) => tunnels.get_key_value(kind),
            None => tunnels.iter().next().filter(|_| tunnels.len() == 1),
        };
        let table = chosen.and_then(|(kind, list)| Some((kind, list.as_array()?.first()?.as_table()?)));
        let Some((kind, table)) = table else {
            let found = tunnels.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = match wanted {
                Some(kind) => format!("expected a table [[tunnel.{kind}]] for the overlay"),
                None => "expected one kind of tunnel, or overlay.encap to name one".into(),
            };
            return Err(self.error(span, format!("{message}; found: {found}")));
        };
        let configs = toml::Table::from_iter([(kind.clone(), toml::Value::from(vec![table.clone()]))]);
        let configs: encap::Configs = configs
            .try_into()
            .map_err(|e: toml::de::Error| self.error(span, format!("tunnel.{kind}: {}", e.message())))?;
        let (name, tunnel) = configs.tunnels().next().expect("one table makes one tunnel");
        Ok(Tunnel { table: table.clone(), name: name.into(), tunnel })
    }

    fn nodes(&self, file: &File, family: Family) -> Result<Vec<Node>, Error> {
        let list = file.nodes.get_ref();
        if list.len() < 2 {
            let message = format!("a lab has two [[node]] tables or more, found {}", list.len());
            return Err(self.error(file.nodes.span(), message));
        }
        let mut names = HashMap::from([(WIRE, 0..0)]);
        let mut nodes = Vec::new();
        for (index, node) in list.iter().enumerate() {
            for name in std::iter::once(&node.name).chain(&node.pods) {
                self.name(name)?;
                if names.insert(name.get_ref(), name.span()).is_some() {
                    let message = format!("the name {:?} is taken", name.get_ref());
                    return Err(self.error(name.span(), message));
                }
            }
            let built = self.node(index, node)?;
            if built.underlay.of(family).is_none() {
                let message = format!(
                    "node {:?} needs an underlay address of the tunnel's family, {family}",
                    built.name
                );
                return Err(self.error(node.name.span(), message));
            }
            nodes.push(built);
        }
        self.distinct(list)?;
        Ok(nodes)
    }

    fn node(&self, index: usize, node: &super::file::Node) -> Result<Node, Error> {
        let name = node.name.get_ref().clone();
        let subnets = self.dual(&node.subnets)?;
        for subnet in &node.subnets {
            let net = subnet.get_ref();
            if net.addr() != net.network() {
                let message = format!("{net} has host bits; expected {}", net.trunc());
                return Err(self.error(subnet.span(), message));
            }
            let room = (1u128 << (net.max_prefix_len() - net.prefix_len()).min(126)) - 4;
            if net.max_prefix_len() - net.prefix_len() < 3 || node.pods.len() as u128 > room {
                let message = format!("{net} has no room for {} pods", node.pods.len());
                return Err(self.error(subnet.span(), message));
            }
        }
        let pods = node.pods.iter().enumerate().map(|(i, pod)| Pod {
            name: pod.get_ref().clone(),
            netns: netns(pod.get_ref()),
            addresses: subnets.hosts(2 + i),
        });
        Ok(Node {
            netns: netns(&name),
            index,
            underlay: self.dual(&node.underlay)?,
            subnets,
            gateway: subnets.hosts(1),
            host: Dual {
                v4: subnets.v4.map(|net| Ipv4Addr::from_bits(net.broadcast().to_bits() - 1)),
                v6: subnets.hosts(0xfe).v6,
            },
            vtep_mac: format!("02:cb:00:00:{:02x}:{:02x}", (index + 1) >> 8, (index + 1) & 0xff),
            pods: pods.collect(),
            router: *node.router.get_ref(),
            name,
        })
    }

    fn name(&self, name: &Spanned<String>) -> Result<(), Error> {
        let text = name.get_ref();
        let valid = (1..=NAME_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if valid {
            return Ok(());
        }
        let message = format!(
            "expected a name of 1 to {NAME_MAX} lower-case letters, digits and hyphens that \
             begins with a letter, found {text:?}"
        );
        Err(self.error(name.span(), message))
    }

    fn dual(&self, nets: &[Spanned<IpNet>]) -> Result<Dual<Ipv4Net, Ipv6Net>, Error> {
        let mut dual = Dual::default();
        for net in nets {
            let twice = match net.get_ref() {
                IpNet::V4(v4) => dual.v4.replace(*v4).is_some(),
                IpNet::V6(v6) => dual.v6.replace(*v6).is_some(),
            };
            if twice {
                let message = format!("{} is the second of its family here", net.get_ref());
                return Err(self.error(net.span(), message));
            }
        }
        Ok(dual)
    }

    /// No subnet overlaps another, no underlay address is given twice.
    fn distinct(&self, nodes: &[super::file::Node]) -> Result<(), Error> {
        let mut seen: Vec<(&IpNet, &str)> = Vec::new();
        for node in nodes {
            for subnet in &node.subnets {
                let net = subnet.get_ref();
                let clash = seen.iter().find(|(n, _)| n.contains(net) || net.contains(*n));
                if let Some((other, owner)) = clash {
                    let message = format!("{net} overlaps {other} of node {owner:?}");
                    return Err(self.error(subnet.span(), message));
                }
                seen.push((net, node.name.get_ref()));
            }
        }
        let mut addresses = HashMap::new();
        for node in nodes {
            for address in &node.underlay {
                let name = node.name.get_ref();
                if let Some(owner) = addresses.insert(address.get_ref().addr(), name) {
                    let message = format!("{} is node {owner:?}'s", address.get_ref().addr());
                    return Err(self.error(address.span(), message));
                }
            }
        }
        Ok(())
    }

    /// A kernel node speaks what its preset says; the tunnel must be that.
    fn router(&self, node: &super::file::Node, tunnel: &Tunnel) -> Result<(), Error> {
        let Router::KernelVxlan(preset) = *node.router.get_ref() else { return Ok(()) };
        let (vni, port) = preset.vni_and_port();
        let vxlan = &tunnel.tunnel;
        let speaks = vxlan.steer() == encap::Steer::Udp(port) && vxlan.key() == vni;
        if tunnel.kind() == "vxlan" && speaks {
            return Ok(());
        }
        let table = tunnel.table.to_string().trim().replace('\n', ", ");
        let message = format!(
            "this router speaks VXLAN with vni = {vni} and port = {port}; the overlay's tunnel is \
             [[tunnel.{}]] with {table}",
            tunnel.kind()
        );
        Err(self.error(node.router.span(), message))
    }
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

/// What flannel speaks.
fn default_tunnels() -> toml::Table {
    toml::toml! {
        [[vxlan]]
        name = "vxlan"
        vni = 1
        port = 8472
    }
}

#[cfg(test)]
mod tests;
