//! Workers: one loop each, pinned to a core, run to completion.
//!
//! [`Worker::turn`] is the whole data path on one page: take over what others hand us, receive from
//! the ports that are ready, run the stages, send. Between turns a worker paces itself ([`pace`])
//! and obeys its [`Handle`]. A [`Crew`] is all workers of a process.
//!
//! A worker owns queues of devices: one owner each. It asks only those that are *ready*: a port
//! becomes so by an edge of its readiness, and stays so until it was seen to have nothing left. One
//! that is asked by a look at memory stays so for a while longer, as that costs less than to be
//! told. For a port of which it owns no queue a worker hands frames over ([`hand`]).

mod closer;
mod crew;
mod hand;
mod handle;
mod pace;
mod stats;
#[cfg(test)]
mod tests;

pub use crew::{Crew, NewQueue, Plan};
pub use handle::Handle;
pub use pace::{Mode, Pacing};
pub use stats::{PortStats, Stats};

use crate::io::{Pending, Port, PortCx};
use closer::ToCloser;
use hand::Hands;
use handle::Inside;
use pace::Pace;
use pipeline::doing::Step;
use pipeline::frame::{Batch, Pool};
use pipeline::marks::Marks;
use pipeline::snapshot::{PortId, Snapshot};
use pipeline::stages::port::GONE;
use pipeline::{Pipeline, Turn};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Time between two ticks of the stages, nanoseconds.
const TICK: u64 = 1_000_000;
/// Time between two looks at what need not be done sooner, nanoseconds.
const SETTLE: u64 = 1_000_000_000;
/// How long a port that is asked by a look at memory stays ready after its last frame, nanoseconds.
const WARM: u64 = 1_000_000;

/// A worker's belongings.
pub(crate) struct Worker {
    /// By key: where the control side put them.
    ports: Vec<Option<Slot>>,
    /// By port.
    ways: Vec<Way>,
    /// Keys of the ports to ask for frames.
    ready: Marks,
    /// Keys of the ports with something [`Pending`].
    pending: Marks,
    hands: Hands,
    pool: Pool,
    pipeline: Pipeline,
    batch: Batch,
    stats: Arc<Stats>,
    closer: ToCloser,
    epoch: Instant,
    now: u64,
    next_tick: u64,
    next_settle: u64,
    /// Where the next turn begins to receive, so that no port is always first.
    first: usize,
    /// Whether a port had something for us in this turn, and no chunk to put it into.
    starving: bool,
}

/// A port that this worker owns.
struct Slot {
    id: PortId,
    port: Box<dyn Port>,
    stats: Arc<PortStats>,
    /// When it last had a frame for us.
    heard: u64,
    /// When it was last given something.
    sent: u64,
}

/// How frames for a port leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// There is no such port, as far as we were told.
    Nowhere,
    /// By our own queue of it, under this key.
    Own(usize),
    /// By this other worker.
    Other(usize),
}

impl Worker {
    /// One turn of the loop; whether there was anything to do.
    fn turn(&mut self, snapshot: &Snapshot, inside: &Inside) -> bool {
        self.now = self.epoch.elapsed().as_nanos() as u64 + 1;
        self.stats.turns.add(1);
        self.stats.counters.clock.set(self.now);
        self.with_pipeline(snapshot, Pipeline::fit);
        let taken = self.take_over();
        let received = self.receive(snapshot);
        if self.now >= self.next_tick {
            self.tick(snapshot);
        }
        let sent = self.send(inside);
        self.stats.counters.held.set(self.pipeline.held() as u64);
        taken + received + sent > 0
    }

    /// Receives from every port that is ready, in batches, and runs the stages over each.
    fn receive(&mut self, snapshot: &Snapshot) -> usize {
        let (mut total, mut next_first) = (0, None);
        self.starving = false;
        for range in [self.first..self.ready.end(), 0..self.first] {
            let mut at = range.start;
            while let Some(key) = self.ready.next(at..range.end) {
                at = key + 1;
                next_first.get_or_insert(at);
                total += self.receive_from(key);
                if self.batch.room() == 0 {
                    self.with_batch(snapshot);
                }
            }
        }
        self.first = next_first.unwrap_or_default();
        if !self.batch.is_empty() {
            self.with_batch(snapshot);
        }
        total
    }

    fn receive_from(&mut self, key: usize) -> usize {
        let Some(slot) = &mut self.ports[key] else {
            // Readiness of one that has left meanwhile.
            self.ready.clear(key);
            return 0;
        };
        let counters = &self.stats.counters;
        counters.doing.set(Step::Receive(slot.id));
        let before = self.batch.len();
        let mut cx = PortCx { id: slot.id, pool: &mut self.pool, counters };
        let more = slot.port.rx(&mut self.batch, &mut cx).unwrap_or_else(|error| {
            slot.stats.fail(&error);
            false
        });
        let n = self.batch.len() - before;
        if n > 0 {
            let bytes: usize = (before..self.batch.len()).map(|i| self.batch[i].len()).sum();
            counters.received.add(n as u64);
            slot.stats.rx_frames.add(n as u64);
            slot.stats.rx_bytes.add(bytes as u64);
            slot.heard = self.now;
        }
        self.starving |= more && n == 0;
        let warm = slot.port.is_memory() && self.now - slot.heard < WARM;
        if !more && !warm && slot.port.readiness().is_some() {
            self.ready.clear(key);
        }
        n
    }

