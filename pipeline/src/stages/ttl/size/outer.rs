//! Fragmentation of what comes of a packet in its tunnel: RFC 791 §3.2 over IPv4, RFC 8200 §4.5 over IPv6.

use super::super::FRAGMENTS;
use crate::cx::Cx;
use crate::drops::Reason;
use crate::frame::{Frame, Packet};
use crate::snapshot::{Hop, Snapshot};
use crate::stages::{finish, tunnel};
use encap::wire::{ipv4, ipv6, protocol};
use encap::{Encap, Family};
use std::sync::atomic::Ordering;

#[cfg(test)]
mod tests;

/// The longest packet that there is, in bytes.
const LONGEST: usize = u16::MAX as usize;

/// How a packet is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    encap: &'a Encap,
    /// Bytes of the whole in its tunnel, and those of the longest packet that passes.
    len: usize,
    most: usize,
    /// Bytes of its IP header, and of that of a fragment.
    header: usize,
    fragment_header: usize,
    /// Bytes behind that header in each fragment but the last.
    each: usize,
}

impl<'a> Plan<'a> {
    /// For a packet, or segments, of `len` bytes that does not fit its way. `None` when it is not to be
    /// cut so, or can't.
    pub(super) fn new(frame: &Frame, len: usize, snapshot: &'a Snapshot) -> Option<Plan<'a>> {
        let Hop::Peer(index) = frame.meta.next_hop.hop() else { return None };
        let peer = snapshot.peers.get(index)?;
        let (_, encap) = peer.encap.as_ref()?;
        let is_v6 = frame.meta.packet.family() == Some(Family::V6);
        let is_least = is_v6 && len <= ipv6::MIN_MTU;
        if !(peer.fragment_outer || is_least) {
            return None;
        }
        let (header, fragment_header) = match encap.family() {
            Family::V4 => (ipv4::LEN, ipv4::LEN),
            Family::V6 => (ipv6::LEN, ipv6::LEN + ipv6::FRAGMENT_LEN),
        };
        let most = peer.mtu + encap.overhead();
        let each = most.checked_sub(fragment_header)? & !7;
        let len = len + encap.overhead();
        let can = each > 0 && len <= LONGEST;
        can.then_some(Plan { encap, len, most, header, fragment_header, each })
    }

    /// How many fragments there are.
    pub(super) fn fragments(&self) -> usize {
        (self.len - self.header).div_ceil(self.each)
    }

    /// Puts a packet into its tunnel, and adds the fragments of that to `parts`; or all of it if it fits,
    /// as the last segment of a super-frame may.
    pub(super) fn cut(
        &self,
        whole: &mut Frame,
        cx: &mut Cx<'_>,
        parts: &mut Vec<Frame>,
    ) -> Result<(), Reason> {
        tunnel::encapsulate(whole, self.encap)?;
        finish::complete_outer(whole, cx.snapshot).ok_or(finish::OFFLOAD)?;
        whole.meta.outer_sum = false;
        if whole.len() <= self.most {
            parts.push(whole.piece(&[], 0, whole.len(), cx.pool).ok_or(FRAGMENTS)?);
            return Ok(());
        }
        let payload = whole.len() - self.header;
        let ident = cx.snapshot.next_ident.fetch_add(1, Ordering::Relaxed);
        for at in (0..payload).step_by(self.each) {
            let len = self.each.min(payload - at);
            let mut headers = [0; ipv6::LEN + ipv6::FRAGMENT_LEN];
            headers[..self.header].copy_from_slice(&whole.head()[..self.header]);
            let headers = &mut headers[..self.fragment_header];
            self.mark(headers, ident, at, len, at + len < payload);
            let part = whole.piece(headers, self.header + at, len, cx.pool);
            let mut part = part.ok_or(FRAGMENTS)?;
            // Nothing behind its header can be relied on, and nothing is to be done to it.
            part.meta.packet = Packet::Unknown;
            part.meta.l3 = part.offset() as u16;
            part.meta.outer = 0;
            parts.push(part);
        }
        Ok(())
    }

    /// Makes the whole's header that of the fragment which has `len` bytes from `at` on.
    fn mark(&self, headers: &mut [u8], ident: u32, at: usize, len: usize, more: bool) {
        match self.encap.family() {
            Family::V4 => {
                ipv4::clear_dont_fragment(headers);
                ipv4::set_ident(headers, ident as u16);
                ipv4::set_fragment(headers, (self.header + len) as u16, at as u16, more);
            }
            Family::V6 => {
                let (ip, fragment) = headers.split_at_mut(ipv6::LEN);
                ipv6::set_payload_len(ip, (ipv6::FRAGMENT_LEN + len) as u16);
                let next = std::mem::replace(&mut ip[ipv6::field::NEXT_HEADER], protocol::FRAGMENT);
                ipv6::Fragment { next_header: next, offset: at as u16, more, ident }.emit(fragment);
            }
        }
    }
}
