//! A frame: a head chunk, the chunks chained behind it, and its facts.

use super::pool::{CHUNK_SIZE, Chunk, LINK, Pool};
use super::{HEADROOM, Meta, Verdict};
use crate::snapshot::PortId;
use std::ptr::NonNull;
use std::slice;

/// No further chunk.
const END: u32 = u32::MAX;

/// What the first [`LINK`] bytes of a chained chunk say.
#[derive(Clone, Copy)]
#[repr(C, align(4))]
struct Link {
    next: u32,
    off: u16,
    len: u16,
}

/// Owned bytes with their [`Meta`]: one cache line.
///
/// A frame is given back with [`Frame::free`] or taken apart with [`Frame::into_chunks`]; dropping it
/// leaks its chunks (the law over chunks in the tests finds that).
#[must_use = "a dropped frame's chunks are lost until the process ends"]
#[derive(Debug)]
pub struct Frame {
    /// First byte of the head chunk.
    base: NonNull<u8>,
    /// The head chunk.
    index: u32,
    /// The chunk behind the head, or END.
    next: u32,
    /// The last chunk of the chain, meaningful only when `next` is not END.
    tail: u32,
    /// Bytes in all chunks together.
    total: u32,
    /// First byte of data in the head chunk.
    off: u16,
    /// Bytes of data in the head chunk.
    len: u16,
    /// What the pipeline knows about it.
    pub meta: Meta,
}

const _: () = assert!(size_of::<Frame>() == 64);

// SAFETY: a frame owns its chunks alone; nothing in it belongs to a thread.
unsafe impl Send for Frame {}

impl Frame {
    /// An empty frame from `pool`, with [`HEADROOM`] in front; `None` when memory is exhausted.
    #[inline]
    pub fn alloc(pool: &mut Pool, port: PortId) -> Option<Frame> {
        Some(Frame::new(pool.alloc()?, HEADROOM, 0, port))
    }

    /// A frame with a copy of `bytes`, over as many chunks as they need; `None` when memory is exhausted.
    pub fn copied(bytes: &[u8], pool: &mut Pool, port: PortId) -> Option<Frame> {
        let mut frame = Frame::alloc(pool, port)?;
        let (head, mut rest) = bytes.split_at(bytes.len().min(CHUNK_SIZE - HEADROOM));
        frame.append(head.len())?.copy_from_slice(head);
        while !rest.is_empty() {
            let Some(mut chunk) = pool.alloc() else {
                frame.free(pool);
                return None;
            };
            let part = rest.split_off(..rest.len().min(CHUNK_SIZE - LINK))?;
            chunk.bytes_mut()[LINK..LINK + part.len()].copy_from_slice(part);
            frame.chain(chunk, LINK, part.len());
        }
        Some(frame)
    }

    /// A frame of `headers` and, behind them, a copy of `len` bytes of this one from `at` on (counted from
    /// its first byte). It starts at the same offset in its chunk and has the same facts, so that
    /// those that are offsets hold for it too. `None` when memory is exhausted, or the headers are longer
    /// than a chunk has room for.
    pub fn piece(&self, headers: &[u8], at: usize, len: usize, pool: &mut Pool) -> Option<Frame> {
        let mut piece = Frame::new(pool.alloc()?, self.offset(), 0, self.meta.in_port);
        piece.meta = self.meta;
        let mut done = len.min((CHUNK_SIZE - self.offset()).saturating_sub(headers.len()));
        let Some(head) = piece.append(headers.len() + done) else {
            piece.free(pool);
            return None;
        };
        let (front, behind) = head.split_at_mut(headers.len());
        front.copy_from_slice(headers);
        self.copy_to(at, behind);
        while done < len {
            let Some(mut chunk) = pool.alloc() else {
                piece.free(pool);
                return None;
            };
            let n = (len - done).min(CHUNK_SIZE - LINK);
            self.copy_to(at + done, &mut chunk.bytes_mut()[LINK..LINK + n]);
            piece.chain(chunk, LINK, n);
            done += n;
        }
        Some(piece)
    }

