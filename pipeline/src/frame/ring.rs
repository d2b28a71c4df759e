//! A ring that hands values, frames that is, from one worker to another: one producer, one
//! consumer.
//!
//! ```text
//!            head (consumer's)       tail (producer's)
//!               v                       v
//!  | free | free | full | full | full | free | free |     slot of an index: index mod size
//! ```
//! Both indices only grow (and wrap); each is written by one side, with release ordering after the
//! slots, and read by the other with acquire ordering before them. Each side keeps a copy of the
//! other's index and looks at the shared one only when the copy says that there is nothing left to
//! do. A batch is shown to the other side at once, by [`Producer::publish`] and
//! [`Consumer::release`], so that it costs one move of a shared cache line and not one for each
//! frame.
//!
//! Invariant: slots from `head` to `tail` hold a value and are the consumer's; the others hold none
//! and are the producer's.

use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};
use crossbeam::utils::CachePadded;
use std::mem::MaybeUninit;

#[derive(Debug)]
struct Shared<T> {
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: by the invariant a slot belongs to one side at a time, and it changes sides with the
// release of an index and its acquisition; so values are moved between threads, for which `T: Send`
// is enough.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl<T: Send> Send for Shared<T> {}

/// The side that puts values in.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The next slot to write.
    next: usize,
    /// `tail`: what the consumer can see ends here.
    published: usize,
    /// `head`, when we last looked.
    released: usize,
}

/// The side that takes values out.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The next slot to read.
    next: usize,
    /// `tail`, at the last look.
    published: usize,
}

/// The two sides of a new ring of `size` slots.
///
/// # Panics
/// When `size` is not a power of two.
pub fn ring<T: Send>(size: usize) -> (Producer<T>, Consumer<T>) {
    assert!(size.is_power_of_two(), "a ring's size is a power of two");
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        slots: (0..size).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let producer = Producer { shared: shared.clone(), next: 0, published: 0, released: 0 };
    (producer, Consumer { shared, next: 0, published: 0 })
}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

impl<T> Producer<T> {
    /// Puts a value in, unseen until [`publish`](Self::publish).
    ///
    /// # Errors
    /// The value, when the ring is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let size = self.shared.slots.len();
        if self.next.wrapping_sub(self.released) == size {
            self.released = self.shared.head.load(Ordering::Acquire);
            if self.next.wrapping_sub(self.released) == size {
                return Err(value);
            }
        }
        self.shared.slot(self.next).with_mut(|slot| {
            // SAFETY: fewer than `size` slots are between `head` and `next`, so this one is not
            // among them: it is ours, and the consumer is done with it since `released` was
            // acquired.
            unsafe { (*slot).write(value) };
        });
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Shows the consumer what was pushed; whether there was anything.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let new = self.next != self.published;
        if new {
            self.published = self.next;
            self.shared.tail.store(self.next, Ordering::Release);
        }
        new
    }
}

impl<T> Consumer<T> {
    /// Looks what has been published; how many values there are to [`pop`](Self::pop). All that
    /// their producer saw before it published them can be seen from here on.
    #[inline]
    pub fn look(&mut self) -> usize {
        self.published = self.shared.tail.load(Ordering::Acquire);
        self.published.wrapping_sub(self.next)
    }

    /// Takes out one of the values that the last [`look`](Self::look) saw; its slot is the
    /// producer's after [`release`](Self::release).
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.next == self.published {
            return None;
        }
        let value = self.shared.slot(self.next).with(|slot| {
            // SAFETY: the slot lies between `head` and a `tail` that was acquired, so that the
            // producer has written it and will not touch it before it is released. Each is read
            // once: `next` moves on.
            unsafe { (*slot).assume_init_read() }
        });
        self.next = self.next.wrapping_add(1);
        Some(value)
    }

    /// Gives the slots of what was popped back to the producer.
    #[inline]
    pub fn release(&mut self) {
        self.shared.head.store(self.next, Ordering::Release);
    }

    /// Whether nothing has been published that was not popped.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.next == self.shared.tail.load(Ordering::Acquire)
    }
}

/// What was pushed is not lost with the producer.
impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.publish();
    }
}

/// What was popped must not be dropped with the ring.
impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.release();
    }
}

