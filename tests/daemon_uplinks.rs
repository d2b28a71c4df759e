//! Uplinks of all kinds that a machine without cards can have, and several of them. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Peers, Ports};
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::stream::carry;
use daemon_support::two::{Two, finish};
use daemon_support::{Space, run};
use std::collections::BTreeSet;

/// Nodes whose uplink is what `dress` makes of `eth0`: traffic passes, in the mode that is
/// expected.
fn passes(device: &str, mode: &str, dress: impl Fn(&Space, u8)) {
    let two = Two::new();
    for (node, number) in [(&two.a, 1), (&two.b, 2)] {
        node.ip(&format!("address delete 192.168.70.{number}/24 dev eth0"));
        dress(node, number);
        node.ip(&format!("address add 192.168.70.{number}/24 dev {device}"));
        node.ip(&format!("link set {device} up"));
    }
    let (mut a, mut b) = two.start(device, "192.168.70.1", "192.168.70.2");
    let stream = two.stream();
    let ports: Ports = a.get("/v1/show/ports");
    println!("{device}: {}", ports.ports[0].mode);
    assert!(ports.ports[0].mode.starts_with(mode), "{}", ports.ports[0].mode);
    carry(&two.a1, &two.b1, "10.9.2.2", 500_000);
    stream.passes();
    drop(stream);
    finish([&mut a, &mut b]);
    let link = two.a.ip(&format!("-details link show {device}"));
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
fn an_uplink_that_is_a_bridge() {
    passes("br0", "generic XDP", |node, _| {
        node.ip("link add br0 type bridge");
        node.ip("link set eth0 master br0");
    });
}

#[test]
fn an_uplink_that_is_a_macvlan() {
    passes("wan0", "generic XDP", |node, _| {
        node.ip("link add link eth0 name wan0 type macvlan mode bridge");
    });
}

#[test]
fn an_uplink_that_is_a_vlan() {
    if !Space::new("vlan").has_kind("vlan") {
        eprintln!("left out: this kernel has no VLAN devices");
        return;
    }
    passes("eth0.10", "generic XDP", |node, _| {
        node.ip("link add link eth0 name eth0.10 type vlan id 10");
    });
}

#[test]
fn an_uplink_that_is_a_plain_veth() {
    passes("eth0", "native XDP", |_, _| {});
}

#[test]
fn peers_are_spread_over_uplinks_as_the_kernel_does() {
    let two = Two::new();
    two.a.ip("address add 192.0.2.100/32 dev lo");
    let route = "192.0.2.0/24 src 192.0.2.100 nexthop via 192.168.70.2 nexthop via 192.168.71.2";
    two.a.ip(&format!("route add {route}"));
    let mut config = two.config("a", "eth0 eth1", "192.0.2.1");
    for i in 2..=24 {
        config += &format!(
            "[[peer]]\nname = \"b{i}\"\naddress = \"192.0.2.{i}\"\ntunnel = \"vxlan\"\n\
             subnets = [\"10.10.{i}.0/24\"]\n"
        );
    }
    let mut a = Daemon::new(&two.a, &config);
    a.start(&two.a);
    let uplinks = |a: &Daemon| -> BTreeSet<(String, String)> {
        let peers: Peers = a.get("/v1/show/peers");
        peers.peers.into_iter().map(|peer| (peer.uplink, peer.next_hop.to_string())).collect()
    };
    let way = |device: &str, next_hop: &str| (device.to_owned(), next_hop.to_owned());
    let (first, second) = (way("eth0", "192.168.70.2"), way("eth1", "192.168.71.2"));
    let both = BTreeSet::from([first.clone(), second]);
    assert_eq!(uplinks(&a), both);
    two.a.ip("link set eth1 down");
    wait_for("all peers on the uplink that is left", || uplinks(&a) == [first.clone()].into());
    two.a.ip("link set eth1 up");
    two.a.ip(&format!("route replace {route}"));
    wait_for("the peers to be spread again", || uplinks(&a) == both);
    finish([&mut a]);
}

#[test]
fn a_peer_that_is_reached_over_both_uplinks() {
    let two = Two::new();
    for (node, own, other, number) in
        [(&two.a, "192.0.2.1", "192.0.2.2", 2), (&two.b, "192.0.2.2", "192.0.2.1", 1)]
    {
        node.ip(&format!("address add {own}/32 dev lo"));
        node.ip(&format!(
            "route add {other} src {own} nexthop via 192.168.70.{number} \
             nexthop via 192.168.71.{number}"
        ));
    }
    let (mut a, mut b) = two.start("eth0 eth1", "192.0.2.1", "192.0.2.2");
    let stream = two.stream();
    carry(&two.a1, &two.b1, "10.9.2.2", 500_000);
    // The ways there and back may differ, and one after the other is lost.
    for (lost, kept) in [("eth0", "eth1"), ("eth1", "eth0")] {
        for node in [&two.a, &two.b] {
            node.ip(&format!("link set {lost} down"));
        }
        stream.passes();
        let peers: Peers = a.get("/v1/show/peers");
        assert_eq!(peers.peers[0].uplink, kept);
        for (node, own, other, number) in
            [(&two.a, "192.0.2.1", "192.0.2.2", 2), (&two.b, "192.0.2.2", "192.0.2.1", 1)]
        {
            node.ip(&format!("link set {lost} up"));
            node.ip(&format!(
                "route replace {other} src {own} nexthop via 192.168.70.{number} \
                 nexthop via 192.168.71.{number}"
            ));
        }
        stream.passes();
    }
    finish([&mut a, &mut b]);
}

/// One error, with these words.
fn refused(two: &Two, uplink: &str, words: &[&str]) {
    let daemon = Daemon::new(&two.a, &two.config("a", uplink, "192.168.70.2"));
    let end = daemon.fail(daemon.command(&two.a, ""));
    assert_eq!(end.status.code(), Some(1), "{}", end.error);
    for word in words {
        assert!(end.error.contains(word), "{word:?} in: {}", end.error);
    }
}

#[test]
fn uplinks_that_can_not_be() {
    let two = Two::new();
    refused(&two, "lo", &["uplink lo", "loopback", "expected an Ethernet device"]);
    two.a.ip("tuntap add name tun0 mode tun");
    refused(&two, "tun0", &["uplink tun0", "without MAC", "expected an Ethernet device"]);
    two.a.ip("link add br0 type bridge");
    two.a.ip("link set eth0 master br0");
    refused(&two, "eth0", &["uplink eth0", "bridge br0", "device = \"br0\""]);
    run("ip", &["-n", &two.a.name, "link", "set", "eth0", "nomaster"]);
}
