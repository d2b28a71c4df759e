//! A packet's bytes as a line, read by code that is not ours (`etherparse`). They may be cut short, or
//! say anything: the line tells as much as can be known.

use super::{FLAGS, is_icmp, names};
use encap::wire::Mac;
use etherparse::{
    ArpOperation, ArpPacketSlice, EtherType, LaxIpPayloadSlice, LaxLinkExtSlice, LaxNetSlice,
    LaxSlicedPacket, LinkSlice, TransportSlice,
};
use pipeline::frame::Link;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A frame that starts as `link` says.
pub fn tell_frame(bytes: &[u8], link: Link) -> String {
    if link == Link::Ip {
        return tell_packet(bytes);
    }
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else {
        return format!("{} bytes, fewer than an Ethernet header has", bytes.len());
    };
    let Some(LinkSlice::Ethernet2(header)) = &packet.link else { return String::new() };
    let [src, dst] = [header.source(), header.destination()].map(Mac);
    let mut line = format!("{src} > {dst}: ");
    for extension in &packet.link_exts {
        if let LaxLinkExtSlice::Vlan(tag) = extension {
            let _ = write!(line, "vlan {} ", tag.vlan_identifier().value());
        }
    }
    line += &match &packet.net {
        Some(_) => tell(&packet),
        None => format!("ethertype {:#06x}{}", header.ether_type().0, stopped(&packet)),
    };
    line
}

/// An IP or ARP packet.
pub fn tell_packet(bytes: &[u8]) -> String {
    if bytes.starts_with(&[0, 1]) {
        return tell(&LaxSlicedPacket::from_ether_type(EtherType::ARP, bytes));
    }
    match LaxSlicedPacket::from_ip(bytes) {
        Ok(packet) => tell(&packet),
        Err(error) => format!("no IP packet: {error}"),
    }
}

fn tell(packet: &LaxSlicedPacket<'_>) -> String {
    match &packet.net {
        Some(LaxNetSlice::Arp(arp)) => tell_arp(arp),
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let ends = [header.source_addr().into(), header.destination_addr().into()];
            let mut line = upper(packet, ip.payload(), ends);
            let _ = write!(line, " ttl {} len {}", header.ttl(), header.total_len());
            line += if header.dont_fragment() { " df" } else { "" };
            if ip.is_payload_fragmented() {
                let at = header.fragments_offset().value() * 8;
                let _ = write!(line, " fragment at {at} of {:#06x}", header.identification());
            }
            line + &stopped(packet)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let ends = [header.source_addr().into(), header.destination_addr().into()];
            let mut line = upper(packet, ip.payload(), ends);
            let len = usize::from(header.payload_length()) + header.slice().len();
            let _ = write!(line, " ttl {} len {len}", header.hop_limit());
            line += if ip.is_payload_fragmented() { " fragment" } else { "" };
            line + &stopped(packet)
        }
        None => format!("no packet{}", stopped(packet)),
    }
}

/// `tcp 10.244.1.2:40000 > 10.244.2.2:80 syn`
fn upper(
    packet: &LaxSlicedPacket<'_>,
    payload: &LaxIpPayloadSlice<'_>,
    ends: [IpAddr; 2],
) -> String {
    let protocol = names::protocol(payload.ip_number.0);
    let [src, dst] = ends;
    let with_ports = |from, to| {
        format!("{protocol} {} > {}", SocketAddr::new(src, from), SocketAddr::new(dst, to))
    };
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let bits = tcp.slice()[13];
            let set = FLAGS.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
            let flags: String = set.map(|(_, flag)| format!(" {flag}")).collect();
            with_ports(tcp.source_port(), tcp.destination_port()) + &flags
        }
        Some(TransportSlice::Udp(udp)) => with_ports(udp.source_port(), udp.destination_port()),
        // Of ICMP, type and code are known even where the parser finds the rest of a wrong length.
        _ => match payload.payload {
            &[kind, code, ..] if is_icmp(src, payload.ip_number.0) && !payload.fragmented => {
                let what = names::message(src.is_ipv6(), [kind, code]);
                format!("{protocol} {src} > {dst} {what}")
            }
            _ => format!("{protocol} {src} > {dst}"),
        },
    }
}

