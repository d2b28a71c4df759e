//! The link-layer header: who on the egress port's link takes the frame.
//!
//! Frames for a station whose MAC is not known wait here while it is asked for: a few for each, not
//! many for all, not for long. If the tables change meanwhile they go by the new ones.

use super::parse::addresses;
use super::{Stage, StageId, resolve};
use crate::cx::Cx;
use crate::frame::{Batch, Frame, Link};
use crate::latest::Latest;
use crate::snapshot::{Hop, NextHop, PortId, PortInfo, Snapshot};
use crate::tables::neighbours::{self, Resolution};
use encap::Family;
use encap::wire::{Mac, ethernet};
use std::sync::Arc;

crate::drops! { Neighbour:
    NO_NEIGHBOUR = "no_neighbour", "the route names a station or port that does not exist";
    UNRESOLVED = "unresolved", "the station did not say its MAC in time";
    CROWDED = "crowded", "too many frames wait for a station's MAC";
    HEADROOM = "headroom", "there was no room in front of the packet for the Ethernet header";
    CLOSED = "closed", "the worker ended while the frame waited for a MAC";
}

/// Frames that wait, for all stations together.
const MOST: usize = 256;
/// Frames that wait for one station.
const EACH: usize = 16;
/// How long a frame waits, nanoseconds.
const PATIENCE: u64 = 3_000_000_000;

/// The stage.
#[derive(Debug, Default)]
pub struct Neighbour {
    waiting: Vec<Waiting>,
    /// Stations whose waiting frames were let go in this batch: what follows must not overtake them.
    released: Vec<usize>,
}

#[derive(Debug)]
struct Waiting {
    frame: Frame,
    station: usize,
    /// What was in that slot: it may be another's by the time that the frame goes on.
    entry: Arc<neighbours::Neighbour>,
    /// The tables that brought it here.
    generation: u64,
    since: u64,
}

impl Stage for Neighbour {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        self.released.clear();
        let mut known = Latest::new();
        for i in batch.live() {
            let meta = &batch[i].meta;
            let (next_hop, egress) = (meta.next_hop, meta.egress);
            match known.get((next_hop, egress), || self.header(next_hop, egress, cx)) {
                Some(Header::None) => {}
                Some(Header::Ethernet(addresses)) => push(batch, i, addresses),
                None => self.ask(batch, i, cx),
            }
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        let mut at = 0;
        while at < self.waiting.len() {
            if !settle(&mut self.waiting, at, cx) {
                at += 1;
            }
        }
    }

    fn held(&self) -> usize {
        self.waiting.len()
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        for waiting in self.waiting.drain(..) {
            cx.discard(waiting.frame, CLOSED);
        }
    }
}

enum Judgement {
    Wait,
    Go,
    /// The tables are others now.
    Again,
    Drop(crate::drops::Reason),
}

/// Ends the wait of a frame, if it is to end; whether it did.
fn settle(all: &mut Vec<Waiting>, at: usize, cx: &mut Cx<'_>) -> bool {
    match judge(&all[at], cx) {
        Judgement::Wait => return false,
        Judgement::Go => cx.reinject(all.remove(at).frame, StageId::Neighbour),
        Judgement::Again => {
            let mut frame = all.remove(at).frame;
            let stage = reroute(&mut frame, cx.snapshot);
            cx.reinject(frame, stage);
        }
        Judgement::Drop(reason) => cx.discard(all.remove(at).frame, reason),
    }
    true
}

/// What becomes of a frame that waits.
fn judge(waiting: &Waiting, cx: &mut Cx<'_>) -> Judgement {
    let (snapshot, station) = (cx.snapshot, &waiting.entry);
    let is_old = waiting.generation != snapshot.generation;
    let next_hop = waiting.frame.meta.next_hop;
    let is_same = station_of(next_hop, snapshot) == Some(waiting.station)
        && snapshot.neighbours.get(waiting.station).is_some_and(|now| Arc::ptr_eq(now, station))
        && (!is_old || route_of(&waiting.frame, snapshot) == next_hop);
    if !is_same {
        return Judgement::Again;
    }
    match station.resolve(cx.now) {
        // Its outer headers are by the old tables.
        Resolution::Known(_) | Resolution::Probe(_) if is_old => return Judgement::Again,
        Resolution::Known(_) | Resolution::Probe(_) => return Judgement::Go,
        Resolution::Unknown { ask: true } => {
            resolve::request(station, None, cx);
        }
        Resolution::Unknown { ask: false } => {}
    }
    match cx.now.saturating_sub(waiting.since) > PATIENCE {
        true => Judgement::Drop(UNRESOLVED),
        false => Judgement::Wait,
    }
}

/// Makes a frame what it was before it got its outer headers, and looks up anew where it goes. It
/// goes on behind the TTL, which it has paid, unless no port takes it: to say that is for `ttl`.
fn reroute(frame: &mut Frame, snapshot: &Snapshot) -> StageId {
    frame.pop(usize::from(frame.meta.l3).saturating_sub(frame.offset()));
    let next_hop = route_of(frame, snapshot);
    frame.meta.outer = 0;
    frame.meta.outer_sum = false;
    frame.meta.next_hop = next_hop;
    frame.meta.egress = snapshot.egress(next_hop).unwrap_or(PortId::NONE);
    match next_hop.hop() {
        Hop::Peer(_) | Hop::Port(_) | Hop::Neighbour(_) => StageId::Tunnel,
        Hop::None | Hop::Local | Hop::Unreachable | Hop::Blackhole | Hop::Group(_) => StageId::Ttl,
    }
}

