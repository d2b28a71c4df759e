//! What the packets of pods may measure, where the config does not say: what every way to a peer
//! carries, as far as that is known of our own devices.
//!
//! A tunnel that is used only while a gateway is between counts as well, so that a route that changes
//! changes no device. What routers on a way say ([`PathMtus`](super::PathMtus)) does not count: that
//! is about one peer and passes, and the pods that send there are told by ICMP.

use super::{UplinkFacts, Way, peer_mac, vtep_mac};
use crate::config::{self, Config, Peer, TunnelMode};
use encap::{Ends, Tunnel};
use std::collections::HashMap;
use std::fmt;

/// The MTU of Ethernet, for a node without uplinks.
const ETHERNET: usize = 1500;
/// The least MTU of a link that carries IPv4, RFC 791.
const LEAST: usize = 68;

/// What pods' packets may measure, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In bytes.
    mtu: usize,
    /// The uplink and its MTU; none of a node without uplinks.
    uplink: Option<(String, usize)>,
    /// What the tunnel to the peer adds that leaves least.
    tunnel: Option<Overhead>,
}

/// What a tunnel adds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Overhead {
    bytes: usize,
    tunnel: String,
    peer: String,
}

impl Limit {
    /// Of a node with these uplinks, and ways to its peers.
    ///
    /// # Panics
    /// When the config was not checked.
    pub fn find(config: &Config, uplinks: &[UplinkFacts], ways: &[Way]) -> Limit {
        let tunnels: HashMap<&str, Tunnel> = config.tunnel.tunnels().collect();
        let peers = config.peer.iter().zip(ways).map(|(peer, way)| {
            let tunnel = peer.tunnel.as_deref().filter(|_| peer.mode != TunnelMode::Never);
            let tunnel = tunnel.map(|name| Overhead {
                bytes: overhead(config, peer, way, &tunnels[name]),
                tunnel: name.to_owned(),
                peer: peer.name.to_string(),
            });
            (way.uplink, tunnel)
        });
        // Peers may come that are reached by any of them.
        let none = (0..uplinks.len()).filter(|_| config.peer.is_empty()).map(|i| (i, None));
        let limits = peers.chain(none).map(|(uplink, tunnel)| {
            let (device, mtu) = (config.uplink[uplink].device.to_string(), uplinks[uplink].mtu);
            let left = mtu.saturating_sub(tunnel.as_ref().map_or(0, |tunnel| tunnel.bytes));
            Limit { mtu: left, uplink: Some((device, mtu)), tunnel }
        });
        let nothing = || Limit { mtu: ETHERNET, uplink: None, tunnel: None };
        limits.min_by_key(|limit| limit.mtu).unwrap_or_else(nothing)
    }

    /// The MTU of a port.
    pub fn of(&self, port: &config::Port) -> u32 {
        let follows = || self.mtu.max(least(port)) as u32;
        port.mtu.map_or_else(follows, config::Bounded::get)
    }

    /// Why it is so many.
    pub fn why(&self, port: &config::Port) -> String {
        match port.mtu {
            Some(_) => "configured".to_owned(),
            None if self.mtu < least(port) && port.has_ipv6() => {
                format!("IPv6 needs it; left is {self}")
            }
            None => self.to_string(),
        }
    }
}

/// What is left of what.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((device, mtu)) = &self.uplink else { return f.write_str("no uplink") };
        write!(f, "uplink {device} {mtu}")?;
        match &self.tunnel {
            Some(Overhead { bytes, tunnel, peer }) => {
                write!(f, " - {bytes} of {tunnel} to peer {peer}")
            }
            None => Ok(()),
        }
    }
}

/// The least that a port can have.
fn least(port: &config::Port) -> usize {
    if port.has_ipv6() { config::IPV6_MIN_MTU as usize } else { LEAST }
}

/// Bytes that a tunnel adds to packets to a peer.
fn overhead(config: &Config, peer: &Peer, way: &Way, tunnel: &Tunnel) -> usize {
    let (local, remote) = (way.local, peer.address.ip());
    let local_mac = vtep_mac(config.node.name.as_str());
    tunnel.encap(&Ends { local, remote, local_mac, remote_mac: peer_mac(peer) }).overhead()
}
