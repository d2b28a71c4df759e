//! The table against a model, under floods, and with several threads at once.
#![allow(clippy::unwrap_used)]

use super::*;
use encap::wire::protocol::{ICMPV4, ICMPV6, TCP, UDP};
use encap::wire::tcp::flag::{ACK, FIN, RST, SYN};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SECOND: u64 = 1_000_000_000;
const NONE: Flags = Flags(0);
const JUDGED: Judged = Judged { generation: 7, egress: 11, ingress: 13 };

fn v4(last: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0af4_0000 | last).into()
}

fn v6(last: u128) -> IpAddr {
    Ipv6Addr::from_bits(0xfd00 << 112 | last).into()
}

/// A flow of a client to port 80, as either end sees it.
fn ends(client: u32, protocol: u8) -> [(Key, Side); 2] {
    let (src, dst, port) = (v4(client >> 8 & 0xffff), v4(0x1_0000), 1024 + (client & 0xff) as u16);
    [Key::new(src, dst, protocol, port, 80), Key::new(dst, src, protocol, 80, port)]
}

/// What the tests do with a table, by its defaults.
struct Table {
    flows: Flows,
    timeouts: Timeouts,
}

impl Table {
    /// Frees every flow, as after an eternity of silence.
    fn forget_all(&self) {
        self.flows.expire(0..self.flows.buckets(), &self.timeouts, u64::MAX);
    }

    fn new(most: usize) -> Table {
        Table { flows: Flows::new(most, 1), timeouts: Timeouts::default() }
    }

    fn pass(&self, end: (Key, Side), flags: u8, now: u64) -> Option<Hit> {
        self.flows.pass(&self.flows.sighting(end, Flags(flags)), &self.timeouts, now)
    }

    fn keep(&self, end: (Key, Side), flags: u8, now: u64) -> Kept {
        let sighting = self.flows.sighting(end, Flags(flags));
        let mut counters = Counters::default();
        let kept = self.flows.keep(&sighting, JUDGED, &self.timeouts, now, &mut counters);
        self.flows.count(counters);
        kept
    }

    fn state(&self, end: (Key, Side), now: u64) -> Option<State> {
        self.flows.peek(&end.0, &self.timeouts, now).map(|flow| flow.state)
    }

    fn all(&self, now: u64) -> Vec<Flow> {
        self.flows.iter(&self.timeouts, now).collect()
    }

    /// A connection that stands.
    fn connect(&self, [client, server]: [(Key, Side); 2], now: u64) {
        assert_eq!(self.keep(client, SYN, now), Kept::Made);
        assert!(self.pass(server, SYN | ACK, now).is_some());
        assert_eq!(self.pass(client, ACK, now).map(|hit| hit.state), Some(State::Established));
    }
}

#[test]
fn both_directions_find_the_same_flow() {
    let table = Table::new(64);
    for (src, dst) in [(v4(1), v4(2)), (v4(2), v4(1)), (v6(1), v6(2)), (v6(2), v6(1))] {
        let (there, back) = (Key::new(src, dst, UDP, 9, 53), Key::new(dst, src, UDP, 53, 9));
        assert_eq!(there.0, back.0);
        assert!(table.pass(there, 0, 0).is_none());
        assert_eq!(table.keep(there, 0, 0), Kept::Made);
        assert_eq!(table.keep(there, 0, 0), Kept::Known);
        let hit = table.pass(there, 0, 0).unwrap();
        assert_eq!((hit.by, hit.state, hit.judged), (Party::Initiator, State::Unreplied, JUDGED));
        let hit = table.pass(back, 0, 0).unwrap();
        assert_eq!((hit.by, hit.state, hit.judged), (Party::Responder, State::Replied, JUDGED));
        table.forget_all();
        assert!(table.pass(back, 0, 0).is_none());
    }
    assert_eq!(table.flows.counters().live(), 0);
}

