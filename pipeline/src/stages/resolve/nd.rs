//! Neighbor Discovery, RFC 4861. We are a router that sends no advertisements: pods get their routes
//! from whoever configures them.

use super::{FOREIGN, MALFORMED, NOT_PROXIED, NOTED, push_ethernet, send, speaks_for, station};
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::Frame;
use crate::snapshot::{PortId, PortInfo};
use encap::wire::{Mac, ethernet::ethertype, icmpv6, ipv6, ndp, protocol};
use std::net::Ipv6Addr;

/// All nodes of the link, RFC 4291 §2.7.1.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Makes the ND message in `frame` (which starts at its IPv6 header) the answer to itself.
pub(super) fn answer(frame: &mut Frame, port: &PortInfo, cx: &mut Cx<'_>) -> Result<(), Reason> {
    let ip = ipv6::View::new(frame.l3()).map_err(|_| MALFORMED)?;
    let (src, dst) = (ip.src(), ip.dst());
    let icmp = icmpv6::View::new(frame.l4()).map_err(|_| MALFORMED)?;
    // RFC 4861 §7.1: both are checked before anything is believed.
    if ip.hop_limit() != ndp::HOP_LIMIT || !icmp.verify(src, dst) {
        return Err(MALFORMED);
    }
    match ndp::Message::parse(frame.l4()).map_err(|_| MALFORMED)? {
        ndp::Message::NeighborSolicitation { target, mac } => {
            solicited(frame, src, target, mac, port, cx)
        }
        ndp::Message::NeighborAdvertisement { target, mac, .. } => {
            let station = station(port, target.into(), cx.snapshot).ok_or(FOREIGN)?;
            // The option may be left out of the answer to a unicast probe (§4.4): still there.
            let mac = mac.or(station.state(cx.now).0).filter(|mac| mac.is_unicast());
            station.learn(mac.ok_or(MALFORMED)?, cx.now);
            Err(NOTED)
        }
        _ => Err(NOTED),
    }
}

/// A solicitation: somebody wants to know, or probes for a duplicate of its own address.
fn solicited(
    frame: &mut Frame,
    src: Ipv6Addr,
    target: Ipv6Addr,
    mac: Option<Mac>,
    port: &PortInfo,
    cx: &mut Cx<'_>,
) -> Result<(), Reason> {
    let is_probe = src.is_unspecified();
    let is_gateway = cx.snapshot.gateway.addresses.contains(&target.into());
    if is_probe && !is_gateway {
        return Err(NOTED);
    }
    let mac = if is_probe { None } else { mac };
    if let Some(mac) = mac {
        if !mac.is_unicast() {
            return Err(MALFORMED);
        }
        // A pod may also ask from its link-local address, which is nobody's to route to.
        match station(port, src.into(), cx.snapshot) {
            Some(station) => station.learn(mac, cx.now),
            None if src.is_unicast_link_local() => {}
            None => return Err(FOREIGN),
        }
    }
    if !is_gateway && !speaks_for(target.into(), frame.meta.in_port, cx.snapshot) {
        return Err(NOT_PROXIED);
    }
    let known = station(port, src.into(), cx.snapshot).and_then(|s| s.state(cx.now).0);
    let (dst, dst_mac) = match (is_probe, mac.or(known)) {
        (true, _) => (ALL_NODES, ndp::multicast_mac(ALL_NODES)),
        (false, Some(mac)) => (src, mac),
        (false, None) => return Err(MALFORMED),
    };
    let message = ndp::Message::NeighborAdvertisement {
        target,
        mac: Some(port.mac),
        router: true,
        solicited: !is_probe,
        // A proxy does not claim the address against its owner (RFC 4861 §7.2.8).
        overrides: is_gateway,
    };
    frame.truncate(0, cx.pool);
    write(frame, &message, target, dst, dst_mac, port.mac).ok_or(MALFORMED)
}

/// Sends a solicitation for `target` out of port `id`.
pub(super) fn request(
    target: Ipv6Addr,
    known: Option<Mac>,
    id: PortId,
    port: &PortInfo,
    cx: &mut Cx<'_>,
) -> Option<()> {
    let src = port.gateway6?;
    let frame = cx.generate(id)?;
    let message = ndp::Message::NeighborSolicitation { target, mac: Some(port.mac) };
    let group = ndp::solicited_node(target);
    let (dst, dst_mac) = match known {
        Some(mac) => (target, mac),
        None => (group, ndp::multicast_mac(group)),
    };
    send(frame, id, cx, |frame| write(frame, &message, src, dst, dst_mac, port.mac));
    Some(())
}

/// Writes a message with its IPv6 and Ethernet headers into an empty frame.
fn write(
    frame: &mut Frame,
    message: &ndp::Message,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    dst_mac: Mac,
    src_mac: Mac,
) -> Option<()> {
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: message.len() as u16,
        next_header: protocol::ICMPV6,
        hop_limit: ndp::HOP_LIMIT,
        src,
        dst,
    };
    let bytes = frame.append(ipv6::LEN + message.len())?;
    header.emit(bytes);
    message.emit(bytes.get_mut(ipv6::LEN..)?, src, dst);
    push_ethernet(frame, dst_mac, src_mac, ethertype::IPV6)
}
