//! How soon what is asked for is in force, while the node is idle and while it moves packets.
//!
//! Two nodes in this process, one with a single route and one with a million, each with two pods. They
//! are asked in turn, so that whatever else the machine does meets both alike:
//!
//! * for one route more: how long until it was answered, and until the first packet arrived that was sent
//!   every 100 µs to where there was no route;
//! * the large one for other routes in place of all of its own, and for none: how long whoever asks
//!   for anything else must wait meanwhile.
//!
//! A load of 10,000 packets a second through a route that nobody touches tells what that costs.
//!
//! `cargo bench --bench control`; without `--bench`, as in the tests, a short run that only shows that
//! it works. Pods need root: without it nodes have none, and there are only answers.
#![allow(clippy::unwrap_used)]

mod node;
mod traffic;

use cableway::config::{Config, Route, Via};
use cableway::control::desired::{Edit, RouteEdits};
use cableway::control::report::Drops;
use ipnet::Ipv4Net;
use node::{Client, Node, whole};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use traffic::{Pods, Traffic};

/// Time between two questions of whoever asks for something else.
const ASK: Duration = Duration::from_millis(1);

fn main() {
    let is_whole = std::env::args().any(|argument| argument == "--bench");
    let (large, rounds) = if is_whole { (1_000_000, 1_000) } else { (10_000, 10) };
    let directory = std::env::temp_dir().join(format!("cableway-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut sites = [1, large].map(|size| Site::new(&directory, size));
    if sites[0].traffic.is_none() {
        println!("not root: nodes without pods, and no packet is sent");
    }
    for round in 0..rounds {
        for site in &mut sites {
            for is_loaded in [false, true] {
                site.add_a_route(round, is_loaded);
            }
        }
    }
    sites.iter_mut().for_each(Site::tell);
    let [small, large] = &sites;
    for (i, load) in ["idle", "loaded"].iter().enumerate() {
        let ratio = median(&large.times[i].0) / median(&small.times[i].0);
        println!("ratio of the medians until the answer, {load}: {ratio:.2}");
    }
    large.swap("all routes replaced", routes(large.size, 0x3000_0000));
    large.swap("all routes removed", Vec::new());
    sites.iter_mut().for_each(Site::tell_losses);
    drop(sites);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// A node with its pods, and what was measured of it.
struct Site {
    size: u32,
    config: String,
    node: Node,
    client: Client,
    traffic: Option<Traffic>,
    /// Until the answer and until the first packet: idle, loaded.
    times: [(Vec<Duration>, Vec<Duration>); 2],
}

impl Site {
    fn new(directory: &Path, size: u32) -> Site {
        let is_root = rustix::process::geteuid().is_root();
        let pods = is_root.then(|| Pods::new(&size.to_string()));
        let config = pods.as_ref().map(Pods::config).unwrap_or_default();
        let node = Node::start(directory.join(size.to_string()), &config);
        let put = routes(size, 0x1000_0000);
        node.edit(Edit::Routes(RouteEdits { put, delete: Vec::new() }));
        let client = Client::new(&node.socket);
        let traffic = pods.map(Pods::talk);
        Site { size, config, node, client, traffic, times: Default::default() }
    }

    /// Asks for a route, and then for its end.
    fn add_a_route(&mut self, round: u32, is_loaded: bool) {
        // No address is probed twice.
        let number = round * 2 + u32::from(is_loaded) + 1;
        let address = Ipv4Addr::from_bits(0x0a40_0000 + number * 256);
        let path = format!("/v1/routes/{address}/32");
        let via = if self.traffic.is_some() { "{\"port\": \"to\"}" } else { "\"unreachable\"" };
        let (answers, arrivals) = &mut self.times[usize::from(is_loaded)];
        if let Some(traffic) = &self.traffic {
            traffic.load(is_loaded);
            traffic.probe(address);
        }
        let start = Instant::now();
        self.client.ask("PUT", &path, &format!("{{\"via\": {via}}}"));
        answers.push(start.elapsed());
        if let Some(traffic) = &self.traffic {
            arrivals.push(traffic.arrival(address) - start);
            traffic.load(false);
        }
        self.client.ask("DELETE", &path, "");
    }

    fn tell(&mut self) {
        for ((answers, arrivals), load) in self.times.iter_mut().zip(["idle", "loaded"]) {
            for (what, times) in [("answer", answers), ("first packet", arrivals)] {
                times.sort_unstable();
                let Some(most) = times.last() else { continue };
                let part = |percent| times[(times.len() - 1) * percent / 100];
                let (p50, p99) = (part(50), part(99));
                let size = self.size;
                println!(
                    "one route among {size:>9}, {load:>6}, until the {what:>12}: \
                     p50 {p50:>8.1?}, p99 {p99:>8.1?}, max {most:>8.1?}"
                );
            }
        }
    }

    fn tell_losses(&mut self) {
        let Some(traffic) = &self.traffic else { return };
        let (sent, lost) = traffic.losses();
        println!("{:>9} routes: {lost} of {sent} packets of the load lost", self.size);
        if lost == 0 {
            return;
        }
        // `tx_dropped` of the sender's device: no core was free for the worker in time.
        let drops = self.client.ask("GET", "/v1/show/drops", "");
        let drops: Drops = serde_json::from_str(&drops).unwrap();
        for kernel in drops.kernel.iter().filter(|drop| drop.count > 0) {
            println!(
                "    {} by the kernel: {} of port {}",
                kernel.count, kernel.reason, kernel.port
            );
        }
        for ours in drops.drops.iter().filter(|drop| drop.count > 0) {
            println!("    {} by the node: {}", ours.count, ours.text);
        }
        println!("    the rest had arrived, and was not read in time");
    }

    /// Has these routes in the place of all others, under load.
    fn swap(&self, what: &str, routes: Vec<Route>) {
        let mut config = Config::parse(&whole(&self.node.socket, &self.config), "bench").unwrap();
        config.route = routes;
        if let Some(traffic) = &self.traffic {
            traffic.load(true);
        }
        let (socket, is_over) = (&self.node.socket, AtomicBool::new(false));
        let (took, silence) = std::thread::scope(|scope| {
            let silence = scope.spawn(|| longest_silence(socket, &is_over));
            let took = self.node.edit(Edit::Apply(Box::new(config)));
            // What is left of the old ones is done away with a little later.
            std::thread::sleep(Duration::from_secs(1));
            is_over.store(true, Ordering::Relaxed);
            (took, silence.join().unwrap())
        });
        let gap = self.traffic.as_ref().map_or(Duration::ZERO, Traffic::longest_gap);
        println!(
            "{what}, of {}: in {took:.1?}; whoever asked for something else waited {silence:.1?} at \
             most, and between two packets of the load passed {gap:.1?} at most",
            self.size
        );
    }
}

/// How long the longest answer took until it was over.
fn longest_silence(socket: &Path, is_over: &AtomicBool) -> Duration {
    let (mut client, mut most) = (Client::new(socket), Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        client.ask("GET", "/v1/ready", "");
        most = most.max(start.elapsed());
        std::thread::sleep(ASK);
    }
    most
}

/// So many routes, from a prefix on.
fn routes(count: u32, first: u32) -> Vec<Route> {
    let nets = (0..count).map(|i| Ipv4Net::new(Ipv4Addr::from_bits(first + i * 256), 24).unwrap());
    nets.map(|net| Route { prefix: ipnet::IpNet::V4(net).into(), via: Via::Blackhole }).collect()
}

/// The median of sorted times, in seconds.
fn median(times: &[Duration]) -> f64 {
    times[times.len() / 2].as_secs_f64()
}
