//! What many peers cost: packets to and from ten of them, and 4,096, drawn at random. Named
//! `action/vxlan/10-peers`; figures are of one frame.

mod common;

use common::{datagram, framed};
use criterion::{Criterion, criterion_group, criterion_main};
use encap::wire::Mac;
use encap::{Encap, Ends, Family, Inner};
use pipeline::Turn;
use pipeline::frame::{BATCH_SIZE, Batch};
use pipeline::snapshot::{Hop, NextHop, Peer, PortId};
use pipeline::tables::neighbours::Neighbour;
use pipeline::testing::{A1, A1_MAC, B_MAC, B_VTEP, MACS, NODE_A, UPLINK, VETH, VTEP, World};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

criterion_main!(benches);
criterion_group!(benches, peers);

const COUNTS: [usize; 2] = [10, 4096];

fn peers(c: &mut Criterion) {
    for action in ["encap", "decap"] {
        for count in COUNTS {
            let mut bench = Bench::new(action, count);
            c.bench_function(&format!("{action}/vxlan/{count}-peers"), |b| {
                b.iter_custom(|iterations| {
                    let (mut time, mut frames) = (Duration::ZERO, 0);
                    while frames < iterations {
                        time += bench.batch();
                        frames += BATCH_SIZE as u64;
                    }
                    time.mul_f64(iterations as f64 / frames as f64)
                });
            });
            bench.world.check_laws();
            assert_eq!(bench.world.counters.dropped_in_all(), 0);
        }
    }
}

struct Bench {
    world: World,
    /// Where frames come in, and one of each peer.
    port: PortId,
    frames: Vec<Vec<u8>>,
    random: SmallRng,
}

impl Bench {
    fn new(action: &str, count: usize) -> Bench {
        let world = world(count);
        let (port, frames) = match action {
            "encap" => (VETH, (0..count).map(to_peer).collect()),
            _ => (UPLINK, (0..count).map(|i| from_peer(i, &world)).collect()),
        };
        Bench { world, port, frames, random: SmallRng::seed_from_u64(1) }
    }

    /// Takes a batch through all stages; how long that took.
    fn batch(&mut self) -> Duration {
        let Bench { world, port, frames, random } = self;
        let mut batch = Batch::new();
        for _ in 0..BATCH_SIZE {
            let frame = &frames[random.random_range(0..frames.len())];
            batch.push(world.frame(*port, frame));
            world.counters.received.add(1);
        }
        let World { pipeline, snapshot, pool, counters, now, .. } = world;
        let start = Instant::now();
        pipeline.run(&mut batch, &mut Turn { snapshot, pool, counters, now: *now });
        let time = start.elapsed();
        let queues = world.pipeline.queues.iter_mut();
        for frame in queues.flat_map(|queue| queue.drain(..)) {
            frame.free(&mut world.pool);
            world.counters.emitted.add(1);
        }
        time
    }
}

/// Peer `i`'s address, and one behind it.
fn addresses(i: usize) -> (Ipv4Addr, Ipv4Addr) {
    let [high, low] = (i as u16).to_be_bytes();
    (Ipv4Addr::new(192, 168, high, low), Ipv4Addr::new(10, 100 + high, low, 2))
}

/// An overlay with so many peers in place of the one.
fn world(count: usize) -> World {
    let mut world = World::default();
    let like = world.snapshot.peers[0].clone();
    let mut neighbours: Vec<_> = world.snapshot.neighbours.iter().cloned().collect();
    let mut peers = Vec::new();
    for i in 0..count {
        let (node, pod) = addresses(i);
        let ends = ends(NODE_A, node, VTEP, B_VTEP);
        let encap = world.snapshot.tunnels[0].tunnel.encap(&ends);
        let encap = like.encap.as_ref().map(|(id, _)| (*id, encap));
        let neighbour = Neighbour::new(UPLINK, node.into());
        neighbour.set_permanent(B_MAC);
        neighbours.push(Arc::new(neighbour));
        let (address, neighbour) = (node.into(), neighbours.len() - 1);
        peers.push(Peer { name: format!("p{i}"), address, encap, neighbour, ..like.clone() });
        world.route(pod.into(), Some(24), NextHop::new(Hop::Peer(i)));
    }
    let by_address = peers.iter().zip(0..).map(|(peer, i)| (peer.address, i)).collect();
    world.snapshot.peers_by_address = Arc::new(by_address);
    world.snapshot.peers = Arc::new(peers.into());
    world.snapshot.neighbours = Arc::new(neighbours.into());
    world
}

fn ends(local: Ipv4Addr, remote: Ipv4Addr, local_mac: Mac, remote_mac: Mac) -> Ends {
    Ends { local: IpAddr::V4(local), remote: IpAddr::V4(remote), local_mac, remote_mac }
}

/// A frame of a pod of ours to one behind peer `i`.
fn to_peer(i: usize) -> Vec<u8> {
    let (_, pod) = addresses(i);
    framed(MACS[VETH.index()], A1_MAC, &datagram(A1, pod, 9))
}

/// A frame of the underlay from there.
fn from_peer(i: usize, world: &World) -> Vec<u8> {
    let (node, pod) = addresses(i);
    let encap = world.snapshot.tunnels[0].tunnel.encap(&ends(node, NODE_A, B_VTEP, VTEP));
    framed(MACS[UPLINK.index()], B_MAC, &packed(&encap, &datagram(pod, A1, 9)))
}

fn packed(encap: &Encap, packet: &[u8]) -> Vec<u8> {
    let mut outer = vec![0; encap.overhead()];
    encap.push(&mut outer, &Inner { family: Family::V4, len: packet.len(), tos: 0, flow_hash: 7 });
    outer.extend_from_slice(packet);
    outer
}
