//! The tunnels' UDP ports: a socket of ours on each, of which we never read.
//!
//! XDP takes our packets before the kernel sees them, so the sockets are there for what passes by:
//! they keep others off the port, keep the kernel from answering "port unreachable" while XDP is
//! not attached yet, and let it reassemble outer fragments.

use super::netlink::Netlink;
use encap::Steer;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Bytes that may wait unread; the kernel doubles it and has a minimum of its own.
const BUFFER: usize = 4096;
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

/// Binds the UDP ports of `tunnels` on each of `addresses`. They are ours until the sockets are
/// dropped.
///
/// # Errors
/// When one is in use; who uses it is looked up by `netlink`.
pub async fn reserve(
    netlink: &Netlink,
    tunnels: impl IntoIterator<Item = (&str, Steer)>,
    addresses: &[IpAddr],
) -> Result<Vec<UdpSocket>, ReserveError> {
    let mut sockets: Vec<UdpSocket> = Vec::new();
    let mut bound = Vec::new();
    for (tunnel, steer) in tunnels {
        let Steer::Udp(port) = steer else { continue };
        // Tunnels of one port, told apart by their VNI, share its socket.
        if bound.contains(&port) {
            continue;
        }
        bound.push(port);
        for &address in addresses {
            match bind_patiently(netlink, address, port).await {
                Ok(socket) => sockets.push(socket),
                Err((source, device)) => {
                    let tunnel = tunnel.to_owned();
                    return Err(if source.kind() == io::ErrorKind::AddrInUse {
                        ReserveError::InUse { tunnel, address, port, device }
                    } else {
                        ReserveError::Refused { tunnel, address, port, source }
                    });
                }
            }
        }
    }
    Ok(sockets)
}

/// A port that a daemon had which was killed a moment ago is free in the next; what a device of the
/// kernel has it keeps. An error comes with the name of that device.
async fn bind_patiently(
    netlink: &Netlink,
    address: IpAddr,
    port: u16,
) -> Result<UdpSocket, (io::Error, Option<String>)> {
    let mut patience = LEAVING.0;
    loop {
        let error = match bind(address, port) {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        let device = device_of(netlink, port).await;
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

fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(address, port))?;
    set_socket_recv_buffer_size(&socket, BUFFER)?;
    Ok(socket)
}
