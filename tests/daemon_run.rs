//! Whole nodes: the real binary in namespaces, real packets, and nothing left afterwards. Needs
//! root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Conservation, Drops, Neighbours, Peers, Ports, Ready, Routes};
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};

/// Two nodes on one wire, `a` with two pods and `b` with one.
struct Nodes {
    a: Space,
    b: Space,
    a1: Space,
    a2: Space,
    b1: Space,
}

impl Nodes {
    fn new() -> Nodes {
        let nodes = Nodes {
            a: Space::new("a"),
            b: Space::new("b"),
            a1: Space::new("a1"),
            a2: Space::new("a2"),
            b1: Space::new("b1"),
        };
        nodes.a.ip(&format!("link add eth0 type veth peer name eth0 netns {}", nodes.b.name));
        for (node, number) in [(&nodes.a, 1), (&nodes.b, 2)] {
            node.ip(&format!("address add 192.168.77.{number}/24 dev eth0"));
            node.ip("link set eth0 up");
        }
        nodes
    }

    fn config_a(&self) -> String {
        config("a", 1, "b", 2, &[(&self.a1, "tun", "/24"), (&self.a2, "af_xdp", "/32")])
    }

    fn config_b(&self) -> String {
        config("b", 2, "a", 1, &[(&self.b1, "tun", "/24")])
    }
}

/// Node number `n`, called `name`, whose peer is number `m`; pods have the addresses from 2 on.
fn config(name: &str, n: u8, peer: &str, m: u8, pods: &[(&Space, &str, &str)]) -> String {
    let mut text = format!(
        r#"[node]
name = "{name}"
[memory]
chunks = 4096
huge-pages = false
[[uplink]]
device = "eth0"
[[tunnel.vxlan]]
vni = 7
[gateway]
addresses = ["10.9.{n}.1", "169.254.1.1", "fe80::1"]
[[peer]]
name = "{peer}"
address = "192.168.77.{m}"
tunnel = "vxlan"
subnets = ["10.9.{m}.0/24", "fd00:9:{m}::/64"]
"#
    );
    for (i, (pod, kind, length)) in (2..).zip(pods) {
        let netns = &pod.name;
        text += &format!(
            r#"[[port]]
name = "{name}{i}"
kind = "{kind}"
netns = "{netns}"
device = "eth0"
addresses = ["10.9.{n}.{i}{length}", "fd00:9:{n}::{i}/128"]
"#
        );
    }
    text
}

