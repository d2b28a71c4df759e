#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::Config;
use crate::control::workers::WorkerFacts;
use crate::worker::Stats;
use encap::{Ends, Tunnel, vxlan};
use pipeline::snapshot::{Accepts, Peer, TunnelId, TunnelInfo};
use pipeline::tables::Slots;
use pipeline::tables::flows::{Flags, Judged, Key, Timeouts};
use pipeline::tables::neighbours::Neighbour;

const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);
const VTEP: Mac = Mac([2, 0, 0, 0, 0, 2]);
const NEXT_HOP: Mac = Mac([2, 0, 0, 0, 0, 3]);

fn info(name: &str, role: Role, link: Link) -> PortInfo {
    PortInfo {
        name: name.to_owned(),
        role,
        link,
        mac: GATEWAY,
        mtu: 1500,
        caps: Default::default(),
        partial_sums: false,
        check_source: true,
        stations: Vec::new(),
        gateway4: None,
        gateway6: None,
    }
}

fn facts(kind: &str, address: &str) -> PortFacts {
    PortFacts {
        kind: kind.to_owned(),
        device: format!("{kind}0"),
        netns: None,
        addresses: vec![address.parse().unwrap()],
        mode: "by hand".to_owned(),
    }
}

/// What the node below was made of.
fn config() -> Config {
    let text = r#"
        node.name = "a"
        uplink = [{ device = "eth0" }]
        tunnel.vxlan = [{ vni = 1 }]
        gateway.addresses = ["fd00::1"]
        port = [
            { name = "a1", kind = "tun", device = "a1", addresses = ["10.0.1.2"] },
            { name = "a2", kind = "af_xdp", device = "a2", addresses = ["10.0.1.3"] },
        ]
        [[peer]]
        name = "b"
        address = "192.168.77.2"
        tunnel = "vxlan"
        subnets = ["10.0.2.0/24"]
        vtep-mac = "02:00:00:00:00:02"
    "#;
    Config::parse(text, "test.toml").unwrap()
}

/// A node made by hand: an uplink, a TUN pod, a veth pod and a peer.
pub(in crate::control) fn state() -> State {
    let tunnel =
        Tunnel::Vxlan(vxlan::Tunnel::new(&vxlan::Config::new(vxlan::Vni::try_from(1).unwrap())));
    let (local, remote) = ("192.168.77.1".parse().unwrap(), "192.168.77.2".parse().unwrap());
    let encap = tunnel.encap(&Ends { local, remote, local_mac: GATEWAY, remote_mac: VTEP });
    let peer = Peer {
        name: "b".to_owned(),
        address: remote,
        local,
        mtu: 1500 - encap.overhead(),
        fragment_outer: false,
        clamp_mss: false,
        encap: Some((TunnelId(0), encap)),
        accepts: Accepts::default().and(TunnelId(0)),
        uplink: PortId(0),
        neighbour: 0,
        check_source: true,
    };
    let next_hop = Neighbour::new(PortId(0), remote);
    next_hop.set_permanent(NEXT_HOP);
    let station = Neighbour::new(PortId(2), "10.0.1.3".parse().unwrap());
    let snapshot = Snapshot {
        ports: Arc::new(Slots::from(vec![
            info("eth0", Role::Uplink, Link::Ethernet),
            info("a1", Role::Pod, Link::Ip),
            PortInfo {
                stations: vec![("10.0.1.3".parse().unwrap(), 1)],
                ..info("a2", Role::Pod, Link::Ethernet)
            },
        ])),
        tunnels: Arc::new(vec![TunnelInfo {
            name: "vxlan".to_owned(),
            steers: tunnel.steers(),
            key: tunnel.key(),
            tunnel,
            mac: GATEWAY,
        }]),
        peers: Arc::new(vec![peer].into()),
        neighbours: Arc::new(vec![Arc::new(next_hop), Arc::new(station)].into()),
        ..Snapshot::default()
    };
    let ends = ["10.0.1.3", "10.0.2.2"].map(|end| end.parse::<IpAddr>().unwrap());
    let key = Key::new(ends[0], ends[1], 17, 4000, 53);
    let sighting = snapshot.flows.sighting(key, Flags::default());
    let timeouts = Timeouts::default();
    snapshot.flows.keep(&sighting, Judged::default(), &timeouts, 1, &mut Default::default());
    let stats = Stats::default();
    stats.counters.received.add(7);
    stats.counters.generated.add(1);
    stats.counters.emitted.add(5);
    stats.counters.held.set(1);
    stats.counters.refused(PortId(1), pipeline::stages::port::FULL);
    stats.counters.refused(PortId(1), pipeline::stages::port::FULL);
    let queues: Vec<_> = [0, 1, 1, 2]
        .into_iter()
        .map(|id| QueueFacts { port: PortId(id), queue: 0, owner: 0, stats: Arc::default() })
        .collect();
    queues[1].stats.rx_frames.add(3);
    queues[2].stats.rx_frames.add(4);
    let facts_of_worker = WorkerFacts { core: 1, stats: Arc::new(stats) };
    State {
        node: "a".to_owned(),
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        desired: ArcSwap::from_pointee(Desired::new(config())),
        ports: ArcSwap::from_pointee(Slots::from(vec![
            facts("af_xdp", "192.168.77.1"),
            facts("tun", "10.0.1.2"),
            facts("af_xdp", "10.0.1.3"),
        ])),
        limit: ArcSwap::from_pointee(Limit::find(&config(), &[], &[])),
        workers: Workers::by_hand(vec![facts_of_worker], queues),
        memory: Memory::new(64, false).unwrap(),
        epoch: Instant::now(),
    }
}

