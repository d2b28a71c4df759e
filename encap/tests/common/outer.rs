//! What an uplink does before it asks a tunnel; tests and fuzzing share it.

use encap::wire::{ipv4, ipv6, protocol, udp};
use encap::{Family, Steer};

/// What tells the packet apart, and the bytes behind its outer headers.
fn outer(packet: &[u8]) -> Option<(Steer, &[u8])> {
    let (protocol, payload) = match Family::of_packet(packet)? {
        Family::V4 => {
            let ip = ipv4::View::new(packet).ok()?;
            (ip.protocol(), ip.payload())
        }
        Family::V6 => {
            let ip = ipv6::View::new(packet).ok()?;
            let upper = ip.upper_layer().ok()?;
            (upper.protocol, &ip.payload()[upper.offset - ipv6::LEN..])
        }
    };
    if protocol != protocol::UDP {
        return Some((Steer::Protocol(protocol), payload));
    }
    let udp = udp::View::new(payload).ok()?;
    Some((Steer::Udp(udp.dst_port()), udp.payload()))
}

/// The same, when the packet is for a tunnel with these steers.
pub(crate) fn steered<'a>(steers: &[Steer], packet: &'a [u8]) -> Option<(Steer, &'a [u8])> {
    outer(packet).filter(|(steer, _)| steers.contains(steer))
}
