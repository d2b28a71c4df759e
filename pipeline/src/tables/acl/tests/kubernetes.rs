//! Kubernetes' NetworkPolicies, line by line, as its documentation has them.
//!
//! A namespace's name and labels stand among its pods' labels here, as `ns` and `ns.KEY`, so that a
//! podSelector and a namespaceSelector in one item are one selector.

use super::*;

/// A pod's name is its port's; `ns` is its namespace.
fn pod(ns: &str, name: &str, address: &str, labels: &str) -> Endpoint {
    let labels = format!("ns={ns} {labels}");
    let labels = labels.split_whitespace().map(|label| {
        let (key, value) = label.split_once('=').expect("key=value");
        (key.to_owned(), value.to_owned())
    });
    Endpoint {
        name: Some(name.into()),
        is_node: false,
        addresses: vec![address.parse().expect("an address")],
        labels: labels.collect(),
    }
}

/// Pods of three namespaces; `db` is whom the policies are for.
fn cluster(policies: Vec<Policy>) -> Policies {
    let policies = policies.into_iter().map(Arc::new).collect();
    Policies {
        tiers: vec![Tier { name: "kubernetes".into(), policies, end: End::Deny }],
        endpoints: vec![
            pod("default", "db", "10.244.1.2/32", "role=db"),
            pod("default", "frontend", "10.244.1.3/32", "role=frontend"),
            pod("default", "other", "10.244.1.4/32", "role=other"),
            pod("mine", "mine", "10.244.2.2/32", "role=backend ns.project=myproject"),
            pod("mine", "client", "10.244.2.3/32", "role=client ns.project=myproject"),
            pod("theirs", "theirs", "10.244.3.3/32", "role=client ns.project=theirs"),
        ],
        ..Policies::default()
    }
}

/// A policy of the default namespace for these pods, which says nothing yet.
fn policy(name: &str, pod_selector: &str) -> Policy {
    let comma = if pod_selector.is_empty() { "" } else { "," };
    let labels = Some(selector(&format!("ns=default{comma}{pod_selector}")));
    let subject = Subject { labels, ..Subject::default() };
    Policy { name: name.into(), applies_to: vec![subject], ingress: None, egress: None }
}

fn selector(text: &str) -> Selector {
    text.parse().expect("a selector")
}

fn labels(text: &str) -> Party {
    Party { labels: Some(selector(text)), ..Party::default() }
}

fn block(block: &str, except: &[&str]) -> Party {
    let net = |text: &str| -> IpNet { text.parse().expect("a prefix") };
    let except = except.iter().map(|text| net(text)).collect();
    Party { block: Some((net(block), except)), ..Party::default() }
}

fn tcp(port: u16) -> Service {
    Service { protocol: 6, what: What::Ports(port..=port) }
}

/// An item of `ingress`.
fn from(from: Vec<Party>, services: Vec<Service>) -> Rule {
    Rule { verb: Verb::Allow, from, to: vec![], services }
}

/// An item of `egress`.
fn to(to: Vec<Party>, services: Vec<Service>) -> Rule {
    Rule { verb: Verb::Allow, from: vec![], to, services }
}

/// Whether `db` takes a segment from this pod or address, by its own policies.
fn takes(policies: &Policies, from: &str, port: u16) -> bool {
    allows(policies, "db", Direction::Ingress, from, 6, port)
}

/// Whether `db` may send a segment there, by its own policies.
fn sends(policies: &Policies, to: &str, port: u16) -> bool {
    allows(policies, "db", Direction::Egress, to, 6, port)
}

/// Judges a packet between a port and another pod, or an address.
fn allows(
    policies: &Policies,
    port: &str,
    direction: Direction,
    other: &str,
    protocol: u8,
    service: u16,
) -> bool {
    let address = |name: &str| {
        let is_it = |endpoint: &&Endpoint| endpoint.name.as_deref() == Some(name);
        let pod = policies.endpoints.iter().find(is_it).map(|pod| pod.addresses[0].addr());
        pod.unwrap_or_else(|| name.parse().expect("a pod or an address"))
    };
    let (src, dst) = match direction {
        Direction::Ingress => (address(other), address(port)),
        Direction::Egress => (address(port), address(other)),
    };
    let acl = Acl::compile(policies, None);
    let packet = Tuple { src, dst, protocol, service };
    match *acl.port(port).expect("a port").of(direction) {
        Some(program) => judge(&acl, acl.program(program), &packet).action == Action::Allow,
        None => true,
    }
}

