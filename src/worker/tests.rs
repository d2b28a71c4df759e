//! Whole workers on ports in memory.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::io::mem::{MemPort, Wire};
use arc_swap::ArcSwap;
use etherparse::PacketBuilder;
use pipeline::frame::{Link, Memory};
use pipeline::snapshot::Caps;
use pipeline::stages::{parse, port};
use pipeline::testing::{A1, A1_MAC, A2, MACS, TUN, VETH, World};
use std::time::Duration;

/// Long enough for any machine; nothing waits that long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A worker with the pods' ports of the test overlay, and the wires to them.
struct Bench {
    memory: &'static Memory,
    handle: Option<Handle>,
    into_a1: Wire,
    out_of_a2: Wire,
}

impl Bench {
    fn new(mode: Mode) -> Bench {
        let memory = Memory::new(1024, false).unwrap();
        let snapshot = Arc::new(ArcSwap::from_pointee(World::default().snapshot));
        let (into_a1, out_of_a2) = (Wire::default(), Wire::default());
        let a1 = MemPort::new(Link::Ethernet, Caps::default(), into_a1.clone(), Wire::default());
        let a2 = MemPort::new(Link::Ip, Caps::default(), Wire::default(), out_of_a2.clone());
        let ports: Vec<(PortId, Box<dyn Port>)> = vec![(VETH, Box::new(a1)), (TUN, Box::new(a2))];
        let pacing = Pacing { mode, ..Pacing::default() };
        let handle = spawn("test", None, pacing, memory, snapshot, ports).unwrap();
        Bench { memory, handle: Some(handle), into_a1, out_of_a2 }
    }

    fn put(&self, bytes: &[u8]) {
        self.into_a1.lock().unwrap().push_back(bytes.to_vec());
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < PATIENCE, "still waiting for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the worker and checks that nothing is missing.
    fn stop(mut self) -> Arc<Stats> {
        let handle = self.handle.take().unwrap();
        let stats = handle.stats.clone();
        handle.stop().unwrap();
        let (came, went) = stats.counters.balance();
        assert_eq!(came, went, "{:?}", stats.counters);
        // What is left of a bundle stays with the pool that ended; all else is back.
        assert!(self.memory.unclaimed() + 64 >= self.memory.chunks() as usize);
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

#[test]
fn frames_pass_in_every_mode_and_keep_their_order() {
    for mode in [Mode::Poll, Mode::Adaptive, Mode::Interrupt] {
        let bench = Bench::new(mode);
        let frame = from_a1_to_a2();
        for n in 0..500u16 {
            let mut frame = frame.clone();
            // The UDP source port counts them.
            frame[34..36].copy_from_slice(&n.to_be_bytes());
            bench.put(&frame);
        }
        bench.wait("500 frames", || bench.out_of_a2.lock().unwrap().len() == 500);
        for (n, bytes) in bench.out_of_a2.lock().unwrap().iter().enumerate() {
            assert_eq!(bytes[20..22], (n as u16).to_be_bytes());
        }
        let stats = bench.stop();
        assert_eq!((stats.counters.received.get(), stats.counters.emitted.get()), (500, 500));
    }
}

#[test]
fn drops_are_counted_by_the_worker() {
    let bench = Bench::new(Mode::Adaptive);
    bench.put(&from_a1_to_a2()[..20]);
    let stats = bench.handle.as_ref().unwrap().stats.clone();
    bench.wait("the drop", || stats.counters.drops(parse::TRUNCATED) == 1);
    bench.stop();
}

#[test]
fn ports_come_and_go_while_it_runs() {
    let bench = Bench::new(Mode::Interrupt);
    let stats = bench.handle.as_ref().unwrap().stats.clone();
    let removed = bench.handle.as_ref().unwrap().remove(TUN);
    assert_eq!(removed.blocking_recv().unwrap().link(), Link::Ip);
    assert_eq!(bench.handle.as_ref().unwrap().ports().lock().unwrap().len(), 1);
    // From now on frames are queued in vain.
    bench.wait("a frame that stays", || {
        bench.put(&from_a1_to_a2());
        stats.counters.held.get() > 0
    });
    // A port of the same number takes over, with what is queued for it.
    let (input, output) = (Wire::default(), Wire::default());
    let port = MemPort::new(Link::Ip, Caps::default(), input, output.clone());
    bench.handle.as_ref().unwrap().add(TUN, Box::new(port));
    bench.put(&from_a1_to_a2());
    bench.wait("a frame through the new port", || !output.lock().unwrap().is_empty());
    bench.stop();
}

#[test]
fn what_is_queued_at_the_end_is_accounted_for() {
    let bench = Bench::new(Mode::Poll);
    drop(bench.handle.as_ref().unwrap().remove(TUN));
    let stats = bench.handle.as_ref().unwrap().stats.clone();
    bench.wait("frames that stay", || {
        bench.put(&from_a1_to_a2());
        stats.counters.held.get() > 10
    });
    bench.stop();
    assert!(stats.counters.drops(port::GONE) > 10);
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let memory = Memory::new(64, false).unwrap();
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let result = spawn("test", Some(4096), Pacing::default(), memory, snapshot, Vec::new());
    let Err(error) = result else { panic!("a worker on core 4096") };
    assert!(error.to_string().contains("core 4096"), "{error}");
}
