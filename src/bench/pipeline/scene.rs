//! What a case needs: the nodes' tables and the traffic.

use super::case::{Action, Case, Size};
use super::course::{Course, Lane};
use super::flows::Draw;
use super::node::{Node, Pods, UPLINK, WIRE, Which};
use super::routes;
use super::traffic::{Once, Player, Traffic};
use crate::control::build::DeviceFacts;
use crate::io::mem::{Cable, CablePort, Endless, Source};
use ipnet::Ipv4Net;
use pipeline::frame::{Frame, Pool};
use pipeline::snapshot::{PortId, Snapshot};
use pipeline::tables::Lpm;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// All that the cores share in a case.
pub struct Scene {
    case: Case,
    pods: Pods,
    a: Arc<Snapshot>,
    b: Arc<Snapshot>,
    /// What is received where the course begins.
    pub traffic: Arc<Traffic>,
}

impl Scene {
    /// A course, on which flows come in another order for each `seed`.
    pub fn course(&self, seed: u64) -> Course {
        let Scene { case, pods, traffic, a, b } = self;
        let draw = Draw::new(case.flows, case.mix, seed);
        let player = Player::new(traffic.clone(), draw);
        let (sender, receiver) = (pods.first(), pods.first());
        let sink = |device| endless(device, Nothing);
        let (entry, first, second) = match case.action {
            Action::Encap => {
                let lane = Lane::new(a.clone()).with(sender, endless(pods.device(), player));
                (sender, lane.with(UPLINK, sink(WIRE)), None)
            }
            Action::Decap => {
                let lane = Lane::new(b.clone()).with(UPLINK, endless(WIRE, player));
                (UPLINK, lane.with(receiver, sink(pods.device())), None)
            }
            Action::Route => {
                let neighbour = pods.second();
                let lane = Lane::new(b.clone()).with(neighbour, endless(pods.device(), player));
                (neighbour, lane.with(receiver, sink(pods.device())), None)
            }
            Action::Path => {
                let (there, back) = (Cable::default(), Cable::default());
                let lane = Lane::new(a.clone()).with(sender, endless(pods.device(), player));
                let lane = lane.with(UPLINK, wire(&back, &there));
                let second = Lane::new(b.clone()).with(UPLINK, wire(&there, &back));
                (sender, lane, Some(second.with(receiver, sink(pods.device()))))
            }
        };
        Course { first, entry, second }
    }
}

fn endless<S: Source>(device: DeviceFacts, source: S) -> Endless<S> {
    Endless::new(device.link, device.caps, source)
}

fn wire(input: &Cable, output: &Cable) -> CablePort {
    CablePort::new(WIRE.link, WIRE.caps, input.clone(), output.clone())
}

/// A source that has no frames.
struct Nothing;

impl Source for Nothing {
    fn frame(&mut self, _pool: &mut Pool, _port: PortId) -> Option<Frame> {
        None
    }
}

/// Builds scenes, and keeps what the next one may need, too: tables of a million routes take a
/// second.
#[derive(Default)]
pub struct Stock {
    prefixes: Vec<Ipv4Net>,
    /// With as many routes as there are prefixes. On node a they lead to node b, there to such pods.
    tables: HashMap<Option<Pods>, Arc<Lpm<Ipv4Addr>>>,
}

impl Stock {
    /// The scene of a case. `pool` is used meanwhile.
    ///
    /// # Errors
    /// When the frames that node b is to receive could not be had from node a.
    pub fn scene(&mut self, case: &Case, pool: &mut Pool) -> Result<Scene, String> {
        if self.prefixes.len() != case.routes {
            self.tables.clear();
            self.prefixes = routes::prefixes::<Ipv4Addr>(case.routes);
        }
        let pods = if case.size == Size::Super { Pods::Tun } else { Pods::Veth };
        let tunnel = case.tunnel.as_deref().unwrap_or(super::tunnels()[0]);
        // Node a has nothing to do where packets stay on node b.
        let a = match case.action {
            Action::Route => Arc::default(),
            _ => self.snapshot(&Node::new(Which::A, tunnel), None),
        };
        let b = self.snapshot(&Node::new(Which::B, tunnel), Some(pods));
        let destinations = routes::destinations::<Ipv4Addr>(&self.prefixes, case.flows);
        let (which, snapshot, port) = match case.action {
            Action::Route => (Which::B, &b, pods.second()),
            _ => (Which::A, &a, pods.first()),
        };
        let gateway = snapshot.ports[port.index()].mac;
        let sent = Traffic::from_pod(which, port, gateway, &destinations, case.size);
        let traffic = match case.action {
            Action::Decap => between(sent, pods, a.clone(), pool)?,
            Action::Encap | Action::Route | Action::Path => sent,
        };
        Ok(Scene { case: case.clone(), pods, a, b, traffic: Arc::new(traffic) })
    }

    fn snapshot(&mut self, node: &Node, pods: Option<Pods>) -> Arc<Snapshot> {
        let like = Which::B.pod(pods.map_or(PortId(1), Pods::first));
        let table = || node.table(&self.prefixes, like);
        let routes4 = self.tables.entry(pods).or_insert_with(table).clone();
        Arc::new(Snapshot { routes4, ..node.snapshot.clone() })
    }
}

/// What is on the wire between the nodes when node a sends all of this once.
fn between(
    sent: Traffic,
    pods: Pods,
    a: Arc<Snapshot>,
    pool: &mut Pool,
) -> Result<Traffic, String> {
    let parts = sent.packets_per_frame();
    let (mut traffic, expected) = (sent.cut(parts), sent.count() * parts);
    let (there, back) = (Cable::default(), Cable::default());
    let source = endless(pods.device(), Once::new(Arc::new(sent)));
    let first = Lane::new(a).with(pods.first(), source).with(UPLINK, wire(&back, &there));
    let mut course = Course { first, entry: pods.first(), second: None };
    while course.receive(pool) > 0 {
        course.pass(pool, None);
        let mut there = there.lock().unwrap_or_else(|e| e.into_inner());
        for frame in there.drain(..) {
            let bytes: Vec<_> = frame.segments().flatten().copied().collect();
            traffic.add(&bytes, bytes.len());
            frame.free(pool);
        }
    }
    match course.fault() {
        Some(fault) => Err(format!("on node a, {fault}")),
        None if traffic.count() != expected => {
            Err(format!("node a sent {} frames, and {expected} were expected", traffic.count()))
        }
        None => Ok(traffic),
    }
}
