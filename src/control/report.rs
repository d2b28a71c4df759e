//! What the daemon tells about itself: the JSON of the management socket and of `show --json`.
//!
//! Stable: fields are added, never renamed or removed. Numbers count frames and bytes since the
//! start of the daemon where nothing else is said; addresses, prefixes and MACs are text.

mod acl;

pub use acl::{Acl, AclPort, AclRule, Flow, FlowFilter, FlowTable, Flows};

use crate::config::edit::Problem;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What there is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Devices that frames come from and go to
    Ports,
    /// Where packets of the overlay go
    Routes,
    /// Remote nodes
    Peers,
    /// Stations on ports and next hops of the underlay
    Neighbours,
    /// Which VTEP is behind which MAC
    Fdb,
    /// Policies in force, and how often their rules matched
    Acl,
    /// Flows that are remembered
    Flows,
    /// Why frames were dropped, and whether all of them add up
    Drops,
    /// Cores at work, and their memory
    Workers,
}

impl What {
    /// All of it.
    pub const ALL: &[What] = &[
        What::Ports,
        What::Routes,
        What::Peers,
        What::Neighbours,
        What::Fdb,
        What::Acl,
        What::Flows,
        What::Drops,
        What::Workers,
    ];

    /// As it is written on the command line and in the path.
    pub fn name(self) -> &'static str {
        match self {
            What::Ports => "ports",
            What::Routes => "routes",
            What::Peers => "peers",
            What::Neighbours => "neighbours",
            What::Fdb => "fdb",
            What::Acl => "acl",
            What::Flows => "flows",
            What::Drops => "drops",
            What::Workers => "workers",
        }
    }

    /// The one that is written so.
    pub fn from_name(name: &str) -> Option<What> {
        What::ALL.iter().copied().find(|what| what.name() == name)
    }
}

/// `GET /v1/ready`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    /// Always true: a daemon that is not ready does not answer.
    pub ready: bool,
    /// Name of the node.
    pub node: String,
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// `GET /v1/show/ports`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ShownPorts")]
pub struct Ports {
    /// In the order of their numbers: the uplinks, then the config's ports.
    pub ports: Vec<Port>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ShownPort")]
pub struct Port {
    /// Its number.
    pub id: u16,
    /// Its name in the config; of an uplink that of its device.
    pub name: String,
    /// `pod` or `uplink`.
    pub role: String,
    /// `tun`, `tap` or `af_xdp`.
    pub kind: String,
    /// The device that frames come from; of a veth pair our end.
    pub device: String,
    /// Namespace of the pod's device; absent when it is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Our MAC on it; absent where frames have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Largest IP packet that it sends.
    pub mtu: usize,
    /// Why that is so many, for people; absent of an uplink, whose device says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_from: Option<String>,
    /// Addresses of its stations; of an uplink ours.
    pub addresses: Vec<IpAddr>,
    /// The core whose worker serves it; the first queue if there are several.
    pub core: usize,
    /// How it works on this machine, for people.
    pub mode: String,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, link-layer header included.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent, link-layer header included.
    pub tx_bytes: u64,
    /// Errors of the device.
    pub errors: u64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Its queues, whose numbers add up to those above.
    #[serde(default)]
    pub queues: Vec<Queue>,
}

/// A queue of a port. One worker owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// Its number with the device.
    pub number: usize,
    /// The core whose worker owns it.
    pub core: usize,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, link-layer header included.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent, link-layer header included.
    pub tx_bytes: u64,
    /// Frames to be sent by it that other workers handed over.
    pub taken_over: u64,
    /// Chunks of packet memory that it holds, as of a second ago.
    pub chunks: u64,
    /// Errors.
    pub errors: u64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// `GET /v1/show/routes`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ShownRoutes")]
pub struct Routes {
    /// By family and prefix.
    pub routes: Vec<Route>,
}

/// A route of the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ShownRoute")]
pub struct Route {
    /// Where to.
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// `local`, `port`, `station`, `peer`, `any` of several, `unreachable` or `blackhole`.
    pub kind: String,
    /// The station's address or the peer's name, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The port that it leaves by, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Largest packet that passes so, where it leaves by a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<usize>,
    /// Of kind `any` the next hops, which share the flows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<NextHop>,
}

/// One of a route's next hops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ShownNextHop")]
pub struct NextHop {
    /// `port`, `station` or `peer`.
    pub kind: String,
    /// The station's address or the peer's name, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The port that it leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Largest packet that passes so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<usize>,
    /// Whether it takes packets now.
    pub is_up: bool,
}

/// `GET /v1/show/peers`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ShownPeers")]
pub struct Peers {
    /// In the config's order.
    pub peers: Vec<Peer>,
}

/// A remote node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ShownPeer")]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address on the underlay.
    pub address: IpAddr,
    /// Ours towards it.
    pub local: IpAddr,
    /// Name of the tunnel that packets to it go through now; `direct` when through none.
    pub tunnel: String,
    /// Kind of the tunnel; `direct` when there is none.
    pub kind: String,
    /// Bytes that the tunnel adds to a packet, outer IP header included.
    pub overhead: usize,
    /// Largest IP packet of the overlay that the way to it carries: the uplink's MTU, or the path's, less
    /// the overhead.
    #[serde(default)]
    pub mtu: usize,
    /// Largest outer packet that passes on the way, where a router there says that it is smaller than the
    /// uplink's MTU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<usize>,
    /// By what its packets may come: names of tunnels, and `direct`.
    #[serde(default)]
    pub accepts: Vec<String>,
    /// The uplink towards it.
    pub uplink: String,
    /// The underlay's next hop towards it; itself when it is on our link.
    pub next_hop: IpAddr,
    /// The next hop's MAC, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop_mac: Option<String>,
}

