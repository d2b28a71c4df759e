//! The whole list of stages in memory, one core: 64 frames are taken through every stage, out of the
//! port's queue, and their chunks freed. What makes the frames is not timed. Figures are nanoseconds for
//! the 64.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use pipeline::Turn;
use pipeline::frame::{BATCH_SIZE, Batch, Frame, HEADROOM, Pool};
use pipeline::snapshot::{Hop, NextHop, PortId};
use pipeline::testing::{A1, A1_MAC, B_MAC, B1, MACS, UPLINK, VETH, World};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A 60-byte Ethernet frame: UDP from pod a1.
fn from_pod(dst: Ipv4Addr) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(A1_MAC.0, MACS[VETH.index()].0)
        .ipv4(A1.octets(), dst.octets(), 64)
        .udp(40000, 9);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[0; 18]).expect("a Vec takes all");
    bytes
}

/// The frames as the peer would send them: what we emit, with the ends exchanged.
fn from_peer(dst: Ipv4Addr, src: Ipv4Addr) -> Vec<u8> {
    let inner = PacketBuilder::ethernet2(pipeline::testing::B_VTEP.0, pipeline::testing::VTEP.0)
        .ipv4(src.octets(), dst.octets(), 64)
        .udp(40000, 9);
    let mut payload = vec![8, 0, 0, 0, 0, 0, 1, 0];
    inner.write(&mut payload, &[0; 18]).expect("a Vec takes all");
    let outer = PacketBuilder::ethernet2(B_MAC.0, MACS[UPLINK.index()].0)
        .ipv4(pipeline::testing::NODE_B.octets(), pipeline::testing::NODE_A.octets(), 64)
        .udp(50000, pipeline::testing::VXLAN_PORT);
    let mut bytes = Vec::new();
    outer.write(&mut bytes, &payload).expect("a Vec takes all");
    // No outer checksum, as the kernel's vxlan sends it.
    bytes[40..42].fill(0);
    bytes
}

/// A million prefixes with lengths as in a BGP table, all towards the peer.
fn million(world: &mut World) -> Vec<Ipv4Addr> {
    let mut state = 1u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let peer = NextHop::new(Hop::Peer(0)).to_bits();
    let mut routes = Vec::with_capacity(1_000_000);
    while routes.len() < 1_000_000 {
        let len = match next() % 100 {
            0..60 => 24,
            60..71 => 22,
            71..82 => 23,
            82..88 => 21,
            88..94 => 20,
            94..98 => 19,
            _ => 16,
        };
        // 11/8 to 122/8: clear of 10/8, where the pods are, and of 127/8.
        let address = Ipv4Addr::from((next() as u32) % 0x7000_0000 + 0x0b00_0000);
        if let Ok(net) = ipnet::Ipv4Net::new(address, len) {
            routes.push((net.trunc(), peer));
        }
    }
    let step = routes.len() / 65_536;
    let hosts: Vec<_> =
        routes.iter().step_by(step).take(65_536).map(|(net, _)| net.addr()).collect();
    world.rib4.extend(routes);
    world.snapshot.routes4 = world.rib4.snapshot();
    hosts.into_iter().map(|host| Ipv4Addr::from(u32::from(host) + 1)).collect()
}

fn run(c: &mut Criterion, name: &str, world: &mut World, port: PortId, templates: &[Vec<u8>]) {
    let mut batch = Batch::new();
    let mut at = 0;
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(BATCH_SIZE as u64));
    group.bench_function(name, |b| {
        b.iter_custom(|rounds| {
            let mut time = Duration::ZERO;
            for _ in 0..rounds {
                for _ in 0..BATCH_SIZE {
                    batch.push(receive(&templates[at], port, &mut world.pool));
                    at = if at + 1 == templates.len() { 0 } else { at + 1 };
                }
                let start = Instant::now();
                pass(&mut batch, world);
                time += start.elapsed();
            }
            time
        })
    });
    group.finish();
    assert_eq!(world.counters.dropped_in_all(), 0, "{name}: nothing is dropped");
}

fn receive(bytes: &[u8], port: PortId, pool: &mut Pool) -> Frame {
    let mut chunk = pool.alloc().expect("memory");
    chunk.bytes_mut()[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
    Frame::new(chunk, HEADROOM, bytes.len(), port)
}

/// From a batch to free chunks.
fn pass(batch: &mut Batch, world: &mut World) {
    let World { pipeline, snapshot, pool, counters, now, .. } = world;
    pipeline.run(batch, &mut Turn { snapshot, pool, counters, now: *now });
    for queue in &mut pipeline.queues {
        for frame in queue.drain(..) {
            black_box(frame.head().first());
            frame.free(pool);
        }
    }
}

fn pipeline(c: &mut Criterion) {
    let mut world = World::default();
    run(c, "encap/vxlan/1-route", &mut world, VETH, &[from_pod(B1)]);
    run(c, "decap/vxlan/1-route", &mut world, UPLINK, &[from_peer(A1, B1)]);
    let hosts = million(&mut world);
    let out: Vec<_> = hosts.iter().map(|host| from_pod(*host)).collect();
    run(c, "encap/vxlan/1M-routes", &mut world, VETH, &out);
    let back: Vec<_> = hosts.iter().map(|host| from_peer(A1, *host)).collect();
    run(c, "decap/vxlan/1M-routes", &mut world, UPLINK, &back);
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
