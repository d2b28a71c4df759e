//! A small overlay in memory: a node with a pod on Ethernet, a pod on TUN and an uplink, joined by VXLAN
//! to one peer. For tests, benches and fuzzing; built with the feature `testing`.
//!
//! | port | role | addresses |
//! | --- | --- | --- |
//! | [`UPLINK`] | underlay, Ethernet | 192.168.77.1, fd77::1 |
//! | [`VETH`] | pod a1, Ethernet | 10.244.1.2, fd00:10:244:1::2 |
//! | [`TUN`] | pod a2, bare IP, takes super-frames | 10.244.1.3, fd00:10:244:1::3 |
//!
//! The peer, `b`, is 192.168.77.2 and has 10.244.2.0/24 and fd00:10:244:2::/64.

use crate::drops::{Counters, Reason};
use crate::frame::{Batch, Frame, Link, Memory, Pool};
use crate::snapshot::{
    Accepts, Caps, Gateway, Hop, NextHop, Peer, PortId, PortInfo, Role, Snapshot, TunnelId,
    TunnelInfo,
};
use crate::tables::acl::{End, Endpoint, Policies, Policy, Rule, Tier};
use crate::tables::guard::{Guard, Settings};
use crate::tables::neighbours::Neighbour;
use crate::tables::{Flows, Rib};
use crate::{Pipeline, Turn};
use encap::wire::Mac;
use encap::{Configs, Ends};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The underlay's port.
pub const UPLINK: PortId = PortId(0);
/// Pod a1's port.
pub const VETH: PortId = PortId(1);
/// Pod a2's port.
pub const TUN: PortId = PortId(2);

/// MAC of each port, by id.
pub const MACS: [Mac; 3] =
    [Mac([2, 0, 0, 0, 0, 0xa]), Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 1])];
/// MAC of pod a1.
pub const A1_MAC: Mac = Mac([2, 0, 0, 0, 1, 2]);
/// MAC of the peer's uplink.
pub const B_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
/// Our VTEP.
pub const VTEP: Mac = Mac([2, 0, 0, 0, 0xa, 0xa]);
/// The peer's VTEP.
pub const B_VTEP: Mac = Mac([2, 0, 0, 0, 0xb, 0xb]);

/// Pod a1.
pub const A1: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 2);
/// Pod a1.
pub const A1_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 2);
/// Pod a2.
pub const A2: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 3);
/// Pod a2.
pub const A2_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 3);
/// A pod of the peer.
pub const B1: Ipv4Addr = Ipv4Addr::new(10, 244, 2, 2);
/// A pod of the peer.
pub const B1_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 2, 0, 0, 0, 2);
/// Our underlay address.
pub const NODE_A: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The peer's underlay address.
pub const NODE_B: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// The gateway that pods know.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);
/// The gateway that pods know.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 1);

/// The overlay, with everything that a worker would have.
#[derive(Debug)]
pub struct World {
    /// The tables; change them with [`Snapshot`]'s fields.
    pub snapshot: Snapshot,
    /// IPv4 routes behind `snapshot.routes4`.
    pub rib4: Rib<Ipv4Addr>,
    /// IPv6 routes behind `snapshot.routes6`.
    pub rib6: Rib<Ipv6Addr>,
    /// The stages.
    pub pipeline: Pipeline,
    /// Packet memory.
    pub pool: Pool,
    /// What was counted.
    pub counters: Counters,
    /// The clock, nanoseconds.
    pub now: u64,
}

impl Default for World {
    fn default() -> Self {
        World::new(&format!("[[vxlan]]\nvni = {VNI}\nport = {VXLAN_PORT}"))
    }
}

/// MTU of the uplink.
pub const UNDERLAY_MTU: usize = 1500;
/// The network.
pub const VNI: u32 = 1;
/// The tunnel's UDP port.
pub const VXLAN_PORT: u16 = 8472;

