//! Packets in words, as people write and read them: `tcp 10.244.1.2:40000 > 10.244.2.2:80 syn`.
//!
//! ```text
//! PROTOCOL SRC[:PORT] > DST[:PORT] [WORD]...
//!
//! PROTOCOL  tcp, udp, icmp, icmpv6, sctp, … or a number; tcp, udp and sctp have ports
//! SRC, DST  10.244.1.2:80, [fd00::1]:80, and 10.244.1.2 or fd00::1 where there is no port
//! WORD      ttl N, len N (of the IP packet, bytes), df; fin syn rst psh ack urg ece cwr for TCP, syn without any;
//!           a message or TYPE/CODE for ICMP, echo-request without one
//! ```
//!
//! What [`tell_packet`] tells of a packet is read again by [`Packet`]'s `FromStr`, unless it is one that can't be
//! written so: a fragment, a broken one, or ARP.

mod build;
mod names;
mod parse;
mod tell;
#[cfg(test)]
mod tests;

pub use parse::Mistake;
pub use tell::{tell_frame, tell_packet};

use encap::wire::{icmpv4, icmpv6, ipv4, ipv6, protocol, tcp, udp};
use std::net::IpAddr;

/// TCP's flags in the order of their bits.
const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// The source port when none is said.
const SOURCE_PORT: u16 = 40000;

/// A packet that can be written in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    protocol: u8,
    src: IpAddr,
    dst: IpAddr,
    /// Source and destination; zero where the protocol has none.
    ports: [u16; 2],
    /// Of TCP.
    flags: u8,
    /// Of ICMP: type and code.
    message: [u8; 2],
    ttl: u8,
    /// Bytes of the packet; fewer than its headers have are as many as those.
    len: u16,
    dont_fragment: bool,
}

impl Packet {
    /// The shortest one, as a sender begins.
    fn new(protocol: u8, src: IpAddr, dst: IpAddr) -> Packet {
        let echo = if src.is_ipv4() { icmpv4::ECHO_REQUEST } else { icmpv6::ECHO_REQUEST };
        Packet {
            protocol,
            src,
            dst,
            ports: [0; 2],
            flags: if protocol == protocol::TCP { tcp::flag::SYN } else { 0 },
            message: [echo, 0],
            ttl: 64,
            len: 0,
            dont_fragment: false,
        }
    }

    fn is_icmp(&self) -> bool {
        is_icmp(self.src, self.protocol)
    }

    /// Bytes of the IP header.
    fn header_len(&self) -> usize {
        if self.src.is_ipv4() { ipv4::LEN } else { ipv6::LEN }
    }

    /// Bytes of all headers.
    fn least(&self) -> u16 {
        let upper = match self.protocol {
            protocol::TCP => tcp::LEN,
            protocol::UDP => udp::LEN,
            protocol::SCTP => 12,
            _ if self.is_icmp() => icmpv4::LEN,
            _ => 0,
        };
        (self.header_len() + upper) as u16
    }
}

/// Whether a protocol is the ICMP of its packet's family.
fn is_icmp(src: IpAddr, number: u8) -> bool {
    number == if src.is_ipv4() { protocol::ICMPV4 } else { protocol::ICMPV6 }
}

/// Whether a protocol has ports.
fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP | protocol::SCTP)
}
