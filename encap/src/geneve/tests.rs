//! Geneve's own tests; the laws of all tunnels are in `tests/laws.rs`.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::tos::Dscp;
use crate::tunnel::{self, Family, Strip};
use crate::vectors::{self, Outer};
use crate::wire::ethernet;

/// The config of who made such a packet.
fn config(outer: &Outer<'_>) -> Config {
    let Steer::Udp(port) = outer.by else { panic!("{:?}", outer.by) };
    let [_, _, a, b, vni @ ..] = *outer.payload.first_chunk::<8>().unwrap();
    let vni = u32::from_be_bytes(vni) >> 8;
    Config {
        port: port.try_into().unwrap(),
        inner: if [a, b] == [0x65, 0x58] { Inner::Ethernet } else { Inner::Ip },
        udp_checksum: outer.udp.map(|(_, checksum)| checksum != 0),
        ttl: outer.ttl,
        dscp: outer.dscp,
        ..Config::new(i64::from(vni).try_into().unwrap())
    }
}

#[test]
fn scapy_frames_are_popped_and_pushed() {
    vectors::check(include_bytes!("testdata/frames.pcap"), |outer| {
        let (src_port, _) = outer.udp.unwrap();
        let config = config(outer);
        let ends = match config.inner {
            Inner::Ip => outer.ends,
            Inner::Ethernet => {
                let frame = ethernet::View::new(&outer.payload[HEADER_LEN..]).unwrap();
                Ends { local_mac: frame.src(), remote_mac: frame.dst(), ..outer.ends }
            }
        };
        let tunnel = crate::Tunnel::Geneve(Tunnel::new(&config));
        (tunnel, ends, u32::from(src_port - 49152) << 18)
    });
}

#[test]
fn options_of_scapys_are_skipped() {
    vectors::check_popped(include_bytes!("testdata/options.pcap"), |outer| {
        assert_ne!(outer.payload[0], 0, "it has options");
        crate::Tunnel::Geneve(Tunnel::new(&config(outer)))
    });
}

/// A header with these first four bytes, and these options.
fn header(start: [u8; 4], options: &[u8]) -> Vec<u8> {
    [&start[..], &[0x12, 0x34, 0x56, 0], options].concat()
}

fn popped(header_len: usize) -> Result<Popped, PopError> {
    Ok(Popped { header_len, strip: Strip::Ethernet, key: 0x123456 })
}

#[test]
fn version_and_flags_decide() {
    let pop = |start| pop::pop(&header(start, &[]));
    assert_eq!(pop([0, 0, 0x65, 0x58]), popped(8));
    // Reserved bits are ignored; so is the reserved byte.
    assert_eq!(pop([0, 0x3f, 0x65, 0x58]), popped(8));
    assert_eq!(pop::pop(&[0, 0, 0x65, 0x58, 0x12, 0x34, 0x56, 0xff]), popped(8));
    for version in [0x40, 0x80, 0xc0] {
        assert_eq!(pop([version, 0, 0x65, 0x58]), Err(PopError::Version));
    }
    // A control packet; and one with an option that must be understood, wherever it may be.
    assert_eq!(pop([0, 0x80, 0x65, 0x58]), Err(PopError::Flags));
    assert_eq!(pop([0, 0x40, 0x65, 0x58]), Err(PopError::Flags));
    let whole = header([0, 0, 0x65, 0x58], &[]);
    for len in 0..8 {
        assert_eq!(pop::pop(&whole[..len]), Err(PopError::Truncated));
    }
}

#[test]
fn the_protocol_is_the_payloads_kind() {
    let strip = |a, b| pop::pop(&header([0, 0, a, b], &[])).map(|popped| popped.strip);
    assert_eq!(strip(0x65, 0x58), Ok(Strip::Ethernet));
    assert_eq!(strip(0x08, 0x00), Ok(Strip::Ip(Family::V4)));
    assert_eq!(strip(0x86, 0xdd), Ok(Strip::Ip(Family::V6)));
    for (a, b) in [(0, 0), (0x08, 0x06), (0x88, 0x47), (0x58, 0x65)] {
        assert_eq!(strip(a, b), Err(PopError::Payload), "{a:#x} {b:#x}");
    }
}

