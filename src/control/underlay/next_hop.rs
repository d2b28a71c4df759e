//! The next hops' MACs: copied from the kernel's table into the snapshot's, and kept resolved by the
//! kernel, which does not see the frames that we send.

use super::{Underlay, Uplink};
use crate::control::netlink::{NeighbourFacts, NetlinkError};
use crate::control::undo::Undo;
use pipeline::snapshot::Snapshot;
use pipeline::tables::neighbours::Neighbour;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// A neighbour of the kernel's: the number of its link, its address.
type Key = (u32, IpAddr);

impl Underlay {
    /// Reads the kernel's table, and has the kernel resolve what it doesn't know. Returns how many
    /// next hops have no MAC.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn refresh(
        &mut self,
        snapshot: &Snapshot,
        undo: &mut Undo,
    ) -> Result<usize, NetlinkError> {
        let table = by_key(&self.netlink.neighbours().await?);
        let mut needed = HashSet::new();
        for neighbour in snapshot.neighbours.iter() {
            let Some(key) = self.key(neighbour) else { continue };
            needed.insert(key);
            let entry = table.get(&key);
            self.note(neighbour, entry);
            let is_new = !self.managed.contains(&key);
            if is_new || !entry.is_some_and(|entry| entry.permanent || entry.fresh) {
                self.manage(key, entry, undo).await?;
            }
        }
        self.release(&needed, undo).await;
        undo.save();
        Ok(self.unresolved(snapshot))
    }

    /// The same for what the kernel says has changed, and no more.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn apply(
        &mut self,
        changed: &[NeighbourFacts],
        snapshot: &Snapshot,
        undo: &mut Undo,
    ) -> Result<usize, NetlinkError> {
        let table = by_key(changed);
        for neighbour in snapshot.neighbours.iter() {
            let Some(key) = self.key(neighbour) else { continue };
            let Some(entry) = table.get(&key) else { continue };
            let was_known = mac_of(neighbour).is_some();
            self.note(neighbour, Some(entry));
            // What stays unknown is asked for at intervals, not with each event about it.
            let is_lost = was_known && entry.mac.is_none();
            let is_stale = entry.mac.is_some() && !entry.fresh && !entry.permanent;
            if is_lost || is_stale {
                self.manage(key, Some(entry), undo).await?;
            }
        }
        Ok(self.unresolved(snapshot))
    }

    /// Where the kernel has it, if it is on an uplink that is there.
    fn key(&self, neighbour: &Neighbour) -> Option<Key> {
        let uplink = self.uplinks.get(neighbour.port.index())?;
        uplink.is_taken.then_some((uplink.link.index, neighbour.address))
    }

    /// Takes over what the kernel knows.
    fn note(&self, neighbour: &Neighbour, entry: Option<&NeighbourFacts>) {
        let (old, new) = (mac_of(neighbour), entry.and_then(|entry| entry.mac));
        if old == new {
            return;
        }
        let device = &self.uplinks[neighbour.port.index()].device;
        let address = neighbour.address;
        match (old, new) {
            (_, None) => {
                neighbour.clear();
                tracing::warn!("next hop {address} on {device} does not answer; asking on");
            }
            (None, Some(mac)) => {
                neighbour.set_permanent(mac);
                tracing::info!("next hop {address} on {device} has MAC {mac}");
            }
            (Some(old), Some(mac)) => {
                neighbour.set_permanent(mac);
                tracing::info!("next hop {address} on {device} has MAC {mac} now, had {old}");
            }
        }
    }

    async fn manage(
        &mut self,
        key: Key,
        entry: Option<&NeighbourFacts>,
        undo: &mut Undo,
    ) -> Result<(), NetlinkError> {
        let (link, address) = key;
        // A question that is lost is not asked again for a second: not before it can be heard.
        let is_on = |uplink: &Uplink| uplink.link.index == link && uplink.link.carrier;
        let is_on = self.uplinks.iter().any(is_on);
        if !is_on || entry.is_some_and(|entry| entry.permanent) {
            return Ok(());
        }
        self.netlink.manage_neighbour(link, address).await?;
        if self.managed.insert(key) {
            undo.neighbour(&self.netlink, link, address);
        }
        Ok(())
    }

    /// Has the kernel forget what is no next hop any more.
    async fn release(&mut self, needed: &HashSet<Key>, undo: &mut Undo) {
        let over: Vec<_> = self.managed.difference(needed).copied().collect();
        for key @ (link, address) in over {
            self.managed.remove(&key);
            undo.forget_neighbour(link, address);
            // On a device that is gone there is nothing to release.
            if self.uplinks.iter().any(|uplink| uplink.is_taken && uplink.link.index == link)
                && let Err(error) = self.netlink.release_neighbour(link, address).await
            {
                tracing::warn!("{error}");
            }
        }
    }

    fn unresolved(&self, snapshot: &Snapshot) -> usize {
        let next_hops = snapshot.neighbours.iter().filter(|next_hop| self.key(next_hop).is_some());
        next_hops.filter(|next_hop| mac_of(next_hop).is_none()).count()
    }
}

fn by_key(facts: &[NeighbourFacts]) -> HashMap<Key, NeighbourFacts> {
    facts.iter().map(|facts| ((facts.link, facts.address), *facts)).collect()
}

/// Next hops' MACs do not age here: the kernel sees to that.
fn mac_of(neighbour: &Neighbour) -> Option<encap::wire::Mac> {
    neighbour.state(0).0
}
