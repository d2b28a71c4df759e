//! From policies to programs.
//!
//! Rules are numbered in the order in which they are asked, all tiers through, so that of two that
//! match the lesser number decides in whatever table both are. What a tier says at its end is a
//! rule, too, and so are defaults and failsafes: a decision always has one that can be named and
//! counted.

use super::addresses::Ranges;
use super::model::*;
use super::sets::Sets;
use super::table::{Entry, Line, Table};
use super::{Acl, Decision, Origin, Program, ProgramId, RuleId, RuleInfo, program};
use hashbrown::HashMap;
use ipnet::IpNet;
use std::sync::Arc;

impl Acl {
    /// Makes the lookup structures of policies. Rules that are in `previous` too, word for word, go
    /// on counting.
    pub fn compile(policies: &Policies, previous: Option<&Acl>) -> Acl {
        let (mut rules, numbers) = number(policies);
        if let Some(previous) = previous {
            go_on_counting(&mut rules, previous);
        }
        let mut compiler = Compiler {
            policies,
            numbers,
            sets: Sets::new(policies),
            tables: HashMap::new(),
            programs: Vec::new(),
            by_tables: HashMap::new(),
        };
        let mut ports = HashMap::new();
        for endpoint in &policies.endpoints {
            if let Some(name) = &endpoint.name {
                let programs = Directed::new(|direction| compiler.program(endpoint, direction));
                ports.insert(name.clone(), programs);
            }
        }
        Acl { rules: rules.into(), programs: compiler.programs.into(), ports }
    }
}

/// The numbers of rules; of rules in a row that of the first.
struct Numbers {
    failsafe: Directed<u32>,
    tiers: Vec<TierNumbers>,
    default: Directed<u32>,
}

struct TierNumbers {
    policies: Vec<Directed<u32>>,
    end: Directed<u32>,
}

/// All rules in order.
fn number(policies: &Policies) -> (Vec<RuleInfo>, Numbers) {
    let mut rules = Vec::new();
    let failsafe = Directed::new(|direction| {
        let services = policies.failsafe.of(direction).iter();
        let origins = services.map(|service| (Origin::Failsafe(service.clone()), Verb::Allow));
        append(&mut rules, direction, None, origins)
    });
    let mut tiers = Vec::new();
    for tier in &policies.tiers {
        let of_policy = |policy: &Arc<Policy>| {
            Directed::new(|direction| {
                let written = policy.rules(direction).unwrap_or_default().iter().enumerate();
                let origins = written.map(|(index, rule)| {
                    let (tier, policy) = (tier.name.clone(), policy.name.clone());
                    (Origin::Policy { tier, policy, index }, rule.verb)
                });
                append(&mut rules, direction, Some(policy), origins)
            })
        };
        let policies = tier.policies.iter().map(of_policy).collect();
        let end = Directed::new(|direction| {
            let end = (Origin::End(tier.name.clone()), tier.end.into());
            append(&mut rules, direction, None, [end])
        });
        tiers.push(TierNumbers { policies, end });
    }
    let default = Directed::new(|direction| {
        let default = (Origin::Default, (*policies.default.of(direction)).into());
        append(&mut rules, direction, None, [default])
    });
    (rules, Numbers { failsafe, tiers, default })
}

/// Appends rules, and gives the number of the first.
fn append(
    rules: &mut Vec<RuleInfo>,
    direction: Direction,
    policy: Option<&Arc<Policy>>,
    origins: impl IntoIterator<Item = (Origin, Verb)>,
) -> u32 {
    let first = rules.len();
    rules.extend(origins.into_iter().map(|(origin, verb)| {
        let stats = Arc::default();
        RuleInfo { direction, origin, verb, stats, policy: policy.cloned() }
    }));
    first as u32
}

fn go_on_counting(rules: &mut [RuleInfo], previous: &Acl) {
    let by_origin: HashMap<_, _> =
        previous.rules.iter().map(|rule| ((rule.direction, &rule.origin), rule)).collect();
    for rule in rules {
        let former = by_origin.get(&(rule.direction, &rule.origin));
        if let Some(former) = former.filter(|former| rule.is_still(former)) {
            rule.stats = former.stats.clone();
        }
    }
}

/// What a table is made of.
#[derive(Clone, PartialEq, Eq, Hash)]
struct TableKey {
    direction: Direction,
    /// None behind the last tier, for the default.
    tier: Option<usize>,
    /// Those of the tier that select the port.
    policies: Vec<usize>,
    /// The failsafe stands in front of the tier.
    is_failsafe: bool,
}

struct Compiler<'a> {
    policies: &'a Policies,
    numbers: Numbers,
    sets: Sets<'a>,
    tables: HashMap<TableKey, Arc<Table>>,
    programs: Vec<Program>,
    by_tables: HashMap<(Direction, Vec<TableKey>), ProgramId>,
}

