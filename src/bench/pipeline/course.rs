//! The way that packets take in a case: through one node's stages, or through those of two.

use super::node::UPLINK;
use super::watch::Watch;
use crate::io::{Port, PortCx};
use pipeline::drops::{self, Counters};
use pipeline::frame::{Batch, Pool};
use pipeline::snapshot::{PortId, Snapshot};
use pipeline::stages::StageId;
use pipeline::{Pipeline, Turn};
use std::sync::Arc;

/// The workers' clock stands still: nothing ages.
const NOW: u64 = 1;

/// A node's data path on one core: what a worker has.
pub struct Lane {
    snapshot: Arc<Snapshot>,
    pipeline: Pipeline,
    counters: Counters,
    batch: Batch,
    /// By number.
    ports: Vec<Option<Box<dyn Port>>>,
}

impl Lane {
    /// With these tables, and no port yet.
    pub fn new(snapshot: Arc<Snapshot>) -> Lane {
        let ports = (0..snapshot.ports.end()).map(|_| None).collect();
        let (pipeline, counters, batch) = Default::default();
        Lane { snapshot, pipeline, counters, batch, ports }
    }

    /// With this port, under this number.
    pub fn with(mut self, id: PortId, port: impl Port + 'static) -> Lane {
        self.ports[id.index()] = Some(Box::new(port));
        self
    }

    /// What it counted.
    #[cfg(test)]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Receives a batch; how many frames it has.
    fn receive(&mut self, id: PortId, pool: &mut Pool) -> usize {
        let Lane { ports, counters, batch, .. } = self;
        if let Some(port) = &mut ports[id.index()] {
            // Ports in memory do not fail.
            let _ = port.rx(batch, &mut PortCx { id, pool, counters });
        }
        counters.received.add(batch.len() as u64);
        batch.len()
    }

    /// Takes the batch through the stages, and out of the ports.
    fn pass(&mut self, pool: &mut Pool, mut watch: Option<&mut Watch>) {
        let Lane { pipeline, snapshot, batch, counters, ports } = self;
        let turn = &mut Turn { snapshot, pool, counters, now: NOW };
        match &mut watch {
            None => pipeline.run(batch, turn),
            Some(watch) => pipeline.run_watched(batch, turn, |stage, _, _| watch.lap(stage)),
        }
        let mut from = 0;
        while let Some(id) = pipeline.queues.next_busy(from) {
            from = id.index() + 1;
            let queue = pipeline.queues.get_mut(id);
            if let Some((port, queue)) = ports[id.index()].as_mut().zip(queue) {
                let sent = port.tx(queue, &mut PortCx { id, pool, counters });
                counters.emitted.add(sent.unwrap_or_default() as u64);
            }
        }
        if let Some(watch) = watch {
            watch.lap(StageId::Port);
        }
    }

    /// What went wrong, if something did: every frame is to leave.
    fn fault(&self) -> Option<String> {
        let lost = drops::all().filter(|reason| self.counters.drops(*reason) > 0);
        let lost = lost.map(|r| format!("{} {}", self.counters.drops(r), r.name()));
        let lost: Vec<_> = lost.collect();
        let (came, went) = self.counters.balance();
        match (lost.is_empty(), came == went) {
            (false, _) => Some(format!("frames were dropped: {}", lost.join(", "))),
            (true, false) => Some(format!("{came} frames came in, and {went} went out")),
            (true, true) => None,
        }
    }
}

/// The way of one case's packets on one core.
pub struct Course {
    /// The node that receives them first.
    pub first: Lane,
    /// By this port.
    pub entry: PortId,
    /// The node that its uplink leads to.
    pub second: Option<Lane>,
}

impl Course {
    /// Receives a batch; how many frames it has.
    pub fn receive(&mut self, pool: &mut Pool) -> usize {
        self.first.receive(self.entry, pool)
    }

    /// Takes it all the way.
    pub fn pass(&mut self, pool: &mut Pool, mut watch: Option<&mut Watch>) {
        self.first.pass(pool, watch.as_deref_mut());
        let Some(second) = &mut self.second else { return };
        while second.receive(UPLINK, pool) > 0 {
            if let Some(watch) = &mut watch {
                watch.lap(StageId::Port);
            }
            second.pass(pool, watch.as_deref_mut());
        }
    }

    /// What went wrong, if something did.
    pub fn fault(&self) -> Option<String> {
        self.first.fault().or_else(|| self.second.as_ref()?.fault())
    }
}