/// `GET /v1/show/neighbours`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Neighbours {
    /// Stations of pods' ports and next hops of the underlay.
    pub neighbours: Vec<Neighbour>,
}

/// A station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// The port it is on.
    pub port: String,
    /// Its MAC, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// `incomplete`, `reachable`, `stale` or `permanent`.
    pub state: String,
}

/// `GET /v1/show/fdb`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fdb {
    /// VTEPs, ours and the peers'.
    pub fdb: Vec<FdbEntry>,
}

/// Where inner Ethernet frames to a MAC go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FdbEntry {
    /// The VTEP's MAC.
    pub mac: String,
    /// Name of the tunnel.
    pub tunnel: String,
    /// The peer behind it; absent for our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The peer's address on the underlay; absent for our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// `GET /v1/show/drops`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drops {
    /// Every reason there is, also those without a frame, in the order of the stages.
    pub drops: Vec<Drop>,
    /// What the kernel dropped before us or after us; not part of the sums below.
    pub kernel: Vec<KernelDrop>,
    /// Whether the frames add up.
    pub conservation: Conservation,
}

/// Frames that were dropped for one reason, by all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drop {
    /// `stage.name`.
    pub reason: String,
    /// What happened, for people.
    pub text: String,
    /// How many.
    pub count: u64,
}

/// A counter of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelDrop {
    /// Name of the port.
    pub port: String,
    /// The kernel's name for it.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The law: received + generated + split + replicated = emitted + held + merged + dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conservation {
    /// Frames that ports handed in.
    pub received: u64,
    /// Frames that stages made: ARP, ND, ICMP.
    pub generated: u64,
    /// Frames that segmentation and fragmentation added.
    pub split: u64,
    /// Copies made to flood a frame.
    pub replicated: u64,
    /// Frames that ports took.
    pub emitted: u64,
    /// Frames that wait now, those on their way from one worker to another included.
    pub held: u64,
    /// Frames that coalescing put into others.
    pub merged: u64,
    /// The sum of all drops.
    pub dropped: u64,
    /// Whether both sides were equal when asked. Workers go on counting meanwhile, so that this may
    /// be false for a moment under traffic; it is always true once traffic has ceased.
    pub balanced: bool,
}

/// `GET /v1/show/workers`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workers {
    /// In the config's order.
    pub workers: Vec<Worker>,
    /// The memory that they share.
    pub memory: Memory,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// The core it runs on.
    pub core: usize,
    /// `poll`, `adaptive` or `interrupt`.
    pub mode: String,
    /// Whether it is at work; one that is not has ended after an error.
    pub running: bool,
    /// Names of its ports.
    pub ports: Vec<String>,
    /// Frames that its ports handed in.
    pub received: u64,
    /// Frames that its ports took.
    pub emitted: u64,
    /// Frames that it dropped.
    pub dropped: u64,
    /// Frames that it gave to other workers, who own a queue of the port.
    #[serde(default)]
    pub handed_over: u64,
    /// Frames that other workers gave it.
    #[serde(default)]
    pub taken_over: u64,
}

/// The frames' memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Chunks of 2 KiB in all.
    pub chunks: u32,
    /// Those in nobody's hands.
    pub unclaimed: usize,
    /// Those that workers have ready, as of a second ago.
    #[serde(default)]
    pub pooled: u64,
    /// Those that ports hold or have lent to the kernel, as of a second ago. Frames hold the rest.
    #[serde(default)]
    pub with_ports: u64,
    /// Whether reserved huge pages back it.
    pub huge_pages: bool,
}

/// The body of an answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What is wrong with the request.
    pub error: String,
    /// The same for each part of it that is wrong, with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}
