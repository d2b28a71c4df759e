//! What Kubernetes' policies have not: tiers, verbs, failsafes, logs; and what programs and
//! counters are shared by.

use super::*;

/// Of `port0` and `port1`, and of `host`, the node.
fn policies(tiers: Vec<Tier>) -> Policies {
    let endpoint = |name: &str, address: &str| Endpoint {
        name: Some(name.into()),
        is_node: name == "host",
        addresses: vec![address.parse().expect("an address")],
        labels: Labels::new(),
    };
    Policies {
        tiers,
        endpoints: vec![
            endpoint("port0", "10.0.0.0/32"),
            endpoint("port1", "10.0.0.1/32"),
            endpoint("host", "10.0.0.2/32"),
        ],
        ..Policies::default()
    }
}

fn tier(name: &str, end: End, policies: Vec<Policy>) -> Tier {
    Tier { name: name.into(), end, policies: policies.into_iter().map(Arc::new).collect() }
}

/// A policy of this port's ingress; of all ports' where none is given.
fn policy(name: &str, port: &str, ingress: Vec<Rule>) -> Policy {
    let subject = Subject { port: Some(port.into()), ..Subject::default() };
    let applies_to = if port.is_empty() { vec![] } else { vec![subject] };
    Policy { name: name.into(), applies_to, ingress: Some(ingress), egress: None }
}

/// A rule for these TCP ports.
fn rule(verb: Verb, ports: std::ops::RangeInclusive<u16>) -> Rule {
    let services = vec![Service { protocol: 6, what: What::Ports(ports) }];
    Rule { verb, from: vec![], to: vec![], services }
}

/// A segment to a port of this number.
fn segment(service: u16) -> Tuple {
    let (src, dst) = ([192, 0, 2, 1].into(), [10, 0, 0, 0].into());
    Tuple { src, dst, protocol: 6, service }
}

/// What decides on a segment to the port, and what else it met, as messages name them.
fn told(policies: &Policies, port: &str, service: u16) -> String {
    let acl = Acl::compile(policies, None);
    let Some(program) = acl.port(port).expect("a port").ingress else { return "none".to_owned() };
    let mut all = Vec::new();
    let decision = acl.program(program).judge(&segment(service), |rule| all.push(rule));
    all.push(decision.rule);
    let all = all.iter().map(|&rule| acl.rule(rule).to_string()).collect::<Vec<_>>();
    format!("{:?}: {}", decision.action, all.join("; "))
}

#[test]
fn tiers_are_asked_in_order_and_those_without_a_policy_for_the_port_are_skipped() {
    let allow = |name, port, ports| policy(name, port, vec![rule(Verb::Allow, ports)]);
    let mut policies = policies(vec![
        tier("others", End::Deny, vec![allow("x", "port1", 0..=9)]),
        tier(
            "first",
            End::Pass,
            vec![policy(
                "a",
                "port0",
                vec![rule(Verb::Pass, 1..=1), rule(Verb::Deny, 1..=2), rule(Verb::Allow, 1..=3)],
            )],
        ),
        tier("second", End::Deny, vec![allow("b", "port0", 1..=1), allow("c", "", 1..=4)]),
        tier("third", End::Pass, vec![allow("d", "port0", 0..=9)]),
    ]);
    let cases = [
        (1, "Allow: policy a, ingress rule 1; policy b, ingress rule 1"),
        (2, "Deny: policy a, ingress rule 2"),
        (3, "Allow: policy a, ingress rule 3"),
        (4, "Allow: end of tier first, ingress; policy c, ingress rule 1"),
        (5, "Deny: end of tier first, ingress; end of tier second, ingress"),
    ];
    for (port, expected) in cases {
        assert_eq!(told(&policies, "port0", port), expected);
    }
    policies.tiers.remove(2);
    policies.default.ingress = Action::Deny;
    let passed = "Deny: end of tier first, ingress; end of tier third, ingress; ingress default";
    assert_eq!(told(&policies, "port0", 10), passed);
    assert_eq!(told(&policies, "host", 10), "Deny: ingress default");
    policies.default.ingress = Action::Allow;
    assert_eq!(told(&policies, "host", 10), "none");
}

