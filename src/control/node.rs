//! A node at work: what is made at its start, and followed while it runs.

use super::build::{self, Facts, Limit, OpenPort, UplinkFacts};
use super::daemon::DaemonError;
use super::desired::Desired;
use super::devices;
use super::groups;
use super::journal::Journal;
use super::mtus;
use super::netlink::{Events, Netlink};
use super::numbers::Numbers;
use super::outside;
use super::reserve::{self, Reserved};
use super::routes::{Hops, RouteTables};
use super::state::{PortFacts, State};
use super::underlay::{Ear, Underlay};
use super::undo::Undo;
use super::workers::Workers;
use crate::config::{Config, Name, Via};
use crate::io::Port;
use crate::io::af_xdp::{Device, Matches, Umem};
use arc_swap::ArcSwap;
use pipeline::frame::Memory;
use pipeline::snapshot::{PortId, Snapshot};
use pipeline::tables::Slots;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
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
    /// What the devices of ports were given.
    pub(super) mtus: HashMap<Name, u32>,
    pub(super) routes: RouteTables,
    /// The uplinks' devices; `None` of one that is gone.
    pub(super) uplinks: Vec<Option<Arc<Device>>>,
    /// Where packets of the underlay may reach us.
    pub(super) own: BTreeSet<IpAddr>,
    /// What of the uplinks' packets is ours.
    pub(super) matches: Matches,
    /// What hears of packets that were too long for the underlay.
    pub(super) ear: Ear,
    pub(super) state: Arc<State>,
    pub(super) reserved: Reserved,
    /// Next hops whose MAC is not known.
    pub(super) unresolved: usize,
    /// What is written down of the desired state.
    pub(super) journal: Journal,
}

/// The slots that are free.
pub(super) struct AllNumbers {
    pub(super) ports: Numbers,
    pub(super) peers: Numbers,
    pub(super) neighbours: Numbers,
    pub(super) groups: Numbers,
}

/// Ports that are open, not yet at work.
#[derive(Default)]
struct Ports {
    ports: Vec<(PortId, Vec<Box<dyn Port>>)>,
    about: Vec<PortFacts>,
    uplinks: Vec<Option<Arc<Device>>>,
    mtus: HashMap<Name, u32>,
    facts: Facts,
}

impl Node {
    /// Does all that makes a node, in order. What came through the API in an earlier life and can't
    /// be had any more is left out.
    ///
    /// # Errors
    /// When a step fails; `undo` then knows what had been done.
    pub async fn start(
        mut desired: Desired,
        journal: Journal,
        undo: &mut Undo,
    ) -> Result<Node, DaemonError> {
        let config = &desired.config();
        let memory = Memory::new(config.memory.chunks.get(), config.memory.huge_pages)?;
        let netlink = Netlink::connect(None)?;
        // Before anything is asked for, so that no change between is missed.
        let events = netlink.subscribe(EVENTS)?;
        let mut underlay = Underlay::find(&netlink, config).await?;
        leave_peers_out(&mut desired, &underlay).await?;
        let config = &desired.config();
        let ways = underlay.ways(config).await?;
        let own = underlay.addresses(&ways);
        let mut reserved = Reserved::none()
            .map_err(|source| DaemonError::Io { doing: "opening the tunnels' sockets", source })?;
        let links = underlay.links();
        reserved.update(&netlink, reserve::steers(config), &own, &links, true).await?;
        let ear = Ear::open()
            .map_err(|source| DaemonError::Io { doing: "listening for ICMP", source })?;
        let umem = Umem::new(memory);
        let mut ports = Ports::default();
        ports.open_uplinks(config, &underlay, &umem)?;
        let limit = Limit::find(config, &ports.facts.uplinks, &ways);
        ports.open_ports(&mut desired, &limit, &umem, undo).await?;
        ports.add_reassembled(&reserved);
        let config = &Arc::new(desired.config());
        outside::open(config, undo).await?;
        let (mut facts, now) = (ports.facts, Instant::now());
        facts.ways = ways;
        let mut numbers = AllNumbers {
            ports: Numbers::from(ports.ports.len()),
            peers: Numbers::default(),
            neighbours: Numbers::default(),
            groups: Numbers::default(),
        };
        let peers = config.peer.iter();
        facts.peers = peers.map(|peer| (peer.name.clone(), numbers.peers.take(now))).collect();
        // Not what an earlier life ended or others could guess: RFC 7739 §3.
        let ident = RandomState::new().build_hasher().finish() as u32;
        let nothing = Snapshot { next_ident: Arc::new(ident.into()), ..Snapshot::default() };
        let mut snapshot = build::build(config, &facts, &nothing, &mut numbers.neighbours);
        // Nothing is known of their next hops yet.
        let groups = groups::groups(&desired, &snapshot, |_| false, &mut numbers.groups);
        snapshot.groups = Arc::new(groups);
        let mut routes = RouteTables::default();
        routes.change(Hops::new(&desired, &snapshot).all().map(|(net, hop)| (net, Some(hop))));
        routes.publish(&mut snapshot);
        mtus::warn(&snapshot, config);
        let unresolved = resolve(&mut underlay, &snapshot, undo).await?;
        let desired = Arc::new(desired);
        let about = ports.about.into();
        let state = work(&desired, memory, (snapshot, limit), ports.ports, about, undo)?;
        let mut node = Node {
            desired,
            config: config.clone(),
            netlink,
            events,
            underlay,
            umem,
            facts,
            numbers,
            mtus: ports.mtus,
            routes,
            uplinks: ports.uplinks,
            own,
            matches: Matches::default(),
            ear,
            state,
            reserved,
            unresolved,
            journal,
        };
        node.take(true)?;
        node.regroup();
        // Who hears that we are ready may send at once.
        node.state.workers.begun().await;
        Ok(node)
    }

