//! Where the overlay's prefixes lead: from what is desired, and from the numbers that things have.

use super::desired::Desired;
use super::groups;
use crate::config::{Prefix, Via};
use ipnet::IpNet;
use pipeline::frame::Link;
use pipeline::snapshot::{Hop, NextHop, PortId, Role, Snapshot};
use pipeline::tables::Rib;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The routes of both families that the workers' tables are made of; values are
/// [`NextHop::to_bits`].
#[derive(Clone, Default)]
pub struct RouteTables {
    /// IPv4.
    pub v4: Rib<Ipv4Addr>,
    /// IPv6.
    pub v6: Rib<Ipv6Addr>,
}

impl RouteTables {
    /// Lets prefixes lead where they shall; those of `None` nowhere.
    pub fn change(&mut self, routes: impl IntoIterator<Item = (IpNet, Option<Hop>)>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, hop) in routes {
            match (prefix, hop.map(|hop| NextHop::new(hop).to_bits())) {
                (IpNet::V4(net), Some(value)) => v4.push((net, value)),
                (IpNet::V6(net), Some(value)) => v6.push((net, value)),
                (IpNet::V4(net), None) => drop(self.v4.remove(&net)),
                (IpNet::V6(net), None) => drop(self.v6.remove(&net)),
            }
        }
        self.v4.extend(v4);
        self.v6.extend(v6);
    }

    /// Puts the tables as they are now into a snapshot.
    pub fn publish(&self, snapshot: &mut Snapshot) {
        snapshot.routes4 = self.v4.snapshot();
        snapshot.routes6 = self.v6.snapshot();
    }
}

/// Tells where prefixes lead.
pub struct Hops<'a> {
    desired: &'a Desired,
    snapshot: &'a Snapshot,
    ports: HashMap<&'a str, PortId>,
    peers: HashMap<&'a str, usize>,
    /// Those of several next hops.
    groups: HashMap<u64, usize>,
    /// Those that need no route of their own.
    implied: BTreeMap<IpNet, Hop>,
}

impl<'a> Hops<'a> {
    /// For a state and the tables that were made of it.
    pub fn new(desired: &'a Desired, snapshot: &'a Snapshot) -> Hops<'a> {
        let ports = snapshot.ports.entries().filter(|(_, port)| port.role == Role::Pod);
        let ports = ports.map(|(i, port)| (port.name.as_str(), PortId(i as u16))).collect();
        let peers = snapshot.peers.entries().map(|(i, peer)| (peer.name.as_str(), i)).collect();
        let groups = snapshot.groups.entries().map(|(slot, group)| (group.id(), slot)).collect();
        let implied = BTreeMap::new();
        let mut hops = Hops { desired, snapshot, ports, peers, groups, implied };
        hops.imply();
        hops
    }

    /// From the least to the most particular: of two for one prefix the last one stays.
    fn imply(&mut self) {
        // What is behind nobody does not go round between the node's stack and us.
        for net in self.desired.base().gateway.masquerade.iter().map(Prefix::net) {
            if !self.desired.routes().contains_key(&net) {
                self.implied.insert(net, Hop::Unreachable);
            }
        }
        for (name, entry) in self.desired.peers() {
            let hop = self.peers.get(name.as_str()).map_or(Hop::None, |&slot| Hop::Peer(slot));
            self.implied.extend(entry.value.subnets.iter().map(|net| (net.net(), hop)));
        }
        for (name, entry) in self.desired.ports() {
            for own in &entry.value.addresses {
                let hop = self.station(name.as_str(), |address| address == own.ip());
                self.implied.insert(own.host(), hop);
            }
        }
        for gateway in self.desired.gateways() {
            self.implied.insert(gateway.value.ip().into(), Hop::Local);
        }
    }

    /// Where exactly this prefix leads.
    pub fn hop(&self, prefix: IpNet) -> Option<Hop> {
        let implied = self.implied.get(&prefix).copied();
        implied.or_else(|| Some(self.via(prefix, &self.desired.routes().get(&prefix)?.value)))
    }

    /// The longest prefix that leads somewhere and that an address is in.
    pub fn longest(&self, address: IpAddr) -> Option<IpNet> {
        let most = IpNet::from(address).prefix_len();
        let prefixes =
            (0..=most).rev().filter_map(|len| Some(IpNet::new(address, len).ok()?.trunc()));
        prefixes.into_iter().find(|prefix| self.hop(*prefix).is_some())
    }

    /// Everything that leads somewhere, by family and prefix.
    pub fn all(&self) -> impl Iterator<Item = (IpNet, Hop)> {
        let routes = self.desired.routes().iter();
        let routes = routes.map(|(net, entry)| (*net, self.via(*net, &entry.value)));
        let routes = routes.filter(|(net, _)| !self.implied.contains_key(net));
        merge(self.implied.iter().map(|(net, hop)| (*net, *hop)), routes)
    }

    fn via(&self, prefix: IpNet, via: &Via) -> Hop {
        let is_v4 = prefix.addr().is_ipv4();
        match via {
            Via::Any(_) => {
                self.groups.get(&groups::id(via, is_v4)).map_or(Hop::None, |&slot| Hop::Group(slot))
            }
            single => self.single(single, is_v4),
        }
    }

    /// Where packets of a family go by one way.
    pub fn single(&self, via: &Via, is_v4: bool) -> Hop {
        match via {
            Via::Any(_) => Hop::None,
            Via::Unreachable => Hop::Unreachable,
            Via::Blackhole => Hop::Blackhole,
            Via::Peer(name) => {
                self.peers.get(name.as_str()).map_or(Hop::None, |&slot| Hop::Peer(slot))
            }
            Via::Port(name) => self.station(name.as_str(), |address| address.is_ipv4() == is_v4),
        }
    }

    /// The hop to the first station of a port that `is` true of; to the port itself where frames
    /// need no station.
    fn station(&self, port: &str, is: impl Fn(IpAddr) -> bool) -> Hop {
        let Some(&id) = self.ports.get(port) else { return Hop::None };
        let port = &self.snapshot.ports[id.index()];
        if port.link == Link::Ip {
            return Hop::Port(id);
        }
        let found = port.stations.iter().find(|(address, _)| is(*address));
        found.map_or(Hop::None, |(_, slot)| Hop::Neighbour(*slot))
    }
}

/// Two sorted sequences as one.
fn merge<T: Ord + Copy, V>(
    a: impl Iterator<Item = (T, V)>,
    b: impl Iterator<Item = (T, V)>,
) -> impl Iterator<Item = (T, V)> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some((first, _)), Some((second, _))) if second < first => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}
