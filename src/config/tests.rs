//! What the config does with values and with noise; what it says of whole files is in
//! `tests/config.rs`.
#![allow(clippy::unwrap_used)]

use super::*;
use ipnet::IpNet;
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../../configs/node.toml");

/// Parses, and holds any errors to what all errors promise.
fn parse(text: &str) -> Result<Config, Errors> {
    let result = Config::parse(text, "test");
    if let Err(errors) = &result {
        assert!(!errors.faults.is_empty(), "errors without any error");
        assert!(errors.faults.is_sorted_by_key(|fault| (fault.line, fault.column)));
        let lines: Vec<&str> = text.split('\n').collect();
        for fault in &errors.faults {
            let line = lines.get(fault.line - 1).unwrap_or_else(|| panic!("{fault:?} is nowhere"));
            assert!((1..=line.chars().count() + 1).contains(&fault.column), "{fault:?}: {line}");
            assert!(!fault.message.contains('\n'), "{fault:?} is more than one line");
        }
    }
    result
}

fn places(text: &str) -> Vec<(usize, usize)> {
    parse(text).unwrap_err().faults.iter().map(|fault| (fault.line, fault.column)).collect()
}

#[test]
fn the_least_config_has_defaults() {
    let config = parse("node.name = 'a'").unwrap();
    assert_eq!(config.node.socket.to_str(), Some("/run/cableway/cableway.sock"));
    assert_eq!(config.workers, Workers::default());
    assert_eq!(config.workers.spin(), Duration::from_micros(50));
    assert_eq!(config.memory, Memory::default());
    let gateways: Vec<String> = config.gateway.addresses.iter().map(Unicast::to_string).collect();
    assert_eq!(gateways, ["169.254.1.1", "fe80::1"]);
    assert_eq!(config.vtep(), Mac::derive("a"));
    assert_ne!(config.gateway_mac(), config.vtep());
}

#[test]
fn a_port_routes_what_its_addresses_need() {
    let port = |keys: &str| {
        let text = "node.name = 'a'\n[[port]]\nname = 'p'\nkind = 'tun'\ndevice = 'd'\n";
        let config = parse(&format!("{text}{keys}")).unwrap();
        let routes = config.port[0].effective_routes();
        routes.iter().map(IpNet::to_string).collect::<Vec<_>>()
    };
    assert_eq!(port("netns = 'n'\naddresses = ['10.0.0.1', 'fd00::1/64']"), ["0.0.0.0/0", "::/0"]);
    assert_eq!(port("netns = 'n'\naddresses = ['fd00::1/64']"), ["::/0"]);
    assert_eq!(port("addresses = ['10.0.0.1']"), [""; 0]);
    assert_eq!(port("addresses = ['10.0.0.1']\nroutes = ['10.0.0.0/8']"), ["10.0.0.0/8"]);
}

#[test]
fn a_host_device_is_derived_and_valid() {
    assert_eq!(DeviceName::derive("cw-", "a2").as_str(), "cw-a2");
    let derived = DeviceName::derive("cw-", "namespace/a-pod-with-a-long-name");
    assert_eq!(derived.as_str().len(), 11);
    assert_eq!(Ok(derived.clone()), derived.as_str().parse());
    assert_ne!(derived, DeviceName::derive("cw-", "namespace/another-long-pod-name"));
}

#[test]
fn a_netns_is_a_name_or_a_path() {
    let path = |text: &str| text.parse::<Netns>().map(|netns| netns.path());
    assert_eq!(path("pod").unwrap(), PathBuf::from("/run/netns/pod"));
    assert_eq!(path("/proc/1/ns/net").unwrap(), PathBuf::from("/proc/1/ns/net"));
    for wrong in ["", ".", "..", "a/b", "a\0"] {
        assert!(path(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn all_errors_of_one_section_are_found() {
    let text = "node.name = 'ä'\n[workers]\nspin-us = -1\nmode = 'polll'\ncorse = [1]\n";
    assert_eq!(places(text), [(1, 13), (3, 11), (4, 8), (5, 1)]);
}

#[test]
fn columns_count_characters() {
    let text = "node = { name = 'a' }\nuplink = [{ device = 'äöü', atach = 'auto' }]";
    assert_eq!(places(text), [(2, 22), (2, 29)]);
}

#[test]
fn many_errors_end() {
    let text = format!("node.name = 'a'\nworkers.cores = [{}]", "-1,".repeat(10_000));
    assert_eq!(places(&text).len(), 100);
}

#[test]
fn every_tunnel_kind_survives_the_way_through_text() {
    let mut config = parse("node.name = 'a'").unwrap();
    config.tunnel = encap::Configs::samples();
    let again: Config = toml::from_str(&config.to_toml()).unwrap();
    assert_eq!(again, config);
}

/// Pieces of a config, and marks of TOML, to be put where they don't belong.
fn piece() -> impl Strategy<Value = String> {
    const MARKS: &[&str] = &[
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\"",
        "'",
        "#",
        "\n",
        "\r",
        "'''",
        "\"\"\"",
        "-1",
        "0",
        "1.5",
        "true",
        "1979-05-27",
        "ä",
        "\0",
        "\u{feff}",
        "\n[[peer]]\n",
        " = []\n",
    ];
    let lines = EXAMPLE.lines().map(|line| format!("{line}\n"));
    let marks = MARKS.iter().map(|mark| (*mark).to_owned());
    proptest::sample::select(marks.chain(lines).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn noise_never_panics(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&text);
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn pieces_never_panic(pieces in prop::collection::vec(piece(), 0..40)) {
        let _ = parse(&pieces.concat());
    }

    #[test]
    fn a_damaged_config_never_panics(
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, piece()), 1..6),
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (at, len, piece) in damages {
            let at = at.index(text.len());
            let end = (at + len).min(text.len());
            text.splice(at..end, piece.chars());
        }
        let _ = parse(&text.into_iter().collect::<String>());
    }

    #[test]
    fn a_lost_line_leaves_a_config_or_errors(
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let mut lines: Vec<&str> = EXAMPLE.lines().collect();
        for at in lost {
            lines.remove(at.index(lines.len()));
        }
        if let Ok(config) = parse(&lines.join("\n")) {
            prop_assert_eq!(parse(&config.to_toml()).unwrap(), config);
        }
    }

    #[test]
    fn texts_have_one_form(text in "[0-9a-f:./]{0,20}") {
        if let Ok(prefix) = text.parse::<Prefix>() {
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
        if let Ok(interface) = text.parse::<Interface>() {
            prop_assert_eq!(interface.to_string().parse(), Ok(interface));
        }
        if let Ok(address) = text.parse::<Unicast>() {
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