fn devices(space: &Space) -> String {
    space.ip("-brief link").lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn pods_of_two_nodes_talk_and_nothing_is_left() {
    let nodes = Nodes::new();
    let mut a = Daemon::new(&nodes.a, &nodes.config_a());
    let mut b = Daemon::new(&nodes.b, &nodes.config_b());
    let before = [&nodes.a, &nodes.a1, &nodes.a2].map(devices);
    a.start(&nodes.a);
    b.start(&nodes.b);
    for to in ["10.9.2.2", "fd00:9:2::2"] {
        wait_for("a1 to reach b2", || nodes.a1.pings(to));
        wait_for("a2 to reach b2", || nodes.a2.pings(to));
    }
    wait_for("two pods of one node to talk", || nodes.a1.pings("10.9.1.3"));
    wait_for("the gateway to answer", || nodes.a2.pings("169.254.1.1"));
    assert!(nodes.a.pings("192.168.77.2"), "the nodes' own traffic is the kernel's");

    let ready: Ready = a.get("/v1/ready");
    assert_eq!((ready.ready, ready.node.as_str()), (true, "a"));
    let ports: Ports = a.get("/v1/show/ports");
    let ports = ports.ports;
    let kinds: Vec<_> = ports.iter().map(|port| (port.name.as_str(), port.kind.as_str())).collect();
    assert_eq!(kinds, [("eth0", "af_xdp"), ("a2", "tun"), ("a3", "af_xdp")]);
    assert!(ports.iter().all(|port| port.rx_frames > 0 && port.tx_frames > 0), "{ports:?}");
    let peers: Peers = a.get("/v1/show/peers");
    let mac = nodes.b.exec("cat /sys/class/net/eth0/address");
    assert_eq!(peers.peers[0].next_hop_mac.as_deref(), Some(mac.trim()));
    let routes: Routes = a.get("/v1/show/routes");
    let to_b = routes.routes.iter().find(|route| route.prefix.to_string() == "10.9.2.0/24");
    assert_eq!(to_b.unwrap().via.as_deref(), Some("b"));
    for daemon in [&a, &b] {
        wait_for("frames to add up", || {
            let drops: Drops = daemon.get("/v1/show/drops");
            drops.conservation.balanced && drops.conservation.held == 0
        });
    }
    let text = a.show("drops --all");
    assert!(text.contains("port.full") && text.contains("received"), "{text}");
    let json: Drops = serde_json::from_str(&a.show("drops --json")).unwrap();
    assert_ne!(json.conservation, Conservation::default());

    let end = a.end("TERM");
    assert!(end.status.success(), "{}: {}", end.status, end.error);
    assert_eq!([&nodes.a, &nodes.a1, &nodes.a2].map(devices), before);
    assert!(!a.socket.exists());
    let link = nodes.a.ip("-details link show eth0");
    assert!(!link.contains("xdp"), "{link}");
    let neighbours = nodes.a.ip("neighbour show dev eth0");
    assert!(!neighbours.contains("managed"), "{neighbours}");
    assert!(b.end("INT").status.success());
}

#[test]
fn what_a_killed_daemon_left_is_replaced() {
    let nodes = Nodes::new();
    let mut a = Daemon::new(&nodes.a, &nodes.config_a());
    let before = devices(&nodes.a);
    a.start(&nodes.a);
    a.end("KILL");
    assert_ne!(devices(&nodes.a), before, "a veth pair outlives its daemon");
    assert!(a.socket.exists());
    a.start(&nodes.a);
    wait_for("the gateway to answer", || nodes.a2.pings("169.254.1.1"));
    assert!(a.end("TERM").status.success());
    assert_eq!(devices(&nodes.a), before);
    assert!(a.log().contains("which a killed daemon left"), "{}", a.log());
}

#[test]
fn a_next_hop_that_comes_later_is_found() {
    let nodes = Nodes::new();
    nodes.b.ip("link set eth0 down");
    let mut a = Daemon::new(&nodes.a, &nodes.config_a());
    a.start(&nodes.a);
    let first = |a: &Daemon| a.get::<Neighbours>("/v1/show/neighbours").neighbours[0].clone();
    let next_hop = first(&a);
    assert_eq!((next_hop.address.to_string(), next_hop.mac), ("192.168.77.2".into(), None));
    nodes.b.ip("link set eth0 up");
    wait_for("the next hop's MAC", || first(&a).mac.is_some());
    assert!(a.end("TERM").status.success());
}

#[test]
fn a_way_that_changes_is_followed() {
    let nodes = Nodes::new();
    let config = nodes.config_a().replace("192.168.77.2", "192.0.2.2");
    let mut a = Daemon::new(&nodes.a, &config);
    a.start(&nodes.a);
    assert!(a.log().contains("no route to 192.0.2.2"), "{}", a.log());
    nodes.a.ip("route add 192.0.2.0/24 via 192.168.77.2");
    let next_hop = |a: &Daemon| a.get::<Peers>("/v1/show/peers").peers[0].next_hop.to_string();
    wait_for("the new way", || next_hop(&a) == "192.168.77.2");
    let mac = |a: &Daemon| a.get::<Peers>("/v1/show/peers").peers[0].next_hop_mac.clone();
    wait_for("the next hop's MAC", || mac(&a).is_some());
    assert!(a.end("TERM").status.success());
}

#[test]
fn an_address_that_comes_later_is_ours_too() {
    let nodes = Nodes::new();
    let mut a = Daemon::new(&nodes.a, &nodes.config_a());
    a.start(&nodes.a);
    let bound = |address: &str| nodes.a.exec("ss -Huln").contains(&format!("{address}:4789"));
    assert!(bound("192.168.77.1"));
    nodes.a.ip("address add 192.168.77.11/24 dev eth0");
    wait_for("the port to be reserved there too", || bound("192.168.77.11"));
    assert!(bound("192.168.77.1"));
    assert!(a.end("TERM").status.success());
}
