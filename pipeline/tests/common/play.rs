//! Any bytes as traffic: fuzzing and a property test share it.
//!
//! ```text
//! bytes  = world step*
//! step   = a frame, made of a sample or of the bytes themselves, cut, grown and overwritten;
//!          or: run the batch | send | let time pass | change the tables | take memory away
//! ```
//! A frame of a pod may carry offload data as a TUN or TAP port would pass them on: checked against
//! the frame's bytes as [`offload`] does, and no further.

use super::samples;
use encap::wire::{checksum, protocol};
use pipeline::Turn;
use pipeline::drops::Counters;
use pipeline::frame::{Batch, CHUNK_SIZE, Chunk, Frame, Gso, GsoKind, Link, Partial};
use pipeline::snapshot::{Hop, NextHop, Peer, PortId, Snapshot, TunnelId};
use pipeline::tables::acl::{Party, Rule, Service, Verb, What};
use pipeline::tables::neighbours::Neighbour;
use pipeline::testing::{B_MAC, TUN, UNDERLAY_MTU, UPLINK, VETH, World};
use pipeline::{Pipeline, stages};
use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Worlds to play in, made once: packet memory is never given back.
pub(crate) struct Worlds(Vec<(World, Snapshot)>);

impl Worlds {
    /// One of each kind.
    pub(crate) fn new() -> Worlds {
        let sections = ["vni = 1\nport = 8472", "vni = 1\nport = 8472\nudp-checksum = true"];
        let worlds = (0..8).map(|i| {
            let mut world = World::new(&format!("[[vxlan]]\nname = \"t\"\n{}", sections[i % 2]));
            add_routes(&mut world);
            add_v6_peer(&mut world.snapshot);
            let ports = Arc::make_mut(&mut world.snapshot.ports);
            if i % 4 >= 2 {
                // As AF_XDP on a veth; and a TUN device that can do nothing.
                ports[VETH.index()].partial_sums = true;
                ports[TUN.index()].caps = Default::default();
            }
            if i % 2 != 0 {
                // Ways on which much does not fit.
                ports[VETH.index()].mtu = 100;
                let peer = &mut Arc::make_mut(&mut world.snapshot.peers)[0];
                (peer.mtu, peer.fragment_outer) = (600, i % 4 == 3);
            }
            if i >= 4 {
                world.guard(rules());
            }
            let snapshot = world.snapshot.clone();
            (world, snapshot)
        });
        Worlds(worlds.collect())
    }

    /// Plays `bytes`, and asserts that nothing got lost.
    pub(crate) fn play(&mut self, bytes: &[u8]) {
        let mut bytes = Source(bytes);
        let first = bytes.u8();
        let which = usize::from(first) % self.0.len();
        let (world, snapshot) = &mut self.0[which];
        world.snapshot = snapshot.clone();
        world.snapshot.neighbours = Arc::new(snapshot.neighbours.iter().map(copy).collect());
        (world.pipeline, world.counters, world.now) = (Pipeline::new(), Counters::default(), 1);
        let mut game = Game { world, whole: snapshot, batch: Batch::new(), hoard: Vec::new() };
        while !bytes.0.is_empty() {
            game.step(&mut bytes);
        }
        game.end(first >= 128);
    }
}

/// Policies that ask for everything that there is to ask for.
fn rules() -> Vec<Rule> {
    let service = |protocol, what| Service { protocol, what };
    let rule = |verb, services| Rule { verb, from: Vec::new(), to: Vec::new(), services };
    let block = |net: &str| Party {
        block: Some((net.parse().expect("a prefix"), Vec::new())),
        ..Party::default()
    };
    let (tcp, udp, icmp) = (protocol::TCP, protocol::UDP, protocol::ICMPV4);
    vec![
        rule(Verb::Log, vec![service(icmp, What::Any), service(udp, What::Ports(0..=1000))]),
        Rule { from: vec![block("10.244.2.128/25")], ..rule(Verb::Deny, Vec::new()) },
        rule(Verb::Allow, vec![service(tcp, What::Any), service(udp, What::Ports(0..=20_000))]),
        rule(Verb::Allow, vec![service(icmp, What::Icmp { kind: 8, code: None })]),
        Rule { to: vec![block("fd00:10:244::/48")], ..rule(Verb::Pass, Vec::new()) },
    ]
}

fn copy(neighbour: &Arc<Neighbour>) -> Arc<Neighbour> {
    let copy = Neighbour::new(neighbour.port, neighbour.address);
    if let (Some(mac), _) = neighbour.state(0) {
        copy.set_permanent(mac);
    }
    Arc::new(copy)
}

/// Routes to what does not exist, as a generation of tables that do not fit together could have.
fn add_routes(world: &mut World) {
    let hops = [Hop::Peer(9), Hop::Neighbour(99), Hop::Port(PortId(77)), Hop::Port(VETH)];
    for (i, hop) in hops.into_iter().enumerate() {
        world.route(Ipv4Addr::new(10, 98, i as u8, 0).into(), Some(24), NextHop::new(hop));
    }
    let to_v6_peer = NextHop::new(Hop::Peer(1));
    world.route(Ipv4Addr::new(10, 244, 3, 0).into(), Some(24), to_v6_peer);
    world.route(samples::C1_V6.into(), Some(64), to_v6_peer);
}

