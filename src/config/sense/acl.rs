//! Whether what is said of policies holds together.

use super::super::acl::{Action, DEFAULT_TIER, Party, Policy, Rule, Service, Subject};
use super::super::place::{Author, Path, at};
use super::super::{Name, Prefix};
use super::{Sense, unknown};
use std::collections::BTreeSet;

/// Names that rules may mention.
struct Known<'c> {
    tiers: BTreeSet<&'c str>,
    sets: BTreeSet<&'c str>,
    ports: BTreeSet<&'c str>,
}

fn list<'c>(names: &BTreeSet<&'c str>) -> Vec<&'c str> {
    names.iter().copied().collect()
}

impl<'c, A: Author> Sense<'_, 'c, A> {
    pub(super) fn acl(&mut self) {
        let config = self.config;
        let tiers = config.tier.iter().enumerate();
        let tiers = tiers.map(|(i, tier)| (&tier.name, at("tier").index(i).key("name")));
        self.unique(tiers, |name| {
            (format!("a second tier is named `{name}`"), "a `name` of its own")
        });
        let sets = config.set.iter().enumerate();
        let sets = sets.map(|(i, set)| (&set.name, at("set").index(i).key("name")));
        self.unique(sets, |name| {
            (format!("a second set is named `{name}`"), "a `name` of its own")
        });
        let endpoints = config.endpoint.iter().enumerate();
        let endpoints = endpoints.map(|(i, e)| (&e.name, at("endpoint").index(i).key("name")));
        self.unique(endpoints, |name| {
            (format!("a second endpoint is named `{name}`"), "a `name` of its own")
        });
        let policies = config.policy.iter().enumerate();
        let policies = policies.map(|(i, p)| (&p.name, at("policy").index(i).key("name")));
        self.unique(policies, |name| {
            (format!("a second policy is named `{name}`"), "a `name` of its own")
        });
        for (i, set) in config.set.iter().enumerate().filter(|(_, set)| set.prefixes.is_empty()) {
            let message = format!("set `{}` is empty, so it matches nobody", set.name);
            self.author.warn(at("set").index(i).key("prefixes"), message);
        }
        for (key, services) in [
            ("failsafe-ingress", &config.acl.failsafe_ingress),
            ("failsafe-egress", &config.acl.failsafe_egress),
        ] {
            self.services(services, &at("acl").key(key));
        }
        let known = Known {
            tiers: config.tier.iter().map(|tier| tier.name.as_str()).collect(),
            sets: config.set.iter().map(|set| set.name.as_str()).collect(),
            ports: config.port.iter().map(|port| port.name.as_str()).collect(),
        };
        for (i, policy) in config.policy.iter().enumerate() {
            self.policy(policy, &known, &at("policy").index(i));
        }
    }

    fn policy(&mut self, policy: &Policy, known: &Known<'_>, path: &Path) {
        let name = &policy.name;
        let tier = policy.tier();
        if tier != DEFAULT_TIER && !known.tiers.contains(&tier) && !self.author.is_faulty("tier") {
            let mut tiers = list(&known.tiers);
            tiers.extend((!known.tiers.contains(DEFAULT_TIER)).then_some(DEFAULT_TIER));
            self.fault(path.clone().key("tier"), unknown("tier", tier, &tiers));
        }
        if policy.ingress.is_none() && policy.egress.is_none() {
            let message = format!(
                "policy `{name}` says nothing; expected `ingress`, `egress` or both, with an empty list \
                 where nothing may pass"
            );
            self.fault(path.clone(), message);
        }
        // Where what it had was wrong, that was said.
        if policy.applies_to.is_empty() && !self.author.is_faulty("policy") {
            let message = format!(
                "policy `{name}` selects no ports; expected at least one of {{ port = \"…\" }}, \
                 {{ labels = \"…\" }} or {{ prefix = \"…\" }}"
            );
            self.fault(path.clone().key("applies-to"), message);
        }
        for (i, subject) in policy.applies_to.iter().enumerate() {
            let Subject { port, labels, prefix } = subject;
            let path = path.clone().key("applies-to").index(i);
            if port.is_none() && labels.is_none() && prefix.is_none() {
                let message = "an empty selection; expected `port`, `labels` or `prefix`; all ports are \
                               { labels = \"\" }";
                self.fault(path.clone(), message.into());
            }
            self.known_port(port.as_ref(), known, &path);
        }
        for (key, rules) in [("ingress", &policy.ingress), ("egress", &policy.egress)] {
            let rules = rules.as_deref().unwrap_or_default();
            self.rules(rules, known, &path.clone().key(key));
        }
    }

    fn rules(&mut self, rules: &[Rule], known: &Known<'_>, path: &Path) {
        for (i, rule) in rules.iter().enumerate() {
            let path = path.clone().index(i);
            for (key, parties) in [("from", &rule.from), ("to", &rule.to)] {
                for (j, party) in parties.iter().enumerate() {
                    self.party(party, known, &path.clone().key(key).index(j));
                }
            }
            self.services(&rule.ports, &path.key("ports"));
        }
        let is_last = |rule: &Rule| {
            rule.action != Action::Log
                && rule.from.is_empty()
                && rule.to.is_empty()
                && rule.ports.is_empty()
        };
        let last = rules.iter().position(is_last);
        if let Some(last) = last.filter(|last| last + 1 < rules.len()) {
            let place = self.place(&path.clone().index(last)).at();
            let message = format!(
                "no packet comes to this rule: one that is about all packets stands before it, {place}"
            );
            self.author.warn(path.clone().index(last + 1), message);
        }
    }

    fn party(&mut self, party: &Party, known: &Known<'_>, path: &Path) {
        let Party { prefix, except, set, labels, port } = party;
        if prefix.is_none() && set.is_none() && labels.is_none() && port.is_none() {
            let message = "nobody is named; expected `prefix`, `set`, `labels` or `port`; what is from or to \
                           anybody needs no list";
            self.fault(path.clone(), message.into());
        }
        for (i, inner) in except.iter().enumerate() {
            let path = path.clone().key("except").index(i);
            match prefix {
                None => {
                    let message = "`except` takes something out of `prefix`, which is not there; expected both";
                    self.fault(path, message.into());
                    break;
                }
                Some(block) if !is_within(inner, block) => {
                    let message = format!("{inner} is not within {block}; expected a part of that");
                    self.fault(path, message);
                }
                Some(_) => {}
            }
        }
        if let Some(name) = set.as_ref().map(Name::as_str)
            && !known.sets.contains(&name)
            && !self.author.is_faulty("set")
        {
            self.fault(path.clone().key("set"), unknown("set", name, &list(&known.sets)));
        }
        self.known_port(port.as_ref(), known, path);
    }

    fn known_port(&mut self, port: Option<&Name>, known: &Known<'_>, path: &Path) {
        if let Some(name) = port.map(Name::as_str)
            && !known.ports.contains(&name)
            && !self.author.is_faulty("port")
        {
            self.fault(path.clone().key("port"), unknown("port", name, &list(&known.ports)));
        }
    }

    fn services(&mut self, services: &[Service], path: &Path) {
        for (i, service) in services.iter().enumerate() {
            if let Some((key, message)) = wrong_service(service) {
                self.fault(path.clone().index(i).key(key), message);
            }
        }
    }
}

fn is_within(inner: &Prefix, block: &Prefix) -> bool {
    block.net().contains(&inner.net())
}

/// What is wrong with a service, and with which of its keys.
fn wrong_service(service: &Service) -> Option<(&'static str, String)> {
    let Service { protocol, port, end_port, kind, code } = *service;
    if port.is_some() && !protocol.has_ports() {
        let message = format!("{protocol} has no ports; expected tcp, udp or sctp, or no `port`");
        return Some(("port", message));
    }
    match (port, end_port) {
        (None, Some(end)) => {
            let message = format!("`end-port` {end} ends no range; expected `port`, its start");
            return Some(("end-port", message));
        }
        (Some(port), Some(end)) if end < port => {
            let message =
                format!("`end-port` {end} is below `port` {port}; expected {port} or more");
            return Some(("end-port", message));
        }
        _ => {}
    }
    match (kind, code) {
        (Some(_), _) if !protocol.is_icmp() => {
            let message = format!("{protocol} has no types; expected icmp or icmpv6, or no `type`");
            Some(("type", message))
        }
        (None, Some(code)) => {
            let message = format!("`code` {code} is of no type; expected `type`");
            Some(("code", message))
        }
        _ => None,
    }
}