impl World {
    /// An overlay whose one tunnel is written as the `[tunnel]` section of a config.
    ///
    /// # Panics
    /// When `tunnel` is not such a section.
    pub fn new(tunnel: &str) -> World {
        let configs: Configs = toml::from_str(tunnel).expect("a [tunnel] section");
        let (name, tunnel) = configs.tunnels().next().expect("a tunnel");
        let ends = Ends {
            local: NODE_A.into(),
            remote: NODE_B.into(),
            local_mac: VTEP,
            remote_mac: B_VTEP,
        };
        let encap = tunnel.encap(&ends);
        let peer = Peer {
            name: "b".into(),
            address: NODE_B.into(),
            local: NODE_A.into(),
            mtu: UNDERLAY_MTU - encap.overhead(),
            fragment_outer: false,
            clamp_mss: false,
            encap: Some((TunnelId(0), encap)),
            accepts: Accepts::default().and(TunnelId(0)),
            uplink: UPLINK,
            neighbour: 2,
            check_source: true,
        };
        let info = TunnelInfo {
            name: name.to_owned(),
            steers: tunnel.steers(),
            key: tunnel.key(),
            mac: VTEP,
            tunnel,
        };
        let mut world = World {
            snapshot: Snapshot {
                generation: 1,
                ports: Arc::new(ports().into()),
                tunnels: Arc::new(vec![info]),
                peers: Arc::new(vec![peer].into()),
                peers_by_address: Arc::new([(NODE_B.into(), 0)].into_iter().collect()),
                neighbours: Arc::new(neighbours().into()),
                gateway: Arc::new(Gateway { addresses: gateways() }),
                ..Snapshot::default()
            },
            rib4: Rib::new(),
            rib6: Rib::new(),
            pipeline: Pipeline::new(),
            pool: Pool::new(Memory::new(4096, false).expect("memory for tests")),
            counters: Counters::default(),
            now: 1,
        };
        world.fill();
        world
    }

    fn fill(&mut self) {
        let to = |hop| NextHop::new(hop);
        for gateway in gateways() {
            self.route(gateway, None, to(Hop::Local));
        }
        self.route(A1.into(), None, to(Hop::Neighbour(0)));
        self.route(A1_V6.into(), None, to(Hop::Neighbour(1)));
        self.route(A2.into(), None, to(Hop::Port(TUN)));
        self.route(A2_V6.into(), None, to(Hop::Port(TUN)));
        self.route(Ipv4Addr::new(10, 244, 2, 0).into(), Some(24), to(Hop::Peer(0)));
        let b = Ipv6Addr::new(0xfd00, 0x10, 0x244, 2, 0, 0, 0, 0);
        self.route(b.into(), Some(64), to(Hop::Peer(0)));
        self.route(Ipv4Addr::new(10, 96, 0, 0).into(), Some(12), to(Hop::Unreachable));
        self.route(Ipv4Addr::new(10, 97, 0, 0).into(), Some(16), to(Hop::Blackhole));
    }

    /// Has these rules judge all that both pods send and are sent.
    pub fn guard(&mut self, rules: Vec<Rule>) {
        let names = [(VETH, "a1"), (TUN, "a2")];
        let addresses = [vec![A1.into(), A1_V6.into()], vec![A2.into(), A2_V6.into()]];
        let endpoints = names.iter().zip(addresses).map(|((_, name), addresses)| Endpoint {
            name: Some((*name).into()),
            addresses: addresses.into_iter().map(|own: IpAddr| own.into()).collect(),
            ..Endpoint::default()
        });
        let all = Policy {
            name: "all".into(),
            applies_to: Vec::new(),
            ingress: Some(rules.clone()),
            egress: Some(rules),
        };
        let tier = Tier { name: "default".into(), policies: vec![Arc::new(all)], end: End::Deny };
        let policies =
            Policies { tiers: vec![tier], endpoints: endpoints.collect(), ..Policies::default() };
        let before = &self.snapshot.guard;
        let guard = Guard::new(policies, Settings::default(), names.into_iter(), before);
        self.snapshot.guard = Arc::new(guard);
        self.snapshot.flows = Arc::new(Flows::new(1 << 12, 1));
    }

    /// Adds a route, to one host without a length.
    ///
    /// # Panics
    /// When `len` is more than the address has bits.
    pub fn route(&mut self, address: IpAddr, len: Option<u8>, next_hop: NextHop) {
        match address {
            IpAddr::V4(address) => {
                let net = ipnet::Ipv4Net::new(address, len.unwrap_or(32)).expect("a length");
                self.rib4.insert(net, next_hop.to_bits());
                self.snapshot.routes4 = self.rib4.snapshot();
            }
            IpAddr::V6(address) => {
                let net = ipnet::Ipv6Net::new(address, len.unwrap_or(128)).expect("a length");
                self.rib6.insert(net, next_hop.to_bits());
                self.snapshot.routes6 = self.rib6.snapshot();
            }
        }
    }

    /// A frame as if received, not yet run.
    ///
    /// # Panics
    /// When memory is exhausted.
    pub fn frame(&mut self, port: PortId, bytes: &[u8]) -> Frame {
        Frame::copied(bytes, &mut self.pool, port).expect("memory for a frame")
    }

