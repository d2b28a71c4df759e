//! All tables of one generation, as a worker reads them: immutable, published whole.
//!
//! A worker loads one `Arc<Snapshot>` per turn of its loop. What is learned from traffic lives outside:
//! a [`Neighbour`] is shared by all generations that mention it and holds its MAC in atomics.

use crate::frame::Link;
use crate::tables::guard::Guard;
use crate::tables::lpm::Lpm;
use crate::tables::neighbours::Neighbour;
use crate::tables::{Flows, Group, Slots};
use encap::wire::Mac;
use encap::{Encap, Steer, Tunnel};
use hashbrown::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// A port: its index in [`Snapshot::ports`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

impl PortId {
    /// No port: an index that no snapshot has.
    pub const NONE: PortId = PortId(u16::MAX);

    /// As an index.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Where a route leads, packed into the 31 bits that a route table keeps for each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop(u32);

/// A [`NextHop`] unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// There is no route.
    None,
    /// To the router itself: one of the gateway's addresses.
    Local,
    /// Out by a port that needs no link-layer address.
    Port(PortId),
    /// To a station on an Ethernet port: index into [`Snapshot::neighbours`].
    Neighbour(usize),
    /// Through a tunnel: index into [`Snapshot::peers`].
    Peer(usize),
    /// Refused with an ICMP error.
    Unreachable,
    /// Refused silently.
    Blackhole,
    /// To one of several, by the flow: index into [`Snapshot::groups`]. Found in route tables only;
    /// a packet's own is what [`Snapshot::spread`] says.
    Group(usize),
}

const KIND: u32 = 28;
const INDEX: u32 = (1 << KIND) - 1;

impl NextHop {
    /// No route.
    pub const NONE: NextHop = NextHop(0);

    /// The largest index that fits.
    pub const MAX_INDEX: usize = INDEX as usize;

    /// Packs a hop.
    ///
    /// # Panics
    /// When an index is above [`MAX_INDEX`](Self::MAX_INDEX).
    pub fn new(hop: Hop) -> NextHop {
        let (kind, index) = match hop {
            Hop::None => (0, 0),
            Hop::Local => (1, 0),
            Hop::Port(port) => (2, port.index()),
            Hop::Neighbour(index) => (3, index),
            Hop::Peer(index) => (4, index),
            Hop::Unreachable => (5, 0),
            Hop::Blackhole => (6, 0),
            Hop::Group(index) => (7, index),
        };
        assert!(index <= Self::MAX_INDEX, "a table has fewer than 2^28 entries");
        NextHop(kind << KIND | index as u32)
    }

    /// What a route table keeps.
    #[inline]
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// From what a route table kept; any value is valid.
    #[inline]
    pub fn from_bits(bits: u32) -> NextHop {
        NextHop(bits)
    }

    /// Unpacks.
    #[inline]
    pub fn hop(self) -> Hop {
        let index = (self.0 & INDEX) as usize;
        match self.0 >> KIND {
            1 => Hop::Local,
            2 => Hop::Port(PortId(index as u16)),
            3 => Hop::Neighbour(index),
            4 => Hop::Peer(index),
            5 => Hop::Unreachable,
            6 => Hop::Blackhole,
            7 => Hop::Group(index),
            _ => Hop::None,
        }
    }
}

/// What a port can do itself, so that `finish` need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Takes frames whose L4 checksum is partial.
    pub checksum: bool,
    /// Takes TCP super-frames over IPv4.
    pub tso4: bool,
    /// Takes TCP super-frames over IPv6.
    pub tso6: bool,
    /// Takes UDP super-frames (`UDP_SEGMENT`), both families.
    pub uso: bool,
    /// Takes chained frames whole; gains from TCP segments being coalesced first.
    pub coalesce: bool,
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Pods or the host: overlay packets.
    Pod,
    /// The underlay: outer packets.
    Uplink,
}

/// A port as the stages see it.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// Its name in the config.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// What its frames start with.
    pub link: Link,
    /// Our own MAC on it.
    pub mac: Mac,
    /// Largest IP packet that it sends, in bytes.
    pub mtu: usize,
    /// What it does itself.
    pub caps: Caps,
    /// Frames may come in with checksums that their sender left to its hardware, and nothing says which:
    /// AF_XDP on a veth. See the parse stage.
    pub partial_sums: bool,
    /// Drop what comes in from an address that is not routed to this port.
    pub check_source: bool,
    /// Stations on it with their index in [`Snapshot::neighbours`]; empty on an uplink.
    pub stations: Vec<(IpAddr, usize)>,
    /// Our IPv4 address that its stations know: source of ICMP errors to them.
    pub gateway4: Option<Ipv4Addr>,
    /// Our IPv6 address that its stations know.
    pub gateway6: Option<Ipv6Addr>,
}

/// A configured tunnel as the decap stage sees it.
#[derive(Clone, Debug)]
pub struct TunnelInfo {
    /// Its name in the config.
    pub name: String,
    /// What takes its packets apart.
    pub tunnel: Tunnel,
    /// Its [`Tunnel::steers`].
    pub steers: Vec<Steer>,
    /// Its [`Tunnel::key`].
    pub key: u32,
    /// Destination MAC of inner Ethernet frames to us.
    pub mac: Mac,
}

/// A tunnel: its index in [`Snapshot::tunnels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelId(pub u8);

impl TunnelId {
    /// How many there can be.
    pub const MANY: usize = 64;

    /// As an index.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// How a peer's packets may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// A bit for each tunnel.
    tunnels: u64,
    /// As they are, with no tunnel's headers.
    pub direct: bool,
}

impl Accepts {
    /// By no tunnel; and whether without one.
    pub fn none(direct: bool) -> Accepts {
        Accepts { tunnels: 0, direct }
    }

