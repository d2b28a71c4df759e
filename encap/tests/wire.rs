//! What holds of every wire format: headers survive being written and read, an independent
//! implementation (etherparse) reads the same, and no bytes make a parser panic.
#![allow(clippy::unwrap_used)]

#[path = "common/read.rs"]
mod read;

use encap::wire::ndp::Message;
use encap::wire::{
    Error, Mac, arp, checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndp, protocol, tcp, udp,
};
use etherparse::{
    Ipv4HeaderSlice, Ipv6HeaderSlice, PacketBuilder, SlicedPacket, TcpHeaderSlice, UdpHeaderSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;
use read::read_everything;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes that begin like something.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let firsts = prop::sample::select(vec![0x45, 0x4f, 0x46, 0x60, 3, 135, 136, 133, 134, 0]);
    let nexts = prop::sample::select(vec![0u8, 43, 44, 51, 60, 59, 6, 17]);
    (firsts, nexts, vec(any::<u8>(), 0..200)).prop_map(|(first, next, mut bytes)| {
        let len = bytes.len();
        bytes.first_mut().map(|b| *b = first).unwrap_or_default();
        if len > 40 && first == 0x60 {
            ipv6::set_payload_len(&mut bytes, (len - 40) as u16);
            bytes[ipv6::field::NEXT_HEADER] = next;
            // Short extension headers, one after the other.
            for at in (40..len - 1).step_by(8) {
                bytes[at] = next;
                bytes[at + 1] &= 1;
            }
        } else if len > 20 && first >> 4 == 4 {
            bytes[ipv4::field::TOTAL_LEN].copy_from_slice(&(len as u16).to_be_bytes());
        }
        bytes
    })
}

fn ipv4_header() -> impl Strategy<Value = ipv4::Header> {
    let lengths = (any::<u8>(), 20u16.., any::<u16>(), 0..0x2000u16);
    (lengths, any::<(bool, bool, u8, u8, Ipv4Addr, Ipv4Addr)>()).prop_map(
        |((tos, total_len, ident, offset), (df, mf, ttl, protocol, src, dst))| ipv4::Header {
            tos,
            total_len,
            ident,
            dont_fragment: df,
            more_fragments: mf,
            fragment_offset: offset * 8,
            ttl,
            protocol,
            src,
            dst,
        },
    )
}

