//! Access control: who may talk to whom.
//!
//! [`model`] says what policies mean. [`Acl::compile`] makes of them what the stages ask for a
//! packet that belongs to no flow yet: a [`Program`] for each direction of each local port, of a
//! table for each tier in which a policy selects the port.
//!
//! ```text
//!            port's name           tier by tier       address, service
//!   Policies ────────────▶ Program ────────────▶ Table ────────────────▶ first rule
//! ```
//!
//! What packets cost does not grow with the number of rules, but for the depth of a search: see
//! [`grid`]. Ports that the same policies select share a program, and programs share tables.

mod addresses;
mod bitmaps;
mod compile;
mod grid;
pub mod model;
mod program;
mod selector;
mod sets;
mod steps;
mod table;
#[cfg(test)]
mod tests;

pub use model::*;
pub use program::Program;
pub use selector::{Selector, SelectorError, is_key, is_value};

use hashbrown::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One direction of a port, compiled: its index in an [`Acl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramId(pub u32);

/// A rule: its index in [`Acl::rules`], which is in the order in which rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// What a program says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of it.
    pub action: Action,
    /// The rule that decided.
    pub rule: RuleId,
}

/// A rule as people know it, or what decides where no rule does.
#[derive(Clone, Debug)]
pub struct RuleInfo {
    /// Which packets of a port it is asked for.
    pub direction: Direction,
    /// Where it is written.
    pub origin: Origin,
    /// What it says.
    pub verb: Verb,
    /// How often it did; shared with the rule's earlier generations.
    pub stats: Arc<RuleStats>,
    /// The policy that it is of.
    policy: Option<Arc<Policy>>,
}

impl RuleInfo {
    /// The rule as it is written, if it is a policy's.
    pub fn rule(&self) -> Option<&Rule> {
        let Origin::Policy { index, .. } = self.origin else { return None };
        self.policy.as_ref()?.rules(self.direction)?.get(index)
    }

    /// Whether it is the same rule in another generation.
    fn is_still(&self, other: &RuleInfo) -> bool {
        let of = |info: &'_ RuleInfo| (info.direction, info.verb);
        of(self) == of(other) && self.origin == other.origin && self.rule() == other.rule()
    }
}

/// A rule as a message names it.
impl fmt::Display for RuleInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = self.direction;
        match &self.origin {
            Origin::Failsafe(_) => write!(f, "{direction} failsafe"),
            Origin::Policy { policy, index, .. } => {
                write!(f, "policy {policy}, {direction} rule {}", index + 1)
            }
            Origin::End(tier) => write!(f, "end of tier {tier}, {direction}"),
            Origin::Default => write!(f, "{direction} default"),
        }
    }
}

/// Where a rule is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The failsafe that allows this.
    Failsafe(Service),
    /// A policy's rule.
    Policy {
        /// The policy's tier.
        tier: Arc<str>,
        /// The policy.
        policy: Arc<str>,
        /// Its index among the policy's rules for the direction.
        index: usize,
    },
    /// The end of the tier of this name.
    End(Arc<str>),
    /// The default.
    Default,
}

/// How often a rule matched, and when it last did.
#[derive(Debug, Default)]
pub struct RuleStats {
    hits: AtomicU64,
    last: AtomicU64,
}

impl RuleStats {
    /// Counts packets.
    #[inline]
    pub fn hit(&self, packets: u64, now: u64) {
        self.hits.fetch_add(packets, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
    }

    /// How many packets.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// The `now` of the latest; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// All policies, compiled; see the [module](self).
#[derive(Debug, Default)]
pub struct Acl {
    rules: Box<[RuleInfo]>,
    programs: Box<[Program]>,
    ports: HashMap<Arc<str>, Directed<Option<ProgramId>>>,
}

impl Acl {
    /// What the local port of this name is asked: of a direction `None` if all is allowed. `None`
    /// if there is no such port.
    pub fn port(&self, name: &str) -> Option<Directed<Option<ProgramId>>> {
        self.ports.get(name).copied()
    }

    /// The program of this index.
    #[inline]
    pub fn program(&self, id: ProgramId) -> &Program {
        &self.programs[id.0 as usize]
    }

    /// All rules in the order in which they are asked.
    pub fn rules(&self) -> &[RuleInfo] {
        &self.rules
    }

    /// The rule of this index.
    #[inline]
    pub fn rule(&self, id: RuleId) -> &RuleInfo {
        &self.rules[id.0 as usize]
    }

    /// Bytes of all that packets are looked up in.
    pub fn memory(&self) -> usize {
        let tables: HashMap<_, _> = self
            .programs
            .iter()
            .flat_map(|program| program.tables())
            .map(|table| (Arc::as_ptr(table), table.memory()))
            .collect();
        let rules = self.rules.len() * (size_of::<RuleInfo>() + size_of::<RuleStats>());
        rules + tables.into_values().sum::<usize>()
    }
}
