//! Takes tunnel headers off what came by an uplink.
//!
//! A packet is one of ours when a tunnel is steered at it, it is for our end of a peer's tunnel, its
//! outer source is that peer, and it names a network that we carry; or, where peers may send without a
//! tunnel, when it is from an address behind such a peer to one of a pod of ours. Anything else is dropped
//! for a reason of its own: an uplink's port is handed only what the XDP program took from the kernel.

mod direct;
#[cfg(test)]
mod tests;

use super::Stage;
use super::parse::{mark_discovery, parse_ip};
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame, Mark, Packet, Partial, Pool};
use crate::snapshot::{Peer, Snapshot, TunnelId, TunnelInfo};
use crate::sums;
use direct::Direct;
use encap::wire::{Mac, checksum, ethernet, ipv4, ipv6, protocol, udp};
use encap::{Family, Popped, Steer, Strip, Tunnel};
use std::net::IpAddr;

crate::drops! { Decap:
    NO_TUNNEL = "no_tunnel", "no tunnel is configured for the packet's port or protocol";
    FRAGMENT = "fragment", "the outer packet is a fragment";
    UNKNOWN_PEER = "unknown_peer", "the outer source is no peer of this tunnel";
    NOT_LOCAL = "not_local", "the outer destination is not our end of the peer's tunnel";
    UDP = "udp", "the outer UDP header's length does not fit the packet";
    OUTER_CHECKSUM = "outer_checksum", "the outer UDP checksum is wrong";
    HEADER = "header", "the tunnel header is truncated or not valid";
    UNKNOWN_VNI = "unknown_vni", "the tunnel header names a network that is not configured";
    INNER_MAC = "inner_mac", "the inner destination MAC is not our VTEP's";
    INNER_TYPE = "inner_type", "the inner frame is neither IPv4 nor IPv6";
    ECN = "ecn", "congestion was marked on a packet that does not know of it (RFC 6040)";
}

/// The stage.
#[derive(Debug, Default)]
pub struct Decap;

impl Stage for Decap {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        let (mut latest, mut direct) = (None, Direct::default());
        for i in batch.marked(Mark::Outer) {
            let frame = &mut batch[i];
            let Some(port) = cx.snapshot.ports.get(frame.meta.in_port.index()) else { continue };
            let result = match cx.snapshot.direct && direct.take(frame, cx.snapshot) {
                true => Ok(()),
                false => decap(frame, cx.snapshot, &mut latest, port.partial_sums)
                    .and_then(|outer| enter(frame, &outer, port.partial_sums, cx.pool)),
            };
            match result {
                Ok(()) => mark_discovery(batch, i),
                Err(reason) => batch.drop(i, reason),
            }
        }
    }
}

/// What is still to be known of the outer packet once its headers are off.
struct Outer<'a> {
    tunnel: &'a Tunnel,
    /// The family that the tunnel's headers announce.
    family: Family,
    tos: u8,
    /// The folded sum that its UDP checksum is in: [`HOLDS`], or what [`holds_completed`] judges.
    sum: u16,
    /// Bytes in front of the inner IP header.
    len: usize,
    peer: u16,
}

/// The folded sum over bytes that include a right checksum.
const HOLDS: u16 = 0xffff;

/// What the outer headers of a packet lead to. The packets of a batch often have the same ones: the
/// latest answer is kept for the next packet.
struct Known<'a> {
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
    id: u16,
    peer: &'a Peer,
}

/// The headers of an outer packet.
#[derive(Clone, Copy)]
struct Head<'a> {
    /// From the IP header on.
    bytes: &'a [u8],
    /// Where the header behind the IP header begins.
    l4: usize,
    packet: Packet,
    protocol: u8,
}

impl<'a> Known<'a> {
    /// Whether a packet has the same headers.
    #[inline(always)]
    fn is_for(&self, head: Head<'_>) -> bool {
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
    fn find(frame: &Frame, snapshot: &'a Snapshot) -> Result<Known<'a>, Reason> {
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
        Ok(Known { packet, protocol, port, ends, steer, tunnel, id, peer })
    }
}

/// Source and destination of a packet, as they stand and as addresses.
fn ends(frame: &Frame) -> Result<([u8; 32], IpAddr, IpAddr), Reason> {
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

/// Bytes of the headers of most packets: IPv4, UDP, eight of the tunnel, Ethernet.
const PLAIN: usize = ipv4::LEN + udp::LEN + 8 + ethernet::LEN;
/// And of those in IPv4 alone, with the inner header.
const PLAIN_IP: usize = 2 * ipv4::LEN;

/// Takes the outer headers off.
#[inline(always)]
fn decap<'a>(
    frame: &mut Frame,
    snapshot: &'a Snapshot,
    latest: &mut Option<Known<'a>>,
    partial_sums: bool,
) -> Result<Outer<'a>, Reason> {
    let meta = &frame.meta;
    let is_plain = meta.packet == Packet::V4 && meta.l4 == meta.l3 + ipv4::LEN as u16;
    let plain = match meta.protocol {
        protocol::UDP if is_plain => frame.bytes_at::<PLAIN>(meta.l3).and_then(|bytes| {
            let (packet, protocol) = (Packet::V4, protocol::UDP);
            let head = Head { bytes, l4: ipv4::LEN, packet, protocol };
            open(head, frame, snapshot, latest, partial_sums).ok()
        }),
        protocol::IPIP if is_plain => frame.bytes_at::<PLAIN_IP>(meta.l3).and_then(|bytes| {
            let (packet, protocol) = (Packet::V4, protocol::IPIP);
            let head = Head { bytes, l4: ipv4::LEN, packet, protocol };
            open(head, frame, snapshot, latest, partial_sums).ok()
        }),
        _ => None,
    };
    let outer = match plain {
        Some(outer) => outer,
        None => open_odd(frame, snapshot, latest, partial_sums)?,
    };
    frame.meta.peer = outer.peer;
    match frame.pop(outer.len) {
        true => Ok(outer),
        false => Err(HEADER),
    }
}

/// Reads the headers of any packet but a plain one; also of a plain one that is not right, to say why.
#[inline(never)]
fn open_odd<'a>(
    frame: &Frame,
    snapshot: &'a Snapshot,
    latest: &mut Option<Known<'a>>,
    partial_sums: bool,
) -> Result<Outer<'a>, Reason> {
    let (bytes, meta) = (frame.l3(), &frame.meta);
    let l4 = usize::from(meta.l4.saturating_sub(meta.l3));
    let head = Head { bytes, l4, packet: meta.packet, protocol: meta.protocol };
    open(head, frame, snapshot, latest, partial_sums)
}

