//! A node without a machine: tables from a config, a worker's pipeline, and a clock that is told.
//!
//! What a config does not say is the same in every scenario: the uplink has the MAC
//! 02:00:00:00:00:0a, an MTU of 1500 and the addresses 192.168.77.1 and fd77::1; every peer is on its
//! network and has the MAC 02:00:00:00:00:0b; a pod's MAC is 02:00:00:00:01:xx, where xx is the last
//! byte of its address, and is known from the start. TUN and TAP devices can do everything themselves,
//! `af_xdp` nothing.

use crate::input::{Event, Offload, Step};
use cableway::config::{Config, Kind};
use cableway::control::build::{self, DeviceFacts, Facts, OpenPort, UplinkFacts, Way};
use cableway::control::desired::Desired;
use cableway::control::numbers::Numbers;
use cableway::control::routes::{Hops, RouteTables};
use cableway::control::trace;
use cableway::control::underlay::PathMtus;
use encap::wire::{Mac, ipv4, ipv6, protocol};
use pipeline::drops::{self, Counters, Reason};
use pipeline::frame::{Batch, Frame, Gso, GsoKind, Link, Partial, Pool};
use pipeline::samples::EACH;
use pipeline::snapshot::{Caps, PortId, Role, Snapshot};
use pipeline::{Pipeline, Turn};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

const UPLINK_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

/// A node with its one worker.
pub(crate) struct Node<'a> {
    /// Where other configs lie.
    folder: PathBuf,
    config: Config,
    facts: Facts,
    snapshot: Snapshot,
    numbers: Numbers,
    pipeline: Pipeline,
    pool: &'a mut Pool,
    counters: Counters,
    now: u64,
}

