//! From a port's bytes to an IP packet: checks every length, finds the headers, hashes the flow.
//!
//! Behind this stage a live frame starts at an IP header whose packet fills the frame exactly, or at
//! the Ethernet header of an ARP packet.

mod ip;
#[cfg(test)]
mod tests;

pub(crate) use ip::{addresses, has_ports, parse_ip};

use super::Stage;
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame, Link, Mark, Packet, Pool};
use crate::latest::Latest;
use crate::snapshot::{PortInfo, Role};
use encap::Family;
use encap::wire::{Mac, ethernet, protocol};

crate::drops! { Parse:
    TRUNCATED = "truncated", "the frame ends within a header";
    NOT_OURS = "not_ours", "the destination MAC is another station's";
    VLAN = "vlan", "the frame carries a VLAN tag";
    ETHERTYPE = "ethertype", "the frame is neither IPv4, IPv6 nor ARP";
    VERSION = "version", "the IP version is not what the link says, or unknown";
    LENGTH = "length", "a length field of the IP header does not fit the frame";
    CHECKSUM = "checksum", "the IPv4 header checksum is wrong";
    SOURCE_ROUTE = "source_route", "the packet carries a source route or malformed options";
    EXTENSION_HEADERS = "extension_headers", "too many or malformed IPv6 extension headers";
}

/// The stage.
#[derive(Debug, Default)]
pub struct Parse;

impl Stage for Parse {
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>) {
        let mut ports = Latest::new();
        for i in batch.live() {
            let frame = &mut batch[i];
            let id = frame.meta.in_port;
            let Some(port) = ports.get(id, || cx.snapshot.ports.get(id.index())) else {
                batch.drop(i, super::port::GONE);
                continue;
            };
            match parse(frame, port, cx.pool) {
                Ok(()) if port.role == Role::Uplink => batch.mark(i, Mark::Outer),
                Ok(()) => mark_discovery(batch, i),
                Err(reason) => batch.drop(i, reason),
            }
        }
    }
}

/// Leaves a packet to the resolve stage if it may be one for it.
#[inline(always)]
pub(crate) fn mark_discovery(batch: &mut Batch, i: usize) {
    let meta = &batch[i].meta;
    if meta.packet == Packet::Arp || meta.protocol == protocol::ICMPV6 {
        batch.mark(i, Mark::Discovery);
    }
}

#[inline(always)]
fn parse(frame: &mut Frame, port: &PortInfo, pool: &mut Pool) -> Result<(), Reason> {
    if port.link == Link::Ip {
        return parse_ip(frame, port.partial_sums, pool);
    }
    let at = frame.offset() as u16;
    let header: &[u8; ethernet::LEN] = frame.bytes_at(at).ok_or(TRUNCATED)?;
    let [a, b, c, d, e, f, ..] = *header;
    let dst = Mac([a, b, c, d, e, f]);
    if dst.to_bits() != port.mac.to_bits() && !dst.is_multicast() {
        return Err(NOT_OURS);
    }
    let ethertype = u16::from_be_bytes([header[12], header[13]]);
    if Family::of_ethertype(ethertype).is_some() {
        frame.pop(ethernet::LEN);
        return parse_ip(frame, port.partial_sums, pool);
    }
    match ethertype {
        ethernet::ethertype::ARP => {
            frame.meta.packet = Packet::Arp;
            frame.meta.l3 = (frame.offset() + ethernet::LEN) as u16;
            Ok(())
        }
        ethernet::ethertype::VLAN | ethernet::ethertype::QINQ => Err(VLAN),
        _ => Err(ETHERTYPE),
    }
}
