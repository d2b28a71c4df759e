//! Puts the outer headers on.

use super::Config;
use crate::outer::Headers;
use crate::tos::Dscp;
use crate::tunnel::{Ends, Family, Inner};
use crate::wire::{ipv4, ipv6, protocol};
use std::net::IpAddr;

/// Bytes of a Destination Options header with one limit, RFC 2473 §4.1.1.
const OPTIONS_LEN: usize = 8;
/// The option: Tunnel Encapsulation Limit.
const LIMIT: u8 = 4;
/// The option that fills up, RFC 8200 §4.2.
const PAD_N: u8 = 1;

/// An IP-in-IP tunnel towards one peer.
#[derive(Clone, Debug)]
pub struct Encap {
    outer: Outer,
    dscp: Dscp,
}

#[derive(Clone, Debug)]
enum Outer {
    Plain(Headers<{ ipv4::LEN }, { ipv6::LEN }>),
    /// With an encapsulation limit; over IPv4 there is none.
    Limited(Headers<{ ipv4::LEN }, { ipv6::LEN + OPTIONS_LEN }>),
}

impl Encap {
    pub(super) fn new(config: &Config, ends: &Ends) -> Encap {
        let outer = match (config.encapsulation_limit, ends.remote) {
            (Some(limit), IpAddr::V6(_)) => {
                Outer::Limited(Headers::new(ends, config.ttl, |options| {
                    options.copy_from_slice(&[0, 0, LIMIT, 1, limit, PAD_N, 1, 0]);
                }))
            }
            _ => Outer::Plain(Headers::new(ends, config.ttl, |_| {})),
        };
        Encap { outer, dscp: config.dscp }
    }

    /// See [`Encap::overhead`](crate::Encap::overhead): 20 bytes over IPv4, 40 or 48 over IPv6.
    #[inline]
    pub fn overhead(&self) -> usize {
        match &self.outer {
            Outer::Plain(headers) => headers.len(),
            Outer::Limited(headers) => headers.len(),
        }
    }

    /// See [`Encap::family`](crate::Encap::family).
    #[inline]
    pub fn family(&self) -> Family {
        match &self.outer {
            Outer::Plain(headers) => headers.family(),
            Outer::Limited(headers) => headers.family(),
        }
    }

    /// See [`Encap::push`](crate::Encap::push).
    #[inline(always)]
    pub fn push(&self, room: &mut [u8], inner: &Inner) {
        let tos = self.dscp.encap(inner.tos);
        let label = inner.flow_hash >> 12;
        let payload = match inner.family {
            Family::V4 => protocol::IPIP,
            Family::V6 => protocol::IPV6,
        };
        match &self.outer {
            Outer::Plain(headers) => headers.push(room, payload, tos, label, inner.len, |_| {}),
            Outer::Limited(headers) => {
                let options = protocol::DESTINATION_OPTIONS;
                headers.push(room, options, tos, label, inner.len, |options| options[0] = payload);
            }
        }
    }

    /// See [`Encap::checksum_offset`](crate::Encap::checksum_offset): there is no such checksum.
    #[inline]
    pub fn checksum_offset(&self) -> Option<(usize, usize)> {
        None
    }

    /// See [`Encap::resize`](crate::Encap::resize).
    #[inline]
    pub fn resize(&self, outer: &mut [u8], inner_len: usize) {
        match &self.outer {
            Outer::Plain(headers) => headers.resize(outer, inner_len, |_| {}),
            Outer::Limited(headers) => headers.resize(outer, inner_len, |_| {}),
        }
    }
}
