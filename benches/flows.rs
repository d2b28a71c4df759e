//! The flow table: packets of flows that stand, first packets while there is room, and when there is
//! none. Named action/flows/case.
//!
//! Flows are TCP over IPv4 with random addresses and ports; they come in random order, so that with a
//! million of them most slots are in no near cache. A packet's cost has its key and hash in it.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use encap::wire::protocol::TCP;
use encap::wire::tcp::flag::{ACK, SYN};
use pipeline::tables::Flows;
use pipeline::tables::flows::{Counters, Flags, Judged, Kept, Key, Sighting, Timeouts};
use std::hint::black_box;
use std::net::Ipv4Addr;

const BATCH: usize = 64;
const NOW: u64 = 1 << 40;
const JUDGED: Judged = Judged { generation: 1, egress: 2, ingress: 3 };

/// Counts of flows; as a test not so many.
fn counts() -> Vec<(usize, &'static str)> {
    let is_whole = std::env::args().any(|argument| argument == "--bench");
    let all = [(1_000, "1k"), (64_000, "64k"), (1_000_000, "1M")];
    all[..if is_whole { 3 } else { 1 }].to_vec()
}

/// A client's end: source, destination and the source's port.
type Client = (Ipv4Addr, Ipv4Addr, u16);

/// Clients that are all different, in no order.
fn clients() -> impl Iterator<Item = Client> {
    (1_u64..).map(|i| {
        // The lower bits of the first factor count, those of the product are spread.
        let bits = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (Ipv4Addr::from_bits((bits >> 32) as u32), Ipv4Addr::new(10, 244, 0, 1), bits as u16)
    })
}

fn sighting(flows: &Flows, (src, dst, port): Client, flags: u8) -> Sighting {
    flows.sighting(Key::new(src.into(), dst.into(), TCP, port, 80), Flags(flags))
}

fn answer(flows: &Flows, (src, dst, port): Client, flags: u8) -> Sighting {
    flows.sighting(Key::new(dst.into(), src.into(), TCP, 80, port), Flags(flags))
}

/// A table with so many connections, and half as much room again.
fn standing(count: usize) -> (Flows, Vec<Client>) {
    let (flows, timeouts) = (Flows::new(count + count / 2, 1), Timeouts::default());
    let (clients, mut counters) = (clients().take(count).collect::<Vec<_>>(), Counters::default());
    for &client in &clients {
        let call = sighting(&flows, client, SYN);
        assert_eq!(flows.keep(&call, JUDGED, &timeouts, NOW, &mut counters), Kept::Made);
        flows.pass(&answer(&flows, client, SYN | ACK), &timeouts, NOW);
        flows.pass(&sighting(&flows, client, ACK), &timeouts, NOW);
    }
    (flows, clients)
}

fn established(c: &mut Criterion) {
    let timeouts = Timeouts::default();
    for (count, name) in counts() {
        let (flows, mut clients) = standing(count);
        clients.sort_by_key(|(src, ..)| src.to_bits().wrapping_mul(0x9e37_79b9));
        clients.truncate(count / BATCH * BATCH);
        let mut batches = clients.as_chunks::<BATCH>().0.iter().cycle();
        let mut group = c.benchmark_group("pass");
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(format!("{name}-flows/one-by-one"), |b| {
            b.iter(|| {
                for &client in batches.next().expect("a cycle does not end") {
                    let hit = flows.pass(&sighting(&flows, client, ACK), &timeouts, NOW);
                    // As a caller would who acts on each before he asks for the next.
                    assert!(black_box(hit).is_some());
                }
            });
        });
        group.bench_function(format!("{name}-flows/batch"), |b| {
            b.iter(|| {
                let batch = batches.next().expect("a cycle does not end");
                let mut sightings = batch.map(|client| sighting(&flows, client, ACK));
                flows.touch(&mut sightings, NOW);
                for sighting in &sightings {
                    assert!(black_box(flows.pass(sighting, &timeouts, NOW)).is_some());
                }
            });
        });
        group.finish();
    }
}

/// A call that no flow is found for, and that is then kept.
fn first(flows: &Flows, client: Client, timeouts: &Timeouts, now: u64) {
    let call = sighting(flows, client, SYN);
    assert!(black_box(flows.pass(&call, timeouts, now)).is_none());
    let mut counters = Counters::default();
    black_box(flows.keep(&call, JUDGED, timeouts, now, &mut counters));
    flows.count(counters);
}

fn first_packets(c: &mut Criterion) {
    let timeouts = Timeouts::default();
    for (count, name) in counts() {
        let mut clients = clients();
        let mut group = c.benchmark_group("keep");
        group.throughput(Throughput::Elements(count as u64 / 2)).sample_size(10);
        group.bench_function(format!("{name}-flows/half-empty"), |b| {
            b.iter_batched_ref(
                || Flows::new(count, 1),
                |flows| {
                    for client in clients.by_ref().take(count / 2) {
                        first(flows, client, &timeouts, NOW);
                    }
                },
                BatchSize::PerIteration,
            );
        });
        let flows = Flows::new(count, 1);
        clients.by_ref().take(count * 2).for_each(|client| first(&flows, client, &timeouts, NOW));
        group.throughput(Throughput::Elements(1)).sample_size(100);
        group.bench_function(format!("{name}-flows/full"), |b| {
            b.iter(|| {
                let client = clients.next().expect("they do not end");
                first(&flows, client, &timeouts, NOW);
            });
        });
        group.finish();
    }
}

/// A sweep of the whole table, for each of its flows.
fn sweep(c: &mut Criterion) {
    let timeouts = Timeouts::default();
    for (count, name) in counts() {
        let (flows, _) = standing(count);
        let mut group = c.benchmark_group("expire");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{name}-flows"), |b| {
            b.iter(|| flows.expire(0..flows.buckets(), &timeouts, NOW));
        });
        group.finish();
    }
}

criterion_group!(benches, established, first_packets, sweep);
criterion_main!(benches);
