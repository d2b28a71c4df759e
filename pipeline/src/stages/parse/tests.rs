//! Bad frames, each counted under its own reason.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::snapshot::PortId;
use crate::testing::*;
use etherparse::PacketBuilder;
use proptest::prelude::*;

fn udp4() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0)
        .ipv4(A1.octets(), B1.octets(), 64)
        .udp(4000, 5000)
        .write(&mut bytes, b"hello")
        .unwrap();
    bytes
}

fn udp6() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0)
        .ipv6(A1_V6.octets(), B1_V6.octets(), 64)
        .udp(4000, 5000)
        .write(&mut bytes, b"hello")
        .unwrap();
    bytes
}

fn fix_sum(bytes: &mut [u8]) {
    bytes[24..26].fill(0);
    let sum = encap::wire::checksum::of(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn good_frames_pass_and_padding_goes() {
    for frame in [udp4(), udp6()] {
        let mut world = World::default();
        let mut padded = frame.clone();
        padded.extend([0xee; 20]);
        let (plain, padded) = (world.pass(VETH, &frame), world.pass(VETH, &padded));
        assert_eq!(plain.len(), 1);
        assert_eq!(plain, padded);
        world.check_laws();
    }
}

#[test]
fn every_truncation_is_a_counted_drop() {
    for frame in [udp4(), udp6()] {
        for len in 0..frame.len() {
            let mut world = World::default();
            let sent = world.pass(VETH, &frame[..len]);
            assert!(sent.is_empty(), "sent a frame of {len} bytes");
            let (short, wrong) = (world.counters.drops(TRUNCATED), world.counters.drops(LENGTH));
            assert_eq!(short + wrong, 1, "{len} bytes");
            world.check_laws();
        }
    }
}

#[test]
fn lies_are_named() {
    let mut world = World::default();
    let with = |edit: fn(&mut Vec<u8>)| {
        let mut frame = udp4();
        edit(&mut frame);
        frame
    };
    type Edit = fn(&mut Vec<u8>);
    let cases: &[(Edit, Reason)] = &[
        (|f| f[0] = 4, NOT_OURS),
        (|f| f[12..14].copy_from_slice(&[0x81, 0]), VLAN),
        (|f| f[12..14].copy_from_slice(&[0x88, 0xa8]), VLAN),
        (|f| f[12..14].copy_from_slice(&[0x88, 0xcc]), ETHERTYPE),
        (|f| f[14] = 0x55, VERSION),
        (|f| f[14] = 0x44, LENGTH),
        (|f| f[16] = 9, LENGTH),
        (|f| f[17] = 19, LENGTH),
        (|f| f[24] ^= 1, CHECKSUM),
        (|f| f[22] = 63, CHECKSUM),
    ];
    for (edit, reason) in cases {
        world.expect_drop(VETH, &with(*edit), *reason);
    }
    world.check_laws();
}

#[test]
fn source_routes_are_refused_and_other_options_pass() {
    let mut world = World::default();
    let with_option = |option: [u8; 4]| {
        let mut frame = udp4();
        frame.splice(34..34, option);
        frame[14] = 0x46;
        frame[17] += 4;
        frame[24..26].fill(0);
        let sum = encap::wire::checksum::of(&frame[14..38]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    world.expect_drop(VETH, &with_option([131, 3, 4, 0]), SOURCE_ROUTE);
    world.expect_drop(VETH, &with_option([137, 3, 4, 0]), SOURCE_ROUTE);
    world.expect_drop(VETH, &with_option([7, 200, 4, 0]), SOURCE_ROUTE);
    // Router alert.
    assert_eq!(world.pass(VETH, &with_option([148, 4, 0, 0])).len(), 1);
    world.check_laws();
}

#[test]
fn extension_headers_are_bounded() {
    let mut world = World::default();
    let mut frame = udp6();
    let n = encap::wire::ipv6::MAX_EXTENSION_HEADERS + 1;
    for _ in 0..n {
        let next = std::mem::replace(&mut frame[20], 60);
        frame.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
    }
    let len = (frame.len() - 54) as u16;
    frame[18..20].copy_from_slice(&len.to_be_bytes());
    world.expect_drop(VETH, &frame, EXTENSION_HEADERS);
    world.check_laws();
}

#[test]
fn fragments_of_a_packet_are_one_flow() {
    let mut world = World::default();
    let sports: std::collections::HashSet<_> = (0..20u8)
        .map(|offset| {
            let mut frame = udp4();
            frame[20..22].copy_from_slice(&[0x20, offset]);
            frame[34] = offset;
            fix_sum(&mut frame);
            let sent = world.pass(VETH, &frame);
            sent[0].1[34..36].to_vec()
        })
        .collect();
    assert_eq!(sports.len(), 1, "one outer source port for all fragments");
}

/// The first fragment knows the ports, and what stands in front of them; the others don't.
#[test]
fn so_are_those_of_ipv6() {
    let mut world = World::default();
    let mut hash_of = |fragment: Option<(u16, u8)>, behind: &[u8]| {
        let mut frame = udp6();
        frame.truncate(54);
        if let Some((word, next)) = fragment {
            frame[20] = protocol::FRAGMENT;
            frame.extend([next, 0]);
            frame.extend(word.to_be_bytes());
            frame.extend([0, 0, 0, 7]);
        }
        frame.extend(behind);
        let len = (frame.len() - 54) as u16;
        frame[18..20].copy_from_slice(&len.to_be_bytes());
        let sent = world.pass(VETH, &frame);
        sent[0].1[34..36].to_vec()
    };
    let udp: &[u8] = &[0x0f, 0xa0, 0x13, 0x88, 0, 16, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let other: &[u8] = &[0x0f, 0xa1, 0x13, 0x88, 0, 16, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_ne!(hash_of(None, udp), hash_of(None, other), "whole ones go by their ports");
    for (next, options) in [(protocol::UDP, vec![]), (60, vec![protocol::UDP, 0, 1, 4, 0, 0, 0, 0])]
    {
        let first = hash_of(Some((1, next)), &[&options, udp].concat());
        assert_eq!(first, hash_of(Some((1, next)), &[&options, other].concat()));
        for word in [16 | 1, 32, 0xfff8] {
            assert_eq!(first, hash_of(Some((word, next)), other), "at {word}");
        }
    }
}

proptest! {
    #[test]
    fn noise_never_panics_and_is_always_accounted_for(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        port in 0..3u16,
        kind in 0..6usize,
    ) {
        let mut world = World::default();
        let mut frame = bytes;
        // Give noise a chance to get past the first checks.
        let heads: [&[u8]; 6] = [&[], &MACS[1].0, &udp4()[..14], &udp4()[..34], &udp6()[..14], &udp6()[..40]];
        frame.splice(0..0, heads[kind].iter().copied());
        world.pass(PortId(port), &frame);
        world.check_laws();
    }

    #[test]
    fn bit_flips_never_panic(at in 0..700usize, second in 0..700usize, v6 in any::<bool>()) {
        let mut world = World::default();
        let mut frame = if v6 { udp6() } else { udp4() };
        for at in [at, second] {
            let at = at % (frame.len() * 8);
            frame[at / 8] ^= 1 << (at % 8);
        }
        world.pass(VETH, &frame);
        world.check_laws();
    }
}
