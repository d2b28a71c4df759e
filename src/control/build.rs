//! From a config and facts about the machine to the tables of the workers. A pure function: what
//! the machine is like comes in as [`Facts`], so that all of it is tested without one.
//!
//! Ports are numbered uplinks first, then `[[port]]`s, in the config's order. Neighbours are the
//! underlay's next hops first, then the stations of Ethernet ports.

use super::netlink::LinkFacts;
use super::state::RouteTables;
use crate::config::{self, Config, Via};
use crate::io::Port;
use encap::wire::Mac;
use encap::{Ends, Tunnel};
use hashbrown::HashMap;
use ipnet::IpNet;
use pipeline::frame::Link;
use pipeline::snapshot::{Caps, Gateway, Hop, Peer, PortId, PortInfo, Role, Snapshot, TunnelInfo};
use pipeline::tables::neighbours::Neighbour;
use std::net::IpAddr;
use std::sync::Arc;

/// What the config doesn't know.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The uplinks, in the config's order.
    pub uplinks: Vec<UplinkFacts>,
    /// The devices of the ports, in the config's order.
    pub ports: Vec<DeviceFacts>,
    /// The ways to the peers, in the config's order.
    pub ways: Vec<Way>,
}

/// An uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkFacts {
    /// The device as frames see it.
    pub device: DeviceFacts,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU, in bytes.
    pub mtu: usize,
}

impl UplinkFacts {
    /// Of an open port and the link that it is on.
    pub fn new(port: &dyn Port, link: &LinkFacts) -> UplinkFacts {
        // Only a virtual wire carries what a card would have finished, and what is built on one.
        let partial_sums = link.kind.is_some();
        UplinkFacts {
            device: DeviceFacts { link: port.link(), caps: port.caps(), partial_sums },
            mac: link.mac.unwrap_or_default(),
            mtu: link.mtu as usize,
        }
    }
}

/// An open device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// What its frames start with.
    pub link: Link,
    /// What it does itself.
    pub caps: Caps,
    /// See [`PortInfo::partial_sums`].
    pub partial_sums: bool,
}

/// How the underlay reaches a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Which uplink.
    pub uplink: usize,
    /// Our address.
    pub local: IpAddr,
    /// The next hop; the peer itself when it is on the uplink's own network.
    pub next_hop: IpAddr,
}

/// What [`build`] makes.
#[derive(Clone, Default)]
pub struct Built {
    /// The tables.
    pub snapshot: Snapshot,
    /// The routes that its route tables were made of.
    pub routes: RouteTables,
    /// MACs of the peers' VTEPs, in the config's order.
    pub vteps: Vec<Mac>,
}

/// The config asks for something that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A peer's tunnel is not there.
    #[error("peer {peer}: there is no tunnel {tunnel:?}; name one of the [[tunnel]]s")]
    Tunnel {
        /// The peer.
        peer: String,
        /// What it names.
        tunnel: String,
    },
    /// A route's peer or port is not there.
    #[error("route {prefix}: there is no {what}; name one of the config's")]
    Via {
        /// The route.
        prefix: IpNet,
        /// What it names.
        what: String,
    },
    /// A route by an Ethernet port without a station of its family.
    #[error(
        "route {prefix}: port {port} has no address of that family, so there is no station to send \
         to; add one to its `addresses`"
    )]
    Station {
        /// The route.
        prefix: IpNet,
        /// The port.
        port: String,
    },
}

/// The MAC of a node's VTEP where the config names none: here for our own, and on every peer for
/// ours.
pub fn vtep_mac(node: &str) -> Mac {
    Mac::derive(&format!("vtep/{node}"))
}

