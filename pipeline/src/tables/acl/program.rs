//! What a packet that belongs to no flow yet is asked, in one direction of a port.

use super::model::{Action, Direction, Tuple, Verb};
use super::table::{Probe, Table};
use super::{Decision, RuleId};
use std::sync::Arc;

/// How often the decision may change over all ports of a protocol before
/// [`judge_unknown_ports`](Program::judge_unknown_ports) gives up.
pub(super) const MAX_SPANS: usize = 64;

/// One direction of ports that the same policies select.
#[derive(Debug)]
pub struct Program {
    direction: Direction,
    tables: Box<[Arc<Table>]>,
    /// What becomes of packets that all tables pass on.
    default: Decision,
}

impl Program {
    pub(super) fn new(
        direction: Direction,
        tables: Box<[Arc<Table>]>,
        default: Decision,
    ) -> Program {
        Program { direction, tables, default }
    }

    /// Judges a packet. `on_the_way` is told of every rule that matches and does not decide: those
    /// that log, and those that pass.
    pub fn judge(&self, packet: &Tuple, on_the_way: impl FnMut(RuleId)) -> Decision {
        self.decide(self.probe(packet, packet.service), on_the_way).0
    }

    /// Judges a packet of which the ports, or the type and code, are not known, such as a later
    /// fragment: what becomes of it whatever they are, with one of the rules that say so. `None` if
    /// it depends, or if that can't be told without looking at very many rules.
    pub fn judge_unknown_ports(&self, packet: &Tuple) -> Option<Decision> {
        let end = key(packet.protocol, u16::MAX);
        let (first, mut until) = self.decide(self.probe(packet, 0), |_| ());
        for _ in 0..MAX_SPANS {
            if until >= end {
                return Some(first);
            }
            let next = self.probe(packet, (until + 1) as u16);
            let (decision, last) = self.decide(next, |_| ());
            if decision.action != first.action {
                return None;
            }
            until = last;
        }
        None
    }

    #[inline]
    fn probe<'a>(&self, packet: &'a Tuple, service: u16) -> Probe<'a> {
        let Tuple { src, dst, .. } = packet;
        let (near, far) = match self.direction {
            Direction::Ingress => (dst, src),
            Direction::Egress => (src, dst),
        };
        Probe { near, far, service: key(packet.protocol, service) }
    }

    /// The decision, and the last service up to which it is the same.
    #[inline]
    fn decide(&self, probe: Probe<'_>, mut on_the_way: impl FnMut(RuleId)) -> (Decision, u32) {
        let mut until = u32::MAX;
        for table in &self.tables {
            let (entry, last) = table.first(&probe);
            until = until.min(last);
            table.logs(&probe, entry).for_each(&mut on_the_way);
            match action(entry.verb()) {
                Some(action) => return (Decision { action, rule: entry.rule() }, until),
                None => on_the_way(entry.rule()),
            }
        }
        (self.default, until)
    }

    pub(super) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }
}

/// What a verb decides.
#[inline]
fn action(verb: Verb) -> Option<Action> {
    match verb {
        Verb::Allow => Some(Action::Allow),
        Verb::Deny => Some(Action::Deny),
        Verb::Log | Verb::Pass => None,
    }
}

/// A service among those of all protocols.
#[inline]
pub(super) fn key(protocol: u8, service: u16) -> u32 {
    u32::from(protocol) << 16 | u32::from(service)
}
