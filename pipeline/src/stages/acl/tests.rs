//! What frames alone cannot tell from outside: two ways to read a packet, and what is judged for a whole run. All else is in
//! tests/scenarios, by real bytes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::stages::parse::{Parse, has_ports};
use crate::tables::acl::{Rule, Service, What};
use crate::tables::flows::{Key, State};
use crate::testing::*;
use encap::wire::{ethernet, protocol};
use encap::wire::tcp::flag::{ACK, FIN, PSH, RST, SYN};
use etherparse::PacketBuilder;
use proptest::prelude::*;
use std::net::Ipv4Addr;

/// A segment from this port to the other, with a header as it should be.
fn segment(from: u16, to: u16, flags: u8) -> Vec<u8> {
    between(A2, B1, from, to, flags)
}

fn between(src: Ipv4Addr, dst: Ipv4Addr, from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4(src.octets(), dst.octets(), 64)
        .tcp(from, to, 1, 1000)
        .write(&mut bytes, b"hello")
        .unwrap();
    bytes[33] = flags;
    bytes
}

/// The same in a frame of the pod that has a link.
fn framed(packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ethernet::LEN];
    let header = ethernet::Header { dst: MACS[VETH.index()], src: A1_MAC, ethertype: ethernet::ethertype::IPV4 };
    header.emit(&mut bytes);
    bytes.extend_from_slice(packet);
    bytes
}

fn any_flags() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK])
}

