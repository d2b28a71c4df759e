//! Where a packet goes, and whether it may come from where it says.
//!
//! All destinations of a batch are looked up together, so that the cache misses of a large table
//! overlap; then all sources that need it.

#[cfg(test)]
mod tests;

use super::Stage;
use crate::cx::Cx;
use crate::frame::{BATCH_SIZE, Batch, Frame, NO_PEER};
use crate::snapshot::{Hop, NextHop, Snapshot};
use encap::Family;
use encap::wire::{ipv4, ipv6};
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
    v4: Lookups<Ipv4Addr>,
    v6: Lookups<Ipv6Addr>,
}

/// Addresses to be looked up together, and the frames that they are of.
#[derive(Debug)]
struct Lookups<A> {
    addresses: [A; BATCH_SIZE],
    frames: [u8; BATCH_SIZE],
    found: [u32; BATCH_SIZE],
    len: usize,
}

impl<A: Copy> Lookups<A> {
    fn new(any: A) -> Self {
        let (frames, found) = ([0; BATCH_SIZE], [0; BATCH_SIZE]);
        Lookups { addresses: [any; BATCH_SIZE], frames, found, len: 0 }
    }

    #[inline]
    fn add(&mut self, frame: usize, address: A) {
        let at = self.len % BATCH_SIZE;
        self.addresses[at] = address;
        self.frames[at] = frame as u8;
        self.len = at + 1;
    }

    /// Looks all up; each frame with what was found for it.
    #[inline]
    fn run(&mut self, look_up: impl FnOnce(&[A], &mut [u32])) -> impl Iterator<Item = (usize, u32)> {
        let n = std::mem::take(&mut self.len);
        look_up(&self.addresses[..n], &mut self.found[..n]);
        let frames = self.frames[..n].iter().map(|&i| usize::from(i));
        frames.zip(self.found[..n].iter().copied())
    }
}

impl Default for Route {
    fn default() -> Self {
        Route { v4: Lookups::new(Ipv4Addr::UNSPECIFIED), v6: Lookups::new(Ipv6Addr::UNSPECIFIED) }
    }
}

impl Stage for Route {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        let snapshot = cx.snapshot;
        self.destinations(batch);
        for (i, bits) in self.v4.run(|a, f| snapshot.routes4.lookup_batch(a, f)) {
            batch[i].meta.next_hop = NextHop::from_bits(bits);
        }
        for (i, bits) in self.v6.run(|a, f| snapshot.routes6.lookup_batch(a, f)) {
            batch[i].meta.next_hop = NextHop::from_bits(bits);
        }
        self.sources(batch, snapshot);
        for (i, bits) in self.v4.run(|a, f| snapshot.routes4.lookup_batch(a, f)) {
            check(batch, i, NextHop::from_bits(bits), snapshot);
        }
        for (i, bits) in self.v6.run(|a, f| snapshot.routes6.lookup_batch(a, f)) {
            check(batch, i, NextHop::from_bits(bits), snapshot);
        }
    }
}

impl Route {
    /// Collects the destinations, refusing packets that no router forwards.
    #[inline]
    fn destinations(&mut self, batch: &mut Batch) {
        for i in batch.live() {
            match addresses(&batch[i]) {
                Some((IpAddr::V4(src), IpAddr::V4(dst))) => {
                    if is_odd4(src) || is_odd4(dst) {
                        batch.drop(i, refusal4(src, dst));
                    } else {
                        self.v4.add(i, dst);
                    }
                }
                Some((IpAddr::V6(src), IpAddr::V6(dst))) => {
                    let odd = is_odd6(src) || is_odd6(dst);
                    match odd.then(|| refusal6(src, dst)).flatten() {
                        Some(reason) => batch.drop(i, reason),
                        None => self.v6.add(i, dst),
                    }
                }
                _ => batch.drop(i, super::parse::VERSION),
            }
        }
    }

    /// Collects the sources that are to be checked and are not plainly right.
    #[inline]
    fn sources(&mut self, batch: &mut Batch, snapshot: &Snapshot) {
        for i in batch.live() {
            let frame = &batch[i];
            let Some((src, _)) = addresses(frame) else { continue };
            if !needs_lookup(frame, src, snapshot) {
                continue;
            }
            match src {
                IpAddr::V4(src) => self.v4.add(i, src),
                IpAddr::V6(src) => self.v6.add(i, src),
            }
        }
    }
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

/// A source is right when the route back leads to where the packet came from.
#[inline]
fn check(batch: &mut Batch, i: usize, back: NextHop, snapshot: &Snapshot) {
    let meta = &batch[i].meta;
    if meta.peer != NO_PEER {
        if back.hop() != Hop::Peer(usize::from(meta.peer)) {
            batch.drop(i, PEER_SOURCE);
        }
    } else if matches!(back.hop(), Hop::Peer(_)) || snapshot.egress(back) != Some(meta.in_port) {
        batch.drop(i, SOURCE);
    }
}

#[inline]
fn addresses(frame: &Frame) -> Option<(IpAddr, IpAddr)> {
    match frame.meta.packet.family()? {
        Family::V4 => {
            let ip = ipv4::View::of_head(frame.l3(), usize::MAX).ok()?;
            Some((ip.src().into(), ip.dst().into()))
        }
        Family::V6 => {
            let ip = ipv6::View::of_head(frame.l3(), usize::MAX).ok()?;
            Some((ip.src().into(), ip.dst().into()))
        }
    }
}

/// In 0/8, 127/8 or 224/3: never both a source and a destination of a routed packet (RFC 6890).
#[inline]
fn is_odd4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first == 0 || first == 127 || first >= 224
}

#[cold]
fn refusal4(src: Ipv4Addr, dst: Ipv4Addr) -> crate::drops::Reason {
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
fn refusal6(src: Ipv6Addr, dst: Ipv6Addr) -> Option<crate::drops::Reason> {
    let is_local = |a: Ipv6Addr| a.is_loopback() || a.is_unspecified();
    match () {
        _ if dst.is_multicast() => Some(MULTICAST),
        _ if src.is_multicast() || src.is_unspecified() => Some(MARTIAN),
        // To one of our own link-local addresses it may go; the route says.
        _ if is_local(src) || is_local(dst) => Some(SCOPE),
        _ => None,
    }
}
