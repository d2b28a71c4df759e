//! What every tunnel is asked and what it answers.
//!
//! A tunnel has three faces, each a type of that name in its folder:
//!
//! * `Config` — what a user writes, as one `[[tunnel.<kind>]]` table;
//! * `Tunnel` — the configured encapsulation: which packets are its own ([`Steer`]), and how to
//!   take one apart (`pop`, `decap_tos`); what `pop` says depends on nothing but the header that it finds,
//!   and on the version of the IP packet behind it;
//! * `Encap`  — a tunnel towards one peer: the finished outer headers, of which a packet changes
//!   only lengths, hash and checksum (`push`).

use crate::wire::Mac;
use crate::wire::ethernet::ethertype;
use std::fmt;
use std::net::IpAddr;

/// IP version of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4, RFC 791.
    V4,
    /// IPv6, RFC 8200.
    V6,
}

impl Family {
    /// The Ethernet type of such packets.
    #[inline]
    pub fn ethertype(self) -> u16 {
        match self {
            Family::V4 => ethertype::IPV4,
            Family::V6 => ethertype::IPV6,
        }
    }

    /// The family of packets of this Ethernet type, if they are IP.
    #[inline]
    pub fn of_ethertype(ethertype: u16) -> Option<Family> {
        match ethertype {
            ethertype::IPV4 => Some(Family::V4),
            ethertype::IPV6 => Some(Family::V6),
            _ => None,
        }
    }

    /// The TOS or traffic class of a packet of this family, of which `start` is the first two bytes.
    #[inline(always)]
    pub fn tos(self, start: [u8; 2]) -> u8 {
        match self {
            Family::V4 => start[1],
            Family::V6 => start[0] << 4 | start[1] >> 4,
        }
    }

    /// The family that an IP packet's first byte claims.
    #[inline]
    pub fn of_packet(bytes: &[u8]) -> Option<Family> {
        match bytes.first()? >> 4 {
            4 => Some(Family::V4),
            6 => Some(Family::V6),
            _ => None,
        }
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// Which packets of an uplink belong to a tunnel; becomes an entry of the XDP match map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Steer {
    /// Packets to this UDP port (host byte order).
    Udp(u16),
    /// Packets of this IP protocol, behind IPv6 extension headers.
    Protocol(u8),
}

/// For people: `UDP port 4789`, `IP protocol 4`.
impl fmt::Display for Steer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Steer::Udp(port) => write!(f, "UDP port {port}"),
            Steer::Protocol(protocol) => write!(f, "IP protocol {protocol}"),
        }
    }
}

/// The two ends of a tunnel towards one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Our address on the underlay.
    pub local: IpAddr,
    /// The peer's address on the underlay; of the same family as `local`.
    pub remote: IpAddr,
    /// Our VTEP's MAC: source of an inner Ethernet header.
    pub local_mac: Mac,
    /// The peer's VTEP MAC: destination of an inner Ethernet header.
    pub remote_mac: Mac,
}

/// What a tunnel needs to know about the IP packet it is pushed onto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// IP version of the packet.
    pub family: Family,
    /// Length of the packet in bytes, IP header included. Of a super-frame this may be more than
    /// any MTU; the outer lengths are then those of the super-frame (modulo 2^16 where they do not
    /// fit) and are written again for each segment by `resize`.
    pub len: usize,
    /// IPv4 TOS or IPv6 traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Hash of the inner flow; equal for all packets of a flow.
    pub flow_hash: u32,
}

/// Result of taking an outer packet apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Popped {
    /// Bytes from the first byte after the outer L4 header (UDP tunnels) or after the outer IP header
    /// and its extension headers (IP protocol tunnels) to the first byte of what `strip` names.
    pub header_len: usize,
    /// What stands there.
    pub strip: Strip,
    /// The network the packet names (VXLAN and Geneve: the VNI), zero where the tunnel has none.
    pub key: u32,
}

/// What a tunnel carries behind its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// An Ethernet frame.
    Ethernet,
    /// A bare IP packet of this version.
    Ip(Family),
}

/// Why an outer packet that was steered to a tunnel is not one of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PopError {
    /// The packet ends before the tunnel's header does.
    #[error("the packet ends within the tunnel header")]
    Truncated,
    /// A flag that must be set is not, or one that must not be is.
    #[error("the tunnel header's flags are not valid")]
    Flags,
    /// The tunnel header is of a version that we do not know.
    #[error("the tunnel header is of another version")]
    Version,
    /// The options in the tunnel header do not fill the room that it says they do, or we would have
    /// to know one of them.
    #[error("the tunnel header's options are not valid, or one that must be understood is not")]
    Options,
    /// The tunnel header names a payload that we do not carry.
    #[error("the tunnel header names a payload of another kind")]
    Payload,
}