#[test]
fn what_differs_is_another_flow() {
    let mapped = |last: u32| Ipv4Addr::from_bits(0x0af4_0000 | last).to_ipv6_mapped().into();
    let keys = [
        Key::new(v4(1), v4(2), UDP, 1, 2),
        Key::new(v4(1), v4(3), UDP, 1, 2),
        Key::new(v4(1), v4(2), TCP, 1, 2),
        Key::new(v4(1), v4(2), UDP, 2, 1),
        Key::new(mapped(1), mapped(2), UDP, 1, 2),
        Key::datagram(v4(1), v4(2), UDP, 0x1_0002),
        Key::datagram(v4(2), v4(1), UDP, 0x1_0002),
        Key::query(v4(1), v4(2), ICMPV4, 8, 1).unwrap(),
        Key::query(v4(1), v4(2), ICMPV4, 8, 2).unwrap(),
        Key::query(v4(1), v4(2), ICMPV4, 13, 1).unwrap(),
        Key::query(v4(2), v4(1), ICMPV4, 8, 1).unwrap(),
        Key::query(v6(1), v6(2), ICMPV6, 128, 1).unwrap(),
    ];
    assert_eq!(keys.iter().map(|(key, _)| key).collect::<HashSet<_>>().len(), keys.len());
    for (protocol, icmp_type) in [(ICMPV4, 3), (ICMPV4, 128), (ICMPV6, 8), (UDP, 8)] {
        assert!(Key::query(v4(1), v4(2), protocol, icmp_type, 1).is_none());
    }
}

/// A reply passes; a query of the one that was asked is its own flow, though the identifier is the
/// same; and a reply that nobody asked for begins none.
#[test]
fn a_query_is_answered_by_replies_only() {
    for (protocol, a, b, query, reply) in [
        (ICMPV4, v4(1), v4(2), 8, 0),
        (ICMPV4, v4(2), v4(1), 13, 14),
        (ICMPV6, v6(1), v6(2), 128, 129),
    ] {
        let table = Table::new(64);
        let key = |src, dst, icmp_type| Key::query(src, dst, protocol, icmp_type, 77).unwrap();
        assert_eq!(table.keep(key(b, a, reply), 0, 0), Kept::Needless);
        assert_eq!(table.keep(key(a, b, query), 0, 0), Kept::Made);
        let hit = table.pass(key(b, a, reply), 0, 0).unwrap();
        assert_eq!((hit.by, hit.state), (Party::Responder, State::Replied));
        assert!(table.pass(key(b, a, query), 0, 0).is_none());
        assert!(table.pass(key(a, b, reply), 0, 0).is_none());
    }
}

#[test]
fn a_datagrams_fragments_pass_in_its_own_direction() {
    let table = Table::new(64);
    assert_eq!(table.keep(Key::datagram(v4(1), v4(2), UDP, 9), 0, 0), Kept::Made);
    let pass = |src, dst| table.pass(Key::datagram(src, dst, UDP, 9), 0, 29 * SECOND);
    assert!(pass(v4(1), v4(2)).is_some());
    assert!(pass(v4(2), v4(1)).is_none());
    assert_eq!(table.all(0)[0].numbers, Numbers::Datagram { identification: 9 });
}

#[test]
fn each_state_is_over_in_its_time() {
    let [client, server] = ends(3, TCP);
    let timeouts = Timeouts {
        tcp_opening: 3,
        tcp_established: 70,
        tcp_fin_wait: 11,
        tcp_time_wait: 13,
        tcp_reset: 2,
        udp: 5,
        udp_replied: 7,
        icmp: 17,
        other: 19,
        fragments: 23,
    };
    let [udp, udp_back] = ends(3, UDP);
    let [gre, gre_back] = [(v4(1), v4(2)), (v4(2), v4(1))].map(|(a, b)| Key::new(a, b, 47, 0, 0));
    let ping = Key::query(v4(1), v4(2), ICMPV4, 8, 1).unwrap();
    let pong = Key::query(v4(2), v4(1), ICMPV4, 0, 1).unwrap();
    let open = [(client, SYN), (server, SYN | ACK), (client, ACK)];
    let fin = [(client, FIN | ACK), (server, FIN | ACK)];
    type Packets<'a> = &'a [((Key, Side), u8)];
    let all: &[(Packets, u64)] = &[
        (&open[..1], 3),
        (&open[..2], 3),
        (&open, 70),
        (&[(client, ACK)], 3),
        (&[&open[..], &fin[..1]].concat(), 11),
        (&[&open[..], &fin].concat(), 13),
        (&[&open[..], &[(server, RST)]].concat(), 2),
        (&[(udp, 0)], 5),
        (&[(udp, 0), (udp_back, 0)], 7),
        (&[(ping, 0)], 17),
        (&[(ping, 0), (pong, 0)], 17),
        (&[(gre, 0)], 19),
        (&[(gre, 0), (gre_back, 0)], 19),
        (&[(Key::datagram(v4(1), v4(2), UDP, 9), 0)], 23),
    ];
    for (packets, seconds) in all {
        let table = Table { timeouts, ..Table::new(64) };
        let start = 1_234 * SECOND;
        let [(first, flags), rest @ ..] = packets else { unreachable!() };
        assert_eq!(table.keep(*first, *flags, start), Kept::Made);
        for &(packet, flags) in rest {
            assert!(table.pass(packet, flags, start).is_some());
        }
        let (before, after) = (start + seconds * SECOND, start + seconds * SECOND + SECOND);
        assert_eq!(table.all(before).len(), 1, "{packets:?}");
        assert_eq!(table.flows.expire(0..64, &timeouts, before), 1);
        assert!(table.state(*first, before).is_some());
        assert!(table.state(*first, after).is_none() && table.all(after).is_empty());
        assert!(table.pass(*first, 0, after).is_none());
        assert_eq!(table.flows.counters().live(), 1);
        assert_eq!(table.flows.expire(0..64, &timeouts, after), 0);
        let counters = table.flows.counters();
        assert_eq!((counters.live(), counters.expired), (0, 1));
    }
}