fn ipv6_header() -> impl Strategy<Value = ipv6::Header> {
    (any::<(u8, u16, u8, u8, Ipv6Addr, Ipv6Addr)>(), 0..1u32 << 20).prop_map(
        |((traffic_class, payload_len, next_header, hop_limit, src, dst), flow_label)| {
            ipv6::Header {
                traffic_class,
                flow_label,
                payload_len,
                next_header,
                hop_limit,
                src,
                dst,
            }
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let mac = || any::<Option<[u8; 6]>>().prop_map(|mac| mac.map(Mac));
    prop_oneof![
        (any::<Ipv6Addr>(), mac())
            .prop_map(|(target, mac)| Message::NeighborSolicitation { target, mac }),
        (any::<(Ipv6Addr, bool, bool, bool)>(), mac()).prop_map(|((target, r, s, o), mac)| {
            Message::NeighborAdvertisement { target, mac, router: r, solicited: s, overrides: o }
        }),
        mac().prop_map(|mac| Message::RouterSolicitation { mac }),
        (any::<(u8, u16)>(), mac()).prop_map(|((hop_limit, lifetime), mac)| {
            Message::RouterAdvertisement { hop_limit, lifetime, mac }
        }),
    ]
}

proptest! {
    #[test]
    fn noise_never_panics(bytes in prop_oneof![likely(), vec(any::<u8>(), 0..200)]) {
        read_everything(&bytes);
    }

    #[test]
    fn ethernet_and_arp_survive(dst: [u8; 6], src: [u8; 6], ethertype: u16, op: u16, ips: (Ipv4Addr, Ipv4Addr)) {
        let header = ethernet::Header { dst: Mac(dst), src: Mac(src), ethertype };
        let mut bytes = [0xa5; ethernet::LEN + 1];
        header.emit(&mut bytes);
        prop_assert_eq!(ethernet::Header::parse(&bytes), Ok(header));
        prop_assert_eq!(bytes[ethernet::LEN], 0xa5);

        let packet = arp::Header {
            operation: op,
            sender_mac: Mac(src),
            sender_ip: ips.0,
            target_mac: Mac(dst),
            target_ip: ips.1,
        };
        let mut bytes = [0xa5; arp::LEN];
        packet.emit(&mut bytes);
        prop_assert_eq!(arp::Header::parse(&bytes), Ok(packet));
        let answer = packet.reply(Mac(dst));
        prop_assert_eq!((answer.target_ip, answer.target_mac), (packet.sender_ip, packet.sender_mac));
        prop_assert_eq!((answer.sender_ip, answer.sender_mac), (packet.target_ip, Mac(dst)));
    }

    #[test]
    fn ipv4_survives_and_etherparse_agrees(header in ipv4_header()) {
        let mut bytes = vec![0xa5; usize::from(header.total_len)];
        header.emit(&mut bytes);
        prop_assert_eq!(ipv4::Header::parse(&bytes), Ok(header));
        let theirs = Ipv4HeaderSlice::from_slice(&bytes).unwrap().to_header();
        prop_assert_eq!(theirs.calc_header_checksum(), theirs.header_checksum);
        prop_assert_eq!(theirs.total_len, header.total_len);
        prop_assert_eq!(theirs.dscp.value() << 2 | theirs.ecn.value(), header.tos);
        prop_assert_eq!(theirs.identification, header.ident);
        prop_assert_eq!(theirs.dont_fragment, header.dont_fragment);
        prop_assert_eq!(theirs.more_fragments, header.more_fragments);
        prop_assert_eq!(theirs.fragment_offset.value() * 8, header.fragment_offset);
        prop_assert_eq!(theirs.time_to_live, header.ttl);
        prop_assert_eq!(theirs.protocol.0, header.protocol);
        prop_assert_eq!(Ipv4Addr::from(theirs.source), header.src);
        prop_assert_eq!(Ipv4Addr::from(theirs.destination), header.dst);
    }

    /// What is rewritten in place is what would have been written at first.
    #[test]
    fn ipv4_setters_equal_a_fresh_header(
        header in ipv4_header(), tos: u8, total_len in 20u16.., ident: u16,
        offset in 0..=0x1fffu16, more: bool,
    ) {
        let fresh = |header: ipv4::Header| {
            let mut bytes = [0; ipv4::LEN];
            header.emit(&mut bytes);
            bytes
        };
        let mut bytes = fresh(header);
        ipv4::set_tos(&mut bytes, tos);
        prop_assert_eq!(bytes, fresh(ipv4::Header { tos, ..header }));
        ipv4::set_total_len(&mut bytes, total_len);
        prop_assert_eq!(bytes, fresh(ipv4::Header { tos, total_len, ..header }));
        ipv4::set_ident(&mut bytes, ident);
        let header = ipv4::Header { tos, total_len, ident, ..header };
        prop_assert_eq!(bytes, fresh(header));
        if let Some(ttl) = header.ttl.checked_sub(1) {
            ipv4::decrement_ttl(&mut bytes);
            prop_assert_eq!(bytes, fresh(ipv4::Header { ttl, ..header }));
        }
        let mut bytes = fresh(header);
        let (fragment_offset, more_fragments) = (offset * 8, more);
        ipv4::set_fragment(&mut bytes, 1000, fragment_offset, more);
        let header = ipv4::Header { total_len: 1000, fragment_offset, more_fragments, ..header };
        prop_assert_eq!(bytes, fresh(header));
    }

    #[test]
    fn ipv4_is_plain_when_a_view_finds_nothing_odd(
        header in ipv4_header(), flip in any::<Option<u8>>(), extra in 0..40usize, total_len in 0..60u16,
    ) {
        let total_len = total_len.max(20);
        let mut bytes = [0x5a; 24];
        let header = ipv4::Header { total_len, ..header };
        header.emit(&mut bytes);
        if let Some(flip) = flip {
            let bit = usize::from(flip) % 160;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let len = bytes.len() + extra;
        let plain = ipv4::Plain::read(&bytes, len);
        let view = ipv4::View::of_head(&bytes, len).ok().filter(|view| {
            view.verify() && view.header_len() == 20 && !view.is_fragment() && view.total_len() >= 24
        });
        let viewed = view.map(|view| ipv4::Plain {
            total_len: view.total_len(),
            protocol: view.protocol(),
            src: view.src(),
            dst: view.dst(),
            ports: 0x5a5a_5a5a,
        });
        prop_assert_eq!(plain, viewed);
    }

    #[test]
    fn ipv6_survives_and_etherparse_agrees(header in ipv6_header()) {
        let mut bytes = vec![0xa5; ipv6::LEN + usize::from(header.payload_len)];
        header.emit(&mut bytes);
        prop_assert_eq!(ipv6::Header::parse(&bytes), Ok(header));
        let theirs = Ipv6HeaderSlice::from_slice(&bytes).unwrap().to_header();
        prop_assert_eq!(theirs.traffic_class, header.traffic_class);
        prop_assert_eq!(theirs.flow_label.value(), header.flow_label);
        prop_assert_eq!(theirs.payload_length, header.payload_len);
        prop_assert_eq!(theirs.next_header.0, header.next_header);
        prop_assert_eq!(theirs.hop_limit, header.hop_limit);
        prop_assert_eq!(Ipv6Addr::from(theirs.source), header.src);
        prop_assert_eq!(Ipv6Addr::from(theirs.destination), header.dst);
    }

    #[test]
    fn ipv6_setters_equal_a_fresh_header(header in ipv6_header(), class: u8, len: u16) {
        let (mut bytes, mut fresh) = ([0; ipv6::LEN], [0; ipv6::LEN]);
        header.emit(&mut bytes);
        ipv6::set_traffic_class(&mut bytes, class);
        ipv6::set_payload_len(&mut bytes, len);
        ipv6::decrement_hop_limit(&mut bytes);
        let hop_limit = header.hop_limit.wrapping_sub(1);
        ipv6::Header { traffic_class: class, payload_len: len, hop_limit, ..header }.emit(&mut fresh);
        prop_assert_eq!(bytes, fresh);
    }

    #[test]
    fn udp_survives_and_etherparse_agrees(src_port: u16, dst_port: u16, length in 8u16.., checksum: u16) {
        let header = udp::Header { src_port, dst_port, length, checksum };
        let mut bytes = vec![0xa5; usize::from(length)];
        header.emit(&mut bytes);
        prop_assert_eq!(udp::Header::parse(&bytes), Ok(header));
        let theirs = UdpHeaderSlice::from_slice(&bytes).unwrap();
        prop_assert_eq!((theirs.source_port(), theirs.destination_port()), (src_port, dst_port));
        prop_assert_eq!((theirs.length(), theirs.checksum()), (length, checksum));
    }

    #[test]
    fn tcp_survives_and_etherparse_agrees(a: (u16, u16, u32, u32), b: (u8, u16, u16, u16)) {
        let header = tcp::Header {
            src_port: a.0,
            dst_port: a.1,
            seq: a.2,
            ack: a.3,
            flags: b.0,
            window: b.1,
            checksum: b.2,
            urgent: b.3,
        };
        let mut bytes = [0xa5; tcp::LEN];
        header.emit(&mut bytes);
        prop_assert_eq!(tcp::Header::parse(&bytes), Ok(header));
        let t = TcpHeaderSlice::from_slice(&bytes).unwrap();
        let bits = [t.fin(), t.syn(), t.rst(), t.psh(), t.ack(), t.urg(), t.ece(), t.cwr()];
        let flags = bits.iter().rev().fold(0, |flags, &bit| flags << 1 | u8::from(bit));
        prop_assert_eq!(
            (t.source_port(), t.destination_port(), t.sequence_number(), t.acknowledgment_number()),
            a
        );
        prop_assert_eq!((flags, t.window_size(), t.checksum(), t.urgent_pointer()), b);
    }

    /// Checksums that etherparse computes verify here, and don't with a bit flipped.
    #[test]
    fn checksums_verify(
        v6: bool, payload in vec(any::<u8>(), 0..64), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (c, d) = ([0xfd; 16], [0xfe; 16]);
        let ip = || if v6 { PacketBuilder::ipv6(c, d, 64) } else { PacketBuilder::ipv4(a, b, 64) };
        let at_ip = if v6 { ipv6::LEN } else { ipv4::LEN };
        for kind in 0..3 {
            let mut packet = Vec::new();
            match kind {
                0 => ip().udp(1, 2).write(&mut packet, &payload).unwrap(),
                1 => ip().tcp(1, 2, 3, 4).write(&mut packet, &payload).unwrap(),
                _ if v6 => ip().icmpv6_echo_request(1, 2).write(&mut packet, &payload).unwrap(),
                _ => ip().icmpv4_echo_request(1, 2).write(&mut packet, &payload).unwrap(),
            }
            let verify = |upper: &[u8]| match (kind, v6) {
                (0, false) => udp::View::new(upper).is_ok_and(|u| u.verify_v4(a.into(), b.into())),
                (0, true) => udp::View::new(upper).is_ok_and(|u| u.verify_v6(c.into(), d.into())),
                (1, false) => tcp::View::new(upper).is_ok_and(|t| t.verify_v4(a.into(), b.into())),
                (1, true) => tcp::View::new(upper).is_ok_and(|t| t.verify_v6(c.into(), d.into())),
                (_, false) => icmpv4::View::new(upper).unwrap().verify(),
                (_, true) => icmpv6::View::new(upper).unwrap().verify(c.into(), d.into()),
            };
            prop_assert!(verify(&packet[at_ip..]));
            let at = at_ip + at.index(packet.len() - at_ip);
            packet[at] ^= 1 << bit;
            // UDP's length says what is covered, and a checksum of zero that there is none.
            if kind != 0 || !(at_ip + 4..at_ip + 8).contains(&at) {
                prop_assert!(!verify(&packet[at_ip..]));
            }
        }
    }

    #[test]
    fn icmp_survives(kind: u8, code: u8, rest: [u8; 4], payload in vec(any::<u8>(), 0..50), ends: (Ipv6Addr, Ipv6Addr)) {
        let mut message = vec![0xa5; 8];
        message.extend(&payload);
        let header = icmpv4::Header { kind, code, rest };
        header.emit(&mut message);
        prop_assert_eq!(icmpv4::Header::parse(&message), Ok(header));
        prop_assert_eq!(&message[8..], &payload);
        let header = icmpv6::Header { kind, code, rest };
        header.emit(&mut message, ends.0, ends.1);
        prop_assert_eq!(icmpv6::Header::parse(&message, ends.0, ends.1), Ok(header));
    }

    #[test]
    fn ndp_survives(message in message(), src: Ipv6Addr, dst: Ipv6Addr) {
        let mut bytes = vec![0xa5; message.len()];
        message.emit(&mut bytes, src, dst);
        prop_assert!(icmpv6::View::new(&bytes).unwrap().verify(src, dst));
        prop_assert_eq!(Message::parse(&bytes), Ok(message));
        // Unknown options behind are skipped; ones that lie about their length are not.
        let more = [&bytes[..], &[5, 1, 0, 0, 0, 0, 5, 0xdc]].concat();
        prop_assert_eq!(Message::parse(&more), Ok(message));
        let zero = [&bytes[..], &[5, 0, 0, 0, 0, 0, 0, 0]].concat();
        prop_assert_eq!(Message::parse(&zero), Err(Error::HeaderLength));
        let long = [&bytes[..], &[5, 2, 0, 0, 0, 0, 0, 0]].concat();
        prop_assert_eq!(Message::parse(&long), Err(Error::HeaderLength));
    }
}

#[test]
fn packets_cut_anywhere_never_panic() {
    let payload = [7; 40];
    let mut packets = vec![];
    for builder in [
        PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([1; 4], [2; 4], 3),
        PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6([1; 16], [2; 16], 3),
    ] {
        let mut packet = vec![];
        builder.tcp(1, 2, 3, 4).write(&mut packet, &payload).unwrap();
        packets.push(packet);
    }
    for packet in &packets {
        for from in 0..packet.len() {
            for to in from..=packet.len() {
                read_everything(&packet[from..to]);
            }
        }
    }
}

#[test]
fn vlan_tags_are_seen_as_etherparse_sees_them() {
    let mut frame = vec![];
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .double_vlan(100.try_into().unwrap(), 200.try_into().unwrap())
        .ipv4([1; 4], [2; 4], 3)
        .udp(1, 2)
        .write(&mut frame, &[])
        .unwrap();
    assert_eq!(SlicedPacket::from_ethernet(&frame).unwrap().link_exts.len(), 2);
    let view = ethernet::View::new(&frame).unwrap();
    assert_eq!(view.tags().map(|t| t.vlan()).collect::<Vec<_>>(), [100, 200]);
    assert_eq!((view.ethertype(), view.header_len()), (ethernet::ethertype::IPV4, 22));
    assert!(ipv4::View::new(view.payload()).is_ok());
    assert_eq!(ethernet::View::new(&frame[..17]).unwrap_err(), Error::Truncated);
    assert_eq!(ethernet::View::new(&frame[..21]).unwrap_err(), Error::Truncated);

    // A third tag is payload.
    frame.splice(12..12, [0x88, 0xa8, 0xe0, 0x07]);
    let view = ethernet::View::new(&frame).unwrap();
    assert_eq!((view.ethertype(), view.header_len()), (ethernet::ethertype::VLAN, 22));
    assert_eq!(view.tag().map(|t| (t.priority(), t.vlan())), Some((7, 7)));
}

#[test]
fn ipv4_refuses_lengths_that_lie() {
    let mut packet = vec![0; 24];
    let header = ipv4::Header {
        tos: 0,
        total_len: 24,
        ident: 0,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 1,
        protocol: 1,
        src: Ipv4Addr::LOCALHOST,
        dst: Ipv4Addr::LOCALHOST,
    };
    header.emit(&mut packet);
    let error = |at: usize, byte: u8| {
        let mut packet = packet.clone();
        packet[at] = byte;
        ipv4::View::new(&packet).map(|_| ()).unwrap_err()
    };
    assert_eq!(error(0, 0x65), Error::Version);
    assert_eq!(error(0, 0x44), Error::HeaderLength);
    assert_eq!(error(0, 0x47), Error::Truncated);
    assert_eq!(error(3, 19), Error::TotalLength);
    assert_eq!(error(3, 25), Error::TotalLength);
    assert_eq!(ipv4::View::new(&packet[..19]).unwrap_err(), Error::Truncated);

    // A head of a longer packet, and padding behind a shorter one.
    assert_eq!(ipv4::View::new(&packet[..22]).unwrap_err(), Error::TotalLength);
    assert_eq!(ipv4::View::of_head(&packet[..22], 24).unwrap().payload().len(), 2);
    packet.extend([0xff; 22]);
    assert_eq!(ipv4::View::new(&packet).unwrap().payload().len(), 4);
    packet[8] ^= 1;
    assert_eq!(ipv4::Header::parse(&packet), Err(Error::Checksum));
}

#[test]
fn ipv4_options_are_walked() {
    let with = |options: [u8; 8]| {
        let mut packet = [0; 28];
        packet[0] = 0x47;
        packet[3] = 28;
        packet[20..].copy_from_slice(&options);
        packet
    };
    let routed = |options| ipv4::View::new(&with(options)).unwrap().is_source_routed();
    assert!(!routed([1, 1, 1, 1, 0, 131, 3, 4]), "padding, then behind the end");
    assert!(!routed([148, 4, 0, 0, 0, 0, 0, 0]), "router alert");
    assert!(routed([1, 131, 7, 4, 10, 0, 0, 1]), "loose source route");
    assert!(routed([148, 4, 0, 0, 137, 3, 4, 0]), "strict source route");
    assert!(routed([148, 1, 0, 0, 0, 0, 0, 0]), "a length that does not count itself");
    assert!(routed([148, 9, 0, 0, 0, 0, 0, 0]), "a length beyond the header");
    assert!(routed([1, 1, 1, 1, 1, 1, 1, 148]), "no length");
    let packet = with([148, 4, 5, 6, 1, 131, 3, 4]);
    let options: Result<Vec<_>, _> = ipv4::View::new(&packet).unwrap().options().collect();
    let expected = [ipv4::Opt { kind: 148, data: &[5, 6] }, ipv4::Opt { kind: 131, data: &[4] }];
    assert_eq!(options.unwrap(), expected);
}

#[test]
fn ipv4_options_are_copied_if_their_type_says_so() {
    let mut packet = [0; 36];
    ipv4::Header {
        tos: 1,
        total_len: 36,
        ident: 2,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 3,
        protocol: 4,
        src: [1; 4].into(),
        dst: [2; 4].into(),
    }
    .emit(&mut packet);
    packet[0] = 0x49;
    // Record route, no operation, router alert, stream identifier cut short.
    packet[20..].copy_from_slice(&[7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 9, 136, 3, 5, 0]);
    let mut room = [0xff; ipv4::LONGEST];
    let len = ipv4::View::new(&packet).unwrap().later_header(&mut room);
    assert_eq!(len, 28);
    assert_eq!((room[0], &room[1..20]), (0x47, &packet[1..20]));
    assert_eq!(room[20..28], [148, 4, 0, 9, 136, 3, 5, 0]);
    assert_eq!(room[28], 0xff, "no more than that");
    // None of the longest list is copied, or all.
    let mut longest = [1; 60];
    longest[..20].copy_from_slice(&packet[..20]);
    (longest[0], longest[3]) = (0x4f, 60);
    assert_eq!(ipv4::View::new(&longest).unwrap().later_header(&mut room), 20);
    (longest[20], longest[21]) = (148, 40);
    assert_eq!(ipv4::View::new(&longest).unwrap().later_header(&mut room), 60);
    assert_eq!(room[..], longest[..]);
}

/// An IPv6 packet with these bytes behind the header.
fn ipv6_packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; ipv6::LEN];
    ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: payload.len() as u16,
        next_header,
        hop_limit: 64,
        src: Ipv6Addr::LOCALHOST,
        dst: Ipv6Addr::LOCALHOST,
    }
    .emit(&mut packet);
    packet.extend_from_slice(payload);
    packet
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let plain = ipv6::UpperLayer { protocol: 17, offset: 40, fragment: None, source_routed: false };
    assert_eq!(ipv6::upper_layer(&ipv6_packet(17, &[0; 8])), Ok(plain));
    // ESP and "no next header" end the walk.
    for protocol in [protocol::ESP, protocol::NO_NEXT_HEADER] {
        let upper = ipv6::UpperLayer { protocol, ..plain };
        assert_eq!(ipv6::upper_layer(&ipv6_packet(protocol, &[])), Ok(upper));
    }

    // Hop-by-Hop (8), Routing (24, no segments left), AH (12 + 4), Destination Options (16), TCP.
    let chain = [
        &[43, 0, 0, 0, 0, 0, 0, 0][..],
        &[51, 2, 4, 0, 0, 0, 0, 0],
        &[0; 16],
        &[60, 2, 0, 0, 0, 0, 0, 0],
        &[0; 8],
        &[6, 1, 0, 0, 0, 0, 0, 0],
        &[0; 8],
        &[0; 20],
    ]
    .concat();
    let upper = ipv6::UpperLayer { protocol: 6, offset: 40 + 8 + 24 + 16 + 16, ..plain };
    let mut packet = ipv6_packet(0, &chain);
    assert_eq!(ipv6::upper_layer(&packet), Ok(upper));
    packet[40 + 8 + 3] = 1;
    let routed = ipv6::UpperLayer { source_routed: true, ..upper };
    assert_eq!(ipv6::upper_layer(&packet), Ok(routed));
    // Cut anywhere before the last one ends.
    for len in 0..upper.offset - 40 {
        let packet = ipv6_packet(0, &chain[..len]);
        assert_eq!(ipv6::upper_layer(&packet), Err(Error::Truncated), "{len} bytes");
    }
}

