//! A node at work: what is made at its start, and followed while it runs.

use super::build::{self, Built, Facts, UplinkFacts};
use super::daemon::DaemonError;
use super::devices;
use super::netlink::Netlink;
use super::reserve::{self, ReserveError};
use super::state::{PortFacts, State, WorkerFacts};
use super::underlay::Underlay;
use super::undo::Undo;
use crate::config::{self, Config};
use crate::io::Port;
use crate::io::af_xdp::{Device, Match, Umem};
use crate::worker::{self, Mode, Pacing};
use arc_swap::ArcSwap;
use pipeline::frame::Memory;
use pipeline::snapshot::{PortId, Role, Snapshot};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the underlay is asked about.
const FOLLOW: Duration = Duration::from_secs(1);
/// How long the start waits for next hops' MACs: it saves the first packets to each peer.
const RESOLVE: (u32, Duration) = (20, Duration::from_millis(25));

/// A running node.
pub struct Node {
    underlay: Underlay,
    facts: Facts,
    uplinks: Vec<Arc<Device>>,
    state: Arc<State>,
    reserved: Vec<UdpSocket>,
}

/// Ports that are open, not yet at work.
#[derive(Default)]
struct Ports {
    ports: Vec<(PortId, Box<dyn Port>)>,
    about: Vec<PortFacts>,
    uplinks: Vec<Arc<Device>>,
    facts: Facts,
}

impl Node {
    /// Does all that makes a node, in order.
    ///
    /// # Errors
    /// When a step fails; `undo` then knows what had been done.
    pub async fn start(config: &Config, undo: &mut Undo) -> Result<Node, DaemonError> {
        if config.workers.cores.len() != 1 {
            return Err(DaemonError::Cores(config.workers.cores.len()));
        }
        let memory = Memory::new(config.memory.chunks.get(), config.memory.huge_pages)?;
        let netlink = Netlink::connect(None)?;
        let mut underlay = Underlay::find(&netlink, config).await?;
        let reserved = reserve(&netlink, config, &underlay).await?;
        let ways = underlay.ways(config).await?;
        let umem = Umem::new(memory);
        let mut ports = Ports::default();
        ports.open_uplinks(config, &underlay, &umem)?;
        ports.open_ports(config, &umem, undo).await?;
        let mut facts = ports.facts;
        facts.ways = ways;
        let built = build::build(config, &facts, None)?;
        warn_of_mtus(&built.snapshot);
        resolve(&mut underlay, &built.snapshot, undo).await?;
        let state = work(config, memory, built, ports.ports, ports.about, undo)?;
        let node = Node { underlay, facts, uplinks: ports.uplinks, state, reserved };
        node.take(config)?;
        Ok(node)
    }

    /// Has the uplinks' XDP programs take the tunnels' packets to our addresses.
    fn take(&self, config: &Config) -> Result<(), DaemonError> {
        for (uplink, device) in self.underlay.uplinks.iter().zip(&self.uplinks) {
            let steers = config.tunnel.tunnels().map(|(_, tunnel)| tunnel.steer());
            let matches: Vec<_> = steers
                .flat_map(|steer| {
                    uplink.addresses.iter().map(move |a| Match { address: *a, steer })
                })
                .collect();
            device.set_matches(&matches)?;
        }
        Ok(())
    }

    /// What there is to tell about it.
    pub fn state(&self) -> Arc<State> {
        self.state.clone()
    }

    /// Follows the underlay until something fails.
    pub async fn follow(&mut self, config: &Config, undo: &mut Undo) -> DaemonError {
        loop {
            tokio::time::sleep(FOLLOW).await;
            let ended = undo.workers().find(|worker| worker.is_finished());
            if let Some(worker) = ended {
                return DaemonError::WorkerEnded(worker.core().unwrap_or_default());
            }
            if let Err(error) = self.look(config, undo).await {
                tracing::warn!("following the underlay: {error}");
            }
        }
    }

    /// One look at the underlay; what has changed is passed on.
    async fn look(&mut self, config: &Config, undo: &mut Undo) -> Result<(), DaemonError> {
        if self.underlay.refresh_addresses().await? {
            tracing::info!("our addresses on the underlay have changed");
            // First given back: those that stay can't be bound twice.
            self.reserved.clear();
            self.reserved = reserve(&Netlink::connect(None)?, config, &self.underlay).await?;
            self.take(config)?;
        }
        let ways = self.underlay.follow(config, &self.facts.ways).await?;
        if ways != self.facts.ways {
            tracing::info!("the ways to the peers have changed");
            self.facts.ways = ways;
            let built = build::build(config, &self.facts, Some(&self.state.snapshot.load()))?;
            self.state.snapshot.store(Arc::new(built.snapshot));
        }
        let snapshot = self.state.snapshot.load_full();
        self.underlay.refresh(&snapshot, undo).await?;
        Ok(())
    }
}

