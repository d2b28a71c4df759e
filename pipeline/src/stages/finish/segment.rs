//! Cuts super-frames into segments, as a NIC with TSO and USO would.
//!
//! Each segment gets a copy of all headers, outer ones included, with lengths, sequence numbers and
//! checksums of its own.

use super::{NO_MEMORY, OFFLOAD, sums};
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame, Gso, GsoKind, Link, Packet, Partial, Pool};
use crate::snapshot::{PortId, PortInfo, Snapshot};
use encap::Encap;
use encap::wire::{checksum, ethernet, ipv4, ipv6, protocol, tcp, udp};

/// How a super-frame is made up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bytes from the frame's start to its payload.
    headers: usize,
    /// Bytes behind them.
    payload: usize,
    /// Bytes of payload a segment.
    size: usize,
}

impl Shape {
    /// `None` when the headers are not those that the frame's GSO kind is for, or not all in the head.
    pub(crate) fn of(frame: &Frame) -> Option<Shape> {
        let meta = &frame.meta;
        let fits = match meta.gso.kind {
            GsoKind::None => false,
            GsoKind::Tcp4 => meta.packet == Packet::V4 && meta.protocol == protocol::TCP,
            GsoKind::Tcp6 => meta.packet == Packet::V6 && meta.protocol == protocol::TCP,
            GsoKind::Udp => !meta.packet.is_fragment() && meta.protocol == protocol::UDP,
        };
        let l4 = match meta.protocol {
            protocol::TCP => tcp::View::new(frame.l4()).ok()?.header_len(),
            _ => (frame.l4().len() >= udp::LEN).then_some(udp::LEN)?,
        };
        let headers = usize::from(meta.l4).checked_sub(frame.offset())? + l4;
        let size = usize::from(meta.gso.size);
        let payload = frame.len().checked_sub(headers)?;
        (fits && size > 0).then_some(Shape { headers, payload, size })
    }

    /// Bytes of the largest segment, as a frame.
    fn largest(&self) -> usize {
        self.headers + self.payload.min(self.size)
    }

    /// How many segments there are.
    pub(crate) fn segments(&self) -> usize {
        self.payload.div_ceil(self.size).max(1)
    }
}

/// Bytes of the frame, or of the largest segment of a super-frame.
#[inline]
pub(crate) fn largest(frame: &Frame) -> usize {
    match frame.meta.gso.kind {
        GsoKind::None => frame.len(),
        // What is not a super-frame after all is the port's to refuse.
        _ => Shape::of(frame).map_or(0, |shape| shape.largest()),
    }
}

/// Takes super-frame `i` out of the batch and sends its segments by `port`.
pub(super) fn send(
    batch: &mut Batch,
    i: usize,
    id: PortId,
    port: &PortInfo,
    encap: Option<&Encap>,
    cx: &mut Cx<'_>,
) {
    let Some(shape) = Shape::of(&batch[i]) else { return batch.drop(i, OFFLOAD) };
    let whole = batch.take(i);
    let n = shape.segments();
    cx.counters.split.add(n as u64 - 1);
    for k in 0..n {
        match segment(&whole, &shape, k, cx.pool) {
            Ok(mut part) => match finish(&mut part, port, encap, cx.snapshot) {
                Some(()) => cx.send(part, id),
                None => cx.discard(part, OFFLOAD),
            },
            Err(reason) => cx.counters.dropped(&whole, reason),
        }
    }
    whole.free(cx.pool);
}

pub(super) fn link_len(port: &PortInfo) -> usize {
    match port.link {
        Link::Ethernet => ethernet::LEN,
        Link::Ip => 0,
    }
}

/// Segment `k`: a copy of the headers, made its own but for the outer ones, and of its share of the
/// payload. Its checksum is partial.
///
/// # Errors
/// Why there is none.
pub(crate) fn segment(
    whole: &Frame,
    shape: &Shape,
    k: usize,
    pool: &mut Pool,
) -> Result<Frame, Reason> {
    let first = k * shape.size;
    let len = shape.size.min(shape.payload - first);
    let headers = &whole.head()[..shape.headers];
    let part = whole.piece(headers, shape.headers + first, len, pool);
    let mut part = part.ok_or(NO_MEMORY)?;
    part.meta.gso = Gso::default();
    match mend(&mut part, shape, k) {
        Some(()) => Ok(part),
        None => {
            part.free(pool);
            Err(OFFLOAD)
        }
    }
}

/// Makes the inner headers of segment `k` its own.
fn mend(part: &mut Frame, shape: &Shape, k: usize) -> Option<()> {
    let l3_len = part.len_from(part.meta.l3);
    let is_v4 = part.meta.packet == Packet::V4;
    let ip = part.l3_mut();
    if is_v4 {
        let ident = ipv4::View::of_head(ip, usize::MAX).ok()?.ident();
        ipv4::set_total_len(ip, l3_len as u16);
        ipv4::set_ident(ip, ident.wrapping_add(k as u16));
    } else {
        ipv6::set_payload_len(ip, (l3_len - ipv6::LEN) as u16);
    }
    let field = match part.meta.protocol {
        protocol::TCP => mend_tcp(part.l4_mut(), shape, k)?,
        _ => {
            let len = part.len_from(part.meta.l4);
            udp::set_length(part.l4_mut(), len as u16);
            udp::field::CHECKSUM.start
        }
    };
    let pseudo = checksum::fold(crate::sums::pseudo(part)?);
    part.l4_mut().get_mut(field..field + 2)?.copy_from_slice(&pseudo.to_be_bytes());
    part.meta.partial = Partial { start: part.meta.l4, offset: field as u16 };
    Some(())
}

/// Makes the outer headers of a segment its own, and does what the port does not.
fn finish(
    part: &mut Frame,
    port: &PortInfo,
    encap: Option<&Encap>,
    snapshot: &Snapshot,
) -> Option<()> {
    if !port.caps.checksum {
        sums::complete_inner(part)?;
    }
    if let Some(encap) = encap {
        let (outer, inner_len) = (part.meta.outer, part.len_from(part.meta.l3));
        let len = encap.overhead();
        encap.resize(part.from_mut(outer).get_mut(..len)?, inner_len);
    }
    sums::complete_outer(part, snapshot)
}

/// Sequence number and flags; returns where the checksum stands. (RFC 9293; CWR on the first segment
/// only: RFC 3168 §6.1.2.)
fn mend_tcp(segment: &mut [u8], shape: &Shape, k: usize) -> Option<usize> {
    let view = tcp::View::new(segment).ok()?;
    let (seq, mut flags) = (view.seq(), view.flags());
    if k + 1 < shape.segments() {
        flags &= !(tcp::flag::FIN | tcp::flag::PSH);
    }
    if k > 0 {
        flags &= !tcp::flag::CWR;
    }
    tcp::set_seq(segment, seq.wrapping_add((k * shape.size) as u32));
    tcp::set_flags(segment, flags);
    Some(tcp::field::CHECKSUM.start)
}
