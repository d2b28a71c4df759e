//! A soak: random changes to two nodes under traffic, and then a look at what they have left behind.
//!
//! Node `b` lives through all of it; node `a` is killed and upgraded now and then. After each change
//! traffic must flow again. At the end `b`'s memory, descriptors, threads and chunks must be what they were
//! after a warm-up, and the frames of both must add up.
//!
//! `make soak MINUTES=60` runs it for as long as asked and prints one page; the tests run a short one.
//! `SEED` repeats a run's choices. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Drops, Workers};
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::stream::{Stream, carry};
use daemon_support::two::{Two, finish};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

/// Changes before the first look, and of a short soak.
const WARM_UP: u32 = 24;
const SHORT: u32 = 24;
/// Pods of `b` that come and go.
const SPARES: usize = 6;
/// What resident memory may be more than after the warm-up: parts in a hundred, and the packet memory,
/// which is touched as it is first used.
const MARGIN: (u64, u64) = (10, CHUNKS * 2048);
const CHUNKS: u64 = 4096;

#[test]
fn a_short_soak_leaves_nothing_behind() {
    let mut soak = Soak::new();
    for _ in 0..WARM_UP {
        soak.change();
    }
    let before = soak.look();
    for _ in 0..SHORT {
        soak.change();
    }
    soak.finish(vec![before]);
}

#[test]
#[ignore = "it takes as long as it is told to: `make soak MINUTES=60`"]
fn a_soak_leaves_nothing_behind() {
    let minutes = std::env::var("MINUTES").map_or(60, |text| text.parse().unwrap());
    let mut soak = Soak::new();
    let quarter = Duration::from_secs(15 * minutes);
    let mut looks = Vec::new();
    for number in 1..4 {
        soak.change_until(quarter * number);
        looks.push(soak.look());
    }
    soak.change_until(quarter * 4);
    soak.finish(looks);
}

struct Soak {
    seed: u64,
    dice: Dice,
    start: Instant,
    two: Two,
    spares: Vec<Space>,
    /// Which of them are ports of `b`.
    attached: [bool; SPARES],
    /// Routes of `b` besides those to its pods and its peer.
    routes: Vec<u16>,
    a: Daemon,
    b: Daemon,
    stream: Stream,
    /// Of each kind of change how many there were, and the longest time without an answer.
    tally: BTreeMap<&'static str, (u32, Duration)>,
}

/// What `b` has at rest.
struct Look {
    resident: u64,
    descriptors: usize,
    threads: usize,
}

impl Soak {
    fn new() -> Soak {
        let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = std::env::var("SEED").map_or_else(|_| now(), |text| text.parse().unwrap());
        println!("SEED={seed}");
        let two = Two::new();
        let mut a = Daemon::new(&two.a, &config(&two, "a"));
        let mut b = Daemon::new(&two.b, &config(&two, "b"));
        a.start(&two.a);
        b.start(&two.b);
        let stream = two.stream();
        Soak {
            seed,
            dice: Dice(seed | 1),
            start: Instant::now(),
            spares: (0..SPARES).map(|_| Space::new("spare")).collect(),
            attached: [false; SPARES],
            routes: Vec::new(),
            tally: BTreeMap::new(),
            two,
            a,
            b,
            stream,
        }
    }

    /// Changes until so much time has passed since the start.
    fn change_until(&mut self, elapsed: Duration) {
        while self.start.elapsed() < elapsed {
            self.change();
        }
    }

    /// One change, after which traffic flows again.
    fn change(&mut self) {
        self.stream.passes();
        self.stream.longest_gap();
        let name = match self.dice.below(10) {
            0 | 1 => self.toggle_port(),
            2 => self.swap_routes(),
            3 => self.refuse_config(),
            4 => self.flap_link(),
            5 => self.change_mac(),
            6 => self.kill(),
            7 => self.upgrade(),
            8 => self.edit(),
            _ => self.carry(),
        };
        self.stream.passes();
        let (count, longest) = self.tally.entry(name).or_default();
        *count += 1;
        *longest = self.stream.longest_gap().max(*longest);
    }

