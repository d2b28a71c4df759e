//! What protocols and messages are called; those without a name here go by their numbers.

use encap::wire::{icmpv4, icmpv6, protocol};

/// Upper-layer protocols.
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", protocol::ICMPV4),
    ("igmp", 2),
    ("ipip", protocol::IPIP),
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("ipv6", protocol::IPV6),
    ("gre", protocol::GRE),
    ("esp", protocol::ESP),
    ("ah", protocol::AH),
    ("icmpv6", protocol::ICMPV6),
    ("sctp", protocol::SCTP),
];

/// ICMP messages: type and code.
const ICMPV4: &[(&str, [u8; 2])] = &[
    ("echo-request", [icmpv4::ECHO_REQUEST, 0]),
    ("echo-reply", [icmpv4::ECHO_REPLY, 0]),
    ("net-unreachable", [icmpv4::UNREACHABLE, icmpv4::unreachable::NET]),
    ("host-unreachable", [icmpv4::UNREACHABLE, icmpv4::unreachable::HOST]),
    ("port-unreachable", [icmpv4::UNREACHABLE, icmpv4::unreachable::PORT]),
    ("fragmentation-needed", [icmpv4::UNREACHABLE, icmpv4::unreachable::FRAGMENTATION_NEEDED]),
    ("prohibited", [icmpv4::UNREACHABLE, icmpv4::unreachable::PROHIBITED]),
    ("time-exceeded", [icmpv4::TIME_EXCEEDED, 0]),
];

/// ICMPv6 messages.
const ICMPV6: &[(&str, [u8; 2])] = &[
    ("echo-request", [icmpv6::ECHO_REQUEST, 0]),
    ("echo-reply", [icmpv6::ECHO_REPLY, 0]),
    ("no-route", [icmpv6::UNREACHABLE, icmpv6::unreachable::NO_ROUTE]),
    ("prohibited", [icmpv6::UNREACHABLE, icmpv6::unreachable::PROHIBITED]),
    ("address-unreachable", [icmpv6::UNREACHABLE, icmpv6::unreachable::ADDRESS]),
    ("port-unreachable", [icmpv6::UNREACHABLE, icmpv6::unreachable::PORT]),
    ("packet-too-big", [icmpv6::PACKET_TOO_BIG, 0]),
    ("time-exceeded", [icmpv6::TIME_EXCEEDED, 0]),
    ("router-solicitation", [icmpv6::ROUTER_SOLICITATION, 0]),
    ("router-advertisement", [icmpv6::ROUTER_ADVERTISEMENT, 0]),
    ("neighbor-solicitation", [icmpv6::NEIGHBOR_SOLICITATION, 0]),
    ("neighbor-advertisement", [icmpv6::NEIGHBOR_ADVERTISEMENT, 0]),
];

/// Messages of ICMP, or with `v6` of ICMPv6.
fn messages(v6: bool) -> &'static [(&'static str, [u8; 2])] {
    if v6 { ICMPV6 } else { ICMPV4 }
}

/// An upper-layer protocol's name.
pub(super) fn protocol(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// A message's name.
pub(super) fn message(v6: bool, [kind, code]: [u8; 2]) -> String {
    let known = messages(v6).iter().find(|(_, known)| *known == [kind, code]);
    known.map_or_else(|| format!("{kind}/{code}"), |(name, _)| (*name).to_owned())
}

/// What may stand for a protocol.
pub(super) const PROTOCOL: &str =
    "a protocol: tcp, udp, icmp, icmpv6, sctp, gre, esp, … or its number";

/// The protocol that is called so.
pub(super) fn protocol_number(name: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|(known, _)| *known == name);
    known.map(|(_, number)| *number).or_else(|| name.parse().ok())
}

/// The message that is called so: type and code.
pub(super) fn message_number(v6: bool, name: &str) -> Option<[u8; 2]> {
    let known = messages(v6).iter().find(|(known, _)| *known == name);
    known.map(|(_, message)| *message).or_else(|| {
        let (kind, code) = name.split_once('/')?;
        Some([kind.parse().ok()?, code.parse().ok()?])
    })
}