#[test]
fn no_policy_closes_a_failsafe_of_the_node() {
    let service = |port| Service { protocol: 6, what: What::Ports(port..=port) };
    let mut policies = policies(vec![tier("t", End::Deny, vec![policy("p", "", vec![])])]);
    policies.failsafe.ingress = vec![service(22), service(8472)];
    policies.failsafe.egress = vec![service(443)];
    assert_eq!(told(&policies, "host", 22), "Allow: ingress failsafe");
    assert_eq!(told(&policies, "host", 8472), "Allow: ingress failsafe");
    assert_eq!(told(&policies, "host", 443), "Deny: end of tier t, ingress");
    assert_eq!(told(&policies, "port0", 22), "Deny: end of tier t, ingress");
    // Also where there is nothing but the default.
    policies.tiers.clear();
    policies.default.ingress = Action::Deny;
    assert_eq!(told(&policies, "host", 22), "Allow: ingress failsafe");
    assert_eq!(told(&policies, "host", 443), "Deny: ingress default");
    assert_eq!(told(&policies, "port0", 22), "Deny: ingress default");
}

#[test]
fn a_rule_that_logs_notes_what_gets_as_far_as_itself_and_goes_on() {
    let rules = vec![
        rule(Verb::Allow, 1..=1),
        rule(Verb::Log, 1..=3),
        rule(Verb::Log, 3..=4),
        rule(Verb::Allow, 2..=3),
        rule(Verb::Log, 3..=3),
    ];
    let policies = policies(vec![tier("t", End::Deny, vec![policy("p", "port0", rules)])]);
    let cases = [
        (1, "Allow: policy p, ingress rule 1"),
        (2, "Allow: policy p, ingress rule 2; policy p, ingress rule 4"),
        (3, "Allow: policy p, ingress rule 2; policy p, ingress rule 3; policy p, ingress rule 4"),
        (4, "Deny: policy p, ingress rule 3; end of tier t, ingress"),
        (5, "Deny: end of tier t, ingress"),
    ];
    for (port, expected) in cases {
        assert_eq!(told(&policies, "port0", port), expected);
    }
}

#[test]
fn a_set_stands_for_its_prefixes_and_an_unknown_one_for_nothing() {
    let set = |name: &str| Party { set: Some(name.into()), ..Party::default() };
    let of = |name, ports| Rule { from: vec![set(name)], ..rule(Verb::Allow, ports) };
    let rules = vec![of("known", 1..=1), of("unknown", 1..=2)];
    let mut policies = policies(vec![tier("t", End::Deny, vec![policy("p", "port0", rules)])]);
    let nets = ["198.51.100.0/24", "192.0.2.0/24"].map(|net| net.parse().expect("a prefix"));
    policies.sets.insert("known".into(), nets.into());
    assert_eq!(told(&policies, "port0", 1), "Allow: policy p, ingress rule 1");
    assert_eq!(told(&policies, "port0", 2), "Deny: end of tier t, ingress");
}

#[test]
fn what_is_true_of_all_ports_is_true_where_they_are_not_known() {
    let rules = vec![rule(Verb::Allow, 0..=79), rule(Verb::Allow, 80..=u16::MAX)];
    let mut policies = policies(vec![tier("t", End::Deny, vec![policy("p", "port0", rules)])]);
    let judged = |policies: &Policies, protocol| {
        let acl = Acl::compile(policies, None);
        let program = acl.port("port0").expect("a port").ingress.expect("a policy");
        let packet = Tuple { protocol, ..segment(7) };
        acl.program(program).judge_unknown_ports(&packet).map(|decision| decision.action)
    };
    assert_eq!(judged(&policies, 6), Some(Action::Allow), "by one rule or the other");
    assert_eq!(judged(&policies, 17), Some(Action::Deny));
    let rules = vec![rule(Verb::Allow, 0..=79), rule(Verb::Allow, 81..=u16::MAX)];
    policies.tiers[0].policies[0] = Arc::new(policy("p", "port0", rules));
    assert_eq!(judged(&policies, 6), None, "port 80 is closed");
    // Of how many rules it takes to tell there is an end: then it depends.
    let every_second = (0..1000).map(|i| rule(Verb::Deny, 2 * i..=2 * i)).collect();
    policies.tiers[0].policies[0] = Arc::new(policy("p", "port0", every_second));
    assert_eq!(judged(&policies, 6), None);
}

