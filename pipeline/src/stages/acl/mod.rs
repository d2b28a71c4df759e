//! Whether a packet may go from where it comes to where it goes.
//!
//! The policies of the port that it comes by are asked for egress, those of the port that it goes to for
//! ingress, and both must allow it, also where both are ports of this node. A packet of a flow whose
//! first packet was allowed passes, in both directions, and so does an ICMP error that quotes one; policies are
//! asked only for first packets, and once more for each flow after they have changed.
//!
//! * **Changes.** A flow that policies no longer allow is remembered as such until both ends are silent, so that an answer
//!   that was under way does not pass for the first packet of another one.
//! * **TCP in its midst**, of which no SYN was seen, as policies or the daemon are younger: the end with the
//!   lower port is taken for the one that was called, and so is who answers a SYN.
//! * **Fragments.** Policies may ask for ports, which only a datagram's first fragment has. Where that passes,
//!   the others do for a while. One that comes before it passes if the policies say so whatever the
//!   ports are, and is dropped otherwise.
//! * **The node** may reach its own pods from its own address, unless the config says otherwise, as Kubernetes
//!   has it.
//! * **The router** itself is no port: what it says, by ICMP or for a packet that it refuses, nobody is asked about.

mod explain;
pub mod judge;
mod packet;

pub use explain::{Finding, explain};

#[cfg(test)]
mod tests;

use super::Stage;
use crate::cx::Cx;
use crate::drops::{Counters, Reason};
use crate::frame::{BATCH_SIZE, Batch, Frame, Live, Meta, NO_PEER};
use crate::snapshot::{Hop, Snapshot};
use crate::tables::acl::{Tuple, Verb};
use crate::tables::flows::{self, Flags, Flows, Hit, Judged, Party, Sighting};
use crate::tables::guard::{Between, Guard};
use packet::{Case, Keyed, Kind, Packet, Usual};

crate::drops! { Acl:
    EGRESS = "egress", "policies do not let it out of the port at which its flow begins";
    INGRESS = "ingress", "policies do not let it into the port for which its flow is";
    FRAGMENT = "fragment", "a fragment whose ports are not known, as its datagram's first one did not pass";
    TRUNCATED = "truncated", "the packet ends within what policies must know of it";
    TCP_FLAGS = "tcp_flags", "TCP flags that contradict each other";
}

/// Buckets of flows that are looked through in each tick for what is over.
const SWEEP: usize = 16;

/// The stage.
#[derive(Debug)]
pub struct Acl {
    /// What is to be judged of a batch, and which flows that concerns, in the same order.
    asked: Vec<Asked>,
    sightings: Vec<Sighting>,
    /// The bucket of flows to look through next.
    sweep: usize,
}

impl Default for Acl {
    fn default() -> Self {
        let (asked, sightings) = (Vec::with_capacity(BATCH_SIZE), Vec::with_capacity(BATCH_SIZE));
        Acl { asked, sightings, sweep: 0 }
    }
}

/// Frames of the batch that follow each other and are alike to their flow.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Which: one bit each.
    frames: u64,
    between: Between,
    /// What they say, if they are of that kind. Of others each is asked for itself.
    usual: Option<Usual>,
}

impl Stage for Acl {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        let snapshot = cx.snapshot;
        if snapshot.guard.is_idle() {
            return;
        }
        self.gather(batch, snapshot);
        snapshot.flows.touch(&mut self.sightings, cx.now);
        let (guard, flows) = (&snapshot.guard, &snapshot.flows);
        let mut court = Court::new(guard, flows, cx.counters, cx.now);
        for (asked, sighting) in self.asked.iter().zip(&self.sightings) {
            for i in Live::new(asked.frames) {
                match court.judge(asked, sighting, &batch[i]) {
                    Ok(Pass::Alike) => break,
                    Ok(Pass::This) => {}
                    Err(reason) => batch.drop(i, reason),
                }
            }
        }
        court.close();
        self.asked.clear();
        self.sightings.clear();
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        let (guard, flows) = (&cx.snapshot.guard, &cx.snapshot.flows);
        let end = self.sweep + SWEEP;
        flows.expire(self.sweep..end, &guard.settings().timeouts, cx.now);
        self.sweep = if end < flows.buckets() { end } else { 0 };
    }
}

