//! Where a packet goes, and whether it may come from where it says.
//!
//! All destinations of a batch are looked up together, so that the cache misses of a large table
//! overlap, and so are the sources that need it.

#[cfg(test)]
mod tests;

use super::Stage;
use super::parse::addresses;
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{BATCH_SIZE, Batch, Frame, Live, NO_PEER};
use crate::snapshot::{Hop, NextHop, PortId, Snapshot};
use crate::tables::{Key, Lpm};
use encap::Family;
use encap::wire::{ipv4, ipv6, protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

crate::drops! { Route:
    SOURCE = "source", "the source address is not one of the pod's own";
    PEER_SOURCE = "peer_source", "the inner source address is not routed to the peer it came from";
    MARTIAN = "martian", "the source address is no unicast address of a host";
    MULTICAST = "multicast", "the destination is a multicast or broadcast address";
    SCOPE = "scope", "an address is valid on its own link or host only";
}

/// The stage.
#[derive(Debug)]
pub struct Route {
    v4: Both<Ipv4Addr>,
    v6: Both<Ipv6Addr>,
}

impl Default for Route {
    fn default() -> Self {
        Route { v4: Both::new(Ipv4Addr::UNSPECIFIED), v6: Both::new(Ipv6Addr::UNSPECIFIED) }
    }
}

/// Lookups of one family.
#[derive(Debug)]
struct Both<A> {
    destinations: Lookups<A>,
    /// Sources that only the route back can judge.
    sources: Lookups<A>,
}

/// Addresses to be looked up together, and the frames that they are of: of a run of frames with the
/// same one, all.
#[derive(Debug)]
struct Lookups<A> {
    addresses: [A; BATCH_SIZE],
    /// A bit for each frame of the batch.
    frames: [u64; BATCH_SIZE],
    found: [u32; BATCH_SIZE],
    len: usize,
    /// Where the frames of the last run came from.
    origin: u32,
}

impl<A: Key> Lookups<A> {
    /// Of none yet; `any` address fills the places.
    fn new(any: A) -> Self {
        let (frames, found) = ([0; BATCH_SIZE], [0; BATCH_SIZE]);
        Lookups { addresses: [any; BATCH_SIZE], frames, found, len: 0, origin: 0 }
    }

    /// Notes the address of a frame; what is found for it must not depend on more than `origin`.
    #[inline(always)]
    fn add(&mut self, frame: usize, address: A, origin: u32) {
        let bit = 1 << (frame % BATCH_SIZE);
        let last = self.len.wrapping_sub(1) % BATCH_SIZE;
        if self.len > 0 && self.addresses[last] == address && self.origin == origin {
            self.frames[last] |= bit;
            return;
        }
        let at = self.len % BATCH_SIZE;
        self.addresses[at] = address;
        self.frames[at] = bit;
        self.origin = origin;
        self.len = at + 1;
    }

    /// Looks all up; what was found, with the frames that it is for.
    #[inline]
    fn run(&mut self, table: &Lpm<A>) -> impl Iterator<Item = (NextHop, Live)> {
        let n = std::mem::take(&mut self.len);
        table.lookup_batch(&self.addresses[..n], &mut self.found[..n]);
        let frames = self.frames[..n].iter().map(|&bits| Live::new(bits));
        self.found[..n].iter().map(|&bits| NextHop::from_bits(bits)).zip(frames)
    }
}

impl<A: Key> Both<A> {
    fn new(any: A) -> Self {
        Both { destinations: Lookups::new(any), sources: Lookups::new(any) }
    }

    #[inline]
    fn run(&mut self, table: &Lpm<A>, batch: &mut Batch, snapshot: &Snapshot) {
        for (next_hop, frames) in self.destinations.run(table) {
            let Some(egress) = snapshot.egress(next_hop) else {
                stay(next_hop, frames, batch, snapshot);
                continue;
            };
            for i in frames {
                let meta = &mut batch[i].meta;
                meta.next_hop = next_hop;
                meta.egress = egress;
            }
        }
        for (back, frames) in self.sources.run(table) {
            frames.for_each(|i| check(batch, i, back, snapshot));
        }
    }
}

impl Stage for Route {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        let snapshot = cx.snapshot;
        for i in batch.live() {
            let frame = &batch[i];
            let taken = match frame.meta.packet.family() {
                Some(Family::V4) => self.take_v4(i, frame, snapshot),
                Some(Family::V6) => self.take_v6(i, frame, snapshot),
                None => Err(super::parse::VERSION),
            };
            if let Err(reason) = taken {
                batch.drop(i, reason);
            }
        }
        self.v4.run(&snapshot.routes4, batch, snapshot);
        self.v6.run(&snapshot.routes6, batch, snapshot);
    }
}

impl Route {
    /// Notes what is to be looked up for a packet, unless no router forwards it.
    #[inline]
    fn take_v4(&mut self, i: usize, frame: &Frame, snapshot: &Snapshot) -> Result<(), Reason> {
        let ip = frame.bytes_at::<{ ipv4::LEN }>(frame.meta.l3).ok_or(super::parse::TRUNCATED)?;
        let (src, dst) = ipv4::addresses(ip);
        if is_odd4(src) || is_odd4(dst) {
            return Err(refusal4(src, dst));
        }
        self.v4.destinations.add(i, dst, 0);
        if needs_lookup(frame, src.into(), snapshot) {
            self.v4.sources.add(i, src, origin(frame));
        }
        Ok(())
    }

