//! Puts the outer headers on.

use super::Config;
use crate::outer::Ip;
use crate::tos::Dscp;
use crate::tunnel::{Ends, Family, Inner};
use crate::wire::protocol;

/// Bytes of a Destination Options header with one limit, RFC 2473 §4.1.1.
const OPTIONS_LEN: usize = 8;
/// The option: Tunnel Encapsulation Limit.
const LIMIT: u8 = 4;
/// The option that fills up, RFC 8200 §4.2.
const PAD_N: u8 = 1;

/// An IP-in-IP tunnel towards one peer.
#[derive(Clone, Debug)]
pub struct Encap {
    ip: Ip,
    dscp: Dscp,
    /// Over IPv6, if configured.
    limit: Option<u8>,
}

impl Encap {
    pub(super) fn new(config: &Config, ends: &Ends) -> Encap {
        let ip = Ip::new(ends, config.ttl);
        let limit = config.encapsulation_limit.filter(|_| ip.family() == Family::V6);
        Encap { ip, dscp: config.dscp, limit }
    }

    /// See [`Encap::overhead`](crate::Encap::overhead): 20 bytes over IPv4, 40 or 48 over IPv6.
    #[inline]
    pub fn overhead(&self) -> usize {
        self.ip.len() + if self.limit.is_some() { OPTIONS_LEN } else { 0 }
    }

    /// See [`Encap::family`](crate::Encap::family).
    #[inline]
    pub fn family(&self) -> Family {
        self.ip.family()
    }

    /// See [`Encap::push`](crate::Encap::push).
    #[inline]
    pub fn push(&self, room: &mut [u8], inner: &Inner) {
        let tos = self.dscp.encap(inner.tos);
        let label = inner.flow_hash >> 12;
        let payload = match inner.family {
            Family::V4 => protocol::IPIP,
            Family::V6 => protocol::IPV6,
        };
        match self.limit {
            None => {
                let [] = *self.ip.push(room, payload, tos, label, inner.len);
            }
            Some(limit) => {
                let options: &mut [u8; OPTIONS_LEN] =
                    self.ip.push(room, protocol::DESTINATION_OPTIONS, tos, label, inner.len);
                *options = [payload, 0, LIMIT, 1, limit, PAD_N, 1, 0];
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
        match self.limit {
            None => {
                let [] = *self.ip.resize(outer, inner_len);
            }
            Some(_) => {
                let _: &mut [u8; OPTIONS_LEN] = self.ip.resize(outer, inner_len);
            }
        }
    }
}
