//! What is too long for its way: told, fragmented, or cut and fragmented. The fragments are put together
//! here again, by a reassembly that knows nothing of how they were made; etherparse reads them.
#![allow(clippy::unwrap_used)]

use super::super::{FRAGMENTS, TOO_BIG};
use crate::frame::{Frame, Gso, GsoKind, Partial};
use crate::snapshot::PortId;
use crate::stages::finish;
use crate::testing::*;
use encap::wire::{checksum, icmpv4, icmpv6, ipv4, ipv6, protocol};
use etherparse::{Ipv4HeaderSlice, PacketBuilder, TcpHeader, TcpSlice};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes in front of an inner packet on the uplink.
const OUTER: usize = 14 + 20 + 8 + 8 + 14;
/// Most fragments of a packet.
const MOST: usize = 1024 - 64;

/// The peer's way carries packets of this many bytes.
fn world(mtu: usize) -> World {
    let mut world = World::default();
    Arc::make_mut(&mut world.snapshot.peers)[0].mtu = mtu;
    Arc::make_mut(&mut world.snapshot.ports)[UPLINK.index()].mtu = mtu + 50;
    world
}

/// A packet of pod a2: with these options, fragment word, and what stands behind the header.
fn packet(options: &[u8], word: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut bytes = vec![0; 20];
    ipv4::Header {
        tos: 0,
        total_len: (header_len + payload.len()) as u16,
        ident: 0x1234,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        src: A2,
        dst: B1,
    }
    .emit(&mut bytes);
    bytes.extend(options);
    bytes[0] = 0x40 | (header_len / 4) as u8;
    bytes[6..8].copy_from_slice(&word.to_be_bytes());
    bytes[10..12].fill(0);
    let sum = checksum::of(&bytes);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// The inner packets of what left by the uplink.
fn inner(sent: Vec<(PortId, Vec<u8>)>) -> Vec<Vec<u8>> {
    sent.into_iter()
        .map(|(port, bytes)| {
            assert_eq!(port, UPLINK);
            bytes[OUTER..].to_vec()
        })
        .collect()
}

/// Fragments of one packet, put together: its payload, where that begins, and whether more follow.
fn reassemble(fragments: &[Vec<u8>]) -> (Vec<u8>, usize, bool) {
    let mut parts = BTreeMap::new();
    for bytes in fragments {
        let ip = Ipv4HeaderSlice::from_slice(bytes).unwrap();
        let header = ip.to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(usize::from(ip.total_len()), bytes.len());
        let payload = &bytes[ip.slice().len()..];
        assert!(!payload.is_empty());
        assert!(!ip.more_fragments() || payload.len() % 8 == 0, "only the last may be odd");
        let at = usize::from(ip.fragments_offset().value()) * 8;
        assert!(parts.insert(at, (payload, ip.more_fragments())).is_none(), "two at {at}");
    }
    let (first, mut whole) = (*parts.keys().next().unwrap(), Vec::new());
    let (mut more, last) = (true, parts.len() - 1);
    for (i, (at, (payload, follows))) in parts.into_iter().enumerate() {
        assert_eq!(at, first + whole.len(), "neither hole nor overlap");
        assert!(follows || i == last, "the last one has no successor");
        whole.extend(payload);
        more = follows;
    }
    (whole, first, more)
}

/// Options that make whole words, some of which are copied; those that all fragments have.
fn options() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let kind = any::<u8>().prop_filter("source routes are refused", |kind| {
        !matches!(kind, 0 | 131 | 137)
    });
    let option = (kind, prop::collection::vec(any::<u8>(), 0..12));
    prop::collection::vec(option, 0..6).prop_map(|list| {
        let (mut all, mut copied) = (Vec::new(), Vec::new());
        for (kind, data) in list {
            let option = match kind {
                1 => vec![1],
                _ => [&[kind, data.len() as u8 + 2], &data[..]].concat(),
            };
            if all.len() + option.len() > 40 {
                break;
            }
            all.extend(&option);
            if kind >= 128 {
                copied.extend(&option);
            }
        }
        for list in [&mut all, &mut copied] {
            list.resize(list.len().next_multiple_of(4), 0);
        }
        (all, copied)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn fragments_fit_and_are_the_packet(
        (options, copied) in options(),
        len in prop_oneof![1..3000usize, 1..65_455usize],
        mtu in prop_oneof![68..9000usize, 500..1600usize],
        offset in prop_oneof![Just(0), 0..0x1fffu16],
        more in any::<bool>(),
    ) {
        let mut world = world(mtu);
        // Only the last fragment of a packet has odd bytes.
        let len = if more { len.next_multiple_of(8) } else { len };
        let payload = pattern(len);
        let word = if more { 0x2000 } else { 0 } | offset;
        let whole = packet(&options, word, 99, &payload);
        let sent = world.pass(TUN, &whole);
        let sent = inner(sent);
        let start = usize::from(offset) * 8;
        let share = |options: &[u8]| (mtu - 20 - options.len()) / 8 * 8;
        let pieces = 1 + len.saturating_sub(share(&options)).div_ceil(share(&copied));
        if whole.len() > mtu && start + len > 65_535 {
            prop_assert_eq!((sent.len(), world.counters.drops(TOO_BIG)), (0, 1));
        } else if whole.len() > mtu && pieces > MOST {
            prop_assert_eq!((sent.len(), world.counters.drops(FRAGMENTS)), (0, 1));
        } else {
            prop_assert_eq!(reassemble(&sent), (payload, start, more));
            for (k, part) in sent.iter().enumerate() {
                prop_assert!(part.len() <= mtu, "{} bytes", part.len());
                let ip = Ipv4HeaderSlice::from_slice(part).unwrap();
                prop_assert_eq!(ip.options(), if k == 0 { &options } else { &copied });
                prop_assert_eq!((ip.ttl(), ip.identification(), ip.protocol().0), (63, 0x1234, 99));
                let is_full = part.len() + 8 > mtu;
                prop_assert!(is_full || k + 1 == sent.len(), "no more fragments than must be");
            }
            prop_assert_eq!(world.counters.split.get() as usize, sent.len() - 1);
        }
        world.check_laws();
    }

    #[test]
    fn a_super_frame_is_cut_and_its_segments_are_fragmented(
        len in 1..60_000usize, size in 100..2000u16, mtu in 100..2000usize,
    ) {
        let mut world = world(mtu);
        let payload = pattern(len);
        let frame = super_frame(&mut world, false, &payload, size);
        let sent = world.run([frame]);
        let sent = inner(world.bytes(sent));
        let largest = len.min(size.into()) + 20;
        let pieces = len.div_ceil(size.into()) * largest.div_ceil((mtu - 20) / 8 * 8);
        if largest + 20 > mtu && pieces > MOST {
            prop_assert_eq!((sent.len(), world.counters.drops(FRAGMENTS)), (0, 1));
        } else {
            let mut joined: Vec<u8> = Vec::new();
            for (k, of_segment) in sent.chunk_by(|a, b| a[4..6] == b[4..6]).enumerate() {
                prop_assert!(of_segment.iter().all(|part| part.len() <= mtu));
                prop_assert_eq!(&of_segment[0][4..6], &(0x1234 + k as u16).to_be_bytes());
                let (segment, ..) = reassemble(of_segment);
                let tcp = TcpSlice::from_slice(&segment).unwrap();
                let (src, dst) = (A2.octets(), B1.octets());
                prop_assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(src, dst).unwrap());
                prop_assert_eq!(tcp.sequence_number(), 1000 + joined.len() as u32);
                joined.extend(tcp.payload());
            }
            prop_assert_eq!(joined, payload);
            prop_assert_eq!(world.counters.split.get() as usize, sent.len() - 1);
        }
        world.check_laws();
    }
}

/// What a TUN port would hand over, of the data that pod a2 sends to b1 by TCP, with DF or without.
fn super_frame(world: &mut World, dont_fragment: bool, payload: &[u8], size: u16) -> Frame {
    let mut segment = Vec::new();
    let mut tcp = TcpHeader::new(40000, 80, 1000, 5000);
    let pseudo =
        checksum::pseudo_v4(A2, B1, protocol::TCP, (tcp.header_len() + payload.len()) as u32);
    tcp.checksum = checksum::fold(pseudo);
    tcp.write(&mut segment).unwrap();
    segment.extend(payload);
    let word = if dont_fragment { 0x4000 } else { 0 };
    let mut frame = world.frame(TUN, &packet(&[], word, protocol::TCP, &segment));
    frame.meta.gso = Gso { kind: GsoKind::Tcp4, size };
    frame.meta.partial = Partial { start: (frame.offset() + 20) as u16, offset: 16 };
    frame
}

/// What an ICMPv4 message to pod a2 says of the next hop, and the packet that it quotes.
fn fragmentation_needed(message: &[u8]) -> (u16, &[u8]) {
    let ip = ipv4::View::new(message).unwrap();
    assert!(ip.verify());
    assert_eq!((ip.src(), ip.dst(), ip.protocol()), (GATEWAY, A2, protocol::ICMPV4));
    let icmp = icmpv4::View::new(ip.payload()).unwrap();
    assert!(icmp.verify());
    assert_eq!((icmp.kind(), icmp.code()), (3, 4));
    let [0, 0, a, b] = icmp.rest() else { panic!("{:?}", icmp.rest()) };
    (u16::from_be_bytes([a, b]), icmp.payload())
}

#[test]
fn a_sender_who_forbids_fragments_is_told() {
    let mut world = world(1450);
    let fits = packet(&[], 0x4000, 17, &pattern(1430));
    assert_eq!(world.pass(TUN, &fits).len(), 1);
    let whole = packet(&[], 0x4000, 17, &pattern(1431));
    let sent = world.pass(TUN, &whole);
    assert_eq!((sent.len(), sent[0].0), (1, TUN));
    let (mtu, quote) = fragmentation_needed(&sent[0].1);
    assert_eq!(mtu, 1450);
    // The time to live was paid, which RFC 1812 §4.3.2.3 does not ask to be undone.
    assert_eq!(quote[..8], whole[..8]);
    assert_eq!(quote[12..], whole[12..548]);
    assert_eq!(world.counters.drops(TOO_BIG), 1);
    world.check_laws();
}

#[test]
fn the_sender_of_a_super_frame_is_told_when_its_segments_are_too_long() {
    let mut world = world(1450);
    for (size, told) in [(1410, false), (1411, true)] {
        let frame = super_frame(&mut world, true, &pattern(20_000), size);
        let sent = world.run([frame]);
        let sent = world.bytes(sent);
        match told {
            true => assert_eq!(fragmentation_needed(&sent[0].1).0, 1450),
            false => assert_eq!(sent.len(), 20_000usize.div_ceil(1410)),
        }
        assert_eq!(world.counters.drops(TOO_BIG), u64::from(told));
    }
    world.check_laws();
}

/// A packet of pod a2 to b1, and the MTU that it is told.
fn packet_too_big(world: &mut World, packet: &[u8]) -> Option<u32> {
    let sent = world.pass(TUN, packet);
    let [(TUN, message)] = &sent[..] else { return None };
    let ip = ipv6::View::new(message).unwrap();
    assert_eq!((ip.src(), ip.dst(), message.len() <= 1280), (GATEWAY_V6, A2_V6, true));
    let icmp = icmpv6::View::new(ip.payload()).unwrap();
    assert!(icmp.verify(ip.src(), ip.dst()));
    assert_eq!((icmp.kind(), icmp.code()), (2, 0));
    assert_eq!(icmp.payload()[8..], packet[8..icmp.payload().len()]);
    Some(u32::from_be_bytes(icmp.rest()))
}

fn v6(payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv6(A2_V6.octets(), B1_V6.octets(), 64).udp(1, 2);
    builder.write(&mut bytes, &pattern(payload - 8)).unwrap();
    bytes
}

#[test]
fn a_sender_of_ipv6_is_told() {
    let mut wide = world(1450);
    assert_eq!(wide.pass(TUN, &v6(1410)).len(), 1);
    assert_eq!(packet_too_big(&mut wide, &v6(1411)), Some(1450));
    let mut narrow = world(1200);
    assert_eq!(packet_too_big(&mut narrow, &v6(1300)), Some(1280), "never less (RFC 8200 §5)");
    for world in [wide, narrow] {
        assert_eq!(world.counters.drops(TOO_BIG), 1);
        world.check_laws();
    }
}

#[test]
fn a_sender_of_ipv6_fragments_is_told_as_well() {
    // What a pod makes of a long datagram is as long as its own MTU.
    let fragment = |next: u8, offset: u16| {
        let mut bytes = v6(1460);
        bytes[6] = 44;
        bytes[40..48].copy_from_slice(&[next, 0, (offset >> 8) as u8, offset as u8 | 1, 0, 0, 0, 7]);
        bytes
    };
    let mut world = world(1450);
    assert_eq!(packet_too_big(&mut world, &fragment(protocol::UDP, 0)), Some(1450));
    assert_eq!(packet_too_big(&mut world, &fragment(protocol::UDP, 1448)), Some(1450));
    // An echo request; and what may be an error's second half.
    let mut echo = fragment(protocol::ICMPV6, 0);
    echo[48] = icmpv6::ECHO_REQUEST;
    assert_eq!(packet_too_big(&mut world, &echo), Some(1450));
    assert_eq!(packet_too_big(&mut world, &fragment(protocol::ICMPV6, 1448)), None);
    assert_eq!(world.counters.drops(TOO_BIG), 4);
    world.check_laws();
}

#[test]
fn an_error_fits_its_own_way() {
    let mut world = world(400);
    Arc::make_mut(&mut world.snapshot.ports)[TUN.index()].mtu = 300;
    let sent = world.pass(TUN, &packet(&[], 0x4000, 17, &pattern(1000)));
    assert_eq!(sent[0].1.len(), 300);
    assert_eq!(fragmentation_needed(&sent[0].1).0, 400);
    world.check_laws();
}

#[test]
fn a_checksum_left_to_the_port_is_completed_before_the_cut() {
    let mut world = world(300);
    let mut frame = super_frame(&mut world, false, &pattern(1001), 1);
    frame.meta.gso = Gso::default();
    let sent = world.run([frame]);
    let (segment, ..) = reassemble(&inner(world.bytes(sent)));
    let tcp = TcpSlice::from_slice(&segment).unwrap();
    assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(A2.octets(), B1.octets()).unwrap());
    // A lie about where it stands.
    let mut frame = super_frame(&mut world, false, &pattern(1001), 1);
    frame.meta.gso = Gso::default();
    frame.meta.partial.offset = 5000;
    assert!(world.run([frame]).is_empty());
    assert_eq!(world.counters.drops(finish::OFFLOAD), 1);
    world.check_laws();
}

