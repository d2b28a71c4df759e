//! What an uplink does before it asks a tunnel; tests and fuzzing share it.

use encap::wire::{ipv4, ipv6, protocol, udp};
use encap::{Family, Steer};

/// The bytes behind the outer headers, when the packet is for `steer`.
pub(crate) fn steered(steer: Steer, outer: &[u8]) -> Option<&[u8]> {
    let (protocol, payload) = match Family::of_packet(outer)? {
        Family::V4 => {
            let ip = ipv4::View::new(outer).ok()?;
            (ip.protocol(), ip.payload())
        }
        Family::V6 => {
            let ip = ipv6::View::new(outer).ok()?;
            let upper = ip.upper_layer().ok()?;
            (upper.protocol, &ip.payload()[upper.offset - ipv6::LEN..])
        }
    };
    match steer {
        Steer::Protocol(p) => (p == protocol).then_some(payload),
        Steer::Udp(port) if protocol == protocol::UDP => {
            let udp = udp::View::new(payload).ok()?;
            (udp.dst_port() == port).then_some(udp.payload())
        }
        Steer::Udp(_) => None,
    }
}
