//! What holds of every listed tunnel, whatever its kind: the laws.
#![allow(clippy::unwrap_used)]

#[path = "common/outer.rs"]
mod outer;

use encap::wire::{Mac, checksum, ethernet, ipv4, ipv6, protocol};
use encap::{Configs, Encap, Ends, Family, Inner, Kind, Steer, Strip, Tunnel};
use etherparse::{LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice};
use outer::steered;
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::IpAddr;

/// The most bytes that a test's inner packet has: a super-frame's worth.
const MAX_INNER: usize = 65_000;

fn tunnels() -> Vec<Tunnel> {
    Configs::samples().tunnels().map(|(_, tunnel)| tunnel).collect()
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    prop::sample::select(tunnels())
}

fn ends() -> impl Strategy<Value = Ends> {
    let addresses = prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
    ];
    (addresses, any::<([u8; 6], [u8; 6])>()).prop_map(|((local, remote), (a, b))| Ends {
        local,
        remote,
        local_mac: Mac(a),
        remote_mac: Mac(b),
    })
}

/// An inner packet: a good IP header and anything behind it.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        8 => vec(any::<u8>(), 0..200),
        1 => (1000..MAX_INNER, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    (any::<bool>(), any::<u8>(), payload).prop_map(|(v6, tos, payload)| {
        let mut packet;
        if v6 {
            packet = vec![0; ipv6::LEN];
            ipv6::Header {
                traffic_class: tos,
                flow_label: 1,
                payload_len: payload.len() as u16,
                next_header: protocol::UDP,
                hop_limit: 63,
                src: "fd00::1".parse().unwrap(),
                dst: "fd00::2".parse().unwrap(),
            }
            .emit(&mut packet);
        } else {
            packet = vec![0; ipv4::LEN];
            ipv4::Header {
                tos,
                total_len: (ipv4::LEN + payload.len()) as u16,
                ident: 1,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                ttl: 63,
                protocol: protocol::UDP,
                src: [10, 0, 0, 1].into(),
                dst: [10, 0, 0, 2].into(),
            }
            .emit(&mut packet);
        }
        packet.extend(payload);
        packet
    })
}

fn describe(packet: &[u8], flow_hash: u32) -> Inner {
    let family = Family::of_packet(packet).unwrap();
    let tos = match family {
        Family::V4 => ipv4::View::new(packet).unwrap().tos(),
        Family::V6 => ipv6::View::new(packet).unwrap().traffic_class(),
    };
    Inner { family, len: packet.len(), tos, flow_hash }
}

/// The outer headers.
fn pushed(encap: &Encap, inner: &Inner) -> Vec<u8> {
    let mut room = vec![0; encap.overhead()];
    encap.push(&mut room, inner);
    room
}

/// A finished outer packet.
fn packed(encap: &Encap, packet: &[u8], flow_hash: u32) -> Vec<u8> {
    let mut outer = pushed(encap, &describe(packet, flow_hash));
    outer.extend_from_slice(packet);
    if let Some((start, field)) = encap.checksum_offset() {
        let sum = checksum::nonzero(checksum::of(&outer[start..]));
        outer[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }
    outer
}

#[test]
fn every_kind_has_samples_under_its_name() {
    let kinds: Vec<Kind> = tunnels().iter().map(Tunnel::kind).collect();
    let written = serde_json::to_value(Configs::samples()).unwrap();
    for kind in Kind::ALL {
        assert!(kinds.contains(kind), "{kind:?} has no sample");
        assert!(written[kind.name()].is_array(), "[[tunnel.{}]] is not its section", kind.name());
    }
    assert_eq!(written.as_object().unwrap().len(), Kind::ALL.len());
}

#[test]
fn configs_survive_being_written() {
    let written = serde_json::to_string(&Configs::samples()).unwrap();
    assert_eq!(serde_json::from_str::<Configs>(&written).unwrap(), Configs::samples());
}

#[test]
fn packets_cut_anywhere_never_panic() {
    let packet = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17][..], &[0; 18]].concat();
    let ends = Ends {
        local: [1, 2, 3, 4].into(),
        remote: [5, 6, 7, 8].into(),
        local_mac: Mac::ZERO,
        remote_mac: Mac::ZERO,
    };
    for tunnel in tunnels() {
        let outer = packed(&tunnel.encap(&ends), &packet, 0);
        let (by, payload) = steered(&tunnel.steers(), &outer).unwrap();
        for len in 0..payload.len() {
            if let Ok(popped) = tunnel.pop(by, &payload[..len]) {
                assert!(popped.header_len <= len);
            }
        }
    }
}

