//! Making a running node be what it is desired to be, all of it or nothing.
//!
//! What can fail is done first: ways are asked for, new devices opened, devices that stay set up
//! otherwise. If that fails it is undone, and nobody but the log has noticed. Then the tables are
//! published, MTUs that follow from them set, and old ports closed, none of which can be refused.
//! What has not changed is not touched: it keeps its device, its descriptor and its slot.

use super::build::{self, DeviceFacts, Limit, OpenPort, Way};
use super::daemon::DaemonError;
use super::desired::plan::{Adjustment, Plan};
use super::desired::{Desired, Refused};
use super::devices::{self, Opened};
use super::mtus;
use super::node::Node;
use super::numbers;
use super::reserve;
use super::routes::Hops;
use super::state::PortFacts;
use super::underlay::Complaints;
use super::undo::Undo;
use crate::config::{self, Config, IPV6_MIN_MTU, Name};
use pipeline::snapshot::{PortId, Snapshot};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Routes that are changed before others get their turn on this thread.
const AT_ONCE: usize = 4096;
/// How long workers are waited for that have not looked at new tables yet, and how often it is asked:
/// one that sleeps wakes twice a second.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// What was done already and can still be undone.
#[derive(Default)]
struct Done<'p> {
    opened: Vec<NewPort>,
    changed: Vec<Changed<'p>>,
}

/// What has become of a device that stays.
enum Changed<'p> {
    Adjusted(&'p Adjustment),
    /// It was given another MTU, and had this one.
    Resized(config::Port, u32),
}

/// A port that is open, and with the workers.
struct NewPort {
    name: Name,
    id: PortId,
    device: DeviceFacts,
    about: PortFacts,
    undo: Undo,
}

/// What the underlay says of the peers.
struct Ways {
    ways: Vec<Way>,
    complaints: Complaints,
}

impl Node {
    /// Makes the node be as `new` says, by this plan. Whether there was anything to do.
    ///
    /// # Errors
    /// When that can't be; everything is then as it was.
    pub async fn apply(
        &mut self,
        new: Desired,
        plan: &Plan,
        undo: &mut Undo,
    ) -> Result<bool, Refused> {
        if plan.is_empty() {
            self.adopt(new);
            return Ok(false);
        }
        room("ports", new.ports().len(), numbers::MOST)?;
        room("peers", new.peers().len(), numbers::MOST)?;
        if !plan.is_structural {
            let mut snapshot = Snapshot::clone(&self.state.snapshot.load());
            snapshot.generation += 1;
            if plan.has_other_policies {
                self.config = Arc::new(new.config());
                build::enforce(&self.config, &self.facts, &mut snapshot);
            }
            self.publish(snapshot, new, plan).await;
            return Ok(true);
        }
        let config = new.config();
        let mut done = Done::default();
        match self.prepare(&config, plan, &mut done).await {
            Ok(ways) => {
                self.commit(config, new, plan, done.opened, ways, undo).await;
                Ok(true)
            }
            Err(error) => {
                self.undo(done).await;
                Err(Refused::Failed(error.to_string()))
            }
        }
    }

