//! What may come in by an uplink.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::snapshot::{Accepts, Hop, NextHop, TunnelId, TunnelInfo};
use crate::testing::*;
use etherparse::PacketBuilder;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Where things stand in a frame of [`from_peer`]: outer IP, UDP, VXLAN, inner Ethernet, inner IP.
const IP: usize = 14;
const UDP_AT: usize = IP + 20;
const VXLAN: usize = UDP_AT + 8;
const INNER: usize = VXLAN + 8;
const INNER_IP: usize = INNER + 14;

fn from_peer_with(vni: u8, src: [u8; 4], inner_src: [u8; 4]) -> Vec<u8> {
    let mut payload = vec![8, 0, 0, 0, 0, 0, vni, 0];
    PacketBuilder::ethernet2(B_VTEP.0, VTEP.0)
        .ipv4(inner_src, A1.octets(), 64)
        .udp(4000, 5000)
        .write(&mut payload, b"hello")
        .unwrap();
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(B_MAC.0, MACS[0].0)
        .ipv4(src, NODE_A.octets(), 64)
        .udp(50000, VXLAN_PORT)
        .write(&mut bytes, &payload)
        .unwrap();
    bytes
}

fn from_peer() -> Vec<u8> {
    from_peer_with(1, NODE_B.octets(), B1.octets())
}

/// Without the outer UDP checksum, so that what is behind it can be changed.
fn unchecked() -> Vec<u8> {
    let mut bytes = from_peer();
    bytes[UDP_AT + 6..UDP_AT + 8].fill(0);
    bytes
}

