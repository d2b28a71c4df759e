#![allow(clippy::unwrap_used)]

use super::*;
use etherparse::checksum::Sum16BitWords;
use etherparse::{IpHeaders, TcpHeader, UdpHeader};
use proptest::prelude::*;

fn packet(line: &str) -> Packet {
    line.parse().unwrap_or_else(|mistake| panic!("\n{mistake}"))
}

#[test]
fn what_is_not_said_is_usual() {
    let cases = [
        ("tcp 10.0.0.1 > 10.0.0.2:80", "tcp 10.0.0.1:40000 > 10.0.0.2:80 syn ttl 64 len 40"),
        ("udp [fd00::1]:1 > [fd00::2]:2", "udp [fd00::1]:1 > [fd00::2]:2 ttl 64 len 48"),
        ("icmp 10.0.0.1 > 10.0.0.2", "icmp 10.0.0.1 > 10.0.0.2 echo-request ttl 64 len 28"),
        ("icmpv6 fd00::1 > fd00::2 3/0", "icmpv6 fd00::1 > fd00::2 time-exceeded ttl 64 len 48"),
        ("47 10.0.0.1 > 10.0.0.2 df ttl 1", "gre 10.0.0.1 > 10.0.0.2 ttl 1 len 20 df"),
        (
            "tcp 10.0.0.1:5 > 10.0.0.2:80 ack psh len 1500 df",
            "tcp 10.0.0.1:5 > 10.0.0.2:80 psh ack ttl 64 len 1500 df",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(tell_packet(&packet(line).to_bytes()), expected);
    }
}

#[test]
fn a_mistake_is_shown_where_it_is() {
    let cases = [
        ("", 0, "a protocol"),
        ("tpc 10.0.0.1 > 10.0.0.2:80", 0, "a protocol"),
        ("tcp 10.0.0.1:x > 10.0.0.2:80", 4, "an address and maybe a port"),
        ("tcp 10.0.0.1 > 10.0.0.2", 15, "an address and a port"),
        ("tcp 10.0.0.1 to 10.0.0.2:80", 13, "`>` between"),
        ("tcp 10.0.0.1", 12, "`>` and the destination"),
        ("icmp 10.0.0.1:1 > 10.0.0.2", 5, "without a port"),
        ("udp fd00::1 > 10.0.0.2:80", 14, "an IPv6 address, as the source is one"),
        ("udp 10.0.0.1 > 10.0.0.2:80 syn", 27, "ttl N, len N, df"),
        ("tcp 10.0.0.1 > 10.0.0.2:80  sin", 28, "fin, syn, rst"),
        ("tcp 10.0.0.1 > 10.0.0.2:80 ttl 256", 31, "a time to live"),
        ("tcp 10.0.0.1 > 10.0.0.2:80 ttl", 30, "a time to live"),
        ("udp 10.0.0.1 > 10.0.0.2:80 len 27", 31, "at least 28 bytes"),
        ("icmp 10.0.0.1 > 10.0.0.2 8/0 0/0", 29, "one message"),
        ("icmpv6 fd00::1 > fd00::2 df", 25, "TYPE/CODE, ttl N, len N"),
    ];
    for (line, at, expected) in cases {
        let told = line.parse::<Packet>().unwrap_err().to_string();
        let (first, second) = told.split_once('\n').unwrap();
        assert_eq!((first, second.find('^')), (line, Some(at)), "{told}");
        assert!(second.contains("^ expected ") && second.contains(expected), "{told}");
    }
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let v4 = any::<[[u8; 4]; 2]>().prop_map(|ends| ends.map(IpAddr::from));
    let v6 = any::<[[u8; 16]; 2]>().prop_map(|ends| ends.map(IpAddr::from));
    // ICMP of the other family has no words, and no parser takes it for ICMP.
    let v4 = (v4, prop_oneof![Just(6), Just(17), Just(47), Just(1)]);
    let v6 = (v6, prop_oneof![Just(6), Just(17), Just(47), Just(58)]);
    let rest = any::<([u16; 2], u8, [u8; 2], u8, u16, bool)>();
    (prop_oneof![v4, v6], rest).prop_map(|(([src, dst], number), rest)| {
        let (ports, flags, message, ttl, len, df) = rest;
        let plain = Packet::new(number, src, dst);
        let is_icmp = plain.is_icmp();
        Packet {
            ports: if has_ports(number) { ports } else { plain.ports },
            // A segment without a flag is told as one, which is read as the usual one.
            flags: if number == protocol::TCP { flags.max(1) } else { plain.flags },
            message: if is_icmp { message } else { plain.message },
            ttl,
            len: len.max(plain.least()),
            dont_fragment: df && src.is_ipv4(),
            ..plain
        }
    })
}

proptest! {
    #[test]
    fn what_is_told_is_read_again(packet in any_packet()) {
        // Of a timestamp message (RFC 792) any length but its own is told as a mistake, too.
        prop_assume!(packet.protocol != protocol::ICMPV4 || ![13, 14].contains(&packet.message[0]));
        let told = tell_packet(&packet.to_bytes());
        prop_assert_eq!(told.parse::<Packet>().map_err(|m| TestCaseError::fail(m.to_string()))?, packet);
    }

    /// Judged by code that is not ours.
    #[test]
    fn checksums_hold(packet in any_packet()) {
        let bytes = packet.to_bytes();
        let (ip, payload) = IpHeaders::from_slice(&bytes).unwrap();
        let rest = payload.payload;
        if let Some((ip, _)) = ip.ipv4() {
            prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        }
        let (found, expected) = match packet.protocol {
            protocol::TCP => {
                let (tcp, data) = TcpHeader::from_slice(rest).unwrap();
                let expected = match &ip {
                    IpHeaders::Ipv4(ip, _) => tcp.calc_checksum_ipv4(ip, data),
                    IpHeaders::Ipv6(ip, _) => tcp.calc_checksum_ipv6(ip, data),
                };
                (tcp.checksum, expected.unwrap())
            }
            protocol::UDP => {
                let (udp, data) = UdpHeader::from_slice(rest).unwrap();
                let expected = match &ip {
                    IpHeaders::Ipv4(ip, _) => udp.calc_checksum_ipv4(ip, data),
                    IpHeaders::Ipv6(ip, _) => udp.calc_checksum_ipv6(ip, data),
                };
                (udp.checksum, expected.unwrap())
            }
            // A message with its own checksum sums up to nothing. Not by the library's parser, which wants
            // each type's own length, and a packet here may have any.
            protocol::ICMPV4 => (0, Sum16BitWords::new().add_slice(rest).ones_complement()),
            protocol::ICMPV6 => {
                let (ip, _) = ip.ipv6().unwrap();
                let mut sum = Sum16BitWords::new().add_16bytes(ip.source).add_16bytes(ip.destination);
                sum = sum.add_4bytes((rest.len() as u32).to_be_bytes());
                sum = sum.add_2bytes([0, packet.protocol]).add_slice(rest);
                (0, sum.ones_complement())
            }
            _ => return Ok(()),
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_line_is_a_packet_or_a_mistake(line in ".*") {
        if let Err(mistake) = line.parse::<Packet>() {
            prop_assert!(mistake.to_string().contains("expected"));
        }
    }
}
