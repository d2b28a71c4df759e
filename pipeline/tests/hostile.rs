//! Packets that mean harm, over every tunnel: ours coming back, tunnels in tunnels, tunnels to ourselves,
//! fragments that lie on each other. Each is counted for its reason, and nothing gets lost.
#![allow(clippy::unwrap_used)]

use encap::wire::{checksum, ethernet, ipv4, protocol};
use encap::{Configs, Encap, Ends, Family, Inner, Tunnel};
use pipeline::drops::Reason;
use pipeline::snapshot::{Hop, NextHop, TunnelInfo};
use pipeline::stages::{decap, parse, route, ttl};
use pipeline::testing::*;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// How deep tunnels are put into tunnels.
const DEEP: usize = 100;

/// A world for each tunnel there is, and that tunnel.
fn worlds() -> Vec<(World, Tunnel)> {
    let configs = Configs::samples();
    let tunnels = configs.tunnels().map(|(name, tunnel)| {
        let mut world = World::default();
        let info = TunnelInfo {
            name: name.to_owned(),
            steers: tunnel.steers(),
            key: tunnel.key(),
            mac: VTEP,
            tunnel: tunnel.clone(),
        };
        world.snapshot.tunnels = Arc::new(vec![info]);
        let encap = encap(&tunnel, true);
        let peer = &mut Arc::make_mut(&mut world.snapshot.peers)[0];
        peer.mtu = UNDERLAY_MTU - encap.overhead();
        peer.encap.as_mut().unwrap().1 = encap;
        (world, tunnel)
    });
    tunnels.collect()
}

/// The tunnel as we send by it, or as the peer does.
fn encap(tunnel: &Tunnel, ours: bool) -> Encap {
    let (a, b) = ((NODE_A.into(), VTEP), (NODE_B.into(), B_VTEP));
    let ((local, local_mac), (remote, remote_mac)) = if ours { (a, b) } else { (b, a) };
    tunnel.encap(&Ends { local, remote, local_mac, remote_mac })
}

/// A packet in its tunnel, without a checksum of the outside.
fn wrap(encap: &Encap, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; encap.overhead()];
    let inner = Inner { family: Family::V4, len: packet.len(), tos: 0, flow_hash: 7 };
    encap.push(&mut bytes, &inner);
    if let Some((_, field)) = encap.checksum_offset() {
        bytes[field..field + 2].fill(0);
    }
    bytes.extend(packet);
    bytes
}

/// On the underlay's wire, to us.
fn on_the_wire(packet: &[u8]) -> Vec<u8> {
    let mut frame = [MACS[0].0, B_MAC.0].concat();
    frame.extend(Family::V4.ethertype().to_be_bytes());
    frame.extend(packet);
    frame
}

/// A packet of a protocol that nobody looks into, with this fragment word.
fn packet(src: Ipv4Addr, dst: Ipv4Addr, word: u16, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x5a; ipv4::LEN + len];
    ipv4::Header {
        tos: 0,
        total_len: bytes.len() as u16,
        ident: 7,
        dont_fragment: false,
        more_fragments: word & ipv4::MF != 0,
        fragment_offset: (word & 0x1fff) * 8,
        ttl: 64,
        protocol: protocol::TCP,
        src,
        dst,
    }
    .emit(&mut bytes);
    bytes
}

