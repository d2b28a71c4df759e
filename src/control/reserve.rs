//! The tunnels' sockets: one for each UDP port or protocol at each of our addresses.
//!
//! XDP takes our packets before the kernel sees them, so the sockets are there for what passes by: they
//! keep others off the ports, they keep the kernel from answering "port unreachable" while XDP is not
//! attached yet, and they get the outer packets that the kernel had to put together, which are read
//! from them as from any other port ([`reassembled`](crate::io::reassembled)).

use super::netlink::Netlink;
use crate::config::Config;
use crate::io::reassembled::{Inbox, Place, Reassembled};
use encap::Steer;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How often, and how long apart, a port is tried that its last owner may be leaving just now.
const LEAVING: (u32, Duration) = (20, Duration::from_millis(50));

/// The port can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// Somebody has it.
    #[error(
        "tunnel {tunnel}: UDP port {port} of {address} is in use{}; expected a free port: stop that, \
         or give the tunnel another `port`", user(.device.as_deref(), *.port)
    )]
    InUse {
        /// The tunnel.
        tunnel: String,
        /// Our address.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// The kernel's tunnel device that has it, if one has.
        device: Option<String>,
    },
    /// The kernel said no for another reason.
    #[error("tunnel {tunnel}: {by} of {address}: {source}")]
    Refused {
        /// The tunnel.
        tunnel: String,
        /// Our address.
        address: IpAddr,
        /// Its port or protocol.
        by: Steer,
        /// What the kernel said.
        source: io::Error,
    },
    /// The sockets can't be told which devices are uplinks.
    #[error("the filter of the tunnels' sockets: {0}")]
    Filter(io::Error),
}

fn user(device: Option<&str>, port: u16) -> String {
    match device {
        Some(device) => format!(" by the kernel's tunnel device {device}"),
        None => format!(" (`ss -ulpn sport = :{port}` tells by whom)"),
    }
}

/// What tunnels' packets are told apart by, each with the tunnel's name.
pub fn steers(config: &Config) -> impl Iterator<Item = (&str, Steer)> {
    let tunnels = config.tunnel.tunnels();
    tunnels.flat_map(|(name, tunnel)| tunnel.steers().into_iter().map(move |steer| (name, steer)))
}

/// The sockets that we hold.
#[derive(Debug)]
pub struct Reserved(Arc<Inbox>);

impl Reserved {
    /// None yet.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn none() -> io::Result<Reserved> {
        Ok(Reserved(Inbox::new()?))
    }

    /// The port that reads them.
    pub fn port(&self) -> Reassembled {
        Reassembled::new(self.0.clone())
    }

    /// Has sockets for all packets of `tunnels` at each of `addresses`, patiently or at once, and gives
    /// back those for others. They are ours until this value and its port are dropped. What came by none
    /// of `links`, the uplinks' devices, they don't take.
    ///
    /// # Errors
    /// When one is in use; who uses it is looked up by `netlink`.
    pub async fn update(
        &mut self,
        netlink: &Netlink,
        tunnels: impl IntoIterator<Item = (&str, Steer)>,
        addresses: &BTreeSet<IpAddr>,
        links: &[u32],
        patiently: bool,
    ) -> Result<(), ReserveError> {
        let all = tunnels.into_iter().flat_map(|(tunnel, by)| {
            addresses.iter().map(move |own| (Place { address: *own, by }, tunnel))
        });
        // Tunnels of one port, told apart by their VNI, share its socket.
        let wanted: HashMap<Place, &str> = all.collect();
        self.0.retain(|held| wanted.contains_key(&held));
        self.0.listen_to(links).map_err(ReserveError::Filter)?;
        for (place, tunnel) in wanted {
            if self.0.has(place) {
                continue;
            }
            let (tunnel, Place { address, by }) = (tunnel.to_owned(), place);
            let patience = if patiently { LEAVING.0 } else { 1 };
            let opened = self.open_patiently(netlink, place, patience).await;
            opened.map_err(|(source, device)| match by {
                Steer::Udp(port) if source.kind() == io::ErrorKind::AddrInUse => {
                    ReserveError::InUse { tunnel, address, port, device }
                }
                _ => ReserveError::Refused { tunnel, address, by, source },
            })?;
        }
        Ok(())
    }

    /// A port that a daemon had which was killed a moment ago is free in the next; what a device of the
    /// kernel has it keeps. An error comes with the name of that device.
    async fn open_patiently(
        &self,
        netlink: &Netlink,
        place: Place,
        mut patience: u32,
    ) -> Result<(), (io::Error, Option<String>)> {
        loop {
            let Err(error) = self.0.open(place) else { return Ok(()) };
            let device = device_of(netlink, place.by).await;
            patience -= 1;
            if error.kind() != io::ErrorKind::AddrInUse || device.is_some() || patience == 0 {
                return Err((error, device));
            }
            tokio::time::sleep(LEAVING.1).await;
        }
    }
}

/// The kernel's tunnel device that receives on a UDP port.
async fn device_of(netlink: &Netlink, by: Steer) -> Option<String> {
    let Steer::Udp(port) = by else { return None };
    let links = netlink.links().await.ok()?;
    links.into_iter().find(|link| link.udp_port == Some(port)).map(|link| link.name)
}
