//! Packet memory: who owns which bytes.
//!
//! ```text
//!  Memory   one mapping for the process, cut into chunks of CHUNK_SIZE; also the AF_XDP UMEM
//!  Chunk    the right to one chunk; cannot be copied, so no two owners
//!  Pool     a worker's free list of chunks
//!  Frame    head chunk + chain of further chunks + Meta
//!  Batch    up to 64 Frames and a mask of those still alive
//!  ring     hands Frames from one worker to another
//!
//!  head chunk     |<---- headroom ---->|<-------- head() -------->|<-- tailroom -->|
//!                 0                   off                     off + len        CHUNK_SIZE
//!  chained chunk  |link|  unused       |<-------- bytes ----------->|
//!                      LINK
//! ```
//!
//! All headers lie contiguous in the head. `push` and `pop` move `off`; offsets in [`Meta`] count
//! from the chunk's first byte, so that they stay true when headers come and go in front of them.
//!
//! This folder is the only place of the crate with `unsafe`, which rests on three facts:
//! a `Memory` is never unmapped (it is leaked on purpose: one per process); a chunk index is held by
//! exactly one `Chunk`, `Frame` or kernel ring at a time; a frame's bytes lie within its chunks.

mod batch;
#[allow(unsafe_code)]
mod chain;
mod meta;
#[allow(unsafe_code)]
mod pool;
#[allow(unsafe_code)]
pub mod ring;
#[cfg(all(test, not(loom)))]
mod tests;

pub use batch::{BATCH_SIZE, Batch, Live, Mark, Run};
pub use chain::{Frame, Segments};
pub use meta::{Gso, GsoKind, Link, Meta, NO_PEER, Packet, Partial, Verdict};
pub use pool::{CHUNK_SIZE, Chunk, HEADROOM, LINK, Memory, MemoryError, Pool};
