//! Compiled policies against the [`reference`]: random policies of small worlds, in which
//! everything collides.
//!
//! An ordinary run tries tens of thousands of packets, `make policies` a million.

use super::*;
use crate::tables::acl::program::MAX_SPANS;
use proptest::prelude::*;
use proptest::sample::select;

/// Packets for each case, on average, in either direction of each port.
const PACKETS: usize = 40;

/// So many of them without their ports, too: the reference has to try all ports there are.
const FRAGMENTS: usize = 1;

/// How much there is of what rules are made of.
#[derive(Clone, Copy)]
struct World {
    rules: usize,
    ports: u16,
    /// There are rules for all services, behind which others say nothing.
    has_any: bool,
}

/// Few rules, of which many match.
const SMALL: World = World { rules: 5, ports: 6, has_any: true };
/// Enough for tables of several levels, and of several tables one behind the other.
const LARGE: World = World { rules: 150, ports: 500, has_any: false };

fn v4() -> impl Strategy<Value = IpAddr> {
    let address = |bits: u32| IpAddr::V4(bits.into());
    prop_oneof![
        12 => (0..16_u32).prop_map(move |host| address(0x0a00_0000 | host)),
        1 => select(vec![address(0), address(u32::MAX)]),
    ]
}

fn v6() -> impl Strategy<Value = IpAddr> {
    let address = |bits: u128| IpAddr::V6(bits.into());
    prop_oneof![
        8 => (0..16_u128).prop_map(move |host| address(0xfd00 << 112 | host)),
        1 => select(vec![address(0), address(u128::MAX)]),
        // Numbers that IPv4 has, too.
        1 => (0..16_u128).prop_map(move |host| address(0x0a00_0000 | host)),
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![2 => v4(), 1 => v6()]
}

fn net() -> impl Strategy<Value = IpNet> {
    let host_bits = prop_oneof![6 => 0..5_u8, 1 => select(vec![8, 24, 32, 64, 112, 128])];
    (address(), host_bits).prop_map(|(address, host_bits)| {
        let width = if address.is_ipv4() { 32_u8 } else { 128 };
        IpNet::new(address, width.saturating_sub(host_bits)).expect("a length within the address")
    })
}

/// A prefix, and prefixes within it.
fn block() -> impl Strategy<Value = (IpNet, Vec<IpNet>)> {
    (net(), prop::collection::vec((any::<u128>(), 0..4_u8), 0..3)).prop_map(|(block, within)| {
        let except = |(host, longer): (u128, u8)| {
            let len = block.prefix_len().saturating_add(longer).min(block.max_prefix_len());
            let address = match (block.network(), block.hostmask()) {
                (IpAddr::V4(net), IpAddr::V4(mask)) => {
                    IpAddr::V4((net.to_bits() | host as u32 & mask.to_bits()).into())
                }
                (IpAddr::V6(net), IpAddr::V6(mask)) => {
                    IpAddr::V6((net.to_bits() | host & mask.to_bits()).into())
                }
                _ => unreachable!("a prefix is of one family"),
            };
            IpNet::new(address, len).expect("a length within the address")
        };
        (block, within.into_iter().map(except).collect())
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    let texts = ["", "a=x", "a!=x", "a in (x,y)", "!a", "b", "a=x,b", "b notin (y)", "a=z"];
    select(texts.to_vec()).prop_map(|text| text.parse().expect("a selector"))
}

fn labels() -> impl Strategy<Value = Labels> {
    let label = (select(vec!["a", "b"]), select(vec!["x", "y", ""]));
    prop::collection::vec(label, 0..3).prop_map(|labels| {
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    })
}

/// One of some names, of which the last stands for nothing.
fn name(prefix: &'static str) -> impl Strategy<Value = Arc<str>> {
    (0..4).prop_map(move |i| Arc::from(format!("{prefix}{i}")))
}

fn service(world: World) -> impl Strategy<Value = Service> {
    let ports = (0..world.ports, 0..4_u16, any::<bool>()).prop_map(|(first, more, is_end)| {
        What::Ports(if is_end { u16::MAX - more..=u16::MAX } else { first..=first + more })
    });
    let ports = (select(vec![6, 17]), ports);
    let icmp = (select(vec![1, 58]), 0..3_u8, prop::option::of(0..3_u8))
        .prop_map(|(protocol, kind, code)| (protocol, What::Icmp { kind, code }));
    let any = select(vec![0, 1, 6, 17, 47, 255]).prop_map(|protocol| (protocol, What::Any));
    prop_oneof![5 => ports, 2 => icmp, u32::from(world.has_any) => any]
        .prop_map(|(protocol, what)| Service { protocol, what })
}

fn party() -> impl Strategy<Value = Party> {
    let block = prop::option::weighted(0.5, block());
    let set = prop::option::weighted(0.3, name("set"));
    let labels = prop::option::weighted(0.2, selector());
    let port = prop::option::weighted(0.1, name("port"));
    (block, set, labels, port).prop_map(|(block, set, labels, port)| Party {
        block,
        set,
        labels,
        port,
    })
}

fn rule(world: World) -> impl Strategy<Value = Rule> {
    use prop::collection::vec;
    let verb = prop_oneof![
        4 => Just(Verb::Allow), 4 => Just(Verb::Deny), 1 => Just(Verb::Log), 1 => Just(Verb::Pass),
    ];
    let lists = || prop_oneof![1 => Just(vec![]).boxed(), 2 => vec(party(), 1..3).boxed()];
    let services = vec(service(world), usize::from(!world.has_any)..3);
    (verb, lists(), lists(), services).prop_map(|(verb, from, to, services)| Rule {
        verb,
        from,
        to,
        services,
    })
}

/// Rules that leave one end open, as nearly all do, so that more of them match.
fn rules(world: World, direction: Direction) -> impl Strategy<Value = Option<Vec<Rule>>> {
    let rule = (rule(world), prop::bool::weighted(0.7)).prop_map(move |(mut rule, is_open)| {
        if is_open {
            match direction {
                Direction::Ingress => rule.to.clear(),
                Direction::Egress => rule.from.clear(),
            }
        }
        rule
    });
    prop::option::weighted(0.8, prop::collection::vec(rule, 0..=world.rules))
}

fn subject() -> impl Strategy<Value = Subject> {
    let port = prop::option::weighted(0.3, name("port"));
    let labels = prop::option::weighted(0.4, selector());
    let prefix = prop::option::weighted(0.3, net());
    (port, labels, prefix).prop_map(|(port, labels, prefix)| Subject { port, labels, prefix })
}

fn policies(world: World) -> impl Strategy<Value = Policies> {
    use prop::collection::vec;
    let action = || select(vec![Action::Allow, Action::Deny]);
    let policy =
        (vec(subject(), 0..3), rules(world, Direction::Ingress), rules(world, Direction::Egress));
    let tier = (vec(policy, 0..4), select(vec![End::Deny, End::Pass]));
    let endpoint = (any::<bool>(), vec(net(), 0..3), labels());
    let failsafe = || vec(service(world), 0..2);
    (
        (vec(tier, 0..4), vec(vec(net(), 0..4), 3), vec(endpoint, 1..5)),
        (action(), action(), failsafe(), failsafe(), 0..4_usize),
    )
        .prop_map(|((tiers, sets, endpoints), (to, from, safe_to, safe_from, locals))| {
            Policies {
                tiers: tiers.into_iter().enumerate().map(tier_of).collect(),
                default: Directed { ingress: to, egress: from },
                failsafe: Directed { ingress: safe_to, egress: safe_from },
                sets: sets
                    .into_iter()
                    .enumerate()
                    .map(|(i, nets)| (format!("set{i}").into(), nets))
                    .collect(),
                endpoints: (endpoints.into_iter().enumerate())
                    .map(|(i, (is_node, addresses, labels))| Endpoint {
                        name: (i < locals.max(1)).then(|| format!("port{i}").into()),
                        is_node,
                        addresses,
                        labels,
                    })
                    .collect(),
            }
        })
}

type Written = (Vec<Subject>, Option<Vec<Rule>>, Option<Vec<Rule>>);

fn tier_of((tier, (policies, end)): (usize, (Vec<Written>, End))) -> Tier {
    let policy = |(i, (applies_to, ingress, egress)): (usize, Written)| {
        let name = format!("{tier}.{i}").into();
        Arc::new(Policy { name, applies_to, ingress, egress })
    };
    let policies = policies.into_iter().enumerate().map(policy).collect();
    Tier { name: tier.to_string().into(), policies, end }
}

fn packet(world: World) -> impl Strategy<Value = Tuple> {
    let addresses = prop_oneof![2 => [v4(), v4()], 1 => [v6(), v6()]];
    let port = prop_oneof![8 => 0..world.ports + 4, 1 => u16::MAX - 4..=u16::MAX];
    let message = (0..4_u16, 0..4_u16).prop_map(|(kind, code)| kind << 8 | code);
    let service = prop_oneof![
        5 => (select(vec![6, 17]), port),
        3 => (select(vec![1, 58]), message),
        1 => (select(vec![0, 47, 255]), Just(0)),
    ];
    (addresses, service).prop_map(|([src, dst], (protocol, service))| Tuple {
        src,
        dst,
        protocol,
        service,
    })
}

/// Every port's judgement on every packet is the reference's.
fn agree(policies: &Policies, packets: &[Tuple]) -> Result<(), TestCaseError> {
    let acl = Acl::compile(policies, None);
    for port in &policies.endpoints {
        let Some(programs) = port.name.as_ref().map(|name| acl.port(name).expect("its port"))
        else {
            continue;
        };
        for direction in Direction::ALL {
            for (i, packet) in packets.iter().enumerate() {
                let expected = reference::judge(policies, port, direction, packet);
                let Some(program) = *programs.of(direction) else {
                    let is_allowed = expected.action == Action::Allow;
                    prop_assert!(is_allowed && expected.on_the_way.is_empty(), "{:?}", expected);
                    continue;
                };
                let program = acl.program(program);
                let found = super::judge(&acl, program, packet);
                prop_assert_eq!(found, expected, "{} of {:?}: {:?}", direction, port.name, packet);

                if i >= FRAGMENTS {
                    continue;
                }
                let any = reference::judge_unknown_ports(policies, port, direction, packet);
                let is_same = any.iter().all(|judgement| judgement.action == any[0].action);
                match program.judge_unknown_ports(packet) {
                    None => prop_assert!(!is_same || any.len() > MAX_SPANS, "{:?}", packet),
                    Some(Decision { action, rule }) => {
                        let rule = &acl.rule(rule).origin;
                        let is_one =
                            any.iter().any(|one| (one.action, &one.rule) == (action, rule));
                        prop_assert!(is_same && is_one, "{:?} by {:?}: {:?}", action, rule, packet);
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn small_worlds_are_judged_as_the_reference_does(
        policies in policies(SMALL),
        packets in prop::collection::vec(packet(SMALL), 1..2 * PACKETS),
    ) {
        agree(&policies, &packets)?;
    }
}

/// The reference takes its time for large worlds.
fn fewer() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases / 8, ..config }
}

proptest! {
    #![proptest_config(fewer())]

    #[test]
    fn large_worlds_are_judged_as_the_reference_does(
        policies in policies(LARGE),
        packets in prop::collection::vec(packet(LARGE), 1..2 * PACKETS),
    ) {
        agree(&policies, &packets)?;
    }
}
