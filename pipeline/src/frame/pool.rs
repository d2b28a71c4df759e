//! The process's packet memory and a worker's share of it.

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes in a chunk. A UMEM chunk may be at most a page; half a page holds a frame of MTU 1500 with
/// its headroom, and two neighbours' headers do not fall on the same L1 set.
pub const CHUNK_SIZE: usize = 2048;

/// Bytes kept free in front of received data: what XDP leaves (`XDP_PACKET_HEADROOM`), and more than
/// the largest stack of headers that a tunnel pushes.
pub const HEADROOM: usize = 256;

/// Bytes at the start of a chained chunk that hold its link to the next one.
pub const LINK: usize = 16;

/// Chunks move between a [`Pool`] and the [`Memory`] in bundles of this many.
const BUNDLE: usize = 64;

/// A pool that holds more free chunks than this gives a bundle back.
const KEEP: usize = 16 * BUNDLE;

type Bundle = [u32; BUNDLE];

/// Why packet memory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The number of chunks is zero or more than 32 bits of address allow.
    #[error("packet memory of {0} chunks; expected 1 to 1048576")]
    Size(u32),
    /// The kernel refused the mapping.
    #[error("packet memory of {bytes} bytes could not be mapped: {source}; lower memory.chunks")]
    Map {
        /// Bytes asked for.
        bytes: usize,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// One page-aligned mapping cut into chunks, shared by all ports and workers of the process.
///
/// Pages are touched only when their chunks are first used, so resident memory follows the traffic.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    chunks: u32,
    huge: bool,
    /// Chunks from here on were never handed out.
    fresh: CachePadded<AtomicU32>,
    /// Chunks that pools gave back.
    depot: ArrayQueue<Bundle>,
}

// SAFETY: `base` is only turned into references through a `Chunk` or a `Frame`, each the one owner of
// its bytes; the counters are atomic.
unsafe impl Sync for Memory {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Memory {}

impl Memory {
    /// Maps memory for at least `chunks` chunks (rounded up to whole bundles). With `huge`, pages of
    /// 2 MiB are asked for: from the reserved ones, else transparent ones.
    ///
    /// The mapping lives as long as the process, which is what lets [`Frame`](super::Frame) be a
    /// plain value without a lifetime.
    pub fn new(chunks: u32, huge: bool) -> Result<&'static Memory, MemoryError> {
        if chunks == 0 || chunks > 1 << 20 {
            return Err(MemoryError::Size(chunks));
        }
        let chunks = chunks.next_multiple_of(BUNDLE as u32);
        let bytes = (chunks as usize * CHUNK_SIZE).next_multiple_of(2 << 20);
        let (base, reserved) = map(bytes, huge)?;
        Ok(Box::leak(Box::new(Memory {
            base,
            chunks,
            huge: reserved,
            fresh: CachePadded::new(AtomicU32::new(0)),
            depot: ArrayQueue::new(chunks as usize / BUNDLE),
        })))
    }