#[test]
fn a_pod_that_no_policy_selects_is_isolated_in_no_direction() {
    let other = Policy { ingress: Some(vec![]), egress: Some(vec![]), ..policy("p", "role=other") };
    let policies = cluster(vec![other]);
    assert!(takes(&policies, "frontend", 1) && takes(&policies, "8.8.8.8", 1));
    assert!(sends(&policies, "frontend", 1) && sends(&policies, "8.8.8.8", 1));
    let acl = Acl::compile(&policies, None);
    let db = acl.port("db").expect("a port");
    assert_eq!(db, Directed::default(), "nothing is asked of it");
}

#[test]
fn a_pod_is_isolated_only_in_the_directions_that_a_policy_says_something_about() {
    let ingress = cluster(vec![Policy { ingress: Some(vec![]), ..policy("p", "role=db") }]);
    assert!(!takes(&ingress, "frontend", 1) && sends(&ingress, "frontend", 1));
    let egress = cluster(vec![Policy { egress: Some(vec![]), ..policy("p", "role=db") }]);
    assert!(takes(&egress, "frontend", 1) && !sends(&egress, "frontend", 1));
    let neither = cluster(vec![policy("p", "role=db")]);
    assert!(takes(&neither, "frontend", 1) && sends(&neither, "frontend", 1));
}

#[test]
fn an_empty_pod_selector_selects_all_pods_of_the_namespace() {
    let policies = cluster(vec![Policy { ingress: Some(vec![]), ..policy("p", "") }]);
    for (pod, is_open) in [("db", false), ("other", false), ("mine", true), ("theirs", true)] {
        assert_eq!(allows(&policies, pod, Direction::Ingress, "8.8.8.8", 6, 1), is_open, "{pod}");
    }
}

#[test]
fn an_empty_item_allows_everything_whatever_other_policies_say() {
    let none = Policy { ingress: Some(vec![]), egress: Some(vec![]), ..policy("none", "") };
    let all = Policy {
        ingress: Some(vec![from(vec![], vec![])]),
        egress: Some(vec![to(vec![], vec![])]),
        ..policy("all", "")
    };
    for both in [vec![none.clone(), all.clone()], vec![all, none]] {
        let policies = cluster(both);
        assert!(takes(&policies, "8.8.8.8", 1) && sends(&policies, "8.8.8.8", 1));
        assert!(allows(&policies, "db", Direction::Ingress, "8.8.8.8", 47, 0));
    }
}

/// The example with which the documentation begins.
#[test]
fn the_documentations_example_does_what_it_says() {
    let policies = cluster(vec![Policy {
        ingress: Some(vec![from(
            vec![
                block("172.17.0.0/16", &["172.17.1.0/24"]),
                labels("ns.project=myproject"),
                labels("ns=default,role=frontend"),
            ],
            vec![tcp(6379)],
        )]),
        egress: Some(vec![to(vec![block("10.0.0.0/24", &[])], vec![tcp(5978)])]),
        ..policy("test-network-policy", "role=db")
    }]);
    let sources = [
        ("frontend", true),
        ("mine", true),
        ("client", true),
        ("other", false),
        ("theirs", false),
        ("172.17.0.0", true),
        ("172.17.0.255", true),
        ("172.17.1.0", false),
        ("172.17.1.255", false),
        ("172.17.2.0", true),
        ("172.17.255.255", true),
        ("172.18.0.0", false),
    ];
    for (source, is_allowed) in sources {
        assert_eq!(takes(&policies, source, 6379), is_allowed, "{source}");
        assert!(!takes(&policies, source, 6380), "from and ports must both match: {source}");
        assert!(!allows(&policies, "db", Direction::Ingress, source, 17, 6379), "UDP: {source}");
    }
    assert!(sends(&policies, "10.0.0.7", 5978));
    assert!(!sends(&policies, "10.0.0.7", 5979) && !sends(&policies, "10.0.1.0", 5978));
    // Others are as open as before.
    assert!(allows(&policies, "other", Direction::Ingress, "theirs", 6, 1));
}

#[test]
fn policies_add_up_in_any_order() {
    let one = |name: &str, role: &str, port| Policy {
        ingress: Some(vec![from(vec![labels(role)], vec![tcp(port)])]),
        ..policy(name, "role=db")
    };
    let (a, b) = (one("a", "role=frontend", 1), one("b", "role=other", 2));
    for both in [vec![a.clone(), b.clone()], vec![b, a]] {
        let policies = cluster(both);
        assert!(takes(&policies, "frontend", 1) && takes(&policies, "other", 2));
        assert!(!takes(&policies, "frontend", 2) && !takes(&policies, "other", 1));
    }
}

#[test]
fn items_of_ingress_are_or_ed_each_with_its_own_ports() {
    let policies = cluster(vec![Policy {
        ingress: Some(vec![
            from(vec![labels("role=frontend")], vec![tcp(1), tcp(2)]),
            from(vec![labels("role=other")], vec![]),
            from(vec![], vec![tcp(3)]),
        ]),
        ..policy("p", "role=db")
    }]);
    for (source, ports) in [("frontend", 1..=3), ("other", 0..=5), ("8.8.8.8", 3..=3)] {
        for port in 0..=5 {
            assert_eq!(takes(&policies, source, port), ports.contains(&port), "{source} {port}");
        }
    }
}

