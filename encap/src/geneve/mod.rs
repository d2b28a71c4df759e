//! Geneve, RFC 8926: what Linux and Open vSwitch speak. Like VXLAN, but that its header names what it
//! carries, and may be longer by options. IPv4 underlay 50 bytes, IPv6 70, each 14 less for bare IP:
//!
//! ```text
//! +-----------------+---------+-----------+----------------------------+-----------------
//! | outer IP 20, 40 | UDP 8   | Geneve 8  | inner Ethernet 14, or none | inner IP packet
//! +-----------------+---------+-----------+----------------------------+-----------------
//!                   :         :           :
//!                   :         |0| options 0 |O, C| protocol |VNI |0|
//!                   : source port of the inner flow (§3.3), checksum zero or computed
//! ```
//!
//! What we send has no options. Those that we receive we skip, as we know none, and so refuse packets of
//! which one must be understood (C, "critical"); and control packets (O), which must not be forwarded.
//!
//! The inner Ethernet header, outer "don't fragment" and the IPv6 flow label are as VXLAN's.

mod config;
mod pop;
mod push;

#[cfg(test)]
mod tests;

pub use crate::vni::{Vni, VniError};
pub use config::{Config, Inner};
pub use push::Encap;

use crate::tos::Congested;
use crate::tunnel::{Ends, PopError, Popped, Steer};
use crate::wire::Mac;

/// The port that IANA assigned, RFC 8926 §3.3.
pub const PORT: u16 = 6081;

/// Bytes of the header without options.
const HEADER_LEN: usize = 8;
/// The protocol of Ethernet frames, "Transparent Ethernet Bridging", §3.4.
const ETHERNET: u16 = 0x6558;

/// A configured Geneve tunnel.
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
        self.config.vni.get()
    }

    /// See [`Tunnel::carries_ethernet`](crate::Tunnel::carries_ethernet).
    pub fn carries_ethernet(&self) -> bool {
        self.config.inner == Inner::Ethernet
    }

    /// See [`Tunnel::mac`](crate::Tunnel::mac).
    pub fn mac(&self) -> Option<Mac> {
        self.config.mac
    }

    /// See [`Tunnel::pop`](crate::Tunnel::pop).
    #[inline]
    pub fn pop(&self, _by: Steer, payload: &[u8]) -> Result<Popped, PopError> {
        pop::pop(payload)
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
