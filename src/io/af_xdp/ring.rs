//! The protocol of a ring shared with the kernel: one side produces, the other consumes.
//!
//! ```text
//!            consumer                producer
//!               v                       v
//!  | free | free | full | full | full | free | free |     slot of an index: index mod size
//! ```
//! Both indices only grow (and wrap at 2^32); each is written by one side. A side writes or reads
//! slots first and then moves its index with release ordering, which the other side loads with
//! acquire ordering: so it sees whole slots. Each side works on copies of both indices and looks at
//! the shared one of the other side only when its copy says that there is nothing left to do: a
//! cache line less for most frames.
//!
//! Nothing here is unsafe: slots are atomics, and an index is masked before it is used, whatever the
//! other side may have written. All four rings of a socket are one of the two types here, and the
//! kernel's part can be played by the other one: that is how they are tested.

use super::sys::{Atomics, Shared};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Set by the kernel when it has to be told that there is work.
const NEED_WAKEUP: u32 = 1;

/// What a ring's slot holds.
pub(super) trait Slot: Atomics {
    /// The value.
    type Value: Copy;
    /// Reads the slot.
    fn load(&self) -> Self::Value;
    /// Writes the slot.
    fn store(&self, value: Self::Value);
}

/// A slot of the fill and completion rings: a chunk's address in the UMEM.
pub(super) type AddressSlot = AtomicU64;

impl Slot for AddressSlot {
    type Value = u64;

    #[inline]
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::Relaxed)
    }

    #[inline]
    fn store(&self, value: u64) {
        AtomicU64::store(self, value, Ordering::Relaxed);
    }
}

/// `struct xdp_desc`: some bytes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Where they start in the UMEM.
    pub(super) address: u64,
    /// How many they are.
    pub(super) len: u32,
    /// Whether the frame goes on in the next descriptor (`XDP_PKT_CONTD`).
    pub(super) continued: bool,
}

/// A slot of the receive and transmit rings, as two words.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct DescriptorSlot {
    address: AtomicU64,
    len: AtomicU32,
    options: AtomicU32,
}

const CONTINUED: u32 = 1;

impl Slot for DescriptorSlot {
    type Value = Descriptor;

    #[inline]
    fn load(&self) -> Descriptor {
        Descriptor {
            address: self.address.load(Ordering::Relaxed),
            len: self.len.load(Ordering::Relaxed),
            continued: self.options.load(Ordering::Relaxed) & CONTINUED != 0,
        }
    }

    #[inline]
    fn store(&self, value: Descriptor) {
        self.address.store(value.address, Ordering::Relaxed);
        self.len.store(value.len, Ordering::Relaxed);
        self.options.store(if value.continued { CONTINUED } else { 0 }, Ordering::Relaxed);
    }
}

/// The side of a ring that puts values in: ours in the fill and transmit rings.
#[derive(Debug)]
pub(super) struct Producer<S> {
    shared: Shared<S>,
    /// The next slot to write.
    next: u32,
    /// The consumer's index when we last looked.
    consumed: u32,
}

impl<S: Slot> Producer<S> {
    pub(super) fn new(shared: Shared<S>) -> Self {
        let next = shared.producer().load(Ordering::Relaxed);
        let consumed = shared.consumer().load(Ordering::Acquire);
        Producer { shared, next, consumed }
    }

    /// Slots that can be written now, if there are `wanted`; otherwise as many as there are.
    #[inline]
    pub(super) fn free(&mut self, wanted: u32) -> u32 {
        if self.shared.size() - self.used() < wanted {
            self.consumed = self.shared.consumer().load(Ordering::Acquire);
        }
        self.shared.size() - self.used()
    }

    /// Values that the consumer had not taken when we last looked.
    #[inline]
    pub(super) fn used(&self) -> u32 {
        self.next.wrapping_sub(self.consumed).min(self.shared.size())
    }

    /// Values that the consumer has not taken now, published or not.
    #[inline]
    pub(super) fn pending(&mut self) -> u32 {
        self.consumed = self.shared.consumer().load(Ordering::Acquire);
        self.used()
    }

    /// Puts a value in; unseen until [`publish`](Self::publish).
    ///
    /// # Panics
    /// When no slot is free.
    #[inline]
    pub(super) fn push(&mut self, value: S::Value) {
        assert!(self.free(1) > 0, "the ring has room");
        self.shared.slot(self.next).store(value);
        self.next = self.next.wrapping_add(1);
    }

    /// Shows the consumer what was pushed.
    #[inline]
    pub(super) fn publish(&mut self) {
        self.shared.producer().store(self.next, Ordering::Release);
    }

    /// Whether the kernel waits for a system call before it goes on.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.shared.flags().load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }
}

/// The side of a ring that takes values out: ours in the receive and completion rings.
#[derive(Debug)]
pub(super) struct Consumer<S> {
    shared: Shared<S>,
    /// The next slot to read.
    next: u32,
    /// The producer's index when we last looked.
    produced: u32,
}

impl<S: Slot> Consumer<S> {
    pub(super) fn new(shared: Shared<S>) -> Self {
        let next = shared.consumer().load(Ordering::Relaxed);
        Consumer { shared, next, produced: next }
    }

