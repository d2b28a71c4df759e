//! ICMP errors.

use super::code;
use crate::flow;
use crate::frame::{Frame, Packet};
use encap::Family;
use encap::wire::{icmpv4, icmpv6, ipv4, ipv6, protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest ICMPv4 error with its IP header, bytes (RFC 1812 §4.3.2.3).
const LONGEST4: usize = 576;
/// Longest ICMPv6 error with its IP header, bytes (RFC 4443 §2.4 c).
const LONGEST6: usize = 1280;
/// Hops that an error may take.
const TTL: u8 = 64;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The time to live ran out.
    Expired,
    /// There is no route.
    NoRoute,
    /// There is one, which says no.
    HostUnreachable,
    /// The router listens at no port.
    PortUnreachable,
}

/// The sender of a packet that an error may be sent about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offender {
    /// Its address.
    pub(super) src: IpAddr,
}

impl Offender {
    /// `None` about packets that no error may answer (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e): errors, later
    /// fragments, and what was not for one host. (Multicasts do not come this far.)
    pub(super) fn of(frame: &Frame) -> Option<Offender> {
        let src = match frame.meta.packet {
            Packet::V4 | Packet::V4Fragment => {
                let ip = ipv4::View::of_head(frame.l3(), usize::MAX).ok()?;
                if ip.fragment_offset() != 0 {
                    return None;
                }
                ip.src().into()
            }
            Packet::V6 => ipv6::View::of_head(frame.l3(), usize::MAX).ok()?.src().into(),
            _ => return None,
        };
        let is_error = match frame.meta.protocol {
            protocol::ICMPV4 => icmpv4::View::new(frame.l4()).is_ok_and(|icmp| icmp.is_error()),
            protocol::ICMPV6 => icmpv6::View::new(frame.l4()).is_ok_and(|icmp| icmp.is_error()),
            _ => false,
        };
        (!is_error).then_some(Offender { src })
    }
}

/// Writes the error into the empty `message`, quoting as much of `frame` as is allowed and fits.
pub(super) fn write(
    message: &mut Frame,
    why: Why,
    offender: &Offender,
    ours: IpAddr,
    frame: &Frame,
) -> Option<()> {
    match (ours, offender.src) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => write4(message, why, src, dst, frame),
        (IpAddr::V6(src), IpAddr::V6(dst)) => write6(message, why, src, dst, frame),
        _ => None,
    }
}

fn write4(
    message: &mut Frame,
    why: Why,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    frame: &Frame,
) -> Option<()> {
    let quote = quote(frame, LONGEST4 - ipv4::LEN - icmpv4::LEN);
    let len = ipv4::LEN + icmpv4::LEN + quote.len();
    let at = message.offset() as u16;
    let bytes = message.append(len)?;
    let header = ipv4::Header {
        tos: 0,
        total_len: len as u16,
        ident: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: TTL,
        protocol: protocol::ICMPV4,
        src,
        dst,
    };
    header.emit(bytes);
    bytes.get_mut(ipv4::LEN + icmpv4::LEN..)?.copy_from_slice(quote);
    let (kind, code) = code(why, Family::V4);
    icmpv4::Header { kind, code, rest: [0; 4] }.emit(bytes.get_mut(ipv4::LEN..)?);
    note(message, Packet::V4, protocol::ICMPV4, at, ipv4::LEN);
    message.meta.hash = flow::hash4(src, dst, protocol::ICMPV4, 0);
    Some(())
}

fn write6(
    message: &mut Frame,
    why: Why,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    frame: &Frame,
) -> Option<()> {
    let quote = quote(frame, LONGEST6 - ipv6::LEN - icmpv6::LEN);
    let len = icmpv6::LEN + quote.len();
    let at = message.offset() as u16;
    let bytes = message.append(ipv6::LEN + len)?;
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: len as u16,
        next_header: protocol::ICMPV6,
        hop_limit: TTL,
        src,
        dst,
    };
    header.emit(bytes);
    let body = bytes.get_mut(ipv6::LEN..)?;
    body.get_mut(icmpv6::LEN..)?.copy_from_slice(quote);
    let (kind, code) = code(why, Family::V6);
    icmpv6::Header { kind, code, rest: [0; 4] }.emit(body, src, dst);
    note(message, Packet::V6, protocol::ICMPV6, at, ipv6::LEN);
    message.meta.hash = flow::hash6(src, dst, protocol::ICMPV6, 0);
    Some(())
}

/// The packet's first bytes.
fn quote(frame: &Frame, most: usize) -> &[u8] {
    let packet = frame.l3();
    &packet[..packet.len().min(most)]
}

/// What parse would have noted.
fn note(message: &mut Frame, packet: Packet, protocol: u8, at: u16, header_len: usize) {
    let meta = &mut message.meta;
    meta.packet = packet;
    meta.protocol = protocol;
    meta.l3 = at;
    meta.l4 = at + header_len as u16;
}
