#![allow(clippy::unwrap_used)]

use super::*;
use crate::control::desired::Desired;
use crate::control::routes::{Hops, RouteTables};
use pipeline::snapshot::Hop;

const CONFIG: &str = r#"
[node]
name = "a"

[[uplink]]
device = "eth0"

[[tunnel.vxlan]]
name = "vxlan"
vni = 1
port = 8472

[gateway]
addresses = ["169.254.1.1", "10.244.1.1", "fe80::1", "fd00:10:244:1::1"]

[[port]]
name = "a1"
kind = "tun"
netns = "a1"
device = "eth0"
addresses = ["10.244.1.2/24", "fd00:10:244:1::2/64"]

[[port]]
name = "a2"
kind = "af_xdp"
netns = "a2"
device = "eth0"
addresses = ["10.244.1.3/32", "fd00:10:244:1::3/128"]

[[peer]]
name = "b"
address = "192.168.77.2"
tunnel = "vxlan"
subnets = ["10.244.2.0/24", "fd00:10:244:2::/64"]

[[peer]]
name = "c"
address = "192.168.78.2"
tunnel = "vxlan"
subnets = ["10.244.3.0/24"]
vtep-mac = "02:00:00:00:00:0c"

[[route]]
prefix = "10.96.0.0/12"
via = "unreachable"

[[route]]
prefix = "10.99.0.0/16"
via = { peer = "c" }

[[route]]
prefix = "10.98.0.0/16"
via = { port = "a2" }

[[route]]
prefix = "10.97.0.0/16"
via = { port = "a1" }
"#;

const UPLINK: Mac = Mac([2, 0, 0, 0, 0, 7]);

fn config() -> Config {
    Config::parse(CONFIG, "test.toml").unwrap()
}

fn device(link: Link) -> DeviceFacts {
    DeviceFacts { link, caps: Caps::default(), partial_sums: false }
}

fn uplink(mtu: usize) -> UplinkFacts {
    UplinkFacts { device: device(Link::Ethernet), mac: UPLINK, mtu, most: 9000 }
}

fn facts() -> Facts {
    let way = |next_hop: &str| Way {
        uplink: 0,
        local: "192.168.77.1".parse().unwrap(),
        next_hop: next_hop.parse().unwrap(),
    };
    let open = |name: &str, id, link| {
        (name.parse().unwrap(), OpenPort { id: PortId(id), device: device(link) })
    };
    Facts {
        reassembled: None,
        uplinks: vec![uplink(1500)],
        ports: [open("a1", 1, Link::Ip), open("a2", 2, Link::Ethernet)].into(),
        peers: [("b".parse().unwrap(), 0), ("c".parse().unwrap(), 1)].into(),
        ways: vec![way("192.168.77.2"), way("192.168.77.254")],
        paths: PathMtus::default(),
    }
}

/// Tables, and what numbers are free.
struct Built {
    snapshot: Snapshot,
    numbers: Numbers,
}

/// The tables of a config, made from those before with their routes made anew.
fn build_from(config: Config, facts: &Facts, before: Option<Built>) -> Built {
    let desired = Desired::new(config);
    let Built { snapshot, mut numbers } = before
        .unwrap_or_else(|| Built { snapshot: Snapshot::default(), numbers: Numbers::default() });
    let mut snapshot = build(&desired.config(), facts, &snapshot, &mut numbers);
    let mut routes = RouteTables::default();
    routes.change(Hops::new(&desired, &snapshot).all().map(|(net, hop)| (net, Some(hop))));
    routes.publish(&mut snapshot);
    Built { snapshot, numbers }
}

fn built() -> Built {
    build_from(config(), &facts(), None)
}

fn hop(built: &Built, address: &str) -> Hop {
    built.snapshot.route(address.parse().unwrap()).hop()
}

#[test]
fn uplinks_are_the_first_ports() {
    let built = built();
    let ports = &built.snapshot.ports;
    let names: Vec<_> = ports.iter().map(|port| (port.name.as_str(), port.role)).collect();
    assert_eq!(names, [("eth0", Role::Uplink), ("a1", Role::Pod), ("a2", Role::Pod)]);
    assert_eq!(ports[0].mac, UPLINK);
    assert_eq!(ports[1].mac, config().gateway_mac());
    assert_eq!(ports[1].mtu, 1450);
}

#[test]
fn a_way_carries_what_the_tunnel_leaves() {
    let built = built();
    assert_eq!(built.snapshot.peers[0].mtu, 1450);
    let mut narrow = facts();
    narrow.uplinks[0].mtu = 40;
    assert_eq!(build_from(config(), &narrow, None).snapshot.peers[0].mtu, 0);
}

