//! ARP, RFC 826.

use super::{FOREIGN, MALFORMED, NOT_PROXIED, NOTED, push_ethernet, send, speaks_for, station};
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::Frame;
use crate::snapshot::{PortId, PortInfo};
use encap::wire::{Mac, arp, ethernet::ethertype};
use std::net::Ipv4Addr;

/// Makes the ARP packet in `frame` (which still has its Ethernet header) the answer to itself.
pub(super) fn answer(frame: &mut Frame, port: &PortInfo, cx: &mut Cx<'_>) -> Result<(), Reason> {
    let packet = arp::Header::parse(frame.l3()).map_err(|_| MALFORMED)?;
    if !packet.sender_mac.is_unicast() {
        return Err(MALFORMED);
    }
    let is_request = packet.operation == arp::REQUEST;
    if is_request && packet.sender_ip.is_unspecified() {
        // A probe (RFC 5227 §2.1.1) for an address that the router speaks for deserves an answer.
        let id = frame.meta.in_port;
        if !cx.snapshot.gateway.addresses.contains(&packet.target_ip.into()) {
            return Err(if speaks_for(packet.target_ip.into(), id, cx.snapshot) {
                NOT_PROXIED
            } else {
                NOTED
            });
        }
        return reply(frame, &packet, port.mac, cx).ok_or(MALFORMED);
    }
    let station = station(port, packet.sender_ip.into(), cx.snapshot).ok_or(FOREIGN)?;
    station.learn(packet.sender_mac, cx.now);
    if !is_request || packet.sender_ip == packet.target_ip {
        return Err(NOTED);
    }
    if !speaks_for(packet.target_ip.into(), frame.meta.in_port, cx.snapshot) {
        return Err(NOT_PROXIED);
    }
    reply(frame, &packet, port.mac, cx).ok_or(MALFORMED)
}

fn reply(frame: &mut Frame, request: &arp::Header, mac: Mac, cx: &mut Cx<'_>) -> Option<()> {
    // In place: the frame is long enough, since the request was read from it.
    request.reply(mac).emit(frame.l3_mut());
    let header = usize::from(frame.meta.l3).checked_sub(frame.offset())?;
    frame.pop(header);
    // Padding is the sender's affair, and may be more than the port can send back.
    frame.truncate(arp::LEN, cx.pool);
    push_ethernet(frame, request.sender_mac, mac, ethertype::ARP)
}

/// Sends a request for `target` out of port `id`.
pub(super) fn request(
    target: Ipv4Addr,
    known: Option<Mac>,
    id: PortId,
    port: &PortInfo,
    cx: &mut Cx<'_>,
) -> Option<()> {
    let sender_ip = port.gateway4?;
    let frame = cx.generate(id)?;
    let packet = arp::Header {
        operation: arp::REQUEST,
        sender_mac: port.mac,
        sender_ip,
        target_mac: known.unwrap_or(Mac::ZERO),
        target_ip: target,
    };
    let dst = known.unwrap_or(Mac::BROADCAST);
    send(frame, id, cx, |frame| {
        packet.emit(frame.append(arp::LEN)?);
        push_ethernet(frame, dst, port.mac, ethertype::ARP)
    });
    Some(())
}
