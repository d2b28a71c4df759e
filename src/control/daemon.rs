//! The daemon: from a config to running workers, and back to the machine as it was.
//!
//! The order of the start, each step undone if a later one fails:
//!
//! 1. privileges, the management socket's file (it keeps a second daemon out), memory;
//! 2. devices: uplinks taken, ports' devices made, addressed and opened; the tunnels' UDP ports;
//! 3. what the kernel says of the underlay, and the snapshot made of it;
//! 4. workers; the uplinks' XDP programs take our packets; the management socket answers: ready.
//!
//! It runs until SIGTERM, SIGINT or SIGHUP, or until a worker fails.

use super::build::{self, BuildError, Built, Facts, UplinkFacts};
use super::devices::{self, PortError};
use super::management::{self, Socket, SocketError};
use super::netlink::{Netlink, NetlinkError};
use super::privilege::{self, PrivilegeError};
use super::reserve::{self, ReserveError};
use super::state::{PortFacts, State, WorkerFacts};
use super::underlay::{Underlay, UnderlayError};
use super::undo::Undo;
use crate::config::{self, Config};
use crate::io::Port;
use crate::io::af_xdp::{AfXdpError, Device, Match, Umem};
use crate::worker::{self, Mode, Pacing};
use arc_swap::ArcSwap;
use pipeline::frame::{Memory, MemoryError};
use pipeline::snapshot::{PortId, Role, Snapshot};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the underlay is asked about.
const FOLLOW: Duration = Duration::from_secs(1);
/// How long the start waits for next hops' MACs: it saves the first packets to each peer.
const RESOLVE: (u32, Duration) = (20, Duration::from_millis(25));

/// The daemon can't start, or can't go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub enum DaemonError {
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Underlay(#[from] UnderlayError),
    #[error("uplink {0}")]
    Uplink(#[from] AfXdpError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("workers.cores: found {0} cores; this version runs one worker, name one core")]
    Cores(usize),
    #[error("worker on core {core}: {source}")]
    Worker { core: usize, source: io::Error },
    #[error("the worker on core {0} has ended; its log line above says why")]
    WorkerEnded(usize),
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
}

/// Runs a node until it is told to end by a signal.
///
/// # Errors
/// When it can't start or a worker fails. The machine is then as it was before, as it is when this
/// returns without an error.
pub fn run(config: &Config) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| DaemonError::Io { doing: "starting tokio", source })?;
    runtime.block_on(async {
        let mut end = End::new()?;
        let mut undo = Undo::default();
        let result = tokio::select! {
            result = serve(config, &mut undo) => result,
            name = end.come() => {
                tracing::info!("{name}: stopping");
                Ok(())
            }
        };
        undo.unwind().await;
        result
    })
}

/// The signals that end a daemon. From here on they do nothing else.
struct End {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl End {
    fn new() -> Result<End, DaemonError> {
        let catch = |kind| {
            signal(kind).map_err(|source| DaemonError::Io { doing: "catching signals", source })
        };
        let terminate = catch(SignalKind::terminate())?;
        let interrupt = catch(SignalKind::interrupt())?;
        Ok(End { terminate, interrupt, hangup: catch(SignalKind::hangup())? })
    }

    async fn come(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

async fn serve(config: &Config, undo: &mut Undo) -> Result<(), DaemonError> {
    privilege::check()?;
    let socket = Socket::bind(&config.node.socket)?;
    let mut node = Node::start(config, undo).await?;
    let state = node.state.clone();
    tracing::info!(
        "node {} is ready: {} uplinks, {} ports, {} peers; management socket {}",
        config.node.name,
        config.uplink.len(),
        config.port.len(),
        config.peer.len(),
        socket.path().display()
    );
    tokio::select! {
        result = management::serve(&socket, state) => {
            result.map_err(|source| DaemonError::Io { doing: "serving the management socket", source })
        }
        error = node.follow(config, undo) => Err(error),
    }
}

/// A running node.
struct Node {
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
    async fn start(config: &Config, undo: &mut Undo) -> Result<Node, DaemonError> {
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

    /// Follows the underlay until something fails.
    async fn follow(&mut self, config: &Config, undo: &mut Undo) -> DaemonError {
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
            let facts = devices::facts(&port, false);
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
                "port {}: an MTU of {} and the {} bytes of the tunnel to peer {} don't fit the {} of \
                 uplink {}; packets of more than {most} bytes are refused: lower the port's `mtu`",
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
        ports: handle.ports().to_vec(),
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
