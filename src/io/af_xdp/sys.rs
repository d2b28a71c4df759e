//! The only unsafe code of this folder: the memory that is shared with the kernel, the ledger of the
//! chunks that it holds, and one socket option that no crate has.

use super::ring::{AddressSlot, DescriptorSlot};
use pipeline::frame::{CHUNK_SIZE, Chunk, Memory, Pool};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::xdp;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// `SOL_XDP` and its option for how many frames one send call may take; Linux 6.18's if_xdp.h.
const SOL_XDP: i32 = 283;
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// A type of which the kernel may change any value at any time.
///
/// # Safety
/// It consists of atomics without gaps, so that any bits are valid and a change from outside the
/// program is not a data race.
pub(super) unsafe trait Atomics: Default + Send + Sync {}
// SAFETY: an atomic.
unsafe impl Atomics for AddressSlot {}
// SAFETY: three atomics, the first as wide as the other two together, in C's layout.
unsafe impl Atomics for DescriptorSlot {}

/// A mapping that is undone when the last user is gone.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process; nothing in it is tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: its bytes are only ever looked at as atomics.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and no `Shared` refers to it any more.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Which ring of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Rx,
    Tx,
    Fill,
    Completion,
}

impl Which {
    fn page_offset(self) -> u64 {
        match self {
            Which::Rx => xdp::XDP_PGOFF_RX_RING,
            Which::Tx => xdp::XDP_PGOFF_TX_RING,
            Which::Fill => xdp::XDP_UMEM_PGOFF_FILL_RING,
            Which::Completion => xdp::XDP_UMEM_PGOFF_COMPLETION_RING,
        }
    }
}

/// The memory of a ring: two indices, flags, and slots, whose number is a power of two.
#[derive(Debug)]
pub(super) struct Shared<S> {
    mapping: Arc<Mapping>,
    producer: usize,
    consumer: usize,
    flags: usize,
    slots: usize,
    size: u32,
    slot: PhantomData<S>,
}

impl<S: Atomics> Shared<S> {
    /// Maps a ring of `size` slots of the socket `fd`.
    pub(super) fn map(
        fd: impl AsFd,
        which: Which,
        offsets: &xdp::XdpRingOffset,
        size: u32,
    ) -> io::Result<Shared<S>> {
        let flags = offsets.flags.ok_or(io::ErrorKind::Unsupported)?;
        let len = offsets.desc as usize + size as usize * size_of::<S>();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let how = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other.
        let base = unsafe { mmap(null_mut(), len, protection, how, fd, which.page_offset()) }?;
        let base = NonNull::new(base.cast()).expect("a successful mmap is not at null");
        let mapping = Arc::new(Mapping { base, len });
        let [producer, consumer, flags, slots] =
            [offsets.producer, offsets.consumer, flags, offsets.desc].map(|at| at as usize);
        Ok(Shared::new(mapping, [producer, consumer, flags, slots], size))
    }

    /// A ring without a kernel, seen from both its ends.
    #[cfg(test)]
    pub(super) fn anonymous(size: u32) -> io::Result<[Shared<S>; 2]> {
        const LINE: usize = 64;
        let len = 3 * LINE + size as usize * size_of::<S>();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other.
        let base =
            unsafe { rustix::mm::mmap_anonymous(null_mut(), len, protection, MapFlags::PRIVATE) }?;
        let base = NonNull::new(base.cast()).expect("a successful mmap is not at null");
        let mapping = Arc::new(Mapping { base, len });
        let offsets = [0, LINE, 2 * LINE, 3 * LINE];
        Ok([Arc::clone(&mapping), mapping].map(|mapping| Shared::new(mapping, offsets, size)))
    }

    /// # Panics
    /// When an offset is not aligned or what is there does not lie within the mapping, or `size` is
    /// not a power of two: all later accesses rest on that.
    fn new(mapping: Arc<Mapping>, offsets: [usize; 4], size: u32) -> Shared<S> {
        let [producer, consumer, flags, slots] = offsets;
        let words = [producer, consumer, flags];
        assert!(size.is_power_of_two() && slots.is_multiple_of(align_of::<S>()));
        assert!(words.iter().all(|at| at.is_multiple_of(4) && at + 4 <= mapping.len));
        assert!(slots + size as usize * size_of::<S>() <= mapping.len);
        Shared { mapping, producer, consumer, flags, slots, size, slot: PhantomData }
    }

