//! What waits for a MAC keeps its place among what follows, and goes by the tables of the day.

use crate::frame::Frame;
use crate::snapshot::{Hop, NextHop, PortId, TunnelId};
use crate::stages::ttl;
use crate::tables::neighbours::Neighbour;
use crate::testing::{A1, A1_MAC, A2, B_MAC, B_VTEP, B1, NODE_B, TUN, UPLINK, VETH, VTEP, World};
use encap::Ends;
use encap::wire::Mac;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A datagram from pod a2 to a1; the source port numbers it.
fn numbered(world: &mut World, n: u16) -> Frame {
    let mut bytes = Vec::new();
    let packet = PacketBuilder::ipv4(A2.octets(), A1.octets(), 64).udp(n, 9);
    packet.write(&mut bytes, b"in order").expect("a vector takes all");
    world.frame(TUN, &bytes)
}

/// The numbers of what is sent to pod a1.
fn numbers(sent: Vec<(PortId, Frame)>, world: &mut World) -> Vec<u16> {
    let sent = world.bytes(sent).into_iter();
    // An ARP request is shorter.
    let to_a1 = sent.filter(|(port, bytes)| *port == VETH && bytes[12..14] == [8, 0]);
    to_a1.map(|(_, bytes)| u16::from_be_bytes([bytes[34], bytes[35]])).collect()
}

#[test]
fn nothing_overtakes_what_waited() {
    let mut world = World::default();
    world.snapshot.neighbours[0].clear();
    for n in 0..3 {
        let frame = numbered(&mut world, n);
        let sent = world.run([frame]);
        assert!(numbers(sent, &mut world).is_empty());
    }
    // Another worker has heard of the station; this one has not ticked yet.
    world.snapshot.neighbours[0].learn(A1_MAC, world.now);
    let batch = [3, 4, 5].map(|n| numbered(&mut world, n));
    let sent = world.run(batch);
    assert_eq!(numbers(sent, &mut world), [0, 1, 2, 3, 4, 5]);
    let frame = numbered(&mut world, 6);
    let sent = world.run([frame]);
    assert_eq!(numbers(sent, &mut world), [6]);
    world.check_laws();
}

/// A TTL that nothing else has.
const TTL: u8 = 33;
/// Bytes of outer Ethernet, IPv4, UDP, VXLAN and inner Ethernet.
const OUTER: usize = 14 + 20 + 8 + 8 + 14;

/// A datagram of pod a2 to the peer's pod waits for the peer's MAC.
fn waiting_for_b() -> World {
    let mut world = World::default();
    world.snapshot.neighbours[2].clear();
    let mut bytes = Vec::new();
    let packet = PacketBuilder::ipv4(A2.octets(), B1.octets(), TTL).udp(1, 9);
    packet.write(&mut bytes, b"wait").expect("a vector takes all");
    assert!(world.pass(TUN, &bytes).is_empty());
    assert_eq!(world.counters.held.get(), 1);
    world
}

/// What is sent in the next millisecond.
fn next(world: &mut World) -> Vec<(PortId, Vec<u8>)> {
    let sent = world.wait(1_000_000);
    world.bytes(sent)
}

/// TTL of a packet that starts with its IPv4 header, and whether its checksum is right.
fn ttl_of(packet: &[u8]) -> u8 {
    let sliced = SlicedPacket::from_ip(packet).expect("an IP packet");
    let Some(NetSlice::Ipv4(ip)) = sliced.net else { panic!("an IPv4 packet") };
    assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
    ip.header().ttl()
}

