//! VXLAN, RFC 7348: Ethernet frames in UDP, in networks told apart by a 24-bit identifier.
//!
//! Cableway routes, so an inner frame is an IP packet behind an Ethernet header made for the
//! occasion: from our VTEP's MAC to the peer's, as the kernel's `vxlan` device has it when flannel
//! or Calico route over it. IPv4 underlay 50 bytes, IPv6 70:
//!
//! ```text
//! +-----------------+---------+-----------+--------------------+-----------------
//! | outer IP 20, 40 | UDP 8   | VXLAN 8   | inner Ethernet 14  | inner IP packet
//! +-----------------+---------+-----------+--------------------+-----------------
//!                   :         :           :
//!                   :         |I, 0|  VNI |0|
//!                   : source port of the inner flow (§4.1), checksum zero or computed
//! ```
//!
//! Outer packets are never fragmented by us (RFC 7348 §4.3): IPv4 ones carry "don't fragment", and
//! identification zero, which RFC 6864 §4.1 allows for such. The IPv6 flow label is zero; the UDP
//! source port is what spreads flows over paths.

mod config;
mod pop;
mod push;

#[cfg(test)]
mod tests;

pub use crate::vni::{Vni, VniError};
pub use config::{Config, GroupPolicy};
pub use push::Encap;

use crate::tos::Congested;
use crate::tunnel::{Ends, PopError, Popped, Steer};
use crate::wire::Mac;

/// The port that IANA assigned, RFC 7348 §8.1. (Linux's default is 8472, for history's sake.)
pub const PORT: u16 = 4789;

/// Bytes of the VXLAN header.
const HEADER_LEN: usize = 8;
/// The flag that says that there is a VNI, §5.
const FLAG_I: u8 = 0x08;

/// A configured VXLAN.
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
        true
    }

    /// See [`Tunnel::mac`](crate::Tunnel::mac).
    pub fn mac(&self) -> Option<Mac> {
        self.config.mac
    }

    /// See [`Tunnel::pop`](crate::Tunnel::pop).
    #[inline]
    pub fn pop(&self, _by: Steer, payload: &[u8]) -> Result<Popped, PopError> {
        pop::pop(payload, self.config.group_policy)
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
