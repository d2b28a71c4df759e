//! ARP and ND: what is answered, what is learned, what is asked.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::snapshot::{Hop, NextHop};
use crate::stages::neighbour;
use crate::tables::neighbours::{NeighbourState, PROBE, REACHABLE, RETRANSMIT};
use crate::testing::*;
use encap::wire::{arp, ipv6, ndp};
use etherparse::PacketBuilder;
use std::net::{Ipv4Addr, Ipv6Addr};

const SECOND: u64 = 1_000_000_000;

/// A world whose pod a1 has not been heard of.
fn world() -> World {
    let mut world = World::default();
    world.snapshot.neighbours.iter().take(2).for_each(|station| station.clear());
    world.now = SECOND;
    world
}

fn arp_frame(operation: u16, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0; 14 + arp::LEN];
    ethernet::Header { dst: Mac::BROADCAST, src: A1_MAC, ethertype: 0x0806 }.emit(&mut bytes);
    let sender_mac = A1_MAC;
    arp::Header { operation, sender_mac, sender_ip, target_mac: Mac::ZERO, target_ip }
        .emit(&mut bytes[14..]);
    bytes
}

fn nd_frame(message: ndp::Message, src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) -> Vec<u8> {
    let mut bytes = vec![0; 14 + 40 + message.len()];
    let mac = if dst.is_multicast() { ndp::multicast_mac(dst) } else { MACS[1] };
    ethernet::Header { dst: mac, src: A1_MAC, ethertype: 0x86dd }.emit(&mut bytes);
    ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: message.len() as u16,
        next_header: 58,
        hop_limit,
        src,
        dst,
    }
    .emit(&mut bytes[14..]);
    message.emit(&mut bytes[54..], src, dst);
    bytes
}

fn solicitation(target: Ipv6Addr, src: Ipv6Addr) -> Vec<u8> {
    let message = ndp::Message::NeighborSolicitation { target, mac: Some(A1_MAC) };
    nd_frame(message, src, ndp::solicited_node(target), 255)
}

/// Reads the one advertisement that was sent, checking what every one must have.
fn advertisement(sent: &[(PortId, Vec<u8>)]) -> (ndp::Message, Ipv6Addr, Mac) {
    let [(VETH, bytes)] = sent else { panic!("{sent:?}") };
    let ethernet = ethernet::View::new(bytes).unwrap();
    let ip = ipv6::View::new(ethernet.payload()).unwrap();
    assert_eq!(ip.hop_limit(), 255);
    assert!(icmpv6::View::new(ip.payload()).unwrap().verify(ip.src(), ip.dst()));
    (ndp::Message::parse(ip.payload()).unwrap(), ip.dst(), ethernet.dst())
}

#[test]
fn arp_is_answered_for_gateways_and_for_what_is_routed_elsewhere() {
    let mut world = world();
    for target in [GATEWAY, Ipv4Addr::new(169, 254, 1, 1), A2, B1] {
        let sent = world.pass(VETH, &arp_frame(arp::REQUEST, A1, target));
        let [(VETH, bytes)] = &sent[..] else { panic!("{target}: {sent:?}") };
        let reply = arp::Header::parse(&bytes[14..]).unwrap();
        assert_eq!(bytes[..12], [A1_MAC.0, MACS[1].0].concat());
        assert_eq!((reply.operation, reply.sender_mac, reply.sender_ip), (2, MACS[1], target));
        assert_eq!((reply.target_mac, reply.target_ip), (A1_MAC, A1));
    }
    let (mac, state) = world.snapshot.neighbours[0].state(world.now);
    assert_eq!((mac, state), (Some(A1_MAC), NeighbourState::Reachable), "asking tells, too");
    world.check_laws();
}

