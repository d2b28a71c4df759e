//! ARP (RFC 826) and Neighbor Discovery (RFC 4861): the router answers for its gateway addresses and,
//! as a proxy, for whatever it routes to another port; and it learns where pods are.
//!
//! Only a port's own stations are listened to, so that no pod can speak for another. Messages end
//! here: an answer is written over its question, and what was only of use to us is dropped as
//! [`NOTED`].

mod arp;
mod nd;
#[cfg(test)]
mod tests;

use super::Stage;
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame, Gso, Link, Mark, Packet, Partial};
use crate::snapshot::{NextHop, PortId, PortInfo, Role, Snapshot};
use crate::tables::neighbours::Neighbour;
use encap::wire::{Mac, ethernet, icmpv6, protocol};
use std::net::IpAddr;

crate::drops! { Resolve:
    NOTED = "noted", "an ARP or ND message was for us alone (no loss)";
    MALFORMED = "malformed", "an ARP or ND message is truncated or breaks a rule of its protocol";
    FOREIGN = "foreign", "an ARP or ND message came from an address that is not the port's";
    NOT_PROXIED = "not_proxied", "an ARP or ND request was for an address that is not behind us";
    OFF_LINK = "off_link", "an ND message came through a tunnel or from a port without links";
}

/// The stage.
#[derive(Debug, Default)]
pub struct Resolve;

impl Stage for Resolve {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        for i in batch.marked(Mark::Discovery) {
            let frame = &mut batch[i];
            let is_arp = frame.meta.packet == Packet::Arp;
            if !is_arp && !is_nd(frame) {
                continue;
            }
            match answer(frame, is_arp, cx) {
                Ok(port) => batch.emit(i, port),
                Err(reason) => batch.drop(i, reason),
            }
        }
    }
}

/// Whether it is one of the messages of RFC 4861, which no router forwards.
#[inline]
fn is_nd(frame: &Frame) -> bool {
    frame.meta.protocol == protocol::ICMPV6
        && frame.meta.packet == Packet::V6
        && matches!(
            frame.l4().first(),
            Some(icmpv6::ROUTER_SOLICITATION..=icmpv6::REDIRECT)
        )
}

/// Makes the frame the answer to what it asks, or says why there is none.
fn answer(frame: &mut Frame, is_arp: bool, cx: &mut Cx<'_>) -> Result<PortId, Reason> {
    let id = frame.meta.in_port;
    let port = cx.snapshot.ports.get(id.index()).ok_or(super::port::GONE)?;
    if port.link != Link::Ethernet || port.role != Role::Pod {
        return Err(OFF_LINK);
    }
    match is_arp {
        true => arp::answer(frame, port, cx)?,
        false => nd::answer(frame, port, cx)?,
    }
    // Whatever was still to be done to the question: the answer is complete.
    frame.meta.partial = Partial::NONE;
    frame.meta.gso = Gso::default();
    Ok(id)
}

/// The station on `port` that has this address.
fn station<'a>(port: &PortInfo, address: IpAddr, snapshot: &'a Snapshot) -> Option<&'a Neighbour> {
    let (_, index) = port.stations.iter().find(|(station, _)| *station == address)?;
    snapshot.neighbours.get(*index).map(|n| &**n)
}

/// Whether the router speaks for `target` on port `id`.
fn speaks_for(target: IpAddr, id: PortId, snapshot: &Snapshot) -> bool {
    snapshot.gateway.addresses.contains(&target)
        || is_elsewhere(snapshot.route(target), id, snapshot)
}

/// Whether a route leads away from a port, and to another.
fn is_elsewhere(route: NextHop, id: PortId, snapshot: &Snapshot) -> bool {
    let mut ports = snapshot.members(route).filter_map(|hop| snapshot.egress(hop)).peekable();
    ports.peek().is_some() && ports.all(|egress| egress != id)
}

/// Asks for the station `neighbour` on its port; with `known`, only the station that had this MAC.
/// `None` when there is no memory for it, or no address of ours to ask from.
pub(super) fn request(neighbour: &Neighbour, known: Option<Mac>, cx: &mut Cx<'_>) -> Option<()> {
    let port = cx.snapshot.ports.get(neighbour.port.index())?;
    if port.role != Role::Pod || port.link != Link::Ethernet {
        return None;
    }
    match neighbour.address {
        IpAddr::V4(target) => arp::request(target, known, neighbour.port, port, cx),
        IpAddr::V6(target) => nd::request(target, known, neighbour.port, port, cx),
    }
}

/// Sends a frame that `write` filled, or ends it when that did not succeed.
fn send(mut frame: Frame, id: PortId, cx: &mut Cx<'_>, write: impl FnOnce(&mut Frame) -> Option<()>) {
    match write(&mut frame) {
        Some(()) => cx.send(frame, id),
        None => cx.discard(frame, MALFORMED),
    }
}

/// Puts an Ethernet header in front.
fn push_ethernet(frame: &mut Frame, dst: Mac, src: Mac, ethertype: u16) -> Option<()> {
    let header = ethernet::Header { dst, src, ethertype };
    header.emit(frame.push(ethernet::LEN)?);
    Some(())
}
