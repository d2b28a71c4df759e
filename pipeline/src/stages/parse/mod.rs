//! From a port's bytes to an IP packet: checks every length, finds the headers, hashes the flow.
//!
//! Behind this stage a live frame starts at an IP header whose packet fills the frame exactly, or at
//! the Ethernet header of an ARP packet.

mod ip;
#[cfg(test)]
mod tests;

pub(crate) use ip::parse_ip;

use super::Stage;
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Batch, Frame, Link, Packet, Pool};
use crate::snapshot::PortInfo;
use encap::wire::{Mac, ethernet};

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
        for i in batch.live() {
            let frame = &mut batch[i];
            let Some(port) = cx.snapshot.ports.get(frame.meta.in_port.index()) else {
                batch.drop(i, super::port::GONE);
                continue;
            };
            if let Err(reason) = parse(frame, port, cx.pool) {
                batch.drop(i, reason);
            }
        }
    }
}

#[inline]
fn parse(frame: &mut Frame, port: &PortInfo, pool: &mut Pool) -> Result<(), Reason> {
    if port.link == Link::Ip {
        return parse_ip(frame, port.partial_sums, pool);
    }
    let header: &[u8; ethernet::LEN] = frame.head().first_chunk().ok_or(TRUNCATED)?;
    let [a, b, c, d, e, f, ..] = *header;
    let dst = Mac([a, b, c, d, e, f]);
    if dst != port.mac && !dst.is_multicast() {
        return Err(NOT_OURS);
    }
    match u16::from_be_bytes([header[12], header[13]]) {
        ethernet::ethertype::IPV4 | ethernet::ethertype::IPV6 => {
            frame.pop(ethernet::LEN);
            parse_ip(frame, port.partial_sums, pool)
        }
        ethernet::ethertype::ARP => {
            frame.meta.packet = Packet::Arp;
            frame.meta.l3 = (frame.offset() + ethernet::LEN) as u16;
            Ok(())
        }
        ethernet::ethertype::VLAN | ethernet::ethertype::QINQ => Err(VLAN),
        _ => Err(ETHERTYPE),
    }
}
