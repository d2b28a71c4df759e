//! Checksums completed, super-frames cut, segments joined; etherparse recomputes every checksum.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::frame::{Gso, Packet, Partial};
use crate::testing::*;
use encap::wire::{checksum, ipv4, ipv6, tcp};
use etherparse::{PacketBuilder, PacketHeaders, TransportHeader};
use proptest::prelude::*;

/// A TCP packet from pod a2 as its kernel would hand it over: bare IP, the checksum partial.
fn from_tun(v6: bool, dst_b: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let dst4 = if dst_b { B1 } else { A1 };
    let dst6 = if dst_b { B1_V6 } else { A1_V6 };
    let mut header = etherparse::TcpHeader::new(40000, 80, 1000, 5000);
    (header.ack, header.psh, header.fin, header.cwr) = (true, true, true, true);
    header.acknowledgment_number = 77;
    header.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
    if v6 {
        let builder = PacketBuilder::ipv6(A2_V6.octets(), dst6.octets(), 64).tcp_header(header);
        builder.write(&mut bytes, payload).unwrap();
    } else {
        let builder = PacketBuilder::ipv4(A2.octets(), dst4.octets(), 64).tcp_header(header);
        builder.write(&mut bytes, payload).unwrap();
    }
    bytes
}

/// The frame with the facts that a TUN port would note.
fn super_frame(world: &mut World, v6: bool, bytes: &[u8], size: u16) -> Frame {
    let mut bytes = bytes.to_vec();
    let l4 = if v6 { 40 } else { 20 };
    let len = (bytes.len() - l4) as u32;
    let pseudo = match v6 {
        true => checksum::pseudo_v6(A2_V6, dst6(&bytes), 6, len),
        false => {
            let ip = ipv4::View::new(&bytes).unwrap();
            checksum::pseudo_v4(ip.src(), ip.dst(), 6, len)
        }
    };
    bytes[l4 + 16..l4 + 18].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    let mut frame = world.frame(TUN, &bytes);
    let kind = if v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 };
    if size > 0 {
        frame.meta.gso = Gso { kind, size };
    }
    frame.meta.partial = Partial { start: (frame.offset() + l4) as u16, offset: 16 };
    frame
}

fn dst6(bytes: &[u8]) -> std::net::Ipv6Addr {
    ipv6::View::new(bytes).unwrap().dst()
}

/// TCP header and payload of an Ethernet frame whose checksums all hold.
fn checked_tcp(frame: &[u8]) -> (etherparse::TcpHeader, Vec<u8>) {
    let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let Some(TransportHeader::Tcp(tcp)) = headers.transport else { panic!("no TCP") };
    let payload = headers.payload.slice();
    let sum = match headers.net.as_ref().unwrap() {
        etherparse::NetHeaders::Ipv4(ip, _) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            tcp.calc_checksum_ipv4(ip, payload).unwrap()
        }
        etherparse::NetHeaders::Ipv6(ip, _) => tcp.calc_checksum_ipv6(ip, payload).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(tcp.checksum, sum);
    (tcp, payload.to_vec())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_super_frame_leaves_as_the_segments_that_it_stands_for(
        len in 1..60_000usize, size in 500..1350u16, v6 in any::<bool>(), tunnel in any::<bool>(),
    ) {
        let mut world = World::default();
        let payload = pattern(len);
        let whole = from_tun(v6, tunnel, &payload);
        let frame = super_frame(&mut world, v6, &whole, size);
        let sent = world.run([frame]);
        let sent = world.bytes(sent);
        prop_assert_eq!(sent.len(), len.div_ceil(size.into()));
        let mut joined = Vec::new();
        for (k, (port, bytes)) in sent.iter().enumerate() {
            let last = k + 1 == sent.len();
            prop_assert_eq!(*port, if tunnel { UPLINK } else { VETH });
            let inner = if tunnel {
                let outer = ipv4::View::new(&bytes[14..]).unwrap();
                prop_assert!(outer.verify());
                prop_assert_eq!(usize::from(outer.total_len()), bytes.len() - 14);
                &bytes[50..]
            } else {
                &bytes[..]
            };
            let (tcp, part) = checked_tcp(inner);
            prop_assert_eq!(tcp.sequence_number, 1000 + joined.len() as u32);
            prop_assert_eq!((tcp.psh, tcp.fin, tcp.cwr), (last, last, k == 0));
            prop_assert!(last || part.len() == usize::from(size));
            joined.extend(part);
        }
        prop_assert_eq!(joined, payload);
        prop_assert_eq!(world.counters.split.get(), sent.len() as u64 - 1);
        world.check_laws();
    }

    #[test]
    fn segments_of_a_flow_arrive_as_one_super_frame(
        len in 3000..40_000usize, v6 in any::<bool>(), flip in any::<Option<usize>>(),
    ) {
        // What a2 sends to a1 in segments, turned round so that it goes into a TUN.
        let mut world = World::default();
        let payload = pattern(len);
        let mut segments = segments_for_tun(v6, &payload);
        let n = segments.len();
        let mut flipped = None;
        if let Some(flip) = flip {
            let which = flip % n;
            let header = if v6 { 40 } else { 20 } + 32;
            let room = segments[which].len() - 14 - header;
            let bit = flip / n % (room * 8);
            segments[which][14 + header + bit / 8] ^= 1 << (bit % 8);
            flipped = Some(which);
        }
        let frames: Vec<_> = segments.iter().map(|bytes| world.frame(VETH, bytes)).collect();
        let mut seen = Vec::new();
        for batch in frames_in_batches(frames) {
            seen.extend(world.run(batch));
        }
        let mut merged = 0;
        for (port, frame) in &seen {
            prop_assert_eq!(*port, TUN);
            merged += check_for_tun(frame, v6, &payload, flipped.is_some());
        }
        prop_assert_eq!(merged, n, "every segment arrived once");
        if flipped.is_none() {
            prop_assert_eq!(seen.len(), 1);
        }
        world.bytes(seen);
        world.check_laws();
    }
}

