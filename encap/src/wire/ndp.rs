//! Neighbor Discovery for IPv6 over Ethernet, RFC 4861.
//!
//! A [`Message`] is the header of this protocol: a value that is read from, and written as, a whole
//! ICMPv6 message. Of the options only link-layer addresses are kept: a router that assigns no
//! addresses and advertises no prefixes has no use for the others.

use super::{Error, Mac, icmpv6};
use std::net::Ipv6Addr;

/// The hop limit that every message has, so that none came through a router (RFC 4861 §7.1).
pub const HOP_LIMIT: u8 = 255;

/// Option: the sender's link-layer address.
const SOURCE_LINK_LAYER: u8 = 1;
/// Option: the target's link-layer address.
const TARGET_LINK_LAYER: u8 = 2;
/// Bytes of either option for Ethernet.
const LINK_LAYER_LEN: usize = 8;
/// Where a target's address stands.
const TARGET: std::ops::Range<usize> = 8..24;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Who has `target`? §4.3.
    NeighborSolicitation {
        /// The address that is asked for.
        target: Ipv6Addr,
        /// The sender's link-layer address; none when it probes for duplicates.
        mac: Option<Mac>,
    },
    /// `target` is at `mac`, §4.4.
    NeighborAdvertisement {
        /// The address it is about.
        target: Ipv6Addr,
        /// Its link-layer address.
        mac: Option<Mac>,
        /// The sender is a router.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// It replaces what is known.
        overrides: bool,
    },
    /// Are there routers? §4.1.
    RouterSolicitation {
        /// The sender's link-layer address.
        mac: Option<Mac>,
    },
    /// The sender is a router, §4.2.
    RouterAdvertisement {
        /// Hop limit that hosts should use; zero is "not said".
        hop_limit: u8,
        /// Seconds it may be a default router; zero is "not one".
        lifetime: u16,
        /// The sender's link-layer address.
        mac: Option<Mac>,
    },
}

impl Message {
    /// Reads a message whose checksum was verified. Its options are walked to the end.
    ///
    /// # Errors
    /// [`Error::Truncated`]; [`Error::Type`] for other ICMPv6 messages and codes other than zero;
    /// [`Error::HeaderLength`] for options of no length or beyond the end (§4.6).
    pub fn parse(message: &[u8]) -> Result<Message, Error> {
        let view = icmpv6::View::new(message)?;
        if view.code() != 0 {
            return Err(Error::Type);
        }
        let [flags, ..] = view.rest();
        match view.kind() {
            icmpv6::NEIGHBOR_SOLICITATION => {
                let target = target(message)?;
                let mac = link_layer(&message[TARGET.end..], SOURCE_LINK_LAYER)?;
                Ok(Message::NeighborSolicitation { target, mac })
            }
            icmpv6::NEIGHBOR_ADVERTISEMENT => Ok(Message::NeighborAdvertisement {
                target: target(message)?,
                mac: link_layer(&message[TARGET.end..], TARGET_LINK_LAYER)?,
                router: flags & 0x80 != 0,
                solicited: flags & 0x40 != 0,
                overrides: flags & 0x20 != 0,
            }),
            icmpv6::ROUTER_SOLICITATION => {
                let mac = link_layer(view.payload(), SOURCE_LINK_LAYER)?;
                Ok(Message::RouterSolicitation { mac })
            }
            icmpv6::ROUTER_ADVERTISEMENT => {
                let [hop_limit, _, lifetime @ ..] = view.rest();
                // Reachable time and retransmission timer stand before the options.
                let options = view.payload().get(8..).ok_or(Error::Truncated)?;
                let mac = link_layer(options, SOURCE_LINK_LAYER)?;
                let lifetime = u16::from_be_bytes(lifetime);
                Ok(Message::RouterAdvertisement { hop_limit, lifetime, mac })
            }
            _ => Err(Error::Type),
        }
    }

    /// Bytes that [`emit`](Self::emit) writes, at most 32.
    #[expect(clippy::len_without_is_empty, reason = "no message is empty")]
    pub fn len(&self) -> usize {
        let (fixed, mac) = match self {
            Message::NeighborSolicitation { mac, .. }
            | Message::NeighborAdvertisement { mac, .. } => (TARGET.end, mac),
            Message::RouterSolicitation { mac } => (icmpv6::LEN, mac),
            Message::RouterAdvertisement { mac, .. } => (icmpv6::LEN + 8, mac),
        };
        fixed + mac.map_or(0, |_| LINK_LAYER_LEN)
    }

    /// Writes the message with its checksum between these addresses.
    ///
    /// # Panics
    /// When `bytes` are not exactly [`len`](Self::len).
    pub fn emit(&self, bytes: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        assert_eq!(bytes.len(), self.len(), "room for exactly the message");
        bytes.fill(0);
        let (kind, rest, option, mac) = match *self {
            Message::NeighborSolicitation { target, mac } => {
                bytes[TARGET].copy_from_slice(&target.octets());
                (icmpv6::NEIGHBOR_SOLICITATION, [0; 4], SOURCE_LINK_LAYER, mac)
            }
            Message::NeighborAdvertisement { target, mac, router, solicited, overrides } => {
                bytes[TARGET].copy_from_slice(&target.octets());
                let flags =
                    u8::from(router) << 7 | u8::from(solicited) << 6 | u8::from(overrides) << 5;
                (icmpv6::NEIGHBOR_ADVERTISEMENT, [flags, 0, 0, 0], TARGET_LINK_LAYER, mac)
            }
            Message::RouterSolicitation { mac } => {
                (icmpv6::ROUTER_SOLICITATION, [0; 4], SOURCE_LINK_LAYER, mac)
            }
            Message::RouterAdvertisement { hop_limit, lifetime, mac } => {
                let [a, b] = lifetime.to_be_bytes();
                (icmpv6::ROUTER_ADVERTISEMENT, [hop_limit, 0, a, b], SOURCE_LINK_LAYER, mac)
            }
        };
        if let Some(Mac(mac)) = mac
            && let Some(last) = bytes.last_chunk_mut::<LINK_LAYER_LEN>()
        {
            last[..2].copy_from_slice(&[option, 1]);
            last[2..].copy_from_slice(&mac);
        }
        icmpv6::Header { kind, code: 0, rest }.emit(bytes, src, dst);
    }
}

/// The group that an address's owner listens to: `ff02::1:ff` and its last three bytes (RFC 4291
/// §2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | address.to_bits() & 0x00ff_ffff)
}

/// The Ethernet address of a multicast group: `33:33` and its last four bytes (RFC 2464 §7).
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// The target's address of a neighbor message.
fn target(message: &[u8]) -> Result<Ipv6Addr, Error> {
    let octets: &[u8; 16] =
        message.get(TARGET).and_then(|t| t.first_chunk()).ok_or(Error::Truncated)?;
    Ok(Ipv6Addr::from(*octets))
}

/// The first link-layer address of this kind among the options.
fn link_layer(mut options: &[u8], kind: u8) -> Result<Option<Mac>, Error> {
    let mut mac = None;
    while let Some((head, _)) = options.split_first_chunk::<2>() {
        // In 8-byte words.
        let len = usize::from(head[1]) * 8;
        if len == 0 {
            return Err(Error::HeaderLength);
        }
        let (option, rest) = options.split_at_checked(len).ok_or(Error::HeaderLength)?;
        if let [k, 1, a, b, c, d, e, f] = *option
            && k == kind
            && mac.is_none()
        {
            mac = Some(Mac([a, b, c, d, e, f]));
        }
        options = rest;
    }
    if options.is_empty() { Ok(mac) } else { Err(Error::Truncated) }
}
