//! From a config and facts about the machine to the tables of the workers. A pure function: what
//! the machine is like comes in as [`Facts`], so that all of it is tested without one.
//!
//! Uplinks are the first ports, in the config's order; the other ports, the peers and the neighbours
//! have the slots that they got when they came.

mod acl;
mod mtu;

pub use acl::{enforce, policies};
pub use mtu::Limit;

use super::netlink::LinkFacts;
use super::numbers::Numbers;
use super::underlay::PathMtus;
use crate::config::{self, Config, Fragment, Name, TunnelMode};
use crate::io::Port;
use crate::io::af_xdp::AfXdp;
use encap::wire::Mac;
use encap::{Ends, Tunnel};
use hashbrown::HashMap;
use pipeline::frame::Link;
use pipeline::snapshot::{
    Accepts, Caps, Gateway, Peer, PortId, PortInfo, Role, Snapshot, TunnelId, TunnelInfo,
};
use pipeline::tables::Slots;
use pipeline::tables::neighbours::Neighbour;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// What the port is called by which come outer packets that the kernel put together: no name in a config
/// is like this.
const REASSEMBLED: &str = "(reassembled)";

/// What the config doesn't know.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The uplinks, in the config's order.
    pub uplinks: Vec<UplinkFacts>,
    /// The ports that are open.
    pub ports: HashMap<Name, OpenPort>,
    /// The port by which come outer packets that the kernel put together, if there is one.
    pub reassembled: Option<PortId>,
    /// The peers' slots.
    pub peers: HashMap<Name, usize>,
    /// The ways to the peers, in the config's order.
    pub ways: Vec<Way>,
    /// What routers on these ways said.
    pub paths: PathMtus,
}

/// An uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkFacts {
    /// The device as frames see it.
    pub device: DeviceFacts,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU, in bytes; not more than `most`.
    pub mtu: usize,
    /// The longest packet that our sockets take.
    pub most: usize,
}

impl UplinkFacts {
    /// Of an open port and the link that it is on.
    pub fn new(port: &AfXdp, link: &LinkFacts) -> UplinkFacts {
        let most = port.longest_packet();
        // Only a virtual wire carries what a card would have finished, and what is built on one.
        let partial_sums = link.kind.is_some();
        UplinkFacts {
            device: DeviceFacts { link: port.link(), caps: port.caps(), partial_sums },
            mac: link.mac.unwrap_or_default(),
            mtu: most.min(link.mtu as usize),
            most,
        }
    }
}

/// A port that is open.
#[derive(Clone, Copy, Debug)]
pub struct OpenPort {
    /// Its number.
    pub id: PortId,
    /// Its device.
    pub device: DeviceFacts,
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

/// The MAC of a node's VTEP where the config names none: here for our own, and on every peer for
/// ours.
pub fn vtep_mac(node: &str) -> Mac {
    Mac::derive(&format!("vtep/{node}"))
}

/// The MAC of a peer's VTEP.
pub fn peer_mac(peer: &config::Peer) -> Mac {
    peer.vtep_mac.unwrap_or_else(|| vtep_mac(peer.name.as_str()))
}

/// Makes the tables, but for the routes, which stay as they were. Neighbours of `previous` that are
/// still needed keep their slots and what has been learned about them.
///
/// # Panics
/// When the config was not checked, or `facts` lacks an uplink, port, peer or way of it.
pub fn build(
    config: &Config,
    facts: &Facts,
    previous: &Snapshot,
    numbers: &mut Numbers,
) -> Snapshot {
    let tunnels = tunnels(config);
    let mut neighbours = Neighbours::new(previous, numbers);
    let peers = peers(config, facts, &tunnels, &mut neighbours);
    let ports = ports(config, facts, &mut neighbours);
    let direct = peers.iter().any(|peer| peer.accepts.direct);
    let clamps_mss = peers.iter().any(|peer| peer.clamp_mss);
    let by_address = peers.entries().map(|(i, peer)| (peer.address, i as u16)).collect();
    let mut snapshot = Snapshot {
        generation: previous.generation + 1,
        peers_by_address: Arc::new(by_address),
        ports: Arc::new(ports),
        tunnels: Arc::new(tunnels),
        direct,
        clamps_mss,
        peers: Arc::new(peers),
        neighbours: Arc::new(neighbours.finish()),
        groups: previous.groups.clone(),
        next_ident: previous.next_ident.clone(),
        gateway: Arc::new(Gateway { addresses: gateways(config) }),
        routes4: previous.routes4.clone(),
        routes6: previous.routes6.clone(),
        guard: previous.guard.clone(),
        flows: previous.flows.clone(),
    };
    enforce(config, facts, &mut snapshot);
    snapshot
}

/// The slots of neighbours: one for each address on each port.
struct Neighbours<'a> {
    all: Slots<Arc<Neighbour>>,
    slots: HashMap<(PortId, IpAddr), usize>,
    previous: HashMap<(PortId, IpAddr), (usize, &'a Arc<Neighbour>)>,
    numbers: &'a mut Numbers,
    now: Instant,
}

impl<'a> Neighbours<'a> {
    fn new(previous: &'a Snapshot, numbers: &'a mut Numbers) -> Self {
        let known = previous.neighbours.entries();
        let previous = known.map(|(i, known)| ((known.port, known.address), (i, known))).collect();
        let (all, slots, now) = (Slots::default(), HashMap::new(), Instant::now());
        Neighbours { all, slots, previous, numbers, now }
    }