fn frames_in_batches(frames: Vec<Frame>) -> Vec<Vec<Frame>> {
    let mut batches = vec![Vec::new()];
    for frame in frames {
        if batches.last().is_some_and(|batch| batch.len() == 64) {
            batches.push(Vec::new());
        }
        batches.last_mut().unwrap().push(frame);
    }
    batches
}

/// Ethernet frames from a1 to a2, in segments of 1000 bytes.
fn segments_for_tun(v6: bool, payload: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (k, part) in payload.chunks(1000).enumerate() {
        let mut header = etherparse::TcpHeader::new(80, 40000, 1 + k as u32 * 1000, 5000);
        header.ack = true;
        header.psh = (k + 1) * 1000 >= payload.len();
        header.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
        let ethernet = PacketBuilder::ethernet2(A1_MAC.0, MACS[1].0);
        let mut bytes = Vec::new();
        match v6 {
            true => ethernet
                .ipv6(A1_V6.octets(), A2_V6.octets(), 64)
                .tcp_header(header)
                .write(&mut bytes, part)
                .unwrap(),
            false => ethernet
                .ipv4(A1.octets(), A2.octets(), 64)
                .tcp_header(header)
                .write(&mut bytes, part)
                .unwrap(),
        }
        out.push(bytes);
    }
    out
}

/// What the pod's kernel would make of a frame: how many segments it stands for. A frame that is not a
/// super-frame must have the checksum it came with; a super-frame must hold exactly the sender's bytes.
fn check_for_tun(frame: &Frame, v6: bool, payload: &[u8], flipped: bool) -> usize {
    let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
    let l4 = if v6 { 40 } else { 20 };
    let tcp = tcp::View::new(&bytes[l4..]).unwrap();
    let at = (tcp.seq() - 1) as usize;
    let body = tcp.payload();
    let right = body == &payload[at..at + body.len()];
    if frame.meta.gso.kind == GsoKind::None {
        let holds = match v6 {
            true => tcp.verify_v6(A1_V6, A2_V6),
            false => tcp.verify_v4(A1, A2),
        };
        assert_eq!(holds, right, "a checksum tells the truth");
        assert!(right || flipped);
        return 1;
    }
    assert!(right, "only verified segments are joined");
    assert_eq!(frame.meta.gso.size, 1000);
    let partial = frame.meta.partial;
    assert_eq!((usize::from(partial.start) - frame.offset(), partial.offset), (l4, 16));
    let len = (bytes.len() - l4) as u32;
    let pseudo = match frame.meta.packet {
        Packet::V6 => checksum::pseudo_v6(A1_V6, A2_V6, 6, len),
        _ => checksum::pseudo_v4(A1, A2, 6, len),
    };
    assert_eq!(tcp.checksum(), checksum::fold(pseudo));
    body.len().div_ceil(1000)
}

#[test]
fn a_partial_checksum_is_completed_for_a_port_that_cannot() {
    let mut world = World::default();
    for (v6, tunnel) in [(false, false), (true, false), (false, true), (true, true)] {
        let bytes = from_tun(v6, tunnel, &pattern(501));
        let frame = super_frame(&mut world, v6, &bytes, 0);
        let sent = world.run([frame]);
        let sent = world.bytes(sent);
        checked_tcp(&sent[0].1[if tunnel { 50 } else { 0 }..]);
    }
    world.check_laws();
}

