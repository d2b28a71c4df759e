//! Takes tunnel headers off what came by an uplink.
//!
//! A packet is one of ours when a tunnel is steered at it, it is for our end of a peer's tunnel, its
//! outer source is that peer, and it names a network that we carry. Anything else is dropped for a
//! reason of its own: an uplink's port is handed only what the XDP program took from the kernel.

#[cfg(test)]
mod tests;

use super::Stage;
use super::parse::parse_ip;
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame, Packet, Partial, Pool};
use crate::snapshot::{Peer, Role, Snapshot, TunnelInfo};
use crate::sums;
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
        for i in batch.live() {
            let frame = &mut batch[i];
            let Some(port) = cx.snapshot.ports.get(frame.meta.in_port.index()) else { continue };
            if port.role != Role::Uplink {
                continue;
            }
            let result = decap(frame, cx.snapshot, port.partial_sums)
                .and_then(|outer| enter(frame, &outer, port.partial_sums, cx.pool));
            if let Err(reason) = result {
                batch.drop(i, reason);
            }
        }
    }
}

/// What is still to be known of the outer packet once its headers are off.
struct Outer<'a> {
    tunnel: &'a Tunnel,
    tos: u8,
    /// The folded sum that its UDP checksum is in: [`HOLDS`], or what [`holds_completed`] judges.
    sum: u16,
}

/// The folded sum over bytes that include a right checksum.
const HOLDS: u16 = 0xffff;

/// Takes the outer headers off.
#[inline]
fn decap<'a>(
    frame: &mut Frame,
    snapshot: &'a Snapshot,
    partial_sums: bool,
) -> Result<Outer<'a>, Reason> {
    let (src, dst, tos) = ends(frame)?;
    let (steer, header_len) = match frame.meta.protocol {
        protocol::UDP => {
            let len = frame.len_from(frame.meta.l4);
            let udp = udp::View::of_head(frame.l4(), len).map_err(|_| UDP)?;
            (Steer::Udp(udp.dst_port()), udp::LEN)
        }
        protocol => (Steer::Protocol(protocol), 0),
    };
    let mut steered = snapshot.tunnels.iter().enumerate().filter(|(_, t)| t.steer == steer);
    let (index, first) = steered.next().ok_or(NO_TUNNEL)?;
    let id = *snapshot.peers_by_address.get(&src).ok_or(UNKNOWN_PEER)?;
    let peer = snapshot.peers.get(usize::from(id)).ok_or(UNKNOWN_PEER)?;
    if peer.local != dst {
        return Err(NOT_LOCAL);
    }
    let sum = if header_len == 0 { HOLDS } else { udp_sum(frame) };
    if sum != HOLDS && !partial_sums {
        return Err(OUTER_CHECKSUM);
    }
    let payload = frame.l4().get(header_len..).unwrap_or_default();
    let popped = first.tunnel.pop(payload).map_err(|_| HEADER)?;
    let (index, tunnel) = match popped.key == first.key {
        true => (index, first),
        false => steered.find(|(_, t)| t.key == popped.key).ok_or(UNKNOWN_VNI)?,
    };
    accept(peer, index)?;
    strip(frame, header_len, popped, tunnel)?;
    frame.meta.peer = id;
    Ok(Outer { tunnel: &tunnel.tunnel, tos, sum })
}

/// A peer may use the tunnel that is configured towards it.
#[inline]
fn accept(peer: &Peer, tunnel: usize) -> Result<(), Reason> {
    if peer.tunnel == tunnel { Ok(()) } else { Err(UNKNOWN_PEER) }
}

/// Source, destination and TOS of the outer packet.
#[inline]
fn ends(frame: &Frame) -> Result<(IpAddr, IpAddr, u8), Reason> {
    match frame.meta.packet {
        Packet::V4 => {
            let ip = ipv4::View::of_head(frame.l3(), usize::MAX).map_err(|_| HEADER)?;
            Ok((ip.src().into(), ip.dst().into(), ip.tos()))
        }
        Packet::V6 => {
            let ip = ipv6::View::of_head(frame.l3(), usize::MAX).map_err(|_| HEADER)?;
            Ok((ip.src().into(), ip.dst().into(), ip.traffic_class()))
        }
        Packet::V4Fragment | Packet::V6Fragment => Err(FRAGMENT),
        Packet::Arp | Packet::Unknown => Err(NO_TUNNEL),
    }
}

/// The folded sum over the outer UDP packet. A checksum of zero means that the sender computed none
/// (RFC 7348 §5), a partial one is the sender's promise: both hold.
#[inline]
fn udp_sum(frame: &Frame) -> u16 {
    match frame.l4().get(6..).and_then(|rest| rest.first_chunk()) {
        Some([0, 0]) => HOLDS,
        _ if frame.meta.partial.is_pending() => HOLDS,
        _ => sums::pseudo(frame).map_or(0, |pseudo| sums::l4(frame, pseudo)),
    }
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

/// Moves the frame's start to the inner IP header.
#[inline]
fn strip(
    frame: &mut Frame,
    header_len: usize,
    popped: Popped,
    tunnel: &TunnelInfo,
) -> Result<(), Reason> {
    let outer = usize::from(frame.meta.l4) - frame.offset() + header_len + popped.header_len;
    if !frame.pop(outer) {
        return Err(HEADER);
    }
    let (family, link) = match popped.strip {
        Strip::Ip(family) => (family, 0),
        Strip::Ethernet => (inner_ethernet(frame.head(), tunnel.mac)?, ethernet::LEN),
    };
    frame.pop(link);
    let version = frame.head().first().map(|byte| byte >> 4);
    match (family, version) {
        (Family::V4, Some(4)) | (Family::V6, Some(6)) => Ok(()),
        _ => Err(INNER_TYPE),
    }
}

#[inline]
fn inner_ethernet(bytes: &[u8], ours: Mac) -> Result<Family, Reason> {
    let header: &[u8; ethernet::LEN] = bytes.first_chunk().ok_or(HEADER)?;
    let [a, b, c, d, e, f, ..] = *header;
    if Mac([a, b, c, d, e, f]) != ours {
        return Err(INNER_MAC);
    }
    match u16::from_be_bytes([header[12], header[13]]) {
        ethernet::ethertype::IPV4 => Ok(Family::V4),
        ethernet::ethertype::IPV6 => Ok(Family::V6),
        _ => Err(INNER_TYPE),
    }
}

/// Parses the inner packet, and lets it have what the underlay said about congestion.
#[inline]
fn enter(
    frame: &mut Frame,
    outer: &Outer<'_>,
    partial_sums: bool,
    pool: &mut Pool,
) -> Result<(), Reason> {
    frame.meta.partial = Partial::NONE;
    parse_ip(frame, partial_sums, pool)?;
    if outer.sum != HOLDS && !holds_completed(frame, outer.sum) {
        return Err(OUTER_CHECKSUM);
    }
    let is_v4 = frame.meta.packet.family() == Some(Family::V4);
    let packet = frame.l3_mut();
    let inner = match is_v4 {
        true => packet.get(ipv4::field::TOS).copied().unwrap_or_default(),
        false => ipv6::View::of_head(packet, usize::MAX).map_err(|_| HEADER)?.traffic_class(),
    };
    let tos = outer.tunnel.decap_tos(outer.tos, inner).map_err(|_| ECN)?;
    match is_v4 {
        _ if tos == inner => {}
        true => ipv4::set_tos(packet, tos),
        false => ipv6::set_traffic_class(packet, tos),
    }
    Ok(())
}
