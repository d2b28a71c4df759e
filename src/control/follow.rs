//! Following the kernel: what changes about the underlay while a node runs.
//!
//! The kernel's events wake us; we then look at what they may have changed, publish the tables if
//! they are others now, and log what changed and why. A look is the same whatever woke us, so that a
//! look too many does nothing, and one in a while makes up for what no event told of.

use super::build::{self, UplinkFacts};
use super::daemon::DaemonError;
use super::devices;
use super::mtus;
use super::netlink::{Changes, LinkFacts};
use super::node::Node;
use super::orders::Orders;
use super::reserve;
use super::underlay::{Sight, TooBig};
use super::undo::Undo;
use crate::config::{Config, Peer};
use crate::io::af_xdp::Matches;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often we look without being told to.
const SAFETY: Duration = Duration::from_secs(30);
/// How often we ask for next hops that don't answer.
const TICK: Duration = Duration::from_secs(1);
/// How soon a look is tried again that has failed.
const RETRY: Duration = Duration::from_millis(100);

impl Node {
    /// Does what it is told, and follows the underlay, until it is told to end.
    pub async fn follow(&mut self, orders: &mut Orders, undo: &mut Undo) {
        let mut due = Instant::now() + SAFETY;
        loop {
            let rest = TICK.min(due.saturating_duration_since(Instant::now()));
            // Only waiting is ever broken off, nothing that has begun.
            let mut changes = tokio::select! {
                order = orders.next() => {
                    if let Some(why) = self.obey(order, undo).await {
                        tracing::info!("{why}: stopping");
                        return;
                    }
                    continue;
                }
                changes = self.events.next() => changes.unwrap_or_else(|error| {
                    tracing::warn!("reading the kernel's events: {error}");
                    Changes::default()
                }),
                told = self.ear.next() => {
                    self.hear(&told);
                    continue;
                }
                () = tokio::time::sleep(rest) => Changes::default(),
            };
            if Instant::now() >= due {
                changes = Changes::everything("seen at a look without an event");
                due = Instant::now() + SAFETY;
            }
            if let Err(error) = self.look(undo, &changes).await {
                tracing::warn!("following the kernel: {error}; trying again");
                due = Instant::now() + RETRY;
            }
        }
    }

    /// Looks at what may have changed, and passes on what has.
    async fn look(&mut self, undo: &mut Undo, why: &Changes) -> Result<(), DaemonError> {
        let wider = self.facts.paths.forget(Instant::now());
        if !wider.is_empty() {
            tracing::info!("packets may be longer again, to see whether they pass, to {wider:?}");
            self.publish_facts(&self.config.clone());
        }
        if why.is_beyond_neighbours() {
            self.look_at_underlay(&self.config.clone(), why).await?;
        }
        let snapshot = self.state.snapshot.load_full();
        let whole = why.is_beyond_neighbours() || why.incomplete.is_some();
        if whole || (why.is_empty() && self.unresolved > 0) {
            self.unresolved = self.underlay.refresh(&snapshot, undo).await?;
        } else if !why.neighbours.is_empty() {
            self.unresolved = self.underlay.apply(&why.neighbours, &snapshot, undo).await?;
        }
        self.regroup();
        Ok(())
    }

    async fn look_at_underlay(
        &mut self,
        config: &Config,
        why: &Changes,
    ) -> Result<(), DaemonError> {
        let before = self.facts.uplinks.clone();
        let mut is_new = false;
        for (i, sight) in self.underlay.look(why).await?.into_iter().enumerate() {
            match sight {
                Sight::Same => self.facts.uplinks[i].follow(&self.underlay.uplinks[i].link),
                Sight::Gone => self.lose(i, why).await,
                Sight::New(link) => is_new |= self.regain(i, link, config, why).await?,
            }
        }
        self.underlay.refresh_addresses(why).await?;
        let ways = self.underlay.follow(config, &self.facts.ways, why).await?;
        if ways != self.facts.ways || before != self.facts.uplinks {
            self.facts.ways = ways;
            self.publish_facts(config);
            if self.fit_devices().await {
                mtus::warn(&self.state.snapshot.load(), config);
            }
        }
        self.be_reachable(config, is_new).await
    }

    /// Lets the workers see tables made of the facts as they are now.
    fn publish_facts(&mut self, config: &Config) {
        let before = self.state.snapshot.load_full();
        let mut snapshot = build::build(config, &self.facts, &before, &mut self.numbers.neighbours);
        snapshot.groups = Arc::new(self.groups(&self.desired.clone(), &snapshot));
        self.state.snapshot.store(Arc::new(snapshot));
    }