#[test]
fn arp_is_not_answered_for_others() {
    let mut world = world();
    let ask = |target| arp_frame(arp::REQUEST, A1, target);
    world.expect_drop(VETH, &ask(Ipv4Addr::new(172, 16, 0, 1)), NOT_PROXIED);
    world.expect_drop(VETH, &ask(A1), NOTED);
    // Behind the same port.
    world.route(Ipv4Addr::new(10, 50, 0, 0).into(), Some(16), NextHop::new(Hop::Neighbour(0)));
    world.expect_drop(VETH, &ask(Ipv4Addr::new(10, 50, 0, 1)), NOT_PROXIED);
    // Another's address, claimed.
    world.expect_drop(VETH, &arp_frame(arp::REPLY, A2, A1), FOREIGN);
    world.expect_drop(VETH, &arp_frame(arp::REQUEST, B1, GATEWAY), FOREIGN);
    // Probing for its own address; probing for ours is told.
    world.expect_drop(VETH, &arp_frame(arp::REQUEST, Ipv4Addr::UNSPECIFIED, A1), NOTED);
    let probe = arp_frame(arp::REQUEST, Ipv4Addr::UNSPECIFIED, GATEWAY);
    assert_eq!(world.pass(VETH, &probe).len(), 1);
    for len in 14..14 + arp::LEN {
        world.expect_drop(VETH, &ask(GATEWAY)[..len], MALFORMED);
    }
    world.check_laws();
}

#[test]
fn nd_is_answered_for_gateways_and_for_what_is_routed_elsewhere() {
    let mut world = world();
    for (target, overrides) in
        [(GATEWAY_V6, true), ("fe80::1".parse().unwrap(), true), (A2_V6, false), (B1_V6, false)]
    {
        let sent = world.pass(VETH, &solicitation(target, A1_V6));
        let (message, dst, mac) = advertisement(&sent);
        let (solicited, router, found) = (true, true, Some(MACS[1]));
        let wanted =
            ndp::Message::NeighborAdvertisement { target, mac: found, router, solicited, overrides };
        assert_eq!((message, dst, mac), (wanted, A1_V6, A1_MAC));
    }
    assert_eq!(world.snapshot.neighbours[1].state(world.now).0, Some(A1_MAC));
    // From its link-local address a pod may ask, too.
    let sent = world.pass(VETH, &solicitation(GATEWAY_V6, "fe80::abcd".parse().unwrap()));
    assert_eq!(advertisement(&sent).2, A1_MAC);
    // Whoever would take our address is told that it is taken.
    let probe = ndp::Message::NeighborSolicitation { target: GATEWAY_V6, mac: None };
    let group = ndp::solicited_node(GATEWAY_V6);
    let sent = world.pass(VETH, &nd_frame(probe, Ipv6Addr::UNSPECIFIED, group, 255));
    assert_eq!(advertisement(&sent).1, "ff02::1".parse::<Ipv6Addr>().unwrap());
    world.check_laws();
}

#[test]
fn nd_that_breaks_the_rules_is_dropped() {
    let mut world = world();
    let message = ndp::Message::NeighborSolicitation { target: GATEWAY_V6, mac: Some(A1_MAC) };
    let group = ndp::solicited_node(GATEWAY_V6);
    world.expect_drop(VETH, &nd_frame(message, A1_V6, group, 254), MALFORMED);
    let mut corrupt = solicitation(GATEWAY_V6, A1_V6);
    corrupt[60] ^= 1;
    world.expect_drop(VETH, &corrupt, MALFORMED);
    world.expect_drop(VETH, &solicitation(GATEWAY_V6, B1_V6), FOREIGN);
    world.expect_drop(VETH, &solicitation("fd99::1".parse().unwrap(), A1_V6), NOT_PROXIED);
    let dad = ndp::Message::NeighborSolicitation { target: A1_V6, mac: None };
    let own = nd_frame(dad, Ipv6Addr::UNSPECIFIED, ndp::solicited_node(A1_V6), 255);
    world.expect_drop(VETH, &own, NOTED);
    let rs = ndp::Message::RouterSolicitation { mac: None };
    let routers = "ff02::2".parse().unwrap();
    world.expect_drop(VETH, &nd_frame(rs, A1_V6, routers, 255), NOTED);
    // A fresh TUN asks for routers, too.
    world.expect_drop(TUN, &nd_frame(rs, A2_V6, routers, 255)[14..], OFF_LINK);
    world.check_laws();
}