impl Ports {
    fn open_uplinks(
        &mut self,
        config: &Config,
        underlay: &Underlay,
        umem: &Arc<Umem>,
    ) -> Result<(), DaemonError> {
        for (uplink, found) in config.uplink.iter().zip(&underlay.uplinks) {
            let port = devices::open_uplink(uplink, umem)?;
            // Only a virtual wire carries what a card would have finished.
            let facts = devices::facts(&port, found.link.kind.as_deref() == Some("veth"));
            self.facts.uplinks.push(UplinkFacts {
                device: facts,
                mac: found.link.mac.unwrap_or_default(),
                mtu: found.link.mtu as usize,
            });
            self.uplinks.push(port.device().clone());
            let about = PortFacts {
                kind: "af_xdp".to_owned(),
                device: uplink.device.to_string(),
                netns: None,
                addresses: found.addresses.clone(),
                mode: port.describe(),
            };
            self.add(Box::new(port), about);
        }
        Ok(())
    }

    async fn open_ports(
        &mut self,
        config: &Config,
        umem: &Arc<Umem>,
        undo: &mut Undo,
    ) -> Result<(), DaemonError> {
        for port in &config.port {
            let opened = devices::open_port(config, port, umem, undo).await?;
            self.facts.ports.push(opened.facts);
            self.add(opened.port, opened.about);
        }
        Ok(())
    }

    fn add(&mut self, port: Box<dyn Port>, about: PortFacts) {
        tracing::info!("device {}: {}", about.device, about.mode);
        let id = build::port_id(self.ports.len());
        self.ports.push((id, port));
        self.about.push(about);
    }
}

async fn reserve(
    netlink: &Netlink,
    config: &Config,
    underlay: &Underlay,
) -> Result<Vec<UdpSocket>, ReserveError> {
    let tunnels = config.tunnel.tunnels().map(|(name, tunnel)| (name, tunnel.steer()));
    reserve::reserve(netlink, tunnels, &underlay.addresses()).await
}

/// A pod whose packets don't fit the underlay has trouble that is hard to find later.
fn warn_of_mtus(snapshot: &Snapshot) {
    let pods = snapshot.ports.iter().filter(|port| port.role == Role::Pod);
    let Some(widest) = pods.max_by_key(|port| port.mtu) else { return };
    for peer in snapshot.peers.iter() {
        let uplink = &snapshot.ports[peer.uplink.index()];
        let most = uplink.mtu.saturating_sub(peer.encap.overhead());
        if widest.mtu > most {
            tracing::warn!(
                "port {}: an MTU of {} and the {} bytes of the tunnel to peer {} don't fit the {} \
                 of uplink {}; packets of more than {most} bytes are refused: lower the port's `mtu`",
                widest.name,
                widest.mtu,
                peer.encap.overhead(),
                peer.name,
                uplink.mtu,
                uplink.name
            );
        }
    }
}

/// Gives the next hops a moment to answer. Those that don't are asked again while running.
async fn resolve(
    underlay: &mut Underlay,
    snapshot: &Snapshot,
    undo: &mut Undo,
) -> Result<(), DaemonError> {
    let mut unknown = underlay.refresh(snapshot, undo).await?;
    for _ in 0..RESOLVE.0 {
        if unknown == 0 {
            return Ok(());
        }
        tokio::time::sleep(RESOLVE.1).await;
        unknown = underlay.refresh(snapshot, undo).await?;
    }
    if unknown > 0 {
        tracing::warn!("{unknown} next hops of the underlay do not answer yet; asking on");
    }
    Ok(())
}

/// Starts the worker.
fn work(
    config: &Config,
    memory: &'static Memory,
    built: Built,
    ports: Vec<(PortId, Box<dyn Port>)>,
    about: Vec<PortFacts>,
    undo: &mut Undo,
) -> Result<Arc<State>, DaemonError> {
    let core = config.workers.cores[0].get() as usize;
    let snapshot = Arc::new(ArcSwap::from_pointee(built.snapshot));
    let (mode, name) = match config.workers.mode {
        config::Mode::Poll => (Mode::Poll, "poll"),
        config::Mode::Adaptive => (Mode::Adaptive, "adaptive"),
        config::Mode::Interrupt => (Mode::Interrupt, "interrupt"),
    };
    let pacing = Pacing { mode, spin: config.workers.spin() };
    let epoch = Instant::now();
    let thread = format!("cableway-{core}");
    let handle = worker::spawn(&thread, Some(core), pacing, memory, snapshot.clone(), ports)
        .map_err(|source| DaemonError::Worker { core, source })?;
    let facts = WorkerFacts {
        core,
        mode: name.to_owned(),
        stats: handle.stats.clone(),
        ports: handle.ports().clone(),
    };
    undo.worker(handle);
    Ok(Arc::new(State {
        node: config.node.name.to_string(),
        snapshot,
        routes: built.routes,
        ports: about,
        vteps: built.vteps,
        workers: vec![facts],
        memory,
        epoch,
    }))
}
