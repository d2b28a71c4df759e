//! Where routers are measured: namespaces of our own, and the underlay between two nodes.
//!
//! ```text
//!   cableway-bench-pod                                            cableway-bench-far-pod
//!         │ (made by the router)                                         │
//!   cableway-bench-node ── eth0 ───────── the underlay ─────── eth0 ── cableway-bench-far
//! ```
//!
//! For one side of a router, `far` has none: it sends or receives what is on the wire. For a whole path
//! it has one too. Both nodes know each other's MAC and addresses from the start, so that nothing but
//! what is measured is on the underlay.
//!
//! One arena at a time: whoever builds one holds a lock, writes down what it makes before it makes it,
//! and removes what a killed one left.

mod cores;

pub use cores::Cores;
pub(super) use cores::pin;

use super::Result;
use super::cpu::Look;
use super::traffic::sleep;
use crate::lab::netns::{self, sysctl};
use crate::lab::shell::sh;
use crate::lab::state::{Home, Lock, State};
use crate::lab::{self, dismantle, require_root};
use encap::wire::Mac;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Where daemons of an arena have their files.
pub(super) const DIRECTORY: &str = "/run/cableway-bench";
const HOME: Home = Home { command: "cableway bench", directory: DIRECTORY, lock: "cableway-bench" };

/// The underlay's device, in both nodes.
pub const UPLINK: &str = "eth0";
/// The pod's device, which the router makes.
pub const POD_DEVICE: &str = "eth0";
/// Largest IP packet of the underlay.
pub const UNDERLAY_MTU: usize = 1500;
/// Largest IP packet of a pod: what VXLAN leaves of the underlay's.
pub const POD_MTU: usize = UNDERLAY_MTU - 50;
/// The virtual network's number, and the UDP port of its tunnels: flannel's.
pub const VNI: u32 = 1;
/// See [`VNI`].
pub const TUNNEL_PORT: u16 = 8472;
/// The MAC of every router towards its pods.
pub const GATEWAY_MAC: Mac = Mac([2, 0, 0, 0, 9, 1]);

/// How long it is watched how busy the machine is when idle.
const IDLE: Duration = Duration::from_millis(500);

/// What the underlay is like.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Underlay {
    /// A plain pair of veths, through which super-frames of 64 KiB pass whole
    Super,
    /// Without TSO, GSO and UDP segmentation, with GRO: only frames of the MTU pass, as by a wire
    Wire,
}

/// A node of the arena and its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The node's name.
    pub name: &'static str,
    /// The node's namespace.
    pub netns: &'static str,
    /// The pod's.
    pub pod_netns: &'static str,
    /// Its address on the underlay, of a /24.
    pub address: Ipv4Addr,
    /// The MAC of its uplink.
    pub mac: Mac,
    /// The MAC of its tunnel's end.
    pub vtep_mac: Mac,
    /// The network of its pods, a /24. Of the kernel's routers also the tunnel's end's address.
    pub subnet: Ipv4Addr,
    /// The pod's address, of the same /24.
    pub pod: Ipv4Addr,
    /// What the pod has for a gateway.
    pub gateway: Ipv4Addr,
}

/// The router under test's node.
pub const NODE: Site = Site {
    name: "node",
    netns: "cableway-bench-node",
    pod_netns: "cableway-bench-pod",
    address: Ipv4Addr::new(198, 18, 0, 1),
    mac: Mac([2, 0, 0, 0, 0, 1]),
    vtep_mac: Mac([2, 0, 0, 0, 1, 1]),
    subnet: Ipv4Addr::new(10, 244, 1, 0),
    pod: Ipv4Addr::new(10, 244, 1, 2),
    gateway: Ipv4Addr::new(10, 244, 1, 1),
};

/// The other end's.
pub const FAR: Site = Site {
    name: "far",
    netns: "cableway-bench-far",
    pod_netns: "cableway-bench-far-pod",
    address: Ipv4Addr::new(198, 18, 0, 2),
    mac: Mac([2, 0, 0, 0, 0, 2]),
    vtep_mac: Mac([2, 0, 0, 0, 1, 2]),
    subnet: Ipv4Addr::new(10, 244, 2, 0),
    pod: Ipv4Addr::new(10, 244, 2, 2),
    gateway: Ipv4Addr::new(10, 244, 2, 1),
};