    /// By this tunnel, too.
    #[must_use]
    pub fn and(mut self, tunnel: TunnelId) -> Accepts {
        self.tunnels |= 1 << (tunnel.index() % TunnelId::MANY);
        self
    }

    /// Whether they may come by this one.
    #[inline]
    pub fn takes(self, tunnel: TunnelId) -> bool {
        self.tunnels >> (tunnel.index() % TunnelId::MANY) & 1 == 1
    }
}

/// A remote node.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name in the config.
    pub name: String,
    /// Its underlay address.
    pub address: IpAddr,
    /// Our address towards it.
    pub local: IpAddr,
    /// The tunnel it is reached by, and the headers of packets to it; without one they go as they are.
    pub encap: Option<(TunnelId, Encap)>,
    /// Largest IP packet of the overlay that the way to it carries in one piece, in bytes.
    pub mtu: usize,
    /// Longer ones go through the tunnel whole, and what comes of them is fragmented.
    pub fragment_outer: bool,
    /// TCP's first packets to and from it are to name no larger segments than that.
    pub clamp_mss: bool,
    /// What it may send to us.
    pub accepts: Accepts,
    /// The port towards it.
    pub uplink: PortId,
    /// The underlay's next hop towards it: index into [`Snapshot::neighbours`].
    pub neighbour: usize,
    /// Drop what it sends from an inner address that is not routed to it.
    pub check_source: bool,
}

impl Peer {
    /// Bytes that stand in front of a packet to it, outer IP header included.
    pub fn overhead(&self) -> usize {
        self.encap.as_ref().map_or(0, |(_, encap)| encap.overhead())
    }
}

/// The router's own addresses towards pods.
#[derive(Clone, Debug, Default)]
pub struct Gateway {
    /// Addresses that it answers for, on every pod port.
    pub addresses: Vec<IpAddr>,
}

/// All tables of one generation.
///
/// A slot of ports, peers or neighbours means the same thing in all generations from the one in
/// which that came to the one in which it went.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts publications; for people and tests.
    pub generation: u64,
    /// Indexed by [`PortId`].
    pub ports: Arc<Slots<PortInfo>>,
    /// Tunnels in the config's order.
    pub tunnels: Arc<Vec<TunnelInfo>>,
    /// Peers.
    pub peers: Arc<Slots<Peer>>,
    /// Peers by underlay address.
    pub peers_by_address: Arc<HashMap<IpAddr, u16, foldhash::fast::RandomState>>,
    /// Stations and next hops; the entries are shared between generations.
    pub neighbours: Arc<Slots<Arc<Neighbour>>>,
    /// Groups of next hops.
    pub groups: Arc<Slots<Arc<Group>>>,
    /// Whether some peer's packets may come without a tunnel: [`Accepts::direct`].
    pub direct: bool,
    /// Whether some peer has [`Peer::clamp_mss`].
    pub clamps_mss: bool,
    /// Identification of the next packet of the underlay that we fragment; shared between generations.
    pub next_ident: Arc<AtomicU32>,
    /// Our addresses towards pods.
    pub gateway: Arc<Gateway>,
    /// IPv4 routes: values are [`NextHop::to_bits`].
    pub routes4: Arc<Lpm<Ipv4Addr>>,
    /// IPv6 routes: values are [`NextHop::to_bits`].
    pub routes6: Arc<Lpm<Ipv6Addr>>,
    /// What policies enforce.
    pub guard: Arc<Guard>,
    /// Flows that they let begin; shared between generations.
    pub flows: Arc<Flows>,
}

impl Snapshot {
    /// Where a route to `address` leads.
    #[inline]
    pub fn route(&self, address: IpAddr) -> NextHop {
        let bits = match address {
            IpAddr::V4(address) => self.routes4.lookup(address),
            IpAddr::V6(address) => self.routes6.lookup(address),
        };
        bits.map_or(NextHop::NONE, NextHop::from_bits)
    }

    /// The next hop of a flow by a route: of a group, the member that has the flow.
    #[inline]
    pub fn spread(&self, next_hop: NextHop, flow_hash: u32) -> NextHop {
        match next_hop.hop() {
            Hop::Group(index) => {
                self.groups.get(index).map_or(NextHop::NONE, |group| group.pick(flow_hash))
            }
            _ => next_hop,
        }
    }

    /// All next hops of a route.
    pub fn members(&self, next_hop: NextHop) -> impl Iterator<Item = NextHop> {
        let (one, several) = match next_hop.hop() {
            Hop::Group(index) => (None, self.groups.get(index).map(|group| group.members())),
            _ => (Some(next_hop), None),
        };
        let several = several.unwrap_or_default().iter().map(|member| member.next_hop);
        one.into_iter().chain(several)
    }

    /// The port by which a next hop is reached, if by any; a group has none of its own.
    #[inline]
    pub fn egress(&self, next_hop: NextHop) -> Option<PortId> {
        match next_hop.hop() {
            Hop::Port(port) => Some(port),
            Hop::Neighbour(index) => self.neighbours.get(index).map(|n| n.port),
            Hop::Peer(index) => self.peers.get(index).map(|p| p.uplink),
            Hop::None | Hop::Local | Hop::Unreachable | Hop::Blackhole | Hop::Group(_) => None,
        }
    }

    /// The largest IP packet of the overlay that a next hop takes, in bytes, if it is reached by a port.
    pub fn mtu(&self, next_hop: NextHop) -> Option<usize> {
        match next_hop.hop() {
            Hop::Peer(index) => self.peers.get(index).map(|peer| peer.mtu),
            _ => self.ports.get(self.egress(next_hop)?.index()).map(|port| port.mtu),
        }
    }
}
