//! Two nodes as the daemon would make them: from configs, by the same code, but with ports in memory.
//!
//! ```text
//!   node a                                             node b
//!   veth  10.244.1.2 ─┐                             ┌─ veth  10.244.2.2, and all routes that are drawn
//!                     ├─ uplink ═════════ uplink ───┼─ veth2 10.244.2.4
//!   tun   10.244.1.3 ─┘  192.168.77.1     .2        ├─ tun   10.244.2.3, or all routes behind it
//!                                                   └─ tun2  10.244.2.5
//! ```
//! What is drawn leads on node a to node b, and on node b to a pod. `veth` ports have Ethernet frames
//! and no offloads, as AF_XDP has them; `tun` ports have IP packets and all offloads.

use crate::config::{self, Config};
use crate::control::build::{self, DeviceFacts, Facts, OpenPort, UplinkFacts, Way};
use crate::control::desired::Desired;
use crate::control::numbers::Numbers;
use crate::control::routes::{Hops, RouteTables};
use crate::control::underlay::PathMtus;
use encap::wire::Mac;
use ipnet::Ipv4Net;
use pipeline::frame::Link;
use pipeline::snapshot::{Caps, PortId, Snapshot};
use pipeline::tables::Lpm;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The underlay's port, of both nodes.
pub const UPLINK: PortId = PortId(0);

/// A kind of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pods {
    /// On `veth` ports.
    Veth,
    /// On `tun` ports.
    Tun,
}

impl Pods {
    /// The port of the pod that sends on node a, and that receives on node b.
    pub fn first(self) -> PortId {
        match self {
            Pods::Veth => PortId(1),
            Pods::Tun => PortId(2),
        }
    }

    /// The port of the pod of node b that sends to the other one there.
    pub fn second(self) -> PortId {
        match self {
            Pods::Veth => PortId(3),
            Pods::Tun => PortId(4),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Pods::Veth => "af_xdp",
            Pods::Tun => "tun",
        }
    }

    /// What their ports are like.
    pub fn device(self) -> DeviceFacts {
        match self {
            Pods::Veth => WIRE,
            Pods::Tun => DeviceFacts { link: Link::Ip, caps: OFFLOADS, partial_sums: false },
        }
    }
}

/// The ports behind the uplink, in this order.
const PODS: [Pods; 4] = [Pods::Veth, Pods::Tun, Pods::Veth, Pods::Tun];

/// An Ethernet port that does nothing itself.
pub const WIRE: DeviceFacts =
    DeviceFacts { link: Link::Ethernet, caps: NO_OFFLOADS, partial_sums: false };
const NO_OFFLOADS: Caps =
    Caps { checksum: false, tso4: false, tso6: false, uso: false, coalesce: false };
const OFFLOADS: Caps = Caps { checksum: true, tso4: true, tso6: true, uso: true, coalesce: true };

/// MTU of the pods.
pub const MTU: usize = 1500;
/// MTU of the underlay: room for any tunnel around the pods' packets.
const UNDERLAY_MTU: usize = 1700;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that sends into the tunnel.
    A,
    /// The one that receives from it.
    B,
}

impl Which {
    /// Its name, and the last byte of its underlay address and of its pods' network.
    fn facts(self) -> (&'static str, u8) {
        match self {
            Which::A => ("a", 1),
            Which::B => ("b", 2),
        }
    }

    fn other(self) -> Which {
        match self {
            Which::A => Which::B,
            Which::B => Which::A,
        }
    }

    fn underlay(self) -> IpAddr {
        Ipv4Addr::new(192, 168, 77, self.facts().1).into()
    }

    fn uplink_mac(self) -> Mac {
        Mac([2, 0, 0, 0, 0, self.facts().1])
    }

    /// The address of the pod on a port.
    pub fn pod(self, port: PortId) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.facts().1, 1 + port.0 as u8)
    }

    /// Any MAC will do for a pod.
    pub fn pod_mac(self, port: PortId) -> Mac {
        Mac([2, 0, 0, 1, self.facts().1, port.0 as u8])
    }
}