    /// Runs frames through the list as one batch; what is to be sent, in order for each port.
    pub fn run(&mut self, frames: impl IntoIterator<Item = Frame>) -> Vec<(PortId, Frame)> {
        let mut batch = Batch::new();
        for frame in frames {
            self.counters.received.add(1);
            batch.push(frame);
        }
        let World { pipeline, snapshot, pool, counters, now, .. } = self;
        pipeline.run(&mut batch, &mut Turn { snapshot, pool, counters, now: *now });
        self.sent()
    }

    /// Lets time pass; what is to be sent then.
    pub fn wait(&mut self, nanoseconds: u64) -> Vec<(PortId, Frame)> {
        self.now += nanoseconds;
        let World { pipeline, snapshot, pool, counters, now, .. } = self;
        pipeline.tick(&mut Turn { snapshot, pool, counters, now: *now });
        self.sent()
    }

    fn sent(&mut self) -> Vec<(PortId, Frame)> {
        let queues = self.pipeline.queues.iter_mut().enumerate();
        let sent: Vec<_> = queues
            .flat_map(|(port, queue)| queue.drain(..).map(move |f| (PortId(port as u16), f)))
            .collect();
        self.counters.emitted.add(sent.len() as u64);
        self.counters.held.set(self.pipeline.held() as u64);
        sent
    }

    /// Runs one frame; the bytes of what is to be sent.
    pub fn pass(&mut self, port: PortId, bytes: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let frame = self.frame(port, bytes);
        let sent = self.run([frame]);
        self.bytes(sent)
    }

    /// The bytes of frames, which are freed.
    pub fn bytes(&mut self, frames: Vec<(PortId, Frame)>) -> Vec<(PortId, Vec<u8>)> {
        let mut out = Vec::new();
        for (port, frame) in frames {
            out.push((port, frame.segments().flatten().copied().collect()));
            frame.free(&mut self.pool);
        }
        out
    }

    /// Runs one frame that must be dropped, and nothing sent.
    ///
    /// # Panics
    /// When it is not, or for another reason.
    pub fn expect_drop(&mut self, port: PortId, bytes: &[u8], reason: Reason) {
        let before = self.counters.drops(reason);
        let sent = self.pass(port, bytes);
        let seen: Vec<_> = crate::drops::all()
            .filter(|reason| self.counters.drops(*reason) > 0)
            .map(|reason| format!("{} {}", reason.name(), self.counters.drops(reason)))
            .collect();
        assert_eq!(
            self.counters.drops(reason),
            before + 1,
            "expected {}; dropped so far: {seen:?}; sent {sent:?}",
            reason.name()
        );
    }

    /// Asserts the law over frames and the law over chunks, with no frame in flight.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check_laws(&self) {
        let (came, went) = self.counters.balance();
        assert_eq!(came, went, "frames that came and frames that went: {:?}", self.counters);
        if self.pipeline.held() == 0 {
            let memory = self.pool.memory();
            assert_eq!(
                memory.unclaimed() + self.pool.idle(),
                memory.chunks() as usize,
                "every chunk is free again"
            );
        }
    }
}

fn ports() -> Vec<PortInfo> {
    let port = |name: &str, id: PortId, role, link, mtu| PortInfo {
        name: name.into(),
        role,
        link,
        mac: MACS[id.index()],
        mtu,
        caps: Caps::default(),
        partial_sums: false,
        check_source: role == Role::Pod,
        stations: Vec::new(),
        gateway4: (role == Role::Pod).then_some(GATEWAY),
        gateway6: (role == Role::Pod).then_some(GATEWAY_V6),
    };
    let uplink = port("eth0", UPLINK, Role::Uplink, Link::Ethernet, UNDERLAY_MTU);
    let mut veth = port("a1", VETH, Role::Pod, Link::Ethernet, 1450);
    veth.stations = vec![(A1.into(), 0), (A1_V6.into(), 1)];
    let mut tun = port("a2", TUN, Role::Pod, Link::Ip, 1450);
    tun.caps = Caps { checksum: true, tso4: true, tso6: true, uso: true, coalesce: true };
    vec![uplink, veth, tun]
}

fn neighbours() -> Vec<Arc<Neighbour>> {
    let a1 = Neighbour::new(VETH, A1.into());
    a1.set_permanent(A1_MAC);
    let a1_v6 = Neighbour::new(VETH, A1_V6.into());
    a1_v6.set_permanent(A1_MAC);
    let b = Neighbour::new(UPLINK, NODE_B.into());
    b.set_permanent(B_MAC);
    vec![Arc::new(a1), Arc::new(a1_v6), Arc::new(b)]
}

fn gateways() -> Vec<IpAddr> {
    vec![
        GATEWAY.into(),
        Ipv4Addr::new(169, 254, 1, 1).into(),
        GATEWAY_V6.into(),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
    ]
}