    /// Everything that can fail.
    async fn prepare<'p>(
        &mut self,
        config: &Config,
        plan: &'p Plan,
        done: &mut Done<'p>,
    ) -> Result<Ways, DaemonError> {
        if plan.has_other_tunnels {
            // Ports of before are given back once the tables know nothing of them.
            let steers = reserve::steers(&self.config).chain(reserve::steers(config));
            let links = self.underlay.links();
            self.reserved.update(&self.netlink, steers, &self.own, &links, false).await?;
        }
        let is_new = |peer: &Name| plan.peers.contains(peer);
        let (ways, complaints) =
            self.underlay.ways_after(&self.config, config, &self.facts.ways, is_new).await?;
        let limit = Limit::find(config, &self.facts.uplinks, &ways);
        for port in &plan.opened {
            let mut undo = Undo::default();
            match self.open(config, port, &limit, &mut undo).await {
                Ok((id, device, about)) => {
                    let name = port.name.clone();
                    done.opened.push(NewPort { name, id, device, about, undo });
                }
                Err(error) => {
                    undo.unwind().await;
                    return Err(error);
                }
            }
        }
        self.state.workers.begun().await;
        // A device has IPv6 addresses as long as it is wide enough.
        self.resize_some(config, (plan, &limit), done, u32::gt).await?;
        for adjustment in &plan.adjusted {
            done.changed.push(Changed::Adjusted(adjustment));
            devices::adjust(&adjustment.port, &adjustment.from, &adjustment.to).await?;
        }
        self.resize_some(config, (plan, &limit), done, u32::lt).await?;
        Ok(Ways { ways, complaints })
    }

    /// Gives devices that stay the MTUs that the config names or that IPv6 needs, where these are greater,
    /// or less, than what they have. What only follows from the tables comes after them.
    async fn resize_some(
        &mut self,
        config: &Config,
        (plan, limit): (&Plan, &Limit),
        done: &mut Done<'_>,
        is_due: fn(&u32, &u32) -> bool,
    ) -> Result<(), DaemonError> {
        for port in &config.port {
            let Some(was) = self.mtus.get(&port.name).copied() else { continue };
            let mtu = limit.of(port);
            let is_asked_for = port.mtu.is_some() || (port.has_ipv6() && was < IPV6_MIN_MTU);
            let stays = || plan.opened.iter().all(|new| new.name != port.name);
            if is_asked_for && is_due(&mtu, &was) && stays() {
                done.changed.push(Changed::Resized(port.clone(), was));
                self.resize(port, mtu).await?;
            }
        }
        Ok(())
    }

    /// Opens a port and gives it to the workers, who drop what comes by it as long as the tables
    /// don't know it.
    async fn open(
        &mut self,
        config: &Config,
        port: &config::Port,
        limit: &Limit,
        undo: &mut Undo,
    ) -> Result<(PortId, DeviceFacts, PortFacts), DaemonError> {
        let opened = devices::open_port(config, port, limit.of(port), &self.umem, undo).await?;
        let Opened { queues, facts, about } = opened;
        let number = self.numbers.ports.take(Instant::now());
        let id = build::port_id(number);
        if let Err(error) = self.state.workers.add(id, queues) {
            self.numbers.ports.give_back(number, Instant::now());
            return Err(error.into());
        }
        tracing::info!("port {}: device {}: {}", port.name, about.device, about.mode);
        Ok((id, facts, about))
    }

    /// Puts back what was done, the newest first.
    async fn undo(&mut self, done: Done<'_>) {
        for changed in done.changed.into_iter().rev() {
            let result = match changed {
                Changed::Adjusted(Adjustment { port, from, to }) => {
                    devices::adjust(port, to, from).await
                }
                Changed::Resized(port, was) => self.resize(&port, was).await.map(drop),
            };
            if let Err(error) = result {
                tracing::warn!("putting it back as it was: {error}");
            }
        }
        for port in done.opened.into_iter().rev() {
            self.state.workers.remove(port.id).await;
            port.undo.unwind().await;
            self.numbers.ports.give_back(port.id.index(), Instant::now());
        }
        if let Err(error) = self.be_reachable(&self.config.clone(), false).await {
            tracing::warn!("putting it back as it was: {error}");
        }
    }

    /// Everything else.
    async fn commit(
        &mut self,
        config: Config,
        new: Desired,
        plan: &Plan,
        opened: Vec<NewPort>,
        Ways { ways, complaints }: Ways,
        undo: &mut Undo,
    ) {
        let now = Instant::now();
        self.mtus.retain(|name, _| !plan.closed.contains(name));
        let closing = plan.closed.iter().filter_map(|name| self.facts.ports.remove(name));
        let closing: Vec<_> = closing.map(|port| port.id).collect();
        let mut ports = Vec::new();
        for NewPort { name, id, device, about, undo: steps } in opened {
            self.facts.ports.insert(name, OpenPort { id, device });
            undo.port(id, steps);
            ports.push((id, about));
        }
        self.number_peers(&config, now);
        self.facts.ways = ways;
        self.underlay.set_complaints(complaints);
        self.config = Arc::new(config);
        let before = self.state.snapshot.load_full();
        let snapshot =
            build::build(&self.config, &self.facts, &before, &mut self.numbers.neighbours);
        self.tell_of_ports(ports, &new);
        self.publish(snapshot, new, plan).await;
        if self.fit_devices().await || !(plan.opened.is_empty() && plan.peers.is_empty()) {
            mtus::warn(&self.state.snapshot.load(), &self.config);
        }
        self.close(closing, undo).await;
        if !plan.peers.is_empty() || plan.has_other_tunnels {
            let greeted = self.greet_peers(undo).await;
            greeted.unwrap_or_else(|error| tracing::warn!("following the kernel: {error}"));
        }
    }

    /// Peers that came get slots, those that went give theirs back.
    fn number_peers(&mut self, config: &Config, now: Instant) {
        let numbers = &mut self.numbers.peers;
        let mut old = std::mem::take(&mut self.facts.peers);
        for peer in &config.peer {
            let slot = old.remove(&peer.name).unwrap_or_else(|| numbers.take(now));
            self.facts.peers.insert(peer.name.clone(), slot);
        }
        for (_, slot) in old {
            numbers.give_back(slot, now);
        }
    }

    /// Keeps what people are told about ports.
    fn tell_of_ports(&self, opened: Vec<(PortId, PortFacts)>, new: &Desired) {
        let mut ports = self.state.ports.load_full();
        let facts = Arc::make_mut(&mut ports);
        for (id, about) in opened {
            facts.insert(id.index(), about);
        }
        for (name, entry) in new.ports() {
            let known =
                self.facts.ports.get(name).filter(|port| facts.get(port.id.index()).is_some());
            if let Some(port) = known {
                let addresses = entry.value.addresses.iter().map(|own| own.ip()).collect();
                facts[port.id.index()].addresses = addresses;
            }
        }
        self.state.ports.store(ports);
    }

    /// Lets the workers see new tables.
    async fn publish(&mut self, mut snapshot: Snapshot, new: Desired, plan: &Plan) {
        snapshot.groups = Arc::new(self.groups(&new, &snapshot));
        let hops = Hops::new(&new, &snapshot);
        for some in plan.routes.chunks(AT_ONCE) {
            self.routes.change(some.iter().map(|net| (*net, hops.hop(*net))));
            tokio::task::yield_now().await;
        }
        drop(hops);
        self.routes.publish(&mut snapshot);
        let old = self.state.snapshot.swap(Arc::new(snapshot));
        if plan.routes.len() > AT_ONCE {
            tokio::task::spawn_blocking(move || free(old));
        }
        self.adopt(new);
        if let Err(error) = self.take(false) {
            tracing::error!("packets of the uplinks: {error}");
        }
    }

    fn adopt(&mut self, new: Desired) {
        let old = std::mem::replace(&mut self.desired, Arc::new(new));
        self.state.desired.store(self.desired.clone());
        if old.routes().len() > AT_ONCE {
            // It may share nothing with its successor.
            tokio::task::spawn_blocking(move || drop(old));
        }
    }

    /// Closes ports of which the tables know nothing any more.
    async fn close(&mut self, ports: Vec<PortId>, undo: &mut Undo) {
        let mut facts = self.state.ports.load_full();
        for id in ports {
            if let Some(about) = Arc::make_mut(&mut facts).remove(id.index()) {
                tracing::info!("device {}: closing", about.device);
            }
            self.state.workers.remove(id).await;
            if let Some(undo) = undo.take_port(id) {
                undo.unwind().await;
            }
            self.numbers.ports.give_back(id.index(), Instant::now());
        }
        self.state.ports.store(facts);
    }

    /// Sees to it that new peers reach us, and we their next hops, and that the kernel forgets those
    /// of old ones. What fails is tried again when
    /// the kernel tells of something new, and after a while without.
    async fn greet_peers(&mut self, undo: &mut Undo) -> Result<(), DaemonError> {
        self.be_reachable(&self.config.clone(), false).await?;
        let snapshot = self.state.snapshot.load_full();
        self.unresolved = self.underlay.refresh(&snapshot, undo).await?;
        Ok(())
    }
}

/// Frees tables of which little is left in their successors, once no worker has them: neither a worker
/// nor the control thread has the time.
fn free(old: Arc<Snapshot>) {
    let start = Instant::now();
    while Arc::strong_count(&old) > 1 && start.elapsed() < PATIENCE {
        std::thread::sleep(POLL);
    }
}

/// Whether a node can have so many.
fn room(what: &str, found: usize, most: usize) -> Result<(), Refused> {
    let message = format!("found {found} {what}; expected {most} at most, as their numbers go");
    if found > most { Err(Refused::Failed(message)) } else { Ok(()) }
}