    /// First byte of the mapping: page-aligned, for registration as UMEM.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes in the mapping that belong to chunks.
    pub fn bytes(&self) -> usize {
        self.chunks as usize * CHUNK_SIZE
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Whether reserved huge pages back it.
    pub fn is_huge(&self) -> bool {
        self.huge
    }

    /// Chunks in nobody's hands: neither in a pool, nor in a frame, nor in a kernel ring.
    pub fn unclaimed(&self) -> usize {
        let fresh = self.fresh.load(Ordering::Relaxed).min(self.chunks);
        (self.chunks - fresh) as usize + self.depot.len() * BUNDLE
    }

    /// The chunk whose first byte is `address` bytes behind [`base`](Self::base), or any byte in it.
    ///
    /// # Safety
    /// The caller must hold the chunk: it came from [`Chunk::into_address`] and has been claimed
    /// back from the kernel exactly once since.
    pub unsafe fn chunk_at(&'static self, address: u64) -> Option<Chunk> {
        let index = u32::try_from(address / CHUNK_SIZE as u64).ok()?;
        (index < self.chunks).then(|| self.chunk(index))
    }

    fn chunk(&self, index: u32) -> Chunk {
        debug_assert!(index < self.chunks);
        // SAFETY: index < chunks, so the offset stays within the mapping.
        Chunk { base: unsafe { self.base.add(index as usize * CHUNK_SIZE) }, index }
    }

    fn claim(&self, free: &mut Vec<u32>) {
        if let Some(bundle) = self.depot.pop() {
            free.extend_from_slice(&bundle);
        } else if self.fresh.load(Ordering::Relaxed) < self.chunks {
            let first = self.fresh.fetch_add(BUNDLE as u32, Ordering::Relaxed);
            // Another worker may have taken the last bundle between the two.
            if first < self.chunks {
                free.extend((first..first + BUNDLE as u32).rev());
            } else {
                self.fresh.fetch_sub(BUNDLE as u32, Ordering::Relaxed);
            }
        }
    }
}

/// Maps `bytes`, and says whether reserved huge pages were had.
fn map(bytes: usize, huge: bool) -> Result<(NonNull<u8>, bool), MemoryError> {
    let attempt = |flags| {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other.
        unsafe { mmap_anonymous(null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags) }
    };
    let reserved = huge
        .then(|| attempt(MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::POPULATE).ok())
        .flatten();
    let is_reserved = reserved.is_some();
    let base = match reserved {
        Some(base) => base,
        None => attempt(MapFlags::PRIVATE | MapFlags::NORESERVE)
            .map_err(|e| MemoryError::Map { bytes, source: e.into() })?,
    };
    if huge && !is_reserved {
        // Only advice: without it the pages are small, which is slower but right.
        // SAFETY: the range is exactly the mapping made above.
        let _ = unsafe { madvise(base, bytes, Advice::LinuxHugepage) };
    }
    Ok((NonNull::new(base.cast()).expect("a successful mmap is not at null"), is_reserved))
}

/// The right to one chunk of [`Memory`]. Dropping it leaks the chunk: give it back to a [`Pool`].
#[must_use = "a dropped chunk is lost until the process ends"]
#[derive(Debug)]
pub struct Chunk {
    pub(super) base: NonNull<u8>,
    pub(super) index: u32,
}

// SAFETY: a chunk is the only owner of its bytes, which no thread is tied to.
unsafe impl Send for Chunk {}

impl Chunk {
    /// All its bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8; CHUNK_SIZE] {
        // SAFETY: `base` points to CHUNK_SIZE mapped bytes that only this chunk owns; u8 has no
        // invalid values and the mapping is zero-filled.
        unsafe { self.base.cast::<[u8; CHUNK_SIZE]>().as_mut() }
    }

    /// Hands the chunk to the kernel: its address in the UMEM.
    pub fn into_address(self) -> u64 {
        u64::from(self.index) * CHUNK_SIZE as u64
    }
}

/// A worker's free list over the shared [`Memory`].
#[derive(Debug)]
pub struct Pool {
    memory: &'static Memory,
    free: Vec<u32>,
}

impl Pool {
    /// An empty pool; it claims chunks when first asked.
    pub fn new(memory: &'static Memory) -> Pool {
        Pool { memory, free: Vec::with_capacity(KEEP + 2 * BUNDLE) }
    }

    /// The memory behind it.
    pub fn memory(&self) -> &'static Memory {
        self.memory
    }

    /// Chunks that are free in this pool.
    pub fn idle(&self) -> usize {
        self.free.len()
    }

    /// A chunk, or `None` when the memory is exhausted. Its bytes are what its last owner left.
    #[inline]
    pub fn alloc(&mut self) -> Option<Chunk> {
        if self.free.is_empty() {
            self.memory.claim(&mut self.free);
        }
        let index = self.free.pop()?;
        Some(self.memory.chunk(index))
    }

    /// Takes a chunk back.
    #[inline]
    pub fn free(&mut self, chunk: Chunk) {
        self.give(chunk.index);
    }

    #[inline]
    pub(super) fn give(&mut self, index: u32) {
        self.free.push(index);
        if self.free.len() > KEEP + BUNDLE {
            self.spill();
        }
    }

    #[cold]
    fn spill(&mut self) {
        // The coldest chunks, at the bottom of the stack, are the ones to part with.
        let mut bundle = [0; BUNDLE];
        bundle.copy_from_slice(&self.free[..BUNDLE]);
        if self.memory.depot.push(bundle).is_ok() {
            self.free.drain(..BUNDLE);
        }
    }
}

impl Pool {
    /// Gives all whole bundles of free chunks back; fewer than a bundle stay.
    pub fn flush(&mut self) {
        while let Some(bundle) = self.free.last_chunk::<BUNDLE>() {
            if self.memory.depot.push(*bundle).is_err() {
                break;
            }
            self.free.truncate(self.free.len() - BUNDLE);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.flush();
    }
}
