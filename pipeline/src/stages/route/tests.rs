//! Who may send where.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::snapshot::PortId;
use crate::testing::*;
use etherparse::PacketBuilder;

fn v4(port: PortId, src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(A1_MAC.0, MACS[port.index()].0);
    let mut bytes = Vec::new();
    builder.ipv4(src.octets(), dst.octets(), 64).udp(1, 2).write(&mut bytes, &[]).unwrap();
    if port == TUN { bytes.split_off(14) } else { bytes }
}

fn v6(src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0);
    let mut bytes = Vec::new();
    builder.ipv6(src.octets(), dst.octets(), 64).udp(1, 2).write(&mut bytes, &[]).unwrap();
    bytes
}

#[test]
fn pods_of_a_node_reach_each_other_and_the_peers() {
    let mut world = World::default();
    assert_eq!(world.pass(VETH, &v4(VETH, A1, A2))[0].0, TUN);
    assert_eq!(world.pass(TUN, &v4(TUN, A2, A1))[0].0, VETH);
    assert_eq!(world.pass(TUN, &v4(TUN, A2, B1))[0].0, UPLINK);
    assert_eq!(world.pass(VETH, &v6(A1_V6, A2_V6))[0].0, TUN);
    assert_eq!(world.pass(VETH, &v6(A1_V6, B1_V6))[0].0, UPLINK);
    world.check_laws();
}

#[test]
fn a_pod_sends_from_its_own_addresses_only() {
    let mut world = World::default();
    for src in [A2, B1, GATEWAY, Ipv4Addr::new(10, 99, 0, 1)] {
        world.expect_drop(VETH, &v4(VETH, src, B1), SOURCE);
    }
    world.expect_drop(TUN, &v4(TUN, A1, B1), SOURCE);
    world.expect_drop(VETH, &v6(A2_V6, B1_V6), SOURCE);
    // What is routed to a pod's port is its own, too.
    world.route(Ipv4Addr::new(10, 50, 0, 0).into(), Some(16), NextHop::new(Hop::Neighbour(0)));
    assert_eq!(world.pass(VETH, &v4(VETH, Ipv4Addr::new(10, 50, 1, 1), B1)).len(), 1);
    // And without the check it may say what it likes.
    std::sync::Arc::make_mut(&mut world.snapshot.ports)[VETH.index()].check_source = false;
    assert_eq!(world.pass(VETH, &v4(VETH, Ipv4Addr::new(10, 99, 0, 1), B1)).len(), 1);
    world.check_laws();
}

#[test]
fn what_no_router_forwards() {
    let mut world = World::default();
    let loopback = Ipv4Addr::LOCALHOST;
    for dst in [Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 251)] {
        world.expect_drop(VETH, &v4(VETH, A1, dst), MULTICAST);
    }
    world.expect_drop(VETH, &v4(VETH, A1, loopback), SCOPE);
    world.expect_drop(VETH, &v4(VETH, loopback, B1), SCOPE);
    world.expect_drop(VETH, &v4(VETH, Ipv4Addr::UNSPECIFIED, B1), MARTIAN);
    world.expect_drop(VETH, &v4(VETH, Ipv4Addr::new(239, 1, 1, 1), B1), MARTIAN);
    world.expect_drop(VETH, &v6(A1_V6, "ff02::fb".parse().unwrap()), MULTICAST);
    world.expect_drop(VETH, &v6(A1_V6, Ipv6Addr::LOCALHOST), SCOPE);
    world.expect_drop(VETH, &v6(Ipv6Addr::UNSPECIFIED, B1_V6), MARTIAN);
    world.check_laws();
}
