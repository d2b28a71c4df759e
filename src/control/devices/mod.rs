//! Devices of the config's ports: made, addressed, opened.
//!
//! TUN and TAP devices live as long as their descriptors, which may be longer than we do, see [`tuns`];
//! a veth pair does not, see [`veth`].

mod settings;
mod sysctl;
mod tuns;
mod veth;

pub use settings::Settings;

use super::build::DeviceFacts;
use super::netlink::{Netlink, NetlinkError};
use super::state::PortFacts;
use super::undo::Undo;
use crate::config::{self, Config, Kind};
use crate::io::Port;
use crate::io::af_xdp::{AfXdp, AfXdpConfig, AfXdpError, Attach, Matches, Umem};
use crate::io::netns::NetnsError;
use crate::io::tun::{self, TunConfig, TunError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Slots of the rings of an uplink, and chunks that stand ready for it.
const UPLINK_RING: u32 = 2048;
const UPLINK_FILL: u32 = 1024;
/// Frames that may wait in a TUN device.
const TUN_QUEUE: u32 = 1000;

/// An open port.
pub struct Opened {
    /// Its queues.
    pub queues: Vec<Box<dyn Port>>,
    /// For the stages.
    pub facts: DeviceFacts,
    /// For people.
    pub about: PortFacts,
}

/// A port's device can't be had.
#[derive(Debug, thiserror::Error)]
#[error("port {port}: {what}")]
pub struct PortError {
    /// The port.
    port: String,
    /// What is wrong.
    what: DeviceError,
}

/// What is wrong with a device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// See [`NetlinkError`].
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// See [`NetnsError`].
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// See [`TunError`].
    #[error(transparent)]
    Tun(#[from] TunError),
    /// See [`AfXdpError`].
    #[error(transparent)]
    AfXdp(#[from] AfXdpError),
    /// Somebody else's device has the name.
    #[error(
        "a device {device} that is not this port's exists already{place}; expected none: remove it \
         (`ip link delete {device}` there), or give the port another name for it"
    )]
    Exists {
        /// The device.
        device: String,
        /// ` in namespace x`, or nothing when it is ours.
        place: String,
    },
    /// Another daemon is at work on it.
    #[error(
        "device {device} is in use by a daemon that is still running; stop that one, or give this \
         node another `node.name` and the port another `host-device`"
    )]
    InUse {
        /// The device.
        device: String,
    },
    /// Somebody removed it at once.
    #[error("device {device} was made and is gone already; see what else manages devices there")]
    Gone {
        /// The device.
        device: String,
    },
    /// Offloads could not be switched off in the pod.
    #[error("switching checksum offload off on {device}: {source}")]
    Offloads {
        /// The device.
        device: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Makes a port's device, of this MTU, gives it its addresses and routes, and opens our end of it.
///
/// # Errors
/// When any of that fails; `undo` then knows what had been made.
pub async fn open_port(
    config: &Config,
    port: &config::Port,
    mtu: u32,
    umem: &Arc<Umem>,
    undo: &mut Undo,
) -> Result<Opened, PortError> {
    let name = port.name.to_string();
    open(config, port, mtu, umem, undo).await.map_err(|what| PortError { port: name, what })
}

/// Sets the device of an open port up otherwise, while it is in use.
///
/// # Errors
/// When that fails; it may then be half-way, and the same back mends it.
pub async fn adjust(port: &config::Port, from: &Settings, to: &Settings) -> Result<(), PortError> {
    let name = port.name.to_string();
    settings::adjust(port, from, to).await.map_err(|what| PortError { port: name, what })
}

/// Gives the device of an open port another MTU, while it is in use.
///
/// # Errors
/// When the kernel refuses.
pub async fn set_mtu(port: &config::Port, from: u32, to: u32) -> Result<(), PortError> {
    let name = port.name.to_string();
    settings::set_mtu(port, from, to).await.map_err(|what| PortError { port: name, what })
}

/// Opens an uplink, all its queues, whose device is called `device` at present. Its XDP program takes
/// nothing yet.
///
/// # Errors
/// When the device can't be taken.
pub fn open_uplink(
    uplink: &config::Uplink,
    device: &str,
    umem: &Arc<Umem>,
) -> Result<Vec<AfXdp>, AfXdpError> {
    AfXdp::open(
        umem,
        AfXdpConfig {
            device: device.to_owned(),
            attach: attach(uplink.attach),
            matches: Some(Matches::default()),
            ring: UPLINK_RING,
            fill: UPLINK_FILL,
        },
    )
}

/// What its queues are like, for people: all are alike.
pub fn mode(queues: &[Box<dyn Port>]) -> String {
    let one = queues.first().map(|port| port.describe()).unwrap_or_default();
    match queues.len() {
        1 => one,
        many => format!("{one}, {many} queues"),
    }
}

/// A port that was opened, as stages see it.
pub fn facts(port: &dyn Port, partial_sums: bool) -> DeviceFacts {
    DeviceFacts { link: port.link(), caps: port.caps(), partial_sums }
}

async fn open(
    config: &Config,
    port: &config::Port,
    mtu: u32,
    umem: &Arc<Umem>,
    undo: &mut Undo,
) -> Result<Opened, DeviceError> {
    let netns = port.netns.as_ref().map(config::Netns::path);
    let there = Netlink::connect(netns.as_deref())?;
    let device = port.device.as_str();
    let (queues, ours, is_kept) = match port.kind {
        Kind::Tun | Kind::Tap => {
            let (queues, is_kept) = open_tun(config, port, mtu, netns.clone()).await?;
            (queues, device.to_owned(), is_kept)
        }
        Kind::AfXdp => {
            let there = netns.as_deref();
            let (queues, ours) = veth::open(config, port, mtu, there, umem, undo).await?;
            (queues, ours, false)
        }
    };
    sysctl::quieten(netns.as_deref(), device, port.kind);
    if netns.is_none() {
        sysctl::trust(device);
    }
    let gateways: Vec<_> = config.gateway.addresses.iter().map(|own| own.ip()).collect();
    Settings::of(port, &gateways).set_up(device, &there, is_kept).await?;
    let about = PortFacts {
        kind: kind_name(port.kind).to_owned(),
        device: ours,
        netns: port.netns.as_ref().map(ToString::to_string),
        addresses: port.addresses.iter().map(|own| own.ip()).collect(),
        mode: mode(&queues),
    };
    let facts = facts(queues[0].as_ref(), port.kind == Kind::AfXdp);
    Ok(Opened { facts, queues, about })
}

/// A TUN or TAP device with a queue for each worker; whether it is one that was there already.
async fn open_tun(
    config: &Config,
    port: &config::Port,
    mtu: u32,
    netns: Option<PathBuf>,
) -> Result<(Vec<Box<dyn Port>>, bool), DeviceError> {
    let tun = TunConfig {
        kind: if port.kind == Kind::Tap { tun::Kind::Tap } else { tun::Kind::Tun },
        name: port.device.to_string(),
        netns,
        mtu,
        mac: None,
        queues: config.workers.cores.len(),
        tx_queue_len: TUN_QUEUE,
    };
    let (queues, is_kept) = tuns::open(port, &tun).await?;
    Ok((boxed(queues), is_kept))
}

/// Queues of one kind as queues of any.
pub fn boxed<P: Port + 'static>(queues: Vec<P>) -> Vec<Box<dyn Port>> {
    queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Port>).collect()
}

fn attach(attach: config::Attach) -> Attach {
    match attach {
        config::Attach::Auto => Attach::Auto,
        config::Attach::Native => Attach::Native,
        config::Attach::Generic => Attach::Generic,
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Tun => "tun",
        Kind::Tap => "tap",
        Kind::AfXdp => "af_xdp",
    }
}
