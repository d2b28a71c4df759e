//! The drop reasons as a whole; and those that neither a config nor a frame can bring about, because
//! they take tables that do not fit together, a flood, or a frame as no port makes it. The others are
//! in `tests/scenarios/`.
#![allow(clippy::unwrap_used)]

use encap::wire::{ipv4, protocol};
use pipeline::Turn;
use pipeline::cx::{Cx, Reinject};
use pipeline::drops::{self, Reason};
use pipeline::frame::{BATCH_SIZE, Batch, Frame};
use pipeline::snapshot::{Hop, NextHop, PortId};
use pipeline::stages::{StageId, finish, neighbour, port, settle, tunnel};
use pipeline::testing::*;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

#[test]
fn reasons_have_names_and_texts() {
    let mut names = HashSet::new();
    for reason in drops::all() {
        let (name, text) = (reason.name(), reason.text());
        let (stage, own) = name.split_once('.').unwrap();
        for word in [stage, own].into_iter().flat_map(|part| part.split('_')) {
            let is_lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            assert!(!word.is_empty() && word.chars().all(is_lower), "{name} is not snake_case");
        }
        assert!(names.insert(name.clone()), "two reasons are called {name}");
        let is_phrase = text.len() > 10 && text.contains(' ') && !text.ends_with('.');
        assert!(is_phrase, "{name}: {text:?} does not tell what happened");
    }
    assert!(names.len() > 50, "all stages are in the list");
}

/// A packet of pod a2, whose port has no Ethernet.
fn packet(dst: Ipv4Addr) -> Vec<u8> {
    let header = ipv4::Header {
        tos: 0,
        total_len: 40,
        ident: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: protocol::UDP,
        src: A2,
        dst,
    };
    let mut bytes = vec![0; 40];
    header.emit(&mut bytes);
    bytes
}

#[test]
fn routes_to_nowhere() {
    let cases: [(Hop, Reason); 3] = [
        (Hop::Peer(9), tunnel::NO_PEER),
        (Hop::Neighbour(99), neighbour::NO_NEIGHBOUR),
        (Hop::Port(PortId(77)), finish::NO_PORT),
    ];
    for (hop, reason) in cases {
        let mut world = World::default();
        let dst = Ipv4Addr::new(10, 98, 0, 1);
        world.route(dst.into(), None, NextHop::new(hop));
        world.expect_drop(TUN, &packet(dst), reason);
        world.check_laws();
    }
}

#[test]
fn no_room_in_front() {
    // 40 bytes are too few for VXLAN, and 5 for Ethernet.
    for (headroom, dst, reason) in [(40, B1, tunnel::HEADROOM), (5, A1, neighbour::HEADROOM)] {
        let mut world = World::default();
        let bytes = packet(dst);
        let mut chunk = world.pool.alloc().unwrap();
        chunk.bytes_mut()[headroom..headroom + bytes.len()].copy_from_slice(&bytes);
        let frame = Frame::new(chunk, headroom, bytes.len(), TUN);
        assert!(world.run([frame]).is_empty());
        assert_eq!(world.counters.drops(reason), 1, "{}", reason.name());
        world.check_laws();
    }
}

/// Runs `n` frames to the peer, and leaves in the queue what is to be sent.
fn fill(world: &mut World, n: usize) {
    let bytes = packet(B1);
    for _ in 0..n.div_ceil(BATCH_SIZE) {
        let mut batch = Batch::new();
        for _ in 0..n.min(BATCH_SIZE) {
            batch.push(world.frame(TUN, &bytes));
            world.counters.received.add(1);
        }
        let World { pipeline, snapshot, pool, counters, now, .. } = &mut *world;
        pipeline.run(&mut batch, &mut Turn { snapshot, pool, counters, now: *now });
    }
}

#[test]
fn a_queue_is_bounded() {
    let mut world = World::default();
    fill(&mut world, 17 * BATCH_SIZE);
    assert_eq!(world.pipeline.queues[UPLINK.index()].len(), 16 * BATCH_SIZE);
    assert_eq!(world.counters.drops(port::FULL), BATCH_SIZE as u64);
    let sent = world.run([]);
    world.bytes(sent);
    world.check_laws();
}

#[test]
fn what_is_queued_ends_with_its_port() {
    // The uplink would be the first port; so the last one gets the frames here: pod a2's own.
    let mut world = World::default();
    world.route(B1.into(), None, NextHop::new(Hop::Port(TUN)));
    fill(&mut world, 3);
    assert_eq!(world.pipeline.queues[TUN.index()].len(), 3);
    Arc::make_mut(&mut world.snapshot.ports).remove(TUN.index());
    assert!(world.wait(1).is_empty());
    assert_eq!(world.counters.drops(port::GONE), 3);
    world.expect_drop(TUN, &packet(B1), port::GONE);
    world.check_laws();
}

#[test]
fn what_is_queued_ends_with_the_worker() {
    let mut world = World::default();
    fill(&mut world, 3);
    let World { pipeline, snapshot, pool, counters, now, .. } = &mut world;
    pipeline.close(&mut Turn { snapshot, pool, counters, now: *now });
    assert_eq!(world.counters.drops(port::GONE), 3);
    world.check_laws();
}

/// Calls `f` as a stage would be called.
fn as_stage(world: &mut World, reinject: &mut Reinject, f: impl FnOnce(&mut Cx<'_>, Frame)) {
    let frame = world.frame(TUN, &packet(B1));
    world.counters.received.add(1);
    let World { pipeline, snapshot, pool, counters, now, .. } = world;
    let queues = &mut pipeline.queues;
    f(&mut Cx { snapshot, pool, counters, reinject, queues, now: *now }, frame);
}

#[test]
fn a_stage_cannot_send_by_a_port_that_is_not_there() {
    let mut world = World::default();
    as_stage(&mut world, &mut Reinject::default(), |cx, frame| cx.send(frame, PortId(77)));
    assert_eq!(world.counters.drops(settle::NO_PORT), 1);
    world.check_laws();
}

#[test]
fn reinjection_is_bounded() {
    let mut world = World::default();
    let mut queue = Reinject::default();
    as_stage(&mut world, &mut queue, |cx, mut frame| {
        for _ in 0..4 {
            cx.reinject(frame, StageId::Route);
            (_, frame) = cx.reinject.next(None).unwrap();
        }
        cx.reinject(frame, StageId::Route);
        assert_eq!((cx.reinject.len(), cx.counters.drops(settle::LOOP)), (0, 1));
    });
    for _ in 0..1025 {
        as_stage(&mut world, &mut queue, |cx, frame| cx.reinject(frame, StageId::Route));
    }
    assert_eq!((queue.len(), world.counters.drops(settle::FLOOD)), (1024, 1));
    while let Some((_, frame)) = queue.next(None) {
        as_stage(&mut world, &mut Reinject::default(), |cx, other| {
            cx.discard(frame, settle::UNDECIDED);
            cx.discard(other, settle::UNDECIDED);
        });
    }
    world.check_laws();
}
