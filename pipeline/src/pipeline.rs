//! Runs batches through the list of stages.

use crate::cx::{Cx, Reinject};
use crate::doing::Step;
use crate::drops::Counters;
use crate::frame::{Batch, Pool};
use crate::queues::Queues;
use crate::snapshot::Snapshot;
use crate::stages::{self, Stage, StageId, settle};

/// What a worker brings along for one turn of its loop.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The tables, loaded once for the turn.
    pub snapshot: &'a Snapshot,
    /// The worker's chunks.
    pub pool: &'a mut Pool,
    /// The worker's counters.
    pub counters: &'a Counters,
    /// The worker's clock: monotonic, nanoseconds.
    pub now: u64,
}

/// A worker's stages and what they leave for the next turn.
pub struct Pipeline {
    stages: Vec<(StageId, Box<dyn Stage>)>,
    reinject: Reinject,
    /// The batch of what is reinjected, between two turns.
    again: Option<Batch>,
    /// What is to be sent, a queue for each port.
    pub queues: Queues,
}

impl Default for Pipeline {
    fn default() -> Self {
        Pipeline::new()
    }
}

impl Pipeline {
    /// The stages of the list, and no ports yet.
    pub fn new() -> Pipeline {
        Pipeline {
            stages: stages::pipeline(),
            reinject: Reinject::default(),
            again: Some(Batch::new()),
            queues: Queues::default(),
        }
    }

    /// Takes a batch through all stages and settles it; then what was reinjected meanwhile. `batch`
    /// is empty afterwards.
    pub fn run(&mut self, batch: &mut Batch, turn: &mut Turn<'_>) {
        self.run_watched(batch, turn, |_, _, _| {});
    }

    /// The same, and shows `after` each batch behind each stage that has looked at it, with what the
    /// stage had at hand; and at last, empty, when it was settled.
    #[inline]
    pub fn run_watched(
        &mut self,
        batch: &mut Batch,
        turn: &mut Turn<'_>,
        mut after: impl FnMut(StageId, &Batch, &Cx<'_>),
    ) {
        self.fit(turn);
        self.pass(batch, 0, turn, &mut after);
        self.run_reinjected(turn, &mut after);
    }

    /// Lets the stages act on the time that has passed; about once a millisecond.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        self.fit(turn);
        let Pipeline { stages, reinject, queues, .. } = self;
        let mut cx = Pipeline::cx(reinject, queues, turn);
        for (id, stage) in stages {
            cx.counters.doing.set(Step::Stage(*id));
            stage.tick(&mut cx);
        }
        self.run_reinjected(turn, &mut |_, _, _| {});
    }

    /// Frames that wait in the stages and queues.
    pub fn held(&self) -> usize {
        let stages: usize = self.stages.iter().map(|(_, stage)| stage.held()).sum();
        stages + self.queues.held() + self.reinject.len()
    }

    /// Ends what the stages hold and what is queued, before the worker does.
    pub fn close(&mut self, turn: &mut Turn<'_>) {
        let Pipeline { stages, reinject, queues, .. } = self;
        for (_, stage) in stages {
            stage.close(&mut Pipeline::cx(reinject, queues, turn));
        }
        self.run_reinjected(turn, &mut |_, _, _| {});
        let mut queues = std::mem::take(&mut self.queues);
        for frame in queues.iter_mut().flat_map(|queue| queue.drain(..)) {
            turn.counters.dropped(&frame, stages::port::GONE);
            frame.free(turn.pool);
        }
    }

    /// A queue for each slot of a port; what waits for one beyond the last ends. For the others
    /// their worker sees to that when it closes them.
    pub fn fit(&mut self, turn: &mut Turn<'_>) {
        self.queues.fit(turn.snapshot.ports.end(), |frame| {
            turn.counters.dropped(&frame, stages::port::GONE);
            frame.free(turn.pool);
        });
    }

    #[inline]
    fn pass(
        &mut self,
        batch: &mut Batch,
        entry: usize,
        turn: &mut Turn<'_>,
        after: &mut impl FnMut(StageId, &Batch, &Cx<'_>),
    ) {
        let Pipeline { stages, reinject, queues, .. } = self;
        let mut cx = Pipeline::cx(reinject, queues, turn);
        for (id, stage) in &mut stages[entry..] {
            if batch.is_dead() {
                break;
            }
            cx.counters.doing.set(Step::Stage(*id));
            stage.process(batch, &mut cx);
            after(*id, batch, &cx);
        }
        settle::settle(batch, &mut cx);
        after(StageId::Settle, batch, &cx);
    }

    fn run_reinjected(
        &mut self,
        turn: &mut Turn<'_>,
        after: &mut impl FnMut(StageId, &Batch, &Cx<'_>),
    ) {
        if self.reinject.is_empty() {
            return;
        }
        let mut batch = self.again.take().unwrap_or_default();
        while let Some((entry, frame)) = self.reinject.next(None) {
            batch.push(frame);
            self.gather(entry, &mut batch);
            self.pass(&mut batch, entry as usize, turn, after);
        }
        self.again = Some(batch);
    }

    fn gather(&mut self, entry: StageId, batch: &mut Batch) {
        while batch.room() > 0 {
            let Some((_, frame)) = self.reinject.next(Some(entry)) else { break };
            batch.push(frame);
        }
    }

    fn cx<'a>(
        reinject: &'a mut Reinject,
        queues: &'a mut Queues,
        turn: &'a mut Turn<'_>,
    ) -> Cx<'a> {
        Cx {
            snapshot: turn.snapshot,
            pool: turn.pool,
            counters: turn.counters,
            reinject,
            queues,
            now: turn.now,
        }
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.stages.iter().map(|(id, _)| id).collect();
        f.debug_struct("Pipeline").field("stages", &names).finish_non_exhaustive()
    }
}
