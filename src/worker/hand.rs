//! Handing frames over: from the worker that has a frame to the one that owns a queue of its port.
//!
//! From each worker to each other one leads a ring of frames; no bytes are copied. A worker puts
//! the frames of a turn in, shows them at once, and wakes the other one only if it sleeps. A frame
//! names its port by its verdict. Frames of a flow come by one ring, in their order.
//!
//! **What a frame's sender knew its taker knows.** A worker looks at its rings first, then obeys
//! commands, then loads the tables, and then takes only what it saw at the look: so a port that the
//! sender learned of is known here too, since both were told before either heard of its routes.

use super::stats::Stats;
use super::{Way, Worker};
use crate::io::PortCx;
use mio::Waker;
use pipeline::bell::{Bell, Flag};
use pipeline::doing::Step;
use pipeline::frame::ring::{Consumer, Producer, ring};
use pipeline::frame::{Frame, Verdict};
use pipeline::snapshot::PortId;
use pipeline::stages::port::HANDOVER;
use std::sync::Arc;

/// Frames that a ring holds: what a worker sends in some turns of another one that is busy.
const RING: usize = 1024;

/// How others get a worker's attention.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) bell: Bell,
    /// Raised when there are commands.
    pub(super) commands: Flag,
    waker: Waker,
}

impl Door {
    pub(super) fn new(waker: Waker) -> Arc<Door> {
        Arc::new(Door { bell: Bell::default(), commands: Flag::default(), waker })
    }

    /// Called after something was put where the worker looks.
    pub(super) fn call(&self) {
        if self.bell.ring() {
            // It fails only when the worker is gone, which its handle knows.
            let _ = self.waker.wake();
        }
    }
}

/// The way to another worker.
pub(super) struct Outbox {
    frames: Producer<Frame>,
    door: Arc<Door>,
}

/// A worker's ends of the rings.
#[derive(Default)]
pub(super) struct Hands {
    /// By worker; `None` for itself.
    out: Vec<Option<Outbox>>,
    inward: Vec<Consumer<Frame>>,
}

impl Hands {
    /// Rings between all workers behind these doors.
    pub(super) fn join(doors: &[Arc<Door>]) -> Vec<Hands> {
        let mut all: Vec<Hands> = doors.iter().map(|_| Hands::default()).collect();
        for from in 0..doors.len() {
            for (to, door) in doors.iter().enumerate() {
                if from == to {
                    all[from].out.push(None);
                    continue;
                }
                let (frames, consumer) = ring(RING);
                all[from].out.push(Some(Outbox { frames, door: door.clone() }));
                all[to].inward.push(consumer);
            }
        }
        all
    }

    /// Looks at the rings to us; see above.
    pub(super) fn look(&mut self) {
        for ring in &mut self.inward {
            ring.look();
        }
    }

    /// Whether all rings to us are empty.
    pub(super) fn is_empty(&self) -> bool {
        self.inward.iter().all(Consumer::is_empty)
    }

    /// Shows the others what they were given.
    pub(super) fn publish(&mut self) {
        for outbox in self.out.iter_mut().flatten() {
            if outbox.frames.publish() {
                outbox.door.call();
            }
        }
    }
}

impl Worker {
    /// Gives all that is queued for `id` to the worker that owns a queue of it; returns how many
    /// frames it took.
    pub(super) fn hand_over(&mut self, id: PortId, to: usize) -> usize {
        let Worker { pipeline, hands, pool, stats, .. } = self;
        let Some(Some(outbox)) = hands.out.get_mut(to) else { return 0 };
        let Some(queue) = pipeline.queues.get_mut(id) else { return 0 };
        let mut handed = 0;
        for mut frame in queue.drain(..) {
            frame.meta.verdict = Verdict::Emit(id);
            match outbox.frames.push(frame) {
                Ok(()) => handed += 1,
                Err(frame) => {
                    PortCx { id, pool, counters: &stats.counters }.discard(frame, HANDOVER);
                }
            }
        }
        stats.counters.handed.add(handed as u64);
        handed
    }

    /// Queues what others gave us for our ports.
    pub(super) fn take_over(&mut self) -> usize {
        let Worker { pipeline, hands, pool, stats, ports, ways, .. } = self;
        let Stats { counters, .. } = &**stats;
        let mut taken = 0;
        for ring in &mut hands.inward {
            let before = taken;
            while let Some(frame) = ring.pop() {
                taken += 1;
                let id = match frame.meta.verdict {
                    Verdict::Emit(id) => id,
                    _ => PortId::NONE,
                };
                if let Some(Way::Own(key)) = ways.get(id.index())
                    && let Some(Some(slot)) = ports.get(*key)
                {
                    slot.stats.taken.add(1);
                }
                if let Err((frame, reason)) = pipeline.queues.push(frame, id) {
                    PortCx { id, pool, counters }.discard(frame, reason);
                }
            }
            if taken > before {
                counters.doing.set(Step::TakeOver);
                ring.release();
            }
        }
        counters.taken.add(taken as u64);
        taken
    }
}
