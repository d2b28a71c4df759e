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
pub const NO_RULE: u32 = DENIES - 1;

/// What is added to the number of a rule that denies.
const DENIES: u32 = 1 << 31;

/// The rules by whose numbers a flow is remembered, the source's and the destination's, and whether they deny it.
pub fn rules(judged: &Judged) -> [(Option<RuleId>, bool); 2] {
    [judged.egress, judged.ingress].map(|number| {
        let (rule, denies) = (number & !DENIES, number >= DENIES);
        ((rule != NO_RULE).then_some(RuleId(rule)), denies)
    })
}

/// Why a flow that is remembered so does not pass.
#[inline]
pub(super) fn denial(judged: &Judged) -> Option<Reason> {
    match (judged.egress >= DENIES, judged.ingress >= DENIES) {
        (false, false) => None,
        (true, _) => Some(EGRESS),
        (false, true) => Some(INGRESS),
    }
}

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
    /// How the flow is remembered, by these policies.
    pub fn judged(&self, guard: &Guard) -> Judged {
        let number = |decision: Option<Decision>| match decision {
            None => NO_RULE,
            Some(Decision { action: Action::Allow, rule }) => rule.0,
            Some(Decision { action: Action::Deny, rule }) => rule.0 | DENIES,
        };
        let (egress, ingress) = (number(self.egress), number(self.ingress));
        Judged { generation: guard.generation(), egress, ingress }
    }

    /// Whether the packet may pass.
    ///
    /// # Errors
    /// Why not.
    pub fn verdict(&self) -> Result<(), Reason> {
        let denies = |decision: Option<Decision>| {
            decision.is_some_and(|decision| decision.action == Action::Deny)
        };
        match () {
            () if denies(self.egress) => Err(EGRESS),
            () if denies(self.ingress) => Err(INGRESS),
            () => Ok(()),
        }
    }

    /// Counts the rules that decided.
    pub fn count(&self, guard: &Guard, now: u64) {
        for decision in [self.egress, self.ingress].into_iter().flatten() {
            guard.count(decision.rule, now);
        }
    }
}