    /// A frame of `len` bytes that start `off` bytes into `chunk`.
    ///
    /// # Panics
    /// When `off + len` is more than [`CHUNK_SIZE`].
    #[inline]
    pub fn new(chunk: Chunk, off: usize, len: usize, port: PortId) -> Frame {
        assert!(off <= CHUNK_SIZE && len <= CHUNK_SIZE - off, "a frame lies within its chunk");
        Frame {
            base: chunk.base,
            index: chunk.index,
            next: END,
            tail: END,
            total: len as u32,
            off: off as u16,
            len: len as u16,
            meta: Meta::received(port),
        }
    }

    /// Stands in for a frame that was taken out of a batch; owns nothing.
    pub(super) const HOLLOW: Frame = Frame {
        base: NonNull::dangling(),
        index: END,
        next: END,
        tail: END,
        total: 0,
        off: 0,
        len: 0,
        meta: Meta { verdict: Verdict::Taken, ..Meta::received(PortId::NONE) },
    };

    /// Moves the frame out, leaving a hollow one. Only what makes a frame own bytes is written anew.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Frame {
        // SAFETY: what stays behind owns nothing from here on, so the copy is the only owner.
        let taken = unsafe { std::ptr::read(self) };
        self.index = END;
        self.next = END;
        self.total = 0;
        self.off = 0;
        self.len = 0;
        taken
    }

    /// Bytes in the whole frame.
    #[inline]
    pub fn len(&self) -> usize {
        self.total as usize
    }

    /// Whether there is not a byte in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether it has more chunks than its head.
    #[inline]
    pub fn is_chained(&self) -> bool {
        self.next != END
    }

    /// Offset of the first byte in the head chunk: also the headroom left.
    #[inline]
    pub fn offset(&self) -> usize {
        usize::from(self.off)
    }

    /// The bytes in the head chunk; all headers are there.
    #[inline]
    pub fn head(&self) -> &[u8] {
        // SAFETY: off + len <= CHUNK_SIZE, and the head chunk is this frame's alone; a hollow frame
        // has length zero and a dangling, aligned pointer.
        unsafe { slice::from_raw_parts(self.base.as_ptr().add(self.off.into()), self.len.into()) }
    }

    /// The bytes in the head chunk.
    #[inline]
    pub fn head_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `head`, and the borrow is exclusive.
        unsafe {
            slice::from_raw_parts_mut(self.base.as_ptr().add(self.off.into()), self.len.into())
        }
    }

    /// The head's bytes from chunk offset `at` (as in [`Meta`]) on; empty when `at` lies outside.
    #[inline]
    pub fn from(&self, at: u16) -> &[u8] {
        self.head().get(usize::from(at.wrapping_sub(self.off))..).unwrap_or_default()
    }

    /// The head's bytes from chunk offset `at` on; empty when `at` lies outside.
    #[inline]
    pub fn from_mut(&mut self, at: u16) -> &mut [u8] {
        let skip = usize::from(at.wrapping_sub(self.off));
        self.head_mut().get_mut(skip..).unwrap_or_default()
    }

    /// The innermost IP header and what follows it in the head.
    #[inline]
    pub fn l3(&self) -> &[u8] {
        self.from(self.meta.l3)
    }

    /// The innermost IP header and what follows it in the head.
    #[inline]
    pub fn l3_mut(&mut self) -> &mut [u8] {
        self.from_mut(self.meta.l3)
    }

    /// The innermost L4 header and what follows it in the head.
    #[inline]
    pub fn l4(&self) -> &[u8] {
        self.from(self.meta.l4)
    }

    /// The innermost L4 header and what follows it in the head.
    #[inline]
    pub fn l4_mut(&mut self) -> &mut [u8] {
        self.from_mut(self.meta.l4)
    }

    /// `N` bytes of the head at chunk offset `at`: a header that an earlier stage has found there.
    /// `None` when they reach beyond the data. Cheaper than [`from`](Self::from), since it does not
    /// ask whether they lie behind the first byte of the data; they always lie in the chunk.
    #[inline(always)]
    pub fn bytes_at<const N: usize>(&self, at: u16) -> Option<&[u8; N]> {
        let at = usize::from(at);
        if at + N > usize::from(self.off) + usize::from(self.len) {
            return None;
        }
        // SAFETY: at + N <= off + len <= CHUNK_SIZE, and the head chunk is this frame's alone; for a
        // hollow frame the sum is zero, so nothing but zero bytes of its aligned pointer are lent.
        Some(unsafe { &*self.base.as_ptr().add(at).cast::<[u8; N]>() })
    }

    /// As [`bytes_at`](Self::bytes_at), to be written.
    #[inline(always)]
    pub fn bytes_at_mut<const N: usize>(&mut self, at: u16) -> Option<&mut [u8; N]> {
        let at = usize::from(at);
        if at + N > usize::from(self.off) + usize::from(self.len) {
            return None;
        }
        // SAFETY: as in `bytes_at`, and the borrow is exclusive.
        Some(unsafe { &mut *self.base.as_ptr().add(at).cast::<[u8; N]>() })
    }

    /// Bytes of the whole frame from chunk offset `at` of the head on, the chain included.
    #[inline]
    pub fn len_from(&self, at: u16) -> usize {
        (self.total as usize).saturating_sub(usize::from(at.saturating_sub(self.off)))
    }

    /// Grows the frame by `n` bytes in front and returns them, whatever they hold; `None` without
    /// enough headroom.
    #[inline]
    pub fn push(&mut self, n: usize) -> Option<&mut [u8]> {
        let off = usize::from(self.off).checked_sub(n)?;
        self.off = off as u16;
        self.len += n as u16;
        self.total += n as u32;
        // SAFETY: off + n is where the data began, so the bytes lie in the head chunk, which is this
        // frame's alone; a hollow frame has no room for any but zero bytes.
        Some(unsafe { slice::from_raw_parts_mut(self.base.as_ptr().add(off), n) })
    }

    /// Takes `n` bytes off the front; `false`, and no change, when the head has fewer.
    #[inline]
    pub fn pop(&mut self, n: usize) -> bool {
        let fits = n <= usize::from(self.len);
        if fits {
            self.off += n as u16;
            self.len -= n as u16;
            self.total -= n as u32;
        }
        fits
    }

    /// Grows the frame by `n` bytes behind the head's data and returns them, whatever they hold;
    /// `None` without enough room, or on a chained or hollow frame.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let end = usize::from(self.off) + usize::from(self.len);
        if self.is_chained() || self.index == END || n > CHUNK_SIZE - end {
            return None;
        }
        let old = usize::from(self.len);
        self.len += n as u16;
        self.total += n as u32;
        self.head_mut().get_mut(old..)
    }

    /// Cuts the frame to its first `len` bytes, freeing chunks that hold none of them.
    #[inline]
    pub fn truncate(&mut self, len: usize, pool: &mut Pool) {
        if len >= self.len() {
            return;
        }
        if self.is_chained() {
            return self.truncate_chain(len, pool);
        }
        self.len = len as u16;
        self.total = len as u32;
    }

    #[cold]
    fn truncate_chain(&mut self, len: usize, pool: &mut Pool) {
        let kept = len.min(self.len.into());
        self.len = kept as u16;
        self.total = len as u32;
        let mut left = len - kept;
        let mut last = None;
        let mut index = self.next;
        while index != END {
            let link = self.link(index);
            if left == 0 {
                pool.give(index);
            } else {
                let keep = left.min(link.len.into());
                left -= keep;
                last = Some(index);
                let next = if left == 0 { END } else { link.next };
                self.set_link(index, Link { next, len: keep as u16, ..link });
            }
            index = link.next;
        }
        match last {
            Some(last) => self.tail = last,
            None => self.next = END,
        }
    }

    /// Chains `len` bytes that start `off` bytes into `chunk` behind the frame.
    ///
    /// # Panics
    /// When they do not lie behind the chunk's [`LINK`] and within it.
    pub fn chain(&mut self, chunk: Chunk, off: usize, len: usize) {
        assert!(
            (LINK..=CHUNK_SIZE).contains(&off) && len <= CHUNK_SIZE - off,
            "chained bytes lie within their chunk, behind its link"
        );
        let link = Link { next: END, off: off as u16, len: len as u16 };
        self.set_link(chunk.index, link);
        self.attach(chunk.index, chunk.index);
        self.total += len as u32;
    }

    /// Chains all of `other`'s bytes behind this frame.
    pub fn join(&mut self, other: Frame) {
        debug_assert!(usize::from(other.off) >= LINK);
        let link = Link { next: other.next, off: other.off, len: other.len };
        self.set_link(other.index, link);
        self.attach(other.index, if other.is_chained() { other.tail } else { other.index });
        self.total += other.total;
    }

    fn attach(&mut self, first: u32, last: u32) {
        if self.is_chained() {
            let link = Link { next: first, ..self.link(self.tail) };
            self.set_link(self.tail, link);
        } else {
            self.next = first;
        }
        self.tail = last;
    }

    /// Its bytes, chunk by chunk.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments { frame: self, head: true, index: self.next }
    }

    /// Copies bytes from `at` (counted from the frame's first byte) on into `out`, over chunk borders;
    /// returns how many there were.
    pub fn copy_to(&self, mut at: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        for bytes in self.segments() {
            if at >= bytes.len() {
                at -= bytes.len();
                continue;
            }
            let n = (bytes.len() - at).min(out.len() - done);
            out[done..done + n].copy_from_slice(&bytes[at..at + n]);
            done += n;
            at = 0;
            if done == out.len() {
                break;
            }
        }
        done
    }

    /// Gives all chunks back.
    #[inline]
    pub fn free(self, pool: &mut Pool) {
        if self.index == END {
            return;
        }
        let mut index = self.next;
        while index != END {
            let next = self.link(index).next;
            pool.give(index);
            index = next;
        }
        pool.give(self.index);
    }

    /// Takes the frame apart: `f` gets each chunk with the offset and length of the bytes in it.
    #[inline]
    pub fn into_chunks(self, mut f: impl FnMut(Chunk, usize, usize)) {
        if self.index == END {
            return;
        }
        let mut index = self.next;
        let head = Chunk { base: self.base, index: self.index };
        // The links are read before the head is given away, since `at` reckons from the head.
        let at = |index| self.at(index);
        f(head, self.off.into(), self.len.into());
        while index != END {
            let link = self.link(index);
            f(Chunk { base: at(index), index }, link.off.into(), link.len.into());
            index = link.next;
        }
    }

    /// How many chunks it has.
    pub fn chunks(&self) -> usize {
        self.segments().count()
    }

    /// First byte of another chunk of the same memory.
    fn at(&self, index: u32) -> NonNull<u8> {
        let distance = (index as isize - self.index as isize) * CHUNK_SIZE as isize;
        // SAFETY: both indices name chunks of one mapping, so the result lies within it.
        unsafe { self.base.offset(distance) }
    }

    fn link(&self, index: u32) -> Link {
        // SAFETY: the chunk belongs to this frame's chain, chunks are aligned to 2048, and its link
        // was written when it was chained.
        unsafe { self.at(index).cast::<Link>().read() }
    }

    fn set_link(&mut self, index: u32, link: Link) {
        // SAFETY: the chunk is this frame's or is just being given to it; data never starts before
        // LINK in a chained chunk, so no bytes of a packet are overwritten.
        unsafe { self.at(index).cast::<Link>().write(link) }
    }
}

const _: () = assert!(size_of::<Link>() <= LINK);

/// Iterator over a frame's bytes, chunk by chunk.
#[derive(Debug)]
pub struct Segments<'a> {
    frame: &'a Frame,
    head: bool,
    index: u32,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if std::mem::take(&mut self.head) {
            return Some(self.frame.head());
        }
        if self.index == END {
            return None;
        }
        let link = self.frame.link(self.index);
        let base = self.frame.at(self.index);
        self.index = link.next;
        // SAFETY: off + len <= CHUNK_SIZE holds for every link written, and the chunk is the frame's
        // for as long as it is borrowed.
        Some(unsafe { slice::from_raw_parts(base.as_ptr().add(link.off.into()), link.len.into()) })
    }
}