fn to_a1(src: Ipv4Addr) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4(src.octets(), A1.octets(), 64).udp(1, 2).write(&mut bytes, &[]).unwrap();
    bytes
}

#[test]
fn a_packet_waits_while_its_station_is_asked_for() {
    let mut world = world();
    let sent = world.pass(TUN, &to_a1(A2));
    let [(VETH, request)] = &sent[..] else { panic!("{sent:?}") };
    let request = arp::Header::parse(&request[14..]).unwrap();
    assert_eq!((request.operation, request.sender_ip, request.target_ip), (1, GATEWAY, A1));
    assert_eq!((world.counters.held.get(), world.counters.generated.get()), (1, 1));
    world.check_laws();
    // Another packet does not make another request.
    assert!(world.pass(TUN, &to_a1(A2)).is_empty());
    world.expect_drop(VETH, &arp_frame(arp::REPLY, A1, GATEWAY), NOTED);
    let sent = world.wait(1_000_000);
    let sent = world.bytes(sent);
    assert_eq!(sent.len(), 2, "both go");
    assert_eq!(sent[0].1[..6], A1_MAC.0);
    assert_eq!(world.counters.held.get(), 0);
    world.check_laws();
}

#[test]
fn a_station_that_never_answers_is_asked_thrice() {
    let mut world = world();
    let mut requests = world.pass(TUN, &to_a1(A2)).len();
    for _ in 0..400 {
        let sent = world.wait(SECOND / 100);
        requests += world.bytes(sent).len();
    }
    assert!((3..=4).contains(&requests), "{requests} requests");
    assert_eq!(world.counters.drops(neighbour::UNRESOLVED), 1);
    world.check_laws();
}

#[test]
fn waiting_is_bounded() {
    let mut world = world();
    for _ in 0..20 {
        world.pass(TUN, &to_a1(A2));
    }
    assert_eq!(world.counters.drops(neighbour::CROWDED), 4);
    world.check_laws();
    let World { pipeline, snapshot, pool, counters, now, .. } = &mut world;
    pipeline.close(&mut crate::Turn { snapshot, pool, counters, now: *now });
    counters.held.set(0);
    assert_eq!(world.counters.drops(neighbour::CLOSED), 16);
    world.check_laws();
}

#[test]
fn a_change_of_tables_matters_only_to_what_waits_for_what_changed() {
    let mut world = world();
    world.pass(TUN, &to_a1(A2));
    world.snapshot.generation += 1;
    world.route(B1.into(), Some(16), NextHop::new(Hop::Blackhole));
    assert!(world.wait(1_000_000).is_empty());
    assert_eq!(world.counters.held.get(), 1);
    // Another entry in the same slot: the frame is routed anew, to that one.
    let other = crate::tables::neighbours::Neighbour::new(VETH, A1.into());
    other.learn(A1_MAC, world.now);
    std::sync::Arc::make_mut(&mut world.snapshot.neighbours).insert(0, other.into());
    let sent = world.wait(1_000_000);
    let sent = world.bytes(sent);
    assert_eq!((sent.len(), &sent[0].1[..6]), (1, &A1_MAC.0[..]));
    world.check_laws();
}

#[test]
fn stations_age_and_are_probed_before_they_are_forgotten() {
    let mut world = world();
    world.snapshot.neighbours[0].learn(A1_MAC, world.now);
    assert_eq!(world.pass(TUN, &to_a1(A2)).len(), 1);
    world.now += REACHABLE;
    // Silent for long: used, and asked in person.
    let sent = world.pass(TUN, &to_a1(A2));
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent.iter().all(|(_, bytes)| bytes[..6] == A1_MAC.0));
    assert_eq!(world.snapshot.neighbours[0].state(world.now).1, NeighbourState::Stale);
    for _ in 0..2 {
        world.now += RETRANSMIT;
        assert_eq!(world.pass(TUN, &to_a1(A2)).len(), 2);
    }
    world.now += PROBE - 2 * RETRANSMIT;
    world.pass(TUN, &to_a1(A2));
    world.now += SECOND / 2;
    world.pass(TUN, &to_a1(A2));
    assert_eq!(world.snapshot.neighbours[0].state(world.now).1, NeighbourState::Incomplete);
    // Back again.
    world.expect_drop(VETH, &arp_frame(arp::REPLY, A1, GATEWAY), NOTED);
    assert_eq!(world.snapshot.neighbours[0].state(world.now).1, NeighbourState::Reachable);
}

