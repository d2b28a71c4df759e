//! Hops, errors and echo, with etherparse as the judge of what we write.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::*;
use encap::wire::{checksum, icmpv6};
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, SlicedPacket, TransportSlice};
use std::net::{Ipv4Addr, Ipv6Addr};

fn v4(dst: Ipv4Addr, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0);
    let mut bytes = Vec::new();
    builder.ipv4(A1.octets(), dst.octets(), ttl).udp(1, 2).write(&mut bytes, payload).unwrap();
    bytes
}

fn v6(dst: Ipv6Addr, ttl: u8) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0);
    let mut bytes = Vec::new();
    builder.ipv6(A1_V6.octets(), dst.octets(), ttl).udp(1, 2).write(&mut bytes, &[0; 9]).unwrap();
    bytes
}

/// Type of an ICMPv4 message and the packet that it quotes; all checksums are verified.
fn icmp4(bytes: &[u8], src: Ipv4Addr) -> (Icmpv4Type, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let ip = ipv4::View::new(&bytes[14..]).unwrap();
    assert!(ip.verify() && ip.src() == src && ip.dst() == A1, "{ip:?}");
    assert_eq!(checksum::of(ip.payload()), 0);
    let Some(TransportSlice::Icmpv4(icmp)) = packet.transport else { panic!("{packet:?}") };
    (icmp.icmp_type(), icmp.payload().to_vec())
}

fn icmp6(bytes: &[u8], src: Ipv6Addr) -> (Icmpv6Type, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let ip = ipv6::View::new(&bytes[14..]).unwrap();
    assert_eq!((ip.src(), ip.dst()), (src, A1_V6));
    assert!(icmpv6::View::new(ip.payload()).unwrap().verify(ip.src(), ip.dst()));
    let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("{packet:?}") };
    (icmp.icmp_type(), icmp.payload().to_vec())
}

#[test]
fn the_last_hop_is_told() {
    let mut world = World::default();
    for ttl in [0, 1] {
        let frame = v4(B1, ttl, &[7; 2000][..1000]);
        let sent = world.pass(VETH, &frame);
        assert_eq!(sent.len(), 1);
        let (kind, quote) = icmp4(&sent[0].1, GATEWAY);
        assert!(matches!(kind, Icmpv4Type::TimeExceeded(_)));
        // As much as 576 bytes allow, the packet unchanged.
        assert_eq!(quote, frame[14..14 + 548]);
    }
    assert_eq!(world.counters.drops(EXPIRED), 2);
    let sent = world.pass(VETH, &v6(B1_V6, 1));
    let (kind, quote) = icmp6(&sent[0].1, GATEWAY_V6);
    assert!(matches!(kind, Icmpv6Type::TimeExceeded(_)));
    assert_eq!(quote, v6(B1_V6, 1)[14..]);
    world.check_laws();
}

#[test]
fn refusals_have_their_codes() {
    use etherparse::icmpv4::DestUnreachableHeader as V4;
    use etherparse::icmpv6::DestUnreachableCode as V6;
    let mut world = World::default();
    let to = |dst: [u8; 4]| v4(dst.into(), 64, &[]);
    let cases = [
        (to([10, 100, 0, 1]), V4::Host, UNREACHABLE),
        (to([172, 16, 0, 1]), V4::Network, NO_ROUTE),
        (v4(GATEWAY, 64, &[]), V4::Port, LOCAL),
    ];
    for (frame, code, reason) in cases {
        let sent = world.pass(VETH, &frame);
        let (kind, _) = icmp4(&sent[0].1, GATEWAY);
        assert_eq!(kind, Icmpv4Type::DestinationUnreachable(code));
        assert_eq!(world.counters.drops(reason), 1);
    }
    let sent = world.pass(VETH, &v6("fd99::1".parse().unwrap(), 64));
    let (kind, _) = icmp6(&sent[0].1, GATEWAY_V6);
    assert_eq!(kind, Icmpv6Type::DestinationUnreachable(V6::NoRoute));
    // A black hole says nothing.
    world.expect_drop(VETH, &to([10, 97, 0, 1]), BLACKHOLE);
    world.check_laws();
}

