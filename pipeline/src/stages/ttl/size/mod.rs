//! Packets that are longer than their way.
//!
//! A packet that must not be fragmented, by DF or because it is IPv6, is dropped, and its sender told what
//! the way carries (RFC 1191, RFC 4443 §3.2). Any other is cut into fragments, all or none, which enter
//! the list again behind the time to live, as it was paid by the whole.
//!
//! A super-frame is as long as its longest segment: only that will travel. Where that is too long, each
//! segment is fragmented as if it had come alone.

mod fragment;
mod mss;
#[cfg(test)]
mod tests;

use super::error::Why;
use super::{FRAGMENTS, Refusal, TOO_BIG};
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{BATCH_SIZE, Batch, Frame, Pool};
use crate::stages::StageId;
use crate::stages::finish::{self, Shape};
use fragment::Plan;

pub(super) use mss::clamp;

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
        let plan = Plan::new(&batch[i], len, mtu).ok_or((TOO_BIG, Some(Why::TooBig(mtu))))?;
        self.line_up(batch, i, cx);
        self.cut(&mut batch[i], plan, mtu, cx).map_err(|reason| (reason, None))?;
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
        plan: Plan,
        mtu: usize,
        cx: &mut Cx<'_>,
    ) -> Result<(), Reason> {
        let shape = Shape::of(whole);
        let segments = shape.map_or(1, |shape| shape.segments());
        // The others of the batch may each add a frame: an error, or themselves.
        if segments * plan.fragments() + BATCH_SIZE > cx.reinject.room() {
            return Err(FRAGMENTS);
        }
        let made = match shape {
            Some(shape) => {
                (0..segments).try_for_each(|k| self.segment(whole, &shape, k, mtu, cx.pool))
            }
            None => self.fragments(whole, plan, cx.pool),
        };
        if let Err(reason) = made {
            self.parts.drain(..).for_each(|part| part.free(cx.pool));
            return Err(reason);
        }
        cx.counters.split.add(self.parts.len() as u64 - 1);
        self.parts.drain(..).for_each(|part| cx.reinject(part, StageId::Tunnel));
        Ok(())
    }

    /// Adds segment `k` of a super-frame, fragmented if it is too long.
    fn segment(
        &mut self,
        whole: &Frame,
        shape: &Shape,
        k: usize,
        mtu: usize,
        pool: &mut Pool,
    ) -> Result<(), Reason> {
        let segment = finish::segment(whole, shape, k, pool);
        let mut segment = segment.map_err(|reason| match reason {
            finish::NO_MEMORY => FRAGMENTS,
            other => other,
        })?;
        if segment.len() <= mtu {
            self.parts.push(segment);
            return Ok(());
        }
        let made = match Plan::new(&segment, segment.len(), mtu) {
            Some(plan) => self.fragments(&mut segment, plan, pool),
            None => Err(TOO_BIG),
        };
        segment.free(pool);
        made
    }

    /// Adds the fragments of a packet.
    fn fragments(&mut self, whole: &mut Frame, plan: Plan, pool: &mut Pool) -> Result<(), Reason> {
        // The checksum is over what the fragments have together.
        finish::complete_inner(whole).ok_or(finish::OFFLOAD)?;
        for k in 0..plan.fragments() {
            self.parts.push(plan.fragment(whole, k, pool).ok_or(FRAGMENTS)?);
        }
        Ok(())
    }
}
