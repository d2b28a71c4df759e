//! What leaves in outer fragments, put together by a reassembly that knows nothing of how they were made, is
//! what would have left whole.
#![allow(clippy::unwrap_used)]

use super::super::super::TOO_BIG;
use crate::frame::{Frame, Gso, GsoKind, Partial};
use crate::snapshot::PortId;
use crate::testing::*;
use encap::wire::{ethernet, icmpv6, ipv4, ipv6, protocol, udp};
use encap::{Configs, Ends, Family};
use etherparse::PacketBuilder;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What a reassembly goes by: ends, protocol, identification.
type Key = (IpAddr, IpAddr, u8, u32);

/// A fragment, or a packet that is none.
struct Piece<'a> {
    /// The header of the whole, but for its length.
    header: Vec<u8>,
    fragment: Option<(Key, usize, bool)>,
    payload: &'a [u8],
}

fn read(packet: &[u8]) -> Piece<'_> {
    if packet[0] >> 4 == 4 {
        let ip = ipv4::View::new(packet).unwrap();
        assert!(ip.verify());
        assert_eq!(usize::from(ip.total_len()), packet.len());
        assert!(ip.is_fragment() != ip.dont_fragment(), "fragments alone may be cut again");
        let key = (ip.src().into(), ip.dst().into(), ip.protocol(), ip.ident().into());
        let (at, more) = (usize::from(ip.fragment_offset()), ip.more_fragments());
        let fragment = ip.is_fragment().then_some((key, at, more));
        let header = vec![ip.tos(), ip.ttl(), ip.protocol()];
        return Piece { header, fragment, payload: ip.payload() };
    }
    let ip = ipv6::View::new(packet).unwrap();
    assert_eq!(ip.total_len(), packet.len());
    let upper = ip.upper_layer().unwrap();
    let ends = (ip.src().into(), ip.dst().into());
    let fragment = upper.fragment.map(|fragment| {
        let key = (ends.0, ends.1, fragment.next_header, fragment.ident);
        (key, usize::from(fragment.offset), fragment.more)
    });
    let behind = ipv6::LEN + if fragment.is_some() { ipv6::FRAGMENT_LEN } else { 0 };
    let next = upper.fragment.map_or(ip.next_header(), |fragment| fragment.next_header);
    let header = vec![ip.traffic_class(), ip.hop_limit(), next];
    Piece { header, fragment, payload: &packet[behind..] }
}

/// What it says of a packet that matters in its header, and what is behind that.
type Packet = (Vec<u8>, Vec<u8>);

/// Frames of the underlay, none longer than `most`: header and payload of each packet, in order; and how
/// many were in fragments.
fn reassemble(frames: &[(PortId, Vec<u8>)], most: usize) -> (Vec<Packet>, usize) {
    type Parts<'a> = BTreeMap<usize, (&'a [u8], bool)>;
    let (mut whole, mut parts, mut fragmented) = (Vec::new(), BTreeMap::<Key, Parts<'_>>::new(), 0);
    for (port, frame) in frames {
        assert_eq!(*port, UPLINK);
        let packet = &frame[ethernet::LEN..];
        assert!(packet.len() <= most, "{} bytes", packet.len());
        let piece = read(packet);
        let Some((key, at, more)) = piece.fragment else {
            whole.push((piece.header, piece.payload.to_vec()));
            continue;
        };
        assert!(!more || piece.payload.len().is_multiple_of(8));
        let known = parts.entry(key).or_default();
        assert!(known.insert(at, (piece.payload, more)).is_none());
        // They leave in order, none of another packet in between.
        if !more {
            let mut bytes = Vec::new();
            for (at, (payload, _)) in parts.remove(&key).unwrap() {
                assert_eq!(at, bytes.len(), "neither hole nor overlap");
                bytes.extend(payload);
            }
            fragmented += 1;
            whole.push((piece.header, bytes));
        }
        assert!(parts.len() <= 1);
    }
    assert!(parts.is_empty(), "a last fragment is missing");
    (whole, fragmented)
}

