//! What the control side keeps while the daemon runs, and what it tells of it.

mod acl;

use super::build::{self, Limit};
use super::desired::Desired;
use super::report;
use super::routes::Hops;
use super::workers::{QueueFacts, Workers};
use crate::config::DIRECT;
use crate::io::KernelDrop;
use arc_swap::ArcSwap;
use encap::wire::Mac;
use ipnet::IpNet;
use pipeline::drops::{self, Counter, Counters};
use pipeline::frame::{Link, Memory};
use pipeline::snapshot::{Hop, NextHop, PortId, PortInfo, Role, Snapshot, TunnelId};
use pipeline::tables::Slots;
use pipeline::tables::neighbours::NeighbourState;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// The daemon's state. Reports are made of it whenever somebody asks; that is in no worker's way.
pub struct State {
    /// Name of the node.
    pub node: String,
    /// The tables that workers read.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What they were made of.
    pub desired: ArcSwap<Desired>,
    /// What the snapshot doesn't say of a port, by its number.
    pub ports: ArcSwap<Slots<PortFacts>>,
    /// Where MTUs come from that the config does not say.
    pub limit: ArcSwap<Limit>,
    /// The workers and the queues that they own.
    pub workers: Arc<Workers>,
    /// The frames' memory.
    pub memory: &'static Memory,
    /// When the workers' clocks began.
    pub epoch: Instant,
}

/// What people want to know of a port and stages don't.
#[derive(Clone, Debug)]
pub struct PortFacts {
    /// `tun`, `tap` or `af_xdp`.
    pub kind: String,
    /// Our device.
    pub device: String,
    /// Namespace of the pod's device.
    pub netns: Option<String>,
    /// Addresses: the stations', or of an uplink ours.
    pub addresses: Vec<IpAddr>,
    /// How it works here.
    pub mode: String,
}

impl State {
    /// `/v1/ready`
    pub fn ready(&self) -> report::Ready {
        report::Ready {
            ready: true,
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        }
    }

    /// `/v1/show/ports`
    pub fn ports(&self) -> report::Ports {
        let snapshot = self.snapshot.load();
        let (queues, facts) = (self.workers.queues(), self.ports.load());
        let (limit, desired) = (self.limit.load(), self.desired.load());
        let ports = snapshot.ports.entries().filter_map(|(i, info)| {
            let id = PortId(u16::try_from(i).ok()?);
            let queues = queues.iter().filter(|queue| queue.port == id);
            let queues = queues.map(|queue| self.queue(queue)).collect();
            let mut port = port(id, info, facts.get(i)?, queues);
            let config = desired.ports().get(info.name.as_str());
            port.mtu_from = config.filter(|_| info.role == Role::Pod).map(|c| limit.why(&c.value));
            Some(port)
        });
        report::Ports { ports: ports.collect() }
    }

    fn queue(&self, facts: &QueueFacts) -> report::Queue {
        let stats = &facts.stats;
        report::Queue {
            number: facts.queue,
            core: self.workers.facts()[facts.owner].core,
            rx_frames: stats.rx_frames.get(),
            rx_bytes: stats.rx_bytes.get(),
            tx_frames: stats.tx_frames.get(),
            tx_bytes: stats.tx_bytes.get(),
            taken_over: stats.taken.get(),
            chunks: stats.chunks.get(),
            errors: stats.errors.get(),
            last_error: stats.last_error(),
        }
    }

    /// `/v1/show/routes`
    pub fn routes(&self) -> report::Routes {
        let (snapshot, desired) = (self.snapshot.load(), self.desired.load());
        let hops = Hops::new(&desired, &snapshot);
        let routes = hops.all().map(|(prefix, hop)| route(&snapshot, prefix, hop));
        report::Routes { routes: routes.collect() }
    }

    /// `/v1/show/peers`
    pub fn peers(&self) -> report::Peers {
        let snapshot = self.snapshot.load();
        let peers = snapshot.peers.iter().map(|peer| {
            let tunnel = peer.encap.as_ref().map(|(id, _)| &snapshot.tunnels[id.index()]);
            let tunnels = (0..).map(TunnelId).zip(snapshot.tunnels.iter());
            let accepted = tunnels.filter(|(id, _)| peer.accepts.takes(*id));
            let accepted = accepted.map(|(_, tunnel)| tunnel.name.clone());
            let direct = peer.accepts.direct.then(|| DIRECT.to_owned());
            let next_hop = &snapshot.neighbours[peer.neighbour];
            let (mac, _) = next_hop.state(self.now());
            let outer = peer.mtu + peer.overhead();
            report::Peer {
                name: peer.name.clone(),
                address: peer.address,
                local: peer.local,
                tunnel: tunnel.map_or(DIRECT, |tunnel| &tunnel.name).to_owned(),
                kind: tunnel.map_or(DIRECT, |tunnel| tunnel.tunnel.kind().name()).to_owned(),
                overhead: peer.overhead(),
                mtu: peer.mtu,
                path_mtu: (outer < snapshot.ports[peer.uplink.index()].mtu).then_some(outer),
                accepts: accepted.chain(direct).collect(),
                uplink: port_name(&snapshot, peer.uplink),
                next_hop: next_hop.address,
                next_hop_mac: mac.as_ref().map(Mac::to_string),
            }
        });
        report::Peers { peers: peers.collect() }
    }

