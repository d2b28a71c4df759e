use super::*;
use crate::drops::Counters;
use crate::stages::{parse, port, ttl};
use crate::testing::*;
use std::sync::atomic::AtomicBool;

fn frame(world: &mut World, bytes: &[u8]) -> Frame {
    world.frame(VETH, bytes)
}

#[test]
fn the_latest_of_each_reason_are_kept_in_their_order() {
    let mut world = World::default();
    let counters = Counters::default();
    for n in 0..EACH as u8 + 2 {
        let frame = frame(&mut world, &[n; 200]);
        counters.clock.set(u64::from(n) * 10);
        counters.dropped(&frame, parse::VLAN);
        frame.free(&mut world.pool);
    }
    let kept = counters.samples(parse::VLAN);
    let (first, last) = (kept.first(), kept.last());
    assert_eq!(kept.len(), EACH);
    assert_eq!(first.map(|sample| (sample.at, sample.bytes[0])), Some((20, 2)));
    assert_eq!(last.map(|sample| (sample.at, sample.bytes[0])), Some((50, 5)));
    assert!(kept.iter().all(|s| (s.len, s.bytes.len(), s.port) == (200, BYTES, VETH)));
    assert!(counters.samples(parse::LENGTH).is_empty());
}

#[test]
fn a_frame_is_kept_as_it_was_when_it_was_dropped() {
    let mut world = World::default();
    for len in [0, 1, 7, 8, 9, 127, 128, 129] {
        let bytes: Vec<u8> = (0..len).collect();
        let frame = frame(&mut world, &bytes);
        world.counters.dropped(&frame, parse::TRUNCATED);
        frame.free(&mut world.pool);
        let kept = world.counters.samples(parse::TRUNCATED);
        let sample = kept.last().expect("it was just kept");
        assert_eq!((sample.len, sample.packet, sample.peer), (bytes.len(), None, None));
        assert_eq!(sample.bytes, bytes[..bytes.len().min(BYTES)]);
    }
}

#[test]
fn what_was_found_in_it_is_kept_with_it() {
    let mut world = World::default();
    let mut frame = frame(&mut world, &[9; 60]);
    frame.pop(14);
    frame.meta.l3 = frame.offset() as u16 + 20;
    frame.meta.peer = 3;
    world.counters.dropped(&frame, ttl::NO_ROUTE);
    frame.free(&mut world.pool);
    let [sample] = &world.counters.samples(ttl::NO_ROUTE)[..] else { panic!("one was dropped") };
    assert_eq!((sample.len, sample.packet, sample.peer), (46, Some(20), Some(3)));
}

#[test]
fn of_a_frame_that_could_not_be_received_the_port_is_kept() {
    let counters = Counters::default();
    counters.clock.set(7);
    counters.refused(TUN, port::NO_MEMORY);
    let expected = Sample { at: 7, port: TUN, peer: None, len: 0, bytes: Vec::new(), packet: None };
    assert_eq!(counters.samples(port::NO_MEMORY), [expected]);
    assert_eq!(counters.drops(port::NO_MEMORY), 1);
}

/// A writer in a hurry, and a reader that must never see parts of two samples.
#[test]
fn readers_see_whole_samples_only() {
    let mut world = World::default();
    let frames: Vec<_> = (0..=255).map(|n| frame(&mut world, &[n; BYTES])).collect();
    let (counters, done) = (Counters::default(), AtomicBool::new(false));
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) || seen == 0 {
                for sample in counters.samples(parse::VLAN) {
                    let n = sample.at as u8;
                    assert!(sample.bytes.iter().all(|byte| *byte == n), "{sample:?}");
                    seen += 1;
                }
            }
            seen
        });
        for n in 0..200_000u64 {
            counters.clock.set(n);
            counters.dropped(&frames[n as usize % frames.len()], parse::VLAN);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().expect("the reader ends")
    });
    assert!(seen > 0);
    frames.into_iter().for_each(|frame| frame.free(&mut world.pool));
}

#[test]
fn notes_are_read_once_and_the_oldest_first() {
    let mut world = World::default();
    let counters = Counters::default();
    let rules = |which| counters.notes(which).iter().map(|(rule, _)| *rule).collect::<Vec<_>>();
    for rule in 0..3 {
        let frame = frame(&mut world, &[rule; 100]);
        counters.note(&frame, rule.into());
        frame.free(&mut world.pool);
    }
    assert_eq!((rules(0..3), rules(1..2), rules(3..9)), (vec![0, 1, 2], vec![1], vec![]));
    let (rule, sample) = &counters.notes(1..3)[0];
    assert_eq!((*rule, sample.len, &sample.bytes[..2]), (1, 100, &[1, 1][..]));
    for rule in 0..NOTES as u32 {
        let frame = frame(&mut world, &[0; 60]);
        counters.note(&frame, rule);
        frame.free(&mut world.pool);
    }
    assert_eq!(rules(0..u64::MAX), (0..NOTES as u32).collect::<Vec<_>>());
    assert_eq!(counters.noted.get(), 3 + NOTES as u64);
}
