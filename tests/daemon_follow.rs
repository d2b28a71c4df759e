//! Nodes whose underlay changes while traffic runs: devices, addresses, MACs, routes. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Peers, Ports};
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::stream::Stream;
use daemon_support::two::{Two, finish};
use std::time::Duration;

/// Traffic shall flow again within a second; several times that, because tests share their machine.
const SOON: Duration = Duration::from_secs(4);

/// Waits until traffic flows, which must not take long, and until the log says why.
fn recovers(what: &str, stream: &Stream, daemon: &Daemon, log: &[&str]) {
    let took = stream.passes();
    println!("{what}: traffic flows again after {} ms", took.as_millis());
    assert!(took < SOON, "{what}: traffic flows again after {took:?} only");
    for word in log {
        wait_for(&format!("{word:?} in the log"), || daemon.log().contains(word));
    }
}

#[test]
fn an_uplink_that_changes() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let stream = two.stream();
    let uplink = |a: &Daemon| a.get::<Ports>("/v1/show/ports").ports[0].clone();

    two.a.ip("link set eth0 mtu 1400");
    wait_for("the new MTU", || uplink(&a).mtu == 1400);
    recovers("MTU", &stream, &a, &["MTU is 1400 now, was 1500", "changed links"]);

    // The other node's next hop gets another MAC by this; neither kernel is told to announce it.
    two.a.ip("link set eth0 address 02:00:00:00:07:01");
    let mac = |b: &Daemon| b.get::<Peers>("/v1/show/peers").peers[0].next_hop_mac.clone();
    recovers("MAC", &stream, &a, &["MAC is 02:00:00:00:07:01 now"]);
    wait_for("the peer to know it", || mac(&b).as_deref() == Some("02:00:00:00:07:01"));
    recovers("MAC of the peer", &stream, &b, &["has MAC 02:00:00:00:07:01 now, had"]);

    two.a.ip("link set eth0 down");
    assert!(stream.is_cut());
    two.a.ip("link set eth0 up");
    recovers("down and up", &stream, &a, &["it was set down", "up again", "no route to"]);

    two.switch.ip("link set a0 down");
    assert!(stream.is_cut());
    two.switch.ip("link set a0 up");
    recovers("carrier", &stream, &a, &["lost its carrier", "has a carrier again"]);

    two.a.ip("address delete 192.168.70.1/24 dev eth0");
    assert!(stream.is_cut());
    two.a.ip("address add 192.168.70.1/24 dev eth0");
    recovers("address", &stream, &a, &["addresses are none now", "addresses are 192.168.70.1 now"]);

    two.a.ip("link set eth0 name wan0");
    recovers("name", &stream, &a, &["is called wan0 now"]);
    two.a.ip("link set wan0 mtu 1500");
    wait_for("the MTU of the renamed one", || uplink(&a).mtu == 1500);
    recovers("MTU of the renamed one", &stream, &a, &["MTU is 1500 now, was 1400"]);
    finish([&mut a, &mut b]);
}

#[test]
fn an_address_that_is_another_one() {
    let two = Two::new();
    // The peer is told the new address already.
    let (mut a, mut b) = two.start("eth0", "192.168.70.11", "192.168.70.2");
    let stream = Stream::new(&two.a1, &two.b1, "10.9.2.2");
    assert!(stream.is_cut());
    two.a.ip("address add 192.168.70.11/24 dev eth0");
    two.a.ip("address delete 192.168.70.1/24 dev eth0");
    two.a.ip("address replace 192.168.70.11/24 dev eth0");
    let log =
        ["192.168.70.2 from 192.168.70.11 now, was by eth0 and 192.168.70.2 from 192.168.70.1"];
    recovers("another address", &stream, &a, &log);
    finish([&mut a, &mut b]);
}

