//! Floods of first packets: what they may cost others, and what they leave behind. Needs root.
//!
//! `make flood` measures what an established connection keeps under them, by turns.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{FlowTable, Flows};
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::flood::{self, Flood, Kind, MILLION};
use daemon_support::iperf::Iperf;
use daemon_support::two::{Two, finish};
use std::io::{Read, Write};
use std::time::Duration;

/// Flows that `b` remembers in the short test.
const ROOM: usize = 4096;
/// SYNs to the one may pass, to the other not.
const ALLOWED: u16 = 80;
const DENIED: u16 = 81;

struct Nodes {
    two: Two,
    a: Daemon,
    b: Daemon,
    /// Where floods come from.
    c: Space,
}

fn nodes(acl: &str) -> Nodes {
    let two = Two::new();
    let c = flood::node(&two);
    let mut a = Daemon::new(&two.a, &two.config("a", "eth0", "192.168.70.2"));
    let policy = r#"
[[policy]]
name = "web"
applies-to = [{ port = "b1" }]
ingress = [{ ports = [{ protocol = "tcp", port = 80 }, { protocol = "tcp", port = 7007 }, { protocol = "tcp", port = 5201 },
                      { protocol = "udp" }] }]
"#;
    let config = two.config("b", "eth0", "192.168.70.1") + acl + &flood::peer() + policy;
    let mut b = Daemon::new(&two.b, &config);
    a.start(&two.a);
    b.start(&two.b);
    // What comes from there ends in front of the pod's sockets: each kind costs its way, and no answers. (The kernel looks
    // for a socket before it asks for the route, which takes it longer for TCP.)
    two.b1.exec("sysctl -q -w net.ipv4.conf.all.rp_filter=1 net.ipv4.ip_early_demux=0");
    two.b1.ip(&format!("route add blackhole {}", flood::SUBNET));
    Nodes { two, a, b, c }
}

fn table(b: &Daemon) -> FlowTable {
    b.get::<Flows>("/v1/show/flows?limit=1").table
}

#[test]
fn a_flood_leaves_others_alone() {
    let Nodes { two, mut a, mut b, c } = nodes(&format!("[acl]\nflows = {ROOM}\n"));
    let (mut client, mut server) = two.connection(7007);
    let mut talks = || {
        client.write_all(b"a question").unwrap();
        server.read_exact(&mut [0; 10]).unwrap();
        server.write_all(b"an answer").unwrap();
        client.read_exact(&mut [0; 9]).unwrap();
    };
    talks();

    // Of what is denied nothing is remembered.
    let before = table(&b);
    assert_eq!(before.capacity, ROOM);
    let flood = Flood::start(&c, &two.b, Kind::Syns(DENIED), 20_000.0);
    wait_for("SYNs to be denied", || b.dropped("acl.ingress") > 2 * ROOM as u64);
    talks();
    flood.stop();
    assert_eq!(table(&b).made, before.made);

    // Of what is allowed the oldest of those that nobody answered give way, and nothing else.
    let memory = b.resident();
    let flood = Flood::start(&c, &two.b, Kind::Syns(ALLOWED), 20_000.0);
    wait_for("the table to be filled several times", || {
        talks();
        table(&b).evicted_half_open > 4 * ROOM as u64
    });
    let (sent, _) = flood.stop();
    let after = table(&b);
    assert!(after.live <= ROOM as u64 && after.made <= before.made + sent, "{after:?}");
    assert_eq!((after.evicted_live, after.evicted_closing), (0, 0));
    talks();
    // The packet memory is touched as it is first used.
    let more = b.resident().saturating_sub(memory);
    assert!(more < memory / 10 + 8192 * 2048, "{memory} and {more} bytes");
    finish([&mut a, &mut b]);
}

/// Packets a second of each flood.
const RATE: f64 = 200_000.0;
const ROUNDS: usize = 6;
const TIME: Duration = Duration::from_secs(5);

#[test]
#[ignore = "it measures: `make flood`"]
fn what_floods_cost() {
    let Nodes { two, mut a, mut b, c } = nodes("");
    // Of one flow the router joins datagrams before the pod gets them; of 64 each comes by itself, as SYNs do.
    let kinds = [
        ("datagrams of 64 flows", Some(Kind::Datagrams(64))),
        ("datagrams of one flow", Some(Kind::Datagrams(1))),
        ("datagrams of 1 M sources", Some(Kind::Datagrams(MILLION))),
        ("SYNs of 1 M sources, denied", Some(Kind::Syns(DENIED))),
        ("SYNs of 1 M sources, allowed", Some(Kind::Syns(ALLOWED))),
        ("nothing", None),
    ];
    let mut kept: [Vec<f64>; 6] = Default::default();
    let mut rates: [Vec<f64>; 6] = Default::default();
    let memory = b.resident();
    for round in 0..ROUNDS {
        for turn in 0..kinds.len() {
            let at = (round + turn) % kinds.len();
            let flood = kinds[at].1.map(|kind| Flood::start(&c, &two.b, kind, RATE));
            let iperf = Iperf::start((&two.a1, &two.b1), ("10.9.2.2", 5201), TIME, "");
            let arrived = iperf.finish().intervals;
            kept[at].push(arrived.iter().sum::<u64>() as f64 * 80.0 / arrived.len() as f64 / 1e9);
            if let Some((sent, time)) = flood.map(Flood::stop) {
                rates[at].push(sent as f64 / time.as_secs_f64());
            }
        }
    }
    let table = table(&b);
    let to = ["to 64 flows'", "to 1 M sources'"];
    println!("{:30} {:>10} {:>10} {:>14} {:>16}", "beside", "sent kpps", "Gbit/s", to[0], to[1]);
    let paired = |at: usize, to: usize| median(kept[at].iter().zip(&kept[to]).map(|(a, b)| a / b));
    for (at, (name, _)) in kinds.iter().enumerate() {
        let (rate, bits) =
            (median(rates[at].iter().copied()) / 1e3, median(kept[at].iter().copied()));
        let (few, many) = (paired(at, 0), paired(at, 2));
        println!("{name:30} {rate:10.0} {bits:10.2} {few:14.2} {many:16.2}");
    }
    println!("{table:?}");
    println!("resident: {} MB before, {} MB after", memory >> 20, b.resident() >> 20);
    assert_eq!(table.evicted_live, 0);
    assert!(table.evicted_half_open > 0 && table.live <= table.capacity as u64);
    finish([&mut a, &mut b]);
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
