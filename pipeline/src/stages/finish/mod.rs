//! Makes a frame fit its port, and sends it there.
//!
//! Checksums that a sender left to hardware are completed, super-frames are cut into segments, both
//! unless the port does that itself; and TCP segments for a port that takes super-frames are joined.
//!
//! What is larger than its way is told or fragmented in `ttl`. What is too big here is so by tables that
//! changed meanwhile, or that do not fit together.

mod coalesce;
mod segment;
mod sums;
#[cfg(test)]
mod tests;

use super::Stage;
use crate::cx::Cx;
use crate::frame::{Batch, Frame, GsoKind};
use crate::latest::Latest;
use crate::snapshot::{Caps, Hop, PortInfo, Snapshot};
use coalesce::Coalescer;
use encap::Encap;
use segment::link_len;

pub(crate) use segment::{Shape, largest, segment};
pub(crate) use sums::{complete_inner, complete_outer};

crate::drops! { Finish:
    NO_PORT = "no_port", "the route leads to a port that does not exist";
    TOO_BIG = "too_big", "the packet is larger than the port's MTU";
    OFFLOAD = "offload", "the frame asks for segmentation or a checksum that its headers do not allow";
    NO_MEMORY = "no_memory", "no chunk was free for a segment";
}

/// The stage.
#[derive(Debug, Default)]
pub struct Finish {
    coalescer: Coalescer,
}

impl Stage for Finish {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        let snapshot = cx.snapshot;
        let mut ports = Latest::new();
        for i in batch.live() {
            let frame = &batch[i];
            let id = frame.meta.egress;
            let Some(port) = ports.get(id, || snapshot.ports.get(id.index())) else {
                batch.drop(i, NO_PORT);
                continue;
            };
            if needs_nothing(frame, port) && frame.len() <= most(port) {
                batch.emit(i, id);
            } else {
                self.mend(batch, i, port, cx);
            }
        }
        self.coalescer.finish(batch);
    }
}

/// Whether the frame may leave by the port as it is, if it is not too big.
#[inline(always)]
fn needs_nothing(frame: &Frame, port: &PortInfo) -> bool {
    let meta = &frame.meta;
    meta.gso.kind == GsoKind::None
        && !port.caps.coalesce
        && !meta.outer_sum
        && (port.caps.checksum || !meta.partial.is_pending())
}

impl Finish {
    /// Does what there is to do. Out of line: most frames of an uplink are fine.
    #[inline(never)]
    fn mend(&mut self, batch: &mut Batch, i: usize, port: &PortInfo, cx: &mut Cx<'_>) {
        let (snapshot, meta) = (cx.snapshot, &batch[i].meta);
        let (id, kind) = (meta.egress, meta.gso.kind);
        if largest(&batch[i]) > most(port) {
            return batch.drop(i, TOO_BIG);
        }
        if kind != GsoKind::None && !takes(port.caps, kind) {
            return segment::send(batch, i, id, port, encap(&batch[i], snapshot), cx);
        }
        if port.caps.coalesce && self.coalescer.offer(batch, i, id, cx) {
            return;
        }
        let frame = &mut batch[i];
        let done = port.caps.checksum || sums::complete_inner(frame).is_some();
        if !done || sums::complete_outer(frame, snapshot).is_none() {
            return batch.drop(i, OFFLOAD);
        }
        batch.emit(i, id);
    }
}

/// What made the frame's outer headers.
#[inline]
fn encap<'a>(frame: &Frame, snapshot: &'a Snapshot) -> Option<&'a Encap> {
    match frame.meta.next_hop.hop() {
        Hop::Peer(index) if frame.meta.outer != 0 => {
            snapshot.peers.get(index)?.encap.as_ref().map(|(_, encap)| encap)
        }
        _ => None,
    }
}

/// Whether the port cuts such super-frames itself.
#[inline]
fn takes(caps: Caps, kind: GsoKind) -> bool {
    match kind {
        GsoKind::None => true,
        GsoKind::Tcp4 => caps.tso4,
        GsoKind::Tcp6 => caps.tso6,
        GsoKind::Udp => caps.uso,
    }
}

/// The longest frame that the port sends.
#[inline]
fn most(port: &PortInfo) -> usize {
    port.mtu + link_len(port)
}
