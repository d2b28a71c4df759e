//! What a worker lends to its stages while they look at a batch.

use crate::drops::{Counters, Reason};
use crate::frame::{Frame, Pool, Run};
use crate::queues::Queues;
use crate::snapshot::{PortId, Snapshot};
use crate::stages::{StageId, settle};
use std::collections::VecDeque;

/// Frames that may wait for their turn in the reinject queue: what a few super-frames are cut into.
pub(crate) const REINJECT: usize = 1024;

/// Times a frame may be reinjected.
const HOPS: u8 = 4;

/// Frames that stages made or held and that enter the list again, at a stage of their choice.
/// Nothing else goes backwards.
#[derive(Debug)]
pub struct Reinject {
    queue: VecDeque<(StageId, Frame)>,
}

impl Default for Reinject {
    fn default() -> Self {
        Reinject { queue: VecDeque::with_capacity(REINJECT) }
    }
}

impl Reinject {
    /// Frames in it.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Frames that it still takes.
    pub fn room(&self) -> usize {
        REINJECT - self.queue.len()
    }

    /// The frames in their order, each with the stage that it enters before.
    pub fn iter(&self) -> impl Iterator<Item = &(StageId, Frame)> {
        self.queue.iter()
    }

    /// The first frame, if it enters at the same stage as the ones before (`None`: any stage).
    pub fn next(&mut self, entry: Option<StageId>) -> Option<(StageId, Frame)> {
        self.queue.pop_front_if(|(stage, _)| entry.is_none_or(|entry| entry == *stage))
    }
}

/// A worker's belongings, as its stages may use them.
pub struct Cx<'a> {
    /// The tables of this turn.
    pub snapshot: &'a Snapshot,
    /// The worker's chunks.
    pub pool: &'a mut Pool,
    /// The worker's counters.
    pub counters: &'a Counters,
    /// What goes round again.
    pub reinject: &'a mut Reinject,
    /// Where a stage may put frames that are finished, besides those of the batch: segments.
    pub queues: &'a mut Queues,
    /// The worker's clock at the start of this turn: monotonic, nanoseconds.
    pub now: u64,
}

impl Cx<'_> {
    /// Ends a frame that is in no batch (any more).
    #[inline(never)]
    pub fn discard(&mut self, frame: Frame, reason: Reason) {
        self.counters.dropped(&frame, reason);
        frame.free(self.pool);
    }

    /// Queues a finished frame for `port`.
    pub fn send(&mut self, frame: Frame, port: PortId) {
        if let Err((frame, reason)) = self.queues.push(frame, port) {
            self.discard(frame, reason);
        }
    }

    /// Queues finished frames for `port`.
    #[inline]
    pub(crate) fn send_run(&mut self, run: Run<'_>, port: PortId) {
        let (left, reason) = self.queues.push_run(run, port);
        left.for_each(|frame| self.discard(frame, reason));
    }

    /// An empty frame that a stage makes, as if received from `port`; counted as generated. `None` when
    /// memory is exhausted: what would have been sent is then not sent, and nothing is lost that
    /// was received.
    pub fn generate(&mut self, port: PortId) -> Option<Frame> {
        let frame = Frame::alloc(self.pool, port)?;
        self.counters.generated.add(1);
        Some(frame)
    }

    /// Lets a frame enter the list again before stage `entry`.
    pub fn reinject(&mut self, mut frame: Frame, entry: StageId) {
        frame.meta.hops += 1;
        if frame.meta.hops > HOPS {
            self.discard(frame, settle::LOOP);
        } else if self.reinject.room() == 0 {
            self.discard(frame, settle::FLOOD);
        } else {
            frame.meta.verdict = crate::frame::Verdict::Continue;
            self.reinject.queue.push_back((entry, frame));
        }
    }
}
