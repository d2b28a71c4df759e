//! Devices of the config's ports: made, addressed, opened.
//!
//! TUN and TAP devices live as long as their descriptors. A veth pair does not, so that it is marked as
//! ours: one that a killed daemon left is replaced, and a device that somebody else made is left alone.

use super::build::{self, DeviceFacts};
use super::netlink::{Change, LinkFacts, Netlink, NetlinkError, Veth, VethEnd, Via};
use super::state::PortFacts;
use super::undo::Undo;
use crate::config::{self, Config, Kind};
use crate::io::af_xdp::{AfXdp, AfXdpConfig, AfXdpError, Attach, Umem};
use crate::io::netns::{self, NetnsError};
use crate::io::tun::{self, Tun, TunConfig, TunError};
use crate::io::{Port, device};
use encap::wire::Mac;
use ipnet::IpNet;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Slots of the rings of a pod's port, and chunks that stand ready for it while it is quiet.
const POD_RING: u32 = 1024;
const POD_FILL: u32 = 64;
/// Slots of the rings of an uplink, and chunks that stand ready for it.
const UPLINK_RING: u32 = 2048;
const UPLINK_FILL: u32 = 1024;
/// Frames that may wait in a TUN device.
const TUN_QUEUE: u32 = 1000;
/// How often, and how long apart, a device is looked at that its last owner may be leaving just now.
const LEAVING: (u32, Duration) = (20, Duration::from_millis(50));

