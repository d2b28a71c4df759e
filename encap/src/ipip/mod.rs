//! IP within IP: IPv4 within IPv4 (RFC 2003), IPv6 within IPv4 (RFC 4213), and either within IPv6
//! (RFC 2473). What Linux calls `ipip`, `sit` and `ip6tnl`, and Calico IPIP. IPv4 underlay 20 bytes,
//! IPv6 40, or 48 with an encapsulation limit:
//!
//! ```text
//! +-----------------+------------------------+-----------------
//! | outer IP 20, 40 | Destination Options, 8 | inner IP packet
//! +-----------------+------------------------+-----------------
//!   :                 :
//!   :                 : only over IPv6, and if configured: the Tunnel Encapsulation Limit (RFC 2473 §4.1.1)
//!   : protocol 4 or 41; over IPv6 the flow label of the inner flow (RFC 6438 §3)
//! ```
//!
//! Over IPv4 nothing tells flows apart from outside but the two ends: all packets between two nodes
//! take one path, and arrive by one queue.
//!
//! The outer "don't fragment" is set whatever the inner one says, as RFC 2003 §3.1 allows for a tunnel
//! whose MTU is known. Received Destination Options are skipped as all extension headers are, whatever
//! limit they tell: we never put a packet into a second tunnel.

mod config;
mod push;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use push::Encap;

use crate::tos::Congested;
use crate::tunnel::{Ends, Family, PopError, Popped, Steer, Strip};
use crate::wire::{Mac, protocol};

/// A configured IP-in-IP tunnel.
#[derive(Clone, Debug)]
pub struct Tunnel {
    config: Config,
}

impl Tunnel {
    /// The tunnel that `config` describes.
    pub fn new(config: &Config) -> Tunnel {
        Tunnel { config: config.clone() }
    }

    /// See [`Tunnel::steers`](crate::Tunnel::steers).
    pub fn steers(&self) -> Vec<Steer> {
        vec![Steer::Protocol(protocol::IPIP), Steer::Protocol(protocol::IPV6)]
    }

    /// See [`Tunnel::key`](crate::Tunnel::key).
    pub fn key(&self) -> u32 {
        0
    }

    /// See [`Tunnel::carries_ethernet`](crate::Tunnel::carries_ethernet).
    pub fn carries_ethernet(&self) -> bool {
        false
    }

    /// See [`Tunnel::mac`](crate::Tunnel::mac).
    pub fn mac(&self) -> Option<Mac> {
        None
    }

    /// See [`Tunnel::pop`](crate::Tunnel::pop).
    #[inline]
    pub fn pop(&self, by: Steer, payload: &[u8]) -> Result<Popped, PopError> {
        let family = match by {
            Steer::Protocol(protocol::IPV6) => Family::V6,
            _ => Family::V4,
        };
        if payload.is_empty() {
            return Err(PopError::Truncated);
        }
        match Family::of_packet(payload) == Some(family) {
            true => Ok(Popped { header_len: 0, strip: Strip::Ip(family), key: 0 }),
            false => Err(PopError::Payload),
        }
    }

    /// See [`Tunnel::decap_tos`](crate::Tunnel::decap_tos).
    #[inline]
    pub fn decap_tos(&self, outer: u8, inner: u8) -> Result<u8, Congested> {
        self.config.dscp.decap(outer, inner)
    }

    /// See [`Tunnel::encap`](crate::Tunnel::encap).
    pub fn encap(&self, ends: &Ends) -> Encap {
        Encap::new(&self.config, ends)
    }
}
