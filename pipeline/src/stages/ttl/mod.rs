//! The time to live, and ICMP: what the router itself has to say.
//!
//! A packet that goes on loses one hop. One that cannot go on is dropped, and its sender told by ICMP
//! (RFC 792, RFC 4443, RFC 1812 §4.3), not too often. A packet for the router is answered when it is
//! an echo request, and refused when it is anything else.
//!
//! Whether a packet fits its way is asked here, too, by [`size`], and not by a stage of its own: what there is
//! to say of one that does not is an ICMP error as the others are, under the same limit, and for one that
//! does it is a comparison in a loop that is there already.

mod echo;
mod error;
mod limit;
mod size;
#[cfg(test)]
mod tests;

use super::{Stage, StageId};
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame, NO_PEER};
use crate::latest::Latest;
use crate::snapshot::{Hop, NextHop, PortId, Snapshot};
use encap::Family;
use encap::wire::{ipv4, ipv6};
use error::Why;
use limit::Limits;
use size::Cutter;
use std::net::IpAddr;

crate::drops! { Ttl:
    EXPIRED = "expired", "the packet's time to live ran out here";
    NO_ROUTE = "no_route", "no route leads to the destination";
    UNREACHABLE = "unreachable", "the route to the destination says unreachable";
    BLACKHOLE = "blackhole", "the route to the destination says blackhole";
    LOCAL = "local", "the packet was for the router itself, which offers nothing but ping";
    LINK_LOCAL = "link_local", "a link-local address would have to cross the router";
    TOO_BIG = "too_big", "the packet is larger than its way carries, and must not be fragmented";
    FRAGMENTS = "fragments", "there was no memory, or no room, for all fragments of the packet";
}

/// The stage.
#[derive(Debug, Default)]
pub struct Ttl {
    limits: Limits,
    cutter: Cutter,
}

impl Stage for Ttl {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        let snapshot = cx.snapshot;
        if snapshot.clamps_mss {
            size::clamp(batch, snapshot);
        }
        let mut mtus = Latest::new();
        for i in batch.live() {
            let frame = &mut batch[i];
            let next_hop = frame.meta.next_hop;
            let verdict = match mtus.get(next_hop, || mtu(next_hop, snapshot)) {
                Some(mtu) if frame.len() <= mtu => pass(frame),
                Some(mtu) => self.long(batch, i, mtu, cx),
                None => self.end(frame, next_hop.hop(), cx),
            };
            if let Err((reason, why)) = verdict {
                if let Some(why) = why {
                    self.complain(&batch[i], why, cx);
                }
                batch.drop(i, reason);
            }
        }
        self.cutter.finish(batch, cx);
    }
}

/// What the way of packets that go on carries. What does not exist is for later stages to say.
fn mtu(next_hop: NextHop, snapshot: &Snapshot) -> Option<usize> {
    match next_hop.hop() {
        Hop::Peer(_) | Hop::Port(_) | Hop::Neighbour(_) => {
            Some(snapshot.mtu(next_hop).unwrap_or(usize::MAX))
        }
        _ => None,
    }
}

/// A drop, and what to tell the sender.
type Refusal = (Reason, Option<Why>);

/// Takes one hop from a packet that goes on.
#[inline]
fn pass(frame: &mut Frame) -> Result<(), Refusal> {
    const GONE: Refusal = (EXPIRED, Some(Why::Expired));
    if frame.meta.packet.family() == Some(Family::V4) {
        let header: &mut [u8; ipv4::LEN] = frame.bytes_at_mut(frame.meta.l3).ok_or(GONE)?;
        if header[ipv4::field::TTL] <= 1 {
            return Err(GONE);
        }
        ipv4::decrement_ttl(header);
    } else {
        let header: &mut [u8; ipv6::LEN] = frame.bytes_at_mut(frame.meta.l3).ok_or(GONE)?;
        if header[ipv6::field::HOP_LIMIT] <= 1 {
            return Err(GONE);
        }
        if header[ipv6::field::SRC.start] == 0xfe || header[ipv6::field::DST.start] == 0xfe {
            scope(header)?;
        }
        ipv6::decrement_hop_limit(header);
    }
    Ok(())
}