impl<'a> Compiler<'a> {
    fn program(&mut self, port: &Endpoint, direction: Direction) -> Option<ProgramId> {
        let policies = self.policies;
        let of_tier = |(index, tier): (usize, &Tier)| {
            let counts =
                |policy: &Policy| policy.rules(direction).is_some() && policy.selects(port);
            let all = tier.policies.iter().enumerate();
            let policies: Vec<_> = all.filter(|(_, p)| counts(p)).map(|(i, _)| i).collect();
            let tier = Some(index);
            (!policies.is_empty()).then_some(TableKey {
                direction,
                tier,
                policies,
                is_failsafe: false,
            })
        };
        let mut keys: Vec<_> = policies.tiers.iter().enumerate().filter_map(of_tier).collect();
        let default = *policies.default.of(direction);
        if keys.is_empty() && default == Action::Allow {
            return None;
        }
        if port.is_node && !policies.failsafe.of(direction).is_empty() {
            if keys.is_empty() {
                let (tier, policies) = (None, Vec::new());
                keys.push(TableKey { direction, tier, policies, is_failsafe: false });
            }
            keys[0].is_failsafe = true;
        }
        let key = (direction, keys);
        if let Some(&program) = self.by_tables.get(&key) {
            return Some(program);
        }
        let tables = key.1.iter().map(|key| self.table(key)).collect();
        let rule = RuleId(*self.numbers.default.of(direction));
        let id = ProgramId(self.programs.len() as u32);
        self.programs.push(Program::new(direction, tables, Decision { action: default, rule }));
        self.by_tables.insert(key, id);
        Some(id)
    }

    fn table(&mut self, key: &TableKey) -> Arc<Table> {
        if let Some(table) = self.tables.get(key) {
            return table.clone();
        }
        let mut lines = Vec::new();
        if key.is_failsafe {
            let first = *self.numbers.failsafe.of(key.direction);
            for (number, service) in (first..).zip(self.policies.failsafe.of(key.direction)) {
                let entry = Entry::new(RuleId(number), Verb::Allow);
                let services = keys(std::slice::from_ref(service));
                lines.push(Line { entry, near: Sets::ANY, far: Sets::ANY, services });
            }
        }
        let mut end = Entry::new(
            RuleId(*self.numbers.default.of(key.direction)),
            (*self.policies.default.of(key.direction)).into(),
        );
        if let Some(tier) = key.tier {
            for &policy in &key.policies {
                lines.extend(self.lines(tier, policy, key.direction));
            }
            let number = *self.numbers.tiers[tier].end.of(key.direction);
            end = Entry::new(RuleId(number), self.policies.tiers[tier].end.into());
        }
        let table = Arc::new(Table::new(&lines, self.sets.all(), end));
        self.tables.insert(key.clone(), table.clone());
        table
    }

    /// A policy's rules.
    fn lines(&mut self, tier: usize, policy: usize, direction: Direction) -> Vec<Line> {
        let first = *self.numbers.tiers[tier].policies[policy].of(direction);
        let rules = self.policies.tiers[tier].policies[policy].rules(direction);
        let mut line = |(number, rule): (u32, &'a Rule)| {
            let (near, far) = match direction {
                Direction::Ingress => (&rule.to, &rule.from),
                Direction::Egress => (&rule.from, &rule.to),
            };
            Line {
                entry: Entry::new(RuleId(number), rule.verb),
                near: self.sets.of(near),
                far: self.sets.of(far),
                services: keys(&rule.services),
            }
        };
        (first..).zip(rules.unwrap_or_default()).map(&mut line).collect()
    }
}

impl Policy {
    /// Whether it is for this port.
    pub fn selects(&self, port: &Endpoint) -> bool {
        let applies = |subject: &Subject| {
            let is_named =
                subject.port.as_ref().is_none_or(|name| Some(name) == port.name.as_ref());
            let has_labels = subject.labels.as_ref().is_none_or(|s| s.matches(&port.labels));
            let lies_in = |net: &IpNet| port.addresses.iter().any(|address| net.contains(address));
            is_named && has_labels && subject.prefix.as_ref().is_none_or(lies_in)
        };
        self.applies_to.is_empty() || self.applies_to.iter().any(applies)
    }
}

/// The keys of services; of no service, those of all.
fn keys(services: &[Service]) -> Arc<Ranges> {
    let keys = |service: &Service| {
        let (first, last) = match service.what {
            What::Any => (0, u16::MAX),
            What::Ports(ref ports) => (*ports.start(), *ports.end()),
            What::Icmp { kind, code: Some(code) } => {
                let message = u16::from_be_bytes([kind, code]);
                (message, message)
            }
            What::Icmp { kind, code: None } => {
                (u16::from_be_bytes([kind, 0]), u16::from_be_bytes([kind, u8::MAX]))
            }
        };
        let key = |number| program::key(service.protocol, number).into();
        (key(first), key(last))
    };
    Arc::new(match services {
        [] => Ranges::services(),
        _ => Ranges::new(services.iter().map(keys).collect()),
    })
}

impl From<Action> for Verb {
    fn from(action: Action) -> Verb {
        match action {
            Action::Allow => Verb::Allow,
            Action::Deny => Verb::Deny,
        }
    }
}

impl From<End> for Verb {
    fn from(end: End) -> Verb {
        match end {
            End::Deny => Verb::Deny,
            End::Pass => Verb::Pass,
        }
    }
}