/// What nobody took ends with the ring.
impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (mut at, end) = (self.head.load(Ordering::Acquire), self.tail.load(Ordering::Acquire));
        while at != end {
            self.slot(at).with_mut(|slot| {
                // SAFETY: both sides are gone, and by the invariant the slot holds a value.
                unsafe { (*slot).assume_init_drop() };
            });
            at = at.wrapping_add(1);
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::sync::Arc;

    #[test]
    fn two_threads_see_all_in_order() {
        const COUNT: usize = 200_000;
        let (mut producer, mut consumer) = ring(64);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..COUNT {
                    let mut value = Box::new(n);
                    while let Err(back) = producer.push(value) {
                        producer.publish();
                        std::thread::yield_now();
                        value = back;
                    }
                    if n % 7 == 0 {
                        producer.publish();
                    }
                }
            });
            for n in 0..COUNT {
                let value = std::iter::repeat_with(|| {
                    consumer.pop().or_else(|| {
                        consumer.release();
                        if consumer.look() == 0 {
                            std::thread::yield_now();
                        }
                        None
                    })
                });
                assert_eq!(value.flatten().next(), Some(Box::new(n)));
            }
        });
    }

    #[test]
    fn what_nobody_took_ends_with_the_ring() {
        let value = Arc::new(());
        let (mut producer, mut consumer) = ring(8);
        for _ in 0..5 {
            producer.push(value.clone()).unwrap();
        }
        producer.publish();
        assert_eq!(consumer.look(), 5);
        drop(consumer.pop());
        producer.push(value.clone()).unwrap();
        assert_eq!(Arc::strong_count(&value), 6);
        drop((producer, consumer));
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    #[should_panic(expected = "a power of two")]
    fn sizes_are_powers_of_two() {
        ring::<()>(6);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push,
        Publish,
        Look,
        Pop,
        Release,
    }

    proptest! {
        /// Against an oracle of queues: pushed, published, and seen by a look; `kept` slots are
        /// popped and not released.
        #[test]
        fn behaves_as_queues_do(
            log in 0u32..5,
            ops in proptest::collection::vec(
                prop_oneof![
                    4 => Just(Op::Push),
                    1 => Just(Op::Publish),
                    2 => Just(Op::Look),
                    4 => Just(Op::Pop),
                    1 => Just(Op::Release),
                ],
                0..300,
            ),
        ) {
            let size = 1 << log;
            let (mut producer, mut consumer) = ring(size);
            let [mut pushed, mut published, mut seen] = [const { VecDeque::new() }; 3];
            let (mut next, mut kept) = (0, 0);
            for op in ops {
                match op {
                    Op::Push => {
                        let used = pushed.len() + published.len() + seen.len() + kept;
                        prop_assert_eq!(producer.push(next).is_ok(), used < size);
                        if used < size {
                            pushed.push_back(next);
                        }
                        next += 1;
                    }
                    Op::Publish => {
                        prop_assert_eq!(producer.publish(), !pushed.is_empty());
                        published.append(&mut pushed);
                    }
                    Op::Look => {
                        seen.append(&mut published);
                        prop_assert_eq!(consumer.look(), seen.len());
                    }
                    Op::Pop => {
                        prop_assert_eq!(consumer.is_empty(), seen.len() + published.len() == 0);
                        let value = seen.pop_front();
                        kept += usize::from(value.is_some());
                        prop_assert_eq!(consumer.pop(), value);
                    }
                    Op::Release => {
                        consumer.release();
                        kept = 0;
                    }
                }
            }
        }
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod loom_tests {
    use super::*;
    use loom::thread;

    /// More values than slots, in batches: each arrives whole, once, in order.
    #[test]
    fn loom_all_arrive_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(2);
            let other = thread::spawn(move || {
                let mut sent = 0;
                for n in 0..3usize {
                    sent += usize::from(producer.push(Box::new(n)).is_ok());
                    if n != 0 {
                        producer.publish();
                    }
                }
                sent
            });
            let mut got = Vec::new();
            for _ in 0..2 {
                consumer.look();
                got.extend(consumer.pop());
                consumer.release();
            }
            let sent = other.join().unwrap();
            consumer.look();
            got.extend(std::iter::from_fn(|| consumer.pop()));
            assert_eq!(got.len(), sent);
            assert!(got.is_sorted() && *got[0] == 0);
        });
    }

    /// Whoever ends first: what is left is dropped once.
    #[test]
    fn loom_the_end_leaks_nothing() {
        loom::model(|| {
            let value = loom::sync::Arc::new(());
            let (mut producer, mut consumer) = ring(2);
            let copy = value.clone();
            let other = thread::spawn(move || {
                let _ = producer.push(copy);
            });
            consumer.look();
            drop(consumer.pop());
            drop(consumer);
            other.join().unwrap();
            assert_eq!(loom::sync::Arc::strong_count(&value), 1);
        });
    }
}