/// RFC 4291 §2.5.6: routers do not forward packets with link-local addresses.
#[cold]
fn scope(header: &[u8; ipv6::LEN]) -> Result<(), Refusal> {
    let (src, dst) = ipv6::addresses(header);
    match src.is_unicast_link_local() || dst.is_unicast_link_local() {
        true => Err((LINK_LOCAL, None)),
        false => Ok(()),
    }
}

impl Ttl {
    /// A super-frame, or a packet that is longer than its way.
    #[inline(never)]
    fn long(
        &mut self,
        batch: &mut Batch,
        i: usize,
        mtu: usize,
        cx: &mut Cx<'_>,
    ) -> Result<(), Refusal> {
        pass(&mut batch[i])?;
        self.cutter.fit(batch, i, mtu, cx)
    }

    /// A packet that no port takes.
    #[cold]
    fn end(&mut self, frame: &mut Frame, hop: Hop, cx: &mut Cx<'_>) -> Result<(), Refusal> {
        match hop {
            Hop::Local => echo::answer(frame, cx).map_err(|why| (LOCAL, why)),
            Hop::Blackhole => Err((BLACKHOLE, None)),
            Hop::Unreachable => Err((UNREACHABLE, Some(Why::HostUnreachable))),
            _ => Err((NO_ROUTE, Some(Why::NoRoute))),
        }
    }

    /// Tells the sender of `frame` by ICMP, if the rules and the rate allow it.
    #[cold]
    fn complain(&mut self, frame: &Frame, why: Why, cx: &mut Cx<'_>) {
        let Some(offender) = error::Offender::of(frame) else { return };
        let Some(ours) = our_address(frame, cx) else { return };
        if !self.limits.allow(frame.meta.in_port, cx.now) {
            return;
        }
        let Some(mut message) = cx.generate(frame.meta.in_port) else { return };
        set_next_hop(&mut message, way_back(offender.src, frame, cx), cx);
        let most = cx.snapshot.mtu(message.meta.next_hop).unwrap_or(usize::MAX);
        match error::write(&mut message, why, &offender, ours, frame, most) {
            Some(()) => cx.reinject(message, StageId::Tunnel),
            None => cx.discard(message, LOCAL),
        }
    }
}

/// The address from which the router speaks to the sender of `frame`.
fn our_address(frame: &Frame, cx: &Cx<'_>) -> Option<IpAddr> {
    let family = frame.meta.packet.family()?;
    let port = cx.snapshot.ports.get(frame.meta.in_port.index())?;
    let known = match family {
        Family::V4 => port.gateway4.map(IpAddr::from),
        Family::V6 => port.gateway6.map(IpAddr::from),
    };
    let routable = |a: &&IpAddr| match a {
        IpAddr::V4(a) => family == Family::V4 && !a.is_link_local(),
        IpAddr::V6(a) => family == Family::V6 && !a.is_unicast_link_local(),
    };
    if frame.meta.peer == NO_PEER {
        return known;
    }
    cx.snapshot.gateway.addresses.iter().find(routable).copied().or(known)
}

/// What the route stage would note.
fn set_next_hop(frame: &mut Frame, next_hop: NextHop, cx: &Cx<'_>) {
    frame.meta.next_hop = next_hop;
    frame.meta.egress = cx.snapshot.egress(next_hop).unwrap_or(PortId::NONE);
}

/// Where an answer to `address` goes: to a link-local address only back where it came from.
fn way_back(address: IpAddr, frame: &Frame, cx: &Cx<'_>) -> NextHop {
    let found = cx.snapshot.spread(cx.snapshot.route(address), frame.meta.hash);
    if found.hop() != Hop::None {
        return found;
    }
    let station = cx.snapshot.ports.get(frame.meta.in_port.index()).and_then(|port| {
        port.stations.iter().find(|(station, _)| *station == address).map(|(_, index)| *index)
    });
    station.map_or(NextHop::NONE, |index| NextHop::new(Hop::Neighbour(index)))
}
