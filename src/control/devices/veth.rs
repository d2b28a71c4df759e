//! Veth pairs: one end in a pod, the other one here for AF_XDP.
//!
//! A pair outlives its daemon, so that our end is marked as ours by its alias,
//! `cableway:NODE:PORT`. One that a killed daemon left is replaced; one that has our XDP program on
//! it belongs to a daemon which is still running, because the program goes with the process; what
//! somebody else made is left alone.

use super::{DeviceError, attach, boxed, sysctl};
use crate::config::{self, Config};
use crate::control::netlink::{Change, LinkFacts, Netlink, Veth, VethEnd};
use crate::control::undo::Undo;
use crate::io::af_xdp::{AfXdp, AfXdpConfig, Umem};
use crate::io::netns::{self, NetnsError};
use crate::io::{Port, device};
use encap::wire::Mac;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Slots of the rings of a pod's port.
const RING: u32 = 1024;
/// How often, and how long apart, a device is looked at that its last owner may be leaving just
/// now.
const LEAVING: (u32, Duration) = (20, Duration::from_millis(50));

/// Makes a veth pair and takes our end; also says what that is called.
pub(super) async fn open(
    config: &Config,
    port: &config::Port,
    mtu: u32,
    netns: Option<&Path>,
    umem: &Arc<Umem>,
    undo: &mut Undo,
) -> Result<(Vec<Box<dyn Port>>, String), DeviceError> {
    let here = Netlink::connect(None)?;
    let near = port.host_end().expect("a port of kind af_xdp has a host end").to_string();
    make_veth(config, port, mtu, netns, &near, &here, undo).await?;
    let far = port.device.to_string();
    netns::within(netns, || device::complete_frames(&far))?
        .map_err(|source| DeviceError::Offloads { device: far.clone(), source })?;
    sysctl::silence(&near);
    here.change_link(&near, &Change { up: Some(true), ..Change::default() }).await?;
    let open = AfXdp::open(
        umem,
        AfXdpConfig {
            device: near.clone(),
            attach: attach(port.attach.unwrap_or_default()),
            matches: None,
            ring: RING,
            fill: config.memory.standby.get(),
        },
    )?;
    Ok((boxed(open), near))
}

async fn make_veth(
    config: &Config,
    port: &config::Port,
    mtu: u32,
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
            mtu,
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
