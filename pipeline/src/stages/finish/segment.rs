//! Cuts super-frames into segments, as a NIC with TSO and USO would.
//!
//! Each segment gets a copy of all headers, outer ones included, with lengths, sequence numbers and
//! checksums of its own.

use super::{NO_MEMORY, OFFLOAD, sums};
use crate::cx::Cx;
use crate::frame::{
    Batch, CHUNK_SIZE, Frame, Gso, GsoKind, LINK, Link, Packet, Partial, Pool,
};
use crate::snapshot::{PortId, PortInfo};
use encap::Encap;
use encap::wire::{checksum, ethernet, ipv4, ipv6, protocol, tcp, udp};

/// How a super-frame is made up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Bytes from the frame's start to its payload.
    headers: usize,
    /// Bytes behind them.
    payload: usize,
    /// Bytes of payload a segment.
    size: usize,
}

impl Shape {
    /// `None` when the headers are not those that the frame's GSO kind is for, or not all in the head.
    pub(super) fn of(frame: &Frame) -> Option<Shape> {
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
    pub(super) fn largest(&self) -> usize {
        self.headers + self.payload.min(self.size)
    }

    fn segments(&self) -> usize {
        self.payload.div_ceil(self.size).max(1)
    }
}

/// Takes super-frame `i` out of the batch and sends its segments by `port`.
pub(super) fn segment(
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
        let Some(mut part) = cut(&whole, &shape, k, cx.pool) else {
            cx.counters.dropped(NO_MEMORY);
            continue;
        };
        match mend(&mut part, &shape, k, n, port, encap).is_some()
            && sums::complete_outer(&mut part, cx.snapshot).is_some()
        {
            true => cx.send(part, id),
            false => cx.discard(part, OFFLOAD),
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

/// Segment `k`: a copy of the headers and of its share of the payload. It starts at the same offset in
/// its chunk, so that the offsets in [`Meta`](crate::frame::Meta) hold for it too.
fn cut(whole: &Frame, shape: &Shape, k: usize, pool: &mut Pool) -> Option<Frame> {
    let mut part = Frame::new(pool.alloc()?, whole.offset(), 0, whole.meta.in_port);
    part.meta = whole.meta;
    part.meta.gso = Gso::default();
    let first = k * shape.size;
    let len = shape.size.min(shape.payload - first);
    let in_head = len.min(CHUNK_SIZE - whole.offset() - shape.headers);
    let head = part.append(shape.headers + in_head)?;
    let (headers, payload) = head.split_at_mut(shape.headers);
    headers.copy_from_slice(&whole.head()[..shape.headers]);
    whole.copy_to(shape.headers + first, payload);
    let mut done = in_head;
    while done < len {
        let Some(mut chunk) = pool.alloc() else {
            part.free(pool);
            return None;
        };
        let n = (len - done).min(CHUNK_SIZE - LINK);
        whole.copy_to(shape.headers + first + done, &mut chunk.bytes_mut()[LINK..LINK + n]);
        part.chain(chunk, LINK, n);
        done += n;
    }
    Some(part)
}

/// Makes the headers of segment `k` of `n` its own.
fn mend(
    part: &mut Frame,
    shape: &Shape,
    k: usize,
    n: usize,
    port: &PortInfo,
    encap: Option<&Encap>,
) -> Option<()> {
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
        protocol::TCP => mend_tcp(part.l4_mut(), shape, k, n)?,
        _ => {
            let len = part.len_from(part.meta.l4);
            udp::set_length(part.l4_mut(), len as u16);
            udp::field::CHECKSUM.start
        }
    };
    let pseudo = checksum::fold(crate::sums::pseudo(part)?);
    part.l4_mut().get_mut(field..field + 2)?.copy_from_slice(&pseudo.to_be_bytes());
    part.meta.partial = Partial { start: part.meta.l4, offset: field as u16 };
    if !port.caps.checksum {
        sums::complete_inner(part)?;
    }
    if let Some(encap) = encap {
        let outer = part.meta.outer;
        let len = encap.overhead();
        encap.resize(part.from_mut(outer).get_mut(..len)?, l3_len);
    }
    Some(())
}

/// Sequence number and flags; returns where the checksum stands. (RFC 9293; CWR on the first segment
/// only: RFC 3168 §6.1.2.)
fn mend_tcp(segment: &mut [u8], shape: &Shape, k: usize, n: usize) -> Option<usize> {
    let view = tcp::View::new(segment).ok()?;
    let (seq, mut flags) = (view.seq(), view.flags());
    if k + 1 < n {
        flags &= !(tcp::flag::FIN | tcp::flag::PSH);
    }
    if k > 0 {
        flags &= !tcp::flag::CWR;
    }
    tcp::set_seq(segment, seq.wrapping_add((k * shape.size) as u32));
    tcp::set_flags(segment, flags);
    Some(tcp::field::CHECKSUM.start)
}
