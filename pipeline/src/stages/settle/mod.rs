//! Settling: what becomes of each frame at the end of the list. The one place that counts and frees.

use crate::cx::Cx;
use crate::frame::{Batch, Verdict};

crate::drops! { Settle:
    UNDECIDED = "undecided", "no stage decided about the frame";
    NO_PORT = "no_port", "the frame's egress port does not exist";
    LOOP = "loop", "the frame was reinjected too often";
    FLOOD = "flood", "too many frames were reinjected at once";
}

/// Carries the verdicts out: frames to their ports' queues, dropped ones counted and freed. `batch`
/// is empty afterwards.
pub fn settle(batch: &mut Batch, cx: &mut Cx<'_>) {
    batch.drain_runs(|verdict, run| match verdict {
        Verdict::Emit(port) => cx.send_run(run, port),
        Verdict::Drop(reason) => run.for_each(|frame| cx.discard(frame, reason)),
        Verdict::Continue => run.for_each(|frame| cx.discard(frame, UNDECIDED)),
        Verdict::Taken => {}
    });
}