fn tell_arp(arp: &ArpPacketSlice<'_>) -> String {
    let arp = arp.to_packet();
    let ip = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map_or(Ipv4Addr::UNSPECIFIED, Into::into);
    let mac = <[u8; 6]>::try_from(arp.sender_hw_addr()).map(Mac).unwrap_or_default();
    let (sender, target) = (ip(arp.sender_protocol_addr()), ip(arp.target_protocol_addr()));
    match arp.operation {
        ArpOperation::REQUEST => format!("arp who-has {target} tell {sender} at {mac}"),
        ArpOperation::REPLY => format!("arp {sender} is-at {mac} to {target}"),
        ArpOperation(other) => format!("arp operation {other}"),
    }
}

/// Why no more can be told, if that is so.
fn stopped(packet: &LaxSlicedPacket<'_>) -> String {
    packet.stop_err.as_ref().map_or_else(String::new, |(error, _)| format!(" ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unhex(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex"))
            .collect()
    }

    #[test]
    fn packets_are_told() {
        let cases = [
            (
                "4500002800004000 40060000 0af40102 0af40202 9c40 0050 00000000 00000000 5002 0000 0000 0000",
                "tcp 10.244.1.2:40000 > 10.244.2.2:80 syn ttl 64 len 40 df",
            ),
            (
                "450005dc123420b9 3f110000 0af40102 0af40202 0000",
                "udp 10.244.1.2 > 10.244.2.2 ttl 63 len 1500 fragment at 1480 of 0x1234",
            ),
            (
                "6000000000100640 fd000000000000000000000000000001 fd000000000000000000000000000002",
                "tcp fd00::1 > fd00::2 ttl 64 len 56",
            ),
            (
                "6000000000083a01 fd000000000000000000000000000001 fd000000000000000000000000000002 \
                 8000000000000000",
                "icmpv6 fd00::1 > fd00::2 echo-request ttl 1 len 48",
            ),
            (
                "4500001c00000000 40010000 0a000001 0a000002 0d000000 00000000",
                "icmp 10.0.0.1 > 10.0.0.2 13/0 ttl 64 len 28 (",
            ),
            (
                "4500001400000000 40590000 0a000001 e0000005",
                "89 10.0.0.1 > 224.0.0.5 ttl 64 len 20",
            ),
            (
                "0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002",
                "arp who-has 10.0.0.2 tell 10.0.0.1 at 02:00:00:00:00:01",
            ),
        ];
        for (hex, expected) in cases {
            let told = tell_packet(&unhex(hex));
            assert!(told.starts_with(expected), "{told}");
        }
    }

    #[test]
    fn frames_are_told_with_their_macs() {
        let front = "020000000002 020000000001";
        let told = tell_frame(&unhex(&format!("{front} 88cc 0000")), Link::Ethernet);
        assert_eq!(told, "02:00:00:00:00:01 > 02:00:00:00:00:02: ethertype 0x88cc");
        let ip = "4500001400000000 40590000 0a000001 e0000005";
        let told = tell_frame(&unhex(&format!("{front} 8100 0005 0800 {ip}")), Link::Ethernet);
        assert!(told.contains(": vlan 5 89 10.0.0.1 > 224.0.0.5 ttl 64"), "{told}");
        assert_eq!(
            tell_frame(&[0; 9], Link::Ethernet),
            "9 bytes, fewer than an Ethernet header has"
        );
    }

    proptest! {
        #[test]
        fn anything_can_be_told(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            for link in [Link::Ethernet, Link::Ip] {
                prop_assert!(!tell_frame(&bytes, link).is_empty());
            }
        }

        #[test]
        fn so_can_what_begins_like_a_packet(
            first in prop_oneof![Just(0x45), Just(0x60), Just(0x46)],
            rest in proptest::collection::vec(any::<u8>(), 0..127),
        ) {
            prop_assert!(!tell_packet(&[vec![first], rest].concat()).is_empty());
        }
    }
}