    fn with_batch(&mut self, snapshot: &Snapshot) {
        let Worker { pipeline, batch, pool, stats, now, .. } = self;
        let mut turn = Turn { snapshot, pool, counters: &stats.counters, now: *now };
        pipeline.run(batch, &mut turn);
    }

    fn with_pipeline(&mut self, snapshot: &Snapshot, f: impl FnOnce(&mut Pipeline, &mut Turn<'_>)) {
        let Worker { pipeline, pool, stats, now, .. } = self;
        f(pipeline, &mut Turn { snapshot, pool, counters: &stats.counters, now: *now });
    }

    fn tick(&mut self, snapshot: &Snapshot) {
        self.next_tick = self.now + TICK;
        self.with_pipeline(snapshot, Pipeline::tick);
        if self.now >= self.next_settle {
            self.next_settle = self.now + SETTLE;
            self.stats.chunks.set(self.pool.idle() as u64);
            for slot in self.ports.iter_mut().flatten() {
                if let Err(error) = slot.port.settle() {
                    slot.stats.fail(&error);
                }
                slot.stats.chunks.set(slot.port.chunks() as u64);
            }
        }
    }

    /// Sends what is queued, by our own ports or by other workers.
    fn send(&mut self, inside: &Inside) -> usize {
        let (mut total, mut from) = (0, 0);
        while let Some(id) = self.pipeline.queues.next_busy(from) {
            from = id.index() + 1;
            total += match self.way(id) {
                Way::Own(key) => self.transmit(key),
                Way::Other(worker) => self.hand_over(id, worker),
                // Tables may name a port that we are only about to be told of.
                Way::Nowhere if inside.is_commanded() => 0,
                Way::Nowhere => self.discard(id),
            }
        }
        self.hands.publish();
        self.poll_pending();
        total
    }

    fn transmit(&mut self, key: usize) -> usize {
        let Worker { ports, pipeline, pool, stats, now, pending, .. } = self;
        let Some(Some(slot)) = ports.get_mut(key) else { return 0 };
        let Some(queue) = pipeline.queues.get_mut(slot.id) else { return 0 };
        stats.counters.doing.set(Step::Send(slot.id));
        let mut cx = PortCx { id: slot.id, pool, counters: &stats.counters };
        let bytes: usize = queue.iter().map(|frame| frame.len()).sum();
        let sent = match slot.port.tx(queue, &mut cx) {
            Ok(sent) => sent,
            Err(error) => {
                slot.stats.fail(&error);
                queue.drain(..).for_each(|frame| cx.discard(frame, GONE));
                0
            }
        };
        let left: usize = queue.iter().map(|frame| frame.len()).sum();
        if sent > 0 {
            stats.counters.emitted.add(sent as u64);
            slot.stats.tx_frames.add(sent as u64);
            slot.stats.tx_bytes.add((bytes - left) as u64);
        }
        slot.sent = *now;
        if slot.port.pending() != Pending::Nothing {
            pending.set(key);
        }
        sent
    }

    /// Lets ports finish what they were given in an earlier turn.
    fn poll_pending(&mut self) {
        let Worker { ports, pool, stats, now, pending, .. } = self;
        let mut from = 0;
        while let Some(key) = pending.next(from..pending.end()) {
            from = key + 1;
            let slot = ports[key].as_mut().filter(|slot| slot.port.pending() != Pending::Nothing);
            let Some(slot) = slot else {
                pending.clear(key);
                continue;
            };
            if slot.sent == *now {
                continue;
            }
            let mut cx = PortCx { id: slot.id, pool, counters: &stats.counters };
            if let Err(error) = slot.port.poll(&mut cx) {
                slot.stats.fail(&error);
            }
        }
    }

    fn way(&self, id: PortId) -> Way {
        self.ways.get(id.index()).copied().unwrap_or(Way::Nowhere)
    }

    fn lead(&mut self, id: PortId, way: Way) {
        if self.ways.len() <= id.index() {
            self.ways.resize(id.index() + 1, Way::Nowhere);
        }
        self.ways[id.index()] = way;
    }

    /// Ends what is queued for a port.
    fn discard(&mut self, id: PortId) -> usize {
        let Worker { pipeline, pool, stats, .. } = self;
        let mut cx = PortCx { id, pool, counters: &stats.counters };
        let queue = pipeline.queues.get_mut(id);
        queue.into_iter().flat_map(|queue| queue.drain(..)).for_each(|f| cx.discard(f, GONE));
        0
    }

    /// Whether something waits that only time or another turn can move.
    fn is_waiting(&self) -> bool {
        let frames = |slot: &Slot| slot.port.pending() == Pending::Frames;
        self.starving || self.pipeline.held() > 0 || self.ports.iter().flatten().any(frames)
    }
}

/// The loop of a worker's thread.
fn run(mut worker: Worker, inside: Inside, mut pace: Pace) -> io::Result<()> {
    let mut cache = arc_swap::Cache::new(inside.snapshot.clone());
    loop {
        // In this order: see `hand`.
        worker.hands.look();
        if inside.is_commanded() && inside.obey(&mut worker, &mut pace)? {
            return Ok(());
        }
        let busy = worker.turn(cache.load(), &inside);
        worker.stats.counters.doing.set(Step::Pause);
        pace.pause(busy, &mut worker, &inside)?;
    }
}