    /// Believes a router that a packet of ours was too long, if we may have sent that packet.
    fn hear(&mut self, told: &TooBig) {
        let snapshot = self.state.snapshot.load_full();
        let peer = snapshot.peers_by_address.get(&told.to);
        let Some(peer) = peer.and_then(|id| snapshot.peers.get(usize::from(*id))) else { return };
        let Some((tunnel, _)) = &peer.encap else { return };
        let is_ours = peer.local == told.from
            && snapshot.tunnels[tunnel.index()].steers.contains(&told.by)
            && told.mtu < snapshot.ports[peer.uplink.index()].mtu;
        if is_ours && self.facts.paths.learn(told.to, told.mtu, Instant::now()) {
            tracing::info!(
                "peer {}: packets of {} bytes pass on the way, a router says; pods' may have {}",
                peer.name,
                told.mtu,
                told.mtu.saturating_sub(peer.overhead())
            );
            self.publish_facts(&self.config.clone());
        }
    }

    /// Takes packets to our addresses as they are now; also when they have not changed if there is
    /// a new uplink.
    pub(super) async fn be_reachable(
        &mut self,
        config: &Config,
        is_new: bool,
    ) -> Result<(), DaemonError> {
        self.own = self.underlay.addresses(&self.facts.ways);
        self.take(is_new)?;
        // Last, as packets flow without.
        let (steers, links) = (reserve::steers(config), self.underlay.links());
        let updated = self.reserved.update(&self.netlink, steers, &self.own, &links, false);
        if let Err(error) = updated.await {
            tracing::warn!("{error}");
        }
        Ok(())
    }

    /// An uplink's device is gone.
    async fn lose(&mut self, uplink: usize, why: &Changes) {
        let device = &self.underlay.uplinks[uplink].device;
        tracing::warn!(
            "uplink {device}: the device is gone; what would leave by it is dropped until there is a \
             device {device} again; {why}"
        );
        self.underlay.uplinks[uplink].is_taken = false;
        self.uplinks[uplink] = None;
        self.state.workers.suspend(build::port_id(uplink)).await;
    }

    /// There is a device for an uplink that had none, or has another one now; whether it could be
    /// taken.
    async fn regain(
        &mut self,
        i: usize,
        link: LinkFacts,
        config: &Config,
        why: &Changes,
    ) -> Result<bool, DaemonError> {
        if self.underlay.uplinks[i].is_taken {
            self.lose(i, why).await;
        }
        let uplink = &mut self.underlay.uplinks[i];
        let ports = match devices::open_uplink(&config.uplink[i], &link.name, &self.umem) {
            Ok(ports) => ports,
            Err(error) => {
                let complaint = error.to_string();
                if uplink.complaint.as_ref() != Some(&complaint) {
                    tracing::warn!("uplink {complaint}; trying again at the next change");
                    uplink.complaint = Some(complaint);
                }
                return Ok(false);
            }
        };
        uplink.complaint = None;
        uplink.is_taken = true;
        self.facts.uplinks[i] = UplinkFacts::new(&ports[0], &link);
        uplink.link = link;
        self.uplinks[i] = Some(ports[0].device().clone());
        let queues = devices::boxed(ports);
        let mode = devices::mode(&queues);
        tracing::info!("uplink {}: taken again, {mode}; {why}", uplink.device);
        self.state.workers.add(build::port_id(i), queues)?;
        self.state.workers.begun().await;
        Ok(true)
    }

    /// Has the uplinks' XDP programs take what is ours, if that is something else than before, or there
    /// is a new uplink. By which uplink a packet comes is for the network to choose, so each takes it all.
    pub(super) fn take(&mut self, is_new: bool) -> Result<(), DaemonError> {
        let matches = self.matches();
        if matches == self.matches && !is_new {
            return Ok(());
        }
        for device in self.uplinks.iter().flatten() {
            device.set_matches(&matches)?;
        }
        self.matches = matches;
        Ok(())
    }

    /// Which of the uplinks' packets are ours: the tunnels' to our addresses, and where peers may send
    /// without a tunnel all to pods.
    fn matches(&self) -> Matches {
        let steers = self.config.tunnel.tunnels().flat_map(|(_, tunnel)| tunnel.steers());
        let tunnels = steers.flat_map(|steer| self.own.iter().map(move |own| (*own, steer)));
        let pods = match self.config.peer.iter().any(Peer::accepts_direct) {
            true => {
                let own = self.config.port.iter().flat_map(|port| &port.addresses);
                own.map(|own| own.host()).chain(self.desired.prefixes_by_ports()).collect()
            }
            false => HashSet::new(),
        };
        Matches { tunnels: tunnels.collect(), pods }
    }
}

impl UplinkFacts {
    /// Takes over what has changed about the link.
    fn follow(&mut self, link: &LinkFacts) {
        self.mac = link.mac.unwrap_or(self.mac);
        self.mtu = self.most.min(link.mtu as usize);
    }
}
