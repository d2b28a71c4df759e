//! Traces of what comes in in the scenarios: each must tell what then happens.

use crate::input::{Event, Step, parse};
use crate::node::{Leaving, Node, load};
use crate::{pool, root, scenarios, ways};
use cableway::control::trace::{Frame, Input, Outcome, Report, Tables, trace};
use cableway::packet::Packet;
use pipeline::drops::Reason;
use pipeline::snapshot::{Hop, NextHop, PortId};
use pipeline::testing::{TUN, World};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

/// Reasons that no trace comes to, and why.
const UNTRACED: &[(&str, &str)] = &[
    ("neighbour.crowded", REMEMBERED),
    ("neighbour.unresolved", REMEMBERED),
    ("neighbour.closed", REMEMBERED),
    ("finish.offload", "a trace's packet has no offload data"),
    ("tunnel.headroom", "a trace's packet has enough in front"),
    ("neighbour.headroom", "a trace's packet has enough in front"),
    ("finish.no_memory", "a trace has memory of its own"),
    ("port.full", "a trace has queues of its own"),
    ("port.no_memory", PORT),
    ("port.truncated", PORT),
    ("port.whole", PORT),
    ("port.offload", PORT),
    ("port.handover", PORT),
    ("port.refused", PORT),
    ("port.gone", PORT),
    ("settle.undecided", "no stage leaves a frame undecided"),
    ("settle.no_port", "no stage sends what it makes by a port that is not there"),
    ("settle.loop", "a station would have to come and go while the trace runs"),
    ("settle.flood", "a trace is of one packet"),
];

const REMEMBERED: &str = "stages remember who waits for a station, and since when: a trace is held";
const PORT: &str = "a port's own, in front of the stages or behind them";

/// A trace that was made before its frame came in.
pub(crate) struct Traced {
    report: Report,
    before: Vec<(Reason, u64)>,
    held: u64,
}

impl Traced {
    /// Of a batch that is one frame as a port receives it.
    pub(crate) fn of(batch: &[Step], node: &Node<'_>) -> Option<Traced> {
        let [Step { event: Event::Frame { port, count: 1, offload: None, bytes }, .. }] = batch
        else {
            return None;
        };
        let frame = Some(hex(bytes));
        let input = Input { port: Some(port.clone()), frame, ..Input::default() };
        let report = node.trace(&input).unwrap_or_else(|wrong| panic!("{wrong}"));
        Some(Traced { report, before: node.dropped(), held: node.held() })
    }

    /// Holds it against what happened.
    pub(crate) fn check(self, line: &str, node: &Node<'_>, left: &[(String, Leaving)]) {
        let new = node.dropped().into_iter().zip(&self.before);
        let new: BTreeSet<String> =
            new.filter(|(now, before)| now.1 > before.1).map(|(now, _)| now.0.name()).collect();
        let frames = &self.report.frames;
        let outcome = &frames[0].outcome;
        let happened = match outcome {
            Outcome::Sent { .. } => frames[..1].iter().all(|frame| has_left(frame, left)),
            Outcome::Dropped { reason, .. } => new.contains(reason),
            Outcome::Held => node.held() > self.held || new.contains("neighbour.crowded"),
            Outcome::Cut => frames[1..].iter().all(|frame| has_left(frame, left)),
        };
        assert!(happened, "{line}\nwas to be {outcome:?}; dropped for {new:?}");
        for made in frames[1..].iter().filter(|frame| frame.made_by.as_deref() != Some("ttl")) {
            // ICMP errors, which ttl makes, are limited.
            assert!(has_left(made, left), "{line}\nwas to make {made:?}");
        }
    }

