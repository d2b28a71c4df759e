//! The tunnels' UDP ports: a socket of ours on each, which takes nothing in.
//!
//! XDP takes our packets before the kernel sees them, so the sockets are there for what passes by:
//! they keep others off the port, and keep the kernel from answering "port unreachable" while XDP is
//! not attached yet, or to what XDP leaves to it (outer fragments). Nobody reads them; a filter
//! refuses what arrives, so that nothing waits in the kernel's memory.

use super::netlink::Netlink;
use crate::config::Config;
use encap::Steer;
use socket2::{SockFilter, SockRef};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A filter's program (classic BPF) of one instruction: of each packet keep no byte.
const NOTHING: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
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
    #[error("tunnel {tunnel}: UDP port {port} of {address}: {source}")]
    Refused {
        /// The tunnel.
        tunnel: String,
        /// Our address.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
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
#[derive(Debug, Default)]
pub struct Reserved {
    sockets: HashMap<SocketAddr, UdpSocket>,
}

impl Reserved {
    /// Binds the UDP ports of `tunnels` on each of `addresses`, patiently or at once, and gives back
    /// those of others. They are ours until this value is dropped.
    ///
    /// # Errors
    /// When one is in use; who uses it is looked up by `netlink`.
    pub async fn update(
        &mut self,
        netlink: &Netlink,
        tunnels: impl IntoIterator<Item = (&str, Steer)>,
        addresses: &BTreeSet<IpAddr>,
        patiently: bool,
    ) -> Result<(), ReserveError> {
        let ports = tunnels.into_iter().filter_map(|(tunnel, steer)| match steer {
            Steer::Udp(port) => Some((tunnel, port)),
            Steer::Protocol(_) => None,
        });
        let all = ports.flat_map(|(tunnel, port)| {
            addresses.iter().map(move |own| (SocketAddr::new(*own, port), tunnel))
        });
        // Tunnels of one port, told apart by their VNI, share its socket.
        let wanted: HashMap<SocketAddr, &str> = all.collect();
        self.sockets.retain(|held, _| wanted.contains_key(held));
        for (place, tunnel) in wanted {
            if self.sockets.contains_key(&place) {
                continue;
            }
            let (address, port) = (place.ip(), place.port());
            let patience = if patiently { LEAVING.0 } else { 1 };
            let made = bind_patiently(netlink, place, patience).await;
            let socket = made.map_err(|(source, device)| {
                let tunnel = tunnel.to_owned();
                if source.kind() == io::ErrorKind::AddrInUse {
                    ReserveError::InUse { tunnel, address, port, device }
                } else {
                    ReserveError::Refused { tunnel, address, port, source }
                }
            })?;
            self.sockets.insert(place, socket);
        }
        Ok(())
    }
}

/// A port that a daemon had which was killed a moment ago is free in the next; what a device of the
/// kernel has it keeps. An error comes with the name of that device.
async fn bind_patiently(
    netlink: &Netlink,
    place: SocketAddr,
    mut patience: u32,
) -> Result<UdpSocket, (io::Error, Option<String>)> {
    loop {
        let error = match bind(place) {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        let device = device_of(netlink, place.port()).await;
        patience -= 1;
        if error.kind() != io::ErrorKind::AddrInUse || device.is_some() || patience == 0 {
            return Err((error, device));
        }
        tokio::time::sleep(LEAVING.1).await;
    }
}

/// The kernel's tunnel device that receives on a UDP port.
async fn device_of(netlink: &Netlink, port: u16) -> Option<String> {
    let links = netlink.links().await.ok()?;
    links.into_iter().find(|link| link.udp_port == Some(port)).map(|link| link.name)
}

fn bind(place: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(place)?;
    SockRef::from(&socket).attach_filter(&[SockFilter::new(NOTHING, 0, 0, 0)])?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_is_not_kept() {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        sender.send(b"a packet that nobody reads").unwrap();
        // Loopback delivers within `send`; a closed port would have answered with an error.
        sender.send(b"another").expect("there is somebody on the port");
        let nothing = socket.recv(&mut [0; 64]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }
}
