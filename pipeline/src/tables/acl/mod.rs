//! Access control: who may talk to whom. [`model`] says what policies mean, [`Acl::compile`] makes of
//! them what the stages ask for a packet that belongs to no flow yet.

pub mod model;
mod selector;

pub use model::*;
pub use selector::{Selector, SelectorError};

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
}

/// Where a rule is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The failsafe of this index.
    Failsafe(usize),
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
    /// Counts a packet.
    #[inline]
    pub fn hit(&self, now: u64) {
        self.hits.fetch_add(1, Ordering::Relaxed);
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

/// All policies, compiled.
#[derive(Debug)]
pub struct Acl;

/// What one direction of a port is asked.
#[derive(Debug)]
pub struct Program;

impl Acl {
    /// Makes the lookup structures of policies. Rules that are in `previous` too, word for word, go on counting.
    pub fn compile(policies: &Policies, previous: Option<&Acl>) -> Acl {
        let _ = (policies, previous);
        Acl
    }

    /// What the local port of this name is asked; of a direction `None` if all is allowed. `None` if there is no such port.
    pub fn port(&self, name: &str) -> Option<Directed<Option<ProgramId>>> {
        let _ = name;
        None
    }

    /// The program of this index.
    pub fn program(&self, id: ProgramId) -> &Program {
        let _ = id;
        &Program
    }

    /// All rules in the order in which they are asked.
    pub fn rules(&self) -> &[RuleInfo] {
        &[]
    }

    /// The rule of this index.
    pub fn rule(&self, id: RuleId) -> &RuleInfo {
        &self.rules()[id.0 as usize]
    }
}

impl Program {
    /// Judges a packet. `on_the_way` is told of every rule that matches and does not decide: those that log, and those that pass.
    #[inline]
    pub fn judge(&self, packet: &Tuple, on_the_way: impl FnMut(RuleId)) -> Decision {
        let _ = (packet, on_the_way);
        Decision { action: Action::Allow, rule: RuleId(0) }
    }

    /// Judges a packet whose ports, or type and code, are not known (its `service` is not looked at): a decision that is the same
    /// whatever they are, or none.
    pub fn judge_unknown_ports(&self, packet: &Tuple) -> Option<Decision> {
        let _ = packet;
        None
    }
}
