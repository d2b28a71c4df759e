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
    marks: [u64; 2],
    bytes: usize,
}

/// What a stage notes of frames that only one later stage looks at, so that this need not look at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It came by an uplink: an outer packet.
    Outer,
    /// It is ARP, or ICMPv6 and perhaps Neighbor Discovery.
    Discovery,
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

impl Batch {
    /// An empty batch; all that it will ever allocate.
    pub fn new() -> Batch {
        Batch {
            frames: Box::new([Frame::HOLLOW; BATCH_SIZE]),
            len: 0,
            live: 0,
            marks: [0; 2],
            bytes: 0,
        }
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

    /// Marks frame `i`.
    #[inline]
    pub fn mark(&mut self, i: usize, mark: Mark) {
        self.marks[mark as usize] |= 1 << (i % BATCH_SIZE);
    }

    /// Indices of the frames that are marked and alive now.
    #[inline]
    pub fn marked(&self, mark: Mark) -> Live {
        Live(self.live & self.marks[mark as usize])
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
        let taken = self[i].take();
        self[i].meta.verdict = Verdict::Taken;
        taken
    }

    /// Empties the batch, frame by frame.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = Frame> {
        self.slots().iter_mut().map(Frame::take)
    }

    /// Empties the batch, run by run: `f` gets neighbours with the same verdict together, so that they
    /// are moved once and without looking at each. Frames that it does not take are lost.
    #[inline]
    pub fn drain_runs<'a>(&'a mut self, mut f: impl FnMut(Verdict, Run<'a>)) {
        let mut rest = self.slots();
        while let Some(first) = rest.first() {
            let verdict = first.meta.verdict;
            let len = rest.iter().take_while(|frame| frame.meta.verdict == verdict).count();
            let (run, behind) = rest.split_at_mut(len);
            rest = behind;
            f(verdict, Run(run.iter_mut()));
        }
    }

    fn slots(&mut self) -> &mut [Frame] {
        self.live = 0;
        self.marks = [0; 2];
        self.bytes = 0;
        let len = std::mem::take(&mut self.len);
        &mut self.frames[..len]
    }
}

/// Frames of a batch that share a verdict, being taken out.
#[derive(Debug)]
pub struct Run<'a>(std::slice::IterMut<'a, Frame>);

impl<'a> Run<'a> {
    /// How many are left.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next frames, `n` at most. (Not an iterator's `take`: the standard library moves what it
    /// knows the exact number of without asking for room each time.)
    #[inline]
    pub fn split(&mut self, n: usize) -> impl ExactSizeIterator<Item = Frame> + use<'a> {
        let slots = std::mem::take(&mut self.0).into_slice();
        let (now, later) = slots.split_at_mut(n.min(slots.len()));
        self.0 = later.iter_mut();
        now.iter_mut().map(Frame::take)
    }
}

impl Iterator for Run<'_> {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        self.0.next().map(Frame::take)
    }
}

impl Index<usize> for Batch {
    type Output = Frame;
    #[inline]
    fn index(&self, i: usize) -> &Frame {
        &self.frames[i % BATCH_SIZE]
    }
}

impl IndexMut<usize> for Batch {
    #[inline]
    fn index_mut(&mut self, i: usize) -> &mut Frame {
        &mut self.frames[i % BATCH_SIZE]
    }
}

/// Indices of live frames, ascending.
#[derive(Clone, Copy, Debug)]
pub struct Live(u64);

impl Live {
    /// The indices of the bits that are set.
    #[inline]
    pub(crate) fn new(bits: u64) -> Live {
        Live(bits)
    }
}

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
