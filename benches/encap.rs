//! Bytes: checksums, headers, and every listed tunnel.
//!
//! Named action/family/case; `cargo bench --bench encap -- push` runs a part.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use encap::wire::{Mac, checksum, ethernet, ipv4, ipv6, protocol, udp};
use encap::{Configs, Ends, Family, Inner, Steer, Strip};
use std::hint::black_box;

criterion_main!(benches);
criterion_group!(benches, checksums, views, tunnels);

/// Lengths of an IPv4 header, of small and full packets, and of a super-frame.
const LENGTHS: [usize; 5] = [20, 60, 1500, 8972, 65_000];

fn checksums(c: &mut Criterion) {
    let bytes: Vec<u8> = (0..65_000u32).map(|i| (i * 7) as u8).collect();
    let mut group = c.benchmark_group("sum");
    for len in LENGTHS {
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::new("bytes", len), &bytes[..len], |b, bytes| {
            b.iter(|| checksum::sum(black_box(bytes)));
        });
    }
    group.finish();
    c.bench_function("update/checksum/ttl", |b| {
        b.iter(|| checksum::update16(black_box(0x1234), black_box(0x4011), black_box(0x3f11)));
    });
}

fn views(c: &mut Criterion) {
    let packet = packet();
    let mut frame = vec![0; ethernet::LEN];
    ethernet::Header { dst: Mac::derive("a"), src: Mac::derive("b"), ethertype: 0x0800 }
        .emit(&mut frame);
    frame.extend_from_slice(&packet);
    c.bench_function("parse/ethernet/plain", |b| {
        b.iter(|| {
            let frame = ethernet::View::new(black_box(&frame)).expect("a frame");
            (frame.dst(), frame.ethertype())
        });
    });
    c.bench_function("parse/ipv4/verified", |b| {
        b.iter(|| {
            let ip = ipv4::View::new(black_box(&packet)).expect("an IPv4 packet");
            (ip.verify(), ip.dst(), ip.ttl(), ip.protocol())
        });
    });
    let head = *packet.first_chunk().expect("a whole header, and ports");
    c.bench_function("parse/ipv4/plain", |b| {
        b.iter(|| ipv4::Plain::read(black_box(&head), black_box(60)));
    });
    let mut packet6 = vec![0; 80];
    ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: 40,
        next_header: protocol::UDP,
        hop_limit: 64,
        src: "fd00::1".parse().expect("an address"),
        dst: "fd00::2".parse().expect("an address"),
    }
    .emit(&mut packet6);
    c.bench_function("parse/ipv6/plain", |b| {
        b.iter(|| {
            let ip = ipv6::View::new(black_box(&packet6)).expect("an IPv6 packet");
            (ip.dst(), ip.hop_limit(), ip.next_header())
        });
    });
    let mut datagram = [0; 40];
    udp::Header { src_port: 1, dst_port: 2, length: 40, checksum: 0 }.emit(&mut datagram);
    c.bench_function("parse/udp/plain", |b| {
        b.iter(|| {
            let udp = udp::View::new(black_box(&datagram)).expect("a datagram");
            (udp.src_port(), udp.dst_port(), udp.payload().len())
        });
    });
    let mut header = *packet.first_chunk().expect("a whole header");
    c.bench_function("set/ipv4/ttl", |b| b.iter(|| ipv4::decrement_ttl(black_box(&mut header))));
}

/// Every sample of every kind over both families; the plain sample of a kind is `push/vxlan/v4-in-v4`.
fn tunnels(c: &mut Criterion) {
    let configs = Configs::samples();
    let families = [
        ("in-v4", ends("192.168.77.1", "192.168.77.2")),
        ("in-v6", ends("2001:db8:77::1", "2001:db8:77::2")),
    ];
    for (name, tunnel) in configs.tunnels() {
        for (family, ends) in &families {
            let kind = tunnel.kind().name();
            let case = match name == kind {
                true => format!("v4-{family}"),
                false => format!("v4-{family}-{name}"),
            };
            let encap = tunnel.encap(ends);
            let packet = packet();
            let mut outer = vec![0; encap.overhead()];
            outer.extend_from_slice(&packet);
            let inner = Inner { family: Family::V4, len: packet.len(), tos: 0, flow_hash: 7 };

            c.bench_function(&format!("push/{kind}/{case}"), |b| {
                b.iter(|| {
                    let room = &mut black_box(&mut outer)[..encap.overhead()];
                    black_box(&encap).push(room, black_box(&inner));
                });
            });
            c.bench_function(&format!("resize/{kind}/{case}"), |b| {
                let headers = &mut outer[..encap.overhead()];
                b.iter(|| encap.resize(black_box(&mut *headers), black_box(1450)));
            });
            encap.push(&mut outer[..encap.overhead()], &inner);
            c.bench_function(&format!("pop/{kind}/{case}"), |b| {
                b.iter(|| {
                    let outer = black_box(&outer[..]);
                    let (by, payload) = behind_outer(outer);
                    let popped = black_box(&tunnel).pop(by, payload).expect("the tunnel's own");
                    let rest = &payload[popped.header_len..];
                    let packet = match popped.strip {
                        Strip::Ethernet => ethernet::View::new(rest).expect("a frame").payload(),
                        Strip::Ip(_) => rest,
                    };
                    (popped.key, packet.len())
                });
            });
        }
    }
}

/// What the tunnel is asked about: the bytes behind the outer headers, and by what they came.
#[inline]
fn behind_outer(outer: &[u8]) -> (Steer, &[u8]) {
    let (protocol, payload) = match Family::of_packet(outer).expect("an IP packet") {
        Family::V4 => {
            let ip = ipv4::View::new(outer).expect("an IPv4 packet");
            (ip.protocol(), ip.payload())
        }
        Family::V6 => {
            let ip = ipv6::View::new(outer).expect("an IPv6 packet");
            let upper = ip.upper_layer().expect("few extension headers");
            (upper.protocol, &outer[upper.offset..])
        }
    };
    match protocol {
        protocol::UDP => {
            let udp = udp::View::new(payload).expect("a datagram");
            (Steer::Udp(udp.dst_port()), udp.payload())
        }
        _ => (Steer::Protocol(protocol), payload),
    }
}

/// An inner packet of 60 bytes.
fn packet() -> Vec<u8> {
    let mut packet = vec![0; 60];
    ipv4::Header {
        tos: 0,
        total_len: 60,
        ident: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: protocol::UDP,
        src: [10, 244, 1, 2].into(),
        dst: [10, 244, 2, 2].into(),
    }
    .emit(&mut packet);
    packet
}

fn ends(local: &str, remote: &str) -> Ends {
    Ends {
        local: local.parse().expect("an address"),
        remote: remote.parse().expect("an address"),
        local_mac: Mac::derive("a"),
        remote_mac: Mac::derive("b"),
    }
}
