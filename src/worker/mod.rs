//! Workers: one loop each, pinned to a core, run to completion.
//!
//! [`Worker::turn`] is the whole data path on one page: load the snapshot, receive from the ports that
//! are ready, run the stages, send. Between turns a worker paces itself ([`pace`]) and obeys its
//! [`Handle`].

mod handle;
mod pace;
#[cfg(test)]
mod tests;

pub use handle::{Command, Counted, Handle, PortStats, Stats, spawn};
pub use pace::{Mode, Pacing};

use crate::io::{Port, PortCx};
use pace::Pace;
use pipeline::frame::{Batch, Pool};
use pipeline::snapshot::{PortId, Snapshot};
use pipeline::{Pipeline, Turn};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Time between two ticks of the stages, nanoseconds.
const TICK: u64 = 1_000_000;
/// Time between two looks at the kernel's own drop counters, nanoseconds.
const SURVEY: u64 = 1_000_000_000;

/// A worker's belongings.
pub(crate) struct Worker {
    ports: Vec<Slot>,
    pool: Pool,
    pipeline: Pipeline,
    batch: Batch,
    stats: Arc<Stats>,
    epoch: Instant,
    now: u64,
    next_tick: u64,
    next_survey: u64,
    /// Where the next turn begins to receive, so that no port is always first.
    first: usize,
}

/// A port that this worker owns.
struct Slot {
    id: PortId,
    port: Box<dyn Port>,
    stats: Arc<PortStats>,
}

impl Worker {
    /// One turn of the loop; whether there was anything to do.
    fn turn(&mut self, snapshot: &Snapshot) -> bool {
        self.now = self.epoch.elapsed().as_nanos() as u64 + 1;
        let received = self.receive(snapshot);
        if self.now >= self.next_tick {
            self.tick(snapshot);
        }
        let sent = self.send();
        received + sent > 0
    }

    /// Receives from every port, in batches, and runs the stages over each.
    fn receive(&mut self, snapshot: &Snapshot) -> usize {
        let mut total = 0;
        for i in 0..self.ports.len() {
            let at = (self.first + i) % self.ports.len();
            total += self.receive_from(at);
            if self.batch.room() == 0 {
                self.run(snapshot);
            }
        }
        self.first = (self.first + 1) % self.ports.len().max(1);
        if !self.batch.is_empty() {
            self.run(snapshot);
        }
        total
    }

    fn receive_from(&mut self, at: usize) -> usize {
        let slot = &mut self.ports[at];
        let before = self.batch.len();
        let counters = &self.stats.counters;
        let mut cx = PortCx { id: slot.id, pool: &mut self.pool, counters };
        if let Err(error) = slot.port.rx(&mut self.batch, &mut cx) {
            slot.stats.fail(&error);
        }
        let n = self.batch.len() - before;
        if n > 0 {
            let bytes: usize = (before..self.batch.len()).map(|i| self.batch[i].len()).sum();
            counters.received.add(n as u64);
            slot.stats.rx_frames.add(n as u64);
            slot.stats.rx_bytes.add(bytes as u64);
        }
        n
    }

    fn run(&mut self, snapshot: &Snapshot) {
        let Worker { pipeline, batch, pool, stats, now, .. } = self;
        let mut turn = Turn { snapshot, pool, counters: &stats.counters, now: *now };
        pipeline.run(batch, &mut turn);
    }

    fn tick(&mut self, snapshot: &Snapshot) {
        self.next_tick = self.now + TICK;
        let Worker { pipeline, pool, stats, now, .. } = self;
        let mut turn = Turn { snapshot, pool, counters: &stats.counters, now: *now };
        pipeline.tick(&mut turn);
        if self.now >= self.next_survey {
            self.next_survey = self.now + SURVEY;
            for slot in &mut self.ports {
                slot.stats.survey(slot.port.as_mut());
            }
        }
    }

    /// Gives every port what is queued for it.
    fn send(&mut self) -> usize {
        let Worker { ports, pipeline, pool, stats, .. } = self;
        let mut total = 0;
        for slot in ports {
            let Some(queue) = pipeline.queues.get_mut(slot.id.index()) else { continue };
            let mut cx = PortCx { id: slot.id, pool, counters: &stats.counters };
            if queue.is_empty() {
                if let Err(error) = slot.port.poll(&mut cx) {
                    slot.stats.fail(&error);
                }
                continue;
            }
            let bytes: usize = queue.iter().map(|frame| frame.len()).sum();
            match slot.port.tx(queue, &mut cx) {
                Ok(sent) => {
                    let left: usize = queue.iter().map(|frame| frame.len()).sum();
                    stats.counters.emitted.add(sent as u64);
                    slot.stats.tx_frames.add(sent as u64);
                    slot.stats.tx_bytes.add((bytes - left) as u64);
                    total += sent;
                }
                Err(error) => slot.stats.fail(&error),
            }
        }
        self.stats.counters.held.set(self.pipeline.held() as u64);
        total
    }

    fn add(&mut self, slot: Slot) {
        self.ports.push(slot);
    }

    /// Goes on with another device as a port, and hands out what is over: the old one, closed, or the
    /// new one when there is no such port. What is queued goes by the new one.
    fn replace(&mut self, id: PortId, mut port: Box<dyn Port>) -> Box<dyn Port> {
        let Worker { ports, pool, stats, .. } = self;
        if let Some(slot) = ports.iter_mut().find(|slot| slot.id == id) {
            std::mem::swap(&mut slot.port, &mut port);
            port.close(&mut PortCx { id, pool, counters: &stats.counters });
        }
        port
    }

    /// Closes a port and hands it out; what is still queued for it is dropped.
    fn remove(&mut self, id: PortId) -> Option<Box<dyn Port>> {
        let Worker { ports, pipeline, pool, stats, .. } = self;
        let mut cx = PortCx { id, pool, counters: &stats.counters };
        let queue = pipeline.queues.get_mut(id.index());
        for frame in queue.into_iter().flat_map(|queue| queue.drain(..)) {
            cx.discard(frame, pipeline::stages::port::GONE);
        }
        let at = ports.iter().position(|slot| slot.id == id)?;
        let mut port = ports.swap_remove(at).port;
        port.close(&mut cx);
        Some(port)
    }

    /// Ends all frames and gives all ports' chunks back.
    fn close(&mut self, snapshot: &Snapshot) {
        let Worker { pipeline, pool, stats, now, ports, .. } = self;
        let mut turn = Turn { snapshot, pool, counters: &stats.counters, now: *now };
        pipeline.close(&mut turn);
        for slot in ports.iter_mut() {
            slot.port.close(&mut PortCx { id: slot.id, pool, counters: &stats.counters });
        }
        stats.counters.held.set(0);
    }

    /// Whether something waits that only time or another turn can move.
    fn is_waiting(&self) -> bool {
        self.pipeline.held() > 0 || self.ports.iter().any(|slot| slot.port.is_pending())
    }
}

/// The loop of a worker's thread.
fn run(mut worker: Worker, handle: handle::Inside, mut pace: Pace) -> io::Result<()> {
    let mut cache = arc_swap::Cache::new(handle.snapshot.clone());
    loop {
        let busy = worker.turn(cache.load());
        if handle.commanded() && handle.obey(&mut worker, &mut pace)? {
            break;
        }
        pace.pause(busy, &mut worker)?;
    }
    worker.close(cache.load());
    Ok(())
}