/// The MTU of the port `a1`, which has IPv6 addresses, and why.
fn followed(edit: impl FnOnce(&mut Config, &mut Facts)) -> (u32, String) {
    let (mut config, mut facts) = (config(), facts());
    edit(&mut config, &mut facts);
    let limit = Limit::find(&config, &facts.uplinks, &facts.ways);
    (limit.of(&config.port[0]), limit.why(&config.port[0]))
}

#[test]
fn a_ports_mtu_is_what_every_way_carries() {
    let found = followed(|_, _| {});
    assert_eq!(found, (1450, "uplink eth0 1500 - 50 of vxlan to peer b".into()));
    // The longer way by the narrower uplink, and a tunnel that may yet be needed.
    let found = followed(|config, facts| {
        config.uplink.push(config::Uplink { device: "eth1".parse().unwrap(), ..config.uplink[0] });
        facts.uplinks.push(uplink(1470));
        facts.ways[1].uplink = 1;
        config.peer[1].mode = TunnelMode::CrossSubnet;
        facts.ways[1].next_hop = config.peer[1].address.ip();
    });
    assert_eq!(found, (1420, "uplink eth1 1470 - 50 of vxlan to peer c".into()));
    let found = followed(|config, _| {
        config.peer.iter_mut().for_each(|peer| peer.mode = TunnelMode::Never);
    });
    assert_eq!(found, (1500, "uplink eth0 1500".into()));
    // What a router said is for the pods that send there.
    let found = followed(|config, facts| {
        facts.paths.learn(config.peer[0].address.ip(), 1400, Instant::now());
    });
    assert_eq!(found.0, 1450);
}

#[test]
fn a_ports_mtu_has_its_bounds() {
    let found = followed(|config, _| config.port[0].mtu = Some(config::Bounded::of::<1400>()));
    assert_eq!(found, (1400, "configured".into()));
    let no_peers = |config: &mut Config, facts: &mut Facts| {
        (config.peer, facts.ways) = (Vec::new(), Vec::new());
    };
    assert_eq!(followed(no_peers), (1500, "uplink eth0 1500".into()));
    let found = followed(|config, facts| {
        no_peers(config, facts);
        (config.uplink, facts.uplinks) = (Vec::new(), Vec::new());
    });
    assert_eq!(found, (1500, "no uplink".into()));
    let narrow = |_: &mut Config, facts: &mut Facts| facts.uplinks[0].mtu = 1300;
    let why = "IPv6 needs it; left is uplink eth0 1300 - 50 of vxlan to peer b";
    assert_eq!(followed(narrow), (1280, why.into()));
    let found = followed(|config, facts| {
        narrow(config, facts);
        config.port[0].addresses.truncate(1);
    });
    assert_eq!(found.0, 1250);
}

#[test]
fn a_port_knows_the_gateway_that_its_stations_know() {
    let built = built();
    let ports = &built.snapshot.ports;
    assert_eq!(ports[1].gateway4, Some("10.244.1.1".parse().unwrap()), "in its prefix");
    assert_eq!(ports[1].gateway6, Some("fd00:10:244:1::1".parse().unwrap()));
    assert_eq!(ports[2].gateway4, Some("169.254.1.1".parse().unwrap()), "the first");
    assert_eq!(ports[2].gateway6, Some("fe80::1".parse().unwrap()));
    assert_eq!(ports[0].gateway4, None, "the underlay has its own");
}

#[test]
fn addresses_lead_to_their_ports_and_to_stations_on_ethernet() {
    let built = built();
    assert_eq!(hop(&built, "10.244.1.2"), Hop::Port(PortId(1)));
    assert_eq!(hop(&built, "fd00:10:244:1::2"), Hop::Port(PortId(1)));
    let ports = &built.snapshot.ports;
    assert!(ports[1].stations.is_empty());
    let [(v4, slot4), (v6, slot6)] = ports[2].stations[..] else { panic!("two stations") };
    assert_eq!(v4, "10.244.1.3".parse::<IpAddr>().unwrap());
    assert_eq!(hop(&built, "10.244.1.3"), Hop::Neighbour(slot4));
    assert_eq!(hop(&built, &v6.to_string()), Hop::Neighbour(slot6));
    let station = &built.snapshot.neighbours[slot4];
    assert_eq!((station.port, station.address), (PortId(2), v4));
    assert_eq!(hop(&built, "10.244.1.4"), Hop::None, "a prefix of a device is no route");
}

#[test]
fn gateways_are_local_and_subnets_are_the_peers() {
    let built = built();
    for address in ["169.254.1.1", "10.244.1.1", "fe80::1", "fd00:10:244:1::1"] {
        assert_eq!(hop(&built, address), Hop::Local, "{address}");
    }
    assert_eq!(hop(&built, "10.244.2.9"), Hop::Peer(0));
    assert_eq!(hop(&built, "fd00:10:244:2::9"), Hop::Peer(0));
    assert_eq!(hop(&built, "10.244.3.9"), Hop::Peer(1));
}