/// A node's tables.
pub struct Node {
    /// With no route but its own.
    pub snapshot: Snapshot,
    routes: RouteTables,
}

impl Node {
    /// A node whose tunnel is a sample of this name.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn new(which: Which, tunnel: &str) -> Node {
        let config = config(which, tunnel);
        let facts = facts(which, &config);
        let desired = Desired::new(config);
        let mut numbers = Numbers::default();
        let mut snapshot =
            build::build(&desired.config(), &facts, &Snapshot::default(), &mut numbers);
        for neighbour in snapshot.neighbours.iter() {
            neighbour.set_permanent(match neighbour.port {
                UPLINK => which.other().uplink_mac(),
                pod => which.pod_mac(pod),
            });
        }
        let mut routes = RouteTables::default();
        routes.change(Hops::new(&desired, &snapshot).all().map(|(net, hop)| (net, Some(hop))));
        routes.publish(&mut snapshot);
        Node { snapshot, routes }
    }

    /// Its IPv4 routes and these, which lead where `like` does.
    pub fn table(&self, nets: &[Ipv4Net], like: Ipv4Addr) -> Arc<Lpm<Ipv4Addr>> {
        let hop = self.snapshot.route(like.into()).to_bits();
        let mut routes = self.routes.v4.clone();
        routes.extend(nets.iter().map(|net| (*net, hop)));
        routes.snapshot()
    }
}

/// The sample of that name as the one tunnel of a `[tunnel]` section.
fn sample(tunnel: &str) -> toml::Table {
    let samples = toml::Table::try_from(encap::Configs::samples()).expect("samples are TOML");
    let mut kinds = toml::Table::new();
    for (kind, samples) in samples {
        let samples = samples.as_array().into_iter().flatten();
        let named = samples.filter(|sample| sample["name"].as_str() == Some(tunnel));
        kinds.insert(kind, named.cloned().collect::<Vec<_>>().into());
    }
    kinds
}

fn config(which: Which, tunnel: &str) -> Config {
    let (name, own) = which.facts();
    let (peer, others) = which.other().facts();
    let mut text = format!(
        "node = {{ name = '{name}' }}\n\
         uplink = [{{ device = 'uplink' }}]\n\
         gateway = {{ addresses = ['10.244.{own}.1'] }}\n"
    );
    for (pods, i) in PODS.iter().zip(1..) {
        let (address, kind) = (which.pod(PortId(i)), pods.kind());
        text += &format!(
            "[[port]]\nname = 'pod{i}'\nkind = '{kind}'\nnetns = 'pod{i}'\ndevice = 'eth0'\n\
             addresses = ['{address}/24']\nmtu = {MTU}\n"
        );
    }
    text += &format!(
        "[[peer]]\nname = '{peer}'\naddress = '{}'\ntunnel = '{tunnel}'\n\
         subnets = ['10.244.{others}.0/24']\n",
        which.other().underlay()
    );
    let section = toml::Table::from_iter([("tunnel".to_owned(), sample(tunnel).into())]);
    text += &toml::to_string(&section).expect("tunnels are TOML");
    Config::parse(&text, "bench").expect("a config without a fault")
}

fn facts(which: Which, config: &Config) -> Facts {
    let open = |(port, (i, pods)): (&config::Port, (u16, &Pods))| {
        (port.name.clone(), OpenPort { id: PortId(i), device: pods.device() })
    };
    Facts {
        reassembled: None,
        uplinks: vec![UplinkFacts {
            device: WIRE,
            mac: which.uplink_mac(),
            mtu: UNDERLAY_MTU,
            most: UNDERLAY_MTU,
        }],
        ports: config.port.iter().zip((1..).zip(&PODS)).map(open).collect(),
        peers: config.peer.iter().map(|peer| (peer.name.clone(), 0)).collect(),
        ways: vec![Way { uplink: 0, local: which.underlay(), next_hop: which.other().underlay() }],
        paths: PathMtus::default(),
    }
}