/// The namespaces and the underlay; removed when dropped.
#[derive(Debug)]
pub struct Arena {
    /// Which core does what.
    pub cores: Cores,
    underlay: Underlay,
    _lock: Lock,
}

impl Arena {
    /// Builds one, after removing what a killed one left.
    ///
    /// # Errors
    /// When we are not root, another bench is at work, or a command fails.
    pub fn build(underlay: Underlay) -> Result<Arena> {
        require_root()?;
        crate::interrupt::catch()
            .map_err(|source| lab::Error::Io { doing: "catch signals".into(), source })?;
        let lock = HOME.lock()?;
        if let Some(left) = HOME.load()? {
            eprintln!("removing what a bench left that was killed");
            dismantle(&HOME, &left)?;
        }
        if let Some((_, netns)) = namespaces().into_iter().find(|(_, name)| netns::exists(name)) {
            return Err(lab::Error::Taken { netns }.into());
        }
        HOME.store(&state())?;
        // From here on it is dropped, and so removed, whatever fails.
        let arena = Arena { cores: Cores::choose(), underlay, _lock: lock };
        arena.make()?;
        Ok(arena)
    }

    /// What the underlay is like.
    pub fn underlay(&self) -> Underlay {
        self.underlay
    }

    /// How many cores are busy with what others do; to be asked before there are routers.
    ///
    /// # Errors
    /// When the user asked to stop.
    pub fn idle(&self) -> Result<f64> {
        let before = Look::now(self.cores.sender, &[]);
        sleep(IDLE)?;
        Ok(Look::now(self.cores.sender, &[]).load_since(&before))
    }

    /// Removes it.
    ///
    /// # Errors
    /// The first failure; all of it is tried.
    pub fn remove(self) -> Result<()> {
        dismantle(&HOME, &state())?;
        Ok(())
    }

    fn make(&self) -> Result<()> {
        for (_, netns) in namespaces() {
            netns::create(&netns)?;
            sysctl(
                &netns,
                "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
            )?;
        }
        let [a, b] = [NODE.netns, FAR.netns];
        sh!(
            "ip link add {UPLINK} netns {a} address {} mtu {UNDERLAY_MTU} type veth \
             peer name {UPLINK} netns {b} address {} mtu {UNDERLAY_MTU}",
            NODE.mac,
            FAR.mac
        )?;
        for (site, other) in [(&NODE, &FAR), (&FAR, &NODE)] {
            let ns = site.netns;
            sh!("ip -n {ns} address add {}/24 dev {UPLINK}", site.address)?;
            sh!("ip -n {ns} link set {UPLINK} up")?;
            sh!(
                "ip -n {ns} neighbour replace {} lladdr {} dev {UPLINK} nud permanent",
                other.address,
                other.mac
            )?;
            // Frames that were sent by XDP are received by a device that polls, as with GRO it does.
            offload(ns, UPLINK, "gro on")?;
        }
        self.segment(self.underlay)
    }

    /// Makes the underlay another one.
    ///
    /// # Errors
    /// When its devices can't be changed.
    pub fn set_underlay(&mut self, underlay: Underlay) -> Result<()> {
        if underlay != self.underlay {
            self.segment(underlay)?;
            self.underlay = underlay;
        }
        Ok(())
    }

    fn segment(&self, underlay: Underlay) -> Result<()> {
        let is = if underlay == Underlay::Super { "on" } else { "off" };
        [NODE, FAR].into_iter().try_for_each(|site| {
            offload(site.netns, UPLINK, &format!("tso {is} gso {is} tx-udp-segmentation {is}"))
        })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // `remove` tells failures; after it there is nothing left to do.
        let _ = dismantle(&HOME, &state());
    }
}

/// Switches features of a device.
pub(super) fn offload(netns: &str, device: &str, features: &str) -> Result<()> {
    sh!("ip netns exec {netns} ethtool -K {device} {features}")?;
    Ok(())
}

fn namespaces() -> Vec<(String, String)> {
    let names = [NODE, FAR].into_iter().flat_map(|site| [site.netns, site.pod_netns]);
    names.map(|netns| (netns.trim_start_matches("cableway-bench-").into(), netns.into())).collect()
}

fn state() -> State {
    State {
        file: "cableway bench".into(),
        builder: Some(std::process::id()),
        namespaces: namespaces(),
    }
}