    /// `/v1/show/neighbours`
    pub fn neighbours(&self) -> report::Neighbours {
        let snapshot = self.snapshot.load();
        let neighbours = snapshot.neighbours.iter().map(|neighbour| {
            let (mac, state) = neighbour.state(self.now());
            report::Neighbour {
                address: neighbour.address,
                port: port_name(&snapshot, neighbour.port),
                mac: mac.as_ref().map(Mac::to_string),
                state: state_name(state).to_owned(),
            }
        });
        report::Neighbours { neighbours: neighbours.collect() }
    }

    /// `/v1/show/fdb`
    pub fn fdb(&self) -> report::Fdb {
        let snapshot = self.snapshot.load();
        let ethernet = snapshot.tunnels.iter().filter(|tunnel| tunnel.tunnel.carries_ethernet());
        let ours = ethernet.clone().map(|tunnel| report::FdbEntry {
            mac: tunnel.mac.to_string(),
            tunnel: tunnel.name.clone(),
            peer: None,
            address: None,
        });
        let desired = self.desired.load();
        let is_one = |name: &str| ethernet.clone().any(|tunnel| tunnel.name == name);
        let theirs = desired.peers().values().filter_map(|entry| {
            let tunnel = entry.value.tunnel.as_deref().filter(|name| is_one(name))?;
            Some(report::FdbEntry {
                mac: build::peer_mac(&entry.value).to_string(),
                tunnel: tunnel.to_owned(),
                peer: Some(entry.value.name.to_string()),
                address: Some(entry.value.address.ip()),
            })
        });
        report::Fdb { fdb: ours.chain(theirs).collect() }
    }

    /// `/v1/show/drops`
    pub fn drops(&self) -> report::Drops {
        let drops = drops::all().map(|reason| report::Drop {
            reason: reason.name(),
            text: reason.text().to_owned(),
            count: self.sum(|counters| counters.drops(reason)),
        });
        let drops: Vec<_> = drops.collect();
        let conservation = self.conservation(drops.iter().map(|drop| drop.count).sum());
        report::Drops { drops, kernel: self.kernel_drops(), conservation }
    }

    fn conservation(&self, dropped: u64) -> report::Conservation {
        let sum = |counter: fn(&Counters) -> &Counter| self.sum(|c| counter(c).get());
        let mut law = report::Conservation {
            received: sum(|c| &c.received),
            generated: sum(|c| &c.generated),
            split: sum(|c| &c.split),
            replicated: sum(|c| &c.replicated),
            emitted: sum(|c| &c.emitted),
            held: (sum(|c| &c.held) + sum(|c| &c.handed)).saturating_sub(sum(|c| &c.taken)),
            merged: sum(|c| &c.merged),
            dropped,
            balanced: false,
        };
        let came = law.received + law.generated + law.split + law.replicated;
        law.balanced = came == law.emitted + law.held + law.merged + law.dropped;
        law
    }

    fn sum(&self, count: impl Fn(&Counters) -> u64) -> u64 {
        self.workers.counters().map(count).sum()
    }

    fn kernel_drops(&self) -> Vec<report::KernelDrop> {
        let snapshot = self.snapshot.load();
        let queues = self.workers.queues();
        let mut drops: Vec<report::KernelDrop> = Vec::new();
        for queue in &queues {
            let port = port_name(&snapshot, queue.port);
            for KernelDrop { name, count } in queue.stats.kernel_drops() {
                // The queues of a port follow each other; what they share a name for is one.
                let known = drops.iter_mut().rev().take_while(|drop| drop.port == port);
                match known.into_iter().find(|drop| drop.reason == name) {
                    Some(drop) => drop.count += count,
                    None => drops.push(report::KernelDrop {
                        port: port.clone(),
                        reason: name.to_owned(),
                        count,
                    }),
                }
            }
        }
        drops
    }

