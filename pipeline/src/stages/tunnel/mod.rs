//! Puts the headers of a peer's tunnel in front of what is routed to the peer.
//!
//! A super-frame is encapsulated once, as it is; `finish` corrects lengths when it is cut.

use super::Stage;
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame};
use crate::snapshot::{Hop, Peer};
use encap::wire::{ipv4, ipv6};
use encap::{Family, Inner};

crate::drops! { Tunnel:
    NO_PEER = "no_peer", "the route names a peer that does not exist";
    HEADROOM = "headroom", "there was no room in front of the packet for the tunnel's headers";
}

/// The stage.
#[derive(Debug, Default)]
pub struct Tunnel;

impl Stage for Tunnel {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        for i in batch.live() {
            let frame = &mut batch[i];
            let Hop::Peer(index) = frame.meta.next_hop.hop() else { continue };
            let result = match cx.snapshot.peers.get(index) {
                Some(peer) => push(frame, peer),
                None => Err(NO_PEER),
            };
            if let Err(reason) = result {
                batch.drop(i, reason);
            }
        }
    }
}

#[inline]
fn push(frame: &mut Frame, peer: &Peer) -> Result<(), Reason> {
    let packet = frame.l3();
    let (family, tos) = match frame.meta.packet.family() {
        Some(Family::V6) => (Family::V6, packet.first_chunk().map(traffic_class)),
        _ => (Family::V4, packet.get(ipv4::field::TOS).copied()),
    };
    let inner = Inner {
        family,
        len: frame.len(),
        tos: tos.unwrap_or_default(),
        flow_hash: frame.meta.hash,
    };
    let room = frame.push(peer.encap.overhead()).ok_or(HEADROOM)?;
    peer.encap.push(room, &inner);
    frame.meta.outer = frame.offset() as u16;
    Ok(())
}

#[inline]
fn traffic_class(header: &[u8; ipv6::LEN]) -> u8 {
    header[0] << 4 | header[1] >> 4
}
