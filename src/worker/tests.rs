//! Whole workers on ports in memory.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::io::mem::{MemPort, Wire};
use arc_swap::ArcSwap;
use etherparse::PacketBuilder;
use pipeline::frame::{Frame, Link, Memory};
use pipeline::snapshot::Caps;
use pipeline::stages::{parse, port};
use pipeline::testing::{A1, A1_MAC, A2, MACS, TUN, VETH, World};
use std::collections::VecDeque;
use std::io::{PipeReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Long enough for any machine; nothing waits that long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Workers with the pods' ports of the test overlay, and the wires to them.
struct Bench {
    memory: &'static Memory,
    crew: Crew,
    into_a1: Wire,
    out_of_a2: Wire,
}

fn mem(link: Link, input: &Wire, output: &Wire) -> Box<dyn Port> {
    Box::new(MemPort::new(link, Caps::default(), input.clone(), output.clone()))
}

fn queue(owner: usize, port: Box<dyn Port>) -> NewQueue {
    NewQueue { owner, port, stats: Arc::default() }
}

fn plan(cores: Vec<Option<usize>>, mode: Mode) -> Plan {
    let world = World::default();
    Plan {
        cores,
        pacing: Pacing { mode, ..Pacing::default() },
        memory: Memory::new(4096, false).unwrap(),
        snapshot: Arc::new(ArcSwap::from_pointee(world.snapshot)),
        epoch: Instant::now(),
    }
}

impl Bench {
    /// Pod a1's port is with the first worker, a2's with the last.
    fn new(workers: usize, mode: Mode) -> Bench {
        let plan = plan(vec![None; workers], mode);
        let mut crew = Crew::start(&plan).map_err(|(_, error)| error).unwrap();
        let (into_a1, out_of_a2) = (Wire::default(), Wire::default());
        let a1 = mem(Link::Ethernet, &into_a1, &Wire::default());
        crew.add(VETH, vec![queue(0, a1)]).unwrap();
        let a2 = mem(Link::Ip, &Wire::default(), &out_of_a2);
        crew.add(TUN, vec![queue(workers - 1, a2)]).unwrap();
        Bench { memory: plan.memory, crew, into_a1, out_of_a2 }
    }

    fn put(&self, bytes: &[u8]) {
        self.into_a1.lock().unwrap().push_back(bytes.to_vec());
    }

    fn counted(&self, count: impl Fn(&Stats) -> u64) -> u64 {
        self.crew.workers().iter().map(|worker| count(&worker.stats)).sum()
    }

    fn wait(&self, what: &str, done: impl Fn(&Bench) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "still waiting for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn remove(&mut self, id: PortId) {
        self.crew.remove(id);
        self.wait("the workers to obey", |bench| bench.crew.has_obeyed());
        self.crew.purge(id);
        self.wait("the workers to obey", |bench| bench.crew.has_obeyed());
    }

    /// Ends the workers and checks that nothing is missing: what each one counted.
    fn stop(self) -> Vec<Arc<Stats>> {
        let stats: Vec<_> = self.crew.workers().iter().map(|w| w.stats.clone()).collect();
        let closed = self.crew.closed().clone();
        self.crew.stop().unwrap();
        for stats in &stats {
            let (came, went) = stats.counters.balance();
            assert_eq!(came, went, "{:?}", stats.counters);
        }
        let sum = |count: fn(&Stats) -> u64| stats.iter().map(|stats| count(stats)).sum::<u64>();
        assert_eq!(sum(|s| s.counters.handed.get()), sum(|s| s.counters.taken.get()));
        let pooled = sum(|stats| stats.chunks.get()) + closed.chunks.get();
        assert_eq!(self.memory.unclaimed() as u64 + pooled, u64::from(self.memory.chunks()));
        stats
    }
}

fn from_a1_to_a2() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(A1_MAC.0, MACS[VETH.index()].0)
        .ipv4(A1.octets(), A2.octets(), 64)
        .udp(1, 2)
        .write(&mut bytes, b"hello")
        .unwrap();
    bytes
}

fn numbered(n: u16) -> Vec<u8> {
    let mut frame = from_a1_to_a2();
    // The UDP source port counts them.
    frame[34..36].copy_from_slice(&n.to_be_bytes());
    frame
}

#[test]
fn frames_pass_in_every_mode_and_keep_their_order() {
    for workers in [1, 2, 3] {
        for mode in [Mode::Poll, Mode::Adaptive, Mode::Interrupt] {
            let bench = Bench::new(workers, mode);
            for n in 0..500u16 {
                bench.put(&numbered(n));
            }
            bench.wait("500 frames", |bench| bench.out_of_a2.lock().unwrap().len() == 500);
            for (n, bytes) in bench.out_of_a2.lock().unwrap().iter().enumerate() {
                assert_eq!(bytes[20..22], (n as u16).to_be_bytes());
            }
            let stats = bench.stop();
            let last = &stats[workers - 1].counters;
            assert_eq!((stats[0].counters.received.get(), last.emitted.get()), (500, 500));
            assert_eq!(last.taken.get(), if workers == 1 { 0 } else { 500 });
        }
    }
}

/// One by one, so that each finds the other worker asleep.
#[test]
fn a_sleeping_owner_is_woken() {
    let bench = Bench::new(2, Mode::Interrupt);
    for n in 0..50u16 {
        bench.wait("a worker asleep", |bench| bench.crew.workers()[1].is_asleep());
        bench.put(&numbered(n));
        bench.wait("its frame", |b| b.out_of_a2.lock().unwrap().len() == usize::from(n) + 1);
    }
    bench.stop();
}

