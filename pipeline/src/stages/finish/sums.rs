//! Completes partial checksums.

use crate::frame::{Frame, Partial};
use crate::snapshot::Snapshot;
use crate::sums;
use encap::wire::{checksum, protocol, udp};

/// Completes the inner checksum, if one is pending; `None` when its field lies outside the headers.
#[inline]
pub(crate) fn complete_inner(frame: &mut Frame) -> Option<()> {
    let Partial { start, offset } = frame.meta.partial;
    if !frame.meta.partial.is_pending() {
        return Some(());
    }
    frame.meta.partial = Partial::NONE;
    // A UDP checksum of zero would say that there is none (RFC 768); no other protocol minds.
    let is_udp = usize::from(offset) == udp::field::CHECKSUM.start
        && frame.meta.protocol == protocol::UDP;
    complete(frame, start, offset, is_udp)
}

/// Completes the outer checksum where the tunnel of the frame's peer has one.
#[inline]
pub(crate) fn complete_outer(frame: &mut Frame, snapshot: &Snapshot) -> Option<()> {
    let Some(encap) = super::encap(frame, snapshot) else { return Some(()) };
    let Some((start, field)) = encap.checksum_offset() else { return Some(()) };
    let outer = frame.meta.outer;
    complete(frame, outer + start as u16, (field - start) as u16, true)
}

/// Adds the sum over everything from chunk offset `start` on to the field `offset` bytes behind it,
/// which holds the folded pseudo-header sum, and complements it.
fn complete(frame: &mut Frame, start: u16, offset: u16, nonzero: bool) -> Option<()> {
    let sum = sums::over(frame, start, 0)?.finish();
    let sum = if nonzero { checksum::nonzero(sum) } else { sum };
    let at = usize::from(offset);
    frame.from_mut(start).get_mut(at..at + 2)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Whether the checksum of the TCP segment in `frame` holds.
pub(super) fn tcp_holds(frame: &Frame) -> bool {
    // With the checksum in it, a sum is all ones.
    sums::pseudo(frame).is_some_and(|pseudo| sums::l4(frame, pseudo) == 0xffff)
}
