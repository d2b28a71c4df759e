//! What is enforced: policies, compiled, and what each port is asked of them.

use super::Slots;
use super::acl::{Acl, Directed, Endpoint, Policies, Program, ProgramId, RuleId};
use super::flows::Timeouts;
use crate::snapshot::PortId;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// What one generation of tables enforces.
#[derive(Clone, Debug)]
pub struct Guard {
    /// What was compiled.
    policies: Arc<Policies>,
    acl: Arc<Acl>,
    /// Counts the policies that were compiled, each unlike the one before.
    generation: u32,
    settings: Settings,
    /// Programs by port, of those that have any.
    ports: Slots<Directed<Option<ProgramId>>>,
    /// The node's own ports, and their addresses.
    node: Vec<(PortId, Vec<IpNet>)>,
    /// Whether rules count what they match.
    counts: bool,
}

/// What holds for all policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Flows that are under way are judged again when policies have changed.
    pub rejudges: bool,
    /// Ports' ingress is not asked about what the node itself sends.
    pub trusts_node: bool,
    /// How long flows are remembered.
    pub timeouts: Timeouts,
}

/// The ports of this node at both ends of a packet's way, as far as there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    /// That by which it came, unless from a peer.
    pub from: Option<PortId>,
    /// That by which it goes, unless to a peer.
    pub to: Option<PortId>,
}

impl Between {
    /// Of a packet in the other direction.
    #[must_use]
    pub fn reversed(self) -> Between {
        Between { from: self.to, to: self.from }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings { rejudges: true, trusts_node: true, timeouts: Timeouts::default() }
    }
}

impl Default for Guard {
    /// Nothing is enforced.
    fn default() -> Self {
        Guard {
            policies: Arc::default(),
            acl: Arc::new(Acl::compile(&Policies::default(), None)),
            generation: 0,
            settings: Settings::default(),
            ports: Slots::default(),
            node: Vec::new(),
            counts: true,
        }
    }
}

impl Guard {
    /// Compiles policies for these ports. What `previous` had compiled already goes on.
    pub fn new<'a>(
        policies: Policies,
        settings: Settings,
        ports: impl Iterator<Item = (PortId, &'a str)>,
        previous: &Guard,
    ) -> Guard {
        let (acl, generation) = match policies == *previous.policies {
            true => (previous.acl.clone(), previous.generation),
            false => {
                let acl = Acl::compile(&policies, Some(&previous.acl));
                (Arc::new(acl), previous.generation.wrapping_add(1))
            }
        };
        let (mut programs, mut node) = (Slots::default(), Vec::new());
        for (id, name) in ports {
            let named = |end: &&Endpoint| end.is_node && end.name.as_deref() == Some(name);
            node.extend(
                policies.endpoints.iter().find(named).map(|own| (id, own.addresses.clone())),
            );
            match acl.port(name) {
                Some(Directed { ingress: None, egress: None }) | None => {}
                Some(directed) => drop(programs.insert(id.index(), directed)),
            }
        }
        let policies = Arc::new(policies);
        Guard { policies, acl, generation, settings, ports: programs, node, counts: true }
    }

    /// The same, whose rules count nothing: for who only wants to know.
    #[must_use]
    pub fn silent(&self) -> Guard {
        Guard { counts: false, ..self.clone() }
    }

    /// Counts packets that a rule matched.
    #[inline]
    pub fn count(&self, rule: RuleId, packets: u64, now: u64) {
        if self.counts {
            self.acl.rule(rule).stats.hit(packets, now);
        }
    }

    /// Whether nothing is enforced at any port.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.ports.end() == 0
    }

    /// What a port is asked; of a direction `None` if all is allowed.
    #[inline]
    pub fn programs(&self, port: PortId) -> Directed<Option<ProgramId>> {
        self.ports.get(port.index()).copied().unwrap_or_default()
    }

    /// The ports at the ends of a packet's way; `None` if nothing is enforced there, in either direction.
    #[inline]
    pub fn between(&self, from: Option<PortId>, to: Option<PortId>) -> Option<Between> {
        let is_guarded = |port: &PortId| self.ports.get(port.index()).is_some();
        let between = Between { from, to };
        [from, to].iter().flatten().any(is_guarded).then_some(between)
    }

    /// Whether what comes by this port, from this address, is from the node itself, and ports' ingress is not to be
    /// asked about it.
    pub fn is_trusted(&self, from: PortId, source: IpAddr) -> bool {
        let mut own = self.node.iter().filter(|(port, _)| *port == from);
        self.settings.trusts_node
            && own.any(|(_, addresses)| addresses.iter().any(|own| own.contains(&source)))
    }

    /// A program of one of the ports.
    #[inline]
    pub fn program(&self, id: ProgramId) -> &Program {
        self.acl.program(id)
    }

    /// The compiled policies.
    pub fn acl(&self) -> &Acl {
        &self.acl
    }

    /// The policies themselves.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Which policies these are.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// What holds for all policies.
    #[inline]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
