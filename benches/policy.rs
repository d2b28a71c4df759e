//! What the stage `acl` costs: a batch of 64 packets of a pod, all of which may pass, behind the route.
//!
//! Named `established/1000-rules/64k-flows`: packets of flows that are known and answered, drawn at random; `first/1000-rules`:
//! first packets, of which each is judged and makes a flow; `none`: no policy at all. Rules are the first ones of
//! `configs/bench/policy.toml`, made to allow, and one behind them that allows everything. Figures are of one packet.

mod common;

use cableway::config::Config;
use cableway::control::build::policies;
use common::{datagram, framed};
use criterion::{Criterion, criterion_group, criterion_main};
use encap::wire::protocol;
use pipeline::cx::{Cx, Reinject};
use pipeline::frame::{BATCH_SIZE, Batch};
use pipeline::queues::Queues;
use pipeline::stages::{self, StageId};
use pipeline::tables::acl::{Endpoint, Policies, Policy, Rule, Verb};
use pipeline::tables::flows::{Flags, Flows, Key, Timeouts};
use pipeline::tables::guard::{Guard, Settings};
use pipeline::testing::{A1, A1_MAC, B1, MACS, VETH, World};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

criterion_main!(benches);
criterion_group!(benches, none, established, first);

/// Flows that there is room for.
const ROOM: usize = 2 << 20;

fn none(c: &mut Criterion) {
    let mut bench = Bench::new(None, 1000);
    c.bench_function("none", |b| b.iter_custom(|n| bench.run(n)));
}

fn established(c: &mut Criterion) {
    let cases = [
        (10, 1 << 16, "64k-flows"),
        (1000, 1, "1-flow"),
        (1000, 1 << 10, "1k-flows"),
        (1000, 1 << 16, "64k-flows"),
        (1000, 1 << 20, "1M-flows"),
        (10_000, 1 << 16, "64k-flows"),
    ];
    for (rules, flows, named) in cases {
        let mut bench = Bench::new(Some(rules), flows);
        bench.meet_all();
        let name = format!("established/{rules}-rules/{named}");
        c.bench_function(&name, |b| b.iter_custom(|n| bench.run(n)));
        assert_eq!(bench.world.snapshot.flows.counters().evicted_live, 0);
    }
}

fn first(c: &mut Criterion) {
    for rules in [10, 100, 1000, 10_000] {
        let mut bench = Bench::new(Some(rules), 1 << 20);
        c.bench_function(&format!("first/{rules}-rules"), |b| {
            b.iter_custom(|n| {
                // So many that few are met twice; then the table is emptied.
                if bench.world.snapshot.flows.counters().live() > 1 << 18 {
                    bench.forget();
                }
                bench.run(n.min(1 << 18)).mul_f64(n as f64 / n.min(1 << 18) as f64)
            });
        });
    }
}

struct Bench {
    world: World,
    /// Parse to route, and the stage itself.
    before: Vec<Box<dyn stages::Stage>>,
    stage: Box<dyn stages::Stage>,
    /// Where packets go.
    ends: Vec<(Ipv4Addr, u16)>,
    random: SmallRng,
}

impl Bench {
    fn new(rules: Option<usize>, flows: usize) -> Bench {
        let mut world = World::default();
        let mut random = SmallRng::seed_from_u64(1);
        // All of them are behind the peer.
        let peer = world.snapshot.route(B1.into());
        world.route(Ipv4Addr::UNSPECIFIED.into(), Some(0), peer);
        let unicast = |bits: u32| Ipv4Addr::from_bits((1 << 24) | (bits % (100 << 24)));
        let ends = (0..flows).map(|_| (unicast(random.random()), random.random()));
        let ends = ends.collect();
        if let Some(rules) = rules {
            let guard = Guard::new(
                some(rules),
                Settings::default(),
                [(VETH, "a1")].into_iter(),
                &Guard::default(),
            );
            world.snapshot.guard = Arc::new(guard);
            world.snapshot.flows = Arc::new(Flows::new(ROOM, 1));
        }
        let (mut before, mut stage) = (Vec::new(), None);
        for (id, next) in stages::pipeline() {
            match id {
                StageId::Acl => stage = Some(next),
                _ if stage.is_none() => before.push(next),
                _ => {}
            }
        }
        let stage = stage.expect("the list has the stage");
        Bench { world, before, stage, ends, random }
    }