    /// Number of slots.
    #[inline]
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Where the producer writes next.
    #[inline]
    pub(super) fn producer(&self) -> &AtomicU32 {
        self.word(self.producer)
    }

    /// Where the consumer reads next.
    #[inline]
    pub(super) fn consumer(&self) -> &AtomicU32 {
        self.word(self.consumer)
    }

    /// `XDP_RING_*`.
    #[inline]
    pub(super) fn flags(&self) -> &AtomicU32 {
        self.word(self.flags)
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: `new` checked that the word lies within the mapping (which lives as long as `self`) and
        // is aligned; the mapping's base is aligned to a page.
        unsafe { self.mapping.base.add(at).cast().as_ref() }
    }

    /// The slot of an index, whatever the index.
    #[inline]
    pub(super) fn slot(&self, index: u32) -> &S {
        let at = self.slots + (index & (self.size - 1)) as usize * size_of::<S>();
        // SAFETY: as in `word`; the masked index is below `size`, and `S` consists of atomics, valid with
        // any bits.
        unsafe { self.mapping.base.add(at).cast().as_ref() }
    }
}

/// The chunks that the kernel holds on behalf of one socket: those in its rings, and those that it
/// keeps on lists of its own. It makes sure that a chunk comes back once, and that all come back
/// when the socket is closed, wherever the kernel had put them.
#[derive(Debug)]
pub(super) struct Lent {
    memory: &'static Memory,
    /// A bit for each chunk of the memory.
    bits: Box<[u64]>,
    /// How many of them are set.
    count: usize,
}

impl Lent {
    pub(super) fn new(memory: &'static Memory) -> Lent {
        let words = (memory.chunks() as usize).div_ceil(64);
        Lent { memory, bits: vec![0; words].into(), count: 0 }
    }

    /// Chunks that the kernel holds.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Lends a chunk; returns its address in the UMEM.
    ///
    /// # Panics
    /// When the chunk belongs to another memory.
    #[inline]
    pub(super) fn lend(&mut self, chunk: Chunk) -> u64 {
        let address = chunk.into_address();
        let index = address as usize / CHUNK_SIZE;
        self.bits[index / 64] |= 1 << (index % 64);
        self.count += 1;
        address
    }

    /// Takes back the chunk in which `address` lies; `None` when the kernel does not have it.
    #[inline]
    pub(super) fn reclaim(&mut self, address: u64) -> Option<Chunk> {
        let index = usize::try_from(address / CHUNK_SIZE as u64).ok()?;
        let word = self.bits.get_mut(index / 64)?;
        let bit = 1 << (index % 64);
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        self.count -= 1;
        // SAFETY: the bit said that the chunk was given up in `lend`, of this memory, and it is cleared:
        // this is the one time that the chunk is claimed back.
        unsafe { self.memory.chunk_at(address) }
    }

    /// Takes everything back. The kernel must have let go of it: the socket is closed.
    pub(super) fn reclaim_all(&mut self, pool: &mut Pool) {
        for index in 0..self.bits.len() * 64 {
            if let Some(chunk) = self.reclaim((index * CHUNK_SIZE) as u64) {
                pool.free(chunk);
            }
        }
    }
}

/// Lets one send call take up to `frames` frames.
pub(super) fn set_tx_budget(fd: impl AsFd, frames: u32) -> io::Result<()> {
    let len = size_of::<u32>() as libc::socklen_t;
    let value = (&raw const frames).cast();
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the option's value is a u32, and `value` points to one.
    match unsafe { libc::setsockopt(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, value, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_comes_back_once() {
        let memory = Memory::new(128, false).unwrap();
        let mut pool = Pool::new(memory);
        let mut lent = Lent::new(memory);
        let first = lent.lend(pool.alloc().unwrap());
        let second = lent.lend(pool.alloc().unwrap());
        assert_ne!(first, second);
        assert_eq!(lent.count(), 2);
        // Any byte of the chunk will do, as the kernel answers with the data's address.
        let chunk = lent.reclaim(first + 300).unwrap();
        assert!(lent.reclaim(first).is_none());
        assert!(lent.reclaim(127 * CHUNK_SIZE as u64).is_none(), "never lent");
        assert!(lent.reclaim(u64::MAX).is_none(), "outside of the memory");
        pool.free(chunk);
        lent.reclaim_all(&mut pool);
        assert_eq!(lent.count(), 0);
        assert!(lent.reclaim(second).is_none());
        assert_eq!(pool.idle() + memory.unclaimed(), 128);
    }
}
