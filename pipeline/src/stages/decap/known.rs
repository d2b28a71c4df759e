//! What outer headers lead to. The packets of a batch often have the same ones: what the latest said is kept
//! for the next, of the outer IP and UDP header and of the tunnel's own.

use super::{
    FRAGMENT, HEADER, INNER_MAC, INNER_TYPE, NO_TUNNEL, NOT_LOCAL, UDP, UNKNOWN_PEER, UNKNOWN_VNI,
};
use crate::drops::Reason;
use crate::frame::{Frame, Packet};
use crate::snapshot::{Peer, Snapshot, TunnelId, TunnelInfo};
use encap::wire::{Mac, ethernet, ipv4, ipv6, protocol};
use encap::{Family, Popped, Steer, Strip, Tunnel};
use std::net::IpAddr;

/// Bytes of a tunnel's header and of the Ethernet header behind it, as VXLAN and Geneve mostly have them.
pub(super) const FRAMED: usize = 8 + ethernet::LEN;

/// The headers of an outer packet.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    /// From the IP header on.
    pub(super) bytes: &'a [u8],
    /// Where the header behind the IP header begins.
    pub(super) l4: usize,
    pub(super) packet: Packet,
    pub(super) protocol: u8,
}

/// What the outer headers of a packet lead to.
pub(super) struct Known<'a> {
    packet: Packet,
    protocol: u8,
    /// The destination port as it stands in the packet, and which of its bits matter: of a tunnel
    /// without ports, none.
    port: (u16, u16),
    /// Source and destination as they stand in the packet; of IPv4 the first eight bytes.
    ends: [u8; 32],
    steer: Steer,
    /// The first tunnel that is steered at such packets: index and facts.
    tunnel: (usize, &'a TunnelInfo),
    pub(super) id: u16,
    peer: &'a Peer,
    /// What the latest payload began with, and what it said.
    within: Option<(Start, Within<'a>)>,
}

/// What stands within an outer packet, for all that the tunnel's headers say.
#[derive(Clone, Copy)]
pub(super) struct Within<'a> {
    pub(super) tunnel: &'a Tunnel,
    pub(super) family: Family,
    /// Bytes of the tunnel's header and of what is stripped with it.
    pub(super) len: usize,
}

impl<'a> Known<'a> {
    /// Whether a packet has the same headers.
    #[inline(always)]
    pub(super) fn is_for(&self, head: Head<'_>) -> bool {
        let (first, len) = match head.packet {
            Packet::V4 => (ipv4::field::SRC.start, 8),
            _ => (ipv6::field::SRC.start, 32),
        };
        let port = head.bytes.get(head.l4 + 2..head.l4 + 4).and_then(|port| port.first_chunk());
        let port = u16::from_ne_bytes(*port.unwrap_or(&[0; 2]));
        self.packet == head.packet
            && self.protocol == head.protocol
            && (port ^ self.port.0) & self.port.1 == 0
            && head.bytes.get(first..first + len) == Some(&self.ends[..len])
    }