/// A peer `c` over IPv6.
fn add_v6_peer(snapshot: &mut Snapshot) {
    let (local, remote): (Ipv6Addr, Ipv6Addr) = (samples::NODE_A_V6, samples::NODE_C);
    let b = snapshot.peers[0].clone();
    let encap = snapshot.tunnels[0].tunnel.encap(&samples::ends(local.into(), remote.into()));
    let peer = Peer {
        name: "c".into(),
        address: remote.into(),
        local: local.into(),
        mtu: UNDERLAY_MTU - encap.overhead(),
        encap: Some((TunnelId(0), encap)),
        neighbour: snapshot.neighbours.end(),
        ..b
    };
    let next_hop = Neighbour::new(UPLINK, IpAddr::V6(remote));
    next_hop.set_permanent(B_MAC);
    Arc::make_mut(&mut snapshot.neighbours).insert(peer.neighbour, Arc::new(next_hop));
    Arc::make_mut(&mut snapshot.peers_by_address).insert(remote.into(), 1);
    Arc::make_mut(&mut snapshot.peers).insert(1, peer);
}

/// Bytes, zero once there are none left.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn u8(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn take(&mut self, n: usize) -> &'a [u8] {
        self.0.split_off(..n.min(self.0.len())).unwrap_or_default()
    }
}

struct Game<'a> {
    world: &'a mut World,
    /// The tables as they were at the start.
    whole: &'a Snapshot,
    batch: Batch,
    /// Memory that was taken away.
    hoard: Vec<Chunk>,
}

impl Game<'_> {
    fn step(&mut self, bytes: &mut Source<'_>) {
        match bytes.u8() {
            0..4 => self.run(),
            4..8 => self.send(),
            8..16 => self.wait(u64::from(bytes.u16()) * 1_000_000),
            16..24 => self.change(bytes.u8()),
            24..28 => self.take_memory(usize::from(bytes.u16()) % 4096),
            28..32 => self.give_memory(),
            kind => self.receive(kind, bytes),
        }
    }

    fn receive(&mut self, kind: u8, bytes: &mut Source<'_>) {
        let port = match kind % 16 {
            0..6 => UPLINK,
            6..11 => VETH,
            11..15 => TUN,
            _ => PortId(7),
        };
        let mut content = samples::get(port, bytes.u8()).unwrap_or_else(|| {
            let len = bytes.u8().into();
            bytes.take(len).to_vec()
        });
        shape(&mut content, bytes);
        if self.batch.room() == 0 {
            self.run();
        }
        // Without memory a port counts the frame and drops it before we see it.
        let Some(mut frame) = Frame::copied(&content, &mut self.world.pool, port) else { return };
        if port != UPLINK {
            offload(&mut frame, bytes);
        }
        self.world.counters.received.add(1);
        self.batch.push(frame);
        match kind {
            192.. => self.run(),
            128..192 => {
                self.run();
                self.send();
            }
            _ => {}
        }
    }

    /// What is to be sent stays in its queue.
    fn run(&mut self) {
        let World { pipeline, snapshot, pool, counters, now, .. } = &mut *self.world;
        pipeline.run(&mut self.batch, &mut Turn { snapshot, pool, counters, now: *now });
        assert!(self.batch.is_empty());
    }

    fn wait(&mut self, nanoseconds: u64) {
        let sent = self.world.wait(nanoseconds);
        let mut seen = HashSet::new();
        for (port, frame) in sent {
            self.check(port, frame, &mut seen);
        }
    }

    /// What ports would take, with chunks that are in no two frames.
    fn send(&mut self) {
        let mut seen: HashSet<_> =
            self.hoard.iter_mut().map(|chunk| chunk.bytes_mut().as_ptr()).collect();
        while let Some(id) = self.world.pipeline.queues.next_busy(0) {
            let queue = self.world.pipeline.queues.get_mut(id);
            let frame = queue.and_then(VecDeque::pop_front).unwrap();
            self.world.counters.emitted.add(1);
            self.check(id, frame, &mut seen);
        }
    }

    /// A frame fits the port that it leaves by; its chunks are its own.
    fn check(&mut self, id: PortId, frame: Frame, seen: &mut HashSet<*const u8>) {
        let port = &self.whole.ports[id.index()];
        if frame.meta.gso.kind == GsoKind::None {
            let link = if port.link == Link::Ethernet { 14 } else { 0 };
            assert!(frame.len() <= port.mtu + link, "{} bytes for {}", frame.len(), port.name);
        }
        if !port.caps.checksum {
            assert!(!frame.meta.partial.is_pending(), "a checksum is complete for {}", port.name);
            assert_eq!(frame.meta.gso.kind, GsoKind::None, "no super-frame for {}", port.name);
        }
        let (len, mut sum) = (frame.len(), 0);
        assert_eq!(frame.segments().map(<[u8]>::len).sum::<usize>(), len);
        let pool = &mut self.world.pool;
        frame.into_chunks(|mut chunk, offset, n| {
            sum += n;
            assert!(offset + n <= CHUNK_SIZE);
            assert!(seen.insert(chunk.bytes_mut().as_ptr()), "a chunk is in two frames");
            pool.free(chunk);
        });
        assert_eq!(sum, len);
    }

    fn change(&mut self, what: u8) {
        let snapshot = &mut self.world.snapshot;
        snapshot.generation += u64::from(what & 1);
        match what >> 1 & 7 {
            0 => drop(Arc::make_mut(&mut snapshot.ports).remove(TUN.index())),
            1 => snapshot.ports = self.whole.ports.clone(),
            2 => snapshot.peers = Arc::default(),
            3 => snapshot.peers = self.whole.peers.clone(),
            4 => snapshot.neighbours[0].clear(),
            5 => snapshot.neighbours[1].clear(),
            6 => snapshot.neighbours[2].clear(),
            _ => snapshot.neighbours[2].set_permanent(B_MAC),
        }
    }

    fn take_memory(&mut self, n: usize) {
        for _ in 0..n {
            let Some(chunk) = self.world.pool.alloc() else { break };
            self.hoard.push(chunk);
        }
    }

    fn give_memory(&mut self) {
        for chunk in self.hoard.drain(..) {
            self.world.pool.free(chunk);
        }
    }

    fn end(mut self, patient: bool) {
        self.run();
        if patient {
            self.wait(1_000_000);
        }
        self.give_memory();
        let World { pipeline, snapshot, pool, counters, now, .. } = &mut *self.world;
        pipeline.close(&mut Turn { snapshot, pool, counters, now: *now });
        assert_eq!(pipeline.held(), 0);
        counters.held.set(0);
        self.world.check_laws();
        assert_eq!(self.world.counters.drops(stages::settle::UNDECIDED), 0);
    }
}