#[test]
fn ipv6_fragments_are_seen() {
    let fragment = |word: u16| {
        let [a, b] = word.to_be_bytes();
        ipv6_packet(44, &[60, 0, a, b, 1, 2, 3, 4, 17, 0, 0, 0, 0, 0, 0, 0, 9, 9])
    };
    let upper = |word| ipv6::upper_layer(&fragment(word)).unwrap();
    // The first one has the headers that follow, a later one hasn't.
    let (next_header, ident) = (60, 0x0102_0304);
    let first = ipv6::Fragment { next_header, offset: 0, more: true, ident };
    assert_eq!((upper(1).protocol, upper(1).offset, upper(1).fragment), (17, 56, Some(first)));
    let last = ipv6::Fragment { next_header, offset: 1448, more: false, ident };
    assert_eq!((upper(1448).protocol, upper(1448).offset), (60, 48));
    assert_eq!(upper(1448).fragment, Some(last));
    assert!(upper(0).fragment.unwrap().is_atomic() && !first.is_atomic() && !last.is_atomic());
}

#[test]
fn ipv6_extension_headers_are_bounded() {
    let packet = |count: usize| {
        let mut chain = [60, 0, 0, 0, 0, 0, 0, 0].repeat(count);
        chain[8 * (count - 1)] = 59;
        ipv6_packet(60, &chain)
    };
    assert!(ipv6::upper_layer(&packet(ipv6::MAX_EXTENSION_HEADERS)).is_ok());
    let error = ipv6::upper_layer(&packet(ipv6::MAX_EXTENSION_HEADERS + 1));
    assert_eq!(error, Err(Error::ExtensionHeaders));
}

