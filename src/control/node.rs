//! A node at work: what is made at its start, and followed while it runs.

use super::build::{self, Facts, OpenPort, UplinkFacts};
use super::daemon::DaemonError;
use super::desired::Desired;
use super::devices;
use super::netlink::{Events, Netlink};
use super::numbers::Numbers;
use super::outside;
use super::reserve::Reserved;
use super::routes::{Hops, RouteTables};
use super::state::{PortFacts, State};
use super::underlay::Underlay;
use super::undo::Undo;
use super::workers::Workers;
use crate::config::Config;
use crate::io::Port;
use crate::io::af_xdp::{Device, Umem};
use arc_swap::ArcSwap;
use pipeline::frame::Memory;
use pipeline::snapshot::{PortId, Role, Snapshot};
use pipeline::tables::Slots;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of the kernel's events that may wait while we are busy.
const EVENTS: usize = 1 << 20;
/// How long the start waits for next hops' MACs, looking again so often: most answer within a
/// millisecond, and packets to those that don't are kept for a while by the stage `neighbour`.
const RESOLVE: (u32, Duration) = (10, Duration::from_millis(10));

/// A running node.
pub struct Node {
    /// What it is to be, and is.
    pub(super) desired: Arc<Desired>,
    /// The same as a config, without the routes.
    pub(super) config: Arc<Config>,
    pub(super) netlink: Netlink,
    pub(super) events: Events,
    pub(super) underlay: Underlay,
    pub(super) umem: Arc<Umem>,
    pub(super) facts: Facts,
    pub(super) numbers: AllNumbers,
    pub(super) routes: RouteTables,
    /// The uplinks' devices; `None` of one that is gone.
    pub(super) uplinks: Vec<Option<Arc<Device>>>,
    /// Where packets of the underlay may reach us.
    pub(super) own: BTreeSet<IpAddr>,
    pub(super) state: Arc<State>,
    pub(super) reserved: Reserved,
    /// Next hops whose MAC is not known.
    pub(super) unresolved: usize,
}

/// The slots that are free.
pub(super) struct AllNumbers {
    pub(super) ports: Numbers,
    pub(super) peers: Numbers,
    pub(super) neighbours: Numbers,
}

/// Ports that are open, not yet at work.
#[derive(Default)]
struct Ports {
    ports: Vec<(PortId, Vec<Box<dyn Port>>)>,
    about: Vec<PortFacts>,
    uplinks: Vec<Option<Arc<Device>>>,
    facts: Facts,
}

impl Node {
    /// Does all that makes a node, in order.
    ///
    /// # Errors
    /// When a step fails; `undo` then knows what had been done.
    pub async fn start(desired: Desired, undo: &mut Undo) -> Result<Node, DaemonError> {
        let config = Arc::new(desired.config());
        let config = &config;
        let memory = Memory::new(config.memory.chunks.get(), config.memory.huge_pages)?;
        let netlink = Netlink::connect(None)?;
        // Before anything is asked for, so that no change between is missed.
        let events = netlink.subscribe(EVENTS)?;
        let mut underlay = Underlay::find(&netlink, config).await?;
        let ways = underlay.ways(config).await?;
        let own = underlay.addresses(&ways);
        let mut reserved = Reserved::default();
        let steers = config.tunnel.tunnels().map(|(name, tunnel)| (name, tunnel.steer()));
        reserved.update(&netlink, steers, &own, true).await?;
        let umem = Umem::new(memory);
        let mut ports = Ports::default();
        ports.open_uplinks(config, &underlay, &umem)?;
        ports.open_ports(config, &umem, undo).await?;
        outside::open(config, undo).await?;
        let (mut facts, now) = (ports.facts, Instant::now());
        facts.ways = ways;
        let mut numbers = AllNumbers {
            ports: Numbers::from(ports.ports.len()),
            peers: Numbers::default(),
            neighbours: Numbers::default(),
        };
        let peers = config.peer.iter();
        facts.peers = peers.map(|peer| (peer.name.clone(), numbers.peers.take(now))).collect();
        let nothing = Snapshot::default();
        let mut snapshot = build::build(config, &facts, &nothing, &mut numbers.neighbours);
        let mut routes = RouteTables::default();
        routes.change(Hops::new(&desired, &snapshot).all().map(|(net, hop)| (net, Some(hop))));
        routes.publish(&mut snapshot);
        warn_of_mtus(&snapshot);
        let unresolved = resolve(&mut underlay, &snapshot, undo).await?;
        let desired = Arc::new(desired);
        let about = ports.about.into();
        let state = work(&desired, memory, snapshot, ports.ports, about, undo)?;
        let node = Node {
            desired,
            config: config.clone(),
            netlink,
            events,
            underlay,
            umem,
            facts,
            numbers,
            routes,
            uplinks: ports.uplinks,
            own,
            state,
            reserved,
            unresolved,
        };
        node.take(config)?;
        Ok(node)
    }

