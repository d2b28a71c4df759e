//! Packets that peers send as they are: flannel's host-gw and DirectRouting, Calico's CrossSubnet.
//!
//! There is no header that says whose such a packet is: it is told by its addresses. Its source must be
//! routed to a peer that may send so, or be that peer's own, its destination routed to a pod of ours; whatever else comes by an uplink
//! goes on as a tunnel's packet.

use super::known::ends;
use crate::frame::Frame;
use crate::snapshot::{Hop, Role, Snapshot};
use std::net::IpAddr;

/// What was found for the packet before: the next one often has the same ends.
#[derive(Default)]
pub(super) struct Direct {
    latest: Option<([u8; 32], bool, Option<u16>)>,
}

impl Direct {
    /// Whether a packet is such a one; then it is noted which peer it is from.
    #[inline]
    pub(super) fn take(&mut self, frame: &mut Frame, snapshot: &Snapshot) -> bool {
        let Ok((bytes, src, dst)) = ends(frame) else { return false };
        let peer = match self.latest {
            Some((known, is_v4, peer)) if known == bytes && is_v4 == src.is_ipv4() => peer,
            _ => {
                let peer = find(src, dst, snapshot);
                self.latest = Some((bytes, src.is_ipv4(), peer));
                peer
            }
        };
        if let Some(peer) = peer {
            frame.meta.peer = peer;
        }
        peer.is_some()
    }
}

#[inline(never)]
fn find(src: IpAddr, dst: IpAddr, snapshot: &Snapshot) -> Option<u16> {
    let is_pod = |hop| {
        let port = snapshot.egress(hop).and_then(|port| snapshot.ports.get(port.index()));
        port.is_some_and(|port| port.role == Role::Pod)
    };
    if !snapshot.members(snapshot.route(dst)).any(is_pod) {
        return None;
    }
    // Of several peers that have the source any may have sent it; or it is the peer's own.
    let behind = snapshot.members(snapshot.route(src)).filter_map(|hop| match hop.hop() {
        Hop::Peer(index) => Some(index as u16),
        _ => None,
    });
    let own = snapshot.peers_by_address.get(&src).copied();
    let is_direct = |index: &u16| {
        snapshot.peers.get(usize::from(*index)).is_some_and(|peer| peer.accepts.direct)
    };
    behind.chain(own).find(is_direct)
}
