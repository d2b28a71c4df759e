//! What the tunnels' own tests share: frames made by scapy (see `testdata/generate.py` of each), in pairs
//! of an outer packet and the inner one that it carries.
#![allow(clippy::unwrap_used)]

use crate::tos::{Dscp, ECN};
use crate::tunnel::{Ends, Family, Inner, Steer, Strip};
use crate::wire::{Mac, checksum, ethernet, ipv4, ipv6, protocol, udp};
use crate::{Encap, Tunnel};
use pcap_file::pcap::PcapReader;
use std::net::IpAddr;
use std::num::NonZeroU8;

/// An outer packet, read.
pub(crate) struct Outer<'a> {
    pub(crate) by: Steer,
    pub(crate) ends: Ends,
    pub(crate) ttl: NonZeroU8,
    /// Of an IPv6 packet.
    pub(crate) label: u32,
    /// Whether the upper part of the byte is the inner packet's too.
    pub(crate) dscp: Dscp,
    /// Source port and checksum.
    pub(crate) udp: Option<(u16, u16)>,
    /// Bytes between the IP header and the tunnel's.
    pub(crate) between: &'a [u8],
    /// What the tunnel is asked about.
    pub(crate) payload: &'a [u8],
}

fn tos_of(packet: &[u8]) -> u8 {
    Family::of_packet(packet).unwrap().tos([packet[0], packet[1]])
}

fn read<'a>(packet: &'a [u8], inner: &[u8]) -> Outer<'a> {
    let (local, remote, ttl, label, protocol, header_len, l4): (IpAddr, IpAddr, _, _, _, _, _) =
        match Family::of_packet(packet).unwrap() {
            Family::V4 => {
                let ip = ipv4::View::new(packet).unwrap();
                let len = ip.header_len();
                (ip.src().into(), ip.dst().into(), ip.ttl(), 0, ip.protocol(), len, len)
            }
            Family::V6 => {
                let ip = ipv6::View::new(packet).unwrap();
                let (upper, label) = (ip.upper_layer().unwrap(), ip.flow_label());
                let (src, dst) = (ip.src().into(), ip.dst().into());
                (src, dst, ip.hop_limit(), label, upper.protocol, ipv6::LEN, upper.offset)
            }
        };
    let is_uniform = tos_of(packet) & !ECN == tos_of(inner) & !ECN;
    let datagram = (protocol == protocol::UDP).then(|| udp::View::new(&packet[l4..]).unwrap());
    let ends = Ends { local, remote, local_mac: Mac::ZERO, remote_mac: Mac::ZERO };
    Outer {
        by: datagram.map_or(Steer::Protocol(protocol), |udp| Steer::Udp(udp.dst_port())),
        ends,
        ttl: ttl.try_into().unwrap(),
        label,
        dscp: if is_uniform { Dscp::Uniform } else { Dscp::Pipe },
        udp: datagram.map(|udp| (udp.src_port(), udp.checksum())),
        between: &packet[header_len..l4],
        payload: datagram.map_or(&packet[l4..], |udp| udp.payload()),
    }
}

/// The pairs of a capture.
fn pairs(pcap: &[u8]) -> Vec<[Vec<u8>; 2]> {
    let mut pcap = PcapReader::new(pcap).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = pcap.next_packet() {
        packets.push(packet.unwrap().data.into_owned());
    }
    assert!(packets.len() >= 100, "{} packets", packets.len());
    packets.as_chunks().0.to_vec()
}

/// Of each pair: the tunnel that `read_by` finds in the outer packet pops the inner one.
pub(crate) fn check_popped(pcap: &[u8], read_by: impl Fn(&Outer<'_>) -> Tunnel) {
    for (number, [packet, inner]) in pairs(pcap).iter().enumerate() {
        let outer = read(packet, inner);
        pops(&read_by(&outer), &outer, inner, number);
    }
}

fn pops(tunnel: &Tunnel, outer: &Outer<'_>, inner: &[u8], number: usize) {
    assert!(tunnel.steers().contains(&outer.by), "pair {number}");
    let popped = tunnel.pop(outer.by, outer.payload).unwrap();
    assert_eq!(popped.key, tunnel.key(), "pair {number}");
    let link = match popped.strip {
        Strip::Ethernet => ethernet::LEN,
        Strip::Ip(family) => {
            assert_eq!(Family::of_packet(inner), Some(family), "pair {number}");
            0
        }
    };
    assert_eq!(&outer.payload[popped.header_len + link..], inner, "pair {number}: popped");
}

/// Of each pair: the tunnel that `read_by` finds in the outer packet pops the inner one, and pushing that makes
/// the very bytes. `read_by` also gives the ends, and the flow's hash.
pub(crate) fn check(pcap: &[u8], read_by: impl Fn(&Outer<'_>) -> (Tunnel, Ends, u32)) {
    for (number, [packet, inner]) in pairs(pcap).iter().enumerate() {
        let outer = read(packet, inner);
        let (tunnel, ends, flow_hash) = read_by(&outer);
        pops(&tunnel, &outer, inner, number);

        let encap: Encap = tunnel.encap(&ends);
        let about = Inner {
            family: Family::of_packet(inner).unwrap(),
            len: inner.len(),
            tos: tos_of(inner),
            flow_hash,
        };
        let mut pushed = vec![0; encap.overhead()];
        encap.push(&mut pushed, &about);
        pushed.extend_from_slice(inner);
        if let Some((start, field)) = encap.checksum_offset() {
            let sum = checksum::nonzero(checksum::of(&pushed[start..]));
            pushed[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
        assert_eq!(pushed, *packet, "pair {number}: pushed");
    }
}
