//! The underlay as the kernel has it: the uplinks, the ways to the peers, the next hops' MACs.
//!
//! The kernel decides; we ask, and ask again whenever it tells of a change: a link that goes down
//! takes routes along of which there is no word.

mod next_hop;
mod path_mtu;
mod uplink;
mod way;

pub use path_mtu::{Ear, PathMtus, TooBig};
pub use uplink::{Sight, Uplink};
pub use way::WayError;

use super::build::Way;
use super::netlink::{Changes, Netlink, NetlinkError};
use crate::config::{Config, Name, Peer};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// The loopback device's number, in every namespace.
const LOOPBACK: u32 = 1;

/// The underlay, as far as the control side follows it.
pub struct Underlay {
    netlink: Netlink,
    /// The uplinks, in the config's order.
    pub uplinks: Vec<Uplink>,
    /// Our addresses on the loopback device: what a node is known by that is reached over several
    /// uplinks.
    common: Vec<IpAddr>,
    /// Next hops that the kernel was asked to keep resolved.
    managed: HashSet<(u32, IpAddr)>,
    /// What was last complained about, so that it is said once.
    complaints: Complaints,
}

/// For each peer, in the config's order, why there is no way to it.
pub type Complaints = Vec<Option<WayError>>;

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
    /// A device without MAC, or the loopback device.
    #[error("uplink {device}: found {what}; expected an Ethernet device")]
    NotEthernet {
        /// The device.
        device: String,
        /// What it is.
        what: &'static str,
    },
    /// The kernel's addresses and routes are another device's.
    #[error(
        "uplink {device}: found a port of the {kind} {master}, which has the addresses and routes; \
         expected that one: write `device = \"{master}\"`"
    )]
    Enslaved {
        /// The device.
        device: String,
        /// What it is a port of.
        master: String,
        /// What kind of device that is.
        kind: String,
    },
    /// A peer can't be reached as configured, whatever the kernel's routes.
    #[error(transparent)]
    Way(WayError),
}

impl Underlay {
    /// Looks the uplinks up.
    ///
    /// # Errors
    /// When one is missing.
    pub async fn find(netlink: &Netlink, config: &Config) -> Result<Underlay, UnderlayError> {
        let mut uplinks = Vec::new();
        for uplink in &config.uplink {
            uplinks.push(Uplink::find(netlink, uplink.device.as_str()).await?);
        }
        let complaints = vec![None; config.peer.len()];
        Ok(Underlay {
            netlink: netlink.clone(),
            uplinks,
            common: addresses(netlink, LOOPBACK).await?,
            managed: HashSet::new(),
            complaints,
        })
    }

    /// The addresses at which packets of the underlay may reach us, by whatever uplink: the
    /// uplinks', those of the loopback device, and those that the ways to the peers start
    /// from, where there is one.
    pub fn addresses(&self, ways: &[Way]) -> BTreeSet<IpAddr> {
        let uplinks = self.uplinks.iter().filter(|uplink| uplink.is_taken);
        let uplinks = uplinks.flat_map(|uplink| &uplink.addresses);
        let ways = ways.iter().zip(&self.complaints).filter(|(_, complaint)| complaint.is_none());
        uplinks.chain(&self.common).copied().chain(ways.map(|(way, _)| way.local)).collect()
    }

    /// The numbers of the uplinks' devices that are there.
    pub fn links(&self) -> Vec<u32> {
        let taken = self.uplinks.iter().filter(|uplink| uplink.is_taken);
        taken.map(|uplink| uplink.link.index).collect()
    }

    /// Looks at the devices again: what each uplink is now.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn look(&mut self, why: &Changes) -> Result<Vec<Sight>, NetlinkError> {
        let links = self.netlink.links().await?;
        Ok(self.uplinks.iter_mut().map(|uplink| uplink.look(&links, why)).collect())
    }

    /// Reads our addresses again.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn refresh_addresses(&mut self, why: &Changes) -> Result<(), NetlinkError> {
        for uplink in self.uplinks.iter_mut().filter(|uplink| uplink.is_taken) {
            uplink.refresh_addresses(&self.netlink, why).await?;
        }
        self.common = addresses(&self.netlink, LOOPBACK).await?;
        Ok(())
    }

    /// The ways to all peers, for the start.
    ///
    /// # Errors
    /// When one can't be had unless the config or the machine is corrected. A route that is merely
    /// missing is warned about: it may come.
    pub async fn ways(&mut self, config: &Config) -> Result<Vec<Way>, UnderlayError> {
        let (ways, complaints) = self.ways_after(config, config, &[], |_| true).await?;
        self.complaints = complaints;
        Ok(ways)
    }

    /// The ways to the peers of `new`, for a change while running. Peers of `old` that have not
    /// changed keep theirs. Nothing is remembered until [`set_complaints`](Self::set_complaints).
    ///
    /// # Errors
    /// As those of [`ways`](Self::ways).
    pub async fn ways_after(
        &self,
        old: &Config,
        new: &Config,
        ways: &[Way],
        has_changed: impl Fn(&Name) -> bool,
    ) -> Result<(Vec<Way>, Complaints), UnderlayError> {
        let known = old.peer.iter().zip(ways.iter().zip(&self.complaints));
        let known: HashMap<_, _> = known.map(|(peer, known)| (&peer.name, known)).collect();
        let mut all = (Vec::new(), Complaints::new());
        for peer in &new.peer {
            let (way, complaint) = match known.get(&peer.name) {
                Some((way, complaint)) if !has_changed(&peer.name) => {
                    (**way, Option::clone(complaint))
                }
                _ => self.first_way(peer).await?,
            };
            all.0.push(way);
            all.1.push(complaint);
        }
        Ok(all)
    }

    /// For each peer, in the config's order, why there is no way to it.
    pub fn complaints(&self) -> &[Option<WayError>] {
        &self.complaints
    }

    /// Remembers what was complained about, for the peers of a new config.
    pub fn set_complaints(&mut self, complaints: Complaints) {
        self.complaints = complaints;
    }

    /// Why there can't be a way to a peer, if there can't.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn refusal(&self, peer: &Peer) -> Result<Option<WayError>, NetlinkError> {
        Ok(self.some_way(peer).await?.err())
    }

    /// The way to a peer that is new, and the complaint if it is a guess.
    async fn first_way(&self, peer: &Peer) -> Result<(Way, Option<WayError>), UnderlayError> {
        let (way, complaint) = self.some_way(peer).await?.map_err(UnderlayError::Way)?;
        if let Some(complaint) = &complaint {
            tracing::warn!("{complaint}");
        }
        Ok((way, complaint))
    }

    async fn some_way(
        &self,
        peer: &Peer,
    ) -> Result<Result<(Way, Option<WayError>), WayError>, NetlinkError> {
        Ok(match self.way(peer).await? {
            Ok(way) => Ok((way, None)),
            Err(error) if error.is_passing() => {
                self.guess(peer.name.as_str(), peer.address.ip()).map(|way| (way, Some(error)))
            }
            Err(error) => Err(error),
        })
    }
}

/// Our addresses on a link that others can send to. A link-local one means nothing without its link:
/// no peer is configured with one.
async fn addresses(netlink: &Netlink, link: u32) -> Result<Vec<IpAddr>, NetlinkError> {
    let all = netlink.addresses(link).await?.into_iter().map(|net| net.addr());
    let is_link_local = |own: &IpAddr| matches!(own, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Ok(all.filter(|own| !is_link_local(own) && !own.is_loopback()).collect())
}