proptest! {
    #[test]
    fn pop_after_push_is_identity(
        tunnel in tunnel(), ends in ends(), packet in packet(), hash in any::<u32>(),
    ) {
        let outer = packed(&tunnel.encap(&ends), &packet, hash);
        let steered = steered(&tunnel.steers(), &outer);
        let (by, payload) = steered.expect("the packet is the tunnel's");
        let popped = tunnel.pop(by, payload).unwrap();
        prop_assert_eq!(popped.key, tunnel.key());
        let rest = &payload[popped.header_len..];
        let family = Family::of_packet(&packet).unwrap();
        match popped.strip {
            Strip::Ip(f) => {
                prop_assert_eq!(f, family);
                prop_assert_eq!(rest, packet);
            }
            Strip::Ethernet => {
                let frame = ethernet::View::new(rest).unwrap();
                prop_assert_eq!(frame.src(), ends.local_mac);
                prop_assert_eq!(frame.dst(), ends.remote_mac);
                prop_assert_eq!(Family::of_ethertype(frame.ethertype()), Some(family));
                prop_assert_eq!(frame.payload(), packet);
            }
        }
    }

    /// Of a room between guards, every byte is written whatever was in it, and the guards are not.
    #[test]
    fn push_fills_exactly_its_overhead(
        tunnel in tunnel(), ends in ends(), packet in packet(), hash in any::<u32>(),
    ) {
        const GUARD: usize = 16;
        let encap = tunnel.encap(&ends);
        let inner = describe(&packet, hash);
        let expected = pushed(&encap, &inner);
        prop_assert_eq!(encap.family(), Family::from(ends.local));
        for poison in [0x00, 0x5a, 0xff] {
            let mut bytes = vec![poison; GUARD + encap.overhead() + GUARD];
            let room = GUARD..GUARD + encap.overhead();
            encap.push(&mut bytes[room.clone()], &inner);
            prop_assert_eq!(&bytes[room], &expected);
            prop_assert_eq!(&bytes[..GUARD], [poison; GUARD]);
            prop_assert_eq!(&bytes[bytes.len() - GUARD..], [poison; GUARD]);
        }
    }

    /// Outer lengths and checksums are right in the eyes of another implementation.
    #[test]
    fn etherparse_agrees_with_the_outer_headers(
        tunnel in tunnel(), ends in ends(), packet in packet(), hash in any::<u32>(),
    ) {
        let encap = tunnel.encap(&ends);
        let outer = packed(&encap, &packet, hash);
        let sliced = SlicedPacket::from_ip(&outer).unwrap();
        // The strict one refuses lengths beyond the bytes, the lax one would show what was cut.
        prop_assert_eq!(LaxSlicedPacket::from_ip(&outer).unwrap().stop_err, None);
        let ip_payload = match sliced.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                prop_assert_eq!(usize::from(header.total_len), outer.len());
                prop_assert!(header.dont_fragment && !header.more_fragments);
                prop_assert_eq!(IpAddr::from(header.source), ends.local);
                prop_assert_eq!(IpAddr::from(header.destination), ends.remote);
                ip.payload()
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                prop_assert_eq!(usize::from(header.payload_length) + ipv6::LEN, outer.len());
                prop_assert_eq!(IpAddr::from(header.source), ends.local);
                prop_assert_eq!(IpAddr::from(header.destination), ends.remote);
                ip.payload()
            }
            NetSlice::Arp(_) => panic!("an IP packet"),
        };
        let Some(TransportSlice::Udp(udp)) = sliced.transport else {
            prop_assert!(matches!(tunnel.steers()[0], Steer::Protocol(_)));
            return Ok(());
        };
        prop_assert_eq!(usize::from(udp.length()), ip_payload.payload.len());
        prop_assert_eq!(vec![Steer::Udp(udp.destination_port())], tunnel.steers());
        let header = udp.to_header();
        let expected = match (encap.checksum_offset(), ends.local, ends.remote) {
            (None, ..) => 0,
            (_, IpAddr::V4(a), IpAddr::V4(b)) => {
                header.calc_checksum_ipv4_raw(a.octets(), b.octets(), udp.payload()).unwrap()
            }
            (_, IpAddr::V6(a), IpAddr::V6(b)) => {
                header.calc_checksum_ipv6_raw(a.octets(), b.octets(), udp.payload()).unwrap()
            }
            _ => unreachable!("ends of one family"),
        };
        prop_assert_eq!(udp.checksum(), expected);
    }

    #[test]
    fn resize_equals_a_fresh_push(
        tunnel in tunnel(), ends in ends(), packet in packet(), hash in any::<u32>(),
        len in 0..MAX_INNER, super_len in 0..1usize << 20,
    ) {
        let encap = tunnel.encap(&ends);
        let inner = Inner { len: super_len, ..describe(&packet, hash) };
        let mut outer = pushed(&encap, &inner);
        encap.resize(&mut outer, len);
        prop_assert_eq!(outer, pushed(&encap, &Inner { len, ..inner }));
    }

    /// Without the packet's ECN bits no congestion can be told: what a tunnel puts outside comes
    /// back inside, and the underlay's mark does where the sender can read it.
    #[test]
    fn congestion_passes_through(
        tunnel in tunnel(), ends in ends(), packet in packet(), hash in any::<u32>(),
    ) {
        let encap = tunnel.encap(&ends);
        let inner = describe(&packet, hash);
        let outer = pushed(&encap, &inner);
        let tos = match encap.family() {
            Family::V4 => outer[1],
            Family::V6 => outer[0] << 4 | outer[1] >> 4,
        };
        prop_assert_eq!(tos & 3, inner.tos & 3);
        prop_assert_eq!(tunnel.decap_tos(tos, inner.tos), Ok(inner.tos));
        let marked = tunnel.decap_tos(tos | 3, inner.tos);
        prop_assert_eq!(marked.ok(), (inner.tos & 3 != 0).then_some(inner.tos | 3));
    }

    /// What is behind the header, but for the version of an IP packet, has no say in what it says.
    #[test]
    fn pop_looks_at_the_header_alone(
        tunnel in tunnel(), ends in ends(), packet in packet(), noise in vec(any::<u8>(), 1..200),
        at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let mut outer = packed(&tunnel.encap(&ends), &packet, 0);
        let (by, payload) = steered(&tunnel.steers(), &outer).unwrap();
        let (start, len) = (outer.len() - payload.len(), payload.len());
        // Also of headers that are not what we would send.
        outer[start..][at.index(len.min(30))] ^= 1u8 << bit;
        if let Ok(popped) = tunnel.pop(by, &outer[start..]) {
            let end = start + popped.header_len;
            let mut other = outer[..end].to_vec();
            other.extend_from_slice(&noise);
            if popped.strip != Strip::Ethernet {
                other[end] = outer[end] & 0xf0 | noise[0] & 0x0f;
            }
            prop_assert_eq!(tunnel.pop(by, &other[start..]), Ok(popped));
        }
    }

    #[test]
    fn noise_never_panics(tunnel in tunnel(), noise in vec(any::<u8>(), 0..100)) {
        for by in tunnel.steers() {
            if let Ok(popped) = tunnel.pop(by, &noise) {
                prop_assert!(popped.header_len <= noise.len());
            }
        }
        let _ = steered(&tunnel.steers(), &noise);
    }

    #[test]
    fn a_flipped_bit_never_panics(
        tunnel in tunnel(), ends in ends(), packet in packet(), at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let encap = tunnel.encap(&ends);
        let mut outer = packed(&encap, &packet, 0);
        outer[at.index(encap.overhead())] ^= 1u8 << bit;
        if let Some((by, payload)) = steered(&tunnel.steers(), &outer)
            && let Ok(popped) = tunnel.pop(by, payload)
        {
            prop_assert!(popped.header_len <= payload.len());
        }
    }
}
