//! Joins consecutive TCP segments of a flow for a port that takes super-frames, as the kernel's GRO
//! does; only segments whose checksum was verified here, so that a flipped bit stays visible.
//!
//! Joining happens within a batch and leaves the first segment in its place, so that no two frames of a
//! flow change order: a frame of the flow that cannot be joined ends what was being joined.

use super::sums;
use crate::cx::Cx;
use crate::frame::{Batch, Frame, Gso, GsoKind, Packet, Partial};
use crate::snapshot::PortId;
use encap::wire::{checksum, ipv4, ipv6, protocol, tcp};

/// Flows that are joined at the same time.
const FLOWS: usize = 8;
/// Bytes of the largest super-frame: what an IP length field holds.
const LARGEST: usize = 65_535;

/// A super-frame in the making.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Its first segment's place in the batch.
    at: usize,
    port: PortId,
    hash: u32,
    next_seq: u32,
    /// Payload of each segment so far.
    size: usize,
    /// Segments.
    count: usize,
    /// Bytes of the IP packet.
    len: usize,
}

/// What one segment brings along.
#[derive(Clone, Copy, Debug)]
struct Segment {
    seq: u32,
    flags: u8,
    headers: usize,
    payload: usize,
}

/// The super-frames in the making of one batch.
#[derive(Debug)]
pub(super) struct Coalescer {
    open: Vec<Open>,
}

impl Default for Coalescer {
    fn default() -> Self {
        Coalescer { open: Vec::with_capacity(FLOWS) }
    }
}

impl Coalescer {
    /// Joins frame `i` to an earlier one and takes it out of the batch; `false` when it goes on alone,
    /// perhaps to be joined by later ones.
    pub(super) fn offer(&mut self, batch: &mut Batch, i: usize, port: PortId, cx: &Cx<'_>) -> bool {
        let frame = &batch[i];
        if frame.meta.protocol != protocol::TCP || frame.meta.packet.is_fragment() {
            return false;
        }
        let hash = frame.meta.hash;
        let found = self.open.iter().position(|open| {
            open.port == port && open.hash == hash && same_flow(&batch[open.at], frame)
        });
        let segment = Segment::of(frame);
        let Some(segment) = segment else {
            self.end(found, batch);
            return false;
        };
        if let Some(index) = found {
            let open = &mut self.open[index];
            if open.takes(&segment) && same_headers(&batch[open.at], frame) {
                open.join(batch, i, &segment);
                cx.counters.merged.add(1);
                if segment.is_last(self.open[index].size) {
                    self.end(found, batch);
                }
                return true;
            }
        }
        self.end(found, batch);
        if self.open.len() == FLOWS {
            self.end(Some(0), batch);
        }
        if !segment.is_last(segment.payload) && batch[i].meta.gso.kind == GsoKind::None {
            self.open.push(Open::new(i, port, hash, &segment, &batch[i]));
        }
        false
    }

    /// Ends all; the batch may be settled then.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        for open in self.open.drain(..) {
            open.seal(&mut batch[open.at]);
        }
    }

    fn end(&mut self, index: Option<usize>, batch: &mut Batch) {
        if let Some(index) = index {
            let open = self.open.remove(index);
            open.seal(&mut batch[open.at]);
        }
    }
}

impl Segment {
    /// `None` for what must go alone: no data, other flags than ACK and PSH, IP options or extension
    /// headers, a super-frame already, or a checksum that does not hold.
    fn of(frame: &Frame) -> Option<Segment> {
        let meta = &frame.meta;
        let plain = match meta.packet {
            Packet::V4 => ipv4::LEN,
            Packet::V6 => ipv6::LEN,
            _ => return None,
        };
        if meta.l4 - meta.l3 != plain as u16 || frame.is_chained() {
            return None;
        }
        let tcp = tcp::View::new(frame.l4()).ok()?;
        let flags = tcp.flags();
        let (seq, headers, payload) = (tcp.seq(), plain + tcp.header_len(), tcp.payload().len());
        let wanted = flags & !tcp::flag::PSH == tcp::flag::ACK;
        let alone = meta.gso.kind != GsoKind::None || payload == 0 || !wanted;
        let verified = !alone && (meta.partial.is_pending() || sums::tcp_holds(frame));
        verified.then_some(Segment { seq, flags, headers, payload })
    }

