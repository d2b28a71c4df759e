//! Up to 64 frames that walk through the stages together.

use super::{Frame, Verdict};
use crate::drops::Reason;
use crate::snapshot::PortId;
use std::ops::{Index, IndexMut};

/// Frames in a batch: one bit each in a `u64`.
pub const BATCH_SIZE: usize = 64;

/// Bytes after which a batch takes no further frame: a few super-frames, within the L2 cache.
const BATCH_BYTES: usize = 512 * 1024;

/// A batch of frames. Those whose bit in the mask is set are alive: no stage has decided about them.
/// A frame that was decided about stays in its place until the batch is settled.
#[derive(Debug)]
pub struct Batch {
    /// The first `len` are the batch's frames, the others hollow. An array, not a `Vec`, so that a frame
    /// is made in its place: moving one that was just written field by field stalls the processor.
    frames: Box<[Frame; BATCH_SIZE]>,
    len: usize,
    live: u64,
    bytes: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

impl Batch {
    /// An empty batch; all that it will ever allocate.
    pub fn new() -> Batch {
        Batch { frames: Box::new([Frame::HOLLOW; BATCH_SIZE]), len: 0, live: 0, bytes: 0 }
    }

    /// Frames in it, alive or not.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no frame in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Frames that it still takes: none once it holds many bytes.
    #[inline]
    pub fn room(&self) -> usize {
        if self.bytes >= BATCH_BYTES { 0 } else { BATCH_SIZE - self.len }
    }

    /// Adds a frame, alive.
    ///
    /// # Panics
    /// When there are [`BATCH_SIZE`] frames in it already: ask [`room`](Self::room) first.
    #[inline]
    pub fn push(&mut self, frame: Frame) {
        assert!(self.len < BATCH_SIZE, "the batch has room");
        self.live |= 1 << self.len;
        self.bytes += frame.len();
        self.frames[self.len] = frame;
        self.len += 1;
    }

    /// Indices of the frames alive now. Decisions taken while iterating do not disturb it.
    #[inline]
    pub fn live(&self) -> Live {
        Live(self.live)
    }

    /// Whether no frame is alive.
    #[inline]
    pub fn is_dead(&self) -> bool {
        self.live == 0
    }

    /// Drops frame `i` for `reason`.
    #[inline]
    pub fn drop(&mut self, i: usize, reason: Reason) {
        self.decide(i, Verdict::Drop(reason));
    }

    /// Sends frame `i` out by `port`.
    #[inline]
    pub fn emit(&mut self, i: usize, port: PortId) {
        self.decide(i, Verdict::Emit(port));
    }

    #[inline]
    fn decide(&mut self, i: usize, verdict: Verdict) {
        self[i].meta.verdict = verdict;
        self.live &= !(1 << i);
    }

    /// Takes frame `i` out, leaving a hollow one in its place.
    #[inline]
    pub fn take(&mut self, i: usize) -> Frame {
        self.live &= !(1 << i);
        std::mem::replace(&mut self[i], Frame::HOLLOW)
    }

    /// Empties the batch, frame by frame.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.live = 0;
        self.bytes = 0;
        let len = std::mem::take(&mut self.len);
        self.frames[..len].iter_mut().map(|frame| std::mem::replace(frame, Frame::HOLLOW))
    }
}

impl Index<usize> for Batch {
    type Output = Frame;
    #[inline]
    fn index(&self, i: usize) -> &Frame {
        &self.frames[..self.len][i]
    }
}

impl IndexMut<usize> for Batch {
    #[inline]
    fn index_mut(&mut self, i: usize) -> &mut Frame {
        &mut self.frames[..self.len][i]
    }
}

/// Indices of live frames, ascending.
#[derive(Clone, Copy, Debug)]
pub struct Live(u64);

impl Iterator for Live {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let i = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(i)
    }
}