#[test]
fn a_checksum_left_to_hardware_is_recognised_on_ports_that_have_such() {
    let mut world = World::default();
    std::sync::Arc::make_mut(&mut world.snapshot.ports)[VETH.index()].partial_sums = true;
    let segments = segments_for_tun(false, &pattern(900));
    let mut frame = segments[0].clone();
    let complete = frame[50..52].to_vec();
    let pseudo = checksum::fold(checksum::pseudo_v4(A1, A2, 6, (frame.len() - 34) as u32));
    frame[50..52].copy_from_slice(&pseudo.to_be_bytes());
    frame[30..34].copy_from_slice(&B1.octets());
    frame[24..26].fill(0);
    let sum = checksum::of(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let pseudo = checksum::fold(checksum::pseudo_v4(A1, B1, 6, (frame.len() - 34) as u32));
    frame[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let sent = world.pass(VETH, &frame);
    checked_tcp(&sent[0].1[50..]);
    // A checksum that is merely wrong stays wrong.
    let mut wrong = segments[0].clone();
    wrong[50] ^= 0x55;
    let sent = world.pass(VETH, &wrong);
    assert_eq!(sent[0].1[36..38], [complete[0] ^ 0x55, complete[1]]);
    world.check_laws();
}

#[test]
fn an_outer_checksum_is_computed_when_configured() {
    let tunnel = format!("[[vxlan]]\nvni = {VNI}\nport = {VXLAN_PORT}\nudp-checksum = true");
    let mut world = World::new(&tunnel);
    for (size, count) in [(0, 1), (700, 2)] {
        let bytes = from_tun(false, true, &pattern(1398));
        let frame = super_frame(&mut world, false, &bytes, size);
        let sent = world.run([frame]);
        assert_eq!(sent.len(), count);
        for (_, bytes) in world.bytes(sent) {
            let udp = encap::wire::udp::View::new(&bytes[34..]).unwrap();
            assert_ne!(udp.checksum(), 0);
            assert!(udp.verify_v4(NODE_A, NODE_B));
            checked_tcp(&bytes[50..]);
        }
    }
    world.check_laws();
}

#[test]
fn what_does_not_fit_is_dropped_and_super_frames_do_fit() {
    let mut world = World::default();
    // Tables that do not fit together, or it would be told or fragmented before.
    std::sync::Arc::make_mut(&mut world.snapshot.peers)[0].mtu = 9000;
    let (fits, too_big) = (1450 - 52, 1450 - 51);
    let small = from_tun(false, true, &pattern(fits));
    let large = from_tun(false, true, &pattern(too_big));
    let frame = super_frame(&mut world, false, &small, 0);
    assert_eq!(world.run([frame]).into_iter().map(|(_, f)| f.free(&mut world.pool)).count(), 1);
    for (bytes, size) in [(&large, 0), (&large, too_big as u16)] {
        let frame = super_frame(&mut world, false, bytes, size);
        assert!(world.run([frame]).is_empty());
    }
    assert_eq!(world.counters.drops(TOO_BIG), 2);
    world.check_laws();
}

#[test]
fn offloads_that_lie_are_dropped() {
    let mut world = World::default();
    let bytes = from_tun(false, true, &pattern(3000));
    let lies: [fn(&mut Frame); 4] = [
        |frame| frame.meta.gso.kind = GsoKind::Tcp6,
        |frame| frame.meta.gso.kind = GsoKind::Udp,
        |frame| frame.meta.gso.size = 0,
        |frame| {
            let at = frame.offset() + 32;
            frame.from_mut(at as u16)[0] = 0x20;
        },
    ];
    for (n, lie) in lies.iter().enumerate() {
        let mut frame = super_frame(&mut world, false, &bytes, 1000);
        lie(&mut frame);
        assert!(world.run([frame]).is_empty());
        assert_eq!(world.counters.drops(OFFLOAD), n as u64 + 1);
    }
    world.check_laws();
}

#[test]
fn memory_that_runs_out_is_accounted_for() {
    let mut world = World::default();
    let bytes = from_tun(false, true, &pattern(50_000));
    let frame = super_frame(&mut world, false, &bytes, 1000);
    let mut taken: Vec<_> = std::iter::from_fn(|| world.pool.alloc()).collect();
    taken.drain(..10).for_each(|chunk| world.pool.free(chunk));
    let sent = world.run([frame]);
    assert_eq!(sent.len(), 10);
    assert_eq!(world.counters.drops(NO_MEMORY), 40);
    world.bytes(sent);
    taken.into_iter().for_each(|chunk| world.pool.free(chunk));
    world.check_laws();
}
