//! The ways to the peers: which uplink, from which of our addresses, by which next hop.

use super::Underlay;
use crate::config::{Config, Peer, TunnelMode};
use crate::control::build::Way;
use crate::control::netlink::{Changes, NetlinkError};
use std::net::IpAddr;

/// There is no way to a peer, or one that we can't take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WayError {
    /// The kernel has no route.
    #[error("peer {peer}: the kernel has no route to {address}; taking it when there is one")]
    NoRoute {
        /// The peer.
        peer: String,
        /// Its address.
        address: IpAddr,
    },
    /// The peer is ourselves.
    #[error("peer {peer}: {address} is an address of this node; expected another node's")]
    Ourselves {
        /// The peer.
        peer: String,
        /// Its address.
        address: IpAddr,
    },
    /// The route leaves by another device.
    #[error(
        "peer {peer}: the kernel's route to {address} leaves by {device}, which is no uplink; add \
         an [[uplink]] with that device, or correct the route"
    )]
    NotByUplink {
        /// The peer.
        peer: String,
        /// Its address.
        address: IpAddr,
        /// The device of the route.
        device: String,
    },
    /// A gateway is between, and there must not be one.
    #[error(
        "peer {peer}: the kernel's route to {address} leads by {gateway}, and `mode = \"never\"` is for \
         peers that are on the same network; use \"cross-subnet\" and a tunnel, or correct the route"
    )]
    Behind {
        /// The peer.
        peer: String,
        /// Its address.
        address: IpAddr,
        /// Who is between.
        gateway: IpAddr,
    },
    /// We have no address to send from.
    #[error(
        "peer {peer}: {address} can't be sent to from here: no uplink has an address of that \
         family; add one, or correct the peer's `address`"
    )]
    NoSource {
        /// The peer.
        peer: String,
        /// Its address.
        address: IpAddr,
    },
}

impl WayError {
    /// It may pass without a change of the config.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, WayError::NoRoute { .. })
    }
}

impl Underlay {
    /// The ways to all peers, while running: one that is not to be had stays as it was. What has
    /// changed is logged.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn follow(
        &mut self,
        config: &Config,
        ways: &[Way],
        why: &Changes,
    ) -> Result<Vec<Way>, NetlinkError> {
        let mut new = Vec::with_capacity(ways.len());
        for (i, (peer, old)) in config.peer.iter().zip(ways).enumerate() {
            let name = peer.name.as_str();
            let answer = self.way(peer).await?;
            let error = answer.as_ref().err().cloned();
            if self.complaints[i] != error {
                match &error {
                    Some(error) => tracing::warn!("{error}; {why}"),
                    None => tracing::info!("peer {name}: the kernel has a route again; {why}"),
                }
                self.complaints[i] = error;
            }
            let way = answer.unwrap_or(*old);
            if way != *old {
                let (now, was) = (self.tell(&way), self.tell(old));
                tracing::info!("peer {name}: reached {now} now, was {was}; {why}");
            }
            new.push(way);
        }
        Ok(new)
    }

    /// A way in words.
    fn tell(&self, way: &Way) -> String {
        let device = &self.uplinks[way.uplink].device;
        format!("by {device} and {} from {}", way.next_hop, way.local)
    }

    /// The kernel's way to a peer.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub(super) async fn way(&self, to: &Peer) -> Result<Result<Way, WayError>, NetlinkError> {
        let (peer, address) = (to.name.to_string(), to.address.ip());
        let Some(route) = self.netlink.route_to(address).await? else {
            return Ok(Err(WayError::NoRoute { peer, address }));
        };
        if route.local {
            return Ok(Err(WayError::Ourselves { peer, address }));
        }
        let mut uplinks = self.uplinks.iter();
        let uplink = uplinks.position(|up| up.is_taken && up.link.index == route.link);
        let Some(uplink) = uplink else {
            let name = self.netlink.link_name(route.link).await?;
            let device = name.unwrap_or_else(|| format!("device number {}", route.link));
            return Ok(Err(WayError::NotByUplink { peer, address, device }));
        };
        let Some(local) = route.source.or_else(|| self.source(uplink, address)) else {
            return Ok(Err(WayError::NoSource { peer, address }));
        };
        if let Some(gateway) = route.gateway.filter(|_| to.mode == TunnelMode::Never) {
            return Ok(Err(WayError::Behind { peer, address, gateway }));
        }
        Ok(Ok(Way { uplink, local, next_hop: route.gateway.unwrap_or(address) }))
    }

    /// What stands for a way until there is a route: on the first uplink that has the family.
    ///
    /// # Errors
    /// When none has.
    pub(super) fn guess(&self, peer: &str, address: IpAddr) -> Result<Way, WayError> {
        let found = (0..self.uplinks.len()).find_map(|i| Some((i, self.source(i, address)?)));
        let none = || WayError::NoSource { peer: peer.to_owned(), address };
        let (uplink, local) = found.ok_or_else(none)?;
        Ok(Way { uplink, local, next_hop: address })
    }

    /// Our first address on an uplink of the family of `to`.
    fn source(&self, uplink: usize, to: IpAddr) -> Option<IpAddr> {
        let own = self.uplinks[uplink].addresses.iter().copied();
        own.into_iter().find(|own| own.is_ipv4() == to.is_ipv4())
    }
}