    /// What there is to tell about it.
    pub fn state(&self) -> Arc<State> {
        self.state.clone()
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
            let ports = devices::open_uplink(uplink, &found.link.name, umem)?;
            self.facts.uplinks.push(UplinkFacts::new(&ports[0], &found.link));
            self.uplinks.push(Some(ports[0].device().clone()));
            let queues = devices::boxed(ports);
            let about = PortFacts {
                kind: "af_xdp".to_owned(),
                device: uplink.device.to_string(),
                netns: None,
                addresses: found.addresses.clone(),
                mode: devices::mode(&queues),
            };
            self.add(queues, about);
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
            let mut steps = Undo::default();
            let opened = devices::open_port(config, port, umem, &mut steps).await;
            let id = build::port_id(self.ports.len());
            undo.port(id, steps);
            let opened = opened?;
            self.facts.ports.insert(port.name.clone(), OpenPort { id, device: opened.facts });
            self.add(opened.queues, opened.about);
        }
        Ok(())
    }

    fn add(&mut self, queues: Vec<Box<dyn Port>>, about: PortFacts) {
        tracing::info!("device {}: {}", about.device, about.mode);
        let id = build::port_id(self.ports.len());
        self.ports.push((id, queues));
        self.about.push(about);
    }
}

/// A pod whose packets don't fit the underlay has trouble that is hard to find later.
pub(super) fn warn_of_mtus(snapshot: &Snapshot) {
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

/// Gives the next hops a moment to answer. Those that don't are asked again while running; how many
/// these are.
async fn resolve(
    underlay: &mut Underlay,
    snapshot: &Snapshot,
    undo: &mut Undo,
) -> Result<usize, DaemonError> {
    let mut unknown = underlay.refresh(snapshot, undo).await?;
    for _ in 0..RESOLVE.0 {
        if unknown == 0 {
            return Ok(0);
        }
        tokio::time::sleep(RESOLVE.1).await;
        unknown = underlay.refresh(snapshot, undo).await?;
    }
    if unknown > 0 {
        tracing::warn!("{unknown} next hops of the underlay do not answer yet; asking on");
    }
    Ok(unknown)
}

/// Starts the workers and gives them the ports.
fn work(
    desired: &Arc<Desired>,
    memory: &'static Memory,
    snapshot: Snapshot,
    ports: Vec<(PortId, Vec<Box<dyn Port>>)>,
    about: Slots<PortFacts>,
    undo: &mut Undo,
) -> Result<Arc<State>, DaemonError> {
    let config = desired.base();
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    let epoch = Instant::now();
    let workers = Workers::start(&config.workers, memory, snapshot.clone(), epoch)?;
    undo.workers(&workers);
    for (id, queues) in ports {
        workers.add(id, queues)?;
    }
    Ok(Arc::new(State {
        node: config.node.name.to_string(),
        snapshot,
        desired: ArcSwap::new(desired.clone()),
        ports: ArcSwap::from_pointee(about),
        workers,
        memory,
        epoch,
    }))
}