#[test]
fn ports_are_told_with_their_counters() {
    let ports = state().ports().ports;
    let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["eth0", "a1", "a2"]);
    assert_eq!((ports[0].role.as_str(), ports[1].role.as_str()), ("uplink", "pod"));
    assert_eq!((ports[1].rx_frames, ports[1].core), (7, 1));
    assert_eq!(ports[1].mac, None, "what has no link layer has no MAC");
    assert_eq!(ports[2].mac, Some(GATEWAY.to_string()));
}

#[test]
fn routes_name_what_they_lead_to() {
    let routes = state().routes().routes;
    let lines: Vec<_> = routes
        .iter()
        .map(|r| format!("{} {} {:?} {:?}", r.prefix, r.kind, r.via, r.port))
        .collect();
    assert_eq!(
        lines,
        [
            r#"10.0.1.2/32 port None Some("a1")"#,
            r#"10.0.1.3/32 station Some("10.0.1.3") Some("a2")"#,
            r#"10.0.2.0/24 peer Some("b") Some("eth0")"#,
            "fd00::1/128 local None None",
        ]
    );
}

#[test]
fn peers_neighbours_and_fdb_know_their_macs() {
    let state = state();
    let peer = &state.peers().peers[0];
    assert_eq!((peer.kind.as_str(), peer.overhead, peer.mtu), ("vxlan", 50, 1450));
    assert_eq!(peer.next_hop_mac, Some(NEXT_HOP.to_string()));
    let neighbours = state.neighbours().neighbours;
    assert_eq!(neighbours[0].state, "permanent");
    assert_eq!((neighbours[1].state.as_str(), &neighbours[1].mac), ("incomplete", &None));
    let fdb = state.fdb().fdb;
    assert_eq!((&fdb[0].peer, &fdb[0].mac), (&None, &GATEWAY.to_string()));
    assert_eq!((fdb[1].peer.as_deref(), &fdb[1].mac), (Some("b"), &VTEP.to_string()));
}

#[test]
fn every_reason_is_told_and_the_law_is_checked() {
    let state = state();
    let drops = state.drops();
    assert_eq!(drops.drops.len(), drops::all().count());
    let full = drops.drops.iter().find(|drop| drop.reason == "port.full").unwrap();
    assert_eq!(full.count, 2);
    assert_eq!(drops.conservation.dropped, 2);
    assert!(drops.conservation.balanced);
    state.workers.facts()[0].stats.counters.received.add(1);
    assert!(!state.drops().conservation.balanced);
}