    #[inline(never)]
    fn take_v6(&mut self, i: usize, frame: &Frame, snapshot: &Snapshot) -> Result<(), Reason> {
        let ip = frame.bytes_at::<{ ipv6::LEN }>(frame.meta.l3).ok_or(super::parse::TRUNCATED)?;
        let (src, dst) = ipv6::addresses(ip);
        if is_odd6(src) || is_odd6(dst) {
            refusal6(src, dst).map_or(Ok(()), Err)?;
        }
        self.v6.destinations.add(i, dst, 0);
        if needs_lookup(frame, src.into(), snapshot) {
            self.v6.sources.add(i, src, origin(frame));
        }
        Ok(())
    }
}

/// The port and the peer that a frame came from.
#[inline]
fn origin(frame: &Frame) -> u32 {
    u32::from(frame.meta.in_port.0) << 16 | u32::from(frame.meta.peer)
}

/// Whether only the route back can tell if the frame may have this source.
#[inline]
fn needs_lookup(frame: &Frame, src: IpAddr, snapshot: &Snapshot) -> bool {
    if frame.meta.peer != NO_PEER {
        return snapshot.peers.get(usize::from(frame.meta.peer)).is_none_or(|p| p.check_source);
    }
    let Some(port) = snapshot.ports.get(frame.meta.in_port.index()) else { return true };
    port.check_source && !port.stations.iter().any(|(station, _)| *station == src)
}

/// For frames whose route leaves by no port of its own: to one of several next hops, or nowhere.
#[inline(never)]
fn stay(next_hop: NextHop, frames: Live, batch: &mut Batch, snapshot: &Snapshot) {
    for i in frames {
        let meta = &mut batch[i].meta;
        meta.next_hop = snapshot.spread(next_hop, meta.hash);
        meta.egress = snapshot.egress(meta.next_hop).unwrap_or(PortId::NONE);
    }
}

/// A source is right when the route back leads to where the packet came from.
#[inline]
fn check(batch: &mut Batch, i: usize, back: NextHop, snapshot: &Snapshot) {
    let meta = &batch[i].meta;
    if meta.peer != NO_PEER {
        let origin = NextHop::new(Hop::Peer(usize::from(meta.peer)));
        if back != origin {
            check_further(batch, i, back, snapshot);
        }
    } else if !is_by(back, meta.in_port, snapshot) {
        check_further(batch, i, back, snapshot);
    }
}

/// Of several next hops one must be where the packet came from. And what a peer says by ICMP, as that a packet
/// was too long, may be from its address on the underlay, as Linux has it.
#[inline(never)]
fn check_further(batch: &mut Batch, i: usize, back: NextHop, snapshot: &Snapshot) {
    let (peer, port) = (batch[i].meta.peer, batch[i].meta.in_port);
    let origin = NextHop::new(Hop::Peer(peer.into()));
    let mut members = snapshot.members(back);
    let (is_right, reason) = match peer {
        NO_PEER => (members.any(|member| is_by(member, port, snapshot)), SOURCE),
        _ => {
            let frame = &batch[i];
            let is_icmp = matches!(frame.meta.protocol, protocol::ICMPV4 | protocol::ICMPV6);
            let is_own = || {
                let owner = |(from, _)| snapshot.peers_by_address.get(&from);
                addresses(frame).and_then(owner) == Some(&peer)
            };
            (members.any(|member| member == origin) || is_icmp && is_own(), PEER_SOURCE)
        }
    };
    if !is_right {
        batch.drop(i, reason);
    }
}

/// Whether a next hop is on a port, and not a peer behind it.
#[inline]
fn is_by(next_hop: NextHop, port: PortId, snapshot: &Snapshot) -> bool {
    !matches!(next_hop.hop(), Hop::Peer(_)) && snapshot.egress(next_hop) == Some(port)
}

/// In 0/8, 127/8 or 224/3: never both a source and a destination of a routed packet (RFC 6890).
#[inline]
fn is_odd4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first.wrapping_sub(1) >= 223 || first == 127
}

#[cold]
#[inline(never)]
fn refusal4(src: Ipv4Addr, dst: Ipv4Addr) -> Reason {
    match () {
        _ if dst.is_multicast() || dst.is_broadcast() => MULTICAST,
        _ if src.is_multicast() || src.is_broadcast() || src.is_unspecified() => MARTIAN,
        _ => SCOPE,
    }
}

/// Multicast, link-local, or the first /8, which has the loopback and unspecified addresses.
#[inline]
fn is_odd6(address: Ipv6Addr) -> bool {
    let [first, ..] = address.octets();
    first == 0 || first >= 0xfe
}

#[cold]
#[inline(never)]
fn refusal6(src: Ipv6Addr, dst: Ipv6Addr) -> Option<Reason> {
    let is_local = |a: Ipv6Addr| a.is_loopback() || a.is_unspecified();
    match () {
        _ if dst.is_multicast() => Some(MULTICAST),
        _ if src.is_multicast() || src.is_unspecified() => Some(MARTIAN),
        // To one of our own link-local addresses it may go; the route says.
        _ if is_local(src) || is_local(dst) => Some(SCOPE),
        _ => None,
    }
}