#[test]
fn a_peer_whose_mac_is_another_one() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let stream = two.stream();
    two.b.ip("link set eth0 address 02:00:00:00:07:02");
    let mac = "has MAC 02:00:00:00:07:02 now, had";
    recovers("the peer's MAC", &stream, &a, &[mac]);
    finish([&mut a, &mut b]);
}

#[test]
fn a_route_that_moves_to_another_uplink() {
    let two = Two::new();
    // Each node has an address of its own that is reached by either wire.
    for (node, own, other, number) in
        [(&two.a, "192.0.2.1", "192.0.2.2", 2), (&two.b, "192.0.2.2", "192.0.2.1", 1)]
    {
        node.ip(&format!("address add {own}/32 dev lo"));
        node.ip(&format!("route add {other} via 192.168.70.{number} src {own}"));
    }
    let (mut a, mut b) = two.start("eth0 eth1", "192.0.2.1", "192.0.2.2");
    let stream = two.stream();
    let uplink = |a: &Daemon| a.get::<Peers>("/v1/show/peers").peers[0].uplink.clone();
    assert_eq!(uplink(&a), "eth0");

    two.a.ip("route replace 192.0.2.2 via 192.168.71.2 src 192.0.2.1");
    two.switch.ip("link set br0 down");
    two.b.ip("route replace 192.0.2.1 via 192.168.71.1 src 192.0.2.2");
    let by = "reached by eth1 and 192.168.71.2 from 192.0.2.1 now, was by eth0 and 192.168.70.2";
    recovers("another uplink", &stream, &a, &[by, "changed routes"]);
    assert_eq!(uplink(&a), "eth1");

    // Back again, by a rule and a default route, when the device goes down.
    two.switch.ip("link set br0 up");
    for (node, own, number) in [(&two.a, "192.0.2.1", 2), (&two.b, "192.0.2.2", 1)] {
        node.ip(&format!("route add default via 192.168.70.{number} src {own} metric 10"));
        node.ip("link set eth1 down");
    }
    recovers("a link down", &stream, &a, &["reached by eth0 and 192.168.70.2"]);
    two.a.ip("link set eth1 up");
    two.b.ip("link set eth1 up");
    for (node, own, number) in [(&two.a, "192.0.2.1", 2), (&two.b, "192.0.2.2", 1)] {
        node.ip(&format!("route add default via 192.168.71.{number} src {own} table 99"));
    }
    // What is looked at for the links and routes must not meet the rule already: it would be the reason.
    std::thread::sleep(Duration::from_millis(500));
    for node in [&two.a, &two.b] {
        node.ip("rule add to 192.0.2.0/24 lookup 99 priority 99");
    }
    wait_for("the rule to be followed", || uplink(&a) == "eth1");
    recovers("a rule", &stream, &a, &["rules"]);
    finish([&mut a, &mut b]);
}

#[test]
fn an_uplink_that_is_deleted_and_made_again() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let stream = two.stream();
    for _ in 0..2 {
        two.a.ip("link delete eth0");
        assert!(stream.is_cut());
        wait_for("the event", || a.log().contains("uplink eth0: the device is gone"));
        two.plug(&two.a, "a", 0);
        two.a.ip("address add 192.168.70.1/24 dev eth0");
        recovers("made again", &stream, &a, &["uplink eth0: taken again, native XDP"]);
    }
    let text = a.show("drops --all");
    assert!(text.contains("port.gone"), "{text}");
    finish([&mut a, &mut b]);
}

#[test]
fn an_uplink_that_leaves_its_namespace_and_comes_back() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let stream = two.stream();
    two.a.ip(&format!("link set eth0 netns {}", two.switch.name));
    wait_for("the event", || a.log().contains("uplink eth0: the device is gone"));
    assert!(stream.is_cut());
    two.switch.ip(&format!("link set eth0 netns {}", two.a.name));
    two.a.ip("link set eth0 up");
    two.a.ip("address add 192.168.70.1/24 dev eth0");
    recovers("back again", &stream, &a, &["uplink eth0: taken again"]);
    finish([&mut a, &mut b]);
}
