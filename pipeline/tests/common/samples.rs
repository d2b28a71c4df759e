//! Frames as pods and peers of [`pipeline::testing`] send them, every checksum right. Made with the
//! headers of `encap::wire`, which have tests of their own.

use encap::Ends;
use encap::wire::ethernet::ethertype;
use encap::wire::{
    Mac, arp, checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndp, protocol, tcp, udp,
};
use pipeline::snapshot::PortId;
use pipeline::testing::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Our underlay address towards peer `c`.
pub(crate) const NODE_A_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// Peer `c`, which the tests add to the overlay.
pub(crate) const NODE_C: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 3);
/// A pod of peer `c`.
pub(crate) const C1_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 3, 0, 0, 0, 2);
/// A pod of peer `c`.
pub(crate) const C1: Ipv4Addr = Ipv4Addr::new(10, 244, 3, 2);

/// Payload of each sample TCP segment, bytes.
pub(crate) const SEGMENT: usize = 200;

/// The ends of our tunnel to a peer.
pub(crate) fn ends(local: IpAddr, remote: IpAddr) -> Ends {
    Ends { local, remote, local_mac: VTEP, remote_mac: B_VTEP }
}

/// Sample `i` of what comes in by `port`, if there are so many.
pub(crate) fn get(port: PortId, i: u8) -> Option<Vec<u8>> {
    static ALL: LazyLock<[Vec<Vec<u8>>; 3]> = LazyLock::new(|| [uplink(), veth(), tun()]);
    ALL.get(port.index())?.get(usize::from(i)).cloned()
}

/// What pod a1 sends: IP to everywhere, ARP and ND.
fn veth() -> Vec<Vec<u8>> {
    let ip = pod(A1, A1_V6, A2, A2_V6).into_iter().map(|packet| from_a1(&packet));
    let targets = [GATEWAY, A2, B1, Ipv4Addr::new(1, 2, 3, 4)];
    ip.chain(targets.map(arp_request)).chain([arp_reply()]).chain(nd()).collect()
}

/// What pod a2 sends.
fn tun() -> Vec<Vec<u8>> {
    pod(A2, A2_V6, A1, A1_V6)
}

/// What the peers send to each pod; eight TCP segments of a flow among it.
fn uplink() -> Vec<Vec<u8>> {
    let stream = (0..8).map(|i| from_b(&tcp4(B1, A2, i * SEGMENT as u32, &[i as u8; SEGMENT])));
    let v6 = (0..8).map(|i| {
        from_c(&tcp6(C1_V6, A2_V6, i * SEGMENT as u32, tcp::flag::ACK, &[i as u8; SEGMENT]))
    });
    let to_a1 = pod(B1, B1_V6, A1, A1_V6).into_iter().map(|packet| from_b(&packet));
    let from_c = [from_c(&udp4(C1, A1, b"hello")), from_b(&udp4(C1, A1, b"not mine"))];
    stream.chain(v6).chain(to_a1).chain(from_c).collect()
}

/// One packet of each kind, from a pod to everything that there is to reach.
fn pod(src: Ipv4Addr, src6: Ipv6Addr, dst: Ipv4Addr, dst6: Ipv6Addr) -> Vec<Vec<u8>> {
    let mut all = vec![echo4(src, GATEWAY), echo6(src6, GATEWAY_V6), echo4(src, dst)];
    let odd = [[10, 96, 0, 1], [10, 97, 0, 1], [1, 2, 3, 4], [224, 0, 0, 1], [10, 98, 0, 1]];
    let odd = odd.into_iter().chain([[10, 98, 1, 1], [10, 98, 2, 1], [10, 98, 3, 1]]);
    for dst in odd.map(Ipv4Addr::from).chain([dst, B1, C1, GATEWAY]) {
        all.push(udp4(src, dst, b"hello"));
    }
    for dst in [dst6, B1_V6, C1_V6, Ipv6Addr::LOCALHOST] {
        all.push(udp6(src6, dst, b"hello"));
    }
    for payload in [&[7; 30][..], &[7; 1200], &[7; 9000]] {
        all.push(tcp4(src, B1, 1, payload));
        all.push(tcp6(src6, C1_V6, 1, tcp::flag::ACK | tcp::flag::PSH, payload));
        all.push(tcp4(src, dst, 1, payload));
        all.push(udp6(src6, dst6, payload));
        all.push(udp4(src, B1, payload));
    }
    for packet in [udp4(src, B1, &[7; 1400]), tcp4(src, dst, 1, &[7; 9000])] {
        all.push(fragmentable(packet));
    }
    all
}

