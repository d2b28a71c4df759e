//! The underlay as the kernel has it: the uplinks, the ways to the peers, the next hops' MACs.
//!
//! The kernel decides; we ask. Ways and MACs are asked for again each second, so that a next hop
//! which is silent at the start, or moves, is picked up without a restart.

use super::build::Way;
use super::netlink::{LinkFacts, NeighbourFacts, Netlink, NetlinkError};
use super::undo::Undo;
use crate::config::Config;
use pipeline::snapshot::Snapshot;
use std::collections::HashSet;
use std::net::IpAddr;

/// The underlay, as far as the control side follows it.
pub struct Underlay {
    netlink: Netlink,
    /// The uplinks, in the config's order.
    pub uplinks: Vec<Uplink>,
    /// Next hops that the kernel was asked to keep resolved.
    managed: HashSet<(u32, IpAddr)>,
    /// What was last complained about, so that it is said once.
    complaints: Vec<Option<WayError>>,
}

/// A device of the underlay.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// The device.
    pub link: LinkFacts,
    /// Our addresses on it, but for link-local ones.
    pub addresses: Vec<IpAddr>,
}

/// The underlay is not what the config expects.
#[derive(Debug, thiserror::Error)]
pub enum UnderlayError {
    /// The kernel could not be asked.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// There is no such device.
    #[error(
        "uplink {device}: there is no such device here; expected one of {}; correct `device` of \
         the [[uplink]]", .found.join(", ")
    )]
    Missing {
        /// The device that was configured.
        device: String,
        /// Those there are.
        found: Vec<String>,
    },
    /// A device without MAC.
    #[error("uplink {device}: found a device without MAC address; expected an Ethernet device")]
    NotEthernet {
        /// The device.
        device: String,
    },
    /// A peer can't be reached as configured, whatever the kernel's routes.
    #[error(transparent)]
    Way(WayError),
}

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
    fn is_passing(&self) -> bool {
        matches!(self, WayError::NoRoute { .. })
    }
}

impl Underlay {
    /// Looks the uplinks up.
    ///
    /// # Errors
    /// When one is missing.
    pub async fn find(netlink: &Netlink, config: &Config) -> Result<Underlay, UnderlayError> {
        let mut uplinks = Vec::new();
        for uplink in &config.uplink {
            uplinks.push(find(netlink, uplink.device.as_str()).await?);
        }
        let complaints = vec![None; config.peer.len()];
        Ok(Underlay { netlink: netlink.clone(), uplinks, managed: HashSet::new(), complaints })
    }