/// IP packets of all kinds, most of them with something behind the header.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![Just(6u8), Just(17), Just(132), Just(1), Just(58), Just(47)];
    let fragment = prop_oneof![4 => Just(0u16), 1 => Just(0x2000), 1 => Just(0x2003), 1 => any::<u16>()];
    let payload = prop::collection::vec(prop_oneof![Just(0u8), Just(ACK), any::<u8>()], 0..48);
    let ends = prop_oneof![Just([1u8, 2]), Just([2, 1]), Just([1, 1])];
    (any::<bool>(), number, fragment, payload, ends).prop_map(|(v4, number, fragment, payload, [a, b])| {
        let mut bytes = vec![0; if v4 { 20 } else { 40 }];
        if v4 {
            bytes[..10].copy_from_slice(&[0x45, 0, 0, 20 + payload.len() as u8, 0, 7, 0, 0, 64, number]);
            bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
            (bytes[12], bytes[15], bytes[16], bytes[19]) = (10, a, 10, b);
            let sum = encap::wire::checksum::of(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            let is_fragment = fragment & 0x2000 != 0;
            let front: &[u8] = if is_fragment { &[number, 0, 0, fragment as u8 & 0xf9, 0, 0, 0, 7] } else { &[] };
            let next = if is_fragment { 44 } else { number };
            let len = (front.len() + payload.len()) as u8;
            bytes[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, len, next, 64]);
            (bytes[8], bytes[23], bytes[24], bytes[39]) = (0xfd, a, 0xfd, b);
            bytes.extend_from_slice(front);
        }
        bytes.extend(payload);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The short way and the long way to read a packet come to the same.
    #[test]
    fn usual_packets_are_read_alike(packets in prop::collection::vec(any_packet(), 64)) {
        let mut world = World::default();
        let mut batch = Batch::new();
        packets.iter().for_each(|bytes| batch.push(world.frame(TUN, bytes)));
        let World { snapshot, pool, counters, now, .. } = &mut world;
        let (mut reinject, mut queues) = (Default::default(), Default::default());
        let (reinject, queues) = (&mut reinject, &mut queues);
        let mut cx = Cx { snapshot, pool, counters, reinject, queues, now: *now };
        Parse.process(&mut batch, &mut cx);
        for i in batch.live() {
            let known = |packet: Packet| (packet.case, packet.flow());
            let short = Usual::of(&batch[i]);
            prop_assert!(short.is_none_or(|usual| usual.flow() == usual.packet().flow()));
            let short = short.map(|usual| known(usual.packet()));
            let long = Packet::unusual(&batch[i]).ok().filter(|packet| {
                let is_whole = matches!(packet.kind, Kind::Flow { .. }) && !batch[i].meta.packet.is_fragment();
                is_whole && has_ports(packet.case.tuple.protocol)
            });
            prop_assert_eq!(short, long.map(known));
        }
        batch.drain().for_each(|frame| frame.free(&mut world.pool));
    }
}

/// What became of packets between the two pods, and what is remembered of them.
fn course(packets: &[(bool, u16, u16, u8)], at_once: bool) -> impl PartialEq + std::fmt::Debug {
    let mut world = World::default();
    let mut rules = allow();
    rules[0].services = vec![Service { protocol: protocol::TCP, what: What::Ports(80..=81) }];
    world.guard(rules);
    let all: Vec<_> = packets.iter().map(|&(calls, from, to, flags)| match calls {
        true => (TUN, between(A2, A1, from, to, flags)),
        false => (VETH, framed(&between(A1, A2, to, from, flags))),
    }).collect();
    let mut sent: Vec<_> = match at_once {
        true => {
            let frames: Vec<_> = all.iter().map(|(port, bytes)| world.frame(*port, bytes)).collect();
            let sent = world.run(frames);
            world.bytes(sent)
        }
        false => all.iter().flat_map(|(port, bytes)| world.pass(*port, bytes)).collect(),
    };
    sent.sort_unstable_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
    let Snapshot { flows, guard, .. } = &world.snapshot;
    let hits: Vec<_> = guard.acl().rules().iter().map(|rule| rule.stats.hits()).collect();
    let mut known: Vec<_> = flows.iter(&Default::default(), world.now).map(|flow| format!("{flow:?}")).collect();
    known.sort_unstable();
    world.check_laws();
    (format!("{sent:?}"), known, flows.counters(), hits)
}

proptest! {
    /// Connections, in a batch whose packets are mixed, go as if each packet came alone.
    #[test]
    fn a_batch_goes_as_its_packets_would_alone(
        packets in prop::collection::vec((any::<bool>(), 4000..4003_u16, 80..83_u16, any_flags()), 1..64)
    ) {
        prop_assert_eq!(course(&packets, true), course(&packets, false));
    }
}

fn allow() -> Vec<Rule> {
    vec![Rule { verb: Verb::Allow, from: Vec::new(), to: Vec::new(), services: Vec::new() }]
}

/// The state of the connection from port 4000 to port 80, as people read it.
fn state(world: &World) -> State {
    let (key, _) = Key::new(A2.into(), B1.into(), protocol::TCP, 4000, 80);
    world.snapshot.flows.peek(&key, &Default::default(), world.now).unwrap().state
}

/// Frames of one flow that lie together in a batch are judged together, except those that mean something.
#[test]
fn a_run_goes_as_its_frames_would_alone() {
    let courses: [(&[u8], State); 4] = [
        (&[SYN, SYN, ACK, ACK], State::SynSent),
        (&[ACK, ACK, ACK, FIN | ACK], State::FinWait),
        (&[ACK, PSH | ACK, ACK, RST | ACK, RST | ACK], State::Aborted),
        (&[ACK, FIN | ACK, ACK, ACK], State::FinWait),
    ];
    for (course, end) in courses {
        for at_once in [true, false] {
            let mut world = World::default();
            world.guard(allow());
            if course[0] == ACK {
                world.pass(TUN, &segment(4000, 80, SYN));
                let answer = Key::new(B1.into(), A2.into(), protocol::TCP, 80, 4000);
                let flows = &world.snapshot.flows;
                let timeouts = Default::default();
                flows.pass(&flows.sighting(answer, Flags(SYN | ACK)), &timeouts, world.now).unwrap();
                flows.pass(&flows.sighting(answer, Flags(ACK)), &timeouts, world.now).unwrap();
            }
            let packets: Vec<_> = course.iter().map(|&flags| segment(4000, 80, flags)).collect();
            let sent = match at_once {
                true => {
                    let frames: Vec<_> = packets.iter().map(|bytes| world.frame(TUN, bytes)).collect();
                    let sent = world.run(frames);
                    world.bytes(sent)
                }
                false => packets.iter().flat_map(|bytes| world.pass(TUN, bytes)).collect(),
            };
            assert_eq!((sent.len(), state(&world)), (course.len(), end), "{course:?} {at_once}");
            world.check_laws();
        }
    }
}

/// Nobody passes for the sake of who came right before him.
#[test]
fn a_run_ends_with_its_flow() {
    let mut world = World::default();
    let mut rules = allow();
    rules[0].services = vec![Service { protocol: protocol::TCP, what: What::Ports(80..=80) }];
    world.guard(rules);
    let other = |to| segment(4000, to, ACK);
    let packets = [other(80), other(80), other(81), other(81), other(80), segment(4001, 81, ACK), other(80)];
    let frames: Vec<_> = packets.iter().map(|bytes| world.frame(TUN, bytes)).collect();
    let sent = world.run(frames);
    assert_eq!(sent.len(), 4);
    world.bytes(sent);
    assert_eq!(world.counters.drops(EGRESS), 3);
    world.check_laws();
}