/// A world of this tunnel, over an underlay of this family, whose path carries packets of `path` bytes.
fn world(tunnel: &encap::Tunnel, outer: Family, path: usize) -> World {
    let mut world = World::default();
    let (local, remote): (IpAddr, IpAddr) = match outer {
        Family::V4 => (NODE_A.into(), NODE_B.into()),
        Family::V6 => ("fd77::1".parse().unwrap(), "fd77::2".parse().unwrap()),
    };
    let encap = tunnel.encap(&Ends { local, remote, local_mac: VTEP, remote_mac: B_VTEP });
    let peer = &mut Arc::make_mut(&mut world.snapshot.peers)[0];
    peer.mtu = path - encap.overhead();
    peer.encap.as_mut().unwrap().1 = encap;
    peer.fragment_outer = true;
    Arc::make_mut(&mut world.snapshot.ports)[UPLINK.index()].mtu = path.max(1500);
    world
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// A UDP packet of pod a2.
fn packet(family: Family, len: usize) -> Vec<u8> {
    let builder = match family {
        Family::V4 => PacketBuilder::ipv4(A2.octets(), B1.octets(), 64),
        Family::V6 => PacketBuilder::ipv6(A2_V6.octets(), B1_V6.octets(), 64),
    };
    let mut bytes = Vec::new();
    builder.udp(4000, 5000).write(&mut bytes, &pattern(len)).unwrap();
    bytes
}

/// What is sent for the same bytes, cut by `gso` if that says so.
fn send(world: &mut World, bytes: &[u8], family: Family, gso: u16) -> Vec<(PortId, Vec<u8>)> {
    let mut frame = Frame::copied(bytes, &mut world.pool, TUN).unwrap();
    if gso > 0 {
        let l4 = frame.offset() + if family == Family::V4 { ipv4::LEN } else { ipv6::LEN };
        frame.meta.gso = Gso { kind: GsoKind::Udp, size: gso };
        frame.meta.partial = Partial { start: l4 as u16, offset: udp::field::CHECKSUM.start as u16 };
    }
    let sent = world.run([frame]);
    let sent = world.bytes(sent);
    world.check_laws();
    sent
}

fn families() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn fragments_are_what_would_have_left_whole(
        which in any::<prop::sample::Index>(),
        (inner, outer) in (families(), families()),
        len in prop_oneof![1..4000usize, 1..65_000usize],
        path in prop_oneof![576..9000usize, 1280..1600usize],
        gso in prop_oneof![Just(0u16), 200..9000u16],
    ) {
        let configs = Configs::samples();
        let all: Vec<_> = configs.tunnels().collect();
        let (_, tunnel) = which.get(&all);
        let path = if outer == Family::V6 { path.max(1280) } else { path };
        let bytes = packet(inner, len);
        let mut wide = world(tunnel, outer, 70_000);
        prop_assume!(bytes.len() + wide.snapshot.peers[0].overhead() <= 65_535);
        let expected = send(&mut wide, &bytes, inner, gso);
        let (expected, none) = reassemble(&expected, usize::MAX);
        prop_assert_eq!(none, 0);
        let mut narrow = world(tunnel, outer, path);
        let longest = expected.iter().map(|(_, payload)| payload.len()).max().unwrap();
        let sent = send(&mut narrow, &bytes, inner, gso);
        let (whole, fragmented) = reassemble(&sent, path);
        prop_assert_eq!(whole, expected);
        let header = if outer == Family::V4 { ipv4::LEN } else { ipv6::LEN };
        prop_assert_eq!(fragmented > 0, longest + header > path);
    }
}

/// Nobody can be told to send less than 1280 bytes of IPv6: more is refused, that much passes.
#[test]
fn the_least_that_ipv6_may_send_passes_whatever_the_config() {
    let configs = Configs::samples();
    for (_, tunnel) in configs.tunnels() {
        let mut world = world(&tunnel, Family::V6, 1280);
        Arc::make_mut(&mut world.snapshot.peers)[0].fragment_outer = false;
        let sent = send(&mut world, &packet(Family::V6, 1280 - 48), Family::V6, 0);
        let (whole, fragmented) = reassemble(&sent, 1280);
        assert_eq!((whole.len(), fragmented), (1, 1));
        let long = packet(Family::V6, 1281 - 48);
        let sent = send(&mut world, &long, Family::V6, 0);
        assert_eq!((sent.len(), world.counters.drops(TOO_BIG)), (1, 1));
        let (port, told) = &sent[0];
        assert_eq!((*port, told[6], told[40]), (TUN, protocol::ICMPV6, icmpv6::PACKET_TOO_BIG));
        assert_eq!(told[44..48], 1280u32.to_be_bytes());
        // Of IPv4 less can be told, and is.
        let sent = send(&mut world, &packet(Family::V4, 1280 - 28), Family::V4, 0);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, TUN);
    }
}

#[test]
fn what_is_longer_than_any_packet_is_refused() {
    let configs = Configs::samples();
    let (_, tunnel) = configs.tunnels().next().unwrap();
    let mut world = world(&tunnel, Family::V4, 1500);
    let sent = send(&mut world, &packet(Family::V4, 65_535 - 28), Family::V4, 0);
    assert_eq!((sent[0].0, world.counters.drops(TOO_BIG)), (TUN, 1), "with DF, and told");
}
