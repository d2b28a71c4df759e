//! Frames: chunks from the pool and back, headers put on and taken off, and the ring that hands frames
//! to another worker. Named action/family/case; figures are of 64 frames.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pipeline::frame::ring::ring;
use pipeline::frame::{BATCH_SIZE, Batch, Frame, Memory, Pool};
use pipeline::snapshot::PortId;
use std::hint::black_box;

criterion_main!(benches);
criterion_group!(benches, frames, rings);

const PORT: PortId = PortId(0);
/// Bytes of the outer headers of VXLAN over IPv4.
const HEADERS: usize = 50;

fn pool() -> Pool {
    Pool::new(Memory::new(1 << 13, true).expect("memory"))
}

fn frames(c: &mut Criterion) {
    let mut pool = pool();
    let mut group = c.benchmark_group("copy-and-free");
    group.throughput(Throughput::Elements(BATCH_SIZE as u64));
    for (case, len) in [("60B", 60), ("MTU", 1514), ("super-frame", 64_280)] {
        let bytes = vec![0; len];
        group.bench_function(format!("frame/{case}"), |b| {
            b.iter(|| {
                for _ in 0..BATCH_SIZE {
                    let frame = Frame::copied(black_box(&bytes), &mut pool, PORT);
                    frame.expect("a chunk is free").free(&mut pool);
                }
            });
        });
    }
    group.finish();
    let mut batch = batch(&mut pool);
    c.bench_function("push-and-pop/frame/50B", |b| {
        b.iter(|| {
            for i in batch.live() {
                let room = batch[i].push(HEADERS).expect("there is headroom");
                black_box(room.first_chunk_mut::<HEADERS>());
                black_box(batch[i].pop(HEADERS));
            }
        });
    });
    let mut queue = Vec::with_capacity(BATCH_SIZE);
    c.bench_function("drain-and-refill/batch/60B", |b| {
        b.iter(|| {
            batch.drain_runs(|verdict, run| {
                black_box(verdict);
                queue.extend(run);
            });
            queue.drain(..).for_each(|frame| batch.push(frame));
        });
    });
    batch.drain().for_each(|frame| frame.free(&mut pool));
}

fn batch(pool: &mut Pool) -> Batch {
    let mut batch = Batch::new();
    while batch.room() > 0 {
        batch.push(Frame::copied(&[0; 60], pool, PORT).expect("a chunk is free"));
    }
    batch
}

/// Both ends on one core: what the ring itself takes, without the caches' traffic between two.
fn rings(c: &mut Criterion) {
    let mut pool = pool();
    let (mut producer, mut consumer) = ring(1024);
    let mut frames: Vec<_> = batch(&mut pool).drain().collect();
    c.bench_function("hand-over/ring/one-core", |b| {
        b.iter(|| {
            for frame in frames.drain(..) {
                assert!(producer.push(frame).is_ok(), "there is room");
            }
            producer.publish();
            consumer.look();
            while let Some(frame) = consumer.pop() {
                frames.push(frame);
            }
            consumer.release();
        });
    });
    frames.into_iter().for_each(|frame| frame.free(&mut pool));
}