#[test]
fn a_packet_keeps_its_flow_and_an_old_one_does_not_make_it_older() {
    let table = Table::new(64);
    let [there, back] = ends(1, UDP);
    table.keep(there, 0, 0);
    for second in 1..100 {
        assert!(table.pass(there, 0, second * 20 * SECOND).is_some());
    }
    let last = 99 * 20 * SECOND;
    // Another worker's clock may be a little behind.
    assert!(table.pass(back, 0, last - 10 * SECOND).is_some());
    assert!(table.pass(back, 0, last + 119 * SECOND).is_some());
    let flow = table.all(last + 119 * SECOND)[0];
    assert_eq!((flow.idle, flow.left, flow.judged), (0, 120, JUDGED));
    assert!((2098..=2099).contains(&flow.age), "{flow:?}");
}

#[test]
fn a_call_after_the_end_is_judged_and_kept_anew() {
    let table = Table::new(64);
    let [client, server] = ends(1, TCP);
    table.connect([client, server], 0);
    let old = table.pass(client, ACK, 0).unwrap();
    table.pass(client, FIN | ACK, 0);
    table.pass(server, FIN | ACK, 0);
    // The end that was called calls: it is the initiator now.
    assert!(table.pass(server, SYN, SECOND).is_none());
    assert_eq!(table.keep(server, SYN, SECOND), Kept::Made);
    assert_eq!(table.pass(client, SYN | ACK, SECOND).unwrap().state, State::SynReceived);
    assert_eq!(table.pass(server, ACK, SECOND).unwrap().by, Party::Initiator);
    let counters = table.flows.counters();
    assert_eq!((counters.made, counters.replaced, counters.live()), (2, 1, 1));
    // What was found before concerns this one no longer.
    table.flows.rejudge(&old, Judged { generation: 9, ..JUDGED });
    assert_eq!(table.pass(client, ACK, SECOND).unwrap().judged, JUDGED);
    // A call to an end that has not closed leaves the connection, whatever the policies say.
    assert!(table.pass(client, SYN, SECOND).is_none());
    assert_eq!(table.keep(client, SYN, SECOND), Kept::Known);
    assert_eq!(table.state(client, SECOND), Some(State::Established));
}

#[test]
fn a_call_tells_who_began_what_was_met_in_its_midst() {
    let table = Table::new(64);
    let [client, server] = ends(1, TCP);
    assert_eq!(table.keep(server, ACK, 0), Kept::Made);
    assert!(table.pass(client, SYN, 0).is_none());
    assert_eq!(table.keep(client, SYN, 0), Kept::Made);
    assert_eq!(table.pass(server, SYN | ACK, 0).unwrap().by, Party::Responder);
    let counters = table.flows.counters();
    assert_eq!((counters.replaced, counters.live()), (1, 1));
}

#[test]
fn a_flow_gets_another_verdict() {
    let table = Table::new(64);
    let [client, server] = ends(1, TCP);
    table.connect([client, server], 0);
    let hit = table.pass(server, ACK, 0).unwrap();
    let judged = Judged { generation: 8, egress: 1, ingress: u32::MAX };
    table.flows.rejudge(&hit, judged);
    let after = table.pass(client, ACK, 0).unwrap();
    assert_eq!((after.judged, after.state), (judged, State::Established));
    assert_eq!(table.all(0)[0].judged, judged);
}