impl<'a> Node<'a> {
    /// The node of a config; others lie in this folder.
    pub(crate) fn new(config: Config, folder: &Path, pool: &'a mut Pool) -> Node<'a> {
        let folder = folder.to_owned();
        let facts = facts(&config);
        let (snapshot, numbers) = (Snapshot::default(), Numbers::default());
        let (pipeline, counters) = (Pipeline::new(), Counters::default());
        let mut node =
            Node { folder, config, facts, snapshot, numbers, pipeline, pool, counters, now: 1 };
        node.build();
        node.learn();
        node
    }

    /// Makes the tables anew.
    fn build(&mut self) {
        let Node { config, facts, snapshot, numbers, .. } = self;
        *snapshot = build::build(config, facts, snapshot, numbers);
        let desired = Desired::new(config.clone());
        let mut routes = RouteTables::default();
        routes.change(Hops::new(&desired, snapshot).all().map(|(net, hop)| (net, Some(hop))));
        routes.publish(snapshot);
    }

    /// What the kernel knows of the underlay, and ARP of the pods.
    fn learn(&self) {
        for neighbour in self.snapshot.neighbours.iter() {
            match self.snapshot.ports[neighbour.port.index()].role {
                Role::Uplink => neighbour.set_permanent(PEER_MAC),
                Role::Pod => neighbour.learn(pod_mac(neighbour.address), self.now),
            }
        }
    }

    /// Lets something happen, or frames come in as one batch; what leaves, with its port's name.
    pub(crate) fn step(&mut self, steps: &[Step]) -> Vec<(String, Leaving)> {
        let mut batch = Batch::new();
        for step in steps {
            match &step.event {
                Event::Frame { port, count, offload, bytes } => {
                    (0..*count).for_each(|_| batch.push(self.frame(port, *offload, bytes)));
                }
                Event::Wait(time) => self.now += time,
                Event::Forget => self.forget(),
                Event::Reload(file) => {
                    if let Some(file) = file {
                        self.config = load(&self.folder.join(file));
                    }
                    self.build();
                }
                Event::Close => self.close(),
            }
        }
        self.turn(|pipeline, turn| {
            pipeline.run(&mut batch, turn);
            pipeline.tick(turn);
        });
        self.sent()
    }

    fn turn(&mut self, f: impl FnOnce(&mut Pipeline, &mut Turn<'_>)) {
        let Node { pipeline, snapshot, pool, counters, now, .. } = self;
        f(pipeline, &mut Turn { snapshot, pool, counters, now: *now });
        self.counters.held.set(self.pipeline.held() as u64);
    }

    fn frame(&mut self, port: &str, offload: Option<Offload>, bytes: &[u8]) -> Frame {
        let id = self.snapshot.ports.iter().position(|known| known.name == port);
        let id = id.unwrap_or_else(|| panic!("the config has no port {port:?}"));
        let link = self.snapshot.ports[id].link;
        let mut frame = Frame::copied(bytes, self.pool, PortId(id as u16)).unwrap();
        if let Some(offload) = offload {
            note(&mut frame, link, offload);
        }
        self.counters.received.add(1);
        frame
    }

    /// What would become of a packet.
    pub(crate) fn trace(&self, input: &trace::Input) -> Result<trace::Report, trace::Wrong> {
        let Node { config, snapshot, now, .. } = self;
        let desired = Desired::new(config.clone());
        let hops = Hops::new(&desired, snapshot);
        let prefix = |address| hops.longest(address);
        trace::trace(&trace::Tables { snapshot, now: *now, prefix: &prefix }, input)
    }

    /// Whether no pod's MAC is known.
    pub(crate) fn knows_no_pod(&self) -> bool {
        let is_pod = |port: PortId| self.snapshot.ports[port.index()].role == Role::Pod;
        let mut pods = self.snapshot.neighbours.iter().filter(|station| is_pod(station.port));
        pods.all(|station| station.state(self.now).0.is_none())
    }

    /// Frames that it holds.
    pub(crate) fn held(&self) -> u64 {
        self.counters.held.get()
    }

    /// How many frames it dropped for each reason.
    pub(crate) fn dropped(&self) -> Vec<(Reason, u64)> {
        drops::all().map(|reason| (reason, self.counters.drops(reason))).collect()
    }

    pub(crate) fn forget(&mut self) {
        for neighbour in self.snapshot.neighbours.iter() {
            if self.snapshot.ports[neighbour.port.index()].role == Role::Pod {
                neighbour.clear();
            }
        }
    }

    fn sent(&mut self) -> Vec<(String, Leaving)> {
        let mut sent = Vec::new();
        for (port, queue) in self.snapshot.ports.iter().zip(&mut self.pipeline.queues) {
            for frame in queue.drain(..) {
                let bytes = frame.segments().flatten().copied().collect();
                let (gso, partial) = (frame.meta.gso, frame.meta.partial.is_pending());
                sent.push((port.name.clone(), Leaving { bytes, link: port.link, gso, partial }));
                frame.free(self.pool);
                self.counters.emitted.add(1);
            }
        }
        self.counters.held.set(self.pipeline.held() as u64);
        sent
    }

    /// Every counter that is not zero, a line each.
    pub(crate) fn counted(&self) -> String {
        let c = &self.counters;
        let frames = [
            ("received", &c.received),
            ("generated", &c.generated),
            ("split", &c.split),
            ("replicated", &c.replicated),
            ("emitted", &c.emitted),
            ("held", &c.held),
            ("merged", &c.merged),
        ];
        let frames = frames.map(|(name, counter)| (name.to_owned(), counter.get()));
        let drops = self.reasons().into_iter();
        let drops = drops.map(|r| (format!("dropped {}", r.name()), c.drops(r)));
        let all = frames.into_iter().chain(drops).filter(|(_, n)| *n > 0);
        all.map(|(name, n)| format!("  {n:>3} {name}\n")).collect()
    }

    /// The reasons for which it dropped frames.
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        drops::all().filter(|reason| self.counters.drops(*reason) > 0).collect()
    }

    /// Of every reason the latest frames are kept, as many as there were, up to the most.
    pub(crate) fn check_samples(&self) {
        for reason in self.reasons() {
            let kept = self.counters.samples(reason).len() as u64;
            assert_eq!(kept, self.counters.drops(reason).min(EACH as u64), "{}", reason.name());
        }
    }

    /// No frame got lost, and, when none is held, no chunk.
    pub(crate) fn check_laws(&self) {
        let (came, went) = self.counters.balance();
        assert_eq!(came, went, "frames that came and frames that went: {:?}", self.counters);
        if self.pipeline.held() == 0 {
            let memory = self.pool.memory();
            let free = memory.unclaimed() + self.pool.idle();
            assert_eq!(free, memory.chunks() as usize, "every chunk is free again");
        }
    }

    /// Ends what it holds.
    pub(crate) fn close(&mut self) {
        self.turn(|pipeline, turn| pipeline.close(turn));
        self.check_laws();
    }
}

/// Reads a config.
pub(crate) fn load(config: &Path) -> Config {
    Config::load(config).unwrap_or_else(|errors| panic!("\n{errors}"))
}

/// A frame that leaves.
pub(crate) struct Leaving {
    pub(crate) bytes: Vec<u8>,
    pub(crate) link: Link,
    pub(crate) gso: Gso,
    pub(crate) partial: bool,
}

fn facts(config: &Config) -> Facts {
    let everything = Caps { checksum: true, tso4: true, tso6: true, uso: true, coalesce: true };
    let af_xdp =
        |partial_sums| DeviceFacts { link: Link::Ethernet, caps: Caps::default(), partial_sums };
    let device = |kind| match kind {
        Kind::Tun => DeviceFacts { link: Link::Ip, caps: everything, partial_sums: false },
        Kind::Tap => DeviceFacts { link: Link::Ethernet, caps: everything, partial_sums: false },
        Kind::AfXdp => af_xdp(true),
    };
    let uplink = UplinkFacts { device: af_xdp(false), mac: UPLINK_MAC, mtu: 1500, most: 1500 };
    let way = |peer: IpAddr| Way {
        uplink: 0,
        local: if peer.is_ipv4() { "192.168.77.1" } else { "fd77::1" }.parse().unwrap(),
        next_hop: peer,
    };
    let first = config.uplink.len();
    let ports = config.port.iter().zip(first..).map(|(port, id)| {
        (port.name.clone(), OpenPort { id: build::port_id(id), device: device(port.kind) })
    });
    Facts {
        reassembled: None,
        uplinks: config.uplink.iter().map(|_| uplink.clone()).collect(),
        ports: ports.collect(),
        peers: config.peer.iter().zip(0..).map(|(peer, i)| (peer.name.clone(), i)).collect(),
        ways: config.peer.iter().map(|peer| way(peer.address.ip())).collect(),
        paths: PathMtus::default(),
    }
}

fn pod_mac(address: IpAddr) -> Mac {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    Mac([2, 0, 0, 0, 1, last])
}

/// What a TUN or TAP port would note of a frame without IP options or extension headers.
fn note(frame: &mut Frame, link: Link, offload: Offload) {
    let l3 = if link == Link::Ethernet { 14 } else { 0 };
    let packet = &frame.head()[l3..];
    let (header, kind, protocol) = match packet[0] >> 4 {
        4 => (ipv4::LEN, GsoKind::Tcp4, packet[ipv4::field::PROTOCOL]),
        _ => (ipv6::LEN, GsoKind::Tcp6, packet[ipv6::field::NEXT_HEADER]),
    };
    let (kind, offset) = match protocol {
        protocol::UDP => (GsoKind::Udp, 6),
        _ => (kind, 16),
    };
    frame.meta.partial = Partial { start: (frame.offset() + l3 + header) as u16, offset };
    if let Offload::Segments(size) = offload {
        frame.meta.gso = Gso { kind, size };
    }
}
