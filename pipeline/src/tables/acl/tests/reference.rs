//! What the model's words mean, one after the other: slow, and obvious.

use super::*;
use std::collections::BTreeSet;

/// What becomes of a packet, and the rules that have a say in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) action: Action,
    pub(super) rule: Origin,
    pub(super) on_the_way: Vec<Origin>,
}

/// The judgement on a packet of a port in one direction.
pub(super) fn judge(
    policies: &Policies,
    port: &Endpoint,
    direction: Direction,
    packet: &Tuple,
) -> Judgement {
    let mut on_the_way = Vec::new();
    if port.is_node {
        for service in policies.failsafe.of(direction) {
            if is_service(service, packet) {
                let rule = Origin::Failsafe(service.clone());
                return Judgement { action: Action::Allow, rule, on_the_way };
            }
        }
    }
    'tiers: for tier in &policies.tiers {
        let mut selects_port = false;
        for policy in &tier.policies {
            let Some(rules) = policy.rules(direction) else { continue };
            if !is_selected(policy, port) {
                continue;
            }
            selects_port = true;
            for (index, written) in rules.iter().enumerate() {
                if !matches(policies, written, packet) {
                    continue;
                }
                let (tier, policy) = (tier.name.clone(), policy.name.clone());
                let rule = Origin::Policy { tier, policy, index };
                match written.verb {
                    Verb::Allow => return Judgement { action: Action::Allow, rule, on_the_way },
                    Verb::Deny => return Judgement { action: Action::Deny, rule, on_the_way },
                    Verb::Log => on_the_way.push(rule),
                    Verb::Pass => {
                        on_the_way.push(rule);
                        continue 'tiers;
                    }
                }
            }
        }
        if selects_port {
            let rule = Origin::End(tier.name.clone());
            match tier.end {
                End::Deny => return Judgement { action: Action::Deny, rule, on_the_way },
                End::Pass => on_the_way.push(rule),
            }
        }
    }
    Judgement { action: *policies.default.of(direction), rule: Origin::Default, on_the_way }
}

/// What can become of a packet of which the ports, or the type and code, are anything.
pub(super) fn judge_unknown_ports(
    policies: &Policies,
    port: &Endpoint,
    direction: Direction,
    packet: &Tuple,
) -> Vec<Judgement> {
    // All services behave like the first, or like the next one that a rule begins or ends at.
    let rules = policies.tiers.iter().flat_map(|tier| &tier.policies);
    let rules = rules.flat_map(|policy| policy.rules(direction).unwrap_or_default());
    let services = rules.flat_map(|rule| &rule.services).chain(policies.failsafe.of(direction));
    let mut numbers = BTreeSet::from([0]);
    for service in services.filter(|service| service.protocol == packet.protocol) {
        let (first, last) = match service.what {
            What::Any => continue,
            What::Ports(ref ports) => (*ports.start(), *ports.end()),
            What::Icmp { kind, code: Some(code) } => {
                (256 * u16::from(kind) + u16::from(code), 256 * u16::from(kind) + u16::from(code))
            }
            What::Icmp { kind, code: None } => (256 * u16::from(kind), 256 * u16::from(kind) + 255),
        };
        numbers.extend([first, last.wrapping_add(1)]);
    }
    let packets = numbers.into_iter().map(|service| Tuple { service, ..*packet });
    packets.map(|packet| judge(policies, port, direction, &packet)).collect()
}

fn is_selected(policy: &Policy, port: &Endpoint) -> bool {
    let is_subject = |subject: &Subject| {
        let mut is_all = true;
        if subject.port.is_some() {
            is_all &= subject.port == port.name;
        }
        if let Some(selector) = &subject.labels {
            is_all &= selector.matches(&port.labels);
        }
        if let Some(prefix) = &subject.prefix {
            is_all &= port.addresses.iter().any(|address| {
                prefix.contains(&address.network()) && prefix.contains(&address.broadcast())
            });
        }
        is_all
    };
    policy.applies_to.is_empty() || policy.applies_to.iter().any(is_subject)
}

fn matches(policies: &Policies, rule: &Rule, packet: &Tuple) -> bool {
    let is_one_of = |parties: &[Party], address| {
        parties.is_empty() || parties.iter().any(|party| is_party(policies, party, address))
    };
    is_one_of(&rule.from, packet.src)
        && is_one_of(&rule.to, packet.dst)
        && (rule.services.is_empty()
            || rule.services.iter().any(|service| is_service(service, packet)))
}

fn is_party(policies: &Policies, party: &Party, address: IpAddr) -> bool {
    let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
    let mut is_all = true;
    if let Some((block, except)) = &party.block {
        is_all &= block.contains(&address) && !is_in(except);
    }
    if let Some(set) = &party.set {
        is_all &= policies.sets.get(set).is_some_and(|nets| is_in(nets));
    }
    if let Some(selector) = &party.labels {
        let has = |e: &Endpoint| selector.matches(&e.labels) && is_in(&e.addresses);
        is_all &= policies.endpoints.iter().any(has);
    }
    if party.port.is_some() {
        let has = |e: &Endpoint| e.name == party.port && is_in(&e.addresses);
        is_all &= policies.endpoints.iter().any(has);
    }
    is_all
}

fn is_service(service: &Service, packet: &Tuple) -> bool {
    service.protocol == packet.protocol
        && match service.what {
            What::Any => true,
            What::Ports(ref ports) => ports.contains(&packet.service),
            What::Icmp { kind, code } => {
                u16::from(kind) == packet.service / 256
                    && code.is_none_or(|code| u16::from(code) == packet.service % 256)
            }
        }
}