#[test]
fn a_listed_flow_is_its_initiators() {
    let table = Table::new(64);
    let there = Key::new(v4(9), v4(1), TCP, 4000, 80);
    table.keep(there, SYN, 0);
    let expected = Flow {
        source: v4(9),
        destination: v4(1),
        protocol: TCP,
        numbers: Numbers::Ports { source: 4000, destination: 80 },
        state: State::SynSent,
        age: 0,
        idle: 0,
        left: 60,
        judged: JUDGED,
    };
    assert_eq!(table.all(0), [expected]);
    assert_eq!(table.flows.peek(&there.0, &table.timeouts, 0), Some(expected));
}

#[test]
fn a_sketch_changes_nothing_below() {
    let table = Table::new(64);
    let timeouts = table.timeouts;
    let [client, server] = ends(1, TCP);
    table.connect([client, server], 0);
    let below = Arc::new(table.flows);
    let before = (below.counters(), below.iter(&timeouts, 0).collect::<Vec<_>>());
    let sketch = Table { flows: below.sketch(), timeouts };
    assert_eq!(sketch.state(client, 0), Some(State::Established));
    let hit = sketch.pass(server, FIN | ACK, SECOND).unwrap();
    assert_eq!((hit.state, hit.judged), (State::CloseWait, JUDGED));
    sketch.flows.rejudge(&hit, Judged::default());
    assert_eq!(sketch.pass(client, FIN | ACK, SECOND).unwrap().judged, Judged::default());
    assert_eq!(sketch.state(client, SECOND), Some(State::TimeWait));
    assert_eq!(sketch.keep(ends(2, UDP)[0], 0, 0), Kept::Made);
    assert_eq!(sketch.keep(client, SYN, 0), Kept::Made);
    assert_eq!((below.counters(), below.iter(&timeouts, 0).collect::<Vec<_>>()), before);
    // What is over below is not revived.
    let later = 100_000 * SECOND;
    assert!(below.sketch().pass(&below.sighting(client, Flags(ACK)), &timeouts, later).is_none());
}

/// What a full table lets go, from the least to the most.
#[test]
fn the_least_goes_first() {
    let table = Table::new(16);
    let connections: Vec<_> = (0..4).map(|i| ends(i, TCP)).collect();
    for ends in &connections {
        table.connect(*ends, 0);
    }
    let half_open: Vec<_> = (4..8).map(|i| ends(i, TCP)[0]).collect();
    for (i, end) in half_open.iter().enumerate() {
        assert_eq!(table.keep(*end, SYN, (i as u64 + 1) * SECOND), Kept::Made);
    }
    let closing: Vec<_> = (8..12).map(|i| ends(i, TCP)).collect();
    for ends in &closing {
        table.connect(*ends, 5 * SECOND);
        table.pass(ends[1], RST, 5 * SECOND);
    }
    let streams: Vec<_> = (12..16).map(|i| ends(i, UDP)).collect();
    for (i, [there, back]) in streams.iter().enumerate() {
        let now = (i as u64 + 6) * SECOND;
        assert_eq!(table.keep(*there, 0, now), Kept::Made);
        assert!(table.pass(*back, 0, now).is_some());
    }
    assert_eq!(table.all(9 * SECOND).len(), 16);
    // Each that comes stays, and makes one go.
    let mut come = (16..).map(|i| ends(i, TCP));
    let mut push = |now| table.connect(come.next().unwrap(), now);
    for (i, end) in half_open.iter().enumerate() {
        assert!(table.state(*end, 9 * SECOND).is_some());
        push(9 * SECOND);
        assert!(table.state(*end, 9 * SECOND).is_none(), "{i}");
    }
    assert_eq!(table.flows.counters().evicted_half_open, 4);
    (0..2).for_each(|_| push(9 * SECOND));
    assert_eq!(table.flows.counters().evicted_closing, 2);
    // Resets are over after ten seconds.
    (0..2).for_each(|_| push(17 * SECOND));
    assert_eq!(table.flows.counters().expired, 2);
    (0..4).for_each(|_| push(17 * SECOND));
    assert!(connections.iter().all(|[client, _]| table.state(*client, 17 * SECOND).is_none()));
    push(17 * SECOND);
    assert!(table.state(streams[0][0], 17 * SECOND).is_none());
    assert!(table.state(streams[1][0], 17 * SECOND).is_some());
    let counters = table.flows.counters();
    assert_eq!((counters.evicted_live, counters.live(), counters.not_kept), (5, 16, 0));
}