#[test]
fn what_we_sent_does_not_come_in_again() {
    for (mut world, _) in worlds() {
        let sent = world.pass(TUN, &packet(A2, B1, 0, 100));
        let [(UPLINK, frame)] = &sent[..] else { panic!("{sent:?}") };
        // By a switch that gives it back, and by somebody who has turned it to us.
        let mut ours = on_the_wire(&frame[ethernet::LEN..]);
        world.expect_drop(UPLINK, &ours, decap::UNKNOWN_PEER);
        let ip = &mut ours[ethernet::LEN..ethernet::LEN + ipv4::LEN];
        ip[ipv4::field::DST].copy_from_slice(&NODE_A.octets());
        ip[ipv4::field::CHECKSUM].fill(0);
        let sum = checksum::of(ip);
        ip[ipv4::field::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        world.expect_drop(UPLINK, &ours, decap::UNKNOWN_PEER);
        world.check_laws();
    }
}

#[test]
fn of_tunnels_in_tunnels_one_is_taken_off() {
    for (mut world, tunnel) in worlds() {
        let theirs = encap(&tunnel, false);
        let mut nested = packet(B1, A2, 0, 100);
        let once = on_the_wire(&wrap(&theirs, &nested));
        assert_eq!(world.pass(UPLINK, &once).len(), 1, "{:?}", tunnel.kind());
        for _ in 0..DEEP {
            nested = wrap(&theirs, &nested);
        }
        // What is inside is from the peer's node, behind which no such address is; where that is no
        // matter, it is to ours, which is no pod.
        let frame = on_the_wire(&nested);
        world.expect_drop(UPLINK, &frame, route::PEER_SOURCE);
        Arc::make_mut(&mut world.snapshot.peers)[0].check_source = false;
        world.expect_drop(UPLINK, &frame, ttl::NO_ROUTE);
        // Wherever it is cut, it is one packet that is dropped.
        for len in (ethernet::LEN..frame.len()).step_by(17) {
            let before = world.counters.dropped_in_all();
            world.pass(UPLINK, &frame[..len]);
            assert_eq!(world.counters.dropped_in_all(), before + 1);
        }
        world.check_laws();
    }
}

#[test]
fn a_way_to_the_peer_by_the_peer_itself_is_a_way_all_the_same() {
    for (mut world, tunnel) in worlds() {
        world.route(NODE_B.into(), None, NextHop::new(Hop::Peer(0)));
        world.route(NODE_A.into(), None, NextHop::new(Hop::Peer(0)));
        let overhead = encap(&tunnel, true).overhead();
        for to in [NODE_A, NODE_B] {
            let packet = packet(A2, to, 0, 100);
            let sent = world.pass(TUN, &packet);
            let [(UPLINK, frame)] = &sent[..] else { panic!("{sent:?}") };
            assert_eq!(frame.len(), ethernet::LEN + overhead + packet.len(), "one tunnel");
        }
        // And from there it does not go back into the tunnel that it came by for ever.
        let mut nested = packet(B1, NODE_B, 0, 100);
        nested = wrap(&encap(&tunnel, false), &nested);
        let sent = world.pass(UPLINK, &on_the_wire(&nested));
        assert!(sent.len() <= 1, "{sent:?}");
        world.check_laws();
    }
}

#[test]
fn fragments_that_are_tiny_or_lie_on_each_other() {
    let words = [ipv4::MF, ipv4::MF | 1, 1, 2, 0x1fff, ipv4::MF | 0x1fff];
    for (mut world, tunnel) in worlds() {
        let theirs = encap(&tunnel, false);
        for word in words {
            for len in [0, 1, 8, 16, 24] {
                // Of the underlay: not one is looked into.
                let mut outer = wrap(&theirs, &packet(B1, A2, 0, len));
                outer[ipv4::field::FRAGMENT].copy_from_slice(&word.to_be_bytes());
                outer[ipv4::field::CHECKSUM].fill(0);
                let sum = checksum::of(&outer[..ipv4::LEN]);
                outer[ipv4::field::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
                world.expect_drop(UPLINK, &on_the_wire(&outer), decap::FRAGMENT);
                // Of pods: for whom they are to put together, as they are.
                let inner = packet(B1, A2, word, len);
                let sent = world.pass(UPLINK, &on_the_wire(&wrap(&theirs, &inner)));
                assert_eq!(sent.len(), 1);
                assert_eq!(sent[0].1[ipv4::LEN..], inner[ipv4::LEN..]);
            }
        }
        world.check_laws();
    }
}

/// What a tunnel's own header may claim of what is behind it.
#[test]
fn a_header_and_nothing_behind_it() {
    for (mut world, tunnel) in worlds() {
        let bare = wrap(&encap(&tunnel, false), &[]);
        let before = world.counters.dropped_in_all();
        assert!(world.pass(UPLINK, &on_the_wire(&bare)).is_empty());
        assert_eq!(world.counters.dropped_in_all(), before + 1);
        let reasons: [Reason; 3] = [decap::INNER_TYPE, decap::HEADER, parse::TRUNCATED];
        assert_eq!(reasons.iter().map(|r| world.counters.drops(*r)).sum::<u64>(), 1);
        world.check_laws();
    }
}
