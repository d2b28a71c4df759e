//! Follows a packet from stage to stage, and what stages make on its way.

use super::explain::{self, Words};
use super::{Frame, Outcome, Step, Tables};
use crate::control::state::port_name;
use crate::packet::{tell_frame, tell_packet};
use pipeline::cx::Cx;
use pipeline::drops::{self, Reason};
use pipeline::frame::{self, Batch, Link, Meta, Verdict};
use pipeline::snapshot::{PortId, Snapshot};
use pipeline::stages::{STAGES, StageId};
use std::collections::VecDeque;

/// A frame as it is between two stages.
pub(super) struct Look {
    pub(super) meta: Meta,
    pub(super) bytes: Vec<u8>,
    /// Where the innermost packet starts, once it was found.
    pub(super) packet: Option<usize>,
}

impl Look {
    fn of(frame: &frame::Frame) -> Look {
        let meta = frame.meta;
        let packet = usize::from(meta.l3).checked_sub(frame.offset()).filter(|_| meta.l3 != 0);
        Look { meta, bytes: frame.segments().flatten().copied().collect(), packet }
    }

    /// The innermost packet, or the frame before one was found, in words.
    pub(super) fn tell(&self, link: Link) -> String {
        match self.packet {
            Some(at) => tell_packet(self.bytes.get(at..).unwrap_or_default()),
            None => tell_frame(&self.bytes, link),
        }
    }
}

/// A frame and what is known of its way.
struct Followed {
    last: Look,
    told: Frame,
    has_ended: bool,
}

/// Looks at frames after each stage.
pub(super) struct Follower<'a> {
    tables: Tables<'a>,
    /// What has not seen the packet, and never will.
    live: &'a Snapshot,
    frames: Vec<Followed>,
    /// The frames of the batch under way: indices into `frames`.
    batch: Vec<usize>,
    /// Those that wait in the reinject queue.
    again: VecDeque<usize>,
    /// How many there are in each port's queue.
    queued: Vec<usize>,
    /// How many were dropped for each reason.
    dropped: Vec<(Reason, u64)>,
}