/// Who goes through the table from time to time keeps old what is old.
#[test]
fn the_oldest_goes_first_however_old_it_is() {
    let table = Table::new(16);
    let half_open = |i| ends(i, TCP)[0];
    let end = 40;
    for second in 0..=end {
        // One in the beginning, the others as late as they may look older than that.
        let come = if second == 0 {
            0..1
        } else if second == end - 4 {
            1..16
        } else {
            0..0
        };
        for i in come {
            assert_eq!(table.keep(half_open(i), SYN, second * SECOND), Kept::Made);
        }
        table.flows.expire(0..64, &table.timeouts, second * SECOND);
    }
    assert_eq!(table.keep(half_open(16), SYN, end * SECOND), Kept::Made);
    let is_there = |i: &u32| table.state(half_open(*i), end * SECOND).is_some();
    assert!((1..=16).all(|i| is_there(&i)) && !is_there(&0));
}

/// The share of the table that is taken when the first flow must go.
#[test]
fn two_homes_fill_most_of_the_table() {
    let table = Table::new(1 << 16);
    let is_room = |i: &u32| {
        table.keep(ends(*i, UDP)[0], 0, 0);
        table.flows.counters().evicted_half_open == 0
    };
    let kept = (0..).take_while(is_room).count();
    assert!(kept > (1 << 16) * 2 / 3, "{kept}");
}

/// Half-open flows, ten times as many as there is room for, beside connections in half of it.
#[test]
fn connections_survive_a_flood() {
    let table = Table::new(4096);
    let mut now = 0;
    for i in 0..2048 {
        table.connect(ends(i, TCP), now);
    }
    for i in 0..40_960 {
        now += SECOND / 10_000;
        table.keep(ends(0x10_0000 + i, TCP)[0], SYN, now);
    }
    let standing = |i: &u32| table.state(ends(*i, TCP)[0], now) == Some(State::Established);
    assert_eq!((0..2048).filter(standing).count(), 2048);
    let counters = table.flows.counters();
    assert_eq!((counters.evicted_live, counters.not_kept), (0, 0));
    assert!(counters.live() <= 4096 && table.all(now).len() <= 4096);
    assert_eq!(counters.live(), table.all(now).len() as u64);
}

/// What a packet does to a model that has room for everything.
#[derive(Default)]
struct Model {
    flows: HashMap<Key, (State, Side, u32)>,
}

impl Model {
    /// The state after the packet, or that it is to be judged.
    fn pass(&mut self, (key, side): (Key, Side), flags: Flags, now: u64) -> Option<State> {
        let timeouts = Timeouts::default();
        self.flows
            .retain(|key, (state, _, seen)| !is_over(key, *state, *seen, &timeouts, tick(now)));
        let (state, began, seen) = self.flows.get_mut(&key)?;
        let by = if *began == side { Party::Initiator } else { Party::Responder };
        *state = state.next(&key, by, flags)?;
        *seen = tick(now);
        Some(*state)
    }

    fn keep(&mut self, (key, side): (Key, Side), flags: Flags, now: u64) -> Kept {
        let Some(state) = State::first(&key, side, flags) else { return Kept::Needless };
        if let Some((known, began, _)) = self.flows.get(&key) {
            let by = if *began == side { Party::Initiator } else { Party::Responder };
            let is_over = matches!(known, State::TimeWait | State::Aborted | State::Refused);
            // Of one that was met in its midst nobody knows who began it, before a call.
            let gives_way = is_over || *known == State::Unreplied;
            if !gives_way || known.next(&key, by, flags).is_some() {
                return Kept::Known;
            }
        }
        self.flows.insert(key, (state, side, tick(now)));
        Kept::Made
    }
}