/// Reads the outer headers. Inlined twice, once for bytes of a known number: there is little left to
/// check of those.
#[inline(always)]
fn open<'a>(
    head: Head<'_>,
    frame: &Frame,
    snapshot: &'a Snapshot,
    latest: &mut Option<Known<'a>>,
    partial_sums: bool,
) -> Result<Outer<'a>, Reason> {
    let known = match latest {
        Some(known) if known.is_for(head) => known,
        _ => latest.insert(Known::find(frame, snapshot)?),
    };
    let outer = head.packet.family().unwrap_or(Family::V4);
    let tos = outer.tos(*head.bytes.first_chunk().ok_or(HEADER)?);
    let (header_len, sum) = match head.protocol {
        protocol::UDP => (udp::LEN, udp_sum(head, frame)?),
        _ => (0, HOLDS),
    };
    if sum != HOLDS && !partial_sums {
        return Err(OUTER_CHECKSUM);
    }
    let (first_index, first) = known.tunnel;
    let payload = head.bytes.get(head.l4 + header_len..).unwrap_or_default();
    let popped = first.tunnel.pop(known.steer, payload).map_err(|_| HEADER)?;
    let (index, tunnel) = match popped.key == first.key {
        true => (first_index, first),
        false => with_key(popped.key, known.steer, snapshot)?,
    };
    accept(known.peer, TunnelId(index as u8))?;
    let (family, link) = inner(payload, popped, tunnel)?;
    let len = head.l4 + header_len + popped.header_len + link;
    Ok(Outer { tunnel: &tunnel.tunnel, family, tos, sum, len, peer: known.id })
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

/// Checks the outer UDP header; the folded sum over the packet. A checksum of zero says that the
/// sender computed none (RFC 7348 §5): it holds.
#[inline(always)]
fn udp_sum(head: Head<'_>, frame: &Frame) -> Result<u16, Reason> {
    let header = head.bytes.get(head.l4..).unwrap_or_default();
    let udp = udp::View::of_head(header, frame.len().saturating_sub(head.l4)).map_err(|_| UDP)?;
    Ok(if udp.checksum() == 0 { HOLDS } else { whole_udp_sum(frame) })
}

/// A partial checksum is the sender's promise: it holds.
#[inline(never)]
fn whole_udp_sum(frame: &Frame) -> u16 {
    if frame.meta.partial.is_pending() {
        return HOLDS;
    }
    sums::pseudo(frame).map_or(0, |pseudo| sums::l4(frame, pseudo))
}

/// Whether an outer checksum that does not hold will once the inner one is completed. Linux computes
/// the outer one over the packet as it is going to be when hardware is to fill the inner one in
/// ("local checksum offload"), and a virtual wire has no such hardware.
///
/// With the inner packet's sum `s`, of which the field's `p` is a part, the field will hold `-s`
/// instead of `p`: what is then added to `outer` is `-s - p`.
#[cold]
fn holds_completed(frame: &Frame, outer: u16) -> bool {
    if !frame.meta.partial.is_pending() {
        return false;
    }
    let Some(pseudo) = sums::pseudo(frame) else { return false };
    let (s, p) = (sums::l4(frame, 0), checksum::fold(pseudo));
    checksum::fold(u32::from(outer) + u32::from(!s) + u32::from(!p)) == HOLDS
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

/// Parses the inner packet, and lets it have what the underlay said about congestion.
#[inline(always)]
fn enter(
    frame: &mut Frame,
    outer: &Outer<'_>,
    partial_sums: bool,
    pool: &mut Pool,
) -> Result<(), Reason> {
    frame.meta.partial = Partial::NONE;
    let at = frame.offset() as u16;
    let start = *frame.bytes_at(at).ok_or(INNER_TYPE)?;
    let inner = match (outer.family, start[0] >> 4) {
        (family @ Family::V4, 4) | (family @ Family::V6, 6) => family.tos(start),
        _ => return Err(INNER_TYPE),
    };
    parse_ip(frame, partial_sums, pool)?;
    if outer.sum != HOLDS && !holds_completed(frame, outer.sum) {
        return Err(OUTER_CHECKSUM);
    }
    // Where both bytes are the same, so is what comes of them.
    if outer.tos != inner {
        mix_tos(frame, outer, inner)?;
    }
    Ok(())
}

#[inline(never)]
fn mix_tos(frame: &mut Frame, outer: &Outer<'_>, inner: u8) -> Result<(), Reason> {
    let tos = outer.tunnel.decap_tos(outer.tos, inner).map_err(|_| ECN)?;
    match outer.family {
        _ if tos == inner => {}
        Family::V4 => ipv4::set_tos(frame.l3_mut(), tos),
        Family::V6 => ipv6::set_traffic_class(frame.l3_mut(), tos),
    }
    Ok(())
}