impl Acl {
    /// Notes the frames of a batch that are to be judged.
    #[inline]
    fn gather(&mut self, batch: &mut Batch, snapshot: &Snapshot) {
        let (mut way, mut between, mut follows) = (None, None, false);
        for i in batch.live() {
            let frame = &batch[i];
            let meta = &frame.meta;
            let this = Some((meta.in_port, meta.peer, meta.next_hop));
            if way != this {
                (way, between, follows) = (this, self::between(meta, snapshot), false);
            }
            let Some(between) = between else { continue };
            let usual = Usual::of(frame);
            if let (Some(usual), true, Some(latest)) = (&usual, follows, self.asked.last_mut())
                && latest.usual.as_ref().is_some_and(|latest| usual.is(latest))
            {
                latest.frames |= 1 << i;
                continue;
            }
            let (keyed, flags) = match &usual {
                Some(usual) => usual.flow(),
                None => match Packet::of(frame) {
                    Ok(packet) => packet.flow(),
                    Err(reason) => {
                        batch.drop(i, reason);
                        continue;
                    }
                },
            };
            self.asked.push(Asked { frames: 1 << i, between, usual });
            self.sightings.push(snapshot.flows.sighting(keyed, flags));
            follows = true;
        }
    }
}

/// The ports between which a packet goes; `None` if nothing is enforced at either.
fn between(meta: &Meta, snapshot: &Snapshot) -> Option<Between> {
    let to = match meta.next_hop.hop() {
        Hop::Port(_) | Hop::Neighbour(_) => Some(meta.egress),
        _ => None,
    };
    let from = (meta.peer == NO_PEER).then_some(meta.in_port);
    snapshot.guard.between(from, to)
}

/// Whether what policies said once still holds.
#[inline]
fn is_current(guard: &Guard, judged: Judged) -> bool {
    judged.generation == guard.generation() || !guard.settings().rejudges
}

/// Whether a flow that is remembered so may pass.
fn may_pass(guard: &Guard, judged: &Judged) -> bool {
    is_current(guard, *judged) && judge::denial(judged).is_none()
}

/// What packets are judged by.
struct Court<'a> {
    guard: &'a Guard,
    flows: &'a Flows,
    counters: &'a Counters,
    now: u64,
    /// What became of flows.
    of_flows: flows::Counters,
    /// How often the latest rule of each direction spoke.
    hits: [(u32, u64); 2],
}

/// For which frames it is said that they may pass.
enum Pass {
    /// This one alone.
    This,
    /// All of the run.
    Alike,
}