#[test]
fn options_fill_what_the_header_says() {
    let pop = |words, options: &[u8]| pop::pop(&header([words, 0, 0x65, 0x58], options));
    // One without data, one with a word; reserved bits of the length are ignored.
    assert_eq!(pop(1, &[1, 2, 0x7f, 0xe0]), popped(12));
    assert_eq!(pop(3, &[1, 2, 3, 0, 1, 2, 3, 1, 0xff, 0xff, 0xff, 0xff]), popped(20));
    // Data are nobody's option.
    assert_eq!(pop(2, &[1, 2, 3, 1, 0, 0, 0x80, 31]), popped(16));
    // The last one is longer than the room for it, if not than the packet.
    assert_eq!(pop(1, &[1, 2, 3, 1, 0, 0, 0, 0]), Err(PopError::Options));
    assert_eq!(pop(2, &[1, 2, 3, 0, 1, 2, 3, 31]), Err(PopError::Options));
    // One must be understood: the first, or the last.
    assert_eq!(pop(1, &[1, 2, 0x80, 0]), Err(PopError::Options));
    assert_eq!(pop(2, &[1, 2, 3, 0, 1, 2, 0xff, 0]), Err(PopError::Options));
    // As long as they can be, and what is missing of that.
    let most = [[0, 0, 0, 0]; 63].concat();
    assert_eq!(pop(63, &most), popped(260));
    for len in 0..most.len() {
        assert_eq!(pop(63, &most[..len]), Err(PopError::Truncated));
    }
}

#[test]
fn bare_packets_are_sent_when_told_so() {
    let ends = Ends {
        local: [192, 168, 77, 1].into(),
        remote: [192, 168, 77, 2].into(),
        local_mac: Mac::derive("a"),
        remote_mac: Mac::derive("b"),
    };
    let plain = Config::new(0x123456.try_into().unwrap());
    let sent = |inner, family| {
        let tunnel = Tunnel::new(&Config { inner, ..plain.clone() });
        let encap = tunnel.encap(&ends);
        let mut room = vec![0; encap.overhead()];
        encap.push(&mut room, &tunnel::Inner { family, len: 60, tos: 0, flow_hash: 0 });
        let popped = tunnel.pop(Steer::Udp(PORT), &room[28..]).unwrap();
        (encap.overhead(), popped.strip, tunnel.carries_ethernet())
    };
    for family in [Family::V4, Family::V6] {
        assert_eq!(sent(Inner::Ethernet, family), (50, Strip::Ethernet, true));
        assert_eq!(sent(Inner::Ip, family), (36, Strip::Ip(family), false));
    }
}

#[test]
fn config_has_defaults_and_refuses_nonsense() {
    let parse = |text: &str| serde_json::from_str::<Config>(text).map_err(|e| e.to_string());
    let config = parse(r#"{"vni": 1}"#).unwrap();
    assert_eq!(config, Config::new(1.try_into().unwrap()));
    assert_eq!((config.name.as_str(), config.port.get(), config.ttl.get()), ("geneve", 6081, 64));
    assert_eq!((config.inner, config.udp_checksum), (Inner::Ethernet, None));
    assert_eq!((config.mac, config.dscp), (None, Dscp::Pipe));
    let config = parse(
        r#"{"name": "x", "vni": 16777215, "port": 6082, "inner": "ip", "udp-checksum": false,
            "mac": "02:00:5E:10:00:01", "ttl": 1, "dscp": "uniform"}"#,
    );
    assert_eq!(config.unwrap().inner, Inner::Ip);

    for (text, complaint) in [
        (r#"{}"#, "missing field `vni`"),
        (r#"{"vni": 16777216}"#, "16777216 is not a network identifier; expected 0 to 16777215"),
        (r#"{"vni": 1, "port": 0}"#, "a nonzero u16"),
        (r#"{"vni": 1, "ttl": 0}"#, "a nonzero u8"),
        (r#"{"vni": 1, "inner": "ipv4"}"#, "expected `ethernet` or `ip`"),
        (r#"{"vni": 1, "options": []}"#, "unknown field `options`"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}