/// The packet without DF.
pub(crate) fn fragmentable(mut packet: Vec<u8>) -> Vec<u8> {
    packet[6..8].fill(0);
    packet[10..12].fill(0);
    let sum = checksum::of(&packet[..ipv4::LEN]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// An Ethernet frame.
pub(crate) fn frame(dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ethernet::LEN];
    ethernet::Header { dst, src, ethertype }.emit(&mut bytes);
    bytes.extend(payload);
    bytes
}

fn of_packet(packet: &[u8]) -> u16 {
    if packet[0] >> 4 == 4 { ethertype::IPV4 } else { ethertype::IPV6 }
}

/// A packet as pod a1 sends it.
pub(crate) fn from_a1(packet: &[u8]) -> Vec<u8> {
    frame(MACS[VETH.index()], A1_MAC, of_packet(packet), packet)
}

/// A packet as peer `b` sends it, over IPv4, without an outer checksum.
pub(crate) fn from_b(packet: &[u8]) -> Vec<u8> {
    let mut outer = ip4(NODE_B, NODE_A, protocol::UDP, &vxlan(packet));
    outer[26..28].fill(0);
    frame(MACS[UPLINK.index()], B_MAC, ethertype::IPV4, &outer)
}

/// A packet as peer `c` sends it, over IPv6, with an outer checksum.
pub(crate) fn from_c(packet: &[u8]) -> Vec<u8> {
    let mut datagram = vxlan(packet);
    let pseudo = checksum::pseudo_v6(NODE_C, NODE_A_V6, protocol::UDP, datagram.len() as u32);
    complete(&mut datagram, 6, pseudo);
    let outer = ip6(NODE_C, NODE_A_V6, protocol::UDP, &datagram);
    frame(MACS[UPLINK.index()], B_MAC, ethertype::IPV6, &outer)
}

/// UDP and VXLAN (RFC 7348 §5) around a packet.
fn vxlan(packet: &[u8]) -> Vec<u8> {
    let inner = frame(VTEP, B_VTEP, of_packet(packet), packet);
    let header = [8, 0, 0, 0, 0, 0, VNI as u8, 0];
    datagram(50_000, VXLAN_PORT, &[&header, &inner[..]].concat())
}

fn datagram(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; udp::LEN];
    let length = (udp::LEN + payload.len()) as u16;
    udp::Header { src_port, dst_port, length, checksum: 0 }.emit(&mut bytes);
    bytes.extend(payload);
    bytes
}

fn complete(segment: &mut [u8], field: usize, pseudo: u32) {
    let mut sum = checksum::Sum::new(pseudo);
    sum.add(segment);
    segment[field..field + 2].copy_from_slice(&checksum::nonzero(sum.finish()).to_be_bytes());
}

pub(crate) fn ip4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ipv4::LEN];
    let header = ipv4::Header {
        tos: 0,
        total_len: (ipv4::LEN + payload.len()) as u16,
        ident: 7,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        src,
        dst,
    };
    header.emit(&mut bytes);
    bytes.extend(payload);
    bytes
}

pub(crate) fn ip6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ipv6::LEN];
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: payload.len() as u16,
        next_header,
        hop_limit: if next_header == protocol::ICMPV6 { 255 } else { 64 },
        src,
        dst,
    };
    header.emit(&mut bytes);
    bytes.extend(payload);
    bytes
}

