//! The longest-prefix-match table: lookups, changes and a full build.
//!
//! Routes are drawn with the lengths of an Internet routing table; destinations are routed ones,
//! drawn at random, so that with a million routes most lookups miss the nearer caches.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipnet::{Ipv4Net, Ipv6Net};
use pipeline::tables::{Key, Rib};
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

const MILLION: usize = 1_000_000;
const DESTINATIONS: usize = 1 << 16;
const BATCH: usize = 64;

/// SplitMix64: the same routes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A prefix length of a list of `(length, share)`.
    fn length(&mut self, shares: &[(u8, usize)]) -> u8 {
        let mut left = self.below(shares.iter().map(|(_, share)| share).sum());
        for &(length, share) in shares {
            match left.checked_sub(share) {
                Some(rest) => left = rest,
                None => return length,
            }
        }
        unreachable!("`left` is below the sum of all shares")
    }
}

trait Family: Key {
    const NAME: &str;
    fn route(random: &mut Random) -> Self::Net;
    /// An address in `net`.
    fn within(net: &Self::Net, random: &mut Random) -> Self;
}

impl Family for Ipv4Addr {
    const NAME: &str = "lpm4";

    fn route(random: &mut Random) -> Ipv4Net {
        let length = random.length(&[
            (24, 600),
            (22, 115),
            (23, 105),
            (21, 50),
            (20, 45),
            (19, 27),
            (18, 15),
            (16, 14),
            (17, 9),
            (15, 3),
            (14, 2),
            (13, 1),
            (12, 1),
            (25, 4),
            (28, 3),
            (32, 6),
        ]);
        let addr = (1 << 24) + random.below(222 << 24) as u32;
        Ipv4Net::new(addr.into(), length).expect("the length is at most 32").trunc()
    }

    fn within(net: &Ipv4Net, random: &mut Random) -> Self {
        Self::from_bits(net.network().to_bits() | random.next() as u32 & net.hostmask().to_bits())
    }
}

impl Family for Ipv6Addr {
    const NAME: &str = "lpm6";

    fn route(random: &mut Random) -> Ipv6Net {
        let length = random.length(&[
            (48, 460),
            (32, 130),
            (44, 90),
            (40, 80),
            (36, 50),
            (47, 30),
            (46, 30),
            (29, 30),
            (33, 30),
            (42, 20),
            (34, 15),
            (64, 20),
            (128, 10),
        ]);
        // Allocations of /32 in a few blocks, as the registries give them out.
        let block = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2a02, 0x2c0f][random.below(7)];
        let allocation = random.below(1 << 13) << 3;
        let upper = (block << 48) | (allocation << 32) | random.below(1 << 32);
        let addr = ((upper as u128) << 64) | u128::from(random.next());
        Ipv6Net::new(addr.into(), length).expect("the length is at most 128").trunc()
    }

    fn within(net: &Ipv6Net, random: &mut Random) -> Self {
        let host = (u128::from(random.next()) << 64) | u128::from(random.next());
        Self::from_bits(net.network().to_bits() | host & net.hostmask().to_bits())
    }
}

fn routes<A: Family>(count: usize) -> Vec<(A::Net, u32)> {
    let mut random = Random(1);
    (0..count).map(|_| (A::route(&mut random), random.below(1024) as u32)).collect()
}

fn lookup<A: Family>(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("lookup/{}", A::NAME));
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, count) in [("1", 1), ("1M-64k-random", MILLION)] {
        let routes = routes::<A>(count);
        let mut rib = Rib::<A>::new();
        rib.extend(routes.iter().copied());
        let table = rib.snapshot();
        eprintln!(
            "{}: {} routes, {} MiB of table, {} MiB with the routes",
            A::NAME,
            rib.len(),
            table.memory() >> 20,
            rib.memory() >> 20
        );
        let mut random = Random(2);
        let destinations: Vec<A> = (0..DESTINATIONS)
            .map(|_| A::within(&routes[random.below(count)].0, &mut random))
            .collect();
        let mut batches = destinations.as_chunks::<BATCH>().0.iter().cycle();
        let mut out = [0; BATCH];
        group.bench_function(BenchmarkId::new(name, "batch"), |b| {
            b.iter(|| {
                let batch = batches.next().expect("a cycle does not end");
                table.lookup_batch(batch, &mut out);
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new(name, "single"), |b| {
            b.iter(|| {
                for &addr in batches.next().expect("a cycle does not end") {
                    // As a caller would who acts on each answer before he asks for the next.
                    black_box(table.lookup(addr));
                }
            });
        });
    }
}

fn insert<A: Family>(c: &mut Criterion) {
    let mut rib = Rib::<A>::new();
    rib.extend(routes::<A>(MILLION));
    let mut random = Random(3);
    let mut value = 0;
    c.bench_function(&format!("insert/{}/1-into-1M", A::NAME), |b| {
        b.iter_batched(
            || {
                value = (value + 1) % 1024;
                (A::route(&mut random), value)
            },
            |(net, value)| {
                let published = rib.snapshot();
                rib.insert(net, value);
                published
            },
            BatchSize::PerIteration,
        );
    });
}

fn build<A: Family>(c: &mut Criterion) {
    let routes = routes::<A>(MILLION);
    let mut group = c.benchmark_group(format!("build/{}", A::NAME));
    group.sample_size(10).throughput(Throughput::Elements(MILLION as u64));
    group.bench_function("1M", |b| {
        b.iter_with_large_drop(|| {
            let mut rib = Rib::<A>::new();
            rib.extend(routes.iter().copied());
            rib
        });
    });
}

criterion_group!(
    benches,
    lookup::<Ipv4Addr>,
    lookup::<Ipv6Addr>,
    insert::<Ipv4Addr>,
    insert::<Ipv6Addr>,
    build::<Ipv4Addr>,
    build::<Ipv6Addr>
);
criterion_main!(benches);
