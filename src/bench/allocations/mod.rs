//! How often a thread asked for memory.
//!
//! A bench that promises no allocation for a packet must be able to see one, also one that is given
//! back at once, which the allocator's own statistics (`mallinfo2`) do not tell. So the program's
//! allocator counts: one addition to a number of the thread's own for each allocation, where
//! `malloc` takes twenty times as long, and nothing for a packet, for which there are none.

#[allow(unsafe_code)]
mod sys;

pub use sys::Counting;

use std::cell::Cell;

thread_local! {
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// Allocations that this thread has made, those that grew or shrank one included. It stays 0 in
/// programs whose allocator is not [`Counting`].
pub fn made() -> u64 {
    MADE.with(Cell::get)
}

fn count() {
    // A thread that ends may free and allocate when its own variables are gone.
    let _ = MADE.try_with(|made| made.set(made.get() + 1));
}
