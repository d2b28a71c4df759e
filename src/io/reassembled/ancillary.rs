//! What the kernel tells of a packet besides its bytes: whose it is, its TOS, and whether it came in
//! fragments.

use super::sys::{self, Received};
use super::{Place, Steer};
use socket2::Socket;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a message before its data: its length, level and type.
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Room for it.
#[derive(Debug)]
pub(super) struct Ancillary {
    /// The sender, as `sockaddr_in` or `sockaddr_in6`.
    name: [u8; size_of::<libc::sockaddr_in6>()],
    /// Messages as `recvmsg` writes them, each aligned as a `usize`.
    messages: [u8; 128],
}

impl Default for Ancillary {
    fn default() -> Self {
        Ancillary { name: [0; _], messages: [0; _] }
    }
}

/// Has the kernel tell of the packets of a socket.
pub(super) fn ask_for(socket: &Socket, Place { address, by }: Place) -> io::Result<()> {
    let (level, options) = match address {
        IpAddr::V4(_) => (libc::IPPROTO_IP, [libc::IP_RECVTOS, libc::IP_RECVFRAGSIZE]),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, [libc::IPV6_RECVTCLASS, libc::IPV6_RECVFRAGSIZE]),
    };
    options.into_iter().try_for_each(|option| sys::switch_on(socket, level, option))?;
    match (address, by) {
        // Tunnels over IPv6 may do without a checksum (RFC 6935).
        (IpAddr::V6(_), Steer::Udp(_)) => {
            sys::switch_on(socket, libc::IPPROTO_UDP, libc::UDP_NO_CHECK6_RX)
        }
        _ => Ok(()),
    }
}

impl Ancillary {
    /// Receives a packet into `bytes`; what is told of it comes here.
    pub(super) fn receive(&mut self, socket: &Socket, bytes: &mut [u8]) -> io::Result<Received> {
        sys::receive(socket, bytes, &mut self.name, &mut self.messages)
    }

    /// Whether the kernel put it together: it then knows how long the longest fragment was.
    pub(super) fn was_fragmented(&self, received: &Received) -> bool {
        let is_size = |level, kind| {
            (level, kind) == (libc::IPPROTO_IP, libc::IP_RECVFRAGSIZE)
                || (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_RECVFRAGSIZE)
        };
        self.messages(received).any(|(level, kind, _)| is_size(level, kind))
    }

    /// Its TOS or traffic class, with what its fragments said of congestion (RFC 3168 §5.3).
    pub(super) fn tos(&self, received: &Received) -> u8 {
        let tos = |(level, kind, data): (i32, i32, &[u8])| match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_TOS) => data.first().copied(),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                Some(i32::from_ne_bytes(*data.first_chunk()?) as u8)
            }
            _ => None,
        };
        self.messages(received).find_map(tos).unwrap_or_default()
    }

    /// Its sender's address and port; a raw socket's packets have none.
    pub(super) fn source(&self) -> Option<(IpAddr, u16)> {
        let [a, b, c, d, ref behind @ ..] = self.name;
        let address = match i32::from(u16::from_ne_bytes([a, b])) {
            libc::AF_INET => Ipv4Addr::from(*behind.first_chunk()?).into(),
            // Behind the flow label.
            libc::AF_INET6 => Ipv6Addr::from(*behind.get(4..)?.first_chunk()?).into(),
            _ => return None,
        };
        Some((address, u16::from_be_bytes([c, d])))
    }

    /// Level, type and data of each message.
    fn messages(&self, received: &Received) -> impl Iterator<Item = (i32, i32, &[u8])> {
        let mut rest = &self.messages[..received.ancillary.min(self.messages.len())];
        std::iter::from_fn(move || {
            let (header, _) = rest.split_at_checked(HEADER)?;
            let (len, kind) = header.split_first_chunk()?;
            let (level, kind) = kind.split_first_chunk()?;
            let len = usize::from_ne_bytes(*len);
            let message = rest.get(HEADER..len)?;
            rest = rest.get(len.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
            Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind.first_chunk()?), message))
        })
    }
}
