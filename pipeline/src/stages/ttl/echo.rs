//! Ping to the gateway.

use super::error::Why;
use super::{set_next_hop, way_back};
use crate::cx::Cx;
use crate::frame::{Frame, Packet};
use encap::wire::{checksum, icmpv4, icmpv6, ipv4, ipv6, protocol};
use std::ops::Range;

/// Hops that an answer may take.
const TTL: u8 = 64;

/// Makes an echo request for one of our addresses its own reply, on the way back. Otherwise what to
/// tell the sender.
pub(super) fn answer(frame: &mut Frame, cx: &Cx<'_>) -> Result<(), Option<Why>> {
    let (request, reply, swap) = match (frame.meta.packet, frame.meta.protocol) {
        (Packet::V4, protocol::ICMPV4) => {
            (icmpv4::ECHO_REQUEST, icmpv4::ECHO_REPLY, (ipv4::field::SRC, ipv4::field::DST))
        }
        (Packet::V6, protocol::ICMPV6) => {
            (icmpv6::ECHO_REQUEST, icmpv6::ECHO_REPLY, (ipv6::field::SRC, ipv6::field::DST))
        }
        (Packet::V4 | Packet::V6, protocol::UDP) => return Err(Some(Why::PortUnreachable)),
        _ => return Err(None),
    };
    // Without a payload's checksum verified the reply would carry a fault on under our name; so it is
    // mended incrementally, and a request that was wrong stays a reply that is wrong.
    let is_partial = frame.meta.partial.is_pending();
    let message = frame.l4_mut();
    if message.len() < icmpv4::LEN || message[0] != request {
        return Err(None);
    }
    let old = u16::from_be_bytes([message[2], message[3]]);
    let new = checksum::update16(old, u16::from(request) << 8, u16::from(reply) << 8);
    message[0] = reply;
    if !is_partial {
        message[2..4].copy_from_slice(&new.to_be_bytes());
    }
    let src = swap_addresses(frame.l3_mut(), swap).ok_or(None)?;
    let back = way_back(src, frame, cx);
    set_next_hop(frame, back, cx);
    Ok(())
}

/// Exchanges source and destination and renews the time to live; returns the former source. The
/// checksums over the addresses stay: a sum does not know the order of its terms.
fn swap_addresses(
    packet: &mut [u8],
    (src, dst): (Range<usize>, Range<usize>),
) -> Option<std::net::IpAddr> {
    let (before, behind) = packet.get_mut(..dst.end)?.split_at_mut(dst.start);
    before[src.clone()].swap_with_slice(behind);
    if dst.len() == 4 {
        ipv4::set_ttl(packet, TTL);
        let ip = ipv4::View::of_head(packet, usize::MAX).ok()?;
        Some(ip.dst().into())
    } else {
        packet[ipv6::field::HOP_LIMIT] = TTL;
        let ip = ipv6::View::of_head(packet, usize::MAX).ok()?;
        Some(ip.dst().into())
    }
}