/// Where the tables send a packet that was parsed and forwarded before.
fn route_of(frame: &Frame, snapshot: &Snapshot) -> NextHop {
    let route = addresses(frame).map_or(NextHop::NONE, |(_, to)| snapshot.route(to));
    snapshot.spread(route, frame.meta.hash)
}

/// What a frame gets for its way to the next hop.
#[derive(Clone, Copy)]
enum Header {
    /// The port's frames have no link-layer header.
    None,
    /// One with these.
    Ethernet(ethernet::Addresses),
}

impl Header {
    fn new(dst: Mac, port: &PortInfo) -> Header {
        match port.link {
            Link::Ip => Header::None,
            Link::Ethernet => Header::Ethernet(ethernet::Addresses::new(dst, port.mac)),
        }
    }
}

/// The station that a next hop leads to; none on a link without addresses.
fn station_of(next_hop: NextHop, snapshot: &Snapshot) -> Option<usize> {
    match next_hop.hop() {
        Hop::Neighbour(index) => Some(index),
        Hop::Peer(peer) => Some(snapshot.peers.get(peer).map_or(usize::MAX, |p| p.neighbour)),
        _ => None,
    }
}

impl Neighbour {
    /// The header of all frames of a batch to a next hop by a port, when there is nothing to ask and
    /// nobody to wait for.
    #[inline(never)]
    fn header(&self, next_hop: NextHop, egress: PortId, cx: &Cx<'_>) -> Option<Header> {
        let Some(index) = station_of(next_hop, cx.snapshot) else { return Some(Header::None) };
        let is_ahead = |waiting: &Waiting| waiting.station == index;
        if self.waiting.iter().any(is_ahead) || self.released.contains(&index) {
            return None;
        }
        let port = cx.snapshot.ports.get(egress.index())?;
        Some(Header::new(cx.snapshot.neighbours.get(index)?.peek(cx.now)?, port))
    }

    /// Sends frame `i` to a station that must be asked first, whose MAC is in doubt, or for which others
    /// wait.
    #[inline(never)]
    fn ask(&mut self, batch: &mut Batch, i: usize, cx: &mut Cx<'_>) {
        let (snapshot, meta) = (cx.snapshot, &batch[i].meta);
        let Some(index) = station_of(meta.next_hop, snapshot) else { return };
        let port = snapshot.ports.get(meta.egress.index());
        let Some((station, port)) = snapshot.neighbours.get(index).zip(port) else {
            return batch.drop(i, NO_NEIGHBOUR);
        };
        let mac = match station.resolve(cx.now) {
            Resolution::Known(mac) => mac,
            Resolution::Probe(mac) => {
                resolve::request(station, Some(mac), cx);
                mac
            }
            Resolution::Unknown { ask } => {
                if ask {
                    resolve::request(station, None, cx);
                }
                return self.hold(batch, i, index, cx);
            }
        };
        if self.follow(index, cx) {
            return cx.reinject(batch.take(i), StageId::Neighbour);
        }
        if let Header::Ethernet(addresses) = Header::new(mac, port) {
            push(batch, i, addresses);
        }
    }

    /// Lets go of what waits for a station, which is known by now. Whether there was anything, in this
    /// batch: then a frame for it goes behind that, for the sake of order.
    #[cold]
    fn follow(&mut self, station: usize, cx: &mut Cx<'_>) -> bool {
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            if waiting.station != station || !settle(&mut self.waiting, at, cx) {
                at += 1;
            } else if !self.released.contains(&station) {
                self.released.push(station);
            }
        }
        self.released.contains(&station)
    }

    #[cold]
    fn hold(&mut self, batch: &mut Batch, i: usize, station: usize, cx: &Cx<'_>) {
        let same = self.waiting.iter().filter(|waiting| waiting.station == station).count();
        if self.waiting.len() >= MOST || same >= EACH {
            return batch.drop(i, CROWDED);
        }
        let entry = cx.snapshot.neighbours[station].clone();
        let (generation, since) = (cx.snapshot.generation, cx.now);
        self.waiting.push(Waiting { frame: batch.take(i), station, entry, generation, since });
    }
}

/// Puts a header in front, of the type of what stands there now: the outer packet, or the packet.
#[inline(always)]
fn push(batch: &mut Batch, i: usize, addresses: ethernet::Addresses) {
    let frame = &mut batch[i];
    let [first] = *frame.bytes_at(frame.offset() as u16).unwrap_or(&[0]);
    let ethertype = if first >> 4 == 6 { Family::V6 } else { Family::V4 }.ethertype();
    match frame.push(ethernet::LEN).and_then(|room| room.first_chunk_mut::<{ ethernet::LEN }>()) {
        Some(room) => addresses.emit(ethertype, room),
        None => batch.drop(i, HEADROOM),
    }
}

#[cfg(test)]
mod tests;