/// An open port.
pub struct Opened {
    /// The port itself.
    pub port: Box<dyn Port>,
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
        "device {device} is in use by a daemon that is still running; stop that one, or give this node \
         another `node.name` and the port another `host-device`"
    )]
    InUse {
        /// The device.
        device: String,
    },
    /// A pod is to send what no gateway takes.
    #[error(
        "there is no gateway for its route to {prefix}; add an address of that family to `addresses` of \
         [gateway]"
    )]
    NoGateway {
        /// The route.
        prefix: IpNet,
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

/// Makes a port's device, gives it its addresses and routes, and opens our end of it.
///
/// # Errors
/// When any of that fails; `undo` then knows what had been made.
pub async fn open_port(
    config: &Config,
    port: &config::Port,
    umem: &Arc<Umem>,
    undo: &mut Undo,
) -> Result<Opened, PortError> {
    let name = port.name.to_string();
    open(config, port, umem, undo).await.map_err(|what| PortError { port: name, what })
}

/// Opens an uplink. Its XDP program takes nothing yet.
///
/// # Errors
/// When the device can't be taken.
pub fn open_uplink(uplink: &config::Uplink, umem: &Arc<Umem>) -> Result<AfXdp, AfXdpError> {
    AfXdp::open(
        umem,
        AfXdpConfig {
            device: uplink.device.to_string(),
            attach: attach(uplink.attach),
            matches: Some(Vec::new()),
            ring: UPLINK_RING,
            fill: UPLINK_FILL,
        },
    )
}

/// A port that was opened, as stages see it.
pub fn facts(port: &dyn Port, partial_sums: bool) -> DeviceFacts {
    DeviceFacts { link: port.link(), caps: port.caps(), partial_sums }
}

async fn open(
    config: &Config,
    port: &config::Port,
    umem: &Arc<Umem>,
    undo: &mut Undo,
) -> Result<Opened, DeviceError> {
    let netns = port.netns.as_ref().map(config::Netns::path);
    let there = Netlink::connect(netns.as_deref())?;
    let device = port.device.as_str();
    let (open, ours) = match port.kind {
        Kind::Tun | Kind::Tap => (open_tun(port, netns.clone())?, device.to_owned()),
        Kind::AfXdp => open_veth(config, port, netns.as_deref(), umem, undo).await?,
    };
    quieten(netns.as_deref(), device, port.kind);
    set_up(config, port, &there).await?;
    let about = PortFacts {
        kind: kind_name(port.kind).to_owned(),
        device: ours,
        netns: port.netns.as_ref().map(ToString::to_string),
        addresses: port.addresses.iter().map(|own| own.ip()).collect(),
        mode: open.describe(),
    };
    Ok(Opened { facts: facts(open.as_ref(), port.kind == Kind::AfXdp), port: open, about })
}

fn open_tun(port: &config::Port, netns: Option<PathBuf>) -> Result<Box<dyn Port>, DeviceError> {
    let tun = TunConfig {
        kind: if port.kind == Kind::Tap { tun::Kind::Tap } else { tun::Kind::Tun },
        name: port.device.to_string(),
        netns,
        mtu: port.mtu.get(),
        mac: None,
        queues: 1,
        tx_queue_len: TUN_QUEUE,
    };
    let mut queues = Tun::create(&tun)?;
    Ok(Box::new(queues.pop().expect("as many queues as asked for")))
}

/// Makes a veth pair and takes our end; also says what that is called.
async fn open_veth(
    config: &Config,
    port: &config::Port,
    netns: Option<&Path>,
    umem: &Arc<Umem>,
    undo: &mut Undo,
) -> Result<(Box<dyn Port>, String), DeviceError> {
    let here = Netlink::connect(None)?;
    let near = port.host_end().expect("a port of kind af_xdp has a host end").to_string();
    make_veth(config, port, netns, &near, &here, undo).await?;
    let far = port.device.to_string();
    netns::within(netns, || device::complete_frames(&far))?
        .map_err(|source| DeviceError::Offloads { device: far.clone(), source })?;
    // The kernel is no party on our end: nothing of its own may go to the pod.
    set_sysctls(None, &near, &[("disable_ipv6", "1")]);
    here.change_link(&near, &Change { up: Some(true), ..Change::default() }).await?;
    let open = AfXdp::open(
        umem,
        AfXdpConfig {
            device: near.clone(),
            attach: attach(port.attach.unwrap_or_default()),
            matches: None,
            ring: POD_RING,
            fill: POD_FILL,
        },
    )?;
    Ok((Box::new(open), near))
}

async fn make_veth(
    config: &Config,
    port: &config::Port,
    netns: Option<&Path>,
    near: &str,
    here: &Netlink,
    undo: &mut Undo,
) -> Result<(), DeviceError> {
    let alias = format!("cableway:{}:{}", config.node.name, port.name);
    if let Some(old) = here.link(near).await? {
        remove_left_over(here, old, &alias).await?;
    }
    let there = Netlink::connect(netns)?;
    let far = port.device.as_str();
    if there.link(far).await?.is_some() {
        let place = netns.map(|path| format!(" in namespace {}", path.display()));
        return Err(DeviceError::Exists {
            device: far.to_owned(),
            place: place.unwrap_or_default(),
        });
    }
    let file = netns.map(File::open).transpose().map_err(|source| {
        let path = netns.expect("a file was opened").to_owned();
        NetnsError::Enter { path, source }
    })?;
    let pod_mac = Mac::derive(&format!("pod/{}/{}", config.node.name, port.name));
    let made = here
        .add_veth(&Veth {
            near: VethEnd { name: near, mac: Some(config.gateway_mac()) },
            far: VethEnd { name: far, mac: Some(pod_mac) },
            netns: file.as_ref().map(AsFd::as_fd),
            mtu: port.mtu.get(),
            alias: &alias,
        })
        .await;
    // Made or half made: what is there now is ours, because it was not there before.
    if let Some(link) = here.link(near).await? {
        undo.link(here, link.index);
    }
    Ok(made?)
}

/// Removes what a killed daemon left of this very port.
async fn remove_left_over(
    here: &Netlink,
    mut old: LinkFacts,
    alias: &str,
) -> Result<(), DeviceError> {
    let device = old.name.clone();
    if old.kind.as_deref() != Some("veth") || old.alias.as_deref() != Some(alias) {
        return Err(DeviceError::Exists { device, place: String::new() });
    }
    // Its XDP program goes with the daemon, but not quite at once.
    for _ in 0..LEAVING.0 {
        if !old.xdp {
            break;
        }
        tokio::time::sleep(LEAVING.1).await;
        match here.link(&device).await? {
            Some(now) => old = now,
            None => return Ok(()),
        }
    }
    if old.xdp {
        return Err(DeviceError::InUse { device });
    }
    tracing::info!("replacing device {device}, which a killed daemon left");
    Ok(here.delete_link(old.index).await?)
}

/// Addresses, up, routes: in this order, because the kernel forgets routes of a device that is down.
async fn set_up(config: &Config, port: &config::Port, there: &Netlink) -> Result<(), DeviceError> {
    let device = port.device.as_str();
    let Some(link) = there.link(device).await? else {
        let gone = io::Error::from_raw_os_error(libc::ENODEV);
        return Err(AfXdpError::Missing(format!("{device} ({gone})")).into());
    };
    for own in &port.addresses {
        there.add_address(link.index, own.net()).await?;
    }
    there.change_link(device, &Change { up: Some(true), ..Change::default() }).await?;
    for prefix in port.effective_routes() {
        // The kernel has routed the device's own networks with its addresses.
        if port.addresses.iter().any(|own| own.net().trunc() == prefix) {
            continue;
        }
        let via = via(config, port, prefix)?;
        let source = port.addresses.iter().map(|own| own.ip()).find(|own| same(*own, prefix));
        there.add_route(link.index, prefix, via, source).await?;
    }
    Ok(())
}

fn via(config: &Config, port: &config::Port, prefix: IpNet) -> Result<Via, DeviceError> {
    if port.kind == Kind::Tun {
        return Ok(Via::Device);
    }
    let gateway = build::gateway_of(config, port, prefix.addr().is_ipv4());
    let gateway = gateway.ok_or(DeviceError::NoGateway { prefix })?;
    let near = port.addresses.iter().any(|own| own.net().contains(&gateway));
    Ok(if near { Via::Gateway(gateway) } else { Via::Onlink(gateway) })
}

fn same(address: IpAddr, prefix: IpNet) -> bool {
    address.is_ipv4() == prefix.addr().is_ipv4()
}

/// Keeps the kernel at a pod's end from talking without being asked: no router solicitations, since its
/// routes are set, and no duplicate address detection, since there is nobody else. A TUN device needs no
/// link-local address either.
fn quieten(netns: Option<&Path>, device: &str, kind: Kind) {
    let mut settings = vec![("accept_ra", "0"), ("router_solicitations", "0"), ("accept_dad", "0")];
    if kind == Kind::Tun {
        settings.push(("addr_gen_mode", "1"));
    }
    set_sysctls(netns, device, &settings);
}

/// Sets IPv6 settings of a device. They are niceties: where `/proc/sys` can't be written the daemon works
/// all the same, and without IPv6 there is nothing to set.
fn set_sysctls(netns: Option<&Path>, device: &str, settings: &[(&str, &str)]) {
    let directory = Path::new("/proc/sys/net/ipv6/conf").join(device);
    let write = || {
        for (name, value) in settings {
            fs::write(directory.join(name), value)?;
        }
        Ok(())
    };
    match netns::within(netns, write) {
        Ok(Err(error)) if io::Error::kind(&error) != io::ErrorKind::NotFound => {
            tracing::warn!("setting IPv6 options of {device}: {error}");
        }
        _ => {}
    }
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
