//! Sums over a frame's bytes, for checksums that are verified or completed.

use crate::frame::{Frame, Packet};
use encap::wire::checksum::{self, Sum};
use encap::wire::{ipv4, ipv6};

/// The sum over the pseudo-header of the packet at `l3`, for its upper layer from `l4` on.
#[inline]
pub(crate) fn pseudo(frame: &Frame) -> Option<u32> {
    let len = frame.len_from(frame.meta.l4) as u32;
    let protocol = frame.meta.protocol;
    match frame.meta.packet {
        Packet::V4 => {
            let ip = ipv4::View::of_head(frame.l3(), usize::MAX).ok()?;
            Some(checksum::pseudo_v4(ip.src(), ip.dst(), protocol, len))
        }
        Packet::V6 => {
            let ip = ipv6::View::of_head(frame.l3(), usize::MAX).ok()?;
            Some(checksum::pseudo_v6(ip.src(), ip.dst(), protocol, len))
        }
        _ => None,
    }
}

/// The sum over everything from chunk offset `start` to the frame's end, over all chunks, added to
/// `partial`; `None` when `start` lies before the frame.
pub(crate) fn over(frame: &Frame, start: u16, partial: u32) -> Option<Sum> {
    let mut skip = usize::from(start).checked_sub(frame.offset())?;
    let mut sum = Sum::new(partial);
    for bytes in frame.segments() {
        sum.add(bytes.get(skip..).unwrap_or_default());
        skip = skip.saturating_sub(bytes.len());
    }
    Some(sum)
}

/// As [`over`], from the innermost L4 header on, folded; zero when there is none.
pub(crate) fn l4(frame: &Frame, partial: u32) -> u16 {
    over(frame, frame.meta.l4, partial).map_or(0, Sum::fold)
}
