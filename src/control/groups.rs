//! Routes with several next hops: which of these take packets, followed live.
//!
//! The tables name a group by its slot, and a group knows its members. When one goes, its device or the
//! next hop that leads to it, the group is made anew with what is left, and no route is touched.

use super::build;
use super::desired::Desired;
use super::node::Node;
use super::numbers::Numbers;
use super::routes::Hops;
use crate::config::Via;
use pipeline::snapshot::{Hop, NextHop, PortId, Snapshot};
use pipeline::tables::{Group, Member, Slots};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// The number that a name has everywhere and for ever.
fn number(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    u64::from_be_bytes(*digest.first_chunk().expect("a digest of 32 bytes"))
}

/// What tells a group from others: its next hops, and the family of its packets.
pub fn id(via: &Via, is_v4: bool) -> u64 {
    number(&format!("{} by {via}", if is_v4 { "IPv4" } else { "IPv6" }))
}

/// The groups of a state: those of `snapshot` keep their slots, and are the same ones if nothing about them has
/// changed. `is_up` tells of a next hop whether it takes packets.
pub fn groups(
    desired: &Desired,
    snapshot: &Snapshot,
    is_up: impl Fn(NextHop) -> bool,
    numbers: &mut Numbers,
) -> Slots<Arc<Group>> {
    let (now, hops) = (Instant::now(), Hops::new(desired, snapshot));
    let known = snapshot.groups.entries().map(|(slot, group)| (group.id(), (slot, group)));
    let mut known: HashMap<_, _> = known.collect();
    let mut all = Slots::default();
    for (via, is_v4) in desired.groups().flat_map(|via| [(via, true), (via, false)]) {
        let members = via.each().iter().filter_map(|via| {
            let next_hop = NextHop::new(hops.single(via, is_v4));
            let is_somewhere = next_hop != NextHop::NONE;
            let (id, is_up) = (number(&via.to_string()), is_up(next_hop));
            is_somewhere.then_some(Member { id, next_hop, is_up })
        });
        let (id, members) = (id(via, is_v4), members.collect::<Vec<_>>());
        let (slot, group) = match known.remove(&id) {
            Some((slot, group)) if group.members() == members => (slot, group.clone()),
            Some((slot, _)) => (slot, Arc::new(Group::new(id, members))),
            None => (numbers.take(now), Arc::new(Group::new(id, members))),
        };
        all.insert(slot, group);
    }
    for (slot, _) in known.into_values() {
        numbers.give_back(slot, now);
    }
    all
}

/// Whether these are the very same groups.
fn are_same(a: &Slots<Arc<Group>>, b: &Slots<Arc<Group>>) -> bool {
    let mut pairs = a.entries().zip(b.entries());
    a.iter().count() == b.iter().count()
        && pairs.all(|((i, a), (k, b))| i == k && Arc::ptr_eq(a, b))
}

impl Node {
    /// The groups of a state as things are now.
    pub(super) fn groups(&mut self, desired: &Desired, snapshot: &Snapshot) -> Slots<Arc<Group>> {
        let complaints = self.config.peer.iter().zip(self.underlay.complaints());
        let unreachable = complaints.filter(|(_, complaint)| complaint.is_some());
        let unreachable = unreachable.filter_map(|(peer, _)| self.facts.peers.get(&peer.name));
        let unreachable: HashSet<usize> = unreachable.copied().collect();
        let queues = self.state.workers.queues();
        // A port's error means that its device is gone.
        let gone =
            queues.iter().filter(|queue| queue.stats.errors.get() > 0).map(|queue| queue.port);
        let gone: HashSet<PortId> = gone.collect();
        let uplinks = &self.underlay.uplinks;
        let lost = uplinks.iter().zip(0..).filter(|(uplink, _)| !uplink.is_taken);
        let lost: HashSet<PortId> = lost.map(|(_, i)| build::port_id(i)).collect();
        let is_up = |next_hop: NextHop| match next_hop.hop() {
            Hop::Peer(slot) => {
                let peer = &snapshot.peers[slot];
                let next_hop = &snapshot.neighbours[peer.neighbour];
                let is_known = next_hop.state(0).0.is_some();
                is_known && !lost.contains(&peer.uplink) && !unreachable.contains(&slot)
            }
            _ => snapshot.egress(next_hop).is_some_and(|port| !gone.contains(&port)),
        };
        groups(desired, snapshot, is_up, &mut self.numbers.groups)
    }

    /// Lets the workers see groups as they are now, if they are others.
    pub(super) fn regroup(&mut self) {
        let snapshot = self.state.snapshot.load_full();
        if self.desired.groups().next().is_none() && snapshot.groups.end() == 0 {
            return;
        }
        let groups = self.groups(&self.desired.clone(), &snapshot);
        if are_same(&groups, &snapshot.groups) {
            return;
        }
        let mut snapshot = Snapshot::clone(&snapshot);
        snapshot.generation += 1;
        snapshot.groups = Arc::new(groups);
        self.tell_of_groups(&snapshot);
        self.state.snapshot.store(Arc::new(snapshot));
    }

    fn tell_of_groups(&self, snapshot: &Snapshot) {
        for via in self.desired.groups() {
            let ids = [true, false].map(|is_v4| id(via, is_v4));
            let groups = snapshot.groups.iter().filter(|group| ids.contains(&group.id()));
            let members: Vec<_> = groups.flat_map(|group| group.members()).collect();
            let down = via.each().iter().filter(|via| {
                let id = number(&via.to_string());
                members.iter().any(|member| member.id == id && !member.is_up)
            });
            let down: Vec<_> = down.map(Via::to_string).collect();
            match &down[..] {
                [] => tracing::info!("routes by {via}: all take packets"),
                _ => tracing::warn!("routes by {via}: none go by {} now", down.join(", ")),
            }
        }
    }
}