    /// Notes what it goes on with after an earlier life.
    pub async fn go_on(&mut self) {
        tracing::info!("of what came through the API go on: {}", self.desired.describe_additions());
        self.journal.begin(&self.desired).await;
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
        desired: &mut Desired,
        limit: &Limit,
        umem: &Arc<Umem>,
        undo: &mut Undo,
    ) -> Result<(), DaemonError> {
        let config = desired.config();
        for port in &config.port {
            let mut steps = Undo::default();
            let mtu = limit.of(port);
            let opened = devices::open_port(&config, port, mtu, umem, &mut steps).await;
            let id = build::port_id(self.ports.len());
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) if desired.is_port_added(&port.name) => {
                    steps.unwind().await;
                    leave_out(desired, Via::Port(port.name.clone()), &error);
                    continue;
                }
                Err(error) => {
                    undo.port(id, steps);
                    return Err(error.into());
                }
            };
            undo.port(id, steps);
            self.mtus.insert(port.name.clone(), mtu);
            self.facts.ports.insert(port.name.clone(), OpenPort { id, device: opened.facts });
            self.add(opened.queues, opened.about);
        }
        Ok(())
    }

    /// What the kernel puts together comes by a port of its own, of which nobody has to know.
    fn add_reassembled(&mut self, reserved: &Reserved) {
        let id = build::port_id(self.ports.len());
        self.facts.reassembled = Some(id);
        self.ports.push((id, vec![Box::new(reserved.port())]));
    }

    fn add(&mut self, queues: Vec<Box<dyn Port>>, about: PortFacts) {
        tracing::info!("device {}: {}", about.device, about.mode);
        let id = build::port_id(self.ports.len());
        self.ports.push((id, queues));
        self.about.push(about);
    }
}

/// Goes on without peers to which there can't be a way any more.
async fn leave_peers_out(desired: &mut Desired, underlay: &Underlay) -> Result<(), DaemonError> {
    for peer in desired.config().peer {
        if desired.is_peer_added(&peer.name)
            && let Some(error) = underlay.refusal(&peer).await?
        {
            leave_out(desired, Via::Peer(peer.name), &error);
        }
    }
    Ok(())
}

/// Goes on without a port or peer that came through the API in an earlier life.
fn leave_out(desired: &mut Desired, what: Via, why: &dyn std::error::Error) {
    let routes = desired.remove(&what);
    tracing::error!(
        "{why}; left out, as it had come through the API before this start, with the routes by it: \
         {routes}"
    );
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
    (snapshot, limit): (Snapshot, Limit),
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
        limit: ArcSwap::from_pointee(limit),
        workers,
        memory,
        epoch,
    }))
}
