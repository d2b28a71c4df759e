//! What there is to tell of policies and flows.

use super::State;
use crate::config::acl::Protocol;
use crate::control::report::{self, FlowFilter};
use pipeline::snapshot::Snapshot;
use pipeline::stages::acl::judge;
use pipeline::tables::acl::{Direction, Origin, Party, Rule, RuleInfo, Service, Verb, What};
use pipeline::tables::flows::{self, Flow, Numbers};
use pipeline::tables::guard::Guard;
use std::fmt::Display;

/// Flows that are told when nothing is said.
const FLOWS: usize = 1000;

impl State {
    /// `/v1/show/acl`
    pub fn acl(&self) -> report::Acl {
        let (snapshot, now) = (self.snapshot.load(), self.now());
        let guard = &snapshot.guard;
        let rules = guard.acl().rules().iter().map(|info| rule(info, now));
        let ports = snapshot.ports.iter().filter_map(|port| {
            let found = guard.policies().endpoints.iter();
            let mut found = found.filter(|end| end.name.as_deref() == Some(port.name.as_str()));
            let (end, compiled) = (found.next()?, guard.acl().port(&port.name)?);
            let policies = |direction| {
                compiled.of(direction).map(|_| {
                    let all = guard.policies().tiers.iter().flat_map(|tier| &tier.policies);
                    let asked = all.filter(|p| p.rules(direction).is_some() && p.selects(end));
                    asked.map(|policy| policy.name.to_string()).collect()
                })
            };
            let port = report::AclPort {
                port: port.name.clone(),
                ingress: policies(Direction::Ingress),
                egress: policies(Direction::Egress),
            };
            (port.ingress.is_some() || port.egress.is_some()).then_some(port)
        });
        report::Acl { generation: guard.generation(), acl: rules.collect(), ports: ports.collect() }
    }

    /// `/v1/show/flows`
    pub fn flows(&self, filter: &FlowFilter) -> report::Flows {
        let (snapshot, now) = (self.snapshot.load(), self.now());
        let (guard, table) = (&snapshot.guard, &snapshot.flows);
        let limit = filter.limit.unwrap_or(FLOWS);
        let (mut flows, mut matched) = (Vec::new(), 0);
        for found in table.iter(&guard.settings().timeouts, now) {
            let (rules, told) = (rules(&found, guard), flow(&found, guard));
            if filter.takes(&told, &rules) {
                matched += 1;
                if flows.len() < limit {
                    flows.push(told);
                }
            }
        }
        report::Flows { flows, matched, table: flow_table(&snapshot) }
    }
}

impl FlowFilter {
    /// Whether a flow is asked for that began by these rules.
    fn takes(&self, flow: &report::Flow, rules: &[Option<&RuleInfo>]) -> bool {
        let FlowFilter { protocol, address, port, state, policy, limit: _ } = self;
        let is_by = |name: &String| {
            let mut rules = rules.iter().flatten();
            rules.any(
                |rule| matches!(&rule.origin, Origin::Policy { policy, .. } if **policy == **name),
            )
        };
        let ports = [flow.source_port, flow.destination_port];
        protocol.as_ref().is_none_or(|protocol| flow.protocol == *protocol)
            && address
                .is_none_or(|net| net.contains(&flow.source) || net.contains(&flow.destination))
            && port.is_none_or(|port| ports.contains(&Some(port)))
            && state.as_ref().is_none_or(|state| flow.state == *state)
            && policy.as_ref().is_none_or(is_by)
    }
}

/// The rules that let a flow begin, or do not let it go on, if they are still in force.
fn rules<'g>(flow: &Flow, guard: &'g Guard) -> [Option<&'g RuleInfo>; 2] {
    judge::rules(&flow.judged).map(|(rule, _)| {
        let is_current = flow.judged.generation == guard.generation();
        rule.filter(|_| is_current).map(|rule| guard.acl().rule(rule))
    })
}

fn rule(info: &RuleInfo, now: u64) -> report::AclRule {
    let (kind, tier, policy, number) = match &info.origin {
        Origin::Failsafe(_) => ("failsafe", None, None, None),
        Origin::Policy { tier, policy, index } => {
            ("rule", Some(tier), Some(policy), Some(index + 1))
        }
        Origin::End(tier) => ("tier-end", Some(tier), None, None),
        Origin::Default => ("default", None, None, None),
    };
    let (hits, last) = (info.stats.hits(), info.stats.last());
    report::AclRule {
        direction: info.direction.to_string(),
        kind: kind.to_owned(),
        tier: tier.map(ToString::to_string),
        policy: policy.map(ToString::to_string),
        number,
        action: verb(info.verb).to_owned(),
        text: match (&info.origin, info.rule()) {
            (_, Some(rule)) => about(rule),
            (Origin::Failsafe(allowed), _) => service(allowed),
            (Origin::End(_), _) => "what no rule of the tier decided".to_owned(),
            _ => "what no policy decided".to_owned(),
        },
        hits,
        last_hit: (hits > 0).then(|| now.saturating_sub(last) / 1_000_000_000),
    }
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Allow => "allow",
        Verb::Deny => "deny",
        Verb::Log => "log",
        Verb::Pass => "pass",
    }
}