    fn toggle_port(&mut self) -> &'static str {
        let spare = self.dice.below(SPARES as u64) as usize;
        self.attached[spare] ^= true;
        self.reload_b();
        let has_device = self.spares[spare].ip("-oneline link").contains("eth0");
        assert_eq!(has_device, self.attached[spare]);
        if has_device { "a port comes" } else { "a port goes" }
    }

    fn swap_routes(&mut self) -> &'static str {
        let count = self.dice.below(500);
        self.routes = (0..count).map(|_| self.dice.below(1 << 16) as u16).collect();
        self.routes.sort_unstable();
        self.routes.dedup();
        self.reload_b();
        "routes are swapped"
    }

    fn refuse_config(&mut self) -> &'static str {
        let config = self.b.with_socket(&self.config_b().replace("vni = 7", "vni = 16777216"));
        assert!(!self.b.reload(&config));
        self.reload_b();
        "a config is refused"
    }

    fn flap_link(&mut self) -> &'static str {
        let node = if self.dice.below(2) == 0 { &self.two.a } else { &self.two.b };
        node.ip("link set eth0 down");
        std::thread::sleep(Duration::from_millis(self.dice.below(300)));
        node.ip("link set eth0 up");
        "an uplink goes down and up"
    }

    fn change_mac(&mut self) -> &'static str {
        let last = self.dice.below(250);
        self.two.b.ip(&format!("link set eth0 address 02:00:00:00:00:{last:02x}"));
        "the peer's MAC changes"
    }

    fn kill(&mut self) -> &'static str {
        self.a.end("KILL");
        self.a.start(&self.two.a);
        "node a is killed and started"
    }

    fn upgrade(&mut self) -> &'static str {
        let ready = |daemon: &Daemon| daemon.log().matches("node a is ready").count();
        let before = ready(&self.a);
        self.a.signal("USR2");
        wait_for("the new version", || ready(&self.a) > before);
        "node a is upgraded"
    }

    fn edit(&mut self) -> &'static str {
        let route = format!("10.99.{}.0/24", self.dice.below(256));
        self.b.must(&format!("add route {route} --peer a"));
        self.b.must(&format!("del route {route}"));
        "a route by the API"
    }

    fn carry(&mut self) -> &'static str {
        carry(&self.two.b1, &self.two.a1, "10.9.1.2", 2_000_000);
        "2 MB by TCP each way"
    }

    fn reload_b(&self) {
        let config = self.b.with_socket(&self.config_b());
        assert!(self.b.reload(&config), "{}", self.b.log());
    }

    fn config_b(&self) -> String {
        let mut text = config(&self.two, "b");
        for (i, spare) in self.spares.iter().enumerate().filter(|(i, _)| self.attached[*i]) {
            let (kind, netns, last) = (["tun", "af_xdp"][i % 2], &spare.name, 10 + i);
            write!(
                text,
                "[[port]]\nname = \"spare{i}\"\nkind = \"{kind}\"\nnetns = \"{netns}\"\n\
                 device = \"eth0\"\naddresses = [\"10.9.2.{last}/24\"]\n"
            )
            .unwrap();
        }
        for route in &self.routes {
            let [high, low] = route.to_be_bytes();
            let prefix = format!("172.{}.{low}.0/24", 16 + high % 16);
            let via = ["{ peer = \"a\" }", "\"blackhole\""][usize::from(low % 2)];
            if !text.contains(&prefix) {
                write!(text, "[[route]]\nprefix = \"{prefix}\"\nvia = {via}\n").unwrap();
            }
        }
        text
    }

    /// Looks at `b` at rest, with what it was started with.
    fn look(&mut self) -> Look {
        self.attached = [false; SPARES];
        self.routes.clear();
        self.reload_b();
        // From the first edit on the API's journal is open.
        self.b.must("add route 203.0.113.0/24 --unreachable");
        self.b.must("del route 203.0.113.0/24");
        self.stream.passes();
        // What is closed in the background takes a moment.
        std::thread::sleep(Duration::from_secs(3));
        let of = |what: &str| format!("/proc/{}/{what}", self.b.pid());
        Look {
            resident: self.b.resident(),
            descriptors: fs::read_dir(of("fd")).unwrap().count(),
            threads: fs::read_dir(of("task")).unwrap().count(),
        }
    }

    /// Prints the page, and judges by what `b` had earlier.
    fn finish(mut self, mut looks: Vec<Look>) {
        looks.push(self.look());
        let (sent, back) = self.stream.counts();
        let Soak { seed, start, stream, mut a, mut b, tally, .. } = self;
        stream.finish();
        let mut page = format!("\nsoak of {:.0?}, SEED={seed}\n\n", start.elapsed());
        writeln!(page, "{:28} {:>6}  longest without an answer", "change", "times").unwrap();
        for (name, (count, longest)) in tally {
            writeln!(page, "{name:28} {count:>6}  {longest:.1?}").unwrap();
        }
        writeln!(page, "\ndatagrams sent {sent}, answered {back}").unwrap();
        let row = |name, of: &dyn Fn(&Look) -> u64| {
            let values: String = looks.iter().map(|look| format!("{:>10}", of(look))).collect();
            format!("{name:24}{values}\n")
        };
        page += "\nnode b, in equal parts of the time\n";
        page += &row("resident KiB", &|look| look.resident >> 10);
        page += &row("descriptors", &|look| look.descriptors as u64);
        page += &row("threads", &|look| look.threads as u64);
        for (name, daemon) in [("a", &a), ("b", &b)] {
            wait_for("frames and chunks to add up", || {
                let law = daemon.get::<Drops>("/v1/show/drops").conservation;
                law.balanced && law.held == 0 && lost_chunks(daemon) == 0
            });
            let law = daemon.get::<Drops>("/v1/show/drops").conservation;
            let frames = law.received + law.generated + law.split + law.replicated;
            writeln!(page, "node {name}: {frames} frames in and out, no chunk lost").unwrap();
        }
        println!("{page}");
        let [before, .., after] = &looks[..] else { panic!("there are two looks or more") };
        assert_eq!((after.descriptors, after.threads), (before.descriptors, before.threads));
        let most = before.resident + before.resident * MARGIN.0 / 100 + MARGIN.1;
        assert!(after.resident <= most, "memory has grown beyond {most} bytes");
        finish([&mut a, &mut b]);
    }
}

/// Chunks that nobody has.
fn lost_chunks(daemon: &Daemon) -> i64 {
    let memory = daemon.get::<Workers>("/v1/show/workers").memory;
    let known = memory.unclaimed as u64 + memory.pooled + memory.with_ports;
    i64::from(memory.chunks) - known as i64
}

fn config(two: &Two, node: &str) -> String {
    let peer = if node == "a" { "192.168.70.2" } else { "192.168.70.1" };
    let workers = "[workers]\ncores = [0, 1]\nmode = \"interrupt\"\n[memory]";
    let config = two.config(node, "eth0 eth1", peer).replace("[memory]", workers);
    config.replace("chunks = 8192", &format!("chunks = {CHUNKS}"))
}

/// Numbers that look random and can be had again: xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