    fn slot(&mut self, port: PortId, address: IpAddr) -> usize {
        let Neighbours { all, slots, previous, numbers, now } = self;
        *slots.entry((port, address)).or_insert_with(|| {
            let (slot, neighbour) = match previous.remove(&(port, address)) {
                Some((slot, known)) => (slot, known.clone()),
                None => (numbers.take(*now), Arc::new(Neighbour::new(port, address))),
            };
            all.insert(slot, neighbour);
            slot
        })
    }

    /// Gives the slots of those back that nobody needs any more.
    fn finish(self) -> Slots<Arc<Neighbour>> {
        for (slot, _) in self.previous.into_values() {
            self.numbers.give_back(slot, self.now);
        }
        self.all
    }
}

fn tunnels(config: &Config) -> Vec<TunnelInfo> {
    let ours = vtep_mac(config.node.name.as_str());
    let info = |(name, tunnel): (&str, Tunnel)| TunnelInfo {
        name: name.to_owned(),
        steers: tunnel.steers(),
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
) -> Slots<Peer> {
    let mut peers = Slots::default();
    for (peer, way) in config.peer.iter().zip(&facts.ways) {
        let of_name = |name: &str| {
            let tunnel = tunnels.iter().position(|tunnel| tunnel.name == name);
            TunnelId(tunnel.expect("a config whose peer names no tunnel is refused") as u8)
        };
        let uplink = port_id(way.uplink);
        let is_direct = match peer.mode {
            TunnelMode::Always => false,
            TunnelMode::CrossSubnet => way.next_hop == peer.address.ip(),
            TunnelMode::Never => true,
        };
        let tunnel = peer.tunnel.as_deref().filter(|_| !is_direct).map(of_name);
        let encap = |id: TunnelId| {
            let info = &tunnels[id.index()];
            let (local, remote) = (way.local, peer.address.ip());
            let (local_mac, remote_mac) = (info.mac, peer_mac(peer));
            (id, info.tunnel.encap(&Ends { local, remote, local_mac, remote_mac }))
        };
        let encap = tunnel.map(encap);
        let overhead = encap.as_ref().map_or(0, |(_, encap)| encap.overhead());
        // Of a packet without a tunnel the pod itself is told.
        let path = encap.as_ref().and_then(|_| facts.paths.get(peer.address.ip()));
        let path = path.unwrap_or(usize::MAX);
        let info = Peer {
            name: peer.name.to_string(),
            address: peer.address.ip(),
            local: way.local,
            // Of a way too narrow for the tunnel nothing is left.
            mtu: path.min(facts.uplinks[way.uplink].mtu).saturating_sub(overhead),
            encap,
            accepts: peer
                .tunnels()
                .map(of_name)
                .fold(Accepts::none(peer.accepts_direct()), Accepts::and),
            uplink,
            neighbour: neighbours.slot(uplink, way.next_hop),
            fragment_outer: peer.fragment == Fragment::Outer,
            clamp_mss: peer.clamp_mss,
            check_source: peer.check_source,
        };
        peers.insert(facts.peers[&peer.name], info);
    }
    peers
}

fn ports(config: &Config, facts: &Facts, neighbours: &mut Neighbours<'_>) -> Slots<PortInfo> {
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
    let mut all: Slots<_> = uplinks.collect();
    if let Some(id) = facts.reassembled {
        all.insert(id.index(), reassembled());
    }
    let gateways = gateways(config);
    let limit = Limit::find(config, &facts.uplinks, &facts.ways);
    for port in &config.port {
        let OpenPort { id, device } = facts.ports[&port.name];
        let stations = port.addresses.iter().filter(|_| device.link == Link::Ethernet);
        let stations = stations.map(|own| (own.ip(), neighbours.slot(id, own.ip()))).collect();
        let info = PortInfo {
            name: port.name.to_string(),
            role: Role::Pod,
            link: device.link,
            mac: config.gateway_mac(),
            mtu: limit.of(port) as usize,
            caps: device.caps,
            partial_sums: device.partial_sums,
            check_source: port.check_source,
            stations,
            gateway4: match gateway_of(&gateways, port, true) {
                Some(IpAddr::V4(v4)) => Some(v4),
                _ => None,
            },
            gateway6: match gateway_of(&gateways, port, false) {
                Some(IpAddr::V6(v6)) => Some(v6),
                _ => None,
            },
        };
        all.insert(id.index(), info);
    }
    all
}

/// The port of outer packets that the kernel put together: their senders have completed all checksums, as
/// what is to be fragmented can't be left to hardware.
fn reassembled() -> PortInfo {
    PortInfo {
        name: REASSEMBLED.to_owned(),
        role: Role::Uplink,
        link: Link::Ip,
        mac: Mac::default(),
        mtu: usize::from(u16::MAX),
        caps: Caps::default(),
        partial_sums: false,
        check_source: false,
        stations: Vec::new(),
        gateway4: None,
        gateway6: None,
    }
}

/// The gateway's address of a family that a port's stations know: one in a prefix of theirs if
/// there is one, else the first.
pub fn gateway_of(gateways: &[IpAddr], port: &config::Port, v4: bool) -> Option<IpAddr> {
    let of_family = || gateways.iter().copied().filter(|address| address.is_ipv4() == v4);
    let near = |address: &IpAddr| port.addresses.iter().any(|own| own.net().contains(address));
    of_family().find(near).or_else(|| of_family().next())
}

fn gateways(config: &Config) -> Vec<IpAddr> {
    config.gateway.addresses.iter().map(|address| address.ip()).collect()
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
