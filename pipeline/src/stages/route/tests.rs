//! Who may send where.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::snapshot::PortId;
use crate::tables::{Group, Member};
use crate::testing::*;
use etherparse::PacketBuilder;
use std::sync::Arc;

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
    Arc::make_mut(&mut world.snapshot.ports)[VETH.index()].check_source = false;
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

/// Several next hops for 10.60.0.0/16: a1 on its Ethernet port, a2 on TUN, and the peer.
fn with_group() -> World {
    let mut world = World::default();
    let hops = [Hop::Neighbour(0), Hop::Port(TUN), Hop::Peer(0)].into_iter().zip(1..);
    let member = |(hop, id)| Member { id, next_hop: NextHop::new(hop), is_up: true };
    let group = Arc::new(Group::new(0, hops.map(member).collect()));
    world.snapshot.groups = Arc::new(vec![group].into());
    world.route(Ipv4Addr::new(10, 60, 0, 0).into(), Some(16), NextHop::new(Hop::Group(0)));
    world
}

const SHARED: Ipv4Addr = Ipv4Addr::new(10, 60, 1, 1);

#[test]
fn flows_are_spread_and_each_keeps_its_way() {
    let mut world = with_group();
    let flow = |port: u16| {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0);
        let builder = builder.ipv4(A1.octets(), SHARED.octets(), 64);
        builder.udp(port, 53).write(&mut bytes, &[0; 20]).unwrap();
        bytes
    };
    let alone: Vec<_> = (0..60).map(|port| world.pass(VETH, &flow(port))[0].0).collect();
    for port in [VETH, TUN, UPLINK] {
        let share = alone.iter().filter(|way| **way == port).count();
        assert!((8..40).contains(&share), "{share} of 60 by {port:?}");
    }
    // All in one batch, where they share a lookup.
    let frames: Vec<_> = (0..60).map(|port| world.frame(VETH, &flow(port))).collect();
    let mut together = world.run(frames);
    together.sort_by_key(|(_, frame)| frame.l4()[..2].to_vec());
    let ways: Vec<_> = together.iter().map(|(port, _)| *port).collect();
    assert_eq!(ways, alone);
    world.bytes(together);
    world.check_laws();
}

/// The first one has ports, the others have none.
#[test]
fn fragments_of_a_packet_take_one_way() {
    let mut world = with_group();
    for ident in 0..20 {
        let ways = [(true, 0), (true, 3), (false, 6)].map(|(more, offset)| {
            let payload = [ident; 24];
            let mut header =
                etherparse::Ipv4Header::new(24, 64, etherparse::IpNumber::UDP, A1.octets(), [10, 60, 1, ident])
                    .unwrap();
            header.identification = ident.into();
            header.more_fragments = more;
            header.fragment_offset = etherparse::IpFragOffset::try_new(offset).unwrap();
            header.header_checksum = header.calc_header_checksum();
            let mut bytes = v4(VETH, A1, SHARED)[..14].to_vec();
            header.write(&mut bytes).unwrap();
            bytes.extend_from_slice(&payload);
            world.pass(VETH, &bytes)[0].0
        });
        assert_eq!(ways, [ways[0]; 3]);
    }
    world.check_laws();
}

#[test]
fn each_of_several_may_send_from_what_is_routed_to_all() {
    let mut world = with_group();
    assert_eq!(world.pass(VETH, &v4(VETH, SHARED, A2)).len(), 1);
    assert_eq!(world.pass(TUN, &v4(TUN, SHARED, A1)).len(), 1);
    // But nobody who is none of them, also where the group is gone.
    world.snapshot.groups = Arc::default();
    world.expect_drop(VETH, &v4(VETH, SHARED, A2), SOURCE);
    world.expect_drop(VETH, &v4(VETH, A1, SHARED), crate::stages::ttl::NO_ROUTE);
    world.check_laws();
}
