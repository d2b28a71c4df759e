//! IP-in-IP's own tests; the laws of all tunnels are in `tests/laws.rs`.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::tos::Dscp;
use crate::tunnel::Inner;
use crate::vectors;

#[test]
fn scapy_frames_are_popped_and_pushed() {
    vectors::check(include_bytes!("testdata/frames.pcap"), |outer| {
        let limit = match *outer.between {
            [] => None,
            [_, 0, 4, 1, limit, 1, 1, 0] => Some(limit),
            ref other => panic!("{other:?}"),
        };
        let config = Config {
            ttl: outer.ttl,
            dscp: outer.dscp,
            encapsulation_limit: limit,
            ..Config::default()
        };
        (crate::Tunnel::Ipip(Tunnel::new(&config)), outer.ends, outer.label << 12)
    });
}

#[test]
fn the_protocol_is_the_family() {
    let tunnel = Tunnel::new(&Config::default());
    let pop = |number, payload: &[u8]| tunnel.pop(Steer::Protocol(number), payload);
    let popped = |family| Ok(Popped { header_len: 0, strip: Strip::Ip(family), key: 0 });
    assert_eq!(pop(protocol::IPIP, &[0x45]), popped(Family::V4));
    assert_eq!(pop(protocol::IPV6, &[0x60]), popped(Family::V6));
    for number in [protocol::IPIP, protocol::IPV6] {
        assert_eq!(pop(number, &[]), Err(PopError::Truncated));
        let other = if number == protocol::IPIP { 0x60 } else { 0x45 };
        for byte in [other, 0x00, 0x55, 0xf0] {
            assert_eq!(pop(number, &[byte; 60]), Err(PopError::Payload), "{number} {byte:#x}");
        }
    }
}

#[test]
fn flows_differ_in_the_label_over_ipv6() {
    let ends = |local: &str, remote: &str| Ends {
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        local_mac: Mac::ZERO,
        remote_mac: Mac::ZERO,
    };
    let encap = Tunnel::new(&Config::default()).encap(&ends("2001:db8::1", "2001:db8::2"));
    let label = |flow_hash| {
        let mut room = [0; 40];
        encap.push(&mut room, &Inner { family: Family::V4, len: 28, tos: 0xff, flow_hash });
        u32::from_be_bytes([room[0], room[1], room[2], room[3]])
    };
    assert_eq!([label(0), label(1 << 12), label(u32::MAX)], [0x6030_0000, 0x6030_0001, 0x603f_ffff]);
    let limited = Config { encapsulation_limit: Some(4), ..Config::default() };
    let overhead = |ends| Tunnel::new(&limited).encap(&ends).overhead();
    assert_eq!(overhead(ends("192.0.2.1", "192.0.2.2")), 20, "IPv4 has no such option");
    assert_eq!(overhead(ends("2001:db8::1", "2001:db8::2")), 48);
}

#[test]
fn config_has_defaults_and_refuses_nonsense() {
    let parse = |text: &str| serde_json::from_str::<Config>(text).map_err(|e| e.to_string());
    let config = parse("{}").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!((config.name.as_str(), config.ttl.get(), config.dscp), ("ipip", 64, Dscp::Pipe));
    assert_eq!(config.encapsulation_limit, None);
    for (text, complaint) in [
        (r#"{"ttl": 0}"#, "a nonzero u8"),
        (r#"{"port": 4}"#, "unknown field `port`"),
        (r#"{"encapsulation-limit": 256}"#, "u8"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}