#[test]
fn a_port_of_a_pod_has_its_own_mtu() {
    let mut world = World::default();
    let mut whole = packet(&[], 0, 17, &pattern(1440));
    whole[16..20].copy_from_slice(&A1.octets());
    whole[10..12].fill(0);
    let sum = checksum::of(&whole[..20]);
    whole[10..12].copy_from_slice(&sum.to_be_bytes());
    let sent = world.pass(TUN, &whole);
    assert_eq!(sent.iter().map(|(port, bytes)| (*port, bytes.len())).collect::<Vec<_>>(), [
        (VETH, 14 + 20 + 1424),
        (VETH, 14 + 20 + 16)
    ]);
    world.check_laws();
}

#[test]
fn nothing_overtakes_fragments() {
    let mut world = world(100);
    let numbered = |n: u8, len: usize| {
        let mut bytes = packet(&[], 0, 17, &pattern(len));
        (bytes[4], bytes[5]) = (0, n);
        bytes[10..12].fill(0);
        let sum = checksum::of(&bytes[..20]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let lengths = [10, 200, 10, 10, 150, 10];
    let frames: Vec<_> = (0..).zip(lengths).map(|(n, len)| numbered(n, len)).collect();
    let frames: Vec<_> = frames.iter().map(|bytes| world.frame(TUN, bytes)).collect();
    let sent = world.run(frames);
    let order: Vec<_> = inner(world.bytes(sent)).iter().map(|bytes| bytes[5]).collect();
    assert_eq!(order, [0, 1, 1, 1, 2, 3, 4, 4, 5]);
    world.check_laws();
}

#[test]
fn all_fragments_or_none() {
    // Without memory for all of them.
    let mut world = world(100);
    let frame = world.frame(TUN, &packet(&[], 0, 17, &pattern(3000)));
    let super_frame = super_frame(&mut world, false, &pattern(3000), 500);
    let mut taken: Vec<_> = std::iter::from_fn(|| world.pool.alloc()).collect();
    taken.drain(..10).for_each(|chunk| world.pool.free(chunk));
    assert!(world.run([frame]).is_empty());
    assert!(world.run([super_frame]).is_empty());
    assert_eq!(world.counters.drops(FRAGMENTS), 2);
    taken.into_iter().for_each(|chunk| world.pool.free(chunk));
    world.check_laws();
    // Without room: the second packet of a batch finds the queue full.
    let bytes = packet(&[], 0, 17, &pattern(60_000));
    let frames = [world.frame(TUN, &bytes), world.frame(TUN, &bytes)];
    let sent = world.run(frames);
    assert_eq!(sent.len(), 60_000usize.div_ceil(80));
    world.bytes(sent);
    assert_eq!(world.counters.drops(FRAGMENTS), 3);
    world.check_laws();
}

#[test]
fn a_way_that_carries_next_to_nothing() {
    for mtu in [0, 19, 20, 27] {
        let mut world = world(mtu);
        let sent = world.pass(TUN, &packet(&[], 0, 17, &pattern(100)));
        assert_eq!(fragmentation_needed(&sent[0].1).0, mtu as u16);
        world.check_laws();
    }
    let mut world = world(28);
    let sent = world.pass(TUN, &packet(&[], 0, 17, &pattern(100)));
    assert_eq!(sent.len(), 13);
    world.check_laws();
}

/// A TCP segment of pod a2 to b1, or the other way out of the tunnel, that names a segment size; what it
/// names when it leaves.
fn named(world: &mut World, v6: bool, outwards: bool, syn: bool, mss: u16) -> u16 {
    let mut tcp = TcpHeader::new(40000, 80, 1000, 5000);
    (tcp.syn, tcp.ack) = (syn, !outwards);
    let option = etherparse::TcpOptionElement::MaximumSegmentSize(mss);
    tcp.set_options(&[etherparse::TcpOptionElement::Noop, option]).unwrap();
    let ((a4, b4), (a6, b6)) = ((A2.octets(), B1.octets()), (A2_V6.octets(), B1_V6.octets()));
    let mut packet = Vec::new();
    match (v6, outwards) {
        (false, true) => PacketBuilder::ipv4(a4, b4, 9).tcp_header(tcp).write(&mut packet, b"x"),
        (false, false) => PacketBuilder::ipv4(b4, a4, 9).tcp_header(tcp).write(&mut packet, b"x"),
        (true, true) => PacketBuilder::ipv6(a6, b6, 9).tcp_header(tcp).write(&mut packet, b"x"),
        (true, false) => PacketBuilder::ipv6(b6, a6, 9).tcp_header(tcp).write(&mut packet, b"x"),
    }
    .unwrap();
    let sent = match outwards {
        true => inner(world.pass(TUN, &packet)).remove(0),
        false => world.pass(UPLINK, &tunnelled(&packet)).remove(0).1,
    };
    let tcp = TcpSlice::from_slice(&sent[if v6 { 40 } else { 20 }..]).unwrap();
    let sum = match (v6, outwards) {
        (false, true) => tcp.calc_checksum_ipv4(a4, b4),
        (false, false) => tcp.calc_checksum_ipv4(b4, a4),
        (true, true) => tcp.calc_checksum_ipv6(a6, b6),
        (true, false) => tcp.calc_checksum_ipv6(b6, a6),
    };
    assert_eq!(tcp.checksum(), sum.unwrap());
    let mut options = tcp.options_iterator().map(Result::unwrap);
    assert_eq!(options.next(), Some(etherparse::TcpOptionElement::Noop));
    match options.next() {
        Some(etherparse::TcpOptionElement::MaximumSegmentSize(mss)) => mss,
        other => panic!("{other:?}"),
    }
}

/// A packet as the peer sends it.
fn tunnelled(packet: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ethertype = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    let vxlan = [8, 0, 0, 0, 0, 0, VNI as u8, 0];
    let inner = [&vxlan, &VTEP.0[..], &B_VTEP.0, &ethertype, packet].concat();
    PacketBuilder::ethernet2(B_MAC.0, MACS[UPLINK.index()].0)
        .ipv4(NODE_B.octets(), NODE_A.octets(), 64)
        .udp(50_000, VXLAN_PORT)
        .write(&mut bytes, &inner)
        .unwrap();
    bytes
}

#[test]
fn handshakes_name_segments_that_fit_where_a_peer_asks_for_it() {
    let mut world = world(1400);
    assert_eq!(named(&mut world, false, true, true, 1460), 1460, "nobody asks");
    world.snapshot.clamps_mss = true;
    assert_eq!(named(&mut world, false, true, true, 1460), 1460, "another peer does");
    Arc::make_mut(&mut world.snapshot.peers)[0].clamp_mss = true;
    for outwards in [true, false] {
        assert_eq!(named(&mut world, false, outwards, true, 1460), 1360);
        assert_eq!(named(&mut world, true, outwards, true, 1460), 1340);
        assert_eq!(named(&mut world, false, outwards, true, 1300), 1300, "never raised");
        assert_eq!(named(&mut world, false, outwards, false, 1460), 1460, "no handshake");
    }
    world.check_laws();
}
