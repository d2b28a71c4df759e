//! Whether what a config says holds together: names that are used twice or that nothing has,
//! addresses in two places, and the like.
//!
//! A section with faults of its own is not in the config that is looked at here. What refers to it
//! is not called wrong for that.

mod acl;

use super::place::{Author, Path, Place, at};
use super::shape::either;
use super::{Bounded, Config, DIRECT, IPV6_MIN_MTU, Kind, Name, Peer, Port, TunnelMode, Via};
use encap::Tunnel;
use encap::wire::Mac;
use ipnet::IpNet;
use pipeline::snapshot::TunnelId;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;
use std::net::IpAddr;

/// Reports what does not hold together.
pub(super) fn check(author: &mut impl Author, config: &Config) {
    let mut sense = Sense { author, config };
    sense.workers();
    sense.uplinks();
    sense.tunnels();
    sense.gateway();
    sense.ports();
    sense.devices();
    sense.peers();
    sense.destinations();
    sense.routes();
    sense.acl();
}

struct Sense<'a, 'c, A> {
    author: &'a mut A,
    config: &'c Config,
}

impl<'c, A: Author> Sense<'_, 'c, A> {
    fn fault(&mut self, path: Path, message: String) {
        self.author.fault(path, message);
    }

    fn place(&self, path: &Path) -> Place {
        self.author.place(path)
    }

    /// Reports each item that was there before; `describe` says what was found, and what is
    /// expected.
    fn unique<K: Eq + Hash>(
        &mut self,
        items: impl IntoIterator<Item = (K, Path)>,
        describe: impl Fn(&K) -> (String, &'static str),
    ) {
        let mut first = HashMap::new();
        for (item, path) in items {
            if let Some(earlier) = first.get(&item) {
                let ((found, expected), first) = (describe(&item), self.place(earlier).at());
                self.fault(path, format!("{found}, the first {first}; expected {expected}"));
            } else {
                first.insert(item, path);
            }
        }
    }

    fn workers(&mut self) {
        let cores = &self.config.workers.cores;
        let path = at("workers").key("cores");
        if cores.is_empty() {
            let message =
                "there is no core; expected at least one, for nothing is forwarded without";
            self.fault(path.clone(), message.into());
        }
        let items = cores.iter().enumerate().map(|(i, core)| (core.get(), path.clone().index(i)));
        self.unique(items, |core| (format!("core {core} is there twice"), "each core once"));
    }

    fn uplinks(&mut self) {
        let none = self.config.uplink.is_empty() && !self.author.is_faulty("uplink");
        if none && !self.config.peer.is_empty() {
            let message = "there are peers, but no uplink to reach them by; expected `[[uplink]]`";
            self.fault(at("peer").index(0), message.into());
        }
    }

    fn tunnels(&mut self) {
        let mut counts = HashMap::new();
        let tunnels: Vec<(&str, Tunnel, Path)> = self
            .config
            .tunnel
            .tunnels()
            .map(|(name, tunnel)| {
                let kind = tunnel.kind().name();
                let count: &mut usize = counts.entry(kind).or_default();
                let path = at("tunnel").key(kind).index(*count);
                *count += 1;
                (name, tunnel, path)
            })
            .collect();
        for (name, tunnel, path) in &tunnels {
            if let Err(error) = name.parse::<Name>() {
                self.fault(path.clone().key("name"), format!("`name`: {error}"));
            }
            self.station(tunnel.mac(), path.clone().key("mac"));
        }
        let names = tunnels.iter().map(|(name, _, path)| (*name, path.clone().key("name")));
        self.unique(names, |name| {
            (format!("a second tunnel is named `{name}`"), "a `name` of its own")
        });
        if let Some((.., path)) = tunnels.get(TunnelId::MANY) {
            let message =
                format!("found {} tunnels; expected {} at most", tunnels.len(), TunnelId::MANY);
            self.fault(path.clone(), message);
        }
        if let Some((.., path)) = tunnels.iter().find(|(name, ..)| *name == DIRECT) {
            let message = "`direct` means no tunnel at all; expected another name";
            self.fault(path.clone().key("name"), message.into());
        }
        self.demultiplexed(&tunnels);
    }

    /// Packets are told apart by what steers them, and then by their network, which tunnels of one kind
    /// alone find in the same place.
    fn demultiplexed(&mut self, tunnels: &[(&str, Tunnel, Path)]) {
        let mut kinds = HashMap::new();
        let first = |tunnel: &Tunnel| tunnel.steers().swap_remove(0);
        for (_, tunnel, path) in tunnels {
            let (kind, earlier) = *kinds.entry(first(tunnel)).or_insert((tunnel.kind(), path));
            if kind != tunnel.kind() {
                let (steer, place) = (first(tunnel), self.place(earlier).at());
                let message = format!(
                    "a tunnel of another kind has {steer}, the first {place}; expected another port"
                );
                self.fault(path.clone(), message);
            }
        }
        let keys = tunnels.iter();
        let keys = keys.map(|(_, t, path)| ((t.kind(), first(t), t.key()), path.clone()));
        self.unique(keys, |&(_, steer, key)| {
            (format!("a second tunnel has {steer} and network {key}"), "another port or network")
        });
    }

    fn gateway(&mut self) {
        let gateway = &self.config.gateway;
        let path = at("gateway").key("addresses");
        let items = gateway.addresses.iter().enumerate();
        let items = items.map(|(i, address)| (address.ip(), path.clone().index(i)));
        self.unique(items, |ip| (format!("{ip} is there twice"), "each address once"));
        self.station(gateway.mac, at("gateway").key("mac"));
        self.masquerade();
    }

    /// Replies find their way back only by a port of the node itself that the prefix is routed to.
    fn masquerade(&mut self) {
        let config = self.config;
        if self.author.is_faulty("port") {
            return;
        }
        let own = config.port.iter().filter(|port| port.netns.is_none());
        let routes: Vec<IpNet> = own.flat_map(Port::effective_routes).collect();
        for (i, prefix) in config.gateway.masquerade.iter().enumerate() {
            if !routes.iter().any(|route| route.contains(&prefix.net())) {
                let message = format!(
                    "the node has no route to {prefix}, so replies would not reach the pods; expected \
                     it among the `routes` of a port without `netns`"
                );
                self.fault(at("gateway").key("masquerade").index(i), message);
            }
        }
    }

    /// A MAC that must be a station's.
    fn station(&mut self, mac: Option<Mac>, path: Path) {
        if let Some(mac) = mac.filter(|mac| !mac.is_unicast()) {
            let what = if mac.is_multicast() { "a group's address" } else { "no address" };
            let message = format!(
                "`{mac}` is {what}; expected a station's, with an even first byte such as 02"
            );
            self.fault(path, message);
        }
    }

    fn ports(&mut self) {
        let ports = &self.config.port;
        let names = ports.iter().enumerate();
        let names = names.map(|(i, port)| (&port.name, at("port").index(i).key("name")));
        self.unique(names, |name| {
            (format!("a second port is named `{name}`"), "a `name` of its own")
        });
        for (i, port) in ports.iter().enumerate() {
            self.port(port, at("port").index(i));
        }
        let addresses = ports.iter().enumerate().flat_map(|(i, port)| {
            let path = at("port").index(i).key("addresses");
            let addresses = port.addresses.iter().enumerate();
            addresses.map(move |(j, address)| (address.ip(), path.clone().index(j)))
        });
        self.unique(addresses, |ip| (format!("{ip} is there twice"), "each address on one port"));
    }

    fn port(&mut self, port: &'c Port, path: Path) {
        let name = &port.name;
        let veth_only =
            [("host-device", port.host_device.is_some()), ("attach", port.attach.is_some())];
        for (key, _) in veth_only.iter().filter(|(_, set)| *set && port.kind != Kind::AfXdp) {
            let message = format!("`{key}` is of ports of kind \"af_xdp\" only; leave it out");
            self.fault(path.clone().key(key), message);
        }
        if port.addresses.is_empty() && port.check_source {
            let message = format!(
                "port `{name}` has no addresses, so all that it sends is dropped; expected \
                 `addresses`, or `check-source = false`"
            );
            self.fault(path.clone(), message);
        }
        let too_small = port.mtu.map(Bounded::get).filter(|mtu| *mtu < IPV6_MIN_MTU);
        if let Some(mtu) = too_small.filter(|_| port.has_ipv6()) {
            let is_own = port.addresses.iter().any(|address| address.ip().is_ipv6());
            let what = if is_own { "address" } else { "route" };
            let message = format!(
                "port `{name}` has an IPv6 {what} and an MTU of {mtu}; expected {IPV6_MIN_MTU} or \
                 more (RFC 8200)"
            );
            self.fault(path.clone().key("mtu"), message);
        }
        for (j, address) in port.addresses.iter().enumerate() {
            let gateways = &self.config.gateway.addresses;
            if let Some(k) = gateways.iter().position(|gateway| gateway.ip() == address.ip()) {
                let place = self.place(&at("gateway").key("addresses").index(k));
                let message = format!(
                    "{} is a gateway address ({place}); expected one that is the pod's own",
                    address.ip()
                );
                self.fault(path.clone().key("addresses").index(j), message);
            }
        }
        self.gateways(port, path.key("routes"));
    }

    /// A port that has Ethernet needs a gateway of each family that it has routes of.
    fn gateways(&mut self, port: &Port, path: Path) {
        for (family, v6) in [("IPv4", false), ("IPv6", true)] {
            let is = |ip: IpAddr| ip.is_ipv6() == v6;
            let routes = port.effective_routes().iter().any(|net| is(net.addr()));
            let gateway = self.config.gateway.addresses.iter().any(|gateway| is(gateway.ip()));
            if routes && !gateway && port.kind != Kind::Tun {
                let message = format!(
                    "port `{}` has {family} routes and no gateway; expected an {family} address in \
                     `addresses` of `[gateway]`, or `routes` without {family}",
                    port.name
                );
                self.fault(path.clone(), message);
            }
        }
    }

    /// No two of a name in one namespace.
    fn devices(&mut self) {
        let config = self.config;
        let uplinks = config.uplink.iter().enumerate();
        let uplinks = uplinks.map(|(i, uplink)| {
            ((None, uplink.device.clone()), at("uplink").index(i).key("device"))
        });
        let ports = config.port.iter().enumerate().flat_map(|(i, port)| {
            let path = at("port").index(i);
            let own = ((port.netns.as_ref(), port.device.clone()), path.clone().key("device"));
            let host = port.host_end().map(|host| ((None, host), path.key("host-device")));
            std::iter::once(own).chain(host)
        });
        self.unique(uplinks.chain(ports), |(netns, device)| {
            let place = match netns {
                Some(netns) => format!("in namespace `{netns}`"),
                None => "in Cableway's own namespace".to_owned(),
            };
            (format!("a second device is named `{device}` {place}"), "another name")
        });
    }

    fn peers(&mut self) {
        let config = self.config;
        let each = || config.peer.iter().enumerate().map(|(i, peer)| (peer, at("peer").index(i)));
        self.unique(each().map(|(peer, path)| (&peer.name, path.key("name"))), |name| {
            (format!("a second peer is named `{name}`"), "a `name` of its own")
        });
        let ends = each().map(|(peer, path)| (peer.address, path.key("address")));
        self.unique(ends, |address| {
            (format!("a second peer is at {address}"), "an address of its own")
        });
        let tunnels: Vec<&str> = config.tunnel.tunnels().map(|(name, _)| name).collect();
        for (peer, path) in each() {
            let name = &peer.name;
            if *name == config.node.name && !self.author.is_faulty("node") {
                let message =
                    format!("peer `{name}` is this node itself; expected another node's name");
                self.fault(path.clone().key("name"), message);
            }
            self.peers_tunnels(peer, &tunnels, &path);
            if matches!(peer.address.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local()) {
                let message = format!(
                    "{} is a link-local address; expected one that can be routed to",
                    peer.address
                );
                self.fault(path.clone().key("address"), message);
            }
            if peer.subnets.is_empty() {
                let message = format!(
                    "peer `{name}` has no subnets, so nothing is routed to it; expected at least one"
                );
                self.fault(path.clone().key("subnets"), message);
            }
            self.station(peer.vtep_mac, path.key("vtep-mac"));
        }
    }

    fn peers_tunnels(&mut self, peer: &Peer, tunnels: &[&str], path: &Path) {
        if peer.tunnel.is_none() && peer.mode != TunnelMode::Never {
            let message = format!(
                "peer `{}` has no tunnel; expected `tunnel`, or `mode = \"never\"` to reach it \
                 without one",
                peer.name
            );
            self.fault(path.clone(), message);
        }
        if self.author.is_faulty("tunnel") {
            return;
        }
        let is_known = |name: &str| tunnels.contains(&name);
        if let Some(name) = peer.tunnel.as_deref().filter(|name| !is_known(name)) {
            self.fault(path.clone().key("tunnel"), unknown("tunnel", name, tunnels));
        }
        for (i, name) in peer.accept.iter().enumerate() {
            if name != DIRECT && !is_known(name) {
                let known: Vec<&str> = tunnels.iter().copied().chain([DIRECT]).collect();
                let path = path.clone().key("accept").index(i);
                self.fault(path, unknown("tunnel", name, &known));
            }
        }
    }

    /// Each address lies behind one peer, and each prefix is routed to one place.
    fn destinations(&mut self) {
        let config = self.config;
        let hosts = config.port.iter().enumerate().flat_map(|(i, port)| {
            let path = at("port").index(i).key("addresses");
            let addresses = port.addresses.iter().enumerate();
            addresses.map(move |(j, address)| (address.host(), path.clone().index(j)))
        });
        let mut subnets: Vec<(IpNet, &Name, Path)> = Vec::new();
        for (i, peer) in config.peer.iter().enumerate() {
            let path = at("peer").index(i).key("subnets");
            let nets = peer.subnets.iter().enumerate();
            subnets.extend(nets.map(|(j, net)| (net.net(), &peer.name, path.clone().index(j))));
        }
        let routes = config.route.iter().enumerate();
        let routes = routes.map(|(i, r)| (r.prefix.net(), at("route").index(i).key("prefix")));

        let mut known: HashMap<IpNet, Path> = hosts.collect();
        let own = subnets.iter().filter(|(net, ..)| known.contains_key(net));
        let own: Vec<_> = own.map(|(net, _, path)| (*net, path.clone())).collect();
        self.overlaps(&mut subnets);
        for (net, path) in own {
            self.routed(net, path, &known);
        }
        known.extend(subnets.into_iter().map(|(net, _, path)| (net, path)));
        for (net, path) in routes {
            self.routed(net, path.clone(), &known);
            known.entry(net).or_insert(path);
        }
    }

    /// Reports a prefix that is among the known ones.
    fn routed(&mut self, net: IpNet, path: Path, known: &HashMap<IpNet, Path>) {
        if let Some(first) = known.get(&net) {
            let message = elsewhere(net, self.place(first));
            self.fault(path, message);
        }
    }

    /// Reports subnets that lie within another, and sorts them.
    fn overlaps(&mut self, subnets: &mut [(IpNet, &Name, Path)]) {
        // A prefix that contains others then stands before them.
        subnets.sort_by_key(|(net, ..)| *net);
        let mut outer: Option<&(IpNet, &Name, Path)> = None;
        for subnet in subnets.iter() {
            let (net, peer, path) = subnet;
            match outer {
                Some((around, whose, first)) if around.contains(net) => {
                    let first = self.place(first).at();
                    let message = format!(
                        "{net} of peer `{peer}` overlaps with {around} of `{whose}`, {first}; \
                         expected each address behind one peer"
                    );
                    self.fault(path.clone(), message);
                }
                _ => outer = Some(subnet),
            }
        }
    }

    fn routes(&mut self) {
        let config = self.config;
        let peers: HashSet<&Name> = config.peer.iter().map(|peer| &peer.name).collect();
        let ports: HashMap<&Name, &Port> = config.port.iter().map(|p| (&p.name, p)).collect();
        for (i, route) in config.route.iter().enumerate() {
            for (k, via) in route.via.placed() {
                let path = at("route").index(i).key("via");
                let path = k.into_iter().fold(path, Path::index);
                match via {
                    Via::Peer(name) if !peers.contains(name) && !self.author.is_faulty("peer") => {
                        let known: Vec<_> = config.peer.iter().map(|p| p.name.as_str()).collect();
                        self.fault(path.key("peer"), unknown("peer", name, &known));
                    }
                    Via::Port(name) => match ports.get(name) {
                        Some(port) => {
                            if let Some(message) = no_station(port, route.prefix.net()) {
                                self.fault(path.key("port"), message);
                            }
                        }
                        None if self.author.is_faulty("port") => {}
                        None => {
                            let known: Vec<_> =
                                config.port.iter().map(|p| p.name.as_str()).collect();
                            self.fault(path.key("port"), unknown("port", name, &known));
                        }
                    },
                    Via::Unreachable | Via::Blackhole | Via::Peer(_) | Via::Any(_) => {}
                }
            }
        }
    }
}

/// A prefix is routed to two places.
pub fn elsewhere(net: IpNet, place: impl Display) -> String {
    format!("{place} already says where {net} is; expected one place")
}

/// Something is named that there is not.
pub fn unknown(what: &str, name: impl Display, known: &[&str]) -> String {
    let expected = match known {
        [] => format!("expected the name of a {what}, of which there is none"),
        _ => {
            format!("expected {}", either(known.iter().map(|known| format!("`{known}`")).collect()))
        }
    };
    format!("there is no {what} `{name}`; {expected}")
}

/// A route by an Ethernet port of whose family the port has no station.
pub fn no_station(port: &Port, net: IpNet) -> Option<String> {
    let is_same = |ip: IpAddr| ip.is_ipv4() == net.addr().is_ipv4();
    let has_one = port.addresses.iter().any(|own| is_same(own.ip()));
    (port.kind != Kind::Tun && !has_one).then(|| {
        let family = if net.addr().is_ipv4() { "IPv4" } else { "IPv6" };
        format!(
            "port `{}` has no {family} address, so there is no station to send {net} to; expected \
             one in its `addresses`",
            port.name
        )
    })
}
