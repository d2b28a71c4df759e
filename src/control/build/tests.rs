#![allow(clippy::unwrap_used)]

use super::*;

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

fn facts() -> Facts {
    let way = |next_hop: &str| Way {
        uplink: 0,
        local: "192.168.77.1".parse().unwrap(),
        next_hop: next_hop.parse().unwrap(),
    };
    Facts {
        uplinks: vec![UplinkFacts { device: device(Link::Ethernet), mac: UPLINK, mtu: 1500 }],
        ports: vec![device(Link::Ip), device(Link::Ethernet)],
        ways: vec![way("192.168.77.2"), way("192.168.77.254")],
    }
}

fn built() -> Built {
    build(&config(), &facts(), None).unwrap()
}

fn hop(built: &Built, address: &str) -> Hop {
    built.snapshot.route(address.parse().unwrap()).hop()
}

#[test]
fn ports_are_numbered_uplinks_first() {
    let ports = &built().snapshot.ports;
    let names: Vec<_> = ports.iter().map(|port| (port.name.as_str(), port.role)).collect();
    assert_eq!(names, [("eth0", Role::Uplink), ("a1", Role::Pod), ("a2", Role::Pod)]);
    assert_eq!(ports[0].mac, UPLINK);
    assert_eq!(ports[1].mac, config().gateway_mac());
    assert_eq!(ports[1].mtu, 1450);
}

#[test]
fn a_port_knows_the_gateway_that_its_stations_know() {
    let ports = &built().snapshot.ports;
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
    assert_eq!(built.routes.iter().count(), 15);
}

#[test]
fn peers_have_their_ways_and_macs() {
    let built = built();
    let (b, c) = (&built.snapshot.peers[0], &built.snapshot.peers[1]);
    assert_eq!(b.local, "192.168.77.1".parse::<IpAddr>().unwrap());
    let next_hop = |peer: &Peer| built.snapshot.neighbours[peer.neighbour].address.to_string();
    assert_eq!((next_hop(b), next_hop(c)), ("192.168.77.2".into(), "192.168.77.254".into()));
    assert_eq!(built.vteps, [vtep_mac("b"), Mac([2, 0, 0, 0, 0, 12])]);
    assert_eq!(built.snapshot.peers_by_address.get(&c.address), Some(&1));
    assert_eq!(built.snapshot.tunnels[0].mac, vtep_mac("a"), "as a peer derives it");
    // From our VTEP to theirs, as the inner Ethernet header says.
    let mut room = vec![0; c.encap.overhead()];
    let inner = encap::Inner { family: encap::Family::V4, len: 100, tos: 0, flow_hash: 0 };
    c.encap.push(&mut room, &inner);
    assert_eq!(room[36..42], built.vteps[1].0);
    assert_eq!(room[42..48], vtep_mac("a").0);
}

#[test]
fn peers_behind_one_next_hop_share_it() {
    let mut facts = facts();
    facts.ways[1] = facts.ways[0];
    let built = build(&config(), &facts, None).unwrap();
    let (b, c) = (&built.snapshot.peers[0], &built.snapshot.peers[1]);
    assert_eq!(b.neighbour, c.neighbour);
}

#[test]
fn what_was_learned_is_carried_over() {
    let first = built();
    let Hop::Neighbour(slot) = hop(&first, "10.244.1.3") else { panic!("a station") };
    first.snapshot.neighbours[slot].learn(UPLINK, 1);
    let mut facts = facts();
    facts.ways[1].next_hop = "192.168.77.253".parse().unwrap();
    let second = build(&config(), &facts, Some(&first.snapshot)).unwrap();
    assert_eq!(second.snapshot.generation, first.snapshot.generation + 1);
    let Hop::Neighbour(slot) = hop(&second, "10.244.1.3") else { panic!("a station") };
    assert_eq!(second.snapshot.neighbours[slot].state(2).0, Some(UPLINK));
    let next_hops: Vec<_> =
        second.snapshot.neighbours.iter().map(|n| n.address.to_string()).collect();
    assert!(!next_hops.contains(&"192.168.77.254".to_owned()), "{next_hops:?}");
}

#[test]
fn what_is_not_there_is_refused() {
    let text = CONFIG.replace("[\"10.244.1.3/32\", \"fd00:10:244:1::3/128\"]", "[\"fd00::3\"]");
    let config = Config::parse(&text, "test.toml").unwrap();
    let error = build(&config, &facts(), None).map(drop).unwrap_err().to_string();
    assert!(error.contains("10.98.0.0/16") && error.contains("port a2"), "{error}");
}
