//! Puts the outer headers on.

use super::{Config, ETHERNET, HEADER_LEN, config};
use crate::outer::{Options, Udp};
use crate::tunnel::{Ends, Family, Inner};
use crate::wire::{ethernet, ipv4, ipv6, udp};
use std::ops::Range;

/// Bytes behind the outer IP header in front of a bare IP packet, and with an Ethernet header.
const BARE: usize = udp::LEN + HEADER_LEN;
const FRAMED: usize = BARE + ethernet::LEN;

/// Where the protocol stands in the Geneve header, and where the VNI does.
const PROTOCOL: Range<usize> = 2..4;
const VNI: Range<usize> = 4..7;

/// A Geneve tunnel towards one peer.
#[derive(Clone, Debug)]
pub struct Encap {
    outer: Outer,
}

#[derive(Clone, Debug)]
enum Outer {
    Framed(Udp<{ ipv4::LEN + FRAMED }, { ipv6::LEN + FRAMED }>),
    Bare(Udp<{ ipv4::LEN + BARE }, { ipv6::LEN + BARE }>),
}

impl Encap {
    pub(super) fn new(config: &Config, ends: &Ends) -> Encap {
        let options = Options {
            port: config.port,
            checksum: config.udp_checksum,
            ttl: config.ttl,
            dscp: config.dscp,
        };
        let [_, vni @ ..] = config.vni.get().to_be_bytes();
        let outer = match config.inner {
            config::Inner::Ethernet => Outer::Framed(Udp::new(ends, options, |own| {
                let (geneve, ethernet) = own.split_at_mut(HEADER_LEN);
                geneve[PROTOCOL].copy_from_slice(&ETHERNET.to_be_bytes());
                geneve[VNI].copy_from_slice(&vni);
                ethernet::Header { dst: ends.remote_mac, src: ends.local_mac, ethertype: 0 }
                    .emit(ethernet);
            })),
            config::Inner::Ip => {
                Outer::Bare(Udp::new(ends, options, |own| own[VNI].copy_from_slice(&vni)))
            }
        };
        Encap { outer }
    }

    /// See [`Encap::overhead`](crate::Encap::overhead): 50 bytes over IPv4, 70 over IPv6; of bare IP
    /// 36 and 56.
    #[inline]
    pub fn overhead(&self) -> usize {
        match &self.outer {
            Outer::Framed(outer) => outer.overhead(),
            Outer::Bare(outer) => outer.overhead(),
        }
    }

    /// See [`Encap::family`](crate::Encap::family).
    #[inline]
    pub fn family(&self) -> Family {
        match &self.outer {
            Outer::Framed(outer) => outer.family(),
            Outer::Bare(outer) => outer.family(),
        }
    }

    /// See [`Encap::push`](crate::Encap::push).
    #[inline(always)]
    pub fn push(&self, room: &mut [u8], inner: &Inner) {
        let ethertype = inner.family.ethertype().to_be_bytes();
        match &self.outer {
            Outer::Framed(outer) => {
                outer.push(room, inner, |own| {
                    own[HEADER_LEN..][ethernet::field::ETHERTYPE].copy_from_slice(&ethertype);
                });
            }
            Outer::Bare(outer) => {
                outer.push(room, inner, |own| own[PROTOCOL].copy_from_slice(&ethertype));
            }
        }
    }

    /// See [`Encap::checksum_offset`](crate::Encap::checksum_offset).
    #[inline]
    pub fn checksum_offset(&self) -> Option<(usize, usize)> {
        match &self.outer {
            Outer::Framed(outer) => outer.checksum_offset(),
            Outer::Bare(outer) => outer.checksum_offset(),
        }
    }

    /// See [`Encap::resize`](crate::Encap::resize).
    #[inline]
    pub fn resize(&self, outer: &mut [u8], inner_len: usize) {
        match &self.outer {
            Outer::Framed(headers) => headers.resize(outer, inner_len),
            Outer::Bare(headers) => headers.resize(outer, inner_len),
        }
    }
}
