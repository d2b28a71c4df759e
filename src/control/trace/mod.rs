//! Traces: what the stages do with one packet, and why.
//!
//! The packet goes through the very stages that workers run, with the tables that are in force, but
//! with memory, counters, queues and learned facts of its own ([`private`]): nobody else notices.
//! [`follow`] looks at it after each stage and tells by [`explain`] what was looked up and found.
//!
//! A trace knows nothing of what stages remember between packets: frames that wait already for the same
//! station, and how many ICMP errors were sent lately.

mod explain;
mod follow;
mod input;
mod report;

pub use input::Wrong;
pub use report::{Frame, Input, Outcome, Report, Step};

use super::routes::Hops;
use super::state::{State, port_name};
use follow::Follower;
use ipnet::IpNet;
use pipeline::drops::Counters;
use pipeline::frame::{Batch, Memory, Pool};
use pipeline::snapshot::{PortId, Snapshot};
use pipeline::tables::neighbours::Neighbour;
use pipeline::{Pipeline, Turn, frame};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Chunks of the traces' memory: more than the longest packet and all its fragments need.
const CHUNKS: u32 = 512;

/// The traces' memory, which stays mapped once it was needed; one trace at a time has it.
static POOL: Mutex<Option<Pool>> = Mutex::new(None);

/// What a trace asks.
pub struct Tables<'a> {
    /// The workers' tables.
    pub snapshot: &'a Snapshot,
    /// The workers' clock, nanoseconds.
    pub now: u64,
    /// The prefix of the route to an address, which workers do not know.
    pub prefix: &'a dyn Fn(IpAddr) -> Option<IpNet>,
}

impl State {
    /// `/v1/trace`
    ///
    /// # Errors
    /// When there is no such packet.
    pub fn trace(&self, input: &Input) -> Result<Report, Wrong> {
        let (snapshot, desired) = (self.snapshot.load(), self.desired.load());
        let hops = Hops::new(&desired, &snapshot);
        let prefix = |address| hops.longest(address);
        trace(&Tables { snapshot: &snapshot, now: self.now(), prefix: &prefix }, input)
    }
}

/// Takes a packet through the stages.
///
/// # Errors
/// When there is no such packet.
pub fn trace(tables: &Tables<'_>, input: &Input) -> Result<Report, Wrong> {
    let (id, bytes) = input::frame(input, tables)?;
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.is_none() {
        let memory = Memory::new(CHUNKS, false).map_err(Wrong::of_memory)?;
        *pool = Some(Pool::new(memory));
    }
    let frames = pool.as_mut().and_then(|pool| run(tables, id, &bytes, pool));
    Ok(Report {
        port: port_name(tables.snapshot, id),
        generation: tables.snapshot.generation,
        frames: frames.ok_or_else(|| Wrong::of_length(bytes.len()))?,
    })
}

/// `None` when the frame is too long for the memory.
fn run(tables: &Tables<'_>, id: PortId, bytes: &[u8], pool: &mut Pool) -> Option<Vec<Frame>> {
    let snapshot = &private(tables.snapshot);
    let (mut pipeline, counters, mut batch) = (Pipeline::new(), Counters::default(), Batch::new());
    let frame = frame::Frame::copied(bytes, pool, id)?;
    let mut follower = Follower::new(Tables { snapshot, ..*tables }, tables.snapshot, &frame);
    batch.push(frame);
    let mut turn = Turn { snapshot, pool, counters: &counters, now: tables.now };
    pipeline.run_watched(&mut batch, &mut turn, |stage, batch, cx| follower.look(stage, batch, cx));
    pipeline.close(&mut turn);
    Some(follower.end())
}

/// The same tables, but with copies of all that stages change: what is done with these, nobody else
/// sees.
fn private(snapshot: &Snapshot) -> Snapshot {
    Snapshot {
        neighbours: Arc::new(snapshot.neighbours.map(|known| Arc::new(Neighbour::clone(known)))),
        next_ident: Arc::new(AtomicU32::new(snapshot.next_ident.load(Ordering::Relaxed))),
        flows: Arc::new(snapshot.flows.sketch()),
        guard: Arc::new(snapshot.guard.silent()),
        ..snapshot.clone()
    }
}