    /// Takes a value out; its slot stays the producer's to wait for until [`release`](Self::release).
    #[inline]
    pub(super) fn pop(&mut self) -> Option<S::Value> {
        if self.next == self.produced {
            self.produced = self.shared.producer().load(Ordering::Acquire);
            if self.next == self.produced {
                return None;
            }
        }
        let value = self.shared.slot(self.next).load();
        self.next = self.next.wrapping_add(1);
        Some(value)
    }

    /// Gives the slots of what was popped back to the producer.
    #[inline]
    pub(super) fn release(&mut self) {
        self.shared.consumer().store(self.next, Ordering::Release);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::thread;

    /// Both ends of a ring in anonymous memory whose indices stand at `start`.
    fn ring(size: u32, start: u32) -> (Producer<DescriptorSlot>, Consumer<DescriptorSlot>) {
        let [ours, theirs] = Shared::anonymous(size).unwrap();
        ours.producer().store(start, Ordering::Relaxed);
        ours.consumer().store(start, Ordering::Relaxed);
        (Producer::new(ours), Consumer::new(theirs))
    }

    fn descriptor(n: u64) -> Descriptor {
        Descriptor { address: n << 11, len: n as u32 ^ 0x5a5a, continued: n.is_multiple_of(3) }
    }

    #[test]
    fn full_and_empty_and_full_again_across_the_wrap() {
        let (mut producer, mut consumer) = ring(8, u32::MAX - 3);
        for round in 0..5 {
            assert_eq!(producer.free(8), 8);
            (0..8).for_each(|i| producer.push(descriptor(round * 8 + i)));
            assert_eq!((producer.free(1), consumer.pop()), (0, None), "nothing is published");
            producer.publish();
            for i in 0..8 {
                assert_eq!(consumer.pop(), Some(descriptor(round * 8 + i)));
            }
            assert_eq!((consumer.pop(), producer.free(1)), (None, 0), "nothing is released");
            assert_eq!(producer.pending(), 8);
            consumer.release();
            assert_eq!(producer.pending(), 0);
        }
    }

    #[test]
    #[should_panic(expected = "the ring has room")]
    fn a_full_ring_takes_no_more() {
        let (mut producer, _consumer) = ring(2, 0);
        (0..3).for_each(|n| producer.push(descriptor(n)));
    }

    #[test]
    fn nonsense_from_the_other_side_stays_within_the_ring() {
        let [ours, theirs] = Shared::<AddressSlot>::anonymous(4).unwrap();
        theirs.consumer().store(12_345, Ordering::Relaxed);
        let mut producer = Producer::new(ours);
        assert_eq!(producer.free(1), 0, "a consumer ahead of the producer leaves no room");
        theirs.producer().store(99, Ordering::Relaxed);
        let mut consumer = Consumer::new(theirs);
        assert!((0..1000).all(|_| consumer.pop().is_some()));
    }

    #[test]
    fn two_threads() {
        const COUNT: u64 = 100_000;
        let (mut producer, mut consumer) = ring(64, u32::MAX - 1000);
        thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..COUNT {
                    while producer.free(1) == 0 {
                        thread::yield_now();
                    }
                    producer.push(descriptor(n));
                    if n % 7 == 0 || n == COUNT - 1 || producer.free(1) == 0 {
                        producer.publish();
                    }
                }
            });
            for n in 0..COUNT {
                let value = std::iter::repeat_with(|| {
                    consumer.release();
                    thread::yield_now();
                    consumer.pop()
                });
                assert_eq!(value.flatten().next(), Some(descriptor(n)));
            }
        });
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push,
        Publish,
        Pop,
        Release,
    }

    proptest! {
        /// Against an oracle of two queues: pushed but unseen, and published; `freed` slots are
        /// popped but not released.
        #[test]
        fn behaves_as_queues_do(
            start: u32,
            log in 0u32..6,
            ops in proptest::collection::vec(
                prop_oneof![
                    4 => Just(Op::Push),
                    1 => Just(Op::Publish),
                    4 => Just(Op::Pop),
                    1 => Just(Op::Release),
                ],
                0..400,
            ),
        ) {
            let size = 1 << log;
            let (mut producer, mut consumer) = ring(size, start);
            let (mut unseen, mut published) = (VecDeque::new(), VecDeque::new());
            let (mut next, mut freed) = (0, 0);
            for op in ops {
                let used = (unseen.len() + published.len() + freed) as u32;
                match op {
                    Op::Push => {
                        prop_assert_eq!(producer.free(1) > 0, used < size);
                        prop_assert_eq!(producer.pending(), used);
                        if used < size {
                            producer.push(descriptor(next));
                            unseen.push_back(descriptor(next));
                            next += 1;
                        }
                    }
                    Op::Publish => {
                        producer.publish();
                        published.append(&mut unseen);
                    }
                    Op::Pop => {
                        let value = published.pop_front();
                        freed += usize::from(value.is_some());
                        prop_assert_eq!(consumer.pop(), value);
                    }
                    Op::Release => {
                        consumer.release();
                        freed = 0;
                    }
                }
            }
        }
    }
}