fn packet() -> impl Strategy<Value = ((Key, Side), Flags)> {
    let tcp = prop::sample::select(vec![SYN, SYN | ACK, ACK, RST, FIN | ACK]);
    let ends_of =
        |protocol| (0..12_u32, 0..2_usize).prop_map(move |(i, way)| ends(i, protocol)[way]);
    let ping = (1..4_u32, 1..4_u32, prop::bool::ANY).prop_map(|(a, b, is_reply)| {
        Key::query(v4(a), v4(b), ICMPV4, if is_reply { 0 } else { 8 }, 5).unwrap()
    });
    prop_oneof![
        (ends_of(TCP), tcp).prop_map(|(end, flags)| (end, Flags(flags))),
        ends_of(UDP).prop_map(|end| (end, NONE)),
        ping.prop_map(|end| (end, NONE)),
        (1..4_u32, 0..4_u32).prop_map(|(a, id)| (Key::datagram(v4(a), v4(9), UDP, id), NONE)),
    ]
}

proptest! {
    /// Few flows: what the model says, packet by packet, swept or not.
    #[test]
    fn the_table_is_its_model(
        packets in prop::collection::vec((packet(), 0..20_u64, any::<bool>()), 1..200),
    ) {
        let (table, mut model, mut now) = (Table::new(512), Model::default(), 0);
        for ((end, flags), seconds, is_swept) in packets {
            now += seconds * SECOND / 2;
            if is_swept {
                table.flows.expire(0..table.flows.buckets(), &table.timeouts, now);
            }
            let passed = table.pass(end, flags.0, now).map(|hit| hit.state);
            prop_assert_eq!(passed, model.pass(end, flags, now));
            if passed.is_none() {
                prop_assert_eq!(table.keep(end, flags.0, now), model.keep(end, flags, now));
            }
            let live = table.flows.expire(0..table.flows.buckets(), &table.timeouts, now);
            prop_assert_eq!(live, model.flows.len());
        }
        prop_assert_eq!(table.flows.counters().live(), model.flows.len() as u64);
        prop_assert_eq!(table.all(now).len(), model.flows.len());
    }
}

/// Threads keep, see, judge and remove the same few flows in a table that is too small for them:
/// whatever they find is whole, and at rest no flow is there twice.
#[test]
fn threads_find_whole_flows_and_leave_no_twins() {
    const FLOWS: u32 = 40;
    let table = Table::new(32);
    // Each flow's verdict tells whose it is.
    let judged = |i: u32, generation| Judged { generation, egress: i, ingress: !i };
    let check = |flow: &Flow| {
        let i = flow.judged.egress;
        let sender = Numbers::Ports { source: 1024 + i as u16, destination: 80 };
        assert!(flow.source == v4(0) && flow.numbers == sender, "{flow:?}");
    };
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let table = &table;
            scope.spawn(move || {
                let (mut random, mut counters) = (u64::from(thread) + 1, Counters::default());
                for round in 0..60_000_u32 {
                    random =
                        crate::flow::mix(random ^ 0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03);
                    let i = random as u32 % FLOWS;
                    let end = ends(i, UDP)[(random >> 32) as usize & 1];
                    let now = u64::from(round) << 20;
                    let sighting = table.flows.sighting(ends(i, UDP)[0], NONE);
                    match table.pass(end, 0, now) {
                        None => {
                            let (judged, timeouts) = (judged(i, 1), &table.timeouts);
                            table.flows.keep(&sighting, judged, timeouts, now, &mut counters);
                        }
                        Some(hit) => {
                            assert_eq!(hit.judged.ingress, !hit.judged.egress);
                            assert_eq!(hit.judged.egress, i);
                            match random >> 40 & 7 {
                                0 => table.forget_all(),
                                1 => table.flows.rejudge(&hit, judged(i, round)),
                                _ => {}
                            }
                        }
                    }
                    if random >> 48 & 0xff == 0 {
                        table.flows.iter(&table.timeouts, now).for_each(|flow| check(&flow));
                    }
                }
                table.flows.count(counters);
            });
        }
    });
    let flows = table.all(60_000 << 20);
    flows.iter().for_each(check);
    let keys: HashSet<_> = flows.iter().map(|flow| flow.judged.egress).collect();
    assert_eq!(keys.len(), flows.len());
    assert_eq!(table.flows.counters().live(), flows.len() as u64);
    for (i, slot) in table.flows.buckets.slots().enumerate() {
        let tag = table.flows.buckets.tags(i / 8) >> (i % 8 * 8) & 0xff;
        assert!(!slot.word().is_held());
        assert_eq!(tag != 0, slot.word().state().is_some());
    }
}
