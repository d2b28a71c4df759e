//! Once warm, the pipeline allocates nothing: not for a packet, not for a batch. An allocator that counts
//! watches.
#![allow(clippy::unwrap_used)]

#[path = "common/samples.rs"]
#[allow(dead_code)]
mod samples;

use encap::wire::{checksum, protocol};
use pipeline::Turn;
use pipeline::frame::{BATCH_SIZE, Batch, Frame, Gso, GsoKind, Partial};
use pipeline::snapshot::PortId;
use pipeline::tables::Flows;
use pipeline::tables::acl::{Rule, Service, Verb, What};
use pipeline::tables::guard::Guard;
use pipeline::testing::*;
use samples::SEGMENT;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

/// The system's allocator; counts what each thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

#[allow(unsafe_code)]
// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `f` runs.
fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

/// Frames that come in as one batch.
struct Traffic {
    port: PortId,
    frames: Vec<Vec<u8>>,
    offload: Option<(Gso, u16)>,
    /// Frames that leave by each port for each batch.
    leave: [usize; 3],
}

fn traffic() -> Vec<Traffic> {
    let plain = |port, frame: Vec<u8>, leave| Traffic {
        port,
        frames: vec![frame; BATCH_SIZE],
        offload: None,
        leave,
    };
    let n = BATCH_SIZE;
    let long = samples::udp4(A1, B1, &[7; 1472]);
    let stream = (0..8 * SEGMENT).step_by(SEGMENT);
    let stream =
        stream.map(|seq| samples::from_b(&samples::tcp4(B1, A2, seq as u32, &[7; SEGMENT])));
    vec![
        plain(VETH, samples::from_a1(&samples::udp4(A1, B1, b"encap")), [n, 0, 0]),
        plain(UPLINK, samples::from_b(&samples::udp4(B1, A1, b"decap")), [0, n, 0]),
        plain(VETH, samples::from_a1(&samples::udp4(A1, A2, b"pod to pod")), [0, 0, n]),
        plain(VETH, samples::arp_request(GATEWAY), [0, n, 0]),
        Traffic {
            port: TUN,
            frames: vec![super_frame(10 * 1000)],
            offload: Some((Gso { kind: GsoKind::Tcp4, size: 1000 }, 20)),
            leave: [10, 0, 0],
        },
        plain(VETH, samples::from_a1(&samples::fragmentable(long)), [2 * n, 0, 0]),
        Traffic { port: UPLINK, frames: stream.collect(), offload: None, leave: [0, 0, 1] },
    ]
}

/// A TCP super-frame of pod a2, its checksum left to the port.
fn super_frame(payload: usize) -> Vec<u8> {
    let mut packet = samples::tcp4(A2, B1, 1, &vec![7; payload]);
    let pseudo = checksum::pseudo_v4(A2, B1, protocol::TCP, (packet.len() - 20) as u32);
    packet[36..38].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    packet
}

/// Takes one batch through the pipeline and the ports' place.
fn pass(world: &mut World, traffic: &Traffic, batch: &mut Batch) {
    let World { pipeline, snapshot, pool, counters, now, .. } = world;
    *now += 1000;
    for bytes in &traffic.frames {
        let mut frame = Frame::copied(bytes, pool, traffic.port).unwrap();
        if let Some((gso, l4)) = traffic.offload {
            frame.meta.gso = gso;
            frame.meta.partial = Partial { start: frame.offset() as u16 + l4, offset: 16 };
        }
        counters.received.add(1);
        batch.push(frame);
    }
    pipeline.run(batch, &mut Turn { snapshot, pool, counters, now: *now });
    pipeline.tick(&mut Turn { snapshot, pool, counters, now: *now });
    for (queue, expected) in pipeline.queues.iter_mut().zip(traffic.leave) {
        assert_eq!(queue.len(), expected);
        counters.emitted.add(queue.len() as u64);
        queue.drain(..).for_each(|frame| frame.free(pool));
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| drop(black_box(Vec::<u8>::with_capacity(100)))), 1);
    assert_eq!(allocations(|| black_box(&mut vec![1u8; 1]).extend([2; 100])), 2, "it grows");
    let mut world = World::default();
    let cold = allocations(|| pass(&mut world, &traffic()[0], &mut Batch::new()));
    assert!(cold > 0, "the first batch makes the queues");
}

#[test]
fn a_warm_pipeline_allocates_nothing() {
    allocates_nothing(&[World::default().snapshot.guard]);
}

/// Policies that change all the time, so that flows are judged again and again, and packets noted for the log.
#[test]
fn nor_does_it_with_policies() {
    let service = |protocol| Service { protocol, what: What::Any };
    let rule = |verb, protocols: &[u8]| {
        let services = protocols.iter().map(|protocol| service(*protocol)).collect();
        Rule { verb, from: Vec::new(), to: Vec::new(), services }
    };
    let allow = rule(Verb::Allow, &[protocol::TCP, protocol::UDP]);
    let mut world = World::default();
    let guards = [protocol::TCP, protocol::UDP].map(|logged| {
        world.guard(vec![rule(Verb::Log, &[logged]), allow.clone()]);
        world.snapshot.guard.clone()
    });
    allocates_nothing(&guards);
}

/// With these guards in turn.
fn allocates_nothing(guards: &[Arc<Guard>]) {
    let (mut world, mut batch, traffic) = (World::default(), Batch::new(), traffic());
    world.snapshot.flows = Arc::new(Flows::new(1 << 12, 1));
    let mut pass = |i: usize| {
        world.snapshot.guard = guards[i % guards.len()].clone();
        self::pass(&mut world, &traffic[i % traffic.len()], &mut batch);
    };
    (0..4 * traffic.len()).for_each(&mut pass);
    let n = allocations(|| (0..10_000).for_each(&mut pass));
    assert_eq!(n, 0, "allocations in 10,000 batches");
    assert_eq!(world.counters.dropped_in_all(), 0);
    assert!(world.counters.split.get() > 0 && world.counters.merged.get() > 0);
    world.check_laws();
}