#[test]
fn configured_routes_lead_where_they_say() {
    let built = built();
    assert_eq!(hop(&built, "10.96.0.1"), Hop::Unreachable);
    assert_eq!(hop(&built, "10.99.0.1"), Hop::Peer(1));
    assert_eq!(hop(&built, "10.98.0.1"), hop(&built, "10.244.1.3"));
    assert_eq!(hop(&built, "10.97.0.1"), Hop::Port(PortId(1)));
    let desired = Desired::new(config());
    let hops = Hops::new(&desired, &built.snapshot);
    assert_eq!(hops.all().count(), 15);
    assert!(hops.all().all(|(net, hop)| hops.hop(net) == Some(hop)));
    assert!(hops.all().is_sorted_by_key(|(net, _)| net));
}

#[test]
fn peers_have_their_ways_and_macs() {
    let built = built();
    let (b, c) = (&built.snapshot.peers[0], &built.snapshot.peers[1]);
    assert_eq!(b.local, "192.168.77.1".parse::<IpAddr>().unwrap());
    let next_hop = |peer: &Peer| built.snapshot.neighbours[peer.neighbour].address.to_string();
    assert_eq!((next_hop(b), next_hop(c)), ("192.168.77.2".into(), "192.168.77.254".into()));
    let vteps: Vec<_> = config().peer.iter().map(peer_mac).collect();
    assert_eq!(vteps, [vtep_mac("b"), Mac([2, 0, 0, 0, 0, 12])]);
    assert_eq!(built.snapshot.peers_by_address.get(&c.address), Some(&1));
    assert_eq!(built.snapshot.tunnels[0].mac, vtep_mac("a"), "as a peer derives it");
    // From our VTEP to theirs, as the inner Ethernet header says.
    let (_, encap) = c.encap.as_ref().unwrap();
    let mut room = vec![0; encap.overhead()];
    let inner = encap::Inner { family: encap::Family::V4, len: 100, tos: 0, flow_hash: 0 };
    encap.push(&mut room, &inner);
    assert_eq!(room[36..42], vteps[1].0);
    assert_eq!(room[42..48], vtep_mac("a").0);
}

#[test]
fn peers_behind_one_next_hop_share_it() {
    let mut facts = facts();
    facts.ways[1] = facts.ways[0];
    let built = build_from(config(), &facts, None);
    let (b, c) = (&built.snapshot.peers[0], &built.snapshot.peers[1]);
    assert_eq!(b.neighbour, c.neighbour);
}

#[test]
fn what_stays_keeps_its_slot_and_what_was_learned() {
    let first = built();
    let Hop::Neighbour(slot) = hop(&first, "10.244.1.3") else { panic!("a station") };
    first.snapshot.neighbours[slot].learn(UPLINK, 1);
    let old_hop = first.snapshot.peers[1].neighbour;
    let generation = first.snapshot.generation;
    let mut facts = facts();
    facts.ways[1].next_hop = "192.168.77.253".parse().unwrap();
    let second = build_from(config(), &facts, Some(first));
    assert_eq!(second.snapshot.generation, generation + 1);
    assert_eq!(hop(&second, "10.244.1.3"), Hop::Neighbour(slot));
    assert_eq!(second.snapshot.neighbours[slot].state(2).0, Some(UPLINK));
    let next_hops: Vec<_> =
        second.snapshot.neighbours.iter().map(|n| n.address.to_string()).collect();
    assert!(!next_hops.contains(&"192.168.77.254".to_owned()), "{next_hops:?}");
    assert!(second.snapshot.neighbours.get(old_hop).is_none(), "a slot rests");
}

#[test]
fn what_comes_and_goes_moves_no_other() {
    let first = built();
    let Hop::Neighbour(slot) = hop(&first, "10.244.1.3") else { panic!("a station") };
    let (mut without, mut facts) = (config(), facts());
    without.port.retain(|port| port.name.as_str() != "a1");
    without.peer.retain(|peer| peer.name.as_str() != "b");
    without.route.retain(|route| route.via != config::Via::Port("a1".parse().unwrap()));
    facts.ports.remove(&"a1".parse::<Name>().unwrap());
    facts.peers.remove(&"b".parse::<Name>().unwrap());
    facts.ways.remove(0);
    let second = build_from(without, &facts, Some(first));
    assert_eq!(hop(&second, "10.244.1.3"), Hop::Neighbour(slot));
    assert_eq!(hop(&second, "10.244.3.9"), Hop::Peer(1));
    assert_eq!((hop(&second, "10.244.1.2"), hop(&second, "10.244.2.9")), (Hop::None, Hop::None));
    let ports: Vec<_> =
        second.snapshot.ports.entries().map(|(i, p)| (i, p.name.as_str())).collect();
    assert_eq!(ports, [(0, "eth0"), (2, "a2")]);
    assert_eq!(second.snapshot.peers_by_address.len(), 1);
}
