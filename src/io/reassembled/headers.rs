//! Outer headers, written anew in front of what they were taken off.

use super::Place;
use encap::Steer;
use encap::wire::{ipv4, ipv6, protocol, udp};
use std::net::IpAddr;

/// Bytes for the longest.
pub(super) const ROOM: usize = ipv6::LEN + udp::LEN;
/// Nobody looks at how far it came.
const TTL: u8 = 64;

/// Writes the headers of a packet from there to a place of ours in front of its payload, which stands
/// [`ROOM`] bytes into `packet` and fills it; where the packet now starts. A raw socket of IPv4 has left
/// its header there.
///
/// # Panics
/// When there is no such room.
pub(super) fn write(place: Place, from: (IpAddr, u16), tos: u8, packet: &mut [u8]) -> usize {
    let (start, protocol) = match place.by {
        Steer::Protocol(_) if place.address.is_ipv4() => return ROOM,
        Steer::Protocol(protocol) => (ROOM, protocol),
        Steer::Udp(port) => {
            let start = ROOM - udp::LEN;
            let (src_port, length) = (from.1, (packet.len() - start) as u16);
            // The kernel has found its checksum right, or that there is none.
            udp::Header { src_port, dst_port: port, length, checksum: 0 }
                .emit(&mut packet[start..]);
            (start, protocol::UDP)
        }
    };
    let behind = packet.len() - start;
    match (from.0, place.address) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let start = start - ipv6::LEN;
            ipv6::Header {
                traffic_class: tos,
                flow_label: 0,
                payload_len: behind as u16,
                next_header: protocol,
                hop_limit: TTL,
                src,
                dst,
            }
            .emit(&mut packet[start..]);
            start
        }
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let start = start - ipv4::LEN;
            ipv4::Header {
                tos,
                total_len: (ipv4::LEN + behind) as u16,
                ident: 0,
                dont_fragment: false,
                more_fragments: false,
                fragment_offset: 0,
                ttl: TTL,
                protocol,
                src,
                dst,
            }
            .emit(&mut packet[start..]);
            start
        }
        (from, to) => unreachable!("a packet from {from} to {to}"),
    }
}
