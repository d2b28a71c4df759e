//! Puts the outer headers on.

use super::Config;
use crate::outer::{Options, Udp};
use crate::tunnel::{Ends, Family, Inner};
use crate::wire::{ipv4, ipv6, udp};

/// A UDP tunnel towards one peer.
#[derive(Clone, Debug)]
pub struct Encap {
    outer: Udp<{ ipv4::LEN + udp::LEN }, { ipv6::LEN + udp::LEN }>,
}

impl Encap {
    pub(super) fn new(config: &Config, ends: &Ends) -> Encap {
        let options = Options {
            port: config.port,
            checksum: config.udp_checksum,
            ttl: config.ttl,
            dscp: config.dscp,
        };
        Encap { outer: Udp::new(ends, options, |_| {}) }
    }

    /// See [`Encap::overhead`](crate::Encap::overhead): 28 bytes over IPv4, 48 over IPv6.
    #[inline]
    pub fn overhead(&self) -> usize {
        self.outer.overhead()
    }

    /// See [`Encap::family`](crate::Encap::family).
    #[inline]
    pub fn family(&self) -> Family {
        self.outer.family()
    }

    /// See [`Encap::push`](crate::Encap::push).
    #[inline(always)]
    pub fn push(&self, room: &mut [u8], inner: &Inner) {
        self.outer.push(room, inner, |_| {});
    }

    /// See [`Encap::checksum_offset`](crate::Encap::checksum_offset).
    #[inline]
    pub fn checksum_offset(&self) -> Option<(usize, usize)> {
        self.outer.checksum_offset()
    }

    /// See [`Encap::resize`](crate::Encap::resize).
    #[inline]
    pub fn resize(&self, outer: &mut [u8], inner_len: usize) {
        self.outer.resize(outer, inner_len);
    }
}
