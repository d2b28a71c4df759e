//! From one way between two nodes to another, under traffic of which nothing is lost. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::Peers;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::iperf::Iperf;
use daemon_support::two::{Two, finish};
use std::time::Duration;

const VXLAN: &str = "[[tunnel.vxlan]]\nvni = 7\n";
/// Longer than all the changes take.
const LONG: Duration = Duration::from_secs(15);
const BY_VXLAN: &str = "tunnel = \"vxlan\"\n";

/// How a daemon reaches its one peer now: by which tunnel, and what it takes from there.
fn way(daemon: &Daemon) -> (String, Vec<String>) {
    let mut peers = daemon.get::<Peers>("/v1/show/peers").peers;
    let peer = peers.remove(0);
    (peer.tunnel, peer.accepts)
}

/// Makes each config out of the other node's, one node after the other.
fn step(nodes: &[(&Daemon, &str)], tunnels: &str, peer: &str, expected: (&str, &str)) {
    for (node, first) in nodes {
        let config = first.replace(VXLAN, tunnels).replace(BY_VXLAN, peer);
        assert!(node.reload(&config), "{}", node.log());
        let (tunnel, accepts) = way(node);
        assert_eq!((tunnel.as_str(), accepts.join(" ").as_str()), expected, "{config}");
    }
}

#[test]
fn a_cluster_moves_to_another_tunnel_and_notices_nothing() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let (first_a, first_b) = (a.config(), b.config());
    let stream = two.stream();
    let iperf = Iperf::start((&two.a1, &two.b1), ("10.9.2.2", 5201), LONG, "");
    let nodes = [(&a, first_a.as_str()), (&b, first_b.as_str())];

    let both = format!("{VXLAN}[[tunnel.ipip]]\n[[tunnel.udp]]\n");
    let ipip = "[[tunnel.ipip]]\n";
    let accept = "tunnel = \"vxlan\"\naccept = [\"ipip\", \"udp\"]\n";
    step(&nodes, &both, accept, ("vxlan", "vxlan ipip udp"));
    let accept = "tunnel = \"udp\"\naccept = [\"ipip\", \"vxlan\"]\n";
    step(&nodes, &both, accept, ("udp", "vxlan ipip udp"));
    let accept = "tunnel = \"ipip\"\naccept = [\"udp\"]\n";
    step(&nodes, &both, accept, ("ipip", "ipip udp"));
    step(&nodes, ipip, "tunnel = \"ipip\"\n", ("ipip", "ipip"));
    // And to none at all: first it is accepted, then done.
    let accept = "tunnel = \"ipip\"\naccept = [\"direct\"]\n";
    step(&nodes, ipip, accept, ("ipip", "ipip direct"));
    let accept = "mode = \"never\"\naccept = [\"ipip\"]\n";
    step(&nodes, ipip, accept, ("direct", "ipip direct"));
    step(&nodes, "", "mode = \"never\"\n", ("direct", "direct"));

    assert!(iperf.is_sending(), "all of it took less than {LONG:?}");
    let arrived = iperf.finish();
    assert!(arrived.intervals.iter().rev().take(10).all(|bytes| *bytes > 0), "{arrived:?}");
    assert_eq!(stream.finish(), 0, "datagrams were lost");
    // The port of a tunnel that is gone is free again, the one of a tunnel that comes is needed.
    two.a.ip("link add vxlan0 type vxlan id 9 dstport 4789 dev eth0");
    two.a.ip("link set vxlan0 up");
    assert!(!a.reload(&first_a));
    assert!(a.log().contains("vxlan0"), "{}", a.log());
    assert_eq!(way(&a), ("direct".into(), vec!["direct".into()]));
    two.a.ip("link delete vxlan0");
    assert!(a.reload(&first_a), "{}", a.log());
    finish([&mut a, &mut b]);
}

#[test]
fn a_peer_behind_a_gateway_is_reached_by_a_tunnel_and_a_near_one_without() {
    let two = Two::new();
    let cross =
        |config: &str| config.replace(BY_VXLAN, "tunnel = \"vxlan\"\nmode = \"cross-subnet\"\n");
    let mut a = Daemon::new(&two.a, &cross(&two.config("a", "eth0", "192.168.70.2")));
    let mut b = Daemon::new(&two.b, &cross(&two.config("b", "eth0", "192.168.70.1")));
    a.start(&two.a);
    b.start(&two.b);
    let stream = two.stream();
    assert_eq!((way(&a).0, way(&b).0), ("direct".into(), "direct".into()));

    // A gateway that is the peer itself, by another name.
    let link = two.b.ip("-oneline link show eth0");
    let mac = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    two.a.ip(&format!("neighbour add 192.168.70.9 lladdr {mac} dev eth0 nud permanent"));
    for _ in 0..3 {
        two.a.ip("route add 192.168.70.2/32 via 192.168.70.9 dev eth0");
        wait_for("the tunnel", || way(&a).0 == "vxlan");
        assert_eq!(way(&b).0, "direct", "each end decides for itself");
        stream.passes();
        two.a.ip("route delete 192.168.70.2/32");
        wait_for("the direct way", || way(&a).0 == "direct");
        stream.passes();
    }
    assert_eq!(stream.finish(), 0, "datagrams were lost");

    // Where there must not be a gateway, there is none.
    let never = a.config().replace("cross-subnet", "never");
    two.a.ip("route add 192.168.70.2/32 via 192.168.70.9 dev eth0");
    wait_for("the tunnel", || way(&a).0 == "vxlan");
    assert!(!a.reload(&never));
    assert!(a.log().contains("leads by 192.168.70.9"), "{}", a.log());
    assert_eq!(way(&a).0, "vxlan");
    finish([&mut a, &mut b]);
}