    /// All our addresses on the uplinks.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.uplinks.iter().flat_map(|uplink| uplink.addresses.iter().copied()).collect()
    }

    /// Reads our addresses on the uplinks again; whether they have changed. One that IPv6 is still
    /// testing at the start is there a moment later.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn refresh_addresses(&mut self) -> Result<bool, NetlinkError> {
        let mut changed = false;
        for uplink in &mut self.uplinks {
            let addresses = addresses(&self.netlink, uplink.link.index).await?;
            changed |= addresses != uplink.addresses;
            uplink.addresses = addresses;
        }
        Ok(changed)
    }

    /// The ways to all peers, for the start.
    ///
    /// # Errors
    /// When one can't be had unless the config or the machine is corrected. A route that is merely
    /// missing is warned about: it may come.
    pub async fn ways(&mut self, config: &Config) -> Result<Vec<Way>, UnderlayError> {
        let mut ways = Vec::new();
        for (i, peer) in config.peer.iter().enumerate() {
            let (name, address) = (peer.name.as_str(), peer.address.ip());
            let way = match self.way(name, address).await? {
                Ok(way) => way,
                Err(error) if error.is_passing() => {
                    tracing::warn!("{error}");
                    self.complaints[i] = Some(error);
                    self.guess(name, address).map_err(UnderlayError::Way)?
                }
                Err(error) => return Err(UnderlayError::Way(error)),
            };
            ways.push(way);
        }
        Ok(ways)
    }

    /// The ways to all peers, while running: one that is not to be had stays as it was.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn follow(
        &mut self,
        config: &Config,
        ways: &[Way],
    ) -> Result<Vec<Way>, NetlinkError> {
        let mut new = Vec::with_capacity(ways.len());
        for (i, (peer, old)) in config.peer.iter().zip(ways).enumerate() {
            let answer = self.way(peer.name.as_str(), peer.address.ip()).await?;
            let error = answer.as_ref().err().cloned();
            if self.complaints[i] != error {
                match &error {
                    Some(error) => tracing::warn!("{error}"),
                    None => tracing::info!("peer {}: the kernel has a route again", peer.name),
                }
                self.complaints[i] = error;
            }
            new.push(answer.unwrap_or(*old));
        }
        Ok(new)
    }

    async fn way(
        &self,
        peer: &str,
        address: IpAddr,
    ) -> Result<Result<Way, WayError>, NetlinkError> {
        let peer = peer.to_owned();
        let Some(route) = self.netlink.route_to(address).await? else {
            return Ok(Err(WayError::NoRoute { peer, address }));
        };
        if route.local {
            return Ok(Err(WayError::Ourselves { peer, address }));
        }
        let uplink = self.uplinks.iter().position(|uplink| uplink.link.index == route.link);
        let Some(uplink) = uplink else {
            let name = self.netlink.link_name(route.link).await?;
            let device = name.unwrap_or_else(|| format!("device number {}", route.link));
            return Ok(Err(WayError::NotByUplink { peer, address, device }));
        };
        let Some(local) = route.source.or_else(|| self.source(uplink, address)) else {
            return Ok(Err(WayError::NoSource { peer, address }));
        };
        Ok(Ok(Way { uplink, local, next_hop: route.gateway.unwrap_or(address) }))
    }

    /// What stands for a way until there is a route: on the first uplink that has the family.
    fn guess(&self, peer: &str, address: IpAddr) -> Result<Way, WayError> {
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

    /// Copies the MACs of next hops from the kernel's table into the snapshot's, and has the kernel
    /// resolve those that it doesn't know. Returns how many are not known.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn refresh(
        &mut self,
        snapshot: &Snapshot,
        undo: &mut Undo,
    ) -> Result<usize, NetlinkError> {
        let table = self.netlink.neighbours().await?;
        let mut unknown = 0;
        for neighbour in snapshot.neighbours.iter() {
            let Some(uplink) = self.uplinks.get(neighbour.port.index()) else { continue };
            let (link, address) = (uplink.link.index, neighbour.address);
            let entry = table.iter().find(|entry| entry.link == link && entry.address == address);
            match entry.and_then(|entry| entry.mac) {
                Some(mac) => neighbour.set_permanent(mac),
                None => {
                    neighbour.clear();
                    unknown += 1;
                }
            }
            self.manage(link, address, entry, undo).await?;
        }
        Ok(unknown)
    }

    async fn manage(
        &mut self,
        link: u32,
        address: IpAddr,
        entry: Option<&NeighbourFacts>,
        undo: &mut Undo,
    ) -> Result<(), NetlinkError> {
        let is_new = !self.managed.contains(&(link, address));
        let is_fine = entry.is_some_and(|entry| entry.permanent || (entry.fresh && !is_new));
        if is_fine {
            return Ok(());
        }
        self.netlink.manage_neighbour(link, address).await?;
        if is_new {
            self.managed.insert((link, address));
            undo.neighbour(&self.netlink, link, address);
        }
        Ok(())
    }
}

async fn find(netlink: &Netlink, device: &str) -> Result<Uplink, UnderlayError> {
    let Some(link) = netlink.link(device).await? else {
        let found = netlink.links().await?.into_iter().map(|link| link.name);
        let found = found.filter(|name| name != "lo").collect();
        return Err(UnderlayError::Missing { device: device.to_owned(), found });
    };
    if link.mac.is_none() {
        return Err(UnderlayError::NotEthernet { device: device.to_owned() });
    }
    if !link.up {
        tracing::warn!("uplink {device} is down; no peer can be reached until it is up");
    }
    Ok(Uplink { addresses: addresses(netlink, link.index).await?, link })
}

/// Our addresses on a link. A link-local one means nothing without its link: no peer is configured
/// with one.
async fn addresses(netlink: &Netlink, link: u32) -> Result<Vec<IpAddr>, NetlinkError> {
    let all = netlink.addresses(link).await?.into_iter().map(|net| net.addr());
    let is_link_local = |own: &IpAddr| matches!(own, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Ok(all.filter(|own| !is_link_local(own)).collect())
}