fn edited(edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = unchecked();
    edit(&mut bytes);
    bytes[IP + 10..IP + 12].fill(0);
    let sum = checksum::of(&bytes[IP..UDP_AT]);
    bytes[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
fn a_peers_packet_reaches_the_pod_with_one_hop_less() {
    let mut world = World::default();
    for frame in [from_peer(), unchecked()] {
        let sent = world.pass(UPLINK, &frame);
        let [(port, bytes)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(*port, VETH);
        assert_eq!(bytes[..6], A1_MAC.0);
        assert_eq!(bytes[6..12], MACS[1].0);
        assert_eq!(bytes[14 + 8], 63);
        assert_eq!(bytes[34..], frame[INNER_IP + 20..]);
    }
    world.check_laws();
}

/// A virtual wire hands over what a card would have finished: the inner checksum is the
/// pseudo-header's sum, and the outer one is that of the finished packet.
#[test]
fn an_inner_checksum_that_is_left_to_hardware_is_completed() {
    let mut world = World::default();
    Arc::make_mut(&mut world.snapshot.ports)[UPLINK.index()].partial_sums = true;
    let whole = from_peer();
    let udp = INNER_IP + 20;
    let mut partial = whole.clone();
    let pseudo = checksum::pseudo_v4(B1, A1, protocol::UDP, (whole.len() - udp) as u32);
    partial[udp + 6..udp + 8].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    for frame in [&whole, &partial] {
        let sent = world.pass(UPLINK, frame);
        assert_eq!(sent[0].1[34..], whole[udp..]);
    }
    // What else the outer checksum covers must still be right.
    for at in [UDP_AT, VXLAN + 3, INNER + 6] {
        for mut wrong in [whole.clone(), partial.clone()] {
            wrong[at] ^= 1;
            world.expect_drop(UPLINK, &wrong, OUTER_CHECKSUM);
        }
    }
    let mut corrupt = whole;
    *corrupt.last_mut().unwrap() ^= 1;
    world.expect_drop(UPLINK, &corrupt, OUTER_CHECKSUM);
    world.check_laws();
}

#[test]
fn everything_else_is_dropped_for_its_own_reason() {
    let mut world = World::default();
    let mut corrupt = from_peer();
    *corrupt.last_mut().unwrap() ^= 1;
    let cases = [
        (edited(|f| f[UDP_AT + 3] ^= 1), NO_TUNNEL),
        (edited(|f| f[IP + 9] = 47), NO_TUNNEL),
        (edited(|f| f[IP + 6] = 0x20), FRAGMENT),
        (from_peer_with(1, [192, 168, 77, 3], B1.octets()), UNKNOWN_PEER),
        (edited(|f| f[IP + 19] = 9), NOT_LOCAL),
        (edited(|f| f[UDP_AT + 5] = 0), UDP),
        (edited(|f| f[UDP_AT + 4] = 0xff), UDP),
        (corrupt, OUTER_CHECKSUM),
        (edited(|f| f[VXLAN] = 0), HEADER),
        (from_peer_with(2, NODE_B.octets(), B1.octets()), UNKNOWN_VNI),
        (edited(|f| f[INNER] ^= 2), INNER_MAC),
        (edited(|f| f[INNER + 12] = 0x88), INNER_TYPE),
        (edited(|f| f[INNER_IP] = 0x65), INNER_TYPE),
        // Congestion marked on the way, and an inner packet that does not know of it.
        (edited(|f| f[IP + 1] = 3), ECN),
    ];
    for (frame, reason) in &cases {
        world.expect_drop(UPLINK, frame, *reason);
    }
    // What was found for the packet before is not taken for this one.
    for (frame, reason) in &cases {
        let before = world.counters.drops(*reason);
        let frames = [&unchecked(), frame, &unchecked()].map(|frame| world.frame(UPLINK, frame));
        let sent = world.run(frames);
        assert_eq!(sent.len(), 2, "around one that is dropped as {}", reason.name());
        assert_eq!(world.counters.drops(*reason), before + 1);
        world.bytes(sent);
    }
    world.check_laws();
}

#[test]
fn inner_packets_are_judged_like_any_other() {
    use crate::stages::{parse, route};
    let mut world = World::default();
    let cases = [
        // A length that lies: beyond the frame, and shorter than the header.
        (edited(|f| f[INNER_IP + 3] = 200), parse::LENGTH),
        (edited(|f| f[INNER_IP + 3] = 19), parse::LENGTH),
        (edited(|f| f[INNER_IP + 8] ^= 1), parse::CHECKSUM),
        // Another node's pod, and our own, claimed by the peer.
        (from_peer_with(1, NODE_B.octets(), [10, 244, 3, 2]), route::PEER_SOURCE),
        (from_peer_with(1, NODE_B.octets(), A2.octets()), route::PEER_SOURCE),
    ];
    for (frame, reason) in cases {
        world.expect_drop(UPLINK, &frame, reason);
    }
    // By ICMP a peer speaks from its own address, too, but from no other node's.
    let icmp = |src: Ipv4Addr| {
        let mut bytes = from_peer();
        bytes.truncate(INNER_IP);
        let mut header = etherparse::Ipv4Header::new(36, 64, etherparse::IpNumber::ICMP, src.octets(), A1.octets());
        let header = header.as_mut().unwrap();
        header.header_checksum = header.calc_header_checksum();
        header.write(&mut bytes).unwrap();
        bytes.extend_from_slice(&[3, 4]);
        bytes.extend_from_slice(&[0; 34]);
        let lengths = [(IP + 2, IP), (UDP_AT + 4, UDP_AT)].map(|(at, from)| (at, bytes.len() - from));
        for (at, len) in lengths {
            bytes[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        }
        bytes[IP + 10..IP + 12].fill(0);
        let sum = checksum::of(&bytes[IP..UDP_AT]);
        bytes[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
        bytes[UDP_AT + 6..UDP_AT + 8].fill(0);
        bytes
    };
    assert_eq!(world.pass(UPLINK, &icmp(NODE_B)).len(), 1);
    world.expect_drop(UPLINK, &icmp(Ipv4Addr::new(192, 168, 77, 9)), route::PEER_SOURCE);
    let tcp = from_peer_with(1, NODE_B.octets(), NODE_B.octets());
    world.expect_drop(UPLINK, &tcp, route::PEER_SOURCE);
    world.check_laws();
}

#[test]
fn a_congestion_mark_reaches_who_understands_it() {
    let mut world = World::default();
    let mut frame = edited(|f| f[IP + 1] = 3);
    frame[INNER_IP + 1] = 2;
    frame[INNER_IP + 10..INNER_IP + 12].fill(0);
    let sum = checksum::of(&frame[INNER_IP..INNER_IP + 20]);
    frame[INNER_IP + 10..INNER_IP + 12].copy_from_slice(&sum.to_be_bytes());
    let sent = world.pass(UPLINK, &frame);
    assert_eq!(sent[0].1[15], 3);
    let ip = encap::wire::ipv4::View::new(&sent[0].1[14..]).unwrap();
    assert!(ip.verify());
}

#[test]
fn every_truncation_is_a_counted_drop() {
    let whole = unchecked();
    for len in 0..whole.len() {
        let mut world = World::default();
        assert!(world.pass(UPLINK, &whole[..len]).is_empty());
        assert_eq!(world.counters.dropped_in_all(), 1, "{len} bytes");
        world.check_laws();
        // And with outer lengths that fit what is there.
        if len >= UDP_AT {
            let mut world = World::default();
            let cut = edited(|f| {
                f.truncate(len);
                let (ip, udp) = ((len - IP) as u16, (len - UDP_AT) as u16);
                f[IP + 2..IP + 4].copy_from_slice(&ip.to_be_bytes());
                if len >= VXLAN {
                    f[UDP_AT + 4..UDP_AT + 6].copy_from_slice(&udp.to_be_bytes());
                }
            });
            assert!(world.pass(UPLINK, &cut).is_empty());
            assert_eq!(world.counters.dropped_in_all(), 1, "{len} bytes");
            world.check_laws();
        }
    }
}

#[test]
fn what_a_pod_wraps_itself_stays_its_own_payload() {
    // A pod that sends VXLAN is not a peer: its packet is routed, not taken apart.
    let mut world = World::default();
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0)
        .ipv4(A1.octets(), B1.octets(), 64)
        .udp(50000, VXLAN_PORT)
        .write(&mut bytes, &[8, 0, 0, 0, 0, 0, 1, 0])
        .unwrap();
    let sent = world.pass(VETH, &bytes);
    assert_eq!((sent[0].0, sent[0].1.len()), (UPLINK, bytes.len() + 50));
}

/// A node whose peer may send without a tunnel, and is sent to so.
fn direct() -> World {
    let mut world = World::default();
    let peer = &mut Arc::make_mut(&mut world.snapshot.peers)[0];
    (peer.encap, peer.accepts) = (None, Accepts::none(true));
    world.snapshot.direct = true;
    world
}

fn bare(src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(B_MAC.0, MACS[0].0)
        .ipv4(src, dst, 64)
        .udp(4000, VXLAN_PORT)
        .write(&mut bytes, b"hello")
        .unwrap();
    bytes
}

#[test]
fn a_peers_packet_may_come_and_go_as_it_is() {
    let mut world = direct();
    let whole = bare(B1.octets(), A1.octets());
    let mut fragment = whole.clone();
    fragment[IP + 6] = 0x20;
    fragment[IP + 10..IP + 12].fill(0);
    let sum = checksum::of(&fragment[IP..IP + 20]);
    fragment[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    for frame in [&whole, &whole, &fragment] {
        let sent = world.pass(UPLINK, frame);
        let [(VETH, bytes)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((&bytes[..6], bytes[IP + 8]), (&A1_MAC.0[..], 63));
        assert_eq!(bytes[IP + 12..], frame[IP + 12..]);
    }
    let mut reply = Vec::new();
    PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0)
        .ipv4(A1.octets(), B1.octets(), 64)
        .udp(VXLAN_PORT, 4000)
        .write(&mut reply, b"hello")
        .unwrap();
    let sent = world.pass(VETH, &reply);
    let [(UPLINK, bytes)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((&bytes[..12], bytes[IP + 8]), (&[B_MAC.0, MACS[0].0].concat()[..], 63));
    assert_eq!(bytes[IP + 12..], reply[IP + 12..]);
    world.check_laws();
}

#[test]
fn what_comes_as_it_is_must_be_a_peers_for_a_pod() {
    use crate::stages::route;
    let (b1, a1) = (B1.octets(), A1.octets());
    let mut world = direct();
    world.route([10, 77, 0, 0].into(), Some(16), NextHop::new(Hop::Peer(0)));
    let cases = [
        // From nobody, from a pod of our own.
        (bare([10, 244, 9, 9], a1), UNKNOWN_PEER),
        (bare(A2.octets(), a1), UNKNOWN_PEER),
        (bare(NODE_B.octets(), [10, 250, 0, 1]), NOT_LOCAL),
        // To nobody, to the gateway, to what is behind a peer.
        (bare(b1, [10, 250, 0, 1]), UNKNOWN_PEER),
        (bare(b1, GATEWAY.octets()), UNKNOWN_PEER),
        (bare(b1, [10, 77, 0, 1]), UNKNOWN_PEER),
    ];
    for (frame, reason) in &cases {
        world.expect_drop(UPLINK, frame, *reason);
    }
    // From the peer's node itself what it has to say about a packet.
    world.expect_drop(UPLINK, &bare(NODE_B.octets(), a1), route::PEER_SOURCE);
    let mut icmp = Vec::new();
    PacketBuilder::ethernet2(B_MAC.0, MACS[0].0)
        .ipv4(NODE_B.octets(), a1, 64)
        .icmpv4_raw(3, 4, [0, 0, 5, 120])
        .write(&mut icmp, &[0; 28])
        .unwrap();
    assert_eq!(world.pass(UPLINK, &icmp).len(), 1);
    // Of a peer that is to use a tunnel nothing passes.
    let mut world = World::default();
    world.expect_drop(UPLINK, &bare(b1, a1), UNKNOWN_PEER);
    world.snapshot.direct = true;
    world.expect_drop(UPLINK, &bare(b1, a1), UNKNOWN_PEER);
    world.check_laws();
}

#[test]
fn a_peer_may_use_the_tunnels_that_are_configured_for_it() {
    let tunnels = "[[vxlan]]\nvni = 1\nport = 8472\n[[udp]]\n[[ipip]]";
    let mut world = World::new(tunnels);
    let configs: encap::Configs = toml::from_str(tunnels).unwrap();
    let others = configs.tunnels().skip(1).map(|(name, tunnel)| TunnelInfo {
        name: name.to_owned(),
        steers: tunnel.steers(),
        key: tunnel.key(),
        mac: VTEP,
        tunnel,
    });
    Arc::make_mut(&mut world.snapshot.tunnels).extend(others);
    let inner = &from_peer()[INNER_IP..];
    let outer = |protocol| {
        let mut bytes = Vec::new();
        let ip = PacketBuilder::ethernet2(B_MAC.0, MACS[0].0).ipv4(NODE_B.octets(), NODE_A.octets(), 64);
        match protocol {
            protocol::UDP => ip.udp(50000, encap::udp::PORT).write(&mut bytes, inner).unwrap(),
            number => ip.write(&mut bytes, number.into(), inner).unwrap(),
        }
        bytes
    };
    for (tunnel, protocol) in [(TunnelId(1), protocol::IPIP), (TunnelId(2), protocol::UDP)] {
        let frame = outer(protocol);
        world.expect_drop(UPLINK, &frame, UNKNOWN_PEER);
        let peer = &mut Arc::make_mut(&mut world.snapshot.peers)[0];
        peer.accepts = peer.accepts.and(tunnel);
        assert_eq!(world.pass(UPLINK, &frame).len(), 1, "{tunnel:?}");
        assert_eq!(world.pass(UPLINK, &from_peer()).len(), 1, "and as before");
    }
    let mut other = outer(protocol::IPIP);
    other[IP + 9] = protocol::IPV6;
    other[IP + 10..IP + 12].fill(0);
    let sum = checksum::of(&other[IP..IP + 20]);
    other[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    world.expect_drop(UPLINK, &other, HEADER);
    world.check_laws();
}