#[test]
fn no_error_answers_an_error_or_a_later_fragment() {
    let mut world = World::default();
    let mut error = Vec::new();
    PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0)
        .ipv4(A1.octets(), B1.octets(), 1)
        .icmpv4(Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit))
        .write(&mut error, &[0; 28])
        .unwrap();
    world.expect_drop(VETH, &error, EXPIRED);
    let mut fragment = v4(B1, 1, &[0; 100]);
    fragment[20..22].copy_from_slice(&[0, 10]);
    fragment[24..26].fill(0);
    let sum = checksum::of(&fragment[14..34]);
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    world.expect_drop(VETH, &fragment, EXPIRED);
    assert_eq!(world.counters.generated.get(), 0);
    world.check_laws();
}

#[test]
fn errors_are_limited_for_each_port_and_flow_again() {
    let mut world = World::default();
    let frame = v4(B1, 1, &[]);
    let answers = (0..1000).filter(|_| !world.pass(VETH, &frame).is_empty()).count();
    assert_eq!(answers, 50);
    // Another pod is heard all the same.
    let mut tun = v4(B1, 1, &[]).split_off(14);
    tun[12..16].copy_from_slice(&A2.octets());
    tun[10..12].fill(0);
    let sum = checksum::of(&tun[..20]);
    tun[10..12].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(world.pass(TUN, &tun).len(), 1);
    world.now += 100_000_000;
    let answers = (0..1000).filter(|_| !world.pass(VETH, &frame).is_empty()).count();
    assert_eq!(answers, 10);
    assert_eq!(world.counters.drops(EXPIRED), 2001);
    world.check_laws();
}

#[test]
fn the_gateway_answers_ping() {
    let mut world = World::default();
    for gateway in [GATEWAY, Ipv4Addr::new(169, 254, 1, 1)] {
        let mut ping = Vec::new();
        PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0)
            .ipv4(A1.octets(), gateway.octets(), 1)
            .icmpv4_echo_request(7, 8)
            .write(&mut ping, b"payload")
            .unwrap();
        let sent = world.pass(VETH, &ping);
        let (kind, payload) = icmp4(&sent[0].1, gateway);
        assert!(matches!(kind, Icmpv4Type::EchoReply(echo) if (echo.id, echo.seq) == (7, 8)));
        assert_eq!(payload, b"payload");
    }
    for gateway in [GATEWAY_V6, "fe80::1".parse().unwrap()] {
        let mut ping = Vec::new();
        PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0)
            .ipv6(A1_V6.octets(), gateway.octets(), 1)
            .icmpv6_echo_request(7, 8)
            .write(&mut ping, b"payload")
            .unwrap();
        let sent = world.pass(VETH, &ping);
        let (kind, _) = icmp6(&sent[0].1, gateway);
        assert!(matches!(kind, Icmpv6Type::EchoReply(echo) if (echo.id, echo.seq) == (7, 8)));
    }
    assert_eq!(world.counters.generated.get(), 0, "an answer is its question, turned round");
    world.check_laws();
}

#[test]
fn a_corrupt_ping_is_not_answered_as_if_it_were_right() {
    let mut world = World::default();
    let mut ping = Vec::new();
    PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0)
        .ipv4(A1.octets(), GATEWAY.octets(), 1)
        .icmpv4_echo_request(7, 8)
        .write(&mut ping, b"payload")
        .unwrap();
    *ping.last_mut().unwrap() ^= 4;
    let sent = world.pass(VETH, &ping);
    assert_ne!(checksum::of(&sent[0].1[34..]), 0);
}

#[test]
fn link_local_addresses_stay_on_their_link() {
    let mut world = World::default();
    let mut frame = v6(B1_V6, 64);
    frame[22..38].copy_from_slice(&"fe80::2".parse::<Ipv6Addr>().unwrap().octets());
    // The source check would have refused it before; without it, this does.
    std::sync::Arc::make_mut(&mut world.snapshot.ports)[VETH.index()].check_source = false;
    world.expect_drop(VETH, &frame, LINK_LOCAL);
    world.check_laws();
}
