//! Puts the headers of a peer's tunnel in front of what is routed to the peer.
//!
//! A super-frame is encapsulated once, as it is; `finish` corrects lengths when it is cut.

use super::Stage;
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame};
use crate::latest::Latest;
use crate::snapshot::{Hop, NextHop, Snapshot};
use encap::{Encap, Family, Inner};

crate::drops! { Tunnel:
    NO_PEER = "no_peer", "the route names a peer that does not exist";
    HEADROOM = "headroom", "there was no room in front of the packet for the tunnel's headers";
}

/// The stage.
#[derive(Debug, Default)]
pub struct Tunnel;

impl Stage for Tunnel {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        let mut peers = Latest::new();
        for i in batch.live() {
            let frame = &mut batch[i];
            let next_hop = frame.meta.next_hop;
            let result = match peers.get(next_hop, || peer(next_hop, cx.snapshot)) {
                Some(Way::Tunnel(headers)) => push(frame, headers),
                Some(Way::Bare) => continue,
                None => Err(NO_PEER),
            };
            if let Err(reason) = result {
                batch.drop(i, reason);
            }
        }
    }
}

/// What a next hop asks of this stage.
#[derive(Clone, Copy)]
enum Way<'a> {
    Tunnel(Headers<'a>),
    Bare,
}

/// A tunnel's headers, and what is the same of all packets that get them.
#[derive(Clone, Copy)]
struct Headers<'a> {
    encap: &'a Encap,
    len: usize,
    has_sum: bool,
}

impl Headers<'_> {
    fn of(encap: &Encap) -> Headers<'_> {
        Headers { encap, len: encap.overhead(), has_sum: encap.checksum_offset().is_some() }
    }
}

/// Puts a tunnel's headers in front of a packet.
///
/// # Errors
/// When there is no room for them.
#[inline(never)]
pub(crate) fn encapsulate(frame: &mut Frame, encap: &Encap) -> Result<(), Reason> {
    push(frame, Headers::of(encap))
}

fn peer(next_hop: NextHop, snapshot: &Snapshot) -> Option<Way<'_>> {
    match next_hop.hop() {
        Hop::Peer(index) => {
            let encap = snapshot.peers.get(index)?.encap.as_ref();
            Some(encap.map_or(Way::Bare, |(_, encap)| Way::Tunnel(Headers::of(encap))))
        }
        _ => Some(Way::Bare),
    }
}

// Also where it is called from elsewhere.
#[inline(always)]
fn push(frame: &mut Frame, headers: Headers<'_>) -> Result<(), Reason> {
    let start = *frame.bytes_at(frame.meta.l3).unwrap_or(&[0; 2]);
    let family = frame.meta.packet.family().unwrap_or(Family::V4);
    let tos = family.tos(start);
    let inner = Inner { family, len: frame.len(), tos, flow_hash: frame.meta.hash };
    let room = frame.push(headers.len).ok_or(HEADROOM)?;
    headers.encap.push(room, &inner);
    frame.meta.outer = frame.offset() as u16;
    frame.meta.outer_sum = headers.has_sum;
    Ok(())
}
