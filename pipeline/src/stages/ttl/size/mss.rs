//! The segment size that the first packets of a TCP connection name, lowered to what fits the way to a peer
//! (RFC 4459 §3.2), where the peer's config asks for it: for pods to which ICMP does not get through.
//!
//! Those from a peer are changed as well as those to it: each says what its receiver may send, which will
//! take the same way back.

use crate::frame::{Batch, Frame, NO_PEER};
use crate::snapshot::{Hop, Snapshot};
use encap::Family;
use encap::wire::{ipv4, ipv6, protocol, tcp};

/// Looks at all frames of the batch.
#[cold]
pub(in crate::stages::ttl) fn clamp(batch: &mut Batch, snapshot: &Snapshot) {
    for i in batch.live() {
        let frame = &mut batch[i];
        if frame.meta.protocol == protocol::TCP && !frame.meta.packet.is_fragment() {
            lower(frame, snapshot);
        }
    }
}

fn lower(frame: &mut Frame, snapshot: &Snapshot) -> Option<()> {
    let header: &[u8; tcp::LEN] = frame.bytes_at(frame.meta.l4)?;
    if header[tcp::field::FLAGS] & tcp::flag::SYN == 0 {
        return None;
    }
    let ip = match frame.meta.packet.family()? {
        Family::V4 => ipv4::LEN,
        Family::V6 => ipv6::LEN,
    };
    // RFC 9293 §3.7.1: less fixed headers only.
    let most = mtu(frame, snapshot)?.saturating_sub(ip + tcp::LEN);
    let is_complete = !frame.meta.partial.is_pending();
    tcp::lower_mss(frame.l4_mut(), most.min(usize::from(u16::MAX)) as u16, is_complete);
    Some(())
}

/// What the way carries to and from peers that ask for it.
fn mtu(frame: &Frame, snapshot: &Snapshot) -> Option<usize> {
    let to = match frame.meta.next_hop.hop() {
        Hop::Peer(index) => Some(index),
        _ => None,
    };
    let from = (frame.meta.peer != NO_PEER).then_some(usize::from(frame.meta.peer));
    let peers = to.into_iter().chain(from).filter_map(|index| snapshot.peers.get(index));
    peers.filter(|peer| peer.clamp_mss).map(|peer| peer.mtu).min()
}