#[test]
fn a_station_is_probed_for_three_seconds_whatever_the_traffic() {
    // Rarer than probes are sent, and much more often; and after a long silence.
    for (pause, silence) in [(SECOND * 11 / 10, 0), (SECOND / 100, 0), (SECOND / 2, 300 * SECOND)] {
        let mut world = world();
        world.snapshot.neighbours[0].learn(A1_MAC, world.now);
        world.now += REACHABLE + silence;
        let first = world.now;
        while world.snapshot.neighbours[0].state(world.now).1 == NeighbourState::Stale {
            assert!(world.now < first + PROBE + pause, "it is forgotten");
            world.pass(TUN, &to_a1(A2));
            world.now += pause;
        }
        assert!(world.now >= first + PROBE, "{} ns", world.now - first);
        assert_eq!(world.counters.generated.get(), 4, "three probes, then a question to all");
    }
}

#[test]
fn v6_stations_are_solicited() {
    let mut world = world();
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv6(A2_V6.octets(), A1_V6.octets(), 64).udp(1, 2);
    builder.write(&mut packet, &[]).unwrap();
    let sent = world.pass(TUN, &packet);
    let (message, dst, mac) = advertisement(&sent);
    assert_eq!(message, ndp::Message::NeighborSolicitation { target: A1_V6, mac: Some(MACS[1]) });
    assert_eq!(dst, ndp::solicited_node(A1_V6));
    assert_eq!(mac, ndp::multicast_mac(dst));
    let answer = ndp::Message::NeighborAdvertisement {
        target: A1_V6,
        mac: Some(A1_MAC),
        router: false,
        solicited: true,
        overrides: true,
    };
    world.expect_drop(VETH, &nd_frame(answer, A1_V6, GATEWAY_V6, 255), NOTED);
    assert_eq!(world.wait(1_000_000).len(), 1);
}

#[test]
fn a_probe_answer_without_a_mac_confirms_the_known_one() {
    let mut world = world();
    let answer = |mac| ndp::Message::NeighborAdvertisement {
        target: A1_V6,
        mac,
        router: false,
        solicited: true,
        overrides: false,
    };
    world.expect_drop(VETH, &nd_frame(answer(None), A1_V6, GATEWAY_V6, 255), MALFORMED);
    world.snapshot.neighbours[1].learn(A1_MAC, 1);
    world.now += 40 * SECOND;
    world.expect_drop(VETH, &nd_frame(answer(None), A1_V6, GATEWAY_V6, 255), NOTED);
    assert_eq!(world.snapshot.neighbours[1].state(world.now).1, NeighbourState::Reachable);
}

#[test]
fn an_answer_has_neither_the_padding_nor_the_offloads_of_its_question() {
    let mut world = world();
    let mut question = arp_frame(arp::REQUEST, A1, GATEWAY);
    question.resize(60, 0xee);
    let mut frames = Vec::new();
    for bytes in [question, solicitation(GATEWAY_V6, A1_V6)] {
        let mut frame = world.frame(VETH, &bytes);
        frame.meta.partial = Partial { start: frame.offset() as u16 + 20, offset: 16 };
        frame.meta.gso = Gso { kind: crate::frame::GsoKind::Udp, size: 9 };
        frames.push(frame);
    }
    let answers = world.run(frames);
    for (_, answer) in &answers {
        assert!(!answer.meta.partial.is_pending());
        assert_eq!(answer.meta.gso, Gso::default());
    }
    let answers = world.bytes(answers);
    assert_eq!(answers[0].1.len(), 14 + arp::LEN);
    advertisement(&answers[1..]);
    world.check_laws();
}
