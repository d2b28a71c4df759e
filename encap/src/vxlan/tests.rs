//! VXLAN's own tests; the laws of all tunnels are in `tests/laws.rs`.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::tos::Dscp;
use crate::tunnel::{Family, Inner, Strip};
use crate::vectors;
use crate::wire::ethernet;

#[test]
fn scapy_frames_are_popped_and_pushed() {
    vectors::check(include_bytes!("testdata/frames.pcap"), |outer| {
        let (src_port, checksum) = outer.udp.unwrap();
        let Steer::Udp(port) = outer.by else { panic!("{:?}", outer.by) };
        let popped = pop::pop(outer.payload, GroupPolicy::Ignore).unwrap();
        let config = Config {
            port: port.try_into().unwrap(),
            udp_checksum: Some(checksum != 0),
            ttl: outer.ttl,
            dscp: outer.dscp,
            ..Config::new(i64::from(popped.key).try_into().unwrap())
        };
        let frame = ethernet::View::new(&outer.payload[popped.header_len..]).unwrap();
        let ends = Ends { local_mac: frame.src(), remote_mac: frame.dst(), ..outer.ends };
        let tunnel = crate::Tunnel::Vxlan(Tunnel::new(&config));
        (tunnel, ends, u32::from(src_port - 49152) << 18)
    });
}

#[test]
fn flags_decide() {
    let pop = |header: &[u8]| pop::pop(header, GroupPolicy::Ignore);
    let header = |flags| [flags, 0, 0, 0, 0x12, 0x34, 0x56, 0];
    let popped = Popped { header_len: 8, strip: Strip::Ethernet, key: 0x123456 };
    assert_eq!(pop(&header(0x08)), Ok(popped));
    // Reserved bits are ignored, G of the group policy among them; so are reserved bytes.
    assert_eq!(pop(&header(0x08 | 0x80 | 0x40 | 0x01)), Ok(popped));
    assert_eq!(pop(&[0x08, 0xff, 0xff, 0xff, 0x12, 0x34, 0x56, 0xff]), Ok(popped));
    // No VNI; and a payload that may be no Ethernet frame.
    assert_eq!(pop(&header(0)), Err(PopError::Flags));
    assert_eq!(pop(&header(0xf7)), Err(PopError::Flags));
    assert_eq!(pop(&header(0x0c)), Err(PopError::Payload));
    for len in 0..8 {
        assert_eq!(pop(&header(0x08)[..len]), Err(PopError::Truncated));
    }
    // With and without a policy for a group, where that is refused.
    for (flags, expected) in [(0x88, Err(PopError::Flags)), (0x08, Ok(popped))] {
        assert_eq!(pop::pop(&header(flags), GroupPolicy::Refuse), expected);
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
        (r#"{"vni": 16777216}"#, "16777216 is not a network identifier; expected 0 to"),
        (r#"{"vni": -1}"#, "-1 is not a network identifier; expected 0 to 16777215"),
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