    #[inline(never)]
    pub(super) fn find(frame: &Frame, snapshot: &'a Snapshot) -> Result<Known<'a>, Reason> {
        let meta = &frame.meta;
        // A later one has no port to look for.
        if meta.packet.is_fragment() {
            return Err(FRAGMENT);
        }
        let (ends, src, dst) = ends(frame)?;
        let (steer, port) = match meta.protocol {
            protocol::UDP => {
                let [_, _, port @ ..] = *frame.bytes_at::<4>(meta.l4).ok_or(UDP)?;
                let steer = Steer::Udp(u16::from_be_bytes(port));
                (steer, (u16::from_ne_bytes(port), u16::MAX))
            }
            protocol => (Steer::Protocol(protocol), (0, 0)),
        };
        let tunnel = steered(steer, snapshot).next().ok_or(NO_TUNNEL)?;
        let id = *snapshot.peers_by_address.get(&src).ok_or(UNKNOWN_PEER)?;
        let peer = snapshot.peers.get(usize::from(id)).ok_or(UNKNOWN_PEER)?;
        if peer.local != dst {
            return Err(NOT_LOCAL);
        }
        let (packet, protocol) = (meta.packet, meta.protocol);
        Ok(Known { packet, protocol, port, ends, steer, tunnel, id, peer, within: None })
    }

    /// Reads the tunnel's header that a payload begins with.
    #[inline(always)]
    pub(super) fn within(&mut self, payload: &[u8], snapshot: &'a Snapshot) -> Result<Within<'a>, Reason> {
        let start = payload.first_chunk();
        if let Some((known, within)) = &self.within
            && start.is_some_and(|start| known.is_of(start))
        {
            return Ok(*within);
        }
        let within = self.read(payload, snapshot)?;
        let known = start.and_then(|start| Start::new(start, within.len));
        self.within = known.map(|known| (known, within));
        Ok(within)
    }

    #[inline(never)]
    fn read(&self, payload: &[u8], snapshot: &'a Snapshot) -> Result<Within<'a>, Reason> {
        let (first_index, first) = self.tunnel;
        let popped = first.tunnel.pop(self.steer, payload).map_err(|_| HEADER)?;
        let (index, tunnel) = match popped.key == first.key {
            true => (first_index, first),
            false => with_key(popped.key, self.steer, snapshot)?,
        };
        accept(self.peer, TunnelId(index as u8))?;
        let (family, link) = inner(payload, popped, tunnel)?;
        Ok(Within { tunnel: &tunnel.tunnel, family, len: popped.header_len + link })
    }
}

/// The bytes of a payload's start that say all that is asked of the tunnel, with the mask of those bits.
#[derive(Clone, Copy)]
struct Start {
    bits: [u64; 3],
    mask: [u64; 3],
}

impl Start {
    /// Of a payload whose tunnel's headers are `len` bytes: these, and the version of the IP packet behind
    /// them. None where they are more than most have.
    fn new(payload: &[u8; FRAMED], len: usize) -> Option<Start> {
        let mut mask = [0; FRAMED];
        mask.get_mut(..len)?.fill(0xff);
        if let Some(version) = mask.get_mut(len) {
            *version = 0xf0;
        }
        Some(Start { bits: words(payload), mask: words(&mask) })
    }

    /// Whether a payload begins the same way.
    #[inline(always)]
    fn is_of(&self, payload: &[u8; FRAMED]) -> bool {
        let ([a, b, c], [x, y, z], [l, m, n]) = (words(payload), self.bits, self.mask);
        ((a ^ x) & l) | ((b ^ y) & m) | ((c ^ z) & n) == 0
    }
}

/// All bytes in words, of which the last two overlap.
#[inline(always)]
fn words(bytes: &[u8; FRAMED]) -> [u64; 3] {
    let word = |at: usize| *bytes[at..].first_chunk().unwrap_or(&[0; 8]);
    [0, 8, FRAMED - 8].map(|at| u64::from_ne_bytes(word(at)))
}

/// Source and destination of a packet, as they stand and as addresses.
pub(super) fn ends(frame: &Frame) -> Result<([u8; 32], IpAddr, IpAddr), Reason> {
    let mut bytes = [0; 32];
    match frame.meta.packet.family() {
        Some(Family::V4) => {
            let header = frame.bytes_at(frame.meta.l3).ok_or(HEADER)?;
            let (src, dst) = ipv4::addresses(header);
            bytes[..4].copy_from_slice(&src.octets());
            bytes[4..8].copy_from_slice(&dst.octets());
            Ok((bytes, src.into(), dst.into()))
        }
        Some(Family::V6) => {
            let header = frame.bytes_at(frame.meta.l3).ok_or(HEADER)?;
            let (src, dst) = ipv6::addresses(header);
            bytes[..16].copy_from_slice(&src.octets());
            bytes[16..].copy_from_slice(&dst.octets());
            Ok((bytes, src.into(), dst.into()))
        }
        None => Err(NO_TUNNEL),
    }
}

/// The tunnels whose packets such are.
fn steered(steer: Steer, snapshot: &Snapshot) -> impl Iterator<Item = (usize, &TunnelInfo)> {
    snapshot.tunnels.iter().enumerate().filter(move |(_, tunnel)| tunnel.steers.contains(&steer))
}

/// The tunnel of the network that a packet names, of several that are steered alike.
#[inline(never)]
fn with_key(key: u32, steer: Steer, snapshot: &Snapshot) -> Result<(usize, &TunnelInfo), Reason> {
    steered(steer, snapshot).find(|(_, tunnel)| tunnel.key == key).ok_or(UNKNOWN_VNI)
}

/// A peer may use the tunnels that are configured for it.
#[inline]
fn accept(peer: &Peer, tunnel: TunnelId) -> Result<(), Reason> {
    if peer.accepts.takes(tunnel) { Ok(()) } else { Err(UNKNOWN_PEER) }
}

/// The family that the tunnel's header announces, and the bytes between it and the inner IP header.
#[inline(always)]
fn inner(payload: &[u8], popped: Popped, tunnel: &TunnelInfo) -> Result<(Family, usize), Reason> {
    match popped.strip {
        Strip::Ip(family) => Ok((family, 0)),
        Strip::Ethernet => {
            let header = payload.get(popped.header_len..).and_then(|rest| rest.first_chunk());
            let header = header.ok_or(HEADER)?;
            Ok((inner_ethernet(header, tunnel.mac)?, ethernet::LEN))
        }
    }
}

#[inline(always)]
fn inner_ethernet(header: &[u8; ethernet::LEN], ours: Mac) -> Result<Family, Reason> {
    let [a, b, c, d, e, f, ..] = *header;
    if Mac([a, b, c, d, e, f]).to_bits() != ours.to_bits() {
        return Err(INNER_MAC);
    }
    Family::of_ethertype(u16::from_be_bytes([header[12], header[13]])).ok_or(INNER_TYPE)
}

