//! Frames against a plain `Vec<u8>` as oracle, and chunks against loss.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::snapshot::PortId;
use proptest::collection::vec;
use proptest::prelude::*;

const PORT: PortId = PortId(0);

fn pool() -> Pool {
    Pool::new(Memory::new(512, false).unwrap())
}

fn bytes(frame: &Frame) -> Vec<u8> {
    frame.segments().flatten().copied().collect()
}

fn assert_whole(pool: &Pool) {
    let memory = pool.memory();
    assert_eq!(memory.unclaimed() + pool.idle(), memory.chunks() as usize);
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Pop(usize),
    Append(usize),
    Truncate(usize),
    Chain(usize),
    Join(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..300usize).prop_map(Step::Push),
        (0..300usize).prop_map(Step::Pop),
        (0..2500usize).prop_map(Step::Append),
        (0..9000usize).prop_map(Step::Truncate),
        (0..CHUNK_SIZE - LINK).prop_map(Step::Chain),
        (0..5000usize).prop_map(Step::Join),
    ]
}

/// What each step does to a frame, it does to a `Vec`.
fn apply(step: &Step, frame: &mut Frame, model: &mut Vec<u8>, pool: &mut Pool, fill: u8) {
    match *step {
        Step::Push(n) => {
            let headroom = frame.offset();
            match frame.push(n) {
                Some(room) => {
                    room.fill(fill);
                    model.splice(0..0, vec![fill; n]);
                }
                None => assert!(n > headroom),
            }
        }
        Step::Pop(n) => {
            let head = frame.head().len();
            if frame.pop(n) {
                model.drain(..n);
            } else {
                assert!(n > head);
            }
        }
        Step::Append(n) => {
            if let Some(room) = frame.append(n) {
                room.fill(fill);
                model.extend(vec![fill; n]);
            }
        }
        Step::Truncate(n) => {
            frame.truncate(n, pool);
            model.truncate(n);
        }
        Step::Chain(n) => {
            let mut chunk = pool.alloc().unwrap();
            chunk.bytes_mut()[LINK..LINK + n].fill(fill);
            frame.chain(chunk, LINK, n);
            model.extend(vec![fill; n]);
        }
        Step::Join(n) => {
            frame.join(Frame::copied(&vec![fill; n], pool, PORT).unwrap());
            model.extend(vec![fill; n]);
        }
    }
}

proptest! {
    #[test]
    fn a_frame_is_its_bytes(first in vec(any::<u8>(), 0..6000), steps in vec(step(), 0..12)) {
        let mut pool = pool();
        let mut frame = Frame::copied(&first, &mut pool, PORT).unwrap();
        let mut model = first;
        for (fill, step) in steps.iter().enumerate() {
            apply(step, &mut frame, &mut model, &mut pool, fill as u8);
            prop_assert_eq!(frame.len(), model.len());
            prop_assert_eq!(bytes(&frame), model.clone());
        }
        let at = model.len() / 3;
        let mut copy = vec![0; 100];
        let n = frame.copy_to(at, &mut copy);
        prop_assert_eq!(&copy[..n], &model[at..model.len().min(at + 100)]);
        frame.free(&mut pool);
        assert_whole(&pool);
    }

    #[test]
    fn chunks_come_apart_as_they_were_joined(sizes in vec(0..CHUNK_SIZE - LINK, 1..40)) {
        let mut pool = pool();
        let mut frame = Frame::alloc(&mut pool, PORT).unwrap();
        for size in &sizes {
            frame.chain(pool.alloc().unwrap(), LINK, *size);
        }
        prop_assert_eq!(frame.chunks(), sizes.len() + 1);
        let mut seen = Vec::new();
        let mut chunks = Vec::new();
        frame.into_chunks(|chunk, _, len| {
            seen.push(len);
            chunks.push(chunk);
        });
        prop_assert_eq!(&seen[1..], &sizes[..]);
        for chunk in chunks {
            pool.free(chunk);
        }
        assert_whole(&pool);
    }
}

#[test]
fn offsets_outlive_pushes_and_pops() {
    let mut pool = pool();
    let mut frame = Frame::copied(b"ethernet-ip-payload", &mut pool, PORT).unwrap();
    frame.meta.l3 = frame.offset() as u16 + 9;
    assert_eq!(frame.l3(), b"ip-payload");
    frame.pop(9);
    assert_eq!(frame.l3(), b"ip-payload");
    frame.push(50).unwrap().fill(0);
    assert_eq!(frame.l3(), b"ip-payload");
    assert_eq!(frame.len_from(frame.meta.l3), 10);
    frame.pop(55);
    assert_eq!(frame.l3(), b"", "an offset in front of the frame is no offset");
    frame.free(&mut pool);
}

#[test]
fn memory_ends_and_comes_back() {
    let memory = Memory::new(128, false).unwrap();
    let (mut a, mut b) = (Pool::new(memory), Pool::new(memory));
    let mut taken: Vec<_> = std::iter::from_fn(|| a.alloc()).collect();
    assert_eq!(taken.len(), 128);
    assert!(b.alloc().is_none() && Frame::copied(&[0; 10], &mut b, PORT).is_none());
    // What one worker received another may free.
    taken.drain(..).for_each(|chunk| b.free(chunk));
    drop(b);
    assert_eq!(memory.unclaimed(), 128);
    assert!(a.alloc().is_some_and(|chunk| {
        a.free(chunk);
        true
    }));
}

#[test]
fn a_pool_gives_back_what_it_does_not_need() {
    let memory = Memory::new(8192, false).unwrap();
    let mut pool = Pool::new(memory);
    let taken: Vec<_> = (0..8192).map(|_| pool.alloc().unwrap()).collect();
    taken.into_iter().for_each(|chunk| pool.free(chunk));
    assert!(pool.idle() < 2048, "{} chunks idle in one pool", pool.idle());
    assert_eq!(memory.unclaimed() + pool.idle(), 8192);
}

#[test]
fn sizes_of_memory_are_checked() {
    assert!(matches!(Memory::new(0, false), Err(MemoryError::Size(0))));
    assert!(matches!(Memory::new(u32::MAX, false), Err(MemoryError::Size(_))));
}

#[test]
fn a_batch_forgets_the_dead() {
    let mut pool = pool();
    let mut batch = Batch::new();
    for byte in 0..5u8 {
        batch.push(Frame::copied(&[byte], &mut pool, PORT).unwrap());
    }
    batch.drop(1, crate::stages::parse::VLAN);
    batch.emit(3, PORT);
    let taken = batch.take(4);
    assert_eq!(batch.live().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(bytes(&taken), [4]);
    taken.free(&mut pool);
    let verdicts: Vec<_> =
        batch.drain().map(|frame| (frame.meta.verdict, frame.free(&mut pool)).0).collect();
    assert_eq!(verdicts[0], Verdict::Continue);
    assert_eq!(verdicts[1], Verdict::Drop(crate::stages::parse::VLAN));
    assert_eq!(verdicts[3], Verdict::Emit(PORT));
    assert_eq!(verdicts[4], Verdict::Taken);
    assert_whole(&pool);
}

#[test]
fn a_batch_is_limited_in_bytes() {
    let mut pool = pool();
    let mut batch = Batch::new();
    while batch.room() > 0 {
        batch.push(Frame::copied(&[0; 60_000], &mut pool, PORT).unwrap());
    }
    assert!(batch.len() < 12, "{} super-frames", batch.len());
    batch.drain().for_each(|frame| frame.free(&mut pool));
    assert_whole(&pool);
}