#[test]
fn what_waits_for_a_peer_that_moves_goes_by_its_new_way() {
    let mut world = waiting_for_b();
    // From another address of ours, by another next hop.
    let (local, gateway) = (Ipv4Addr::new(192, 168, 77, 11), Ipv4Addr::new(192, 168, 77, 254));
    let mac = Mac([2, 0, 0, 0, 0, 0xfe]);
    let next_hop = Neighbour::new(UPLINK, gateway.into());
    next_hop.set_permanent(mac);
    Arc::make_mut(&mut world.snapshot.neighbours).insert(3, Arc::new(next_hop));
    let mut peer = world.snapshot.peers[0].clone();
    let ends = Ends {
        local: local.into(),
        remote: NODE_B.into(),
        local_mac: VTEP,
        remote_mac: B_VTEP,
    };
    peer.local = local.into();
    peer.encap = Some((TunnelId(0), world.snapshot.tunnels[0].tunnel.encap(&ends)));
    peer.neighbour = 3;
    Arc::make_mut(&mut world.snapshot.peers).insert(0, peer);
    world.snapshot.generation += 1;
    let sent = next(&mut world);
    let [(UPLINK, frame)] = sent.as_slice() else { panic!("one frame by the uplink: {sent:?}") };
    assert_eq!(frame[..6], mac.0);
    assert_eq!(frame[26..30], local.octets());
    assert_eq!(ttl_of(&frame[OUTER..]), TTL - 1);
    world.check_laws();
}

#[test]
fn what_waits_gets_its_headers_by_the_tables_of_the_day() {
    let mut world = waiting_for_b();
    let mut peer = world.snapshot.peers[0].clone();
    let local = Ipv4Addr::new(192, 168, 77, 11);
    let ends = Ends {
        local: local.into(),
        remote: NODE_B.into(),
        local_mac: VTEP,
        remote_mac: B_VTEP,
    };
    peer.encap = Some((TunnelId(0), world.snapshot.tunnels[0].tunnel.encap(&ends)));
    Arc::make_mut(&mut world.snapshot.peers).insert(0, peer);
    world.snapshot.generation += 1;
    assert!(next(&mut world).is_empty(), "the same next hop: it waits on");
    world.snapshot.neighbours[2].set_permanent(B_MAC);
    let sent = next(&mut world);
    let [(UPLINK, frame)] = sent.as_slice() else { panic!("one frame by the uplink: {sent:?}") };
    assert_eq!((&frame[..6], &frame[26..30]), (&B_MAC.0[..], &local.octets()[..]));
    assert_eq!(ttl_of(&frame[OUTER..]), TTL - 1);
    world.check_laws();
}

#[test]
fn what_waits_for_a_peer_and_is_local_now_goes_bare() {
    let mut world = waiting_for_b();
    world.route(B1.into(), None, NextHop::new(Hop::Port(TUN)));
    world.snapshot.generation += 1;
    let sent = next(&mut world);
    let [(TUN, packet)] = sent.as_slice() else { panic!("one packet by the TUN: {sent:?}") };
    assert_eq!((packet.len(), ttl_of(packet)), (32, TTL - 1));
    world.check_laws();
}

#[test]
fn what_waits_and_has_no_route_any_more_is_refused() {
    let mut world = waiting_for_b();
    world.route(B1.into(), None, NextHop::new(Hop::Unreachable));
    world.snapshot.generation += 1;
    let sent = next(&mut world);
    assert_eq!(world.counters.drops(ttl::UNREACHABLE), 1);
    let [(TUN, packet)] = sent.as_slice() else { panic!("an ICMP error: {sent:?}") };
    // Type, code, and the packet as it is now.
    assert_eq!(packet[20..22], [3, 1]);
    assert_eq!(packet[28..][..20][8], TTL - 1);
    world.check_laws();
}

#[test]
fn what_waits_does_not_wait_longer_for_a_change_that_is_not_its_own() {
    let mut world = waiting_for_b();
    for _ in 0..5 {
        world.route(A1.into(), None, NextHop::new(Hop::Blackhole));
        world.snapshot.generation += 1;
        let sent = world.wait(700_000_000);
        world.bytes(sent);
    }
    assert_eq!(world.counters.drops(super::UNRESOLVED), 1);
    world.check_laws();
}