#[test]
fn drops_are_counted_by_the_worker() {
    let bench = Bench::new(1, Mode::Adaptive);
    bench.put(&from_a1_to_a2()[..20]);
    bench.wait("the drop", |b| b.counted(|s| s.counters.drops(parse::TRUNCATED)) == 1);
    bench.stop();
}

#[test]
fn ports_come_and_go_while_it_runs() {
    for workers in [1, 2] {
        let mut bench = Bench::new(workers, Mode::Interrupt);
        bench.remove(TUN);
        assert_eq!(bench.crew.workers()[workers - 1].queues(), 2 - workers);
        bench.put(&from_a1_to_a2());
        bench.wait("a frame in vain", |b| b.counted(|s| s.counters.drops(port::GONE)) == 1);
        // A port of the same number gets what is sent from then on, and nothing older.
        let (input, output) = (Wire::default(), Wire::default());
        bench.crew.add(TUN, vec![queue(0, mem(Link::Ip, &input, &output))]).unwrap();
        bench.put(&numbered(7));
        bench.wait("a frame through the new port", |_| !output.lock().unwrap().is_empty());
        assert_eq!(output.lock().unwrap()[0][20..22], [0, 7]);
        bench.stop();
    }
}

/// The other one's ring fills up while it hangs in a port; what does not fit is counted.
#[test]
fn a_full_ring_is_a_drop() {
    let mut bench = Bench::new(2, Mode::Poll);
    bench.remove(TUN);
    let output = Wire::default();
    bench.crew.add(TUN, vec![queue(1, mem(Link::Ip, &Wire::default(), &output))]).unwrap();
    bench.wait("the workers to obey", |bench| bench.crew.has_obeyed());
    let stopped = output.lock().unwrap();
    let handover = |b: &Bench| b.counted(|s| s.counters.drops(port::HANDOVER));
    bench.wait("a full ring", |b| {
        b.put(&from_a1_to_a2());
        handover(b) > 0 || b.into_a1.lock().unwrap().len() > 100_000
    });
    let handed = bench.crew.workers()[0].stats.counters.handed.get();
    assert!(handover(&bench) > 0 && handed >= 1024, "{handed} were handed over");
    drop(stopped);
    let all = bench.counted(|s| s.counters.received.get());
    bench.wait("what was handed over", |_| output.lock().unwrap().len() as u64 >= handed);
    assert!(all >= handed);
    bench.stop();
}

/// Ports of both workers come and go under load: the others lose nothing, and no chunk is lost.
#[test]
fn others_lose_nothing_when_ports_come_and_go() {
    let mut bench = Bench::new(2, Mode::Adaptive);
    let mut sent = 0u16;
    for round in 0..200u16 {
        for _ in 0..20 {
            bench.put(&numbered(sent));
            sent += 1;
        }
        let id = PortId(10 + round % 4);
        bench.remove(id);
        let queues = (0..usize::from(round % 2) + 1)
            .map(|worker| queue(worker, mem(Link::Ip, &Wire::default(), &Wire::default())));
        bench.crew.add(id, queues.collect()).unwrap();
    }
    bench.wait("all frames", |b| b.out_of_a2.lock().unwrap().len() == usize::from(sent));
    let frames = bench.out_of_a2.lock().unwrap().clone();
    assert!(frames.iter().map(|bytes| [bytes[20], bytes[21]]).is_sorted());
    let stats = bench.stop();
    assert!(stats.iter().all(|stats| stats.counters.dropped_in_all() == 0));
}

#[test]
fn what_is_under_way_at_the_end_is_accounted_for() {
    for workers in [1, 2] {
        let bench = Bench::new(workers, Mode::Poll);
        for n in 0..2000 {
            bench.put(&numbered(n));
        }
        bench.stop();
    }
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let Err((core, error)) = Crew::start(&plan(vec![None, Some(4096)], Mode::Poll)) else {
        panic!("a worker on core 4096")
    };
    assert_eq!(core, Some(4096));
    assert!(error.to_string().contains("core 4096"), "{error}");
}

/// A port that says that there is more and that there is no chunk for it must be asked again,
/// although nothing makes it ready.
#[test]
fn a_port_that_lacks_chunks_is_asked_again() {
    let plan =
        Plan { memory: Memory::new(64, false).unwrap(), ..plan(vec![None], Mode::Interrupt) };
    let mut crew = Crew::start(&plan).map_err(|(_, error)| error).unwrap();
    let mut pool = Pool::new(plan.memory);
    let chunks: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    let (device, mut far) = io::pipe().unwrap();
    let port = Hungry { device, eaten: Arc::default() };
    let eaten = port.eaten.clone();
    crew.add(VETH, vec![queue(0, Box::new(port))]).unwrap();
    far.write_all(b"x").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!eaten.load(Ordering::Relaxed));
    chunks.into_iter().for_each(|chunk| pool.free(chunk));
    drop(pool);
    let start = Instant::now();
    while !eaten.load(Ordering::Relaxed) {
        assert!(start.elapsed() < PATIENCE, "the port was not asked again");
        std::thread::sleep(Duration::from_millis(1));
    }
    crew.stop().unwrap();
}

/// Has something for whoever brings a chunk, and tells of it once.
struct Hungry {
    device: PipeReader,
    eaten: Arc<AtomicBool>,
}

impl Port for Hungry {
    fn link(&self) -> Link {
        Link::Ip
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn rx(&mut self, _: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<bool> {
        let Some(chunk) = cx.pool.alloc() else { return Ok(true) };
        cx.pool.free(chunk);
        self.eaten.store(true, Ordering::Relaxed);
        Ok(false)
    }

    fn tx(&mut self, _: &mut VecDeque<Frame>, _: &mut PortCx<'_>) -> io::Result<usize> {
        Ok(0)
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.device.as_fd())
    }

    fn describe(&self) -> String {
        "hungry".to_owned()
    }
}
