//! UDP around bare IP packets: what flannel's `udp` backend speaks, on port 8285.
//!
//! There is no header of its own: behind the UDP header the inner packet begins, of the family that its
//! first four bits say. IPv4 underlay 28 bytes, IPv6 48:
//!
//! ```text
//! +-----------------+---------+-----------------
//! | outer IP 20, 40 | UDP 8   | inner IP packet
//! +-----------------+---------+-----------------
//!                   :
//!                   : source port of the inner flow, checksum zero or computed
//! ```
//!
//! flannel sends from the port that it receives on, and takes packets from any; a source port for each
//! flow spreads them over the underlay's paths and the receiver's queues (as RFC 7348 §5 has it).

mod config;
mod push;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use push::Encap;

use crate::tos::Congested;
use crate::tunnel::{Ends, Family, PopError, Popped, Steer, Strip};
use crate::wire::Mac;

/// flannel's port.
pub const PORT: u16 = 8285;

/// A configured UDP tunnel.
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
        vec![Steer::Udp(self.config.port.get())]
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
    pub fn pop(&self, _by: Steer, payload: &[u8]) -> Result<Popped, PopError> {
        if payload.is_empty() {
            return Err(PopError::Truncated);
        }
        let family = Family::of_packet(payload).ok_or(PopError::Payload)?;
        Ok(Popped { header_len: 0, strip: Strip::Ip(family), key: 0 })
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