#[test]
fn ports_that_the_same_policies_select_share_a_program() {
    let mut policies = policies(vec![tier("t", End::Deny, vec![policy("p", "", vec![])])]);
    let ingress = |policies: &Policies| {
        let acl = Acl::compile(policies, None);
        ["port0", "port1", "host"].map(|port| acl.port(port).expect("a port").ingress)
    };
    let [a, b, host] = ingress(&policies);
    assert!(a.is_some() && a == b && b == host);
    policies.failsafe.ingress = vec![Service { protocol: 6, what: What::Any }];
    let [a, b, host] = ingress(&policies);
    assert!(a == b && b != host, "the node has failsafes in front");
    policies.tiers[0].policies.push(Arc::new(policy("q", "port1", vec![])));
    let [a, b, _] = ingress(&policies);
    assert!(a != b);
    let acl = Acl::compile(&policies, None);
    assert_eq!(acl.port("port2"), None, "there is no such port");
    assert_eq!(acl.port("port0").expect("a port").egress, None, "nothing is said of it");
}

#[test]
fn rules_that_stay_the_same_go_on_counting() {
    let rules = |last| vec![rule(Verb::Allow, 1..=1), rule(Verb::Allow, 2..=last)];
    let before = policies(vec![tier("t", End::Deny, vec![policy("p", "", rules(2))])]);
    let acl = Acl::compile(&before, None);
    for rule in acl.rules() {
        rule.stats.hit(1, 7);
        rule.stats.hit(1, 9);
    }
    // Another policy in front renumbers all; of the two rules the second changes.
    let other = policy("o", "", rules(2));
    let after = policies(vec![tier("t", End::Deny, vec![other, policy("p", "", rules(3))])]);
    let next = Acl::compile(&after, Some(&acl));
    let counted = |rule: &RuleInfo| (rule.to_string(), rule.stats.hits(), rule.stats.last());
    let counted = next.rules().iter().map(counted).collect::<Vec<_>>();
    let expected = [
        ("policy o, ingress rule 1", 0, 0),
        ("policy o, ingress rule 2", 0, 0),
        ("policy p, ingress rule 1", 2, 9),
        ("policy p, ingress rule 2", 0, 0),
        ("end of tier t, ingress", 2, 9),
        ("end of tier t, egress", 2, 9),
        ("ingress default", 2, 9),
        ("egress default", 2, 9),
    ];
    assert_eq!(counted, expected.map(|(name, hits, last)| (name.to_owned(), hits, last)));
    acl.rules()[0].stats.hit(1, 11);
    assert_eq!(next.rules()[2].stats.last(), 11, "one counter for both generations");
}

/// Many addresses, around each of which are many rules for any address.
#[test]
fn memory_grows_with_rules_and_not_with_their_square() {
    let memory = |count: u32| {
        let address = |i: u32| Party {
            block: Some((IpNet::from(IpAddr::V4((0x0a00_0000 + i * 97).into())), vec![])),
            ..Party::default()
        };
        let rules = (0..count).map(|i| Rule {
            from: if i % 2 == 0 { vec![] } else { vec![address(i)] },
            ..rule(Verb::Allow, (i * 13 % 60000) as u16..=(i * 13 % 60000) as u16)
        });
        let rules = rules.collect();
        let policies = policies(vec![tier("t", End::Deny, vec![policy("p", "port0", rules)])]);
        Acl::compile(&policies, None).memory()
    };
    let (few, many) = (memory(500), memory(4000));
    assert!(many < few * 12, "{few} bytes of 500 rules, {many} of 4,000");
}