    fn reasons(&self) -> impl Iterator<Item = String> {
        self.report.frames.iter().filter_map(|frame| match &frame.outcome {
            Outcome::Dropped { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }
}

/// Whether a frame is among those that left, byte by byte.
fn has_left(frame: &Frame, left: &[(String, Leaving)]) -> bool {
    let Outcome::Sent { port, .. } = &frame.outcome else { return false };
    let bytes = frame.steps.last().map_or(&frame.bytes, |step| &step.bytes);
    left.iter().any(|(by, leaving)| by == port && hex(&leaving.bytes) == *bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn traces_name_every_reason_that_they_can() {
    let (mut pool, mut named, mut produced) = (pool(), odd_reasons(), BTreeSet::new());
    for folder in scenarios() {
        let (_, reasons) = crate::play(&folder, &mut pool, |traced| named.extend(traced.reasons()));
        produced.extend(reasons.into_iter().map(Reason::name));
    }
    assert!(produced.len() > 30, "{produced:?}");
    let untraced: BTreeSet<_> = UNTRACED.iter().map(|(name, _)| (*name).to_owned()).collect();
    let declared: BTreeSet<_> = pipeline::drops::all().map(Reason::name).collect();
    let known = &named | &untraced;
    let unnamed: Vec<_> = (&declared | &produced).difference(&known).cloned().collect();
    assert!(unnamed.is_empty(), "no trace names {unnamed:?}, and UNTRACED does not say why");
    let stale: Vec<_> =
        untraced.iter().filter(|name| named.contains(*name) || !declared.contains(*name)).collect();
    assert!(stale.is_empty(), "{stale:?} are named by traces, or not declared");
}

/// Reasons that take tables which do not fit together, as no config makes them: traces name what is then counted.
fn odd_reasons() -> BTreeSet<String> {
    let leading = |hop| {
        let mut world = World::default();
        world.route([10, 98, 0, 1].into(), None, NextHop::new(hop));
        (world, "udp 10.244.1.3:1 > 10.98.0.1:9".to_owned())
    };
    let carrying = |mtu, more: &str| {
        let mut world = World::default();
        Arc::make_mut(&mut world.snapshot.peers)[0].mtu = mtu;
        (world, format!("udp 10.244.1.3:1 > 10.244.2.2:9 {more}"))
    };
    let odd = [
        (leading(Hop::Peer(9)), "tunnel.no_peer"),
        (leading(Hop::Neighbour(99)), "neighbour.no_neighbour"),
        (leading(Hop::Port(PortId(77))), "finish.no_port"),
        (carrying(9000, "len 1460 df"), "finish.too_big"),
        (carrying(68, "len 65000"), "ttl.fragments"),
    ];
    let name = |((mut world, packet), reason): ((World, String), &str)| {
        let tables = Tables { snapshot: &world.snapshot, now: world.now, prefix: &|_| None };
        let input =
            Input { port: Some("a2".into()), packet: Some(packet.clone()), ..Input::default() };
        let report = trace(&tables, &input).unwrap_or_else(|wrong| panic!("{wrong}"));
        let Outcome::Dropped { reason: traced, .. } = &report.frames[0].outcome else {
            panic!("{packet}: {report:#?}")
        };
        assert_eq!(traced, reason, "{packet}");
        let counted = pipeline::drops::all().find(|counted| counted.name() == *traced).unwrap();
        world.expect_drop(TUN, &packet.parse::<Packet>().unwrap().to_bytes(), counted);
        traced.clone()
    };
    odd.into_iter().map(name).collect()
}

/// The scenarios' node.
fn node(pool: &mut pipeline::frame::Pool) -> Node<'_> {
    Node::new(load(&root().join("node.toml")), &root(), pool)
}

#[test]
fn what_a_peer_sends_comes_by_its_tunnel() {
    let mut pool = pool();
    for (config, tunnel) in ways::configs() {
        let node = Node::new(config, &root(), &mut pool);
        for packet in
            ["tcp 10.244.2.2:80 > 10.244.1.2:40000", "icmpv6 fd00:10:244:2::2 > fd00:10:244:1::3"]
        {
            let input =
                Input { peer: Some("b".into()), packet: Some(packet.into()), ..Input::default() };
            let report = node.trace(&input).unwrap_or_else(|wrong| panic!("{wrong}"));
            let [frame] = &report.frames[..] else { panic!("{report:#?}") };
            let Outcome::Sent { port, packet: sent } = &frame.outcome else {
                panic!("by {tunnel}: {frame:#?}")
            };
            assert_eq!(report.port, "eth0");
            assert!(["a1", "a2"].contains(&port.as_str()), "{port}");
            let words: Vec<_> = packet.split(" > ").collect();
            assert!(sent.contains(words[0]) && sent.contains(" ttl 63 "), "{sent}");
            let decap = frame.steps.iter().find(|step| step.stage == "decap").unwrap();
            let found = decap.found.as_deref().unwrap();
            assert!(
                found.starts_with("from peer b") && found.contains(&tunnel),
                "{found}: {tunnel}"
            );
        }
    }
}

#[test]
fn steps_are_told_by_name() {
    let mut pool = pool();
    let node = node(&mut pool);
    let packet = "tcp 10.244.1.2:40000 > 10.244.2.2:80 syn";
    let input = Input { port: Some("a1".into()), packet: Some(packet.into()), ..Input::default() };
    let report = node.trace(&input).unwrap();
    let steps = report.frames[0].steps.iter().map(|step| {
        let words = [&step.looked_up, &step.found].map(|words| words.as_deref().unwrap_or("-"));
        format!("{}: {}: {}", step.stage, words[0], words[1])
    });
    let expected = [
        "parse: 54 bytes from port a1 (Ethernet, for 02:00:00:00:00:01): \
         tcp 10.244.1.2:40000 > 10.244.2.2:80 syn ttl 64 len 40",
        "decap: -: -",
        "resolve: -: -",
        "route: the route to 10.244.2.2: 10.244.2.0/24 leads to peer b; 10.244.1.2 is the port's own",
        "acl: -: -",
        "ttl: ttl 64, and 40 bytes for a way of 1450: ttl 63, and it fits",
        "tunnel: the tunnel to peer b: tunnel vxlan (vxlan 1), 192.168.77.1 > 192.168.77.2: \
         50 bytes in front",
        "neighbour: the MAC of 192.168.77.2 on port eth0: 02:00:00:00:00:0b, permanent",
        "finish: what port eth0 takes: packets of 1500 bytes: as it is",
    ];
    assert_eq!(steps.collect::<Vec<_>>(), expected);
}

#[test]
fn policies_and_flows_are_told_by_name() {
    let (mut pool, folder) = (pool(), root().join("policy"));
    let mut node = Node::new(load(&folder.join("node.toml")), &folder, &mut pool);
    let told = |node: &Node<'_>, port: &str, packet: &str| {
        let (port, packet) = (Some(port.to_owned()), Some(packet.to_owned()));
        let report = node.trace(&Input { port, packet, ..Input::default() }).unwrap();
        let step = report.frames[0].steps.iter().find(|step| step.stage == "acl").unwrap();
        let words = [&step.looked_up, &step.found].map(|words| words.as_deref().unwrap_or("-"));
        words.join(": ")
    };
    let call = "tcp 10.244.1.2:4000 > 10.244.1.3:80 syn";
    let allowed = "who may go from port a1 to port a2: policy web, ingress rule 1 allows it";
    // Twice the same: the first one has left nothing.
    assert_eq!(told(&node, "a1", call), allowed);
    assert_eq!(told(&node, "a1", call), allowed);
    assert_eq!(
        told(&node, "a1", "udp 10.244.1.2:4000 > 10.244.1.3:80"),
        "who may go from port a1 to port a2: end of tier default, ingress denies it"
    );
    assert_eq!(
        told(&node, "a3", "udp 10.244.1.4:4000 > 10.244.2.2:53"),
        "who may go from port a3 to peer b: policy other, egress rule 1 allows it"
    );
    assert_eq!(
        told(&node, "host", "udp 10.244.1.254:4000 > 10.244.1.3:80"),
        "who may go from port host to port a2: the node itself may reach its pods"
    );
    let steps = parse(&fs::read_to_string(folder.join("in.txt")).unwrap()).unwrap();
    node.step(&steps[..1]);
    assert_eq!(
        told(&node, "a2", "tcp 10.244.1.3:80 > 10.244.1.2:4000 syn ack"),
        "who may go from port a2 to port a1: a flow, seen 0 s ago, which passes"
    );
}

#[test]
fn a_trace_changes_nothing() {
    let mut pool = pool();
    let mut node = node(&mut pool);
    node.forget();
    // The pod that is asked for is not asked twice: each trace begins with what the node knows.
    let packet = "udp 10.244.1.3:1 > 10.244.1.2:9";
    let input = Input { port: Some("a2".into()), packet: Some(packet.into()), ..Input::default() };
    for _ in 0..100 {
        let report = node.trace(&input).unwrap();
        let [frame, asked] = &report.frames[..] else { panic!("{report:#?}") };
        assert_eq!(frame.outcome, Outcome::Held);
        assert!(asked.packet.contains("arp who-has 10.244.1.2 tell 10.244.1.1"), "{asked:?}");
        assert_eq!(asked.made_by.as_deref(), Some("neighbour"));
    }
    assert_eq!((node.held(), node.reasons().len()), (0, 0));
    // An ARP packet that a trace has seen taught the node nothing.
    let arp = "020000000001 020000000102 0806 0001080006040001 020000000102 0af40102 000000000000 0af40101";
    let input = Input { port: Some("a1".into()), frame: Some(arp.into()), ..Input::default() };
    let report = node.trace(&input).unwrap();
    let Outcome::Sent { port, packet } = &report.frames[0].outcome else { panic!("{report:#?}") };
    assert!(port == "a1" && packet.contains("arp 10.244.1.1 is-at 02:00:00:00:00:01"), "{packet}");
    assert!(node.knows_no_pod());
}

#[test]
fn what_stages_make_is_told() {
    let mut pool = pool();
    let node = node(&mut pool);
    let trace = |packet: &str| {
        let packet = Some(packet.to_owned());
        let input = Input { port: Some("a2".into()), packet, ..Input::default() };
        node.trace(&input).unwrap().frames
    };
    let [frame, error] = &trace("udp 10.244.1.3:1 > 10.244.2.2:9 ttl 1")[..] else { panic!() };
    let Outcome::Dropped { reason, .. } = &frame.outcome else { panic!("{frame:?}") };
    assert_eq!(reason, "ttl.expired");
    assert_eq!(error.made_by.as_deref(), Some("ttl"));
    assert!(error.packet.starts_with("icmp 10.244.1.1 > 10.244.1.3 time-exceeded"), "{error:?}");
    assert!(matches!(&error.outcome, Outcome::Sent { port, .. } if port == "a2"));
    let frames = trace("udp 10.244.1.3:1 > 10.244.2.2:9 len 3000");
    assert_eq!((frames.len(), &frames[0].outcome), (4, &Outcome::Cut), "{frames:#?}");
    assert!(frames[1..].iter().all(|part| matches!(part.outcome, Outcome::Sent { .. })));
}

#[test]
fn wrong_inputs_are_told() {
    let mut pool = pool();
    let node = node(&mut pool);
    let (port, packet) = (Some("a1".to_owned()), Some("icmp 10.0.0.1 > 10.0.0.2".to_owned()));
    let plain = Input { port, packet, ..Input::default() };
    let none = || Input { packet: None, ..plain.clone() };
    let hex = |text: &str| Some(text.to_owned());
    let cases = [
        (Input { port: hex("a9"), ..plain.clone() }, "/port", "one of eth0, a1, a2, a3"),
        (Input { peer: hex("z"), ..plain.clone() }, "/peer", "one of b, c"),
        (Input { port: None, ..plain.clone() }, "/port", "a port, or a peer"),
        (Input { packet: hex("icmp 10.0.0.1"), ..plain.clone() }, "/packet", "^ expected `>`"),
        (Input { ip: hex("45"), ..plain.clone() }, "", "one of `packet`, `ip` and `frame`"),
        (none(), "", "one of `packet`, `ip` and `frame`"),
        (Input { frame: hex("4g"), ..none() }, "/frame", "two digits each"),
        (Input { ip: hex("455"), ..none() }, "/ip", "two digits each"),
        (Input { frame: hex("45"), peer: hex("b"), ..none() }, "/frame", "`packet` or `ip`"),
        (Input { ip: Some("00".repeat(70_000)), ..none() }, "", "expected 65549 at most"),
    ];
    for (input, pointer, message) in cases {
        let wrong = node.trace(&input).unwrap_err();
        assert!(wrong.pointer == pointer && wrong.message.contains(message), "{wrong:?}");
    }
}
