//! VXLAN's own tests; the laws of all tunnels are in `tests/laws.rs`.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::tos::{Dscp, ECN};
use crate::tunnel::{Family, Inner, Strip};
use crate::wire::{checksum, ethernet, ipv4, ipv6, udp};
use pcap_file::pcap::PcapReader;
use std::net::IpAddr;

/// Where the UDP header of an outer packet begins, and the packet's ends, TOS and TTL.
fn outer_ip(packet: &[u8]) -> (usize, IpAddr, IpAddr, u8, u8) {
    match Family::of_packet(packet).unwrap() {
        Family::V4 => {
            let ip = ipv4::View::new(packet).unwrap();
            (ip.header_len(), ip.src().into(), ip.dst().into(), ip.tos(), ip.ttl())
        }
        Family::V6 => {
            let ip = ipv6::View::new(packet).unwrap();
            (ipv6::LEN, ip.src().into(), ip.dst().into(), ip.traffic_class(), ip.hop_limit())
        }
    }
}

fn tos_of(packet: &[u8]) -> u8 {
    outer_ip(packet).3
}

/// Every frame made by scapy (see `testdata/generate.py`) is popped to the inner packet that scapy
/// wrote next to it, and pushing that makes the very bytes.
#[test]
fn scapy_frames_are_popped_and_pushed() {
    let mut pcap = PcapReader::new(&include_bytes!("testdata/frames.pcap")[..]).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = pcap.next_packet() {
        packets.push(packet.unwrap().data.into_owned());
    }
    assert!(packets.len() >= 100, "{} packets", packets.len());
    for (number, pair) in packets.chunks_exact(2).enumerate() {
        let [outer, inner] = pair else { unreachable!("chunks of two") };
        let (udp_at, local, remote, tos, ttl) = outer_ip(outer);
        let udp = udp::View::new(&outer[udp_at..]).unwrap();

        let popped = pop::pop(udp.payload()).unwrap();
        assert_eq!(popped.strip, Strip::Ethernet);
        let frame = ethernet::View::new(&udp.payload()[popped.header_len..]).unwrap();
        assert_eq!(frame.payload(), inner, "pair {number}: popped");

        let uniform = tos & !ECN == tos_of(inner) & !ECN;
        let config = Config {
            port: udp.dst_port().try_into().unwrap(),
            udp_checksum: Some(udp.checksum() != 0),
            ttl: ttl.try_into().unwrap(),
            dscp: if uniform { Dscp::Uniform } else { Dscp::Pipe },
            ..Config::new(i64::from(popped.key).try_into().unwrap())
        };
        let ends = Ends { local, remote, local_mac: frame.src(), remote_mac: frame.dst() };
        let encap = Tunnel::new(&config).encap(&ends);
        let mut pushed = vec![0; encap.overhead()];
        pushed.extend_from_slice(inner);
        let about = Inner {
            family: Family::of_packet(inner).unwrap(),
            len: inner.len(),
            tos: tos_of(inner),
            flow_hash: u32::from(udp.src_port() - 49152) << 18,
        };
        encap.push(&mut pushed[..encap.overhead()], &about);
        if let Some((start, field)) = encap.checksum_offset() {
            let sum = checksum::nonzero(checksum::of(&pushed[start..]));
            pushed[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
        assert_eq!(pushed, *outer, "pair {number}: pushed");
    }
}

#[test]
fn flags_decide() {
    let header = |flags| [flags, 0, 0, 0, 0x12, 0x34, 0x56, 0];
    let popped = Popped { header_len: 8, strip: Strip::Ethernet, key: 0x123456 };
    assert_eq!(pop::pop(&header(0x08)), Ok(popped));
    // Reserved bits are ignored, G of the group policy among them; so are reserved bytes.
    assert_eq!(pop::pop(&header(0x08 | 0x80 | 0x40 | 0x01)), Ok(popped));
    assert_eq!(pop::pop(&[0x08, 0xff, 0xff, 0xff, 0x12, 0x34, 0x56, 0xff]), Ok(popped));
    // No VNI; and a payload that may be no Ethernet frame.
    assert_eq!(pop::pop(&header(0)), Err(PopError::Flags));
    assert_eq!(pop::pop(&header(0xf7)), Err(PopError::Flags));
    assert_eq!(pop::pop(&header(0x0c)), Err(PopError::Payload));
    for len in 0..8 {
        assert_eq!(pop::pop(&header(0x08)[..len]), Err(PopError::Truncated));
    }
}

#[test]
fn source_ports_are_dynamic_and_spread() {
    let encap = Tunnel::new(&Config::new(1.try_into().unwrap())).encap(&Ends {
        local: [192, 168, 77, 1].into(),
        remote: [192, 168, 77, 2].into(),
        local_mac: Mac::derive("a"),
        remote_mac: Mac::derive("b"),
    });
    let port = |flow_hash| {
        let mut room = [0; 50];
        encap.push(&mut room, &Inner { family: Family::V4, len: 28, tos: 0, flow_hash });
        u16::from_be_bytes([room[20], room[21]])
    };
    assert_eq!([port(0), port(1 << 18), port(u32::MAX)], [49152, 49153, 65535]);
}

#[test]
#[should_panic(expected = "of one family")]
fn ends_of_two_families_are_refused() {
    Tunnel::new(&Config::new(1.try_into().unwrap())).encap(&Ends {
        local: [192, 168, 77, 1].into(),
        remote: std::net::Ipv6Addr::LOCALHOST.into(),
        local_mac: Mac::ZERO,
        remote_mac: Mac::ZERO,
    });
}

#[test]
fn config_has_defaults_and_refuses_nonsense() {
    let parse = |text: &str| serde_json::from_str::<Config>(text).map_err(|e| e.to_string());
    let config = parse(r#"{"vni": 1}"#).unwrap();
    assert_eq!(config, Config::new(1.try_into().unwrap()));
    assert_eq!((config.name.as_str(), config.port.get(), config.ttl.get()), ("vxlan", 4789, 64));
    assert_eq!((config.udp_checksum, config.mac, config.dscp), (None, None, Dscp::Pipe));
    let config = parse(
        r#"{"name": "x", "vni": 16777215, "port": 8472, "udp-checksum": true,
            "mac": "02:00:5E:10:00:01", "ttl": 1, "dscp": "uniform"}"#,
    );
    assert_eq!(config.unwrap().mac, Some(Mac([2, 0, 0x5e, 0x10, 0, 1])));

    for (text, complaint) in [
        (r#"{}"#, "missing field `vni`"),
        (r#"{"vni": 16777216}"#, "16777216 is not a VXLAN network identifier; expected 0 to"),
        (r#"{"vni": -1}"#, "-1 is not a VXLAN network identifier; expected 0 to 16777215"),
        (r#"{"vni": 1, "port": 0}"#, "a nonzero u16"),
        (r#"{"vni": 1, "ttl": 0}"#, "a nonzero u8"),
        (r#"{"vni": 1, "udp_checksum": true}"#, "unknown field `udp_checksum`"),
        (r#"{"vni": 1, "mac": "02:00"}"#, "`02:00` is not a MAC address"),
        (r#"{"vni": 1, "dscp": "copy"}"#, "expected `uniform` or `pipe`"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}

#[test]
fn checksum_is_computed_over_ipv6_unless_told_otherwise() {
    let v6 = Ends {
        local: "2001:db8::1".parse().unwrap(),
        remote: "2001:db8::2".parse().unwrap(),
        local_mac: Mac::ZERO,
        remote_mac: Mac::ZERO,
    };
    let v4 = Ends { local: [10, 0, 0, 1].into(), remote: [10, 0, 0, 2].into(), ..v6 };
    for (udp_checksum, expected_v4, expected_v6) in [
        (None, None, Some((40, 46))),
        (Some(false), None, None),
        (Some(true), Some((20, 26)), Some((40, 46))),
    ] {
        let config = Config { udp_checksum, ..Config::new(1.try_into().unwrap()) };
        let tunnel = Tunnel::new(&config);
        assert_eq!(tunnel.encap(&v4).checksum_offset(), expected_v4);
        assert_eq!(tunnel.encap(&v6).checksum_offset(), expected_v6);
    }
}