pub(crate) fn udp4(src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = datagram(40_000, 9, payload);
    let pseudo = checksum::pseudo_v4(src, dst, protocol::UDP, bytes.len() as u32);
    complete(&mut bytes, 6, pseudo);
    ip4(src, dst, protocol::UDP, &bytes)
}

pub(crate) fn udp6(src: Ipv6Addr, dst: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = datagram(40_000, 9, payload);
    let pseudo = checksum::pseudo_v6(src, dst, protocol::UDP, bytes.len() as u32);
    complete(&mut bytes, 6, pseudo);
    ip6(src, dst, protocol::UDP, &bytes)
}

fn segment(seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; tcp::LEN];
    let (src_port, dst_port, window) = (40_000, 80, 5000);
    tcp::Header { src_port, dst_port, seq, ack: 1, flags, window, checksum: 0, urgent: 0 }
        .emit(&mut bytes);
    bytes.extend(payload);
    bytes
}

pub(crate) fn tcp4(src: Ipv4Addr, dst: Ipv4Addr, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = segment(seq, tcp::flag::ACK, payload);
    let pseudo = checksum::pseudo_v4(src, dst, protocol::TCP, bytes.len() as u32);
    complete(&mut bytes, 16, pseudo);
    ip4(src, dst, protocol::TCP, &bytes)
}

pub(crate) fn tcp6(src: Ipv6Addr, dst: Ipv6Addr, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = segment(seq, flags, payload);
    let pseudo = checksum::pseudo_v6(src, dst, protocol::TCP, bytes.len() as u32);
    complete(&mut bytes, 16, pseudo);
    ip6(src, dst, protocol::TCP, &bytes)
}

fn echo4(src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0; icmpv4::LEN + 8];
    icmpv4::Header { kind: icmpv4::ECHO_REQUEST, code: 0, rest: [0, 1, 0, 1] }.emit(&mut bytes);
    ip4(src, dst, protocol::ICMPV4, &bytes)
}

fn echo6(src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    let mut bytes = vec![0; icmpv6::LEN + 8];
    let header = icmpv6::Header { kind: icmpv6::ECHO_REQUEST, code: 0, rest: [0, 1, 0, 1] };
    header.emit(&mut bytes, src, dst);
    ip6(src, dst, protocol::ICMPV6, &bytes)
}

/// Pod a1 asks for an address.
pub(crate) fn arp_request(target_ip: Ipv4Addr) -> Vec<u8> {
    arp(arp::REQUEST, Mac::ZERO, target_ip)
}

fn arp_reply() -> Vec<u8> {
    arp(arp::REPLY, MACS[VETH.index()], GATEWAY)
}

fn arp(operation: u16, target_mac: Mac, target_ip: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0; arp::LEN];
    arp::Header { operation, sender_mac: A1_MAC, sender_ip: A1, target_mac, target_ip }
        .emit(&mut bytes);
    frame(Mac::BROADCAST, A1_MAC, ethertype::ARP, &bytes)
}

/// What pod a1 says in ND.
fn nd() -> Vec<Vec<u8>> {
    let mac = Some(A1_MAC);
    let solicit = |target| ndp::Message::NeighborSolicitation { target, mac };
    let messages = [
        (A1_V6, solicit(GATEWAY_V6)),
        (A1_V6, solicit(A2_V6)),
        (A1_V6, ndp::Message::NeighborSolicitation { target: GATEWAY_V6, mac: None }),
        (Ipv6Addr::UNSPECIFIED, ndp::Message::NeighborSolicitation { target: A1_V6, mac: None }),
        (A1_V6, ndp::Message::RouterSolicitation { mac }),
        (
            A1_V6,
            ndp::Message::NeighborAdvertisement {
                target: A1_V6,
                mac,
                router: false,
                solicited: true,
                overrides: true,
            },
        ),
    ];
    let frames = messages.map(|(src, message)| {
        let mut bytes = vec![0; message.len()];
        message.emit(&mut bytes, src, GATEWAY_V6);
        from_a1(&ip6(src, GATEWAY_V6, protocol::ICMPV6, &bytes))
    });
    frames.into()
}
