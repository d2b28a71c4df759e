//! What policies say of a packet between two ports.

use super::{EGRESS, INGRESS};
use crate::drops::Reason;
use crate::tables::acl::{Action, Decision, ProgramId, RuleId, Tuple};
use crate::tables::flows::Judged;
use crate::tables::guard::{Between, Guard};

/// A rule's number where none was asked.
pub const NO_RULE: u32 = DENIES - 1;

/// What is added to the number of a rule that denies.
const DENIES: u32 = 1 << 31;

/// The rules that decided, the source's and the destination's, and whether they deny it. There is none where nobody was asked:
/// about ingress also because the source's has refused the packet already, or because it is from the node itself.
pub fn rules(judged: &Judged) -> [(Option<RuleId>, bool); 2] {
    [judged.egress, judged.ingress].map(|number| (rule(number), number >= DENIES))
}

/// The rule that has such a number.
#[inline]
pub(super) fn rule(number: u32) -> Option<RuleId> {
    let rule = number & !DENIES;
    (rule != NO_RULE).then_some(RuleId(rule))
}

/// Why what was judged so does not pass.
#[inline]
pub(super) fn denial(judged: &Judged) -> Option<Reason> {
    match (judged.egress >= DENIES, judged.ingress >= DENIES) {
        (false, false) => None,
        (true, _) => Some(EGRESS),
        (false, true) => Some(INGRESS),
    }
}

/// Asks both ends. `on_the_way` is told of rules that match and do not decide.
#[inline]
pub(super) fn judge(
    guard: &Guard,
    between: Between,
    tuple: &Tuple,
    mut on_the_way: impl FnMut(RuleId),
) -> Judged {
    let mut judged = nobody(guard);
    if let Some(program) = egress(guard, between) {
        judged.egress = number(guard.program(program).judge(tuple, &mut on_the_way));
    }
    if judged.egress < DENIES
        && let Some(program) = ingress(guard, between, tuple)
    {
        judged.ingress = number(guard.program(program).judge(tuple, &mut on_the_way));
    }
    judged
}

/// The same of a packet whose ports are not known; `None` if they matter.
pub(super) fn whatever_the_ports(
    guard: &Guard,
    between: Between,
    tuple: &Tuple,
) -> Option<Judged> {
    let ask = |program| guard.program(program).judge_unknown_ports(tuple).map(number);
    let mut judged = nobody(guard);
    if let Some(program) = egress(guard, between) {
        judged.egress = ask(program)?;
    }
    if judged.egress < DENIES
        && let Some(program) = ingress(guard, between, tuple)
    {
        judged.ingress = ask(program)?;
    }
    Some(judged)
}

/// As if nobody was asked.
#[inline]
fn nobody(guard: &Guard) -> Judged {
    Judged { generation: guard.generation(), egress: NO_RULE, ingress: NO_RULE }
}

#[inline]
fn number(Decision { action, rule }: Decision) -> u32 {
    match action {
        Action::Allow => rule.0,
        Action::Deny => rule.0 | DENIES,
    }
}

/// Whom to ask about what comes by a port.
#[inline]
fn egress(guard: &Guard, between: Between) -> Option<ProgramId> {
    guard.programs(between.from?).egress
}

/// Whom to ask about what goes to a port.
#[inline]
fn ingress(guard: &Guard, between: Between, tuple: &Tuple) -> Option<ProgramId> {
    let program = guard.programs(between.to?).ingress?;
    let is_trusted = between.from.is_some_and(|from| guard.is_trusted(from, tuple.src));
    (!is_trusted).then_some(program)
}