fn about(Rule { from, to, services, .. }: &Rule) -> String {
    let list = |word: &str, items: Vec<String>| match items.is_empty() {
        true => None,
        false => Some(format!("{word}{}", items.join(" or "))),
    };
    let parts = [
        list("", services.iter().map(service).collect()),
        list("from ", from.iter().map(party).collect()),
        list("to ", to.iter().map(party).collect()),
    ];
    match parts.into_iter().flatten().collect::<Vec<_>>() {
        all if all.is_empty() => "everything".to_owned(),
        some => some.join(" "),
    }
}

fn service(Service { protocol, what }: &Service) -> String {
    let protocol = Protocol::from(*protocol);
    match what {
        What::Any => protocol.to_string(),
        What::Ports(ports) if ports.start() == ports.end() => {
            format!("{protocol} {}", ports.start())
        }
        What::Ports(ports) => format!("{protocol} {}-{}", ports.start(), ports.end()),
        What::Icmp { kind, code: None } => format!("{protocol} type {kind}"),
        What::Icmp { kind, code: Some(code) } => format!("{protocol} type {kind} code {code}"),
    }
}

fn party(Party { block, set, labels, port }: &Party) -> String {
    fn some(word: &str, value: Option<impl Display>) -> Option<String> {
        value.map(|value| format!("{word}{value}"))
    }
    let except = |nets: &[ipnet::IpNet]| match nets.is_empty() {
        true => String::new(),
        false => {
            let nets: Vec<_> = nets.iter().map(ToString::to_string).collect();
            format!(" except {}", nets.join(", "))
        }
    };
    let parts = [
        block.as_ref().map(|(net, nets)| format!("{net}{}", except(nets))),
        some("set ", set.as_ref()),
        labels.as_ref().map(|labels| format!("labels \"{labels}\"")),
        some("port ", port.as_ref()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

fn flow(flow: &Flow, guard: &Guard) -> report::Flow {
    let (mut ports, mut icmp_type, mut identifier) = ((None, None), None, None);
    match flow.numbers {
        Numbers::Ports { source: 0, destination: 0 } => {}
        Numbers::Ports { source, destination } => ports = (Some(source), Some(destination)),
        Numbers::Query { icmp_type: kind, identifier: id } => {
            (icmp_type, identifier) = (Some(kind), Some(id.into()));
        }
        Numbers::Datagram { identification } => identifier = Some(identification),
    }
    let [egress, ingress] = rules(flow, guard).map(|rule| rule.map(ToString::to_string));
    report::Flow {
        protocol: Protocol::from(flow.protocol).to_string(),
        source: flow.source,
        source_port: ports.0,
        destination: flow.destination,
        destination_port: ports.1,
        icmp_type,
        identifier,
        state: match judge::rules(&flow.judged).iter().any(|(_, denies)| *denies) {
            true => "denied".to_owned(),
            false => state(flow.state).to_owned(),
        },
        age: flow.age,
        idle: flow.idle,
        left: flow.left,
        egress,
        ingress,
        is_current: flow.judged.generation == guard.generation(),
    }
}

fn state(state: flows::State) -> &'static str {
    match state {
        flows::State::Unreplied => "unreplied",
        flows::State::Replied => "replied",
        flows::State::SynSent => "syn-sent",
        flows::State::SynReceived => "syn-received",
        flows::State::Established => "established",
        flows::State::FinWait => "fin-wait",
        flows::State::CloseWait => "close-wait",
        flows::State::TimeWait => "time-wait",
        flows::State::Aborted => "aborted",
        flows::State::Refused => "refused",
    }
}

fn flow_table(snapshot: &Snapshot) -> report::FlowTable {
    let counters = snapshot.flows.counters();
    report::FlowTable {
        capacity: snapshot.flows.capacity(),
        live: counters.live(),
        made: counters.made,
        expired: counters.expired,
        evicted_half_open: counters.evicted_half_open,
        evicted_closing: counters.evicted_closing,
        evicted_live: counters.evicted_live,
        replaced: counters.replaced,
        twins: counters.twins,
        not_kept: counters.not_kept,
    }
}