/// Makes the tables. Neighbours of `previous` that are still needed are carried over with what has
/// been learned about them.
///
/// # Errors
/// When the config names something that isn't there.
///
/// # Panics
/// When `facts` has fewer uplinks, ports or ways than `config`.
pub fn build(
    config: &Config,
    facts: &Facts,
    previous: Option<&Snapshot>,
) -> Result<Built, BuildError> {
    let tunnels = tunnels(config);
    let mut neighbours = Neighbours::new(previous);
    let peers = peers(config, facts, &tunnels, &mut neighbours)?;
    let ports = ports(config, facts, &mut neighbours);
    let routes = routes(config, &ports)?;
    let by_address = peers.iter().enumerate().map(|(i, peer)| (peer.address, i as u16));
    let snapshot = Snapshot {
        generation: previous.map_or(1, |previous| previous.generation + 1),
        peers_by_address: Arc::new(by_address.collect()),
        ports: Arc::new(ports.into()),
        tunnels: Arc::new(tunnels),
        peers: Arc::new(peers.into()),
        neighbours: Arc::new(neighbours.all.into()),
        gateway: Arc::new(Gateway { addresses: gateways(config).collect() }),
        routes4: routes.v4.snapshot(),
        routes6: routes.v6.snapshot(),
    };
    Ok(Built { snapshot, routes, vteps: config.peer.iter().map(peer_mac).collect() })
}

/// The slots of neighbours: one for each address on each port.
struct Neighbours<'a> {
    all: Vec<Arc<Neighbour>>,
    slots: HashMap<(PortId, IpAddr), usize>,
    previous: HashMap<(PortId, IpAddr), &'a Arc<Neighbour>>,
}

impl<'a> Neighbours<'a> {
    fn new(previous: Option<&'a Snapshot>) -> Self {
        let known = previous.into_iter().flat_map(|snapshot| snapshot.neighbours.iter());
        let previous = known.map(|known| ((known.port, known.address), known)).collect();
        Neighbours { all: Vec::new(), slots: HashMap::new(), previous }
    }

    fn slot(&mut self, port: PortId, address: IpAddr) -> usize {
        *self.slots.entry((port, address)).or_insert_with(|| {
            let known = self.previous.get(&(port, address)).map(|known| Arc::clone(known));
            self.all.push(known.unwrap_or_else(|| Arc::new(Neighbour::new(port, address))));
            self.all.len() - 1
        })
    }
}

fn tunnels(config: &Config) -> Vec<TunnelInfo> {
    let ours = vtep_mac(config.node.name.as_str());
    let info = |(name, tunnel): (&str, Tunnel)| TunnelInfo {
        name: name.to_owned(),
        steer: tunnel.steer(),
        key: tunnel.key(),
        mac: tunnel.mac().unwrap_or(ours),
        tunnel,
    };
    config.tunnel.tunnels().map(info).collect()
}

fn peers(
    config: &Config,
    facts: &Facts,
    tunnels: &[TunnelInfo],
    neighbours: &mut Neighbours<'_>,
) -> Result<Vec<Peer>, BuildError> {
    let peers = config.peer.iter().zip(&facts.ways).map(|(peer, way)| {
        let tunnel = tunnels.iter().position(|tunnel| tunnel.name == peer.tunnel);
        let tunnel = tunnel.ok_or_else(|| BuildError::Tunnel {
            peer: peer.name.to_string(),
            tunnel: peer.tunnel.to_string(),
        })?;
        let uplink = port_id(way.uplink);
        let ends = Ends {
            local: way.local,
            remote: peer.address.ip(),
            local_mac: tunnels[tunnel].mac,
            remote_mac: peer_mac(peer),
        };
        Ok(Peer {
            name: peer.name.to_string(),
            address: peer.address.ip(),
            local: way.local,
            tunnel,
            encap: tunnels[tunnel].tunnel.encap(&ends),
            uplink,
            neighbour: neighbours.slot(uplink, way.next_hop),
            check_source: peer.check_source,
        })
    });
    peers.collect()
}

fn peer_mac(peer: &config::Peer) -> Mac {
    peer.vtep_mac.unwrap_or_else(|| vtep_mac(peer.name.as_str()))
}