#[test]
fn both_selectors_of_one_item_are_and_ed_those_of_two_items_or_ed() {
    let ingress = |from_: Vec<Party>| {
        let ingress = Some(vec![from(from_, vec![])]);
        cluster(vec![Policy { ingress, ..policy("p", "role=db") }])
    };
    let one = ingress(vec![labels("ns.project=myproject,role=client")]);
    let two = ingress(vec![labels("ns.project=myproject"), labels("ns=default,role=client")]);
    for (source, in_one, in_two) in [
        ("client", true, true),
        ("mine", false, true),
        ("theirs", false, false),
        ("frontend", false, false),
    ] {
        assert_eq!(takes(&one, source, 1), in_one, "{source}");
        assert_eq!(takes(&two, source, 1), in_two, "{source}");
    }
    // A namespaceSelector alone selects all pods of all such namespaces, an empty one all pods, but
    // nobody else.
    let all = ingress(vec![labels("")]);
    assert!(takes(&all, "theirs", 1) && !takes(&all, "8.8.8.8", 1));
}

#[test]
fn an_exception_is_none_from_what_another_item_allows() {
    let policies = cluster(vec![Policy {
        egress: Some(vec![to(
            vec![
                block("0.0.0.0/0", &["10.0.0.0/8", "192.168.0.0/16"]),
                block("10.244.1.0/24", &["10.244.1.4/32"]),
                block("2001:db8::/32", &["2001:db8:1::/48"]),
            ],
            vec![],
        )]),
        ..policy("p", "role=db")
    }]);
    for (destination, is_allowed) in [
        ("8.8.8.8", true),
        ("9.255.255.255", true),
        ("10.0.0.0", false),
        ("frontend", true),
        ("other", false),
        ("10.244.2.2", false),
        ("11.0.0.0", true),
        ("192.168.7.7", false),
        ("2001:db8::1", true),
        ("2001:db8:1::1", false),
        ("2001:db9::1", false),
    ] {
        let endpoint = pod("default", "db", "2001:db8::2/128", "role=db");
        let mut policies = policies.clone();
        if destination.contains(':') {
            policies.endpoints[0] = endpoint;
        }
        assert_eq!(sends(&policies, destination, 1), is_allowed, "{destination}");
    }
}

#[test]
fn an_end_port_and_the_ports_between_are_meant() {
    let ports = Service { protocol: 6, what: What::Ports(32000..=32768) };
    let egress = Some(vec![to(vec![block("10.0.0.0/24", &[])], vec![ports])]);
    let policies = cluster(vec![Policy { egress, ..policy("p", "role=db") }]);
    for (port, is_allowed) in
        [(31999, false), (32000, true), (32500, true), (32768, true), (32769, false)]
    {
        assert_eq!(sends(&policies, "10.0.0.1", port), is_allowed, "{port}");
    }
}

#[test]
fn a_protocol_without_ports_is_all_of_that_protocol() {
    let services = vec![Service { protocol: 17, what: What::Any }, tcp(53)];
    let egress = Some(vec![to(vec![], services)]);
    let policies = cluster(vec![Policy { egress, ..policy("p", "role=db") }]);
    let sends =
        |protocol, port| allows(&policies, "db", Direction::Egress, "8.8.8.8", protocol, port);
    assert!(sends(17, 0) && sends(17, 65535) && sends(6, 53));
    assert!(!sends(6, 52) && !sends(6, 54) && !sends(132, 53) && !sends(1, 53));
}

#[test]
fn the_sources_egress_and_the_destinations_ingress_are_asked_apart() {
    let only = |name: &str, ingress, egress| Policy { ingress, egress, ..policy(name, "role=db") };
    // From `frontend` to `db`, where each of the two allows or does not.
    for (is_out, is_in) in [(true, true), (true, false), (false, true), (false, false)] {
        let rule = |is_allowed: bool, rule| if is_allowed { vec![rule] } else { vec![] };
        let out = Policy {
            egress: Some(rule(is_out, to(vec![labels("role=db")], vec![tcp(80)]))),
            ..policy("out", "role=frontend")
        };
        let into = rule(is_in, from(vec![labels("role=frontend")], vec![tcp(80)]));
        let policies = cluster(vec![out, only("in", Some(into), None)]);
        assert_eq!(allows(&policies, "frontend", Direction::Egress, "db", 6, 80), is_out);
        assert_eq!(takes(&policies, "frontend", 80), is_in);
        // Nobody is isolated for what comes back.
        assert!(sends(&policies, "frontend", 40000));
    }
}
