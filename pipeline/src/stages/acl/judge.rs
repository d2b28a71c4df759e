//! What policies say of a packet between two ports.

use super::{EGRESS, INGRESS};
use crate::drops::Reason;
use crate::tables::acl::{Action, Decision, ProgramId, RuleId, Tuple};
use crate::tables::flows::Judged;
use crate::tables::guard::{Between, Guard};

/// What became of a packet, and by which rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What the port that it comes by says; `None` if nobody asks it.
    pub egress: Option<Decision>,
    /// What the port that it goes to says; `None` if nobody asks it, because the other one has refused the packet already,
    /// or because it is from the node itself.
    pub ingress: Option<Decision>,
}

/// A rule's number where none was asked.
pub const NO_RULE: u32 = u32::MAX;

/// Asks both ends. `on_the_way` is told of rules that match and do not decide.
pub fn judge(
    guard: &Guard,
    between: &Between,
    tuple: &Tuple,
    mut on_the_way: impl FnMut(RuleId),
) -> Judgement {
    let egress = between.from.and_then(|from| guard.programs(from).egress);
    let egress = egress.map(|program| guard.program(program).judge(tuple, &mut on_the_way));
    if egress.is_some_and(|decision| decision.action == Action::Deny) {
        return Judgement { egress, ingress: None };
    }
    let ingress = ingress(guard, between, tuple);
    let ingress = ingress.map(|program| guard.program(program).judge(tuple, on_the_way));
    Judgement { egress, ingress }
}

/// The same of a packet whose ports are not known; `None` if they matter.
pub fn whatever_the_ports(guard: &Guard, between: &Between, tuple: &Tuple) -> Option<Judgement> {
    let ask = |program| guard.program(program).judge_unknown_ports(tuple);
    let mut judgement = Judgement::default();
    if let Some(program) = between.from.and_then(|from| guard.programs(from).egress) {
        judgement.egress = Some(ask(program)?);
    }
    if judgement.verdict().is_ok()
        && let Some(program) = ingress(guard, between, tuple)
    {
        judgement.ingress = Some(ask(program)?);
    }
    Some(judgement)
}

/// Whom to ask about what comes to a port.
fn ingress(guard: &Guard, between: &Between, tuple: &Tuple) -> Option<ProgramId> {
    let program = guard.programs(between.to?).ingress?;
    let is_trusted = between.from.is_some_and(|from| guard.is_trusted(from, tuple.src));
    (!is_trusted).then_some(program)
}

impl Judgement {
    /// Why the packet may pass.
    ///
    /// # Errors
    /// Why not.
    pub fn verdict(&self) -> Result<Judged, Reason> {
        let is_denied = |decision: Decision| decision.action == Action::Deny;
        match (self.egress, self.ingress) {
            (Some(egress), _) if is_denied(egress) => Err(EGRESS),
            (_, Some(ingress)) if is_denied(ingress) => Err(INGRESS),
            (egress, ingress) => {
                let rule = |decision: Option<Decision>| decision.map_or(NO_RULE, |d| d.rule.0);
                Ok(Judged { generation: 0, egress: rule(egress), ingress: rule(ingress) })
            }
        }
    }

    /// Counts the rules that decided.
    pub fn count(&self, guard: &Guard, now: u64) {
        for decision in [self.egress, self.ingress].into_iter().flatten() {
            guard.count(decision.rule, now);
        }
    }
}