#[test]
fn udp_and_tcp_refuse_lengths_that_lie() {
    let datagram = |length: u8| [0, 1, 0, 2, 0, length, 0, 0, 9, 9, 9];
    assert_eq!(udp::View::new(&datagram(10)).unwrap().payload(), [9, 9]);
    for length in [0, 7, 12] {
        assert_eq!(udp::View::new(&datagram(length)).unwrap_err(), Error::TotalLength);
    }
    assert_eq!(udp::View::of_head(&datagram(12), 12).unwrap().payload(), [9, 9, 9]);

    let mut segment = [0; 24];
    for (words, error) in [(4, Error::HeaderLength), (7, Error::Truncated)] {
        segment[12] = words << 4;
        assert_eq!(tcp::View::new(&segment).unwrap_err(), error);
    }
    segment[12] = 6 << 4;
    assert_eq!(tcp::View::new(&segment).unwrap().options().len(), 4);
    assert_eq!(tcp::Header::parse(&segment), Err(Error::HeaderLength));
}

#[test]
fn arp_is_about_ipv4_over_ethernet() {
    let mut packet = [0; arp::LEN];
    packet[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
    assert!(arp::View::new(&packet).is_ok());
    for at in 0..6 {
        packet[at] ^= 0x40;
        assert_eq!(arp::View::new(&packet).unwrap_err(), Error::Version);
        packet[at] ^= 0x40;
    }
}

#[test]
fn groups_have_their_addresses() {
    let address: Ipv6Addr = "fd00:10:244:1::aabb:ccdd".parse().unwrap();
    let group = ndp::solicited_node(address);
    assert_eq!(group, "ff02::1:ffbb:ccdd".parse::<Ipv6Addr>().unwrap());
    assert_eq!(ndp::multicast_mac(group).to_string(), "33:33:ff:bb:cc:dd");
}

#[test]
fn icmp_errors_name_an_mtu() {
    assert_eq!(icmpv4::Header::fragmentation_needed(1450).rest, [0, 0, 5, 0xaa]);
    assert_eq!(icmpv6::Header::packet_too_big(1450).rest, [0, 0, 5, 0xaa]);
    assert_eq!(checksum::nonzero(0), 0xffff);
    assert_eq!(checksum::nonzero(1), 1);
}

#[test]
fn tcp_segment_sizes_are_lowered() {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let with = |options: &[u8]| {
        let mut segment = vec![0; tcp::LEN];
        segment.extend(options);
        segment.resize(segment.len().next_multiple_of(4), 0);
        segment[tcp::field::DATA_OFFSET] = (segment.len() as u8 / 4) << 4;
        segment.extend([7; 9]);
        let pseudo = checksum::pseudo_v4(src, dst, protocol::TCP, segment.len() as u32);
        let sum = checksum::finish(pseudo + checksum::sum(&segment));
        tcp::set_checksum(&mut segment, sum);
        segment
    };
    let lists: [(&[u8], &[u8]); 6] = [
        (&[2, 4, 5, 180], &[2, 4, 5, 130]),
        (&[1, 2, 4, 5, 180], &[1, 2, 4, 5, 130]),
        (
            &[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 0xff, 0xff],
            &[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 5, 130],
        ),
        (&[2, 4, 5, 130], &[2, 4, 5, 130]),
        (&[2, 4, 0, 1], &[2, 4, 0, 1]),
        (&[0, 2, 4, 5, 180], &[0, 2, 4, 5, 180]),
    ];
    for (options, lowered) in lists {
        let mut segment = with(options);
        tcp::lower_mss(&mut segment, 5 * 256 + 130, true);
        assert!(tcp::View::new(&segment).unwrap().verify_v4(src, dst), "{options:?}");
        assert_eq!(segment, with(lowered));
        // A checksum that lacks the options is none of theirs.
        let mut partial = with(options);
        let sum = tcp::View::new(&partial).unwrap().checksum();
        tcp::lower_mss(&mut partial, 5 * 256 + 130, false);
        let view = tcp::View::new(&partial).unwrap();
        assert_eq!((view.checksum(), view.options()), (sum, &with(lowered)[20..partial.len() - 9]));
    }
    // Lengths that lie, or end behind the header.
    for options in [
        &[1, 1, 2, 4][..],
        &[2, 3, 9, 9],
        &[2, 0, 9, 9],
        &[8, 1, 2, 4, 9, 9],
        &[8, 200, 2, 4],
        &[2],
    ] {
        let mut segment = with(options);
        tcp::lower_mss(&mut segment, 1, true);
        assert_eq!(segment, with(options));
    }
    tcp::lower_mss(&mut [0; 19], 1, true);
}
