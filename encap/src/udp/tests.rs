//! The UDP tunnel's own tests; the laws of all tunnels are in `tests/laws.rs`.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::tos::Dscp;
use crate::vectors;

#[test]
fn scapy_frames_are_popped_and_pushed() {
    vectors::check(include_bytes!("testdata/frames.pcap"), |outer| {
        let (src_port, checksum) = outer.udp.unwrap();
        let Steer::Udp(port) = outer.by else { panic!("{:?}", outer.by) };
        let config = Config {
            port: port.try_into().unwrap(),
            udp_checksum: Some(checksum != 0),
            ttl: outer.ttl,
            dscp: outer.dscp,
            ..Config::default()
        };
        let tunnel = crate::Tunnel::Udp(Tunnel::new(&config));
        (tunnel, outer.ends, u32::from(src_port - 49152) << 18)
    });
}

#[test]
fn the_first_four_bits_are_the_family() {
    let tunnel = Tunnel::new(&Config::default());
    let pop = |payload: &[u8]| tunnel.pop(Steer::Udp(PORT), payload);
    let popped = |family| Ok(Popped { header_len: 0, strip: Strip::Ip(family), key: 0 });
    assert_eq!(pop(&[0x45]), popped(Family::V4));
    assert_eq!(pop(&[0x60]), popped(Family::V6));
    assert_eq!(pop(&[]), Err(PopError::Truncated));
    for byte in [0x00, 0x35, 0x55, 0x75, 0xf0] {
        assert_eq!(pop(&[byte; 60]), Err(PopError::Payload), "{byte:#x}");
    }
}

#[test]
fn config_has_defaults_and_refuses_nonsense() {
    let parse = |text: &str| serde_json::from_str::<Config>(text).map_err(|e| e.to_string());
    let config = parse("{}").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!((config.name.as_str(), config.port.get(), config.ttl.get()), ("udp", 8285, 64));
    assert_eq!((config.udp_checksum, config.dscp), (None, Dscp::Pipe));
    for (text, complaint) in [
        (r#"{"port": 0}"#, "a nonzero u16"),
        (r#"{"ttl": 0}"#, "a nonzero u8"),
        (r#"{"vni": 1}"#, "unknown field `vni`"),
        (r#"{"dscp": "copy"}"#, "expected `uniform` or `pipe`"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}
