//! The IP header: of a frame's start, and again behind a tunnel header.

use super::{CHECKSUM, EXTENSION_HEADERS, LENGTH, SOURCE_ROUTE, TRUNCATED, VERSION};
use crate::drops::Reason;
use crate::flow::{hash4, hash6};
use crate::frame::{Frame, Packet, Partial, Pool};
use crate::sums;
use encap::Family;
use encap::wire::{self, checksum, ipv4, ipv6, protocol, tcp, udp};
use std::net::IpAddr;

/// Checks the IP packet at the frame's first byte, cuts link-layer padding off behind it, and notes
/// headers, protocol and flow hash. With `partial_sums` a TCP or UDP checksum that holds only the
/// pseudo-header's sum is taken for one that the sender left to its hardware.
#[inline(always)]
pub(crate) fn parse_ip(
    frame: &mut Frame,
    partial_sums: bool,
    pool: &mut Pool,
) -> Result<(), Reason> {
    let (at, len) = (frame.offset() as u16, frame.len());
    let plain = frame.bytes_at(at).and_then(|head| ipv4::Plain::read(head, len));
    let len = match plain {
        Some(plain) => note_plain(frame, plain),
        None => parse_odd(frame)?,
    };
    frame.truncate(len, pool);
    if partial_sums {
        note_partial_sum(frame);
    }
    Ok(())
}

/// Any packet but a plain one. Kept out of line, so that the common way keeps its registers.
#[inline(never)]
fn parse_odd(frame: &mut Frame) -> Result<usize, Reason> {
    // Of a wrong one, too, it is to be known where it starts.
    frame.meta.l3 = frame.offset() as u16;
    match frame.head().first().ok_or(TRUNCATED)? >> 4 {
        4 => parse_v4(frame),
        6 => parse_v6(frame),
        _ => Err(VERSION),
    }
}

#[inline(always)]
fn note_plain(frame: &mut Frame, plain: ipv4::Plain) -> usize {
    let ipv4::Plain { total_len, protocol, src, dst, ports } = plain;
    let ports = if has_ports(protocol) { ports } else { 0 };
    let at = frame.offset() as u16;
    let meta = &mut frame.meta;
    meta.packet = Packet::V4;
    meta.l3 = at;
    meta.l4 = at + ipv4::LEN as u16;
    meta.protocol = protocol;
    meta.hash = hash4(src, dst, protocol, ports);
    total_len.into()
}

/// A packet with options, a fragment, one too short for ports, or a wrong one.
fn parse_v4(frame: &mut Frame) -> Result<usize, Reason> {
    let view = ipv4::View::of_head(frame.head(), frame.len()).map_err(reason)?;
    if !view.verify() {
        return Err(CHECKSUM);
    }
    if view.is_source_routed() {
        return Err(SOURCE_ROUTE);
    }
    let total = usize::from(view.total_len());
    let header_len = view.header_len();
    let protocol = view.protocol();
    let is_fragment = view.is_fragment();
    let ports = if is_fragment { 0 } else { ports(protocol, view.payload()) };
    let hash = hash4(view.src(), view.dst(), protocol, ports);
    let at = frame.offset() as u16;
    let meta = &mut frame.meta;
    meta.packet = if is_fragment { Packet::V4Fragment } else { Packet::V4 };
    meta.l4 = at + header_len as u16;
    meta.protocol = protocol;
    meta.hash = hash;
    Ok(total)
}

fn parse_v6(frame: &mut Frame) -> Result<usize, Reason> {
    let view = ipv6::View::of_head(frame.head(), frame.len()).map_err(reason)?;
    let upper = view.upper_layer().map_err(reason)?;
    // An atomic fragment (RFC 6946) still has its Fragment header: nothing may be cut or merged.
    let is_fragment = upper.fragment.is_some();
    let total = view.total_len();
    let payload = frame.head().get(upper.offset..).unwrap_or_default();
    // Of all fragments the same: the later ones know of no header that the first one has behind this.
    let (named, ports) = match upper.fragment {
        Some(fragment) => (fragment.next_header, 0),
        None => (upper.protocol, ports(upper.protocol, payload)),
    };
    let hash = hash6(view.src(), view.dst(), named, ports);
    let at = frame.offset() as u16;
    let meta = &mut frame.meta;
    meta.packet = if is_fragment { Packet::V6Fragment } else { Packet::V6 };
    meta.l4 = at + upper.offset as u16;
    meta.protocol = upper.protocol;
    meta.hash = hash;
    Ok(total)
}

/// Source and destination port as they stand in the packet; zero without any.
#[inline]
fn ports(protocol: u8, payload: &[u8]) -> u32 {
    match payload.first_chunk() {
        Some(ports) if has_ports(protocol) => u32::from_be_bytes(*ports),
        _ => 0,
    }
}

/// Whether a packet's header begins with a source and a destination port.
#[inline]
pub(crate) fn has_ports(protocol: u8) -> bool {
    // One test of a bit instead of three comparisons.
    const LOW: u64 = 1 << protocol::TCP | 1 << protocol::UDP;
    (protocol < 64 && LOW >> protocol & 1 != 0) || protocol == protocol::SCTP
}

fn reason(error: wire::Error) -> Reason {
    match error {
        wire::Error::Truncated => TRUNCATED,
        wire::Error::Version => VERSION,
        wire::Error::ExtensionHeaders => EXTENSION_HEADERS,
        _ => LENGTH,
    }
}

/// A device that leaves checksums to hardware hands frames over with the pseudo-header's sum in the
/// field, and AF_XDP has no flag that says so. Completing such a field is right; and where a complete
/// checksum happens to equal that sum, completing it gives the same value again: a whole sum of zero.
#[inline(never)]
fn note_partial_sum(frame: &mut Frame) {
    let meta = frame.meta;
    if meta.packet.is_fragment() || meta.partial.is_pending() {
        return;
    }
    let offset = match meta.protocol {
        protocol::TCP => tcp::field::CHECKSUM.start,
        protocol::UDP => udp::field::CHECKSUM.start,
        _ => return,
    };
    let Some(&[a, b]) = frame.l4().get(offset..).and_then(|rest| rest.first_chunk()) else { return };
    let Some(pseudo) = sums::pseudo(frame) else { return };
    if u16::from_be_bytes([a, b]) == checksum::fold(pseudo) {
        frame.meta.partial = Partial { start: meta.l4, offset: offset as u16 };
    }
}

/// Source and destination of a packet that was parsed.
pub(crate) fn addresses(frame: &Frame) -> Option<(IpAddr, IpAddr)> {
    let packet = frame.l3();
    match frame.meta.packet.family()? {
        Family::V4 => {
            let (src, dst) = ipv4::addresses(packet.first_chunk()?);
            Some((src.into(), dst.into()))
        }
        Family::V6 => {
            let (src, dst) = ipv6::addresses(packet.first_chunk()?);
            Some((src.into(), dst.into()))
        }
    }
}
