//! Fragmentation of an IPv4 packet, RFC 791 §3.2.

use crate::frame::{Frame, Gso, Packet, Partial, Pool};
use encap::Family;
use encap::wire::ipv4;

/// How a packet is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The packet's header, which the first fragment has, too; bytes.
    header: usize,
    /// The header of the others, which lacks the options that are for the first one alone.
    later: [u8; ipv4::LONGEST],
    later_header: usize,
    /// Bytes behind the header, of which the first fragment gets `first`, each other one `each`, and the
    /// last one what is left.
    payload: usize,
    first: usize,
    each: usize,
    /// Of a packet that is a fragment itself: where its payload stands, and whether more follow.
    offset: usize,
    more: bool,
}

impl Plan {
    /// For a packet of `len` bytes, more than `mtu`, that starts as `frame` does. `None` when it must not
    /// be cut, or can't: no eight bytes of it fit behind the header, or its end lies behind that of the
    /// longest packet there is.
    pub(super) fn new(frame: &Frame, len: usize, mtu: usize) -> Option<Plan> {
        if frame.meta.packet.family() != Some(Family::V4) {
            return None;
        }
        let ip = ipv4::View::of_head(frame.l3(), usize::MAX).ok()?;
        let mut later = [0; ipv4::LONGEST];
        let (header, later_header) = (ip.header_len(), ip.later_header(&mut later));
        let share = |header| mtu.checked_sub(header).map(|n| n & !7).filter(|n| *n > 0);
        let payload = len.checked_sub(header)?;
        let offset = usize::from(ip.fragment_offset());
        if ip.dont_fragment() || offset + payload > usize::from(u16::MAX) {
            return None;
        }
        Some(Plan {
            header,
            later,
            later_header,
            payload,
            first: share(header)?,
            each: share(later_header)?,
            offset,
            more: ip.more_fragments(),
        })
    }

    /// How many fragments there are.
    pub(super) fn fragments(&self) -> usize {
        1 + self.payload.saturating_sub(self.first).div_ceil(self.each)
    }

    /// Fragment `k` of the packet in `whole`; `None` when memory is exhausted.
    pub(super) fn fragment(&self, whole: &Frame, k: usize, pool: &mut Pool) -> Option<Frame> {
        let (header, at, most) = match k {
            0 => (whole.l3().get(..self.header)?, 0, self.first),
            _ => (&self.later[..self.later_header], self.first + (k - 1) * self.each, self.each),
        };
        let len = most.min(self.payload - at);
        let mut part = whole.piece(header, self.header + at, len, pool)?;
        let more = self.more || at + len < self.payload;
        let total_len = header.len() + len;
        ipv4::set_fragment(part.l3_mut(), total_len as u16, (self.offset + at) as u16, more);
        let meta = &mut part.meta;
        meta.packet = Packet::V4Fragment;
        meta.l4 = meta.l3 + header.len() as u16;
        meta.gso = Gso::default();
        meta.partial = Partial::NONE;
        Some(part)
    }
}