    /// `/v1/show/workers`
    pub fn workers(&self) -> report::Workers {
        let snapshot = self.snapshot.load();
        let queues = self.workers.queues();
        let workers = self.workers.facts().iter().enumerate().map(|(i, worker)| {
            let counters = &worker.stats.counters;
            let mut ports: Vec<_> = queues.iter().filter(|queue| queue.owner == i).collect();
            ports.dedup_by_key(|queue| queue.port);
            report::Worker {
                core: worker.core,
                mode: self.workers.mode().to_owned(),
                running: self.workers.is_running(i),
                ports: ports.iter().map(|queue| port_name(&snapshot, queue.port)).collect(),
                received: counters.received.get(),
                emitted: counters.emitted.get(),
                dropped: counters.dropped_in_all(),
                handed_over: counters.handed.get(),
                taken_over: counters.taken.get(),
            }
        });
        let memory = report::Memory {
            chunks: self.memory.chunks(),
            unclaimed: self.memory.unclaimed(),
            pooled: self.workers.pooled(),
            with_ports: queues.iter().map(|queue| queue.stats.chunks.get()).sum(),
            huge_pages: self.memory.is_huge(),
        };
        report::Workers { workers: workers.collect(), memory }
    }

    /// What a port is called, if only by its number.
    pub fn port_name(&self, id: PortId) -> String {
        port_name(&self.snapshot.load(), id)
    }

    /// The workers' clock.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn port(
    id: PortId,
    info: &PortInfo,
    facts: &PortFacts,
    queues: Vec<report::Queue>,
) -> report::Port {
    let sum = |count: fn(&report::Queue) -> u64| queues.iter().map(count).sum();
    let role = match info.role {
        Role::Pod => "pod",
        Role::Uplink => "uplink",
    };
    report::Port {
        id: id.0,
        name: info.name.clone(),
        role: role.to_owned(),
        kind: facts.kind.clone(),
        device: facts.device.clone(),
        netns: facts.netns.clone(),
        mac: (info.link == Link::Ethernet).then(|| info.mac.to_string()),
        mtu: info.mtu,
        mtu_from: None,
        addresses: facts.addresses.clone(),
        core: queues.first().map_or(0, |queue| queue.core),
        mode: facts.mode.clone(),
        rx_frames: sum(|queue| queue.rx_frames),
        rx_bytes: sum(|queue| queue.rx_bytes),
        tx_frames: sum(|queue| queue.tx_frames),
        tx_bytes: sum(|queue| queue.tx_bytes),
        errors: sum(|queue| queue.errors),
        last_error: queues.iter().find_map(|queue| queue.last_error.clone()),
        queues,
    }
}

fn route(snapshot: &Snapshot, prefix: IpNet, hop: Hop) -> report::Route {
    let (kind, via) = match hop {
        Hop::Local => ("local", None),
        Hop::Port(_) => ("port", None),
        Hop::Neighbour(i) => ("station", Some(snapshot.neighbours[i].address.to_string())),
        Hop::Peer(i) => ("peer", Some(snapshot.peers[i].name.clone())),
        Hop::Blackhole => ("blackhole", None),
        // No route and a refusing one are the same to packets.
        Hop::Unreachable | Hop::None => ("unreachable", None),
        Hop::Group(_) => ("any", None),
    };
    let port = snapshot.egress(NextHop::new(hop)).map(|id| port_name(snapshot, id));
    let mtu = snapshot.mtu(NextHop::new(hop));
    let members = match hop {
        Hop::Group(i) => snapshot.groups[i].members(),
        _ => &[],
    };
    let any = members.iter().map(|member| {
        let report::Route { kind, via, port, mtu, .. } =
            route(snapshot, prefix, member.next_hop.hop());
        report::NextHop { kind, via, port, mtu, is_up: member.is_up }
    });
    report::Route { prefix, kind: kind.to_owned(), via, port, mtu, any: any.collect() }
}

/// What a port is called by these tables, if only by its number.
pub(super) fn port_name(snapshot: &Snapshot, id: PortId) -> String {
    snapshot.ports.get(id.index()).map_or_else(|| format!("#{}", id.0), |port| port.name.clone())
}

pub(super) fn state_name(state: NeighbourState) -> &'static str {
    match state {
        NeighbourState::Incomplete => "incomplete",
        NeighbourState::Reachable => "reachable",
        NeighbourState::Stale => "stale",
        NeighbourState::Permanent => "permanent",
    }
}

#[cfg(test)]
pub(super) mod tests;
