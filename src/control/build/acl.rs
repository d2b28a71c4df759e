//! From what a config says of policies to what they mean, and to what is enforced of them at which port.

use super::Facts;
use crate::config::acl as said;
use crate::config::acl::DEFAULT_TIER;
use crate::config::{self, Config};
use ipnet::IpNet;
use pipeline::snapshot::Snapshot;
use pipeline::tables::Flows;
use pipeline::tables::acl::{
    Action, Directed, End, Endpoint, Party, Policies, Policy, Rule, Service, Subject, Tier, Verb,
    What,
};
use pipeline::tables::flows::{Timeouts, WAYS};
use pipeline::tables::guard::{Guard, Settings};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

/// Has tables enforce what a config says. What has not changed goes on, and keeps counting.
pub fn enforce(config: &Config, facts: &Facts, tables: &mut Snapshot) {
    let ports = config.port.iter().map(|port| (facts.ports[&port.name].id, port.name.as_str()));
    let said = &config.acl;
    let settings = Settings {
        rejudges: said.established == said::Established::Strict,
        trusts_node: said.node_to_pods == said::NodeToPods::Allow,
        timeouts: timeouts(&said.timeouts),
    };
    tables.guard = Arc::new(Guard::new(policies(config), settings, ports, &tables.guard));
    // A node without policies needs no memory for flows.
    let flows = said.flows.get() as usize / WAYS * WAYS;
    if !tables.guard.is_idle() && tables.flows.capacity() != flows {
        let seed = RandomState::new().build_hasher().finish();
        tables.flows = Arc::new(Flows::new(flows, seed));
    }
}

/// What a config says of policies.
pub fn policies(config: &Config) -> Policies {
    let said = &config.acl;
    let sets = config.set.iter().map(|set| {
        (Arc::from(set.name.as_str()), set.prefixes.iter().map(config::Prefix::net).collect())
    });
    Policies {
        tiers: tiers(config),
        default: Directed { ingress: action(said.ingress), egress: action(said.egress) },
        failsafe: Directed {
            ingress: said.failsafe_ingress.iter().map(service).collect(),
            egress: said.failsafe_egress.iter().map(service).collect(),
        },
        sets: sets.collect(),
        endpoints: endpoints(config),
    }
}

/// In the order in which they are asked, and the policies in each likewise.
fn tiers(config: &Config) -> Vec<Tier> {
    let mut policies: BTreeMap<&str, Vec<&said::Policy>> = BTreeMap::new();
    for policy in &config.policy {
        policies.entry(policy.tier()).or_default().push(policy);
    }
    let mut tier = |name: &str, end| {
        let mut policies = policies.remove(name).unwrap_or_default();
        let order = |policy: &said::Policy| policy.order.map_or(u32::MAX, config::Bounded::get);
        policies.sort_by_key(|policy| (order(policy), &policy.name));
        let policies = policies.into_iter().map(|said| Arc::new(policy(said))).collect();
        Tier { name: name.into(), policies, end }
    };
    let mut tiers: Vec<_> = config
        .tier
        .iter()
        .map(|said| {
            let end = match said.end {
                said::TierEnd::Deny => End::Deny,
                said::TierEnd::Pass => End::Pass,
            };
            tier(said.name.as_str(), end)
        })
        .collect();
    if tiers.iter().all(|tier| *tier.name != *DEFAULT_TIER) {
        tiers.push(tier(DEFAULT_TIER, End::Deny));
    }
    tiers
}

/// Ports of this node, and who is elsewhere.
fn endpoints(config: &Config) -> Vec<Endpoint> {
    let labels = |said: &config::Labels| {
        said.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let ports = config.port.iter().map(|port| Endpoint {
        name: Some(port.name.as_str().into()),
        is_node: port.netns.is_none(),
        addresses: port.addresses.iter().map(config::Interface::host).collect(),
        labels: labels(&port.labels),
    });
    let others = config.endpoint.iter().map(|other| Endpoint {
        name: None,
        is_node: false,
        addresses: nets(&other.addresses),
        labels: labels(&other.labels),
    });
    ports.chain(others).collect()
}

fn policy(said: &said::Policy) -> Policy {
    let rules = |rules: &Option<Vec<said::Rule>>| Some(rules.as_ref()?.iter().map(rule).collect());
    let subjects = said.applies_to.iter().map(|said| Subject {
        port: said.port.as_ref().map(|name| name.as_str().into()),
        labels: said.labels.as_ref().map(|labels| labels.0.clone()),
        prefix: said.prefix.map(|prefix| prefix.net()),
    });
    Policy {
        name: said.name.as_str().into(),
        applies_to: subjects.collect(),
        ingress: rules(&said.ingress),
        egress: rules(&said.egress),
    }
}

fn rule(said: &said::Rule) -> Rule {
    Rule {
        verb: match said.action {
            said::Action::Allow => Verb::Allow,
            said::Action::Deny => Verb::Deny,
            said::Action::Log => Verb::Log,
            said::Action::Pass => Verb::Pass,
        },
        from: said.from.iter().map(party).collect(),
        to: said.to.iter().map(party).collect(),
        services: said.ports.iter().map(service).collect(),
    }
}

fn party(said: &said::Party) -> Party {
    Party {
        block: said.prefix.map(|block| (block.net(), nets(&said.except))),
        set: said.set.as_ref().map(|name| name.as_str().into()),
        labels: said.labels.as_ref().map(|labels| labels.0.clone()),
        port: said.port.as_ref().map(|name| name.as_str().into()),
    }
}

fn service(said: &said::Service) -> Service {
    let what = match (said.port, said.kind) {
        (Some(port), _) => What::Ports(port..=said.end_port.unwrap_or(port)),
        (None, Some(kind)) => What::Icmp { kind, code: said.code },
        (None, None) => What::Any,
    };
    Service { protocol: said.protocol.number(), what }
}

fn nets(prefixes: &[config::Prefix]) -> Vec<IpNet> {
    prefixes.iter().map(config::Prefix::net).collect()
}

fn action(said: said::DefaultAction) -> Action {
    match said {
        said::DefaultAction::Allow => Action::Allow,
        said::DefaultAction::Deny => Action::Deny,
    }
}

fn timeouts(said: &said::Timeouts) -> Timeouts {
    Timeouts {
        tcp_opening: said.tcp_opening.get(),
        tcp_established: said.tcp_established.get(),
        tcp_fin_wait: said.tcp_fin_wait.get(),
        tcp_time_wait: said.tcp_time_wait.get(),
        tcp_reset: said.tcp_reset.get(),
        udp: said.udp.get(),
        udp_replied: said.udp_replied.get(),
        icmp: said.icmp.get(),
        other: said.other.get(),
        fragments: said.fragments.get(),
    }
}
