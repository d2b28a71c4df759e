//! What can be measured: routers, each made of a node of the arena on which there is nothing yet.
//!
//! A [`Contender`] is a kind of router and how to start one; a [`Router`] is one at work, which leaves
//! the node as it was when it is dropped. To add a contender: a file here and a line in [`ALL`].
//!
//! What a router has to do in its node's namespace:
//! * attach the pod: in the pod's namespace a device [`POD_DEVICE`](super::arena::POD_DEVICE) with the
//!   pod's address, [`POD_MTU`](super::arena::POD_MTU), and a default route. Where it has a MAC, the
//!   router's end answers to [`GATEWAY_MAC`](super::arena::GATEWAY_MAC).
//! * tunnel: packets between the pods of the two sites go in VXLAN, with
//!   [`VNI`](super::arena::VNI), [`TUNNEL_PORT`](super::arena::TUNNEL_PORT), the sites' addresses and
//!   `vtep_mac` within, and without outer UDP checksums.
//! * receive live frames: both devices that it receives by must poll (have XDP or GRO on), or the
//!   kernel refuses what XDP sends to them.

mod cableway;
mod kernel;
mod ovs;

use super::Result;
use super::arena::Site;
use std::fmt::Debug;
use std::path::PathBuf;

/// A kind of router.
pub trait Contender: Debug + Sync {
    /// Its name, stable: on the command line and in reports.
    fn name(&self) -> &'static str;

    /// What it is, in a line.
    fn about(&self) -> &'static str;

    /// Why it can't run on this machine, if so, and what to do about it.
    fn lacks(&self) -> Option<String> {
        None
    }

    /// Whether its packets are tunnelled between the nodes; the sides of a tunnel alone can be asked
    /// only of those.
    fn tunnels(&self) -> bool {
        true
    }

    /// Starts one on a node; returns when it forwards.
    ///
    /// # Errors
    /// When it does not start. What it made until then is removed.
    fn start(&self, place: &Place<'_>) -> Result<Box<dyn Router>>;
}

/// Where a router is to work, and how.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its node and pod.
    pub site: &'a Site,
    /// The other node, its only peer.
    pub peer: &'a Site,
    /// The core for its own threads.
    pub core: usize,
    /// Whether its threads may sleep.
    pub mode: Mode,
}

/// Whether a router's own threads may sleep. Routers without threads don't care.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They never sleep
    Poll,
    /// They sleep when nothing has come for a while
    Adaptive,
}

/// A router at work. Dropped, it takes all that it made with it.
pub trait Router: Debug {
    /// How the pod is attached.
    fn attachment(&self) -> Attachment;

    /// How it works here, for people: modes, offloads, what is special.
    fn describe(&self) -> Vec<String>;

    /// The processes whose threads' time is its own; the kernel has none.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// What the pod's device is, which decides how frames come in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// One end of a veth pair: Ethernet frames, by XDP.
    Veth,
    /// A TUN device: IP packets, which the kernel of the pod's namespace must forward into it.
    Tun,
}

/// All of them.
pub const ALL: &[&dyn Contender] = &[
    &kernel::Vxlan::PLAIN,
    &kernel::Vxlan::RPS,
    &kernel::Direct,
    &cableway::Cableway::TUN,
    &cableway::Cableway::AF_XDP,
    &ovs::OvsAfxdp,
];

/// The one of that name.
pub fn find(name: &str) -> Option<&'static dyn Contender> {
    ALL.iter().copied().find(|contender| contender.name() == name)
}

/// Whether there is a program of that name; of root's programs also when our path lacks their places.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(places).any(|place| place.join(program).is_file())
}
