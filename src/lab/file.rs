//! The topology file as a user writes it: shapes and spans, no judgement.
//!
//! [`Topology::parse`](super::topology::Topology::parse) turns it into something that can be
//! built, or says where it is wrong. Values that can be wrong in more ways than their type keep
//! their [`Spanned`] place for that message.

use crate::config;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use toml::Spanned;

/// A whole file of `configs/lab/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// `[underlay]`: what joins the nodes.
    #[serde(default)]
    pub underlay: Underlay,
    /// `[overlay]`: how pods' packets cross it.
    #[serde(default)]
    pub overlay: Overlay,
    /// `[[tunnel.<kind>]]`: the very tables of a node's config. When there is none, one of each kind as
    /// flannel and Calico have them, of which VXLAN is used if `encap` names no other.
    #[serde(default)]
    pub tunnel: Option<Spanned<toml::Table>>,
    /// `[workers]`: as in a node's config, but for the cores, over which the lab spreads the nodes.
    #[serde(default)]
    pub workers: config::Workers,
    /// `[memory]`: as in a node's config.
    #[serde(default)]
    pub memory: config::Memory,
    /// `[[node]]`, two or more.
    #[serde(rename = "node", default = "unplaced")]
    pub nodes: Spanned<Vec<Node>>,
    /// `[labels]`: those of pods, by the pods' names.
    #[serde(default)]
    pub labels: BTreeMap<Spanned<String>, config::Labels>,
    /// `[mtu]`: of pods' devices that are wider or narrower than what the tunnel leaves, by the pods' names.
    #[serde(default)]
    pub mtu: BTreeMap<Spanned<String>, u16>,
    /// `[acl]`, as in a node's config, for all nodes; and so what follows.
    pub acl: Option<config::Acl>,
    /// `[[tier]]`
    #[serde(default)]
    pub tier: Vec<config::Tier>,
    /// `[[set]]`
    #[serde(default)]
    pub set: Vec<config::Set>,
    /// `[[policy]]`
    #[serde(default)]
    pub policy: Vec<config::Policy>,
    /// `[[expect]]`: what must come of them.
    #[serde(rename = "expect", default)]
    pub expectations: Vec<Expectation>,
}

/// What must come of policies between two pods.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The check's name, behind `policy-`.
    pub check: String,
    /// The pod that asks.
    pub from: Spanned<String>,
    /// The pod that is asked.
    pub to: Spanned<String>,
    /// For what: TCP or UDP and a port, or ICMP, which is ping.
    pub service: Spanned<config::acl::Service>,
    /// Whether it is answered.
    #[serde(default)]
    pub passes: bool,
    /// What it is answered.
    #[serde(default)]
    pub answer: Answer,
    /// If not, why not: a drop reason.
    #[serde(default)]
    pub drop: Option<String>,
}

/// What is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// A few bytes.
    #[default]
    Small,
    /// By TCP: as much as fills packets, for whose way they are too large at first.
    Large,
    /// To UDP: ICMP's word that nobody is there.
    Refusal,
}

/// What joins the nodes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Underlay {
    /// Shape of it.
    pub kind: Spanned<UnderlayKind>,
    /// Largest IP packet it carries, in bytes.
    pub mtu: Spanned<u16>,
}

impl Default for Underlay {
    fn default() -> Self {
        Self { kind: unplaced(), mtu: Spanned::new(0..0, 1500) }
    }
}

/// Shapes of an underlay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnderlayKind {
    /// A switch in a namespace of its own, where all that the nodes exchange can be captured.
    #[default]
    Bridge,
    /// One veth pair between two nodes: the shortest way, for benches.
    Veth,
    /// A router in a namespace of its own; every node in a subnet of its own.
    Routed,
}

/// How pods' packets cross the underlay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overlay {
    /// The kind of tunnel, one of those in `[tunnel]`; the only one there when absent.
    pub encap: Option<String>,
    /// Family of the outer packets.
    pub family: Family,
    /// What cableway's pods are attached by.
    pub io: Io,
}

/// Family of the outer packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What a pod of a cableway node is attached by; the port kinds of a node's config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Io {
    /// A TUN device in the pod.
    #[default]
    Tun,
    /// A TAP device in the pod.
    Tap,
    /// A veth pair, the node's end under AF_XDP.
    AfXdp,
}

impl Io {
    /// The word for it in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Tap => "tap",
            Self::AfXdp => "af_xdp",
        }
    }
}

/// A node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Names the node and its namespace, `cableway-<name>`.
    pub name: Spanned<String>,
    /// Its addresses on the underlay, with prefix lengths: one of a family, at most.
    pub underlay: Vec<Spanned<IpNet>>,
    /// Where its pods' addresses come from: one of a family, at most.
    pub subnets: Vec<Spanned<IpNet>>,
    /// Its pods, in the order of their addresses.
    #[serde(default)]
    pub pods: Vec<Spanned<String>>,
    /// What routes for it.
    #[serde(default = "unplaced")]
    pub router: Spanned<Router>,
}

/// What routes for a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Router {
    /// A daemon of ours.
    #[default]
    Cableway,
    /// The kernel's `vxlan` device, programmed in this manner.
    KernelVxlan(Preset),
}

/// Whose manner of programming the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Device `flannel.1`, VNI 1, UDP port 8472; pods on the bridge `cni0`.
    Flannel,
    /// Device `vxlan.calico`, VNI 4096, UDP port 4789; pods routed one by one, proxy ARP.
    Calico,
}

/// A default, which has no place in the file.
fn unplaced<T: Default>() -> Spanned<T> {
    Spanned::new(0..0, T::default())
}