impl<'a> Court<'a> {
    fn new(guard: &'a Guard, flows: &'a Flows, counters: &'a Counters, now: u64) -> Court<'a> {
        let (of_flows, hits) = (flows::Counters::default(), [(judge::NO_RULE, 0); 2]);
        Court { guard, flows, counters, now, of_flows, hits }
    }

    /// Counts, once for the batch, what all workers count together.
    fn close(self) {
        self.flows.count(self.of_flows);
        for (number, hits) in self.hits {
            self.count(number, hits);
        }
    }

    #[inline]
    fn judge(&mut self, asked: &Asked, sighting: &Sighting, frame: &Frame) -> Result<Pass, Reason> {
        match &asked.usual {
            Some(usual) => self.flow(asked, sighting, frame, || usual.case()).map(|(_, pass)| pass),
            None => self.unusual(asked, sighting, frame).map(|()| Pass::This),
        }
    }

    /// A fragment, or ICMP, or of a protocol without ports.
    #[inline(never)]
    fn unusual(&mut self, asked: &Asked, sighting: &Sighting, frame: &Frame) -> Result<(), Reason> {
        let Packet { case, kind } = Packet::of(frame)?;
        match kind {
            Kind::Flow { datagram, .. } => {
                let (judged, _) = self.flow(asked, sighting, frame, || case)?;
                if let Some(datagram) = datagram {
                    self.remember(datagram, judged);
                }
                Ok(())
            }
            Kind::Later(_) => self.later(asked, &case, sighting),
            Kind::Error(Some(_)) if self.is_current(sighting) => Ok(()),
            Kind::Error(_) | Kind::Lone => {
                verdict(&self.ask(asked, &case, Party::Initiator, frame))
            }
        }
    }

    /// A packet of a flow, or the first of one.
    #[inline]
    fn flow(
        &mut self,
        asked: &Asked,
        sighting: &Sighting,
        frame: &Frame,
        case: impl Fn() -> Case,
    ) -> Result<(Judged, Pass), Reason> {
        let (judged, pass) = match self.flows.pass(sighting, &self.guard.settings().timeouts, self.now) {
            Some(hit) if is_current(self.guard, hit.judged) => {
                let pass = if hit.is_settled(sighting.flags) { Pass::Alike } else { Pass::This };
                (hit.judged, pass)
            }
            Some(hit) => (self.old(asked, &hit, &case(), frame), Pass::This),
            None => (self.first(asked, sighting, &case(), frame), Pass::This),
        };
        verdict(&judged).map(|()| (judged, pass))
    }

    /// The first packet of a flow.
    #[inline(never)]
    fn first(&mut self, asked: &Asked, sighting: &Sighting, case: &Case, frame: &Frame) -> Judged {
        let by = case.sender();
        let judged = self.ask(asked, case, by, frame);
        if judge::denial(&judged).is_none() {
            match by {
                Party::Initiator => self.keep(sighting, judged),
                Party::Responder => self.keep(&sighting.reversed(), judged),
            }
        }
        judged
    }

    /// What policies say now of a flow that they were asked about before they changed.
    #[inline(never)]
    fn old(&mut self, asked: &Asked, hit: &Hit, case: &Case, frame: &Frame) -> Judged {
        let judged = self.ask(asked, case, hit.by, frame);
        self.flows.rejudge(hit, judged);
        judged
    }

    /// A fragment without ports.
    fn later(&mut self, asked: &Asked, case: &Case, sighting: &Sighting) -> Result<(), Reason> {
        if self.is_current(sighting) {
            return Ok(());
        }
        let judged = judge::whatever_the_ports(self.guard, asked.between, &case.tuple);
        let judged = judged.ok_or(FRAGMENT)?;
        self.spoke(&judged);
        verdict(&judged)
    }

    /// Whether there is a flow that may pass.
    fn is_current(&self, sighting: &Sighting) -> bool {
        let flow = self.flows.peek(&sighting.key, &self.guard.settings().timeouts, self.now);
        flow.is_some_and(|flow| may_pass(self.guard, &flow.judged))
    }

    /// Lets the other fragments of a datagram pass.
    fn remember(&mut self, datagram: Keyed, judged: Judged) {
        let sighting = self.flows.sighting(datagram, Flags::default());
        self.keep(&sighting, judged);
    }

    #[inline]
    fn keep(&mut self, sighting: &Sighting, judged: Judged) {
        let timeouts = &self.guard.settings().timeouts;
        self.flows.keep(sighting, judged, timeouts, self.now, &mut self.of_flows);
    }

    /// Asks policies about the flow of a packet that this end of it sends, counts which rules spoke, and keeps the packet
    /// for the log where one wants that.
    #[inline]
    fn ask(&mut self, asked: &Asked, case: &Case, by: Party, frame: &Frame) -> Judged {
        match by {
            Party::Initiator => self.ask_about(asked.between, &case.tuple, frame),
            Party::Responder => {
                self.ask_about(asked.between.reversed(), &case.reversed(), frame)
            }
        }
    }

    fn ask_about(&mut self, between: Between, tuple: &Tuple, frame: &Frame) -> Judged {
        let Court { guard, counters, now, .. } = *self;
        let judged = judge::judge(guard, between, tuple, |rule| {
            guard.count(rule, 1, now);
            if guard.acl().rule(rule).verb == Verb::Log {
                counters.note(frame, rule.0);
            }
        });
        self.spoke(&judged);
        judged
    }

    /// Counts the rules that decided: a run of the same ones at once.
    #[inline]
    fn spoke(&mut self, judged: &Judged) {
        for (of, number) in [judged.egress, judged.ingress].into_iter().enumerate() {
            let (latest, hits) = self.hits[of];
            if number != latest {
                self.count(latest, hits);
                self.hits[of] = (number, 0);
            }
            self.hits[of].1 += 1;
        }
    }

    #[inline]
    fn count(&self, number: u32, hits: u64) {
        if let Some(rule) = judge::rule(number) {
            self.guard.count(rule, hits, self.now);
        }
    }
}

#[inline]
fn verdict(judged: &Judged) -> Result<(), Reason> {
    judge::denial(judged).map_or(Ok(()), Err)
}
