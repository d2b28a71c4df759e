//! Packets that are longer than their way.
//!
//! A packet that must not be fragmented, by DF or because it is IPv6, is dropped, and its sender told what
//! the way carries (RFC 1191, RFC 4443 §3.2). Any other is cut into fragments, all or none, which enter
//! the list again behind the time to live, as it was paid by the whole.
//!
//! Or the packet goes into its tunnel whole, and what comes of that is fragmented for the underlay: where the
//! peer's config has it so, and of IPv6 what is not longer than any sender may be told to send (RFC 2473 §7.1).
//! The far kernel, or whoever there is, has to put it together before anybody can look into it.
//!
//! A super-frame is as long as its longest segment: only that will travel. Where that is too long, each
//! segment is fragmented as if it had come alone.

mod fragment;
mod mss;
mod outer;
#[cfg(test)]
mod tests;

use super::error::Why;
use super::{FRAGMENTS, Refusal, TOO_BIG};
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{BATCH_SIZE, Batch, Frame};
use crate::snapshot::Snapshot;
use crate::stages::StageId;
use crate::stages::finish::{self, Shape};
use fragment::Plan;

pub(super) use mss::clamp;

/// How a packet is cut.
enum Cut<'a> {
    /// Itself.
    Inner(Plan),
    /// In its tunnel.
    Outer(outer::Plan<'a>),
}

impl<'a> Cut<'a> {
    /// For a packet, or segments, of `len` bytes. `None` when there must be no fragments.
    fn new(frame: &Frame, len: usize, mtu: usize, snapshot: &'a Snapshot) -> Option<Cut<'a>> {
        match outer::Plan::new(frame, len, snapshot) {
            Some(plan) => Some(Cut::Outer(plan)),
            None => Plan::new(frame, len, mtu).map(Cut::Inner),
        }
    }

    /// How many fragments there are.
    fn fragments(&self) -> usize {
        match self {
            Cut::Inner(plan) => plan.fragments(),
            Cut::Outer(plan) => plan.fragments(),
        }
    }

    /// Where they go on.
    fn entry(&self) -> StageId {
        match self {
            Cut::Inner(_) => StageId::Tunnel,
            Cut::Outer(_) => StageId::Neighbour,
        }
    }
}

/// What is made of packets that are too long.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The fragments of one packet, in order; empty between packets.
    parts: Vec<Frame>,
    /// Where the latest packet stood that was cut in this batch.
    latest: Option<usize>,
}

impl Default for Cutter {
    fn default() -> Self {
        Cutter { parts: Vec::with_capacity(crate::cx::REINJECT), latest: None }
    }
}

impl Cutter {
    /// Sees to it that frame `i` fits its way, which carries packets of `mtu` bytes. If it was cut, it is
    /// not in the batch any more.
    pub(super) fn fit(
        &mut self,
        batch: &mut Batch,
        i: usize,
        mtu: usize,
        cx: &mut Cx<'_>,
    ) -> Result<(), Refusal> {
        let len = finish::largest(&batch[i]);
        if len <= mtu {
            return Ok(());
        }
        let cut = Cut::new(&batch[i], len, mtu, cx.snapshot);
        let cut = cut.ok_or((TOO_BIG, Some(Why::TooBig(mtu))))?;
        self.line_up(batch, i, cx);
        self.cut(&mut batch[i], &cut, mtu, cx).map_err(|reason| (reason, None))?;
        batch.take(i).free(cx.pool);
        self.latest = Some(i);
        Ok(())
    }

    /// Ends a batch.
    #[inline]
    pub(super) fn finish(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        if self.latest.is_some() {
            self.line_up(batch, BATCH_SIZE, cx);
            self.latest = None;
        }
    }

    /// What has passed in the batch since a packet was cut, up to frame `end`, goes behind the fragments,
    /// so that it does not overtake them. [`cut`](Self::cut) has left room.
    #[cold]
    fn line_up(&mut self, batch: &mut Batch, end: usize, cx: &mut Cx<'_>) {
        let Some(latest) = self.latest else { return };
        for i in batch.live().filter(|i| (latest..end).contains(i)) {
            cx.reinject(batch.take(i), StageId::Tunnel);
        }
    }

    /// Puts all fragments of `whole` into the reinject queue, or none.
    #[cold]
    fn cut(
        &mut self,
        whole: &mut Frame,
        cut: &Cut<'_>,
        mtu: usize,
        cx: &mut Cx<'_>,
    ) -> Result<(), Reason> {
        let shape = Shape::of(whole);
        let segments = shape.map_or(1, |shape| shape.segments());
        // The others of the batch may each add a frame: an error, or themselves.
        if segments * cut.fragments() + BATCH_SIZE > cx.reinject.room() {
            return Err(FRAGMENTS);
        }
        let made = match shape {
            Some(shape) => {
                (0..segments).try_for_each(|k| self.segment(whole, &shape, k, cut, mtu, cx))
            }
            None => self.fragments(whole, cut, cx),
        };
        if let Err(reason) = made {
            self.parts.drain(..).for_each(|part| part.free(cx.pool));
            return Err(reason);
        }
        cx.counters.split.add(self.parts.len() as u64 - 1);
        self.parts.drain(..).for_each(|part| cx.reinject(part, cut.entry()));
        Ok(())
    }

    /// Adds segment `k` of a super-frame, fragmented if it is too long.
    fn segment(
        &mut self,
        whole: &Frame,
        shape: &Shape,
        k: usize,
        cut: &Cut<'_>,
        mtu: usize,
        cx: &mut Cx<'_>,
    ) -> Result<(), Reason> {
        let segment = finish::segment(whole, shape, k, cx.pool);
        let mut segment = segment.map_err(|reason| match reason {
            finish::NO_MEMORY => FRAGMENTS,
            other => other,
        })?;
        let len = segment.len();
        let made = match cut {
            Cut::Inner(_) if len <= mtu => {
                self.parts.push(segment);
                return Ok(());
            }
            // Each its own: the last one is shorter.
            Cut::Inner(_) => match Plan::new(&segment, len, mtu) {
                Some(plan) => self.fragments(&mut segment, &Cut::Inner(plan), cx),
                None => Err(TOO_BIG),
            },
            Cut::Outer(_) => self.fragments(&mut segment, cut, cx),
        };
        segment.free(cx.pool);
        made
    }

    /// Adds the fragments of a packet.
    fn fragments(
        &mut self,
        whole: &mut Frame,
        cut: &Cut<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Reason> {
        // The checksum is over what the fragments have together.
        finish::complete_inner(whole).ok_or(finish::OFFLOAD)?;
        match cut {
            Cut::Outer(plan) => plan.cut(whole, cx, &mut self.parts),
            Cut::Inner(plan) => (0..plan.fragments()).try_for_each(|k| {
                self.parts.push(plan.fragment(whole, k, cx.pool).ok_or(FRAGMENTS)?);
                Ok(())
            }),
        }
    }
}