    /// Whether nothing may follow: it is short, or pushed.
    fn is_last(&self, size: usize) -> bool {
        self.payload < size || self.flags & tcp::flag::PSH != 0
    }
}

impl Open {
    fn new(at: usize, port: PortId, hash: u32, segment: &Segment, frame: &Frame) -> Open {
        let next_seq = segment.seq.wrapping_add(segment.payload as u32);
        let len = frame.len_from(frame.meta.l3);
        Open { at, port, hash, next_seq, size: segment.payload, count: 1, len }
    }

    fn takes(&self, segment: &Segment) -> bool {
        segment.seq == self.next_seq
            && segment.payload <= self.size
            && self.len + segment.payload <= LARGEST
    }

    /// Puts the payload of frame `i` behind the first segment's.
    fn join(&mut self, batch: &mut Batch, i: usize, segment: &Segment) {
        let mut frame = batch.take(i);
        let link = usize::from(frame.meta.l3) - frame.offset();
        frame.pop(link + segment.headers);
        self.next_seq = self.next_seq.wrapping_add(segment.payload as u32);
        self.count += 1;
        self.len += segment.payload;
        let first = &mut batch[self.at];
        if let Some(flags) = first.l4_mut().get_mut(tcp::field::FLAGS) {
            *flags |= segment.flags;
        }
        first.join(frame);
    }

    /// Gives the headers the lengths of the whole, and leaves the checksum and the cutting to the port.
    fn seal(&self, frame: &mut Frame) {
        if self.count == 1 {
            return;
        }
        let is_v4 = frame.meta.packet == Packet::V4;
        let len = self.len;
        let kind = match is_v4 {
            true => {
                ipv4::set_total_len(frame.l3_mut(), len as u16);
                GsoKind::Tcp4
            }
            false => {
                ipv6::set_payload_len(frame.l3_mut(), (len - ipv6::LEN) as u16);
                GsoKind::Tcp6
            }
        };
        frame.meta.gso = Gso { kind, size: self.size as u16 };
        let field = tcp::field::CHECKSUM.start;
        frame.meta.partial = Partial { start: frame.meta.l4, offset: field as u16 };
        let pseudo = crate::sums::pseudo(frame).map_or(0, checksum::fold);
        tcp::set_checksum(frame.l4_mut(), pseudo);
    }
}

/// Same addresses and ports. Both are TCP packets whose headers were parsed.
fn same_flow(a: &Frame, b: &Frame) -> bool {
    let addresses = |frame: &Frame| match frame.meta.packet {
        Packet::V4 => ipv4::field::SRC.start..ipv4::field::DST.end,
        _ => ipv6::field::SRC.start..ipv6::field::DST.end,
    };
    a.meta.packet == b.meta.packet
        && a.l3().get(addresses(a)) == b.l3().get(addresses(b))
        && a.l4().get(..4) == b.l4().get(..4)
}

/// What joining would lose must be equal: TOS or traffic class and flow label, TTL, DF, acknowledgment
/// and TCP options.
fn same_headers(a: &Frame, b: &Frame) -> bool {
    let ip = |frame: &Frame| {
        let bytes = frame.l3();
        match frame.meta.packet {
            Packet::V4 => bytes.first_chunk().map(|h: &[u8; 20]| [h[1], h[8], h[6], 0, 0]),
            _ => bytes.first_chunk().map(|h: &[u8; 20]| [h[0], h[1], h[2], h[3], h[7]]),
        }
    };
    ip(a) == ip(b)
        && match (tcp::View::new(a.l4()), tcp::View::new(b.l4())) {
            (Ok(a), Ok(b)) => a.ack() == b.ack() && a.options() == b.options(),
            _ => false,
        }
}