fn ports(config: &Config, facts: &Facts, neighbours: &mut Neighbours<'_>) -> Vec<PortInfo> {
    let uplinks = config.uplink.iter().zip(&facts.uplinks).map(|(uplink, facts)| PortInfo {
        name: uplink.device.to_string(),
        role: Role::Uplink,
        link: facts.device.link,
        mac: facts.mac,
        mtu: facts.mtu,
        caps: facts.device.caps,
        partial_sums: facts.device.partial_sums,
        check_source: false,
        stations: Vec::new(),
        gateway4: None,
        gateway6: None,
    });
    let mut all: Vec<_> = uplinks.collect();
    for (port, device) in config.port.iter().zip(&facts.ports) {
        let id = port_id(all.len());
        let stations = port.addresses.iter().filter(|_| device.link == Link::Ethernet);
        let stations = stations.map(|own| (own.ip(), neighbours.slot(id, own.ip()))).collect();
        all.push(PortInfo {
            name: port.name.to_string(),
            role: Role::Pod,
            link: device.link,
            mac: config.gateway_mac(),
            mtu: port.mtu.get() as usize,
            caps: device.caps,
            partial_sums: device.partial_sums,
            check_source: port.check_source,
            stations,
            gateway4: match gateway_of(config, port, true) {
                Some(IpAddr::V4(v4)) => Some(v4),
                _ => None,
            },
            gateway6: match gateway_of(config, port, false) {
                Some(IpAddr::V6(v6)) => Some(v6),
                _ => None,
            },
        });
    }
    all
}

/// The gateway's address of a family that a port's stations know: one in a prefix of theirs if
/// there is one, else the first.
pub fn gateway_of(config: &Config, port: &config::Port, v4: bool) -> Option<IpAddr> {
    let of_family = || gateways(config).filter(|address| address.is_ipv4() == v4);
    let near = |address: &IpAddr| port.addresses.iter().any(|own| own.net().contains(address));
    of_family().find(near).or_else(|| of_family().next())
}

fn gateways(config: &Config) -> impl Iterator<Item = IpAddr> + '_ {
    config.gateway.addresses.iter().map(|address| address.ip())
}

/// From the least to the most particular: of two routes to one prefix the last one stays.
fn routes(config: &Config, ports: &[PortInfo]) -> Result<RouteTables, BuildError> {
    let mut routes = RouteTables::default();
    for (i, peer) in config.peer.iter().enumerate() {
        for subnet in &peer.subnets {
            routes.insert(subnet.net(), Hop::Peer(i));
        }
    }
    for route in &config.route {
        routes.insert(route.prefix.net(), via(config, ports, route)?);
    }
    for (i, port) in config.port.iter().enumerate() {
        let id = port_id(config.uplink.len() + i);
        for own in &port.addresses {
            routes.insert(own.host(), station(ports, id, |address| address == own.ip()));
        }
    }
    for address in gateways(config) {
        routes.insert(address.into(), Hop::Local);
    }
    Ok(routes)
}

fn via(config: &Config, ports: &[PortInfo], route: &config::Route) -> Result<Hop, BuildError> {
    let prefix = route.prefix.net();
    let missing = |what: String| BuildError::Via { prefix, what };
    match &route.via {
        Via::Unreachable => Ok(Hop::Unreachable),
        Via::Blackhole => Ok(Hop::Blackhole),
        Via::Peer(name) => {
            let peer = config.peer.iter().position(|peer| peer.name == *name);
            peer.map(Hop::Peer).ok_or_else(|| missing(format!("peer {name}")))
        }
        Via::Port(name) => {
            let port = config.port.iter().position(|port| port.name == *name);
            let port = port.ok_or_else(|| missing(format!("port {name}")))?;
            let id = port_id(config.uplink.len() + port);
            let is_v4 = matches!(prefix, IpNet::V4(_));
            match station(ports, id, |address| address.is_ipv4() == is_v4) {
                Hop::None => Err(BuildError::Station { prefix, port: name.to_string() }),
                hop => Ok(hop),
            }
        }
    }
}

/// The hop to the first station of a port that `is` true of; to the port itself where frames need
/// no station.
fn station(ports: &[PortInfo], id: PortId, is: impl Fn(IpAddr) -> bool) -> Hop {
    let port = &ports[id.index()];
    if port.link == Link::Ip {
        return Hop::Port(id);
    }
    let found = port.stations.iter().find(|(address, _)| is(*address));
    found.map_or(Hop::None, |(_, slot)| Hop::Neighbour(*slot))
}

/// The number of the port at `index`.
///
/// # Panics
/// From 65,536 ports on.
pub fn port_id(index: usize) -> PortId {
    PortId(u16::try_from(index).expect("a node has fewer than 65,536 ports"))
}

#[cfg(test)]
mod tests;