    fn forget(&mut self) {
        self.world.snapshot.flows = Arc::new(Flows::new(ROOM, 1));
    }

    /// Lets every flow begin, and be answered.
    fn meet_all(&mut self) {
        for at in (0..self.ends.len()).step_by(BATCH_SIZE) {
            let last = self.ends.len() - 1;
            self.batch(|i, _| (at + i).min(last));
        }
        let flows = &self.world.snapshot.flows;
        for &(to, port) in &self.ends {
            let answer = Key::new(to.into(), A1.into(), protocol::UDP, port, 1024);
            let answer = flows.sighting(answer, Flags::default());
            assert!(flows.pass(&answer, &Timeouts::default(), self.world.now).is_some());
        }
    }

    /// The time that so many packets take.
    fn run(&mut self, packets: u64) -> Duration {
        let (mut time, mut done) = (Duration::ZERO, 0);
        while done < packets {
            time += self.batch(|_, bench| bench.random.random_range(0..bench.ends.len()));
            done += BATCH_SIZE as u64;
        }
        time.mul_f64(packets as f64 / done as f64)
    }

    /// The time that the stage takes for packets to these ends.
    fn batch(&mut self, mut end: impl FnMut(usize, &mut Bench) -> usize) -> Duration {
        let mut batch = Batch::new();
        for i in 0..BATCH_SIZE {
            let end = end(i, self);
            let (to, port) = self.ends[end];
            let bytes = framed(MACS[VETH.index()], A1_MAC, &datagram(A1, to, port));
            batch.push(self.world.frame(VETH, &bytes));
        }
        let World { snapshot, pool, counters, now, .. } = &mut self.world;
        let (mut reinject, mut queues) = (Reinject::default(), Queues::default());
        let (reinject, queues) = (&mut reinject, &mut queues);
        let mut cx = Cx { snapshot, pool, counters, reinject, queues, now: *now };
        self.before.iter_mut().for_each(|stage| stage.process(&mut batch, &mut cx));
        assert_eq!(batch.live().count(), BATCH_SIZE, "all are routed");
        let start = Instant::now();
        self.stage.process(&mut batch, &mut cx);
        let time = start.elapsed();
        assert_eq!(batch.live().count(), BATCH_SIZE, "all may pass");
        batch.drain().for_each(|frame| frame.free(cx.pool));
        time
    }
}

/// The first rules of the file, and one that allows the rest, for the pod `a1`.
fn some(rules: usize) -> Policies {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/bench/policy.toml");
    let config = Config::load_sections(&file, &["set", "policy"]);
    let mut policies = policies(&config.unwrap_or_else(|errors| panic!("{errors}")));
    policies.endpoints.push(Endpoint {
        name: Some("a1".into()),
        addresses: vec![IpAddr::V4(A1).into()],
        labels: [("app".to_owned(), "bench".to_owned())].into(),
        ..Endpoint::default()
    });
    let tier = policies.tiers.last_mut().expect("there is always one");
    let mut left = rules;
    for policy in &mut tier.policies {
        let egress = policy.egress.iter().flatten();
        // Whatever decides, the packet may pass.
        let some: Vec<_> =
            egress.take(left).cloned().map(|rule| Rule { verb: Verb::Allow, ..rule }).collect();
        left -= some.len();
        *policy = Arc::new(Policy { egress: Some(some), ..Policy::clone(policy) });
    }
    let all = Rule { verb: Verb::Allow, from: Vec::new(), to: Vec::new(), services: Vec::new() };
    let name = "rest".into();
    let applies_to = tier.policies[0].applies_to.clone();
    let policy = Policy { name, applies_to, ingress: None, egress: Some(vec![all]) };
    tier.policies.push(Arc::new(policy));
    policies
}
