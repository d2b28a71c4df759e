//! What the stage finds out about a packet, for people: nothing is counted, and nothing remembered.

use super::judge;
use super::packet::{Kind, Packet};
use super::{between, is_current, may_pass};
use crate::drops::Reason;
use crate::frame::Frame;
use crate::snapshot::Snapshot;
use crate::tables::acl::{RuleId, Tuple};
use crate::tables::flows::{Flow, Judged, Party};
use crate::tables::guard::Between;
use std::sync::Arc;

/// What decides about a packet.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The ports at its ends.
    pub between: Between,
    /// The flow that it belongs to, or is about.
    pub flow: Option<Flow>,
    /// What policies say of it; `None` if it passes for the flow's sake, or nobody can say.
    pub judged: Option<Judged>,
    /// Rules that matched and did not decide.
    pub noted: Vec<RuleId>,
    /// Policies were asked, and nobody for ingress, as its flow is from the node itself.
    pub is_trusted: bool,
}

/// What the stage would find out about a frame that comes to it now; `None` if nothing is enforced at its ends.
///
/// # Errors
/// Why it is no packet that policies can be asked about.
pub fn explain(frame: &Frame, snapshot: &Snapshot, now: u64) -> Option<Result<Finding, Reason>> {
    let between = between(&frame.meta, snapshot)?;
    Some(Packet::of(frame).map(|packet| find(&packet, between, snapshot, now)))
}

fn find(packet: &Packet, between: Between, snapshot: &Snapshot, now: u64) -> Finding {
    let (guard, timeouts) = (&snapshot.guard, &snapshot.guard.settings().timeouts);
    let (keyed, flags) = packet.flow();
    let sighting = snapshot.flows.sighting(keyed, flags);
    let flow = snapshot.flows.peek(&sighting.key, timeouts, now);
    let (mut noted, mut is_trusted) = (Vec::new(), false);
    let trusts = |between: Between, tuple: &Tuple| {
        between.from.is_some_and(|from| guard.is_trusted(from, tuple.src))
    };
    let mut ask = |by: Party| {
        let (between, tuple) = match by {
            Party::Initiator => (between, packet.case.tuple),
            Party::Responder => (between.reversed(), packet.case.reversed()),
        };
        is_trusted = trusts(between, &tuple);
        judge::judge(guard, between, &tuple, |rule| noted.push(rule))
    };
    let (flow, judged) = match packet.kind {
        Kind::Flow { .. } => {
            // A copy: whoever is traced shall not be seen.
            let hit = Arc::new(snapshot.flows.sketch()).pass(&sighting, timeouts, now);
            let judged = match &hit {
                Some(hit) if is_current(guard, hit.judged) => None,
                Some(hit) => Some(ask(hit.by)),
                None => Some(ask(packet.case.sender())),
            };
            (flow.filter(|_| hit.is_some()), judged)
        }
        Kind::Later(_) => match flow.filter(|flow| may_pass(guard, &flow.judged)) {
            Some(flow) => (Some(flow), None),
            None => {
                is_trusted = trusts(between, &packet.case.tuple);
                (None, judge::whatever_the_ports(guard, between, &packet.case.tuple))
            }
        },
        Kind::Error(Some(_)) if flow.is_some_and(|flow| may_pass(guard, &flow.judged)) => {
            (flow, None)
        }
        Kind::Error(_) | Kind::Lone => (None, Some(ask(Party::Initiator))),
    };
    Finding { between, flow, judged, noted, is_trusted }
}
