//! Tables: routes looked up, changed and built, and neighbours. Named action/family/case.
//!
//! Routes are those of `cableway bench pipeline`, with the lengths of an Internet routing table;
//! destinations are routed ones, drawn at random, so that with a million routes most lookups miss the
//! nearer caches.

use cableway::bench::pipeline::routes::{Family, destinations, prefixes};
use cableway::bench::pipeline::short;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use encap::wire::Mac;
use pipeline::snapshot::PortId;
use pipeline::tables::Rib;
use pipeline::tables::neighbours::Neighbour;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

const DESTINATIONS: usize = 1 << 16;
const BATCH: usize = 64;

/// A million; as a test not so many.
fn many() -> usize {
    let is_whole = std::env::args().any(|argument| argument == "--bench");
    if is_whole { 1_000_000 } else { 1_000 }
}

fn routes<A: Family>(count: usize) -> Vec<(A::Net, u32)> {
    prefixes::<A>(count).into_iter().zip((0..1024).cycle()).collect()
}

fn rib<A: Family>(count: usize) -> Rib<A> {
    let mut rib = Rib::new();
    rib.extend(routes::<A>(count));
    rib
}

fn lookup<A: Family>(c: &mut Criterion) {
    for count in [1, many()] {
        let table = rib::<A>(count).snapshot();
        let destinations = destinations::<A>(&prefixes::<A>(count), DESTINATIONS);
        let case = format!("{}/{}-routes", A::NAME, short(count));
        let mut batches = destinations.as_chunks::<BATCH>().0.iter().cycle();
        let mut out = [0; BATCH];
        let mut group = c.benchmark_group("lookup");
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(&case, |b| {
            b.iter(|| {
                let batch = batches.next().expect("a cycle does not end");
                table.lookup_batch(batch, &mut out);
                black_box(&out);
            });
        });
        group.bench_function(format!("{case}-one-by-one"), |b| {
            b.iter(|| {
                for &addr in batches.next().expect("a cycle does not end") {
                    // As a caller would who acts on each answer before he asks for the next.
                    black_box(table.lookup(addr));
                }
            });
        });
        group.finish();
    }
}

/// One route more, or less, in a table that workers have: what is shared with theirs is copied.
fn update<A: Family>(c: &mut Criterion) {
    let count = many();
    let mut rib = rib::<A>(count);
    // Others than those that are in.
    let others = prefixes::<A>(count + 10_000).split_off(count);
    let mut nets = others.iter().cycle();
    let case = format!("{}/1-of-{}", A::NAME, short(count));
    c.bench_function(&format!("insert-and-remove/{case}"), |b| {
        b.iter(|| {
            let net = nets.next().expect("a cycle does not end");
            let before = rib.snapshot();
            rib.insert(*net, 7);
            let between = rib.snapshot();
            rib.remove(net);
            (before, between)
        });
    });
}

fn build<A: Family>(c: &mut Criterion) {
    let count = many();
    let routes = routes::<A>(count);
    let mut group = c.benchmark_group("build");
    group.sample_size(10).throughput(Throughput::Elements(count as u64));
    group.bench_function(format!("{}/{}-routes", A::NAME, short(count)), |b| {
        b.iter_with_large_drop(|| {
            let mut rib = Rib::<A>::new();
            rib.extend(routes.iter().copied());
            rib
        });
    });
}

fn neighbours(c: &mut Criterion) {
    let known = Neighbour::new(PortId(1), Ipv4Addr::new(10, 244, 1, 2).into());
    let mac = Mac::derive("a");
    known.learn(mac, 1);
    c.bench_function("resolve/neighbour/known", |b| {
        b.iter(|| black_box(&known).resolve(black_box(2)));
    });
    c.bench_function("peek/neighbour/known", |b| {
        b.iter(|| black_box(&known).peek(black_box(2)));
    });
    c.bench_function("learn/neighbour/again", |b| {
        b.iter(|| black_box(&known).learn(black_box(mac), black_box(2)));
    });
}

criterion_group!(
    benches,
    lookup::<Ipv4Addr>,
    lookup::<Ipv6Addr>,
    update::<Ipv4Addr>,
    update::<Ipv6Addr>,
    build::<Ipv4Addr>,
    build::<Ipv6Addr>,
    neighbours
);
criterion_main!(benches);