impl<'a> Follower<'a> {
    /// For a frame that is about to enter the stages, alone; with these tables, which it changes, in the place of
    /// those that live.
    pub(super) fn new(
        tables: Tables<'a>,
        live: &'a Snapshot,
        frame: &frame::Frame,
    ) -> Follower<'a> {
        let queued = vec![0; tables.snapshot.ports.end()];
        let dropped = drops::all().map(|reason| (reason, 0)).collect();
        let (frames, again) = (Vec::new(), VecDeque::new());
        let mut follower =
            Follower { tables, live, frames, batch: vec![0], again, queued, dropped };
        follower.add(Look::of(frame), None);
        follower
    }

    /// All that was seen.
    pub(super) fn end(self) -> Vec<Frame> {
        self.frames.into_iter().map(|followed| followed.told).collect()
    }

    /// Looks at a batch after a stage.
    pub(super) fn look(&mut self, stage: StageId, batch: &Batch, cx: &Cx<'_>) {
        if stage == StageId::Settle {
            self.batch.clear();
            self.recount(cx);
            return;
        }
        if self.batch.is_empty() {
            self.batch.extend(self.again.drain(..batch.len().min(self.again.len())));
        }
        let first_new = self.frames.len();
        self.find_new(stage, cx);
        let made = self.frames.len() - first_new;
        for i in 0..self.batch.len() {
            self.step(self.batch[i], stage, &batch[i], made);
        }
    }

    /// What a stage did to a frame, while it made so many others.
    fn step(&mut self, index: usize, stage: StageId, frame: &frame::Frame, made: usize) {
        let Follower { tables, live, frames, .. } = self;
        let followed = &mut frames[index];
        if followed.has_ended {
            return;
        }
        let now = Look::of(frame);
        let is_gone = now.meta.verdict == Verdict::Taken;
        let words = explain::step(stage, &followed.last, (!is_gone).then_some(&now), tables);
        let acl = (stage == StageId::Acl).then(|| explain::acl(frame, live, tables.now));
        let Words { looked_up, mut found } = acl.unwrap_or(words);
        let outcome = match now.meta.verdict {
            Verdict::Continue => None,
            Verdict::Emit(port) => Some(sent(port, &now, tables)),
            Verdict::Drop(reason) => Some(dropped(reason)),
            Verdict::Taken if stage == StageId::Neighbour => Some(Outcome::Held),
            Verdict::Taken => {
                found = Some(format!("cut into {made}"));
                Some(Outcome::Cut)
            }
        };
        let name = STAGES[stage as usize].name.to_owned();
        let bytes = hex(&now.bytes);
        followed.told.steps.push(Step { stage: name, looked_up, found, bytes });
        if let Some(outcome) = outcome {
            followed.told.outcome = outcome;
            followed.has_ended = true;
        }
        followed.last = now;
    }

    /// Frames that a stage made: they go round again, were sent at once, or dropped at once.
    fn find_new(&mut self, stage: StageId, cx: &Cx<'_>) {
        let known = self.again.len();
        for (_, frame) in cx.reinject.iter().skip(known) {
            let index = self.add(Look::of(frame), Some(stage));
            self.again.push_back(index);
        }
        for port in (0..self.queued.len()).map(|index| PortId(index as u16)) {
            let known = self.queued[port.index()];
            for frame in cx.queues.get(port).into_iter().flatten().skip(known) {
                let look = Look::of(frame);
                let outcome = sent(port, &look, &self.tables);
                self.add_ended(look, stage, outcome);
            }
        }
        for (reason, known) in &self.dropped.clone() {
            let new = (cx.counters.drops(*reason) - known) as usize;
            let samples = cx.counters.samples(*reason);
            for sample in samples.iter().skip(samples.len().saturating_sub(new)) {
                let meta = Meta::received(sample.port);
                let look = Look { meta, bytes: sample.bytes.clone(), packet: sample.packet };
                self.add_ended(look, stage, dropped(*reason));
            }
        }
        self.recount(cx);
    }

    fn recount(&mut self, cx: &Cx<'_>) {
        for (index, queued) in self.queued.iter_mut().enumerate() {
            *queued = cx.queues.get(PortId(index as u16)).map_or(0, VecDeque::len);
        }
        for (reason, count) in &mut self.dropped {
            *count = cx.counters.drops(*reason);
        }
    }

    fn add_ended(&mut self, look: Look, made_by: StageId, outcome: Outcome) {
        let index = self.add(look, Some(made_by));
        self.frames[index].told.outcome = outcome;
        self.frames[index].has_ended = true;
    }

    fn add(&mut self, look: Look, made_by: Option<StageId>) -> usize {
        let port = self.tables.snapshot.ports.get(look.meta.in_port.index());
        let told = Frame {
            made_by: made_by.map(|stage| STAGES[stage as usize].name.to_owned()),
            packet: look.tell(port.map_or(Link::Ethernet, |port| port.link)),
            bytes: hex(&look.bytes),
            steps: Vec::new(),
            // What no stage decides about is dropped when it is settled.
            outcome: dropped(pipeline::stages::settle::UNDECIDED),
        };
        self.frames.push(Followed { last: look, told, has_ended: false });
        self.frames.len() - 1
    }
}

fn sent(port: PortId, look: &Look, tables: &Tables<'_>) -> Outcome {
    let link = tables.snapshot.ports.get(port.index()).map_or(Link::Ethernet, |port| port.link);
    Outcome::Sent { port: port_name(tables.snapshot, port), packet: tell_frame(&look.bytes, link) }
}

fn dropped(reason: Reason) -> Outcome {
    Outcome::Dropped { reason: reason.name(), text: reason.text().to_owned() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