/// Cuts, grows and overwrites; and puts the IPv4 header checksum right again if told to, which mere
/// chance would not.
fn shape(content: &mut Vec<u8>, bytes: &mut Source<'_>) {
    let how = bytes.u8();
    if how & 1 != 0 {
        let len = usize::from(bytes.u16());
        content.truncate(len % (content.len() + 1));
    }
    if how & 2 != 0 {
        content.resize(content.len() + usize::from(bytes.u16()), how);
    }
    for _ in 0..how >> 2 & 7 {
        let (at, value) = (usize::from(bytes.u8()), bytes.u8());
        if let Some(byte) = content.get_mut(at) {
            *byte = value;
        }
    }
    let mut ip = 0;
    for _ in 0..how >> 5 & 3 {
        ip = mend(content, ip);
    }
}

/// Finds the first IP header from `from` on behind what may stand in front of one, and makes its
/// lengths and checksum right; returns where to look for an inner one.
fn mend(content: &mut [u8], from: usize) -> usize {
    // Bare, behind Ethernet, and behind UDP, VXLAN and Ethernet.
    let Some(at) = [from, from + 14, from + 30]
        .into_iter()
        .find(|at| content.get(*at).is_some_and(|byte| byte & 0xf0 == 0x40 || byte & 0xf0 == 0x60))
    else {
        return from;
    };
    let packet = &mut content[at..];
    let len = packet.len().min(0xffff) as u16;
    if packet[0] >> 4 == 6 {
        if packet.len() >= 40 {
            packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
        }
        return at + 40;
    }
    let header = usize::from(packet[0] & 15) * 4;
    if header >= 20 && packet.len() >= header {
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[10..12].fill(0);
        let sum = checksum::of(&packet[..header]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    at + header
}

/// Notes what a `virtio_net_hdr` could say about the frame, as far as a port lets it through: the
/// checksum's field lies in the head; a super-frame has a whole L4 header in the head, its checksum
/// where the protocol has it, and a payload.
fn offload(frame: &mut Frame, bytes: &mut Source<'_>) {
    let how = bytes.u8();
    if how & 1 == 0 {
        return;
    }
    let (start, field) = match how >> 1 & 7 {
        0 => (usize::from(bytes.u8()), usize::from(bytes.u8())),
        n => ([20, 34, 40, 54, 24, 48, 28][usize::from(n) - 1], if how & 16 != 0 { 6 } else { 16 }),
    };
    let head = frame.head();
    if start == 0 || start + field + 2 > head.len() {
        return;
    }
    let kind =
        [GsoKind::None, GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp][usize::from(how >> 5 & 3)];
    if kind != GsoKind::None {
        let size = bytes.u16();
        let (len, expected) = match kind {
            GsoKind::Udp => (8, 6),
            _ => (head.get(start + 12).map_or(0, |byte| usize::from(byte >> 4) * 4), 16),
        };
        let whole = start + len <= head.len() && (kind == GsoKind::Udp || len >= 20);
        if size == 0 || !whole || field != expected || start + len >= frame.len() {
            return;
        }
        frame.meta.gso = Gso { kind, size };
    }
    let start = (frame.offset() + start) as u16;
    frame.meta.partial = Partial { start, offset: field as u16 };
}
