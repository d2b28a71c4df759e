//! Puts the outer headers on.

use super::{Config, FLAG_I, HEADER_LEN};
use crate::outer::{Options, Udp};
use crate::tunnel::{Ends, Family, Inner};
use crate::wire::{ethernet, ipv4, ipv6, udp};

/// Bytes behind the outer IP header.
const BEHIND_IP: usize = udp::LEN + HEADER_LEN + ethernet::LEN;

/// A VXLAN towards one peer.
#[derive(Clone, Debug)]
pub struct Encap {
    outer: Udp<{ ipv4::LEN + BEHIND_IP }, { ipv6::LEN + BEHIND_IP }>,
}

impl Encap {
    pub(super) fn new(config: &Config, ends: &Ends) -> Encap {
        let options = Options {
            port: config.port,
            checksum: config.udp_checksum,
            ttl: config.ttl,
            dscp: config.dscp,
        };
        let outer = Udp::new(ends, options, |own| {
            let (vxlan, ethernet) = own.split_at_mut(HEADER_LEN);
            let [_, vni @ ..] = config.vni.get().to_be_bytes();
            vxlan[0] = FLAG_I;
            vxlan[4..7].copy_from_slice(&vni);
            ethernet::Header { dst: ends.remote_mac, src: ends.local_mac, ethertype: 0 }
                .emit(ethernet);
        });
        Encap { outer }
    }

    /// See [`Encap::overhead`](crate::Encap::overhead): 50 bytes over IPv4, 70 over IPv6.
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
        let ethertype = inner.family.ethertype().to_be_bytes();
        self.outer.push(room, inner, |own| {
            own[HEADER_LEN..][ethernet::field::ETHERTYPE].copy_from_slice(&ethertype);
        });
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
