//! TUN and TAP devices across lives: what was kept of a port is taken up again, what is new is kept.
//!
//! A device whose port has other addresses now is made anew: nobody could tell which of the routes in
//! the pod belonged to the old ones.

use super::DeviceError;
use crate::config;
use crate::control::netlink::{Netlink, NetlinkError};
use crate::control::supervisor;
use crate::io::tun::{AdoptError, Tun, TunConfig, TunError};
use ipnet::IpNet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How often, and how long apart, a device is made whose namesake the service manager may be letting
/// go just now.
const LEAVING: (u32, Duration) = (20, Duration::from_millis(50));

/// Opens a port's device, and has it kept; whether it is one that was there already.
pub(super) async fn open(
    port: &config::Port,
    config: &TunConfig,
) -> Result<(Vec<Tun>, bool), DeviceError> {
    // Colons separate names.
    let key = format!("port.{}", port.name.as_str().replace(':', "%3A"));
    let kept = supervisor::take(&key);
    let mut queues = None;
    if !kept.is_empty() {
        match adopt(port, config, kept).await {
            Ok(kept) => queues = Some(kept),
            Err(error) => {
                tracing::info!("port {}: the device that was kept is let go: {error}", port.name);
                supervisor::forget(&key);
            }
        }
    }
    let is_kept = queues.is_some();
    let queues = match queues {
        Some(queues) => queues,
        None => create(config).await?,
    };
    let files: Vec<_> = queues.iter().map(Tun::file).collect();
    supervisor::keep(key, &files, !is_kept);
    Ok((queues, is_kept))
}

/// Takes a device up again that is as the config says.
async fn adopt(
    port: &config::Port,
    config: &TunConfig,
    kept: Vec<OwnedFd>,
) -> Result<Vec<Tun>, AdoptError> {
    let queues = Tun::adopt(config, kept)?;
    let expected: Vec<_> = port.addresses.iter().map(|own| own.net()).collect();
    let found = addresses(config).await.map_err(std::io::Error::other)?;
    match found.iter().find(|found| !expected.contains(found)) {
        None => Ok(queues),
        Some(other) => Err(AdoptError::Differs {
            what: "address",
            found: other.to_string(),
            expected: "one of the config's".to_owned(),
        }),
    }
}

/// The device's addresses but for those that the kernel gave it.
async fn addresses(config: &TunConfig) -> Result<Vec<IpNet>, NetlinkError> {
    let there = Netlink::connect(config.netns.as_deref())?;
    let Some(link) = there.link(&config.name).await? else { return Ok(Vec::new()) };
    let mut addresses = there.addresses(link.index).await?;
    addresses.retain(|net| !matches!(net.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local()));
    Ok(addresses)
}

async fn create(config: &TunConfig) -> Result<Vec<Tun>, TunError> {
    supervisor::sweep();
    for _ in 0..LEAVING.0 {
        match Tun::create(config) {
            Err(TunError::Exists(_)) if supervisor::is_there() => {
                tokio::time::sleep(LEAVING.1).await;
            }
            done => return done,
        }
    }
    Tun::create(config)
}
