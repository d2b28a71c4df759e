//! A frame as a line for people and its bytes for machines. `etherparse` reads it, not the code that
//! is being tested; a checksum that does not hold is said.

use crate::node::Leaving;
use etherparse::{ArpOperation, NetHeaders, PacketHeaders, TransportHeader};
use pipeline::frame::{GsoKind, Link};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where VXLAN is.
const VXLAN: u16 = 8472;

/// A frame that left by `port`.
pub(crate) fn leaving(port: &str, frame: &Leaving) -> String {
    let mut out = format!("  {port} > {}", describe(&frame.bytes, frame.link, frame.partial));
    if frame.partial {
        out += ", checksum left to the port";
    }
    if frame.gso.kind != GsoKind::None {
        write!(out, ", {:?} segments of {} bytes", frame.gso.kind, frame.gso.size).unwrap();
    }
    out.push('\n');
    for line in frame.bytes.chunks(32) {
        let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "    {hex}").unwrap();
    }
    out
}

fn describe(bytes: &[u8], link: Link, partial: bool) -> String {
    let headers = match link {
        Link::Ethernet => PacketHeaders::from_ethernet_slice(bytes),
        Link::Ip => PacketHeaders::from_ip_slice(bytes),
    };
    let headers = match headers {
        Ok(headers) => headers,
        Err(error) => return format!("malformed: {error}"),
    };
    let mut out = String::new();
    if link == Link::Ethernet {
        write!(out, "{} to {}: ", mac(&bytes[6..12]), mac(&bytes[..6])).unwrap();
    }
    out += &match &headers.net {
        Some(NetHeaders::Ipv4(ip, _)) => ipv4(ip),
        Some(NetHeaders::Ipv6(ip, extensions)) => ipv6(ip, extensions),
        Some(NetHeaders::Arp(arp)) => {
            let ip = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).unwrap();
            let target = ip(arp.target_protocol_addr());
            let (sender, at) = (ip(arp.sender_protocol_addr()), mac(arp.sender_hw_addr()));
            match arp.operation {
                ArpOperation::REQUEST => format!("ARP who has {target}, tell {sender} at {at}"),
                ArpOperation::REPLY => format!("ARP {sender} is at {at}, told {target}"),
                other => format!("ARP {other:?}"),
            }
        }
        other => format!("{other:?}"),
    };
    let payload = headers.payload.slice();
    if let (Some(net), Some(transport)) = (&headers.net, &headers.transport) {
        out += &l4(transport, payload);
        if !partial && !holds(net, transport, payload) {
            out += " BAD CHECKSUM";
        }
    }
    if matches!(&headers.transport, Some(TransportHeader::Udp(udp)) if udp.destination_port == VXLAN)
    {
        let vni = u32::from_be_bytes([0, payload[4], payload[5], payload[6]]);
        write!(out, " | VXLAN {vni} | {}", describe(&payload[8..], Link::Ethernet, partial))
            .unwrap();
    }
    out
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn ipv4(ip: &etherparse::Ipv4Header) -> String {
    let (src, dst) = (Ipv4Addr::from(ip.source), Ipv4Addr::from(ip.destination));
    let mut out = format!("IPv4 {src} to {dst}, ttl {}", ip.time_to_live);
    out += &tos(ip.dscp.value() << 2 | ip.ecn.value());
    if ip.is_fragmenting_payload() {
        write!(out, ", fragment at {}", ip.fragment_offset.value() * 8).unwrap();
    }
    if ip.header_checksum != ip.calc_header_checksum() {
        out += ", BAD HEADER CHECKSUM";
    }
    out
}

fn ipv6(ip: &etherparse::Ipv6Header, extensions: &etherparse::Ipv6Extensions) -> String {
    let (src, dst) = (Ipv6Addr::from(ip.source), Ipv6Addr::from(ip.destination));
    let mut out = format!("IPv6 {src} to {dst}, hop limit {}", ip.hop_limit);
    out += &tos(ip.traffic_class);
    if let Some(fragment) = &extensions.fragment {
        write!(out, ", fragment at {}", fragment.fragment_offset.value() * 8).unwrap();
    }
    out
}

/// DSCP and ECN, where there are any.
fn tos(tos: u8) -> String {
    if tos == 0 { String::new() } else { format!(", tos {tos:#04x}") }
}

fn l4(transport: &TransportHeader, payload: &[u8]) -> String {
    let n = payload.len();
    match transport {
        TransportHeader::Udp(udp) => {
            format!(" | UDP {} to {}, {n} bytes", udp.source_port, udp.destination_port)
        }
        TransportHeader::Tcp(tcp) => {
            let (src, dst) = (tcp.source_port, tcp.destination_port);
            format!(" | TCP {src} to {dst}, seq {}, {n} bytes", tcp.sequence_number)
        }
        TransportHeader::Icmpv4(icmp) => format!(" | ICMP {:?}, {n} bytes", icmp.icmp_type),
        TransportHeader::Icmpv6(icmp) => format!(" | ICMPv6 {:?}, {n} bytes", icmp.icmp_type),
        TransportHeader::Igmp(igmp) => format!(" | {igmp:?}"),
    }
}

/// Whether the checksum of what `net` carries is right, or zero where that says that there is none.
fn holds(net: &NetHeaders, transport: &TransportHeader, payload: &[u8]) -> bool {
    let computed = match (net, transport) {
        (NetHeaders::Ipv4(_, _), TransportHeader::Udp(udp)) if udp.checksum == 0 => Ok(0),
        (NetHeaders::Ipv4(ip, _), TransportHeader::Udp(udp)) => udp.calc_checksum_ipv4(ip, payload),
        (NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) => udp.calc_checksum_ipv6(ip, payload),
        (NetHeaders::Ipv4(ip, _), TransportHeader::Tcp(tcp)) => tcp.calc_checksum_ipv4(ip, payload),
        (NetHeaders::Ipv6(ip, _), TransportHeader::Tcp(tcp)) => tcp.calc_checksum_ipv6(ip, payload),
        (_, TransportHeader::Icmpv4(icmp)) => Ok(icmp.icmp_type.calc_checksum(payload)),
        (NetHeaders::Ipv6(ip, _), TransportHeader::Icmpv6(icmp)) => {
            icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload)
        }
        _ => return true, // nothing that we know a checksum of
    };
    let field = match transport {
        TransportHeader::Udp(udp) => udp.checksum,
        TransportHeader::Tcp(tcp) => tcp.checksum,
        TransportHeader::Icmpv4(icmp) => icmp.checksum,
        TransportHeader::Icmpv6(icmp) => icmp.checksum,
        TransportHeader::Igmp(igmp) => igmp.checksum,
    };
    computed.is_ok_and(|computed| computed == field)
}
