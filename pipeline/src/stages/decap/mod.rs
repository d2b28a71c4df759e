//! Takes tunnel headers off what came by an uplink.
//!
//! A packet is one of ours when a tunnel is steered at it, it is for our end of a peer's tunnel, its
//! outer source is that peer, and it names a network that we carry; or, where peers may send without a
//! tunnel, when it is from an address behind such a peer to one of a pod of ours. Anything else is dropped
//! for a reason of its own: an uplink's port is handed only what the XDP program took from the kernel.

mod direct;
mod known;
#[cfg(test)]
mod tests;

use super::Stage;
use super::parse::{mark_discovery, parse_ip};
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame, Mark, Packet, Partial, Pool};
use crate::snapshot::Snapshot;
use crate::sums;
use direct::Direct;
use encap::wire::{checksum, ipv4, ipv6, protocol, udp};
use encap::{Family, Tunnel};
use known::{FRAMED, Head, Known, Within};

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

/// Bytes of the headers of most packets: IPv4, UDP, a tunnel's; there are as many of all but the shortest of
/// IP-in-IP.
const PLAIN: usize = ipv4::LEN + udp::LEN + FRAMED;

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
    let plain = frame.bytes_at::<PLAIN>(meta.l3).filter(|_| is_plain);
    let plain = plain.and_then(|bytes| {
        let head = |protocol| Head { bytes, l4: ipv4::LEN, packet: Packet::V4, protocol };
        match meta.protocol {
            protocol::UDP => open(head(protocol::UDP), frame, snapshot, latest, partial_sums).ok(),
            protocol::IPIP => open(head(protocol::IPIP), frame, snapshot, latest, partial_sums).ok(),
            _ => None,
        }
    });
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

/// Reads the outer headers. Inlined for bytes of a known number and protocol, too: there is little left to
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
    let payload = head.bytes.get(head.l4 + header_len..).unwrap_or_default();
    let Within { tunnel, family, len } = known.within(payload, snapshot)?;
    let len = head.l4 + header_len + len;
    Ok(Outer { tunnel, family, tos, sum, len, peer: known.id })
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
