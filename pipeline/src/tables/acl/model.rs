//! Policies as they are meant: what a config says, resolved to values, and nothing of how it is
//! looked up.
//!
//! A port is judged by itself in either [`Direction`]. Of every [`Tier`], in order, those policies
//! count that select the port and say something about the direction; a tier with none is skipped.
//! Their rules are tried one after the other, policy by policy, and the first that matches decides:
//! [`Allow`](Verb::Allow) and [`Deny`](Verb::Deny) for good, [`Pass`](Verb::Pass) leads to the next
//! tier, and [`Log`](Verb::Log) takes note and goes on. Where no rule decides, the tier's
//! [end](Tier::end) does; behind the last tier the [default](Policies::default).
//!
//! So Kubernetes' NetworkPolicies are policies of one tier that ends in [`End::Deny`], with rules
//! that allow, and a default that allows: isolated is who is selected by one, and their order does
//! not matter.

use super::Selector;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Which packets of a port a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Those to it.
    Ingress,
    /// Those from it.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        })
    }
}

/// One value for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Directed<T> {
    /// For packets to a port.
    pub ingress: T,
    /// For packets from a port.
    pub egress: T,
}

impl<T> Directed<T> {
    /// The value that `make` gives for each direction.
    pub fn new(mut make: impl FnMut(Direction) -> T) -> Self {
        Self { ingress: make(Direction::Ingress), egress: make(Direction::Egress) }
    }

    /// The value for this direction.
    #[inline]
    pub fn of(&self, direction: Direction) -> &T {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// What becomes of a packet in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// It goes on.
    #[default]
    Allow,
    /// It is dropped.
    Deny,
}

/// All that is to be compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// In the order in which they are asked.
    pub tiers: Vec<Tier>,
    /// For ports that no policy selects, and for packets that all tiers passed on.
    pub default: Directed<Action>,
    /// What no policy can close at the node's own port: allowed in front of all tiers.
    pub failsafe: Directed<Vec<Service>>,
    /// Prefixes by the name of their set.
    pub sets: BTreeMap<Arc<str>, Vec<IpNet>>,
    /// All that can be named or selected by labels.
    pub endpoints: Vec<Endpoint>,
}

/// Who has addresses, and labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The local port; none if it is elsewhere in the cluster, and known for its labels alone.
    pub name: Option<Arc<str>>,
    /// Whether it is the node itself: the failsafe applies.
    pub is_node: bool,
    /// What its labels or its name stand for in a rule.
    pub addresses: Vec<IpNet>,
    /// By key.
    pub labels: Labels,
}

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

/// Policies that are asked together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Unlike that of other tiers.
    pub name: Arc<str>,
    /// In the order in which they are asked.
    pub policies: Vec<Arc<Policy>>,
    /// Where a policy of this tier selects the port and no rule decides.
    pub end: End,
}

/// What a tier says where its rules say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum End {
    /// No.
    #[default]
    Deny,
    /// The next tier shall decide.
    Pass,
}

/// Rules for the ports that it selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Unlike that of other policies, also of other tiers.
    pub name: Arc<str>,
    /// Selects the port if one of these does; an empty list selects every port.
    pub applies_to: Vec<Subject>,
    /// For packets to the port. `None` says nothing about them; an empty list leaves them all to
    /// the tier's end.
    pub ingress: Option<Vec<Rule>>,
    /// For packets from the port, in the same way.
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    /// Its rules for a direction.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// Ports that a policy is for: those to which all that is given here applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The port of this name.
    pub port: Option<Arc<str>>,
    /// Ports with such labels.
    pub labels: Option<Selector>,
    /// Ports of which one of the addresses lies in this.
    pub prefix: Option<IpNet>,
}

/// One line of a policy. All three lists must match; an empty one matches anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it says.
    pub verb: Verb,
    /// One of these is where the packet comes from.
    pub from: Vec<Party>,
    /// One of these is where it goes.
    pub to: Vec<Party>,
    /// One of these is what it is.
    pub services: Vec<Service>,
}

/// What a rule says of a packet that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// It goes on; no further rule is asked.
    Allow,
    /// It is dropped; no further rule is asked.
    Deny,
    /// It is noted; further rules decide.
    Log,
    /// The next tier decides.
    Pass,
}

/// Addresses at one end of a packet: those to which all that is given here applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Party {
    /// Addresses in this prefix, but in none of the exceptions.
    pub block: Option<(IpNet, Vec<IpNet>)>,
    /// Addresses in the set of this name; in none if there is no such set.
    pub set: Option<Arc<str>>,
    /// Addresses of endpoints with such labels.
    pub labels: Option<Selector>,
    /// Addresses of the local port of this name.
    pub port: Option<Arc<str>>,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// IP's number for the protocol.
    pub protocol: u8,
    /// Which of its packets.
    pub what: What,
}

/// Which packets of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// All.
    Any,
    /// TCP, UDP and SCTP: those to these ports.
    Ports(RangeInclusive<u16>),
    /// ICMP and ICMPv6: messages of this type and, where one is given, this code.
    Icmp {
        /// The message's type.
        kind: u8,
        /// The message's code.
        code: Option<u8>,
    },
}

/// What rules know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Where it comes from.
    pub src: IpAddr,
    /// Where it goes; of the same family.
    pub dst: IpAddr,
    /// IP's number for what it carries; of IPv6 that behind the extension headers.
    pub protocol: u8,
    /// TCP, UDP and SCTP: the destination port. ICMP and ICMPv6: `type << 8 | code`. Else 0.
    pub service: u16,
}
